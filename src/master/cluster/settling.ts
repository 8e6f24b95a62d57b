// Settling: sealed chunks whose members were told so a moment ago, and are about to say that they have carried it out.
//
// Until then a replica that still looks open counts for its chunk: nobody is alarmed by an ordinary seal, and nothing is
// copied for it. Who has not sealed within SETTLES_MS (a full disk, a stopped process) counts no more, for anybody.
//
// Bounded: at SETTLING_MAX the oldest gives way; the repairer's sweep finds what it needs.

import type { ChunkHandle } from '../../base/ids.ts'
import { SECOND_MS } from '../../base/units.ts'

export const SETTLES_MS = 2 * SECOND_MS
const SETTLING_MAX = 100_000

export class Settling {
  /** Since when, in the order of these times. */
  readonly #since = new Map<ChunkHandle, number>()

  /** The chunk was sealed, or a replica of it that waits for its seal was heard of for the first time. */
  begin(handle: ChunkHandle, nowMs: number): void {
    this.#since.delete(handle)
    this.#since.set(handle, nowMs)
    if (this.#since.size <= SETTLING_MAX) return
    for (const oldest of this.#since.keys()) {
      this.#since.delete(oldest)
      return
    }
  }

  /** No replica waits for its seal any more, as far as is known. */
  end(handle: ChunkHandle): void {
    this.#since.delete(handle)
  }

  has(handle: ChunkHandle, nowMs: number): boolean {
    const sinceMs = this.#since.get(handle)
    return sinceMs !== undefined && nowMs - sinceMs < SETTLES_MS
  }

  /** The chunks whose time is over; they are no longer in here. */
  takeOver(nowMs: number): ChunkHandle[] {
    const over: ChunkHandle[] = []
    for (const [handle, sinceMs] of this.#since) {
      if (nowMs - sinceMs < SETTLES_MS) break
      over.push(handle)
    }
    for (const handle of over) this.#since.delete(handle)
    return over
  }
}
