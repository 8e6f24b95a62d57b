// Compactor: brings together the live bytes of chunks that are mostly dead, and the pieces of files that lie in many
// (DESIGN §4 "Small files"; plan/compaction.ts decides, chunkserver/gatherer.ts does the moving).
//
// A pass goes through the chunk table, and through the inodes when there is something to find; then one gathering after
// the other: a handle is reserved in the log, as many servers as the chunk wants replicas gather the same bytes, and when
// all of them have it durable with the same digest, files are switched to it in the log, each if it still points to what
// was copied. Whatever stops in between leaves a reserved handle without a chunk: it is released, and what was gathered is
// deleted like any garbage. The old chunks lose their last reference and stay readable for a while (MOVED_KEPT_MS).
//
// Everything else goes first: nothing is gathered in safe mode, by a master without its history, while a longer change
// runs or repair copies, and what it reads is held to a share of what repair may take.
//
// Bounds: one gathering at a time; SLICE_ROWS of a table between which others are served; what a pass holds stands in
// compaction-scan.ts; FAILED_MAX chunks are remembered that a gathering failed on.

import { DfsError, isDfsError } from '../base/errors.ts'
import { type ChunkHandle, formatHandle, type InodeId } from '../base/ids.ts'
import { HOUR_MS, MINUTE_MS, MiB, SECOND_MS } from '../base/units.ts'
import type { ReplicaFacts, RequestOf } from '../wire/messages.ts'
import { chooseVictims, FileScan, type Victim, VictimScan } from './compaction-scan.ts'
import type { MasterContext } from './context.ts'
import { historyOf, newerServer } from './history.ts'
import type { Member } from './operations.ts'
import { placementServers } from './place.ts'
import { type Gathering, planGatherings, type Run, switchBatches } from './plan/compaction.ts'
import { placeReplicas } from './plan/placement.ts'
import { isReachable } from './plan/standing.ts'
import type { Replicas } from './replicas.ts'

/** Rows of a table looked at at once; then others are served for SLICE_MS. */
const SLICE_ROWS = 2000
const SLICE_MS = 100
/** Between passes. The inodes are gone through for fragmented files alone no more often than FILES_EVERY_MS. */
const REST_MS = 15 * SECOND_MS
const FILES_EVERY_MS = MINUTE_MS
/** A chunk has been mostly dead for so long, with no more of it dying: records on their way have come, removals ended. */
const SETTLED_MS = 30 * SECOND_MS
/** An open packing chunk that keeps a file in pieces is sealed at this age. */
const OPEN_MS_MAX = MINUTE_MS
/** A chunk whose bytes could not be gathered is left alone for so long, then tried apart from others; twice as long each time. */
const RETRY_MS_MIN = MINUTE_MS
const RETRY_MS_MAX = HOUR_MS
const FAILED_MAX = 10_000
/** A pass that was asked for is repeated so often, HELD_MS apart, for chunks that can't be read whole yet. */
const ASKED_PASSES_MAX = 10
/** While something else goes first. */
const HELD_MS = SECOND_MS
/** What a gathering may take of a server's network: a share of what repair may, and no more than this. */
const BYTES_PER_SECOND_MAX = 32 * MiB
const REPAIR_SHARE = 8
/** A gathering may take this long besides what its rate makes of its length. */
const GATHER_MS = 60 * SECOND_MS
/** Slower than this is given up. */
const GATHER_BYTES_PER_SECOND_MIN = MiB

type GatherSource = RequestOf<'gather'>['sources'][number]

