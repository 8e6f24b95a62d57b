// Extent lists of files with more than one extent: blocks of 2^k extents, k = 1 .. 10 cut from pages, longer ones an
// array each. A file with one extent has it in its inode row and needs nothing here.
//
//   an extent is three doubles: file offset, chunk handle, offset in the chunk; its length follows from the next one

import { assert } from '../../base/assert.ts'

const WORDS = 3
const PAGE_SHIFT = 10

export class ExtentLists {
  readonly #pages: Float64Array[][] = []
  readonly #used: number[] = []
  /** Block + 1 of the last released block of each size, 0 for none; chained through the blocks' first double. */
  readonly #free: number[] = []
  readonly #long = new Map<number, Float64Array>()
  #longNext = 1
  readonly #longFree: number[] = []

  /** Where `locate` found the block: its array and the index of its first double. */
  values: Float64Array = new Float64Array(0)
  base = 0

  /** Sets `values` and `base`. */
  locate(shift: number, block: number): void {
    if (shift > PAGE_SHIFT) {
      const values = this.#long.get(block)
      assert(values !== undefined, 'no such extent list')
      this.values = values
      this.base = 0
      return
    }
    const perPageShift = PAGE_SHIFT - shift
    this.values = this.#pages[shift]![block >>> perPageShift]!
    this.base = (block & (2 ** perPageShift - 1)) * (WORDS << shift)
  }

  /** A block for 2^shift extents, with any content. */
  allocate(shift: number): number {
    if (shift > PAGE_SHIFT) {
      const block = this.#longFree.pop() ?? this.#longNext++
      this.#long.set(block, new Float64Array(WORDS * 2 ** shift))
      return block
    }
    const free = this.#free[shift] ?? 0
    if (free !== 0) {
      this.locate(shift, free - 1)
      this.#free[shift] = this.values[this.base]!
      return free - 1
    }
    const block = this.#used[shift] ?? 0
    this.#used[shift] = block + 1
    this.#pages[shift] ??= []
    const pages = this.#pages[shift]
    if (block >>> (PAGE_SHIFT - shift) === pages.length) pages.push(new Float64Array(WORDS << PAGE_SHIFT))
    return block
  }

  release(shift: number, block: number): void {
    if (shift > PAGE_SHIFT) {
      this.#long.delete(block)
      this.#longFree.push(block)
      return
    }
    this.locate(shift, block)
    this.values[this.base] = this.#free[shift] ?? 0
    this.#free[shift] = block + 1
  }

  /** Bytes of all pages and long lists. */
  get bytes(): number {
    let bytes = 0
    for (const pages of this.#pages) bytes += (pages?.length ?? 0) * WORDS * 8 * 2 ** PAGE_SHIFT
    for (const values of this.#long.values()) bytes += values.byteLength
    return bytes
  }
}
