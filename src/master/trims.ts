// Trims: surplus and useless replicas on their way out, one of a chunk at a time.
//
// Invariants:
//   - a replica is given up only while plan/repair.ts says that the chunk has too many without it, asked again at the
//     moment the order leaves
//   - from then until it is gone, or the order can't be carried out any more, the replica counts as gone, so that no second
//     order takes one that is needed
//
// Bounded: what doesn't fit is found again by the sweep.

import type { ChunkHandle, ServerId } from '../base/ids.ts'
import { ORDER_VALID_MS } from '../base/limits.ts'
import { SECOND_MS } from '../base/units.ts'
import { type Place, type RepairServer, type Verdict, worstReplica } from './plan/repair.ts'

const SURPLUS_MAX = 100_000
/** Too many for this long before one goes: a server that comes and goes must not cost its replicas. */
const SETTLE_MS = 2 * SECOND_MS
/** An order dies by the server's clock, counted from its heartbeat; ours may be slower. */
const DOOMED_MS = 2 * ORDER_VALID_MS
/** A server that took no order for so long may never come for it: another is chosen, if there are too many still. */
const UNGIVEN_MS = 2 * ORDER_VALID_MS
const TRIMS_PER_TICK = 256
const TRIMS_PER_REPLY = 1024

interface Trim {
  readonly server: ServerId
  readonly chosenMs: number
  /** When the order left; undefined while it waits for a heartbeat. */
  givenMs: number | undefined
}

export class Trims {
  /** The verdict on a chunk now; undefined: nothing is wanted of it. */
  readonly #judge: (handle: ChunkHandle) => Verdict | undefined
  /** Chunks with too many, and since when. */
  readonly #surplus = new Map<ChunkHandle, number>()
  readonly #trims = new Map<ChunkHandle, Trim>()
  readonly #byServer = new Map<ServerId, Set<ChunkHandle>>()

  constructor(judge: (handle: ChunkHandle) => Verdict | undefined) {
    this.#judge = judge
  }

  /** Whether an order to delete the replica there is out and may still be carried out. */
  isDoomed(handle: ChunkHandle, server: ServerId): boolean {
    const trim = this.#trims.get(handle)
    return trim?.server === server && trim.givenMs !== undefined
  }

  /**
   * Where the chunk's replicas are now. An order whose replica is gone was carried out, or died with its connection: what
   * is copied there afterwards is not doomed.
   */
  seen(handle: ChunkHandle, replicas: readonly Place[]): void {
    const trim = this.#trims.get(handle)
    if (trim?.givenMs === undefined || replicas.some(({ server }) => server === trim.server)) return
    this.#trims.delete(handle)
  }

  /** The chunk has too many. */
  consider(handle: ChunkHandle, nowMs: number): void {
    if (!this.#surplus.has(handle) && this.#surplus.size < SURPLUS_MAX) this.#surplus.set(handle, nowMs)
  }

  /** It has not. */
  drop(handle: ChunkHandle): void {
    this.#surplus.delete(handle)
  }

  /**
   * Chooses what goes, and forgets what can't be carried out any more.
   * @param servers  asked only when there is something to choose: most ticks have nothing
   */
  tick(nowMs: number, servers: () => ReadonlyMap<ServerId, RepairServer>): void {
    for (const [handle, trim] of this.#trims) {
      const isOver =
        trim.givenMs === undefined ? nowMs - trim.chosenMs >= UNGIVEN_MS : nowMs - trim.givenMs >= DOOMED_MS
      if (!isOver) continue
      this.#trims.delete(handle)
      this.#byServer.get(trim.server)?.delete(handle)
    }
    let count = 0
    let known: ReadonlyMap<ServerId, RepairServer> | undefined
    for (const [handle, sinceMs] of this.#surplus) {
      if (nowMs - sinceMs < SETTLE_MS || count >= TRIMS_PER_TICK) break // in the order of their coming
      if (this.#trims.has(handle)) continue
      count++
      this.#surplus.delete(handle)
      const verdict = this.#judge(handle)
      if (verdict?.kind !== 'surplus') continue
      known ??= servers()
      const worst = worstReplica(verdict.replicas, known)
      if (worst !== undefined) this.#choose(handle, worst, nowMs)
    }
  }

  /** Chunks of which this server is to delete its replica now. */
  take(server: ServerId, nowMs: number): ChunkHandle[] {
    const waiting = this.#byServer.get(server)
    if (!waiting) return []
    const taken: ChunkHandle[] = []
    for (const handle of waiting) {
      if (taken.length >= TRIMS_PER_REPLY) break
      waiting.delete(handle)
      const trim = this.#trims.get(handle)
      if (trim?.server !== server || trim.givenMs !== undefined) continue
      const verdict = this.#judge(handle)
      if (verdict?.kind === 'surplus' && verdict.replicas.some((replica) => replica.server === server)) {
        trim.givenMs = nowMs
        taken.push(handle)
      } else this.#trims.delete(handle)
    }
    if (waiting.size === 0) this.#byServer.delete(server)
    return taken
  }

  #choose(handle: ChunkHandle, server: ServerId, nowMs: number): void {
    this.#trims.set(handle, { server, chosenMs: nowMs, givenMs: undefined })
    const waiting = this.#byServer.get(server)
    if (waiting) waiting.add(handle)
    else this.#byServer.set(server, new Set([handle]))
  }
}
