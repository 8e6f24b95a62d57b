// A seeded generator (xoshiro128**, seeded by splitmix32): for the simulator and for pure code that is given chance.

import { assert } from './assert.ts'

export class Random {
  readonly #state = new Uint32Array(4)

  /** @param seed  any number; its low 53 bits count */
  constructor(seed: number) {
    let low = seed >>> 0
    const high = Math.floor(seed / 2 ** 32) >>> 0
    for (let i = 0; i < 4; i++) {
      low = (low + 0x9e3779b9) >>> 0
      let mixed = low ^ Math.imul(high, 0x85ebca6b + i)
      mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad)
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
      this.#state[i] = mixed ^ (mixed >>> 15)
    }
    if (this.#state.every((word) => word === 0)) this.#state[0] = 1
  }

  /** A whole number in 0 .. 2^32 - 1. */
  next(): number {
    const s = this.#state
    const product = Math.imul(s[1]!, 5)
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0
    const shifted = s[1]! << 9
    s[2]! ^= s[0]!
    s[3]! ^= s[1]!
    s[1]! ^= s[2]!
    s[0]! ^= s[3]!
    s[2]! ^= shifted
    s[3] = (s[3]! << 11) | (s[3]! >>> 21)
    return result
  }

  /** A whole number in 0 .. `bound` - 1; `bound` in 1 .. 2^53 - 1. */
  below(bound: number): number {
    assert(Number.isSafeInteger(bound) && bound >= 1, 'bound out of range')
    return Math.floor(this.fraction() * bound)
  }

  /** A number in [0, 1) with 53 bits. */
  fraction(): number {
    return ((this.next() >>> 5) * 2 ** 26 + (this.next() >>> 6)) / 2 ** 53
  }

  /** True with the given probability (0 .. 1). */
  chance(probability: number): boolean {
    return this.fraction() < probability
  }

  /** One of `items`, which has at least one. */
  pick<T>(items: readonly T[]): T {
    assert(items.length > 0, 'nothing to pick from')
    return items[this.below(items.length)] as T
  }

  /** `count` bytes in a new buffer the caller owns. */
  bytes(count: number): Buffer {
    const buffer = Buffer.allocUnsafe(count)
    for (let i = 0; i < count; i++) buffer[i] = this.next() & 255
    return buffer
  }

  /** A generator of its own whose numbers don't depend on how often this one is asked later. */
  fork(): Random {
    return new Random(this.next() * 2 ** 21 + (this.next() >>> 11))
  }
}
