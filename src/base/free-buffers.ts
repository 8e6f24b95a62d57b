// Free buffers of one size, for use again: as many as were needed lately, not as many as ever were.
//
// What is given back is lent again, the latest first, so that those at the bottom are the ones nobody needs. Half of
// those that lay untouched through EPOCH_TAKES takes are left to the garbage collector: after a rare peak the memory comes
// back by itself, and under steady load nothing is made anew.
//
// Invariants:
//   - never more than `countMax` free ones
//   - no clock: an owner that takes no more keeps what it has

/** So many takes show what is needed. */
const EPOCH_TAKES = 256

export class FreeBuffers {
  /** Bytes of each. */
  readonly size: number
  readonly #countMax: number
  readonly #free: Buffer[] = []
  #takes = 0
  /** The fewest that were free since the epoch began. */
  #least = 0

  constructor(size: number, countMax: number) {
    this.size = size
    this.#countMax = countMax
  }

  /** Free ones now. */
  get count(): number {
    return this.#free.length
  }

  /** One of `size` bytes, content undefined; the caller's until it gives it back. */
  take(): Buffer {
    const buffer = this.#free.pop()
    if (this.#free.length < this.#least) this.#least = this.#free.length
    if (++this.#takes >= EPOCH_TAKES) this.#endEpoch()
    return buffer ?? Buffer.allocUnsafeSlow(this.size)
  }

  /** Takes one back, once, that nobody looks at any more. */
  give(buffer: Buffer): void {
    if (this.#free.length < this.#countMax) this.#free.push(buffer)
  }

  #endEpoch(): void {
    this.#free.splice(0, Math.ceil(this.#least / 2))
    this.#takes = 0
    this.#least = this.#free.length
  }
}
