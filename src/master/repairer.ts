// Repairer: asks plan/repair.ts what sealed chunks lack or have too much of, and gives the orders.
//
// Level-triggered. A chunk is looked at when something about its replicas changed (attention.ts), when a server came or
// went, and now and then by a sweep over the table, so that whatever was missed is found. What it lacks is judged again
// at the moment of each order; what is under way is given up when it is no longer needed.
//
// Nothing is copied or deleted in safe mode, or while a server has seen more history than this log has.
//
// Bounds: WANTS_MAX chunks are known to lack something (the sweep finds the others), LOOKS_PER_TICK are looked at in a
// tick, COPIES_MAX copies are under way, FAILURES_MAX failed ones remembered.

import { DfsError, isDfsError } from '../base/errors.ts'
import { type ChunkHandle, formatHandle, formatServer, type ServerId } from '../base/ids.ts'
import { MiB, SECOND_MS } from '../base/units.ts'
import type { Timer } from '../io/clock.ts'
import type { Order } from '../wire/messages.ts'
import type { Attention } from './cluster/attention.ts'
import type { ServerView } from './cluster/servers.ts'
import type { MasterContext } from './context.ts'
import { historyOf, newerServer } from './history.ts'
import type { ChunkFacts } from './metadata/chunk-table.ts'
import { placementServers } from './place.ts'
import {
  type CopyPlan,
  type CopyWant,
  judgeChunk,
  type Presence,
  planCopies,
  type RepairServer,
  type ReplicaView,
  type Verdict,
} from './plan/repair.ts'
import { intentNow } from './plan/standing.ts'
import { RepairLog } from './repair-log.ts'
import type { Replicas } from './replicas.ts'
import { Trims } from './trims.ts'

const TICK_MS = 100
/** A tick that comes later than this says that the master itself stood still: nobody could be heard. */
const LATE_MS = 300
/** Chunks looked at in one tick, and of the sweep. */
const LOOKS_PER_TICK = 4000
const SWEEP_PER_TICK = 500
const WANTS_MAX = 1_000_000
/** Chunks of one class that a tick considers for copies. */
const CONSIDERED_MAX = 256
const COPIES_MAX = 256
const COPIES_IN_MAX = 3
const COPIES_OUT_MAX = 4
/** The members of a chunk that was just sealed have so long to say that they are. */
const SEAL_SETTLES_MS = 2 * SECOND_MS
const FAILURES_MAX = 10_000
const RETRY_MS_MIN = SECOND_MS / 2
const RETRY_MS_MAX = 60 * SECOND_MS
/** A copy may take this long besides what its rate makes of its length. */
const COPY_MS = 60 * SECOND_MS
/** Slower than this is given up, whatever the rate. */
const COPY_BYTES_PER_SECOND_MIN = MiB

interface Copy {
  readonly plan: CopyPlan
  readonly cancel: AbortController
}

interface Failure {
  count: number
  retryAtMs: number
  readonly servers: Set<ServerId>
}

export class Repairer {
  readonly log: RepairLog
  readonly #context: MasterContext
  readonly #replicas: Replicas
  readonly #attention: Attention
  readonly #trims: Trims
  /** Chunks that lack replicas, by how many whole ones are left: 0, 1, 2, more. */
  readonly #wants: readonly Set<ChunkHandle>[] = [new Set(), new Set(), new Set(), new Set()]
  readonly #copies = new Map<ChunkHandle, Copy[]>()
  readonly #failures = new Map<ChunkHandle, Failure>()
  readonly #sealed = new Map<ChunkHandle, number>()
  readonly #presence = new Map<ServerId, Presence>()
  #copyCount = 0
  #sweepAfter: ChunkHandle | 0 = 0
  #timer: Timer | undefined
  #isStopped = false

  constructor(context: MasterContext, replicas: Replicas, attention: Attention) {
    this.#context = context
    this.#replicas = replicas
    this.#attention = attention
    this.log = new RepairLog(context.clock, context.logger)
    this.#trims = new Trims((handle) => this.#judge(handle)?.verdict)
    this.#arm()
  }

  /** For the report. `queue`: chunks that wait for copies, by the whole replicas that are left of them. */
  facts() {
    const { copies, bytes, bytesPerSecond, incidents } = this.log
    const [none = 0, one = 0, two = 0, more = 0] = this.#wants.map((set) => set.size)
    const waiting = none + one + two + more + this.#copyCount
    const etaMs = bytesPerSecond === 0 ? null : Math.round((SECOND_MS * waiting * (bytes / copies)) / bytesPerSecond)
    return {
      inFlight: this.#copyCount,
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
    for (const copies of this.#copies.values()) for (const { cancel } of copies) cancel.abort(stopping())
  }

  /** A chunk was sealed: its members are about to say so. */
  sealed(handle: ChunkHandle): void {
    this.#sealed.set(handle, this.#context.clock.nowMs())
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
      this.#tick()
      this.#arm()
    })
  }