export class Compactor {
  readonly #context: MasterContext
  readonly #replicas: Replicas
  readonly #copiesUnderWay: () => number
  readonly #stop = new AbortController()
  /** Mostly dead chunks: how live they were when first seen so, and when. */
  #seen = new Map<ChunkHandle, { readonly liveBytes: number; readonly sinceMs: number }>()
  /** Chunks that a failed gathering took bytes from. */
  readonly #failed = new Map<ChunkHandle, { readonly count: number; readonly retryAtMs: number }>()
  #candidates: ReadonlyMap<InodeId, number> = new Map()
  #filesLookedMs = Number.NEGATIVE_INFINITY
  #isAsked = false
  #askedPassesLeft = 0
  #wake: (() => void) | undefined
  #doing: 'resting' | 'looking' | 'gathering' = 'resting'
  #waiting: { chunks: number; bytes: number } = { chunks: 0, bytes: 0 }
  readonly #done = { chunks: 0, bytes: 0, switches: 0, failures: 0 }

  /** @param copiesUnderWay  copies that repair makes now: they go first */
  constructor(context: MasterContext, replicas: Replicas, copiesUnderWay: () => number) {
    this.#context = context
    this.#replicas = replicas
    this.#copiesUnderWay = copiesUnderWay
  }

  /** For the report. */
  facts() {
    return {
      doing: this.#doing,
      /** Why nothing is gathered now; '': nothing stands in the way. */
      heldBackBy: this.#hindrance() ?? '',
      /** Chunks that are mostly dead, as the last pass found them, and the dead bytes of one replica of each. */
      waitingChunks: this.#waiting.chunks,
      waitingBytes: this.#waiting.bytes,
      /** Since the master started: chunks made, bytes moved to them, places in files that changed, tries that failed. */
      madeChunks: this.#done.chunks,
      movedBytes: this.#done.bytes,
      switches: this.#done.switches,
      failures: this.#done.failures,
    }
  }

