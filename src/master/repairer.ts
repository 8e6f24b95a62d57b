// Repairer: asks plan/repair.ts what sealed chunks lack or have too much of, and gives the orders.
//
// Level-triggered. A chunk is looked at when something about its replicas changed (attention.ts), when a server came or
// went, and now and then by a sweep over the table, so that whatever was missed is found. What it lacks is judged again
// at the moment of each order; what is under way is given up when it is no longer needed.
//
// Nothing is copied or deleted in safe mode, or while a server has seen more history than this log has.
//
// Bounds: WANTS_MAX chunks are known to lack something (the sweep finds the others), LOOKS_PER_TICK are looked at in a
// tick; those of copies stand in copies.ts.

import type { ChunkHandle, ServerId } from '../base/ids.ts'
import { formatHandle, formatServer } from '../base/ids.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Timer } from '../io/clock.ts'
import type { Order } from '../wire/messages.ts'
import { Balancer } from './balancer.ts'
import type { Attention } from './cluster/attention.ts'
import type { ServerView } from './cluster/servers.ts'
import type { MasterContext } from './context.ts'
import { COPIES_MAX, Copies } from './copies.ts'
import { newerServer } from './history.ts'
import type { ChunkFacts } from './metadata/chunk-table.ts'
import type { MoveWant } from './plan/rebalance.ts'
import { type CopyPlan, type CopyWant, judgeChunk, planCopies, type ReplicaView, type Verdict } from './plan/repair.ts'
import { intentNow, type Presence, presenceOf } from './plan/standing.ts'
import { RepairLog } from './repair-log.ts'
import type { Replicas } from './replicas.ts'
import { Trims } from './trims.ts'

const TICK_MS = 100
/** A tick that comes later than this says that the master itself stood still: nobody could be heard. */
const LATE_MS = 300
/** Chunks looked at in one tick, and of the sweep. */
const LOOKS_PER_TICK = 4000
const SWEEP_PER_TICK = 500
const SWEEP_REST_MS = 2 * SECOND_MS
const WANTS_MAX = 1_000_000
/** Chunks of one class that a tick considers for copies. */
const CONSIDERED_MAX = 256

interface Judged {
  readonly chunk: ChunkFacts
  readonly replicas: readonly ReplicaView[]
  readonly verdict: Verdict
}

export class Repairer {
  readonly log: RepairLog
  readonly balancer: Balancer
  readonly #context: MasterContext
  readonly #replicas: Replicas
  readonly #attention: Attention
  readonly #trims: Trims
  /** Chunks that lack replicas, by how many whole ones are left: 0, 1, 2, more. */
  readonly #wants: readonly Set<ChunkHandle>[] = [new Set(), new Set(), new Set(), new Set()]
  readonly #copies: Copies
  readonly #presence = new Map<ServerId, Presence>()
  #sweepAfter: ChunkHandle | 0 = 0
  /** When the next sweep begins. */
  #sweepMs = 0
  #timer: Timer | undefined
  #isStopped = false