  #tick(): void {
    if (!this.#mayAct()) return
    const nowMs = this.#context.clock.nowMs()
    this.#watchServers(nowMs)
    for (const [handle, sealedMs] of this.#sealed) {
      if (nowMs - sealedMs < SEAL_SETTLES_MS) break // in the order of their sealing
      this.#sealed.delete(handle)
      this.#attention.add(handle)
    }
    for (const handle of this.#attention.take(LOOKS_PER_TICK)) this.#look(handle, nowMs)
    this.#sweep(nowMs)
    this.#trims.tick(nowMs, this.#servers())
    this.#beginCopies(nowMs)
    const waits = this.#wants.some((set) => set.size > 0) || this.#attention.size > 0
    this.log.tick(this.#copyCount > 0 || waits)
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
      let count = 0
      for (const { directory } of server.directories) {
        for (const handle of locations.handlesOf(directory)) {
          this.#attention.add(handle)
          count++
        }
      }
      if (presence !== 'lost') continue
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
    const liveness = servers.liveness(server, nowMs)
    if (liveness === 'dead') return 'lost'
    const intent = intentNow(state.server(server.id), proposer.clusterMs)
    if (liveness === 'maintenance') return 'away'
    if (intent === 'drain') return 'leaving'
    if (liveness === 'suspect' || !server.hasReported) return 'unsure'
    return 'here'
  }

  #sweep(nowMs: number): void {
    const chunks = this.#context.state.nextChunks(this.#sweepAfter as ChunkHandle, SWEEP_PER_TICK)
    for (const { handle } of chunks) this.#look(handle, nowMs)
    this.#sweepAfter = chunks.at(-1)?.handle ?? 0
  }

  /** Notes what the chunk needs; ends what it no longer needs. */
  #look(handle: ChunkHandle, nowMs: number): void {
    const judged = this.#judge(handle)
    const verdict = judged?.verdict
    const copies = this.#copies.get(handle)
    if (copies && verdict?.kind !== 'lacking') {
      const reason = new DfsError('ABORTED', `chunk ${formatHandle(handle)}: the copy is no longer needed`, { handle })
      for (const { cancel } of copies) cancel.abort(reason)
    }
    if (verdict?.kind === 'lacking' && judged && verdict.missing > (copies?.length ?? 0)) {
      this.#want(handle, Math.min(verdict.whole, this.#wants.length - 1))
      return
    }
    this.#want(handle, undefined)
    if (verdict?.kind === 'surplus') this.#trims.consider(handle, nowMs)
    else this.#trims.drop(handle)
    if (verdict?.kind === 'well' || !verdict) this.#attention.settle(handle)
  }

  #want(handle: ChunkHandle, kind: number | undefined): void {
    for (const [index, set] of this.#wants.entries()) if (index !== kind) set.delete(handle)
    const set = kind === undefined ? undefined : this.#wants[kind]
    if (set && set.size < WANTS_MAX) set.add(handle)
  }

