// Serial numbers of an open chunk's mutations: the primary gives them, every member carries them out in that order.
//
// A gap means that a mutation before it was lost on the way: nothing after it may be done.
//
// Source: GFS §3.1.

import { assert } from '../base/assert.ts'

export class MutationOrder {
  #last = 0

  /** The serial number of the last mutation taken, 0 before the first. */
  get last(): number {
    return this.#last
  }

  /** The primary's next serial number. */
  issue(): number {
    return ++this.#last
  }

  /** Takes a mutation that the primary has numbered. @returns false, and nothing changes, when one before it is missing or it was taken already */
  take(serial: number): boolean {
    assert(Number.isSafeInteger(serial), 'a serial number is whole')
    if (serial !== this.#last + 1) return false
    this.#last = serial
    return true
  }
}