  /** Runs until the master stops. */
  start(): void {
    this.#run().catch((error: unknown) => {
      if (!isDfsError(error) || !this.#stop.signal.aborted) throw error
    })
  }

  stop(): void {
    this.#stop.abort(new DfsError('ABORTED', 'the master is stopping'))
    this.#wake?.()
  }

  /** A pass now, without waiting for chunks to settle; open packing chunks are sealed for it. */
  begin(): void {
    this.#isAsked = true
    this.#askedPassesLeft = ASKED_PASSES_MAX
    this.#wake?.()
  }

  async #run(): Promise<void> {
    for (;;) {
      this.#doing = 'resting'
      await this.#rest(REST_MS)
      if (this.#stop.signal.aborted) return
      try {
        await this.#pass()
      } catch (error) {
        if (!isDfsError(error) || this.#stop.signal.aborted) throw error
        this.#done.failures++
        this.#context.logger.warn({ event: 'compaction', code: error.code }, `compaction: ${error.message}`)
      }
    }
  }

  /** Sleeps, or until a pass is asked for. */
  #rest(ms: number): Promise<void> {
    if (this.#isAsked) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = this.#context.clock.after(ms, resolve)
      this.#wake = () => {
        timer.cancel()
        resolve()
      }
    })
  }

  /** Why compaction has to wait; undefined: it has not. */
  #hindrance(): string | undefined {
    const { safeMode, state } = this.#context
    if (safeMode.isOn) return 'safe mode'
    if (newerServer(this.#context)) return 'a chunkserver has seen more history than this log has'
    if (this.#context.isReadOnly()) return 'the log disk is almost full'
    if (state.job !== undefined) return 'a longer change runs'
    return this.#copiesUnderWay() > 0 ? 'repair goes first' : undefined
  }

  async #mayGoOn(): Promise<void> {
    while (this.#hindrance() !== undefined) await this.#context.clock.sleep(HELD_MS, this.#stop.signal)
  }

  async #pass(): Promise<void> {
    await this.#mayGoOn()
    const isAsked = this.#isAsked
    this.#isAsked = false
    await this.#releaseLeftover()
    this.#doing = 'looking'
    const { state, clock } = this.#context
    if (isAsked) await this.#sealPacking()
    const victimScan = new VictimScan(state)
    await this.#goThrough(victimScan)
    const victims = chooseVictims(this.#settled(victimScan.found, isAsked), state.chunkBytes)
    const filesDue = isAsked || clock.nowMs() - this.#filesLookedMs >= FILES_EVERY_MS
    if (victims.length === 0 && !filesDue) return
    const files = new FileScan(state, new Set(victims.map(({ handle }) => handle)), this.#candidates)
    await this.#goThrough(files)
    this.#filesLookedMs = clock.nowMs()
    this.#candidates = files.candidates
    this.#sealInTheWay(files.openInTheWay)
    const rewritten = new Set(files.rewriteRuns.map(({ inode }) => inode))
    const runs = [...files.rewriteRuns, ...files.victimRuns.filter(({ inode }) => !rewritten.has(inode))]
    this.#doing = 'gathering'
    let isComplete = true
    for (const together of this.#apart(runs, isAsked)) {
      for (const gathering of planGatherings(together, (run) => this.#goalOf(run), state.chunkBytes)) {
        await this.#mayGoOn()
        if (!(await this.#gather(gathering))) isComplete = false
      }
    }
    // Replicas of a chunk that was sealed for this pass prove themselves with the next heartbeats.
    if (!isAsked || isComplete || --this.#askedPassesLeft <= 0) return
    await clock.sleep(HELD_MS, this.#stop.signal)
    this.#isAsked = true
  }

  /** The runs in groups: those of a chunk that failed before are by themselves, so that it spoils no others, or wait. */
  #apart(runs: readonly Run[], isAsked: boolean): Run[][] {
    const { state, clock } = this.#context
    for (const handle of this.#failed.keys()) if (!state.hasChunk(handle)) this.#failed.delete(handle)
    const nowMs = clock.nowMs()
    const groups = new Map<ChunkHandle | 0, Run[]>()
    for (const run of runs) {
      const suspect = run.from.find(({ handle }) => this.#failed.has(handle))?.handle ?? 0
      const retryAtMs = suspect === 0 ? 0 : (this.#failed.get(suspect)?.retryAtMs ?? 0)
      if (!isAsked && retryAtMs > nowMs) continue
      const group = groups.get(suspect)
      if (group) group.push(run)
      else groups.set(suspect, [run])
    }
    return [...groups.values()]
  }

  #noteFailure({ ranges }: Gathering): void {
    const nowMs = this.#context.clock.nowMs()
    this.#done.failures++
    for (const handle of new Set(ranges.map((range) => range.handle))) {
      const count = (this.#failed.get(handle)?.count ?? 0) + 1
      const waitMs = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(count - 1, 10))
      if (this.#failed.size < FAILED_MAX) this.#failed.set(handle, { count, retryAtMs: nowMs + waitMs })
    }
  }

  async #goThrough(scan: { step(rows: number): boolean }): Promise<void> {
    while (scan.step(SLICE_ROWS)) await this.#context.clock.sleep(SLICE_MS, this.#stop.signal)
  }

  /** Those of the mostly dead chunks that nobody is still changing. */
  #settled(found: readonly Victim[], isAsked: boolean): Victim[] {
    const nowMs = this.#context.clock.nowMs()
    const seen = new Map<ChunkHandle, { liveBytes: number; sinceMs: number }>()
    this.#waiting = { chunks: found.length, bytes: 0 }
    const settled = found.filter((victim) => {
      const { handle, length, liveBytes } = victim
      this.#waiting.bytes += length - liveBytes
      const before = this.#seen.get(handle)
      const since = before?.liveBytes === liveBytes ? before : { liveBytes, sinceMs: nowMs }
      seen.set(handle, since)
      return isAsked || nowMs - since.sinceMs >= SETTLED_MS
    })
    this.#seen = seen
    return settled
  }

  /** The goal of the chunk that a lonely extent leaves; a file in many pieces has its own. */
  #goalOf({ inode, from }: Run): number {
    const { state } = this.#context
    const first = from.length === 1 ? state.chunk(from[0]!.handle) : undefined
    return (first ?? state.stat(inode))?.goal || state.goal
  }

  /** What a crash, or a gathering that failed, has left reserved. */
  async #releaseLeftover(): Promise<void> {
    const { reserved } = this.#context.state
    if (reserved !== undefined) await this.#propose({ kind: 'releaseHandle', handle: reserved.handle })
  }

  async #sealPacking(): Promise<void> {
    const { state } = this.#context
    const seals = [...state.openChunks()].map(async (handle) => {
      const chunk = state.chunk(handle)
      if (chunk?.shared && chunk.inode === 0 && chunk.references > 0) await this.#seal(handle)
    })
    await Promise.all(seals)
  }

  #sealInTheWay(handles: ReadonlySet<ChunkHandle>): void {
    const { openedMs, clock } = this.#context
    const nowMs = clock.nowMs()
    for (const handle of handles) {
      if (nowMs - (openedMs.get(handle) ?? nowMs) >= OPEN_MS_MAX) void this.#seal(handle)
    }
  }

  /** Never rejects with a fault of the world: the chunk stays open, and a later pass asks again. */
  async #seal(handle: ChunkHandle): Promise<void> {
    const { sealer, logger } = this.#context
    try {
      await sealer.seal(handle, 'its bytes are to be compacted')
    } catch (error) {
      if (!isDfsError(error)) throw error
      logger.debug({ event: 'compaction', handle, code: error.code }, error.message)
    }
  }

  /** One new chunk, from the reservation to the switch. @returns whether it was tried: false when its bytes can't be read whole now */
  async #gather(gathering: Gathering): Promise<boolean> {
    const sources = this.#sourcesOf(gathering)
    if (sources === undefined) return false
    const members = this.#place(gathering, sources.replicasMax)
    if (members === undefined) return true
    const reserved = await this.#propose({ kind: 'reserveHandle' })
    const handle = reserved[0] as ChunkHandle
    try {
      const facts = await this.#askAll(gathering, handle, members, sources.list)
      await this.#switch(gathering, handle, facts)
    } catch (error) {
      if (!isDfsError(error) || this.#stop.signal.aborted) throw error
      this.#noteFailure(gathering)
      this.#context.logger.warn(
        { event: 'gather-failed', handle, code: error.code },
        `chunk ${formatHandle(handle)} could not be gathered: ${error.message}`,
      )
      await this.#releaseLeftover()
    }
    return true
  }

  /** Where the ranges' chunks can be read; undefined when one of them has changed, or can't be read whole now. */
  #sourcesOf({ ranges }: Gathering) {
    const { state, locations, servers, clock } = this.#context
    const nowMs = clock.nowMs()
    const list: GatherSource[] = []
    const places = new Map<ChunkHandle, number>()
    let replicasMax = 0
    for (const { handle } of ranges) {
      if (places.has(handle)) continue
      const chunk = state.chunk(handle)
      if (chunk?.state !== 'sealed') return undefined
      const good: GatherSource['servers'][number][] = []
      for (const replica of locations.of(handle)) {
        const view = servers.serverOfDirectory(replica.directory)
        if (!view || !isReachable(servers.liveness(view, nowMs))) continue
        // No damaged one: a range is not held against the log's digest, as a copy of a whole chunk is, and this can wait for repair.
        if (replica.state === 'good') good.push({ server: view.id, address: view.address })
      }
      if (good.length === 0) return undefined
      replicasMax = Math.max(replicasMax, good.length)
      const { version, length } = chunk
      places.set(handle, list.length)
      list.push({ handle, version, length, servers: good })
    }
    return { list, replicasMax }
  }

  /** Who gathers: the goal, or with fewer servers as many as the bytes have now. Undefined: there is no room. */
  #place({ goal, length }: Gathering, replicasMax: number): readonly Member[] | undefined {
    const least = Math.min(goal, replicasMax)
    const servers = placementServers(this.#context)
    const { members, excluded } = placeReplicas(servers, goal, least, length, new Set(), this.#context.random)
    if (members.length >= least) return members
    const reasons = excluded.map(({ server, reason }) => `cs-${server}: ${reason}`).join('; ')
    this.#context.logger.info(
      { event: 'compaction', wanted: least, reasons },
      'too few servers have room for a gathering',
    )
    return undefined
  }

  /** All members gather, and agree. */
  async #askAll(
    gathering: Gathering,
    handle: ChunkHandle,
    members: readonly Member[],
    sources: readonly GatherSource[],
  ): Promise<readonly ReplicaFacts[]> {
    const { state, servers, limits, ask } = this.#context
    const places = new Map(sources.map((source, at) => [source.handle, at]))
    const ranges = gathering.ranges.map(({ handle, offset, length }) => ({
      source: places.get(handle) ?? 0,
      offset,
      length,
    }))
    const share = Math.floor(limits.repairBytesPerSecond / REPAIR_SHARE)
    const bytesPerSecond = share === 0 ? BYTES_PER_SECOND_MAX : Math.min(share, BYTES_PER_SECOND_MAX)
    const slowest = Math.min(bytesPerSecond, GATHER_BYTES_PER_SECOND_MIN)
    const timeoutMs = GATHER_MS + (SECOND_MS * gathering.length) / slowest
    const logIndex = state.reserved?.index ?? state.lastIndex
    const history = historyOf(this.#context)
    const order = { handle, logIndex, sources, ranges, bytesPerSecond, history }
    const answers = await Promise.allSettled(
      members.map(async ({ server, directory }) => {
        const options = { timeoutMs, signal: this.#stop.signal }
        const { facts } = await ask(server, 'gather', { ...order, directory }, options)
        const view = servers.get(server)
        if (view) this.#replicas.note(view, facts)
        return facts
      }),
    )
    const facts: ReplicaFacts[] = []
    for (const answer of answers) {
      if (answer.status === 'rejected') throw answer.reason
      facts.push(answer.value)
    }
    const [first] = facts
    for (const { length, digest } of facts) {
      if (length === gathering.length && digest === first?.digest) continue
      const message = `${length} bytes with digest ${digest} were gathered, ${gathering.length} with ${first?.digest} wanted`
      throw new DfsError('CORRUPT_REPLICA', `chunk ${formatHandle(handle)}: ${message}`, { handle })
    }
    return facts
  }

  async #switch(gathering: Gathering, handle: ChunkHandle, facts: readonly ReplicaFacts[]): Promise<void> {
    const { servers, logger } = this.#context
    const { length, goal } = gathering
    const digest = facts[0]!.digest
    let moved = 0
    for (const switches of switchBatches(gathering.switches)) {
      const [count, bytes] = await this.#propose({ kind: 'switchExtents', handle, length, digest, goal, switches })
      // It is in the table from the first switch on.
      for (const replica of moved === 0 ? facts : []) {
        const view = servers.serverOfDirectory(replica.directory)
        if (view) this.#replicas.note(view, replica)
      }
      moved += bytes as number
      this.#done.switches += count as number
      if (moved === 0) break
    }
    if (moved === 0) return
    this.#done.chunks++
    this.#done.bytes += moved
    logger.info(
      { event: 'compacted', handle, length, moved, switches: gathering.switches.length },
      `${moved} live bytes were brought together in chunk ${formatHandle(handle)}`,
    )
  }

  async #propose(
    operation: Parameters<MasterContext['proposer']['propose']>[0],
  ): Promise<readonly (number | string)[]> {
    const outcome = await this.#context.proposer.propose(operation)
    if (outcome.ok) return outcome.reply
    throw new DfsError(outcome.code, outcome.message, outcome.detail)
  }
}
