// Bodies: one msgpack array of positional fields a frame, proven harmless before it is decoded.
//
// What is taken: nil, booleans, integers, floats, strings, binary, arrays, maps with string keys, at most
// BODY_DEPTH_MAX arrays and maps inside one another. Not taken: extensions. A length that the bytes behind it can't
// hold is refused before anything is made for it, so a body of n bytes never makes more than n values.
// Format: README.md; the encoding is msgpackr's standard mode.

import { Packr, Unpackr } from 'msgpackr'
import { DfsError } from '../base/errors.ts'
import { BODY_DEPTH_MAX } from '../base/limits.ts'

/** Positional fields; every reader checks the shape of its own. */
export type Body = readonly unknown[]

const options = {
  useRecords: false,
  variableMapSize: true,
  // Numbers up to 2^53 - 1, bigint beyond; the package's types don't know the word.
  int64AsType: 'auto' as 'number',
  encodeUndefinedAsNil: true,
  // A frame's body lies in a receiving buffer that is used again.
  copyBuffers: true,
}
const packr = new Packr(options)
const unpackr = new Unpackr(options)

/** Encodes `body` into memory that is not used again; the caller may keep it. */
export function encodeBody(body: Body): Buffer {
  return packr.pack(body)
}

/** Decodes a body; nothing in the result refers to `bytes`. Throws BAD_REQUEST for whatever is not a body. */
export function decodeBody(bytes: Buffer): unknown[] {
  checkShape(bytes)
  let value: unknown
  try {
    value = unpackr.unpack(bytes)
  } catch (cause) {
    throw new DfsError('BAD_REQUEST', 'a body that is not msgpack', { bytes: bytes.length }, cause)
  }
  if (!Array.isArray(value)) throw new DfsError('BAD_REQUEST', 'a body that is not an array', { bytes: bytes.length })
  return value
}

/** Values still to come at each depth, and whether they are those of a map (keys and values count). */
const left = new Float64Array(BODY_DEPTH_MAX + 1)
const isMap = new Uint8Array(BODY_DEPTH_MAX + 1)

/** Walks over the tokens without making a value. Throws BAD_REQUEST. */
function checkShape(bytes: Buffer): void {
  const end = bytes.length
  let at = 0
  let depth = 0
  left[0] = 1
  isMap[0] = 0
  while (true) {
    while (left[depth] === 0) {
      if (depth === 0) {
        if (at !== end) throw refused('bytes behind the value', at)
        return
      }
      depth--
    }
    if (at >= end) throw refused('it ends inside a value', at)
    const token = bytes[at++]!
    const isKey = isMap[depth] === 1 && left[depth]! % 2 === 0
    left[depth] = left[depth]! - 1
    if (isKey && !isString(token)) throw refused('a key that is not a string', at - 1)
    if (token <= 0x7f || token >= 0xe0) continue // a small integer
    let skip = 0
    let count = -1
    if (token >= 0xa0 && token <= 0xbf) skip = token & 31
    else if (token >= 0x90 && token <= 0x9f) count = token & 15
    else if (token <= 0x8f) count = 2 * (token & 15)
    else {
      const width = WIDTHS[token - 0xc0]!
      if (width === FORBIDDEN) throw refused(`type 0x${token.toString(16)}, which is not taken`, at - 1)
      if (end - at < (width & 15)) throw refused('it ends inside a value', at)
      if (width < 16) skip = width
      else {
        const bytesOfLength = width & 15
        const length = bytes.readUIntBE(at, bytesOfLength)
        at += bytesOfLength
        if (width < 32) skip = length
        else count = width < 64 ? length : 2 * length
      }
    }
    if (count < 0) {
      if (end - at < skip) throw refused('it ends inside a value', at)
      at += skip
      continue
    }
    if (count > end - at) throw refused(`${count} values in ${end - at} bytes`, at)
    if (depth === BODY_DEPTH_MAX) throw refused(`more than ${BODY_DEPTH_MAX} values inside one another`, at)
    depth++
    left[depth] = count
    isMap[depth] = token <= 0x8f || token >= 0xde ? 1 : 0
  }
}

const FORBIDDEN = 255
/**
 * For the types 0xc0 .. 0xdf: how many bytes follow. Below 16: just those. 16 + n: a length of n bytes, then so many
 * bytes. 32 + n: a length of n bytes, then so many values. 64 + n: the same, twice as many.
 */
const WIDTHS = [
  // nil, never used, false, true
  0,
  FORBIDDEN,
  0,
  0,
  // binary
  16 + 1,
  16 + 2,
  16 + 4,
  // extensions
  FORBIDDEN,
  FORBIDDEN,
  FORBIDDEN,
  // floats
  4,
  8,
  // unsigned and signed integers
  1,
  2,
  4,
  8,
  1,
  2,
  4,
  8,
  // fixed extensions
  FORBIDDEN,
  FORBIDDEN,
  FORBIDDEN,
  FORBIDDEN,
  FORBIDDEN,
  // strings
  16 + 1,
  16 + 2,
  16 + 4,
  // arrays
  32 + 2,
  32 + 4,
  // maps
  64 + 2,
  64 + 4,
]

function isString(token: number): boolean {
  return (token >= 0xa0 && token <= 0xbf) || (token >= 0xd9 && token <= 0xdb)
}

function refused(why: string, offset: number): DfsError {
  return new DfsError('BAD_REQUEST', `a body that can't be read: ${why}, at byte ${offset}`, { offset })
}
