// A queue in a ring that grows: first in, first out, without moving what waits.

import { assert } from './assert.ts'

export class RingBuffer<T> {
  #items: (T | undefined)[] = new Array(16)
  #head = 0
  #count = 0

  get count(): number {
    return this.#count
  }

  push(item: T): void {
    if (this.#count === this.#items.length) this.#grow()
    this.#items[(this.#head + this.#count) % this.#items.length] = item
    this.#count++
  }

  /** The oldest, left in place; undefined when empty. */
  peek(): T | undefined {
    return this.#count === 0 ? undefined : this.#items[this.#head]
  }

  /** Takes the oldest; there must be one. */
  shift(): T {
    assert(this.#count > 0, 'nothing in the ring')
    const item = this.#items[this.#head] as T
    this.#items[this.#head] = undefined
    this.#head = (this.#head + 1) % this.#items.length
    this.#count--
    return item
  }

  /** Takes the newest; there must be one. */
  pop(): T {
    assert(this.#count > 0, 'nothing in the ring')
    this.#count--
    const index = (this.#head + this.#count) % this.#items.length
    const item = this.#items[index] as T
    this.#items[index] = undefined
    return item
  }

  /** The newest, left in place; undefined when empty. */
  peekLast(): T | undefined {
    return this.#count === 0 ? undefined : this.#items[(this.#head + this.#count - 1) % this.#items.length]
  }

  #grow(): void {
    const items: (T | undefined)[] = new Array(this.#items.length * 2)
    for (let i = 0; i < this.#count; i++) items[i] = this.#items[(this.#head + i) % this.#items.length]
    this.#items = items
    this.#head = 0
  }
}
