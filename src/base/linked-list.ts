// A list of things under way, in the order they began: added at the end, taken out anywhere, each in one list at a time.
//
// For what comes and goes thousands of times a second, instead of a Set or Map: V8 makes these a new table every few
// additions and leaves the old one pointing to it, so that one old table which the garbage collector has put among the
// long-lived keeps every later one, and all that was ever in them, until the next full collection.
//
// Invariant: what is in no list has no neighbours, and keeps nothing else alive.

import { assert } from './assert.ts'

/** What can be in a list. The fields are the list's; undefined at first. */
export interface Linked<T> {
  before: T | undefined
  after: T | undefined
}

export class LinkedList<T extends Linked<T>> {
  #first: T | undefined
  #last: T | undefined

  /** The one that was added longest ago. */
  get first(): T | undefined {
    return this.#first
  }

  get isEmpty(): boolean {
    return this.#first === undefined
  }

  /** Adds what is in no list, at the end. */
  add(item: T): void {
    assert(item.before === undefined && item.after === undefined && this.#last !== item, 'it is in a list already')
    item.before = this.#last
    if (this.#last === undefined) this.#first = item
    else this.#last.after = item
    this.#last = item
  }

  /** Takes it out. It must not be in another list. @returns whether it was in this one */
  delete(item: T): boolean {
    const { before, after } = item
    if (before === undefined && this.#first !== item) return false
    if (before === undefined) this.#first = after
    else before.after = after
    if (after === undefined) this.#last = before
    else after.before = before
    item.before = undefined
    item.after = undefined
    return true
  }

  /** All, in order; the one that was given may be deleted meanwhile. */
  *[Symbol.iterator](): Generator<T, void, undefined> {
    for (let item = this.#first; item !== undefined; ) {
      const next: T | undefined = item.after
      yield item
      item = next
    }
  }
}
