// A run of checksum blocks: proven by one pass over all of it, told apart only when it is wrong.
//
// The sums of the blocks combine to that of the run. What a wrong byte does to the sum of its block is carried on to the
// sum of the run and can't vanish on the way, so with one wrong block the run is found wrong exactly when the block
// would be; with more, all but one time in 2^32. A call into native code for each block would cost nearly as much as
// its bytes.

import { assert } from './assert.ts'
import { crc32, crc32Combine, crc32Combiner } from './crc32.ts'
import { BLOCK_BYTES } from './limits.ts'

/** `crc32Combine` for one more whole block. */
export const combineBlock = crc32Combiner(BLOCK_BYTES)

/**
 * CRC32 of the bytes before a run of blocks and of the run, from that of the former and the sums of the blocks.
 *
 * @param before  CRC32 of what lies before; 0 for nothing
 * @param sums    those of the run are at `first` .. `end` - 1
 * @param bytes   of the run: all blocks but the last are whole
 */
export function combineRun(before: number, sums: ArrayLike<number>, first: number, end: number, bytes: number): number {
  if (first === end) return before
  let crc = before
  for (let index = first; index < end - 1; index++) crc = combineBlock(crc, sums[index]!)
  const lastBytes = bytes - (end - first - 1) * BLOCK_BYTES
  const last = sums[end - 1]!
  return lastBytes === BLOCK_BYTES ? combineBlock(crc, last) : crc32Combine(crc, last, lastBytes)
}

/** CRC32 of a run of blocks from their sums; all but the last are whole, that one has `lastBytes` bytes (1 .. BLOCK_BYTES). */
export function combineSums(sums: ArrayLike<number>, lastBytes: number): number {
  return combineRun(0, sums, 0, sums.length, (sums.length - 1) * BLOCK_BYTES + lastBytes)
}

/** The first block of a run whose checksum is not the stored one. Called when the run's is not what they combine to. */
export interface WrongBlock {
  /** Within `sums`. */
  readonly index: number
  readonly actual: number
}

/**
 * Finds the first block of `bytes` that does not have its checksum; undefined when all have.
 *
 * @param bytes  whole blocks, but for the last, which may be a part
 * @param sums   that of the first block is at `first`
 */
export function findWrongBlock(bytes: Uint8Array, sums: ArrayLike<number>, first: number): WrongBlock | undefined {
  const end = first + Math.ceil(bytes.length / BLOCK_BYTES)
  assert(end <= sums.length, 'not one sum for each block')
  if (crc32(bytes) === combineRun(0, sums, first, end, bytes.length)) return undefined
  return wrongBlock(bytes, sums, first)
}

/** Looks at each block of a run that is known to be wrong. */
export function wrongBlock(bytes: Uint8Array, sums: ArrayLike<number>, first: number): WrongBlock {
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const index = first + at / BLOCK_BYTES
    const actual = crc32(bytes.subarray(at, Math.min(at + BLOCK_BYTES, bytes.length)))
    if (actual !== sums[index]) return { index, actual }
  }
  assert(false, 'a run is wrong, and each of its blocks is right')
}

/** Sums as the wire has them, 4 bytes each, little-endian, as numbers. */
export function sumsFrom(bytes: Uint8Array): Uint32Array {
  assert(bytes.length % 4 === 0, 'a sum has four bytes')
  const sums = new Uint32Array(bytes.length / 4)
  for (let index = 0, at = 0; at < bytes.length; index++, at += 4) {
    sums[index] = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
  }
  return sums
}
