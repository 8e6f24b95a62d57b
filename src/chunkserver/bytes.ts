// Whole numbers up to 2^53 - 1 in eight little-endian bytes.

import { assert } from '../base/assert.ts'

/** Writes `value` (0 .. 2^53 - 1) at `offset`. */
export function writeU64(into: Buffer, value: number, offset: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'not a whole number in 0 .. 2^53 - 1')
  into.writeUInt32LE(value % 2 ** 32, offset)
  into.writeUInt32LE(Math.floor(value / 2 ** 32), offset + 4)
}

/** The number at `offset`, or undefined when it is over 2^53 - 1. */
export function readU64(from: Buffer, offset: number): number | undefined {
  const value = from.readUInt32LE(offset) + from.readUInt32LE(offset + 4) * 2 ** 32
  return Number.isSafeInteger(value) ? value : undefined
}
