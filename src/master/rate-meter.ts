// A rate meter: how much came in each of the last seconds. Counts only; time is the caller's clock.

import { SECOND_MS } from '../base/units.ts'
import type { Clock } from '../io/clock.ts'

const BUCKETS = 10

export class RateMeter {
  readonly #clock: Clock
  readonly #perSecond = new Array<number>(BUCKETS).fill(0)
  #second = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(count: number): void {
    this.#turn()
    this.#perSecond[this.#second % BUCKETS]! += count
  }

  /** Mean of the last ten seconds, a whole number a second. */
  get perSecond(): number {
    this.#turn()
    return Math.round(this.#perSecond.reduce((total, count) => total + count, 0) / BUCKETS)
  }

  /** Empties the buckets of the seconds that have passed. */
  #turn(): void {
    const second = Math.floor(this.#clock.nowMs() / SECOND_MS)
    const passed = Math.min(BUCKETS, second - this.#second)
    for (let index = 0; index < passed; index++) this.#perSecond[(second - index) % BUCKETS] = 0
    this.#second = second
  }
}
