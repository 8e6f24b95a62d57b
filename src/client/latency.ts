// Latency: how long something usually takes, as the time that a given share of the latest stays under.
//
// A histogram with buckets that grow by a quarter; every RECENT samples all counts are halved, so that old times fade.

const BUCKETS = 64
const FIRST_MS = 0.05
const GROWTH = 1.25
const RECENT = 1024
const LOG_GROWTH = Math.log(GROWTH)

export class Latency {
  readonly #counts = new Float64Array(BUCKETS)
  #count = 0
  #sinceHalved = 0

  /** Samples that count, older ones less. */
  get count(): number {
    return this.#count
  }

  /** @param ms  0 upward; what exceeds the last bucket (a minute) counts as that */
  add(ms: number): void {
    const bucket = ms <= FIRST_MS ? 0 : Math.min(BUCKETS - 1, Math.ceil(Math.log(ms / FIRST_MS) / LOG_GROWTH))
    this.#counts[bucket]!++
    this.#count++
    if (++this.#sinceHalved < RECENT) return
    this.#sinceHalved = 0
    this.#count = 0
    for (let index = 0; index < BUCKETS; index++) {
      this.#counts[index]! /= 2
      this.#count += this.#counts[index]!
    }
  }

  /** Milliseconds that `share` (0 .. 1) of the samples stay under, rounded up to a bucket; 0 without any. */
  quantile(share: number): number {
    if (this.#count === 0) return 0
    let rest = share * this.#count
    let bucket = 0
    while (bucket < BUCKETS - 1 && rest > this.#counts[bucket]!) rest -= this.#counts[bucket++]!
    return FIRST_MS * GROWTH ** bucket
  }
}
