// A set of chunk handles: one bit each where handles are dense, as a master gives them out.

import { type ChunkHandle, counterOf, lineageOf } from '../base/ids.ts'

const PAGE_BITS = 32_768

export class HandleSet {
  readonly #pages = new Map<string, Uint32Array>()

  /** @returns whether it was not there before */
  add(handle: ChunkHandle): boolean {
    const counter = counterOf(handle)
    const key = `${lineageOf(handle)}:${Math.floor(counter / PAGE_BITS)}`
    let page = this.#pages.get(key)
    if (page === undefined) {
      page = new Uint32Array(PAGE_BITS / 32)
      this.#pages.set(key, page)
    }
    const bit = counter % PAGE_BITS
    const mask = (1 << (bit & 31)) >>> 0
    const word = page[bit >>> 5]!
    if ((word & mask) !== 0) return false
    page[bit >>> 5] = word | mask
    return true
  }
}
