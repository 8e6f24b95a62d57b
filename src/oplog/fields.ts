// Numbers in headers: little-endian, each in a named run of bytes. 8-byte ones hold 0 .. 2^53 - 1.

import { assert } from '../base/assert.ts'

/** A run of bytes in a header. */
export interface Field {
  readonly offset: number
  readonly bytes: number
}

export function field(offset: number, bytes: number): Field {
  return { offset, bytes }
}

/** Writes a number into a field of 1, 2, 4 or 8 bytes of the header that starts at `base`. */
export function putField(into: Buffer, base: number, { offset, bytes }: Field, value: number): void {
  const at = base + offset
  switch (bytes) {
    case 1:
      into.writeUInt8(value, at)
      break
    case 2:
      into.writeUInt16LE(value, at)
      break
    case 4:
      into.writeUInt32LE(value, at)
      break
    default:
      assert(bytes === 8 && Number.isSafeInteger(value) && value >= 0, 'a number that does not fit its field')
      into.writeUInt32LE(value % 2 ** 32, at)
      into.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4)
  }
}

/** The number in a field; an 8-byte one beyond 2^53 comes back inexact and never equals what is expected. */
export function getField(from: Buffer, base: number, { offset, bytes }: Field): number {
  const at = base + offset
  assert(at >= 0 && at + bytes <= from.length, 'a field outside its buffer')
  switch (bytes) {
    case 1:
      return from[at]!
    case 2:
      return from[at]! | (from[at + 1]! << 8)
    case 4:
      return wordAt(from, at)
    default:
      return wordAt(from, at) + wordAt(from, at + 4) * 2 ** 32
  }
}

/** By the byte: a start reads a dozen million of these, and `readUInt32LE` costs several times as much. */
function wordAt(from: Buffer, at: number): number {
  return (from[at]! | (from[at + 1]! << 8) | (from[at + 2]! << 16)) + from[at + 3]! * 2 ** 24
}

/** Whether every byte of the field is zero. */
export function isZeroField(bytes: Buffer, base: number, { offset, bytes: count }: Field): boolean {
  const at = base + offset
  return bytes.subarray(at, at + count).equals(zeros.subarray(0, count))
}

/** As long as the longest reserved field. */
const zeros = Buffer.alloc(4096)
