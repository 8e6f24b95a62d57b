// The entropy port: the only source of chance in product code.

export interface Entropy {
  /** A whole number in 0 .. `bound` - 1; `bound` in 1 .. 2^53 - 1. */
  below(bound: number): number
  /** `count` random bytes in a new buffer the caller owns. */
  bytes(count: number): Buffer
}
