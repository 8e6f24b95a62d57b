// CRC32 (the polynomial of zlib, gzip and Ethernet), streamed and combined.
//
// `@node-rs/crc32` is several times faster than `zlib.crc32` and optional; both give the same numbers (a test
// compares them). Combining is zlib's: the checksum of A ‖ B follows from those of A and B and the length of B, which
// lets block checksums give a chunk's digest without touching the bytes again.

import { createRequire } from 'node:module'
import * as zlib from 'node:zlib'
import { assert } from './assert.ts'

type Crc32 = (bytes: Uint8Array, seed?: number) => number

/** Up to here the call costs more than the bytes, and loading native code more than a short command. */
const SMALL_BYTES = 4096

const small = zlib.crc32 as Crc32
/** Chosen with the first bytes that are worth it. */
let large: Crc32 = (bytes, seed) => {
  large = choose()
  return large(bytes, seed)
}

/** Continues `seed` (0 to start) over `bytes`. @returns 0 .. 2^32 - 1 */
export function crc32(bytes: Uint8Array, seed = 0): number {
  if (bytes.length === 0) return seed
  return bytes.length < SMALL_BYTES ? small(bytes, seed) : large(bytes, seed)
}

/**
 * `crc32` of the bytes `from` .. `to` - 1, in place: for the few dozen bytes of a header, where a view and a call into
 * native code cost three times as much as the sum. A multiple of four bytes.
 */
export function crc32Of(bytes: Uint8Array, from: number, to: number): number {
  assert((to - from) % 4 === 0 && from >= 0 && to <= bytes.length, 'no whole words of the bytes')
  let crc = -1
  for (let at = from; at < to; at += 4) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    crc =
      wordTables[768 + (crc & 255)]! ^
      wordTables[512 + ((crc >>> 8) & 255)]! ^
      wordTables[256 + ((crc >>> 16) & 255)]! ^
      wordTables[crc >>> 24]!
  }
  return ~crc >>> 0
}

/** The checksum of A ‖ B from the checksums of A and B and the byte length of B (0 .. 2^53 - 1). */
export function crc32Combine(a: number, b: number, lengthOfB: number): number {
  return (multiply(powerOfX(lengthOfB), a) ^ b) >>> 0
}

/**
 * `crc32Combine` for one fixed length of B: four table look-ups.
 *
 * @param lengthOfB  bytes, 0 .. 2^53 - 1
 */
export function crc32Combiner(lengthOfB: number): (a: number, b: number) => number {
  // Made with the first call: a short command combines nothing.
  let made: Uint32Array | undefined
  return (a, b) => {
    made ??= combinerTables(powerOfX(lengthOfB))
    return (
      (made[a & 255]! ^
        made[256 + ((a >>> 8) & 255)]! ^
        made[512 + ((a >>> 16) & 255)]! ^
        made[768 + (a >>> 24)]! ^
        b) >>>
      0
    )
  }
}

/** For each of the four bytes of a checksum its product with `factor`. */
function combinerTables(factor: number): Uint32Array {
  const tables = new Uint32Array(4 * 256)
  for (let byte = 0; byte < 4; byte++) {
    for (let value = 0; value < 256; value++) tables[byte * 256 + value] = multiply(factor, (value << (8 * byte)) >>> 0)
  }
  return tables
}

const POLYNOMIAL = 0xedb88320

/** What a byte does to a checksum that it enters 0, 1, 2 and 3 bytes before the end of a word. */
const wordTables = makeWordTables()

function makeWordTables(): Uint32Array {
  const tables = new Uint32Array(4 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
    tables[byte] = crc
  }
  for (let at = 256; at < tables.length; at++) {
    const before = tables[at - 256]!
    tables[at] = tables[before & 255]! ^ (before >>> 8)
  }
  return tables
}

/** x^(8 × bytes) modulo the polynomial, bits reversed as in zlib. */
function powerOfX(bytes: number): number {
  assert(Number.isSafeInteger(bytes) && bytes >= 0, 'length out of range')
  let result = 0x80000000 // x^0
  let square = 0x00800000 // x^8
  for (let n = bytes; n > 0; n = Math.floor(n / 2)) {
    if (n % 2 === 1) result = multiply(square, result)
    square = multiply(square, square)
  }
  return result
}

/** The product of two polynomials modulo the polynomial, bits reversed. */
function multiply(a: number, b: number): number {
  let product = 0
  let rest = b >>> 0
  for (let mask = 0x80000000; mask !== 0; mask >>>= 1) {
    if (a & mask) product ^= rest
    rest = rest & 1 ? (rest >>> 1) ^ POLYNOMIAL : rest >>> 1
  }
  return product >>> 0
}

function choose(): Crc32 {
  try {
    const native = createRequire(import.meta.url)('@node-rs/crc32') as { crc32: Crc32 }
    if (native.crc32(Buffer.from('123456789')) === 0xcbf43926) return native.crc32
  } catch {
    // Optional: a platform without a prebuilt binary uses zlib's.
  }
  return small
}