  /** Undefined: nothing is wanted of this chunk, or not by this way (open chunks are sealed first). */
  #judge(handle: ChunkHandle): { chunk: ChunkFacts; replicas: ReplicaView[]; verdict: Verdict } | undefined {
    const { state, clock } = this.#context
    const chunk = state.chunk(handle)
    if (chunk?.state !== 'sealed' || this.#sealed.has(handle)) return undefined
    // Named by a file, or about to be: its writer holds it. What nothing names is garbage on its way out.
    if (chunk.references === 0 && chunk.owner === 0) return undefined
    const nowMs = clock.nowMs()
    const replicas = this.#replicasOf(handle, nowMs)
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

  #servers(): Map<ServerId, RepairServer> {
    const copiesIn = new Map<ServerId, number>()
    const copiesOut = new Map<ServerId, number>()
    for (const copies of this.#copies.values()) {
      for (const { plan } of copies) {
        copiesIn.set(plan.target, (copiesIn.get(plan.target) ?? 0) + 1)
        const [source] = plan.sources
        if (source !== undefined) copiesOut.set(source, (copiesOut.get(source) ?? 0) + 1)
      }
    }
    return new Map(
      placementServers(this.#context).map((server) => [
        server.id,
        {
          ...server,
          address: this.#context.servers.get(server.id)?.address ?? '',
          copiesIn: copiesIn.get(server.id) ?? 0,
          copiesOut: copiesOut.get(server.id) ?? 0,
        },
      ]),
    )
  }

  #beginCopies(nowMs: number): void {
    const wants: CopyWant[] = []
    for (const set of this.#wants) {
      let considered = 0
      for (const handle of set) {
        if (considered++ >= CONSIDERED_MAX) break
        const want = this.#wantOf(handle, nowMs)
        if (want === undefined) continue
        if (want === 'none') set.delete(handle)
        else wants.push(want)
      }
    }
    if (wants.length === 0) return
    const limits = {
      budget: COPIES_MAX - this.#copyCount,
      inPerServer: COPIES_IN_MAX,
      outPerServer: COPIES_OUT_MAX,
    }
    const plans = planCopies(wants, [...this.#servers().values()], limits, this.#context.random)
    for (const plan of plans) this.#begin(plan)
  }

  /** 'none': it lacks nothing any more; undefined: not now. */
  #wantOf(handle: ChunkHandle, nowMs: number): CopyWant | 'none' | undefined {
    const judged = this.#judge(handle)
    if (judged?.verdict.kind !== 'lacking') return 'none'
    const failure = this.#failures.get(handle)
    if (failure && nowMs < failure.retryAtMs) return undefined
    const copies = this.#copies.get(handle) ?? []
    const missing = judged.verdict.missing - copies.length
    if (missing <= 0) return 'none'
    const avoid = new Set([...copies.map(({ plan }) => plan.target), ...(failure?.servers ?? [])])
    const { chunk, replicas, verdict } = judged
    const isAwaited = this.#attention.isAwaited(handle)
    return { handle, length: chunk.length, missing, whole: verdict.whole, replicas, isAwaited, avoid }
  }

  #begin(plan: CopyPlan): void {
    const { handle } = plan
    const copy: Copy = { plan, cancel: new AbortController() }
    const copies = this.#copies.get(handle)
    if (copies) copies.push(copy)
    else this.#copies.set(handle, [copy])
    this.#copyCount++
    this.log.planned()
    this.#copy(copy)
      .catch((error: unknown) => {
        if (!isDfsError(error)) throw error
        this.#failed(plan, error)
      })
      .finally(() => {
        this.#copyCount--
        const left = (this.#copies.get(handle) ?? []).filter((other) => other !== copy)
        if (left.length > 0) this.#copies.set(handle, left)
        else this.#copies.delete(handle)
        this.#attention.add(handle)
      })
  }

  async #copy({ plan, cancel }: Copy): Promise<void> {
    const { state, servers, settings, ask } = this.#context
    const { handle, target, directory } = plan
    const chunk = state.chunk(handle)
    if (!chunk) return
    const { version, length, digest, indexDigest, shared, allocationIndex: logIndex } = chunk
    const judged = this.#judge(handle)
    const isLast = judged?.verdict.kind === 'lacking' && judged.verdict.whole <= 1
    const bytesPerSecond = isLast ? 0 : settings.repairBytesPerSecond
    const sources = plan.sources.flatMap((server) => {
      const address = servers.get(server)?.address
      return address === undefined ? [] : [{ server, address }]
    })
    const order = { handle, version, length, digest, indexDigest, shared, logIndex, directory, sources, bytesPerSecond }
    const slowest = Math.min(bytesPerSecond || COPY_BYTES_PER_SECOND_MIN, COPY_BYTES_PER_SECOND_MIN)
    const timeoutMs = COPY_MS + (COPIES_IN_MAX * length * SECOND_MS) / slowest
    const view = servers.get(target)
    const history = historyOf(this.#context)
    const { facts, bytes } = await ask(target, 'clone', { ...order, history }, { timeoutMs, signal: cancel.signal })
    // Said over another connection since, it says it again in that one's report.
    if (view && servers.get(target) === view) this.#replicas.note(view, facts)
    this.#failures.delete(handle)
    this.log.copied(bytes)
  }

  #failed(plan: CopyPlan, error: DfsError): void {
    const { handle, target } = plan
    if (error.code === 'ABORTED' || this.#isStopped) return
    const failure = this.#failures.get(handle) ?? { count: 0, retryAtMs: 0, servers: new Set<ServerId>() }
    failure.count++
    // Where it failed is avoided for some tries, then tried again: it may be the only place left.
    if (failure.count % 4 === 0) failure.servers.clear()
    else failure.servers.add(target)
    const waitMs = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(failure.count - 1, 10))
    failure.retryAtMs = this.#context.clock.nowMs() + waitMs
    this.#failures.set(handle, failure)
    if (this.#failures.size > FAILURES_MAX) {
      for (const oldest of this.#failures.keys()) {
        this.#failures.delete(oldest)
        break
      }
    }
    this.#context.logger.warn(
      { event: 'copy-failed', handle, server: target, code: error.code, tries: failure.count },
      `chunk ${formatHandle(handle)} could not be copied to ${formatServer(target)}: ${error.message}`,
    )
  }
}

function stopping(): DfsError {
  return new DfsError('UNAVAILABLE', 'the master is stopping')
}
