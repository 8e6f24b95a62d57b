// The frame header: 32 bytes that are proven before one byte behind them is kept.
//
// The bytes are described in README.md; only this file reads or writes them. Numbers are little-endian.
//
// Invariants:
//   - nothing in a header is believed before its checksum is right
//   - only requests and replies carry data; pings and cancels carry nothing

import { crc32Of } from '../base/crc32.ts'
import { DfsError } from '../base/errors.ts'

export const HEADER_BYTES = 32
/** Follows the data bytes of a frame that has any. */
export const TRAILER_BYTES = 4

/** The first byte of every frame. */
export const FRAME_MAGIC = 0xdf
/** The version of the frame format, the second byte. The protocol's version stands in the hello. */
export const FRAME_VERSION = 1

export const FrameType = {
  /** The first frame each way. */
  hello: 1,
  /** Asks; the id is the sender's. */
  request: 2,
  /** Answers the request of that id, which is the receiver's. */
  reply: 3,
  /** Refuses the request of that id; id 0: the whole connection, which then closes. */
  error: 4,
  /** The sender no longer wants the answer to its request of that id. */
  cancel: 5,
  /** Says nothing but that the sender lives. */
  ping: 6,
} as const
export type FrameType = (typeof FrameType)[keyof typeof FrameType]

/** Where each field stands; the table in README.md is compared with this one. */
export const HEADER_FIELDS = [
  { offset: 0, bytes: 1, name: 'magic', means: '0xDF' },
  { offset: 1, bytes: 1, name: 'version', means: '1, the version of the frame format' },
  { offset: 2, bytes: 1, name: 'type', means: 'see *Types*' },
  { offset: 3, bytes: 1, name: 'flags', means: '0' },
  { offset: 4, bytes: 2, name: 'message', means: 'message number of a request; else 0' },
  { offset: 6, bytes: 2, name: 'reserved', means: '0' },
  { offset: 8, bytes: 4, name: 'id', means: 'request id, 1 upward; 0 in hello, ping and errors of the connection' },
  { offset: 12, bytes: 4, name: 'bodyBytes', means: 'length of the body, at most 1 MiB' },
  { offset: 16, bytes: 4, name: 'dataBytes', means: 'length of the data, at most 16 MiB + 64 KiB' },
  { offset: 20, bytes: 4, name: 'bodyCrc', means: 'CRC32 of the body; 0 without one' },
  { offset: 24, bytes: 4, name: 'dataCrc', means: 'CRC32 of the data; 0 without any' },
  { offset: 28, bytes: 4, name: 'headerCrc', means: 'CRC32 of bytes 0 .. 27' },
] as const

/** The word after the data: all of it came as promised. The bytes `DONE`. */
export const TRAILER_DONE = 0x454e4f44
/** The word after the data: the sender gave up; what stands for the rest is filler. The bytes `ABRT`. */
export const TRAILER_ABORTED = 0x54524241

/** What a header says. The parser uses one object for all frames: copy what outlives the callback. */
export interface FrameHeader {
  type: FrameType
  /** 0 .. 65535 */
  message: number
  /** 0 .. 2^32 - 1 */
  id: number
  bodyBytes: number
  dataBytes: number
  bodyCrc: number
  dataCrc: number
}

/** What a header may promise at most, in bytes. */
export interface FrameLimits {
  readonly bodyBytesMax: number
  readonly dataBytesMax: number
}

/** Writes the 32 bytes of `header` at `offset`. */
export function writeHeader(into: Buffer, offset: number, header: Readonly<FrameHeader>): void {
  into[offset] = FRAME_MAGIC
  into[offset + 1] = FRAME_VERSION
  into[offset + 2] = header.type
  into[offset + 3] = 0
  into.writeUInt32LE(header.message, offset + 4) // the reserved half is 0 by that
  into.writeUInt32LE(header.id, offset + 8)
  into.writeUInt32LE(header.bodyBytes, offset + 12)
  into.writeUInt32LE(header.dataBytes, offset + 16)
  into.writeUInt32LE(header.bodyCrc, offset + 20)
  into.writeUInt32LE(header.dataCrc, offset + 24)
  into.writeUInt32LE(crc32Of(into, offset, offset + 28), offset + 28)
}

