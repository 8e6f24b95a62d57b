// Reclaimer: retention yields to need. While too few servers have room, what is retained goes before its time, the oldest
// first: chunks whose bytes were moved, then trash and chunks that no file names (DESIGN §5 "Deleting").
//
// A step gives up as much as seems to be needed, then waits until the servers have deleted and said how much room they
// have now. Steps of many small things grow, so that a trash full of small files does not hold up writers for long.
//
// Bounds: one step at a time, ITEMS_MIN items in the first and twice as many in each that follows at once, up to ITEMS_MAX.

import { DfsError, isDfsError } from '../base/errors.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Timer } from '../io/clock.ts'
import type { MasterContext } from './context.ts'
import { newerServer } from './history.ts'
import { nextDueChunk } from './metadata/chunk-operations.ts'
import type { GarbageTimes } from './metadata/trash.ts'
import { bytesNeeded } from './plan/garbage.ts'
import { isReachable } from './plan/standing.ts'
import type { Replicas } from './replicas.ts'

const LOOK_MS = SECOND_MS
/** After a step: orders to delete ride in heartbeats, and the room that follows in later ones. */
const SETTLE_MS = 5 * SECOND_MS
const ITEMS_MIN = 16
const ITEMS_MAX = 4096

export class Reclaimer {
  readonly #context: MasterContext
  readonly #replicas: Replicas
  #timer: Timer | undefined
  #isStopped = false
  #items = ITEMS_MIN
  #settledMs = 0
  #early = 0

  constructor(context: MasterContext, replicas: Replicas) {
    this.#context = context
    this.#replicas = replicas
  }

  /** Removed trees and chunks that were given up before their time, since the master started. */
  get earlyCount(): number {
    return this.#early
  }

  start(): void {
    if (this.#isStopped) return
    this.#timer = this.#context.clock.after(LOOK_MS, () => {
      this.#look()
        .catch((error: unknown) => {
          if (!isDfsError(error)) throw error
          if (!this.#isStopped) this.#context.logger.warn({ event: 'reclaim', code: error.code }, error.message)
        })
        .finally(() => this.start())
    })
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  async #look(): Promise<void> {
    const { clock, safeMode, logger } = this.#context
    if (safeMode.isOn || newerServer(this.#context) || clock.nowMs() < this.#settledMs) return
    const needed = this.#needed()
    // What is on its way out counts before anything else is given up.
    if (needed === 0 || this.#replicas.pendingDeletes > 0) {
      if (needed === 0) this.#items = ITEMS_MIN
      return
    }
    let freed = 0
    let count = 0
    for (; count < this.#items && freed < needed; count++) {
      const oldest = this.#oldest()
      if (oldest === undefined) break
      freed += oldest.bytes
      await this.#collect(oldest.before)
    }
    if (count === 0) return
    this.#early += count
    this.#items = Math.min(ITEMS_MAX, this.#items * 2)
    this.#settledMs = clock.nowMs() + SETTLE_MS
    logger.warn(
      { event: 'retained-early', count, needed, early: this.#early },
      `disks are almost full: ${count} of what was removed went before its time`,
    )
  }

  #needed(): number {
    const { servers, state, clock } = this.#context
    const nowMs = clock.nowMs()
    const live = servers.all().filter((server) => isReachable(servers.liveness(server, nowMs)))
    const disks = live.map(({ directories }) => directories)
    return bytesNeeded(disks, state.goal, state.chunkBytes)
  }

  /** What goes next, and about how many bytes come free; a removed tree counts as enough for one step. */
  #oldest(): { readonly before: GarbageTimes; readonly bytes: number } | undefined {
    const { state } = this.#context
    const { due, dueMoved } = state.chunks
    const nothing = { trashBeforeMs: -1, chunksBeforeMs: -1, movedBeforeMs: -1 }
    const moved = nextDueChunk(state, dueMoved)
    if (moved !== 0) return { before: { ...nothing, movedBeforeMs: dueMoved.firstTime }, bytes: this.#bytesOf(moved) }
    const chunk = nextDueChunk(state, due)
    const [tree] = state.trash(0, 1)
    if (tree !== undefined && (chunk === 0 || tree.removedAtMs <= due.firstTime)) {
      const bytes = tree.type === 'file' ? tree.size * state.goal : Number.POSITIVE_INFINITY
      return { before: { ...nothing, trashBeforeMs: tree.removedAtMs }, bytes }
    }
    if (chunk === 0) return undefined
    return { before: { ...nothing, chunksBeforeMs: due.firstTime }, bytes: this.#bytesOf(chunk) }
  }

  #bytesOf(handle: NonNullable<ReturnType<typeof nextDueChunk>>): number {
    const chunk = handle === 0 ? undefined : this.#context.state.chunk(handle)
    return chunk === undefined ? 0 : chunk.length * (chunk.goal || this.#context.state.goal)
  }

  async #collect(before: GarbageTimes): Promise<void> {
    const outcome = await this.#context.proposer.propose({ kind: 'collectGarbage', ...before })
    if (!outcome.ok) throw new DfsError(outcome.code, outcome.message, outcome.detail)
  }
}
