// The bytes of a checkpoint file. This is the only file that reads or writes them; ../../oplog-format.md describes them.
//
// A checkpoint is a header and then blocks: a section's name, its data in blocks of one size, its end, and last a
// trailer over the whole file. Nothing in it depends on when, where or in which pieces it was written: equal states at
// the same index are equal bytes. Numbers are little-endian; what is reserved is zero.

import { crc32 } from '../base/crc32.ts'
import type { ClusterId } from '../base/ids.ts'
import { MiB } from '../base/units.ts'
import { type Field, field, getField, isZeroField, putField } from './fields.ts'

export const CHECKPOINT_FORMAT_VERSION = 1
export const CHECKPOINT_MAGIC = 'DFSCHKPT'
export const CHECKPOINT_HEADER_BYTES = 128
export const BLOCK_HEADER_BYTES = 24
/** Data bytes of a block: every block of a section but its last has exactly so many. */
export const SECTION_BLOCK_BYTES = 1 * MiB
/** UTF-8 bytes of a section's name, 1 .. 64. */
export const SECTION_NAME_BYTES_MAX = 64
export const SECTION_END_BYTES = 16
export const TRAILER_BYTES = 16

/** The checkpoint header: 128 bytes. */
export const checkpointFields = {
  magic: field(0, 8),
  version: field(8, 2),
  flags: field(10, 2),
  headerBytes: field(12, 4),
  clusterId: field(16, 16),
  index: field(32, 8),
  term: field(40, 8),
  reserved: field(48, 76),
  headerCrc: field(124, 4),
} as const satisfies Record<string, Field>

/** The header of a block: 24 bytes, its payload follows. */
export const blockFields = {
  kind: field(0, 1),
  flags: field(1, 1),
  reserved: field(2, 2),
  payloadBytes: field(4, 4),
  offset: field(8, 8),
  payloadCrc: field(16, 4),
  headerCrc: field(20, 4),
} as const satisfies Record<string, Field>

/** The payload of a block that ends a section: 16 bytes. */
export const sectionEndFields = {
  sectionBytes: field(0, 8),
  sectionCrc: field(8, 4),
  blockCount: field(12, 4),
} as const satisfies Record<string, Field>

/** The payload of the trailer: 16 bytes. */
export const trailerFields = {
  fileBytes: field(0, 8),
  sectionCount: field(8, 4),
  fileCrc: field(12, 4),
} as const satisfies Record<string, Field>

export const BlockKind = { section: 1, data: 2, sectionEnd: 3, trailer: 4 } as const

/** What the header says: the state after record `index`, whose term was `term`. */
export interface CheckpointHeader {
  readonly clusterId: ClusterId
  readonly index: number
  readonly term: number
}

export interface BlockHeader {
  readonly kind: number
  readonly payloadBytes: number
  /** Where in the file the block stands. */
  readonly offset: number
  readonly payloadCrc: number
}

export interface SectionEnd {
  readonly sectionBytes: number
  /** Over all data of the section. */
  readonly sectionCrc: number
  readonly blockCount: number
}

export interface Trailer {
  /** The whole file, trailer included. */
  readonly fileBytes: number
  readonly sectionCount: number
  /** Over everything before the trailer block: what masters compare. */
  readonly fileCrc: number
}

/** A new buffer that the caller owns. */
export function encodeCheckpointHeader({ clusterId, index, term }: CheckpointHeader): Buffer {
  const header = Buffer.alloc(CHECKPOINT_HEADER_BYTES)
  header.write(CHECKPOINT_MAGIC, 0, 'latin1')
  putField(header, 0, checkpointFields.version, CHECKPOINT_FORMAT_VERSION)
  putField(header, 0, checkpointFields.headerBytes, CHECKPOINT_HEADER_BYTES)
  header.write(clusterId, checkpointFields.clusterId.offset, 'hex')
  putField(header, 0, checkpointFields.index, index)
  putField(header, 0, checkpointFields.term, term)
  putField(header, 0, checkpointFields.headerCrc, crc32(header.subarray(0, checkpointFields.headerCrc.offset)))
  return header
}

