// Rows of 32-bit words in pages: no object for a row, nothing for the garbage collector to visit but one typed array a
// page. The words of a row lie side by side, so that reading several fields of one row touches one or two cache lines.
//
// Invariants:
//   - a row number is given by `allocate` and valid until `release`; released rows are given out again, last first
//   - row numbers are this process's own: they stand in no record and in no checkpoint

import { assert } from '../../base/assert.ts'

export class WordTable {
  readonly #width: number
  readonly #shift: number
  readonly #mask: number
  readonly #pages: Uint32Array[] = []
  #rowsUsed = 0
  /** Row + 1 of the last released row, 0 for none; each released row holds the next one in its word 0. */
  #free = 0
  #live = 0

  /**
   * @param width      words of a row, 1 upward
   * @param pageShift  a page has 2^pageShift rows
   */
  constructor(width: number, pageShift: number) {
    this.#width = width
    this.#shift = pageShift
    this.#mask = 2 ** pageShift - 1
  }

  /** Rows in use. */
  get live(): number {
    return this.#live
  }

  /** Bytes of all pages. */
  get bytes(): number {
    return this.#pages.length * (this.#mask + 1) * this.#width * 4
  }

  /** A row whose words are all 0. */
  allocate(): number {
    this.#live++
    if (this.#free !== 0) {
      const row = this.#free - 1
      this.#free = this.get(row, 0)
      this.set(row, 0, 0)
      return row
    }
    const row = this.#rowsUsed++
    if (row >>> this.#shift === this.#pages.length) {
      this.#pages.push(new Uint32Array((this.#mask + 1) * this.#width))
    }
    return row
  }

  /** Rows 0 .. `count` - 1 of an empty table, all words 0. */
  allocateRows(count: number): void {
    assert(this.#rowsUsed === 0, 'rows that were given before')
    this.#rowsUsed = count
    this.#live = count
    const pages = Math.ceil(count / (this.#mask + 1))
    while (this.#pages.length < pages) this.#pages.push(new Uint32Array((this.#mask + 1) * this.#width))
  }

  release(row: number): void {
    const page = this.#pages[row >>> this.#shift]
    assert(page !== undefined && this.#live > 0, 'a row that was never given')
    const base = (row & this.#mask) * this.#width
    page.fill(0, base, base + this.#width)
    page[base] = this.#free
    this.#free = row + 1
    this.#live--
  }

  get(row: number, word: number): number {
    return this.#pages[row >>> this.#shift]![(row & this.#mask) * this.#width + word]!
  }

  set(row: number, word: number, value: number): void {
    this.#pages[row >>> this.#shift]![(row & this.#mask) * this.#width + word] = value
  }
}
