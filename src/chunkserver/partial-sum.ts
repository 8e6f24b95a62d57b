// The sum of a part of a block: what a length that ends inside one needs.

import { DfsError } from '../base/errors.ts'
import { BLOCK_BYTES } from '../base/limits.ts'
import { type BlockSums, PieceSums } from './block-sums.ts'

/**
 * CRC32 of the bytes from the start of the block that holds `length` up to `length`. The block is read and compared
 * with its own sum first: CORRUPT_REPLICA when it differs.
 *
 * @param length  inside a block, below `sums.length`
 */
export async function partialSum(
  sums: BlockSums,
  length: number,
  read: (buffer: Buffer, position: number) => Promise<number>,
): Promise<number> {
  const block = Math.floor(length / BLOCK_BYTES)
  const start = block * BLOCK_BYTES
  const expected = sums.at(block)
  const bytes = Buffer.allocUnsafe(Math.min(BLOCK_BYTES, sums.length - start))
  const count = await read(bytes, start)
  const whole = new PieceSums(0, 0)
  whole.push(bytes)
  if (count < bytes.length || whole.crc !== expected) {
    throw new DfsError('CORRUPT_REPLICA', `block ${block}: checksum ${expected} stored, ${whole.crc} computed`, {
      block,
    })
  }
  const part = new PieceSums(0, 0)
  part.push(bytes.subarray(0, length - start))
  return part.crc
}