export function decodeCheckpointHeader(bytes: Buffer): CheckpointHeader | 'damaged' | 'newer' {
  if (bytes.length < CHECKPOINT_HEADER_BYTES || bytes.toString('latin1', 0, 8) !== CHECKPOINT_MAGIC) return 'damaged'
  const crc = crc32(bytes.subarray(0, checkpointFields.headerCrc.offset))
  if (getField(bytes, 0, checkpointFields.headerCrc) !== crc) return 'damaged'
  if (getField(bytes, 0, checkpointFields.version) !== CHECKPOINT_FORMAT_VERSION) return 'newer'
  if (getField(bytes, 0, checkpointFields.flags) !== 0) return 'newer'
  if (!isZeroField(bytes, 0, checkpointFields.reserved)) return 'newer'
  return {
    clusterId: bytes.toString('hex', 16, 32) as ClusterId,
    index: getField(bytes, 0, checkpointFields.index),
    term: getField(bytes, 0, checkpointFields.term),
  }
}

/** The header of a block with that payload, which follows it at `offset` + 24. A new buffer that the caller owns. */
export function encodeBlockHeader(kind: number, offset: number, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(BLOCK_HEADER_BYTES)
  putField(header, 0, blockFields.kind, kind)
  putField(header, 0, blockFields.payloadBytes, payload.length)
  putField(header, 0, blockFields.offset, offset)
  putField(header, 0, blockFields.payloadCrc, crc32(payload))
  putField(header, 0, blockFields.headerCrc, crc32(header.subarray(0, blockFields.headerCrc.offset)))
  return header
}

/** Undefined when the checksum is wrong, or the block was not written for `offset`, or is of no form known here. */
export function decodeBlockHeader(bytes: Buffer, offset: number): BlockHeader | undefined {
  if (bytes.length < BLOCK_HEADER_BYTES) return undefined
  const crc = crc32(bytes.subarray(0, blockFields.headerCrc.offset))
  if (getField(bytes, 0, blockFields.headerCrc) !== crc || getField(bytes, 0, blockFields.offset) !== offset)
    return undefined
  const payloadBytes = getField(bytes, 0, blockFields.payloadBytes)
  if (payloadBytes > SECTION_BLOCK_BYTES || getField(bytes, 0, blockFields.flags) !== 0) return undefined
  return {
    kind: getField(bytes, 0, blockFields.kind),
    payloadBytes,
    offset,
    payloadCrc: getField(bytes, 0, blockFields.payloadCrc),
  }
}

export function isPayloadIntact(payload: Buffer, header: BlockHeader): boolean {
  return payload.length === header.payloadBytes && crc32(payload) === header.payloadCrc
}

export function encodeSectionEnd({ sectionBytes, sectionCrc, blockCount }: SectionEnd): Buffer {
  const payload = Buffer.alloc(SECTION_END_BYTES)
  putField(payload, 0, sectionEndFields.sectionBytes, sectionBytes)
  putField(payload, 0, sectionEndFields.sectionCrc, sectionCrc)
  putField(payload, 0, sectionEndFields.blockCount, blockCount)
  return payload
}

export function decodeSectionEnd(payload: Buffer): SectionEnd | undefined {
  if (payload.length !== SECTION_END_BYTES) return undefined
  return {
    sectionBytes: getField(payload, 0, sectionEndFields.sectionBytes),
    sectionCrc: getField(payload, 0, sectionEndFields.sectionCrc),
    blockCount: getField(payload, 0, sectionEndFields.blockCount),
  }
}

export function encodeTrailer({ fileBytes, sectionCount, fileCrc }: Trailer): Buffer {
  const payload = Buffer.alloc(TRAILER_BYTES)
  putField(payload, 0, trailerFields.fileBytes, fileBytes)
  putField(payload, 0, trailerFields.sectionCount, sectionCount)
  putField(payload, 0, trailerFields.fileCrc, fileCrc)
  return payload
}

export function decodeTrailer(payload: Buffer): Trailer | undefined {
  if (payload.length !== TRAILER_BYTES) return undefined
  return {
    fileBytes: getField(payload, 0, trailerFields.fileBytes),
    sectionCount: getField(payload, 0, trailerFields.sectionCount),
    fileCrc: getField(payload, 0, trailerFields.fileCrc),
  }
}
