// Attention: chunks whose replicas may no longer be what they should be, to be looked at soon.
//
// Bounded: what doesn't fit is found by the sweep over the whole table (repairer.ts), only later.

import type { ChunkHandle } from '../../base/ids.ts'

const HANDLES_MAX = 1_000_000
/** Chunks that somebody waits for. */
const AWAITED_MAX = 1024

export class Attention {
  readonly #handles = new Set<ChunkHandle>()
  readonly #awaited = new Set<ChunkHandle>()

  get size(): number {
    return this.#handles.size
  }

  add(handle: ChunkHandle): void {
    if (this.#handles.size < HANDLES_MAX) this.#handles.add(handle)
  }

  /** A reader has met a bad replica: this chunk comes before others like it. At the bound the oldest gives way. */
  await(handle: ChunkHandle): void {
    this.add(handle)
    this.#awaited.delete(handle)
    this.#awaited.add(handle)
    if (this.#awaited.size <= AWAITED_MAX) return
    for (const oldest of this.#awaited) {
      this.#awaited.delete(oldest)
      return
    }
  }

  isAwaited(handle: ChunkHandle): boolean {
    return this.#awaited.has(handle)
  }

  /** Chunks that somebody waits for, the longest waiting first. */
  awaited(): IterableIterator<ChunkHandle> {
    return this.#awaited.values()
  }

  /** The chunk is well: nobody waits any more. */
  settle(handle: ChunkHandle): void {
    this.#awaited.delete(handle)
  }

  /** Up to `count` of them, the longest waiting first; they are no longer in here. */
  take(count: number): ChunkHandle[] {
    const taken: ChunkHandle[] = []
    for (const handle of this.#handles) {
      if (taken.length >= count) break
      taken.push(handle)
    }
    for (const handle of taken) this.#handles.delete(handle)
    return taken
  }
}