  constructor(context: MasterContext, replicas: Replicas) {
    this.#context = context
    this.#replicas = replicas
    this.#attention = context.attention
    this.log = new RepairLog(context.clock, context.logger)
    this.#copies = new Copies(context, replicas)
    this.balancer = new Balancer(context, this.#copies, (handle) => this.#movable(this.#judge(handle)))
    this.#trims = new Trims((handle) => this.#judge(handle)?.verdict)
    this.#arm()
  }

  /** For the report. `queue`: chunks that wait for copies, by the whole replicas that are left of them. */
  facts() {
    const { copies, bytes, bytesPerSecond, incidents } = this.log
    const [none = 0, one = 0, two = 0, more = 0] = this.#wants.map((set) => set.size)
    const inFlight = this.#copies.countFor('repair')
    const waiting = none + one + two + more + inFlight
    const etaMs = bytesPerSecond === 0 ? null : Math.round((SECOND_MS * waiting * (bytes / copies)) / bytesPerSecond)
    return {
      inFlight,
      bytesPerSecond,
      queue: { none, one, two, more },
      /** Null: nothing was copied of late. */
      etaMs: waiting === 0 ? 0 : etaMs,
      copied: { copies, bytes },
      incidents,
    }
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
    this.#copies.stop()
  }

  /** The operator changed what copies may take. */
  limitsChanged(): void {
    const { repairBytesPerSecond, balanceBytesPerSecond } = this.#context.limits
    this.#copies.changeRate('repair', repairBytesPerSecond)
    this.#copies.changeRate('balance', balanceBytesPerSecond)
  }

  /** Orders to delete surplus replicas, for one heartbeat reply. */
  takeTrims(server: ServerId): Order[] {
    if (!this.#mayAct() || !this.#replicas.mayDelete) return []
    const nowMs = this.#context.clock.nowMs()
    return this.#trims.take(server, nowMs).flatMap((handle): Order[] => {
      const chunk = this.#context.state.chunk(handle)
      if (!chunk) return []
      const { version, length, digest, indexDigest } = chunk
      this.#context.logger.info(
        { event: 'trim', handle, server },
        `chunk ${formatHandle(handle)}: ${formatServer(server)} has one too many`,
      )
      return [{ kind: 'delete', handle, version, length, digest, indexDigest }]
    })
  }

  #arm(): void {
    if (this.#isStopped) return
    const { clock, servers } = this.#context
    const dueMs = clock.nowMs() + TICK_MS
    this.#timer = clock.after(TICK_MS, () => {
      const lateMs = clock.nowMs() - dueMs
      if (lateMs > LATE_MS) servers.excuse(lateMs)
      servers.excuseCommonSilence(TICK_MS, clock.nowMs())
      this.#tick()
      this.#arm()
    })
  }

  #tick(): void {
    if (!this.#mayAct()) return
    const nowMs = this.#context.clock.nowMs()
    this.#watchServers(nowMs)
    for (const handle of this.#context.settling.takeOver(nowMs)) this.#attention.add(handle)
    for (const handle of this.#attention.take(LOOKS_PER_TICK)) this.#look(handle, nowMs)
    const seen = this.#sweep(nowMs)
    this.#trims.tick(nowMs, () => this.#copies.servers())
    this.#beginCopies(nowMs)
    if (this.#copies.countFor('repair') > 0) this.balancer.disturb()
    this.balancer.tick(nowMs, seen)
    const waits = this.#wants.some((set) => set.size > 0) || this.#attention.size > 0
    this.log.tick(this.#copies.countFor('repair') > 0 || waits)
  }

  #mayAct(): boolean {
    return !this.#isStopped && !this.#context.safeMode.isOn && !newerServer(this.#context)
  }

  /** Every chunk of a server that came, went, or has another intent is looked at again. */
  #watchServers(nowMs: number): void {
    const { servers, locations, logger } = this.#context
    for (const server of servers.all()) {
      const presence = this.#presenceOf(server, nowMs)
      const before = this.#presence.get(server.id)
      if (presence === before) continue
      this.#presence.set(server.id, presence)
      // A moment's silence changes nothing; that it is over may end what its death began.
      if (presence === 'unsure') continue
      this.balancer.disturb()
      let count = 0
      for (const { directory } of server.directories) {
        for (const handle of locations.handlesOf(directory)) {
          this.#attention.add(handle)
          count++
        }
      }
      if (presence !== 'lost') continue
      this.#copies.cancelTo(server.id)
      const sinceMs = server.disconnectedMs ?? server.lastContactMs
      const detectionMs = Math.round(nowMs - sinceMs)
      this.log.lost(server.id, count, detectionMs)
      logger.warn(
        { event: 'server-lost', server: server.id, chunks: count, detectionMs },
        `${formatServer(server.id)} is dead: ${count} replicas count as lost`,
      )
    }
  }

  #presenceOf(server: ServerView, nowMs: number): Presence {
    const { servers, state, proposer } = this.#context
    const intent = intentNow(state.server(server.id), proposer.clusterMs)
    return presenceOf(servers.liveness(server, nowMs), intent, server.hasReported)
  }

  /** @returns what the balancer may move */
  #sweep(nowMs: number): MoveWant[] {
    // Once round it rests, unless somebody waits for what it finds: a small table would be gone through every tick.
    if (this.#sweepAfter === 0 && nowMs < this.#sweepMs && !this.balancer.isEager(nowMs)) return []
    this.#sweepMs = nowMs + SWEEP_REST_MS
    const chunks = this.#context.state.nextChunks(this.#sweepAfter as ChunkHandle, SWEEP_PER_TICK)
    this.#sweepAfter = chunks.at(-1)?.handle ?? 0
    return chunks.flatMap(({ handle }) => this.#movable(this.#look(handle, nowMs)) ?? [])
  }

  /** Notes what the chunk needs; ends what it no longer needs. */
  #look(handle: ChunkHandle, nowMs: number): Judged | undefined {
    const judged = this.#judge(handle)
    const verdict = judged?.verdict
    if (judged) {
      this.#trims.seen(handle, judged.replicas)
      this.#sealAgain(judged)
    }
    if (verdict?.kind !== 'well' && verdict?.kind !== 'surplus') this.balancer.drop(handle)
    if (verdict?.kind !== 'lacking') this.#copies.cancel(handle, 'repair')
    else if (verdict.missing > this.#copies.targetsOf(handle).length) {
      this.#want(handle, this.#kindOf(verdict.whole))
      return judged
    }
    this.#want(handle, undefined)
    if (verdict?.kind === 'surplus') this.#trims.consider(handle, nowMs)
    else this.#trims.drop(handle)
    if (verdict?.kind === 'well' || !verdict) this.#attention.settle(handle)
    return judged
  }

  /** A seal that a server could not carry out, for want of room, is nobody's to report again: it is ordered until it is done. */
  #sealAgain({ chunk, replicas }: Judged): void {
    const { servers } = this.#context
    for (const { server, directory, state, presence } of replicas) {
      if (state !== 'open' || presence !== 'here') continue
      const disk = servers.get(server)?.directories.find((facts) => facts.directory === directory)
      if (disk?.state === 'ok') this.#replicas.orderSeal(server, chunk)
    }
  }

  /** A chunk at its goal of which every replica that counts is whole, here, and not being copied. */
  #movable(judged: Judged | undefined): MoveWant | undefined {
    if (judged?.verdict.kind !== 'well') return undefined
    const { chunk } = judged
    const { handle } = chunk
    const failure = this.#copies.failureOf(handle)
    if (failure && this.#context.clock.nowMs() < failure.retryAtMs) return undefined
    if (this.#copies.targetsOf(handle).length > 0) return undefined
    // Those of the dead and of the drained don't count, and don't go by balancing.
    const replicas = judged.replicas.filter(({ presence }) => presence !== 'lost' && presence !== 'leaving')
    const isQuiet = replicas.every(
      ({ state, presence, isDoomed }) => state === 'good' && presence === 'here' && !isDoomed,
    )
    const isAtGoal = replicas.length === (chunk.goal || this.#context.state.goal)
    return isQuiet && isAtGoal ? { handle, length: chunk.length, replicas } : undefined
  }

  #want(handle: ChunkHandle, kind: number | undefined): void {
    for (const [index, set] of this.#wants.entries()) if (index !== kind) set.delete(handle)
    const set = kind === undefined ? undefined : this.#wants[kind]
    if (set && set.size < WANTS_MAX) set.add(handle)
  }

  /** It comes after all others of its kind. */
  #wantLater(handle: ChunkHandle, whole: number): void {
    this.#want(handle, undefined)
    this.#want(handle, this.#kindOf(whole))
  }

  #kindOf(whole: number): number {
    return Math.min(whole, this.#wants.length - 1)
  }

  /** Undefined: nothing is wanted of this chunk, or not by this way (open chunks are sealed first). */
  #judge(handle: ChunkHandle): Judged | undefined {
    const { state, clock, settling } = this.#context
    const chunk = state.chunk(handle)
    if (chunk?.state !== 'sealed') return undefined
    // Named by a file, or about to be: its writer holds it. What nothing names is garbage on its way out.
    if (chunk.references === 0 && chunk.owner === 0) return undefined
    const nowMs = clock.nowMs()
    const replicas = this.#replicasOf(handle, nowMs)
    if (settling.has(handle, nowMs)) {
      // Whoever can hear of the seal is about to say that it has carried it out. For who is gone nobody waits.
      if (replicas.some(({ state, presence }) => state === 'open' && presence !== 'lost')) return undefined
      settling.end(handle)
    }
    return { chunk, replicas, verdict: judgeChunk(chunk.goal || state.goal, replicas) }
  }

  #replicasOf(handle: ChunkHandle, nowMs: number): ReplicaView[] {
    const { locations, servers } = this.#context
    const views: ReplicaView[] = []
    for (const { directory, state } of locations.of(handle)) {
      const server = servers.serverOfDirectory(directory)
      if (!server) continue
      const isFailed = server.directories.some((facts) => facts.directory === directory && facts.state === 'failed')
      const presence = isFailed ? 'lost' : this.#presenceOf(server, nowMs)
      const isDoomed = this.#trims.isDoomed(handle, server.id)
      views.push({ server: server.id, directory, state, presence, isDoomed })
    }
    return views
  }

  #beginCopies(nowMs: number): void {
    const wants: CopyWant[] = []
    for (const handle of this.#attention.awaited()) this.#consider(handle, nowMs, wants)
    for (const set of this.#wants) {
      const first: ChunkHandle[] = []
      for (const handle of set) {
        if (first.length >= CONSIDERED_MAX) break
        if (!this.#attention.isAwaited(handle)) first.push(handle)
      }
      for (const handle of first) this.#consider(handle, nowMs, wants)
    }
    if (wants.length === 0) return
    const { limits, random } = this.#context
    const plans = planCopies(
      wants,
      [...this.#copies.servers().values()],
      {
        budget: COPIES_MAX - this.#copies.count,
        inPerServer: limits.copiesPerServer,
        outPerServer: limits.copiesPerServer + 1,
      },
      random,
    )
    for (const plan of plans) this.#begin(plan)
    // Those that have no place now let others be considered.
    const begun = new Set(plans.map(({ handle }) => handle))
    for (const { handle, whole } of wants) if (!begun.has(handle)) this.#wantLater(handle, whole)
  }

  /** Adds what the chunk lacks now to `wants`, unless a copy has just failed; forgets it when it lacks nothing. */
  #consider(handle: ChunkHandle, nowMs: number, wants: CopyWant[]): void {
    if (!this.#wants.some((set) => set.has(handle))) return
    const judged = this.#judge(handle)
    const targets = this.#copies.targetsOf(handle)
    const missing = judged?.verdict.kind === 'lacking' ? judged.verdict.missing - targets.length : 0
    if (judged?.verdict.kind !== 'lacking' || missing <= 0) {
      this.#want(handle, undefined)
      return
    }
    const { chunk, replicas, verdict } = judged
    const failure = this.#copies.failureOf(handle)
    if (failure && nowMs < failure.retryAtMs) {
      this.#wantLater(handle, verdict.whole)
      return
    }
    const avoid = new Set(targets)
    const failedOn = failure?.servers ?? new Set()
    const isAwaited = this.#attention.isAwaited(handle)
    wants.push({ handle, length: chunk.length, missing, whole: verdict.whole, replicas, isAwaited, avoid, failedOn })
  }

  #begin(plan: CopyPlan): void {
    const { handle } = plan
    const verdict = this.#judge(handle)?.verdict
    const isLast = verdict?.kind === 'lacking' && verdict.whole <= 1
    this.log.planned()
    const copied = this.#copies.begin(plan, 'repair', isLast ? 0 : this.#context.limits.repairBytesPerSecond)
    // Rejects for a bug alone, and the process ends with it.
    void copied.then((bytes) => {
      if (bytes !== undefined) this.log.copied(bytes)
      this.#attention.add(handle)
    })
  }
}