/**
 * Reads the header at `offset` of `from` into `header`, or throws:
 * BAD_FRAME (not a frame, wrong checksum, a field that can't be), UNSUPPORTED_VERSION (another frame format),
 * FRAME_TOO_LARGE (over `limits`).
 */
export function readHeader(from: Buffer, offset: number, header: FrameHeader, limits: FrameLimits): void {
  if (from[offset] !== FRAME_MAGIC) {
    throw badFrame(`a frame starts with 0xdf, this one with 0x${from[offset]!.toString(16)}`)
  }
  const version = from[offset + 1]!
  if (version !== FRAME_VERSION) {
    throw new DfsError(
      'UNSUPPORTED_VERSION',
      `frame format ${version} is not spoken here, ${FRAME_VERSION} is: update the older side`,
      { version, spoken: FRAME_VERSION },
    )
  }
  const expected = from.readUInt32LE(offset + 28)
  const actual = crc32Of(from, offset, offset + 28)
  if (actual !== expected) throw badFrame(`header checksum ${expected} in the frame, ${actual} computed`)
  const type = from[offset + 2]!
  if (!isFrameType(type)) throw badFrame(`frame type ${type} is not known`)
  if (from[offset + 3] !== 0 || from[offset + 6] !== 0 || from[offset + 7] !== 0) {
    throw badFrame('a reserved bit of the header is set')
  }
  header.type = type
  header.message = from.readUInt16LE(offset + 4)
  header.id = from.readUInt32LE(offset + 8)
  header.bodyBytes = from.readUInt32LE(offset + 12)
  header.dataBytes = from.readUInt32LE(offset + 16)
  header.bodyCrc = from.readUInt32LE(offset + 20)
  header.dataCrc = from.readUInt32LE(offset + 24)
  checkFields(header, limits)
}

function checkFields(header: Readonly<FrameHeader>, limits: FrameLimits): void {
  const { type, id, bodyBytes, dataBytes } = header
  if (bodyBytes > limits.bodyBytesMax) throw tooLarge('body', bodyBytes, limits.bodyBytesMax)
  if (dataBytes > limits.dataBytesMax) throw tooLarge('data', dataBytes, limits.dataBytesMax)
  if (bodyBytes === 0 && header.bodyCrc !== 0) throw badFrame('a checksum of a body that is not there')
  if (dataBytes === 0 && header.dataCrc !== 0) throw badFrame('a checksum of data that is not there')
  const isRequest = type === FrameType.request
  if (header.message !== 0 && !isRequest) throw badFrame(`a message number in a frame of type ${type}`)
  if (dataBytes !== 0 && !isRequest && type !== FrameType.reply) throw badFrame(`data in a frame of type ${type}`)
  const isBare = type === FrameType.cancel || type === FrameType.ping
  if (isBare === bodyBytes > 0) throw badFrame(`${isBare ? 'a body' : 'no body'} in a frame of type ${type}`)
  const isNumbered = isRequest || type === FrameType.reply || type === FrameType.cancel
  if (isNumbered && id === 0) throw badFrame(`request id 0 in a frame of type ${type}`)
  if ((type === FrameType.hello || type === FrameType.ping) && id !== 0)
    throw badFrame(`an id in a frame of type ${type}`)
}

function isFrameType(value: number): value is FrameType {
  return value >= FrameType.hello && value <= FrameType.ping
}

function tooLarge(what: string, bytes: number, bytesMax: number): DfsError {
  return new DfsError('FRAME_TOO_LARGE', `a frame's ${what} of ${bytes} bytes, at most ${bytesMax} are taken`, {
    bytes,
    bytesMax,
  })
}

export function badFrame(message: string): DfsError {
  return new DfsError('BAD_FRAME', message)
}
