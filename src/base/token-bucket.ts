// A token bucket: how long to wait so that a rate holds over time, with bursts of a bounded size.
//
// Pure: time is an argument. What is taken is taken at once and may leave a debt; who takes waits until the debt is paid,
// so takers that come together are served one after the other.

export class TokenBucket {
  #perMs: number
  #burst: number
  #tokens: number
  #atMs: number

  /**
   * @param perSecond  tokens that come in a second, above 0
   * @param burst      tokens that may gather while nobody takes any
   */
  constructor(perSecond: number, burst: number, nowMs: number) {
    this.#perMs = perSecond / 1000
    this.#burst = burst
    this.#tokens = burst
    this.#atMs = nowMs
  }

  /** Another rate from now on; what was taken stays taken. */
  setRate(perSecond: number, burst: number, nowMs: number): void {
    this.#refill(nowMs)
    this.#perMs = perSecond / 1000
    this.#burst = burst
    this.#tokens = Math.min(this.#tokens, burst)
  }

  /** Takes `count` tokens. @returns milliseconds to wait before what they stand for is done; 0: none */
  take(count: number, nowMs: number): number {
    this.#refill(nowMs)
    this.#tokens -= count
    return this.#tokens >= 0 ? 0 : -this.#tokens / this.#perMs
  }

  #refill(nowMs: number): void {
    this.#tokens = Math.min(this.#burst, this.#tokens + Math.max(0, nowMs - this.#atMs) * this.#perMs)
    this.#atMs = nowMs
  }
}
