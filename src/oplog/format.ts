// The bytes of the operation log. This is the only file that reads or writes them; ../../oplog-format.md describes them.
//
// A segment is a header page and then batches, each starting on a page of 4 KiB: a batch that is torn by a power cut
// never shares a page, the unit in which disks and file systems write, with one that was synced before.
// Numbers are little-endian. Numbers of 8 bytes hold 0 .. 2^53 - 1. What is reserved is zero.
//
// Source: LevelDB log_format.md (the shape), SQLite wal.c (salt and chained checksums), Pebble record.go (synced offset).

import { assert } from '../base/assert.ts'
import { crc32 } from '../base/crc32.ts'
import type { ClusterId } from '../base/ids.ts'
import { KiB, MiB } from '../base/units.ts'
import { type Field, field, getField, isZeroField, putField } from './fields.ts'

export const LOG_FORMAT_VERSION = 1
export const PAGE_BYTES = 4 * KiB
export const SEGMENT_HEADER_BYTES = PAGE_BYTES
export const BATCH_HEADER_BYTES = 128
export const RECORD_HEADER_BYTES = 24
/** A batch with its header and padding at most. What does not fit waits in the next one. */
export const BATCH_BYTES_MAX = 8 * MiB
/** The payload of one record at most: more is INVALID_ARGUMENT. */
export const RECORD_PAYLOAD_BYTES_MAX = 1 * MiB

export const SEGMENT_MAGIC = 'DFSOPLOG'
export const BATCH_MAGIC = 'DFSBATCH'

/** The segment header: 4096 bytes. The tables of these fields in oplog-format.md are compared by a test. */
export const segmentFields = {
  magic: field(0, 8),
  version: field(8, 2),
  flags: field(10, 2),
  headerBytes: field(12, 4),
  clusterId: field(16, 16),
  segment: field(32, 8),
  firstIndex: field(40, 8),
  lastTerm: field(48, 8),
  previousEnd: field(56, 8),
  previousCrc: field(64, 4),
  reserved: field(68, 4),
  salt: field(72, 8),
  syncedEnd: field(80, 8),
  preallocatedEnd: field(88, 8),
  reserved2: field(96, 3996),
  headerCrc: field(4092, 4),
} as const satisfies Record<string, Field>

/** The batch header: 128 bytes. */
export const batchFields = {
  magic: field(0, 8),
  kind: field(8, 1),
  flags: field(9, 1),
  headerBytes: field(10, 2),
  batchBytes: field(12, 4),
  bodyBytes: field(16, 4),
  recordCount: field(20, 4),
  clusterId: field(24, 16),
  salt: field(40, 8),
  segment: field(48, 8),
  offset: field(56, 8),
  firstIndex: field(64, 8),
  syncedOffset: field(72, 8),
  syncedIndex: field(80, 8),
  lastTerm: field(88, 8),
  previousCrc: field(96, 4),
  bodyCrc: field(100, 4),
  reserved: field(104, 20),
  headerCrc: field(124, 4),
} as const satisfies Record<string, Field>

/** The record header: 24 bytes, the payload follows. */
export const recordFields = {
  payloadBytes: field(0, 4),
  kind: field(4, 2),
  version: field(6, 1),
  flags: field(7, 1),
  index: field(8, 8),
  term: field(16, 8),
} as const satisfies Record<string, Field>

/** Flags of a segment. A header with any other is one of a later program. */
const SegmentFlag = { preallocated: 1 } as const

/** What a batch is. 3 is kept for the withdrawal of a suffix (Raft §5.3), which version 1 neither writes nor accepts. */
export const BatchKind = { data: 1, marker: 2 } as const

export interface SegmentHeader {
  readonly clusterId: ClusterId
  /** 1 upward, without gaps. */
  readonly segment: number
  /** The index of the first record that this segment can hold. */
  readonly firstIndex: number
  /** The term of record `firstIndex - 1`; 0 when there is none. */
  readonly lastTerm: number
  /** Where the segment before truly ends, bytes: what stands behind is no part of the log. 0 in the first segment. */
  readonly previousEnd: number
  /** The chain checksum of the segment before at `previousEnd`; 0 in the first segment. */
  readonly previousCrc: number
  /** 48 random bits drawn for this segment: no payload and no older file can pretend to be its batch. */
  readonly salt: number
  /** Bytes of this file that were synced before it got its name: the header and the batches it was born with. */
  readonly syncedEnd: number
  /** Bytes of this file that were synced as zeros before anything else was written to it; 0: it was not preallocated. */
  readonly preallocatedEnd: number
  /** The header's own checksum: the start of the segment's chain. */
  readonly crc: number
}

export interface BatchHeader {
  readonly kind: number
  readonly flags: number
  /** The whole batch with header and padding: a multiple of 4096. */
  readonly batchBytes: number
  /** The records, without header and padding. */
  readonly bodyBytes: number
  readonly recordCount: number
  readonly clusterId: ClusterId
  readonly salt: number
  readonly segment: number
  /** Where in its segment the batch stands. */
  readonly offset: number
  /** The index of its first record; of the next one in a marker. */
  readonly firstIndex: number
  /** Every byte of this segment below was durable when the batch was written. */
  readonly syncedOffset: number
  /** Every record up to this index was durable when the batch was written. */
  readonly syncedIndex: number
  /** The term of the last record up to and with this batch. */
  readonly lastTerm: number
  /** The header checksum of the batch before; of the segment for the first batch. */
  readonly previousCrc: number
  /** Over everything behind the header, padding too. */
  readonly bodyCrc: number
  /** The header's own checksum, which covers `bodyCrc`: what the next batch chains to. */
  readonly crc: number
}

/** One record. The log knows nothing of what `kind`, `version` and `payload` mean. */
export interface LogRecord {
  /** 1 upward, contiguous, across segments too. */
  readonly index: number
  /** Never less than that of the record before. */
  readonly term: number
  /** 0 .. 65535. */
  readonly kind: number
  /** 0 .. 255: the encoding of the payload. */
  readonly version: number
  /** 0 .. 255. */
  readonly flags: number
  /** A view of the reader's buffer: valid until the next batch is read. */
  readonly payload: Buffer
}

/** Why bytes are not a header: not one at all, or one of a format that this program does not know. */
export type HeaderFault = 'damaged' | 'newer'

/** A new page that the caller owns. */
export function encodeSegmentHeader(header: Omit<SegmentHeader, 'crc'>): { page: Buffer; crc: number } {
  const page = Buffer.alloc(SEGMENT_HEADER_BYTES)
  page.write(SEGMENT_MAGIC, 0, 'latin1')
  putField(page, 0, segmentFields.version, LOG_FORMAT_VERSION)
  putField(page, 0, segmentFields.flags, header.preallocatedEnd > 0 ? SegmentFlag.preallocated : 0)
  putField(page, 0, segmentFields.headerBytes, SEGMENT_HEADER_BYTES)
  page.write(header.clusterId, segmentFields.clusterId.offset, 'hex')
  putField(page, 0, segmentFields.segment, header.segment)
  putField(page, 0, segmentFields.firstIndex, header.firstIndex)
  putField(page, 0, segmentFields.lastTerm, header.lastTerm)
  putField(page, 0, segmentFields.previousEnd, header.previousEnd)
  putField(page, 0, segmentFields.previousCrc, header.previousCrc)
  putField(page, 0, segmentFields.salt, header.salt)
  putField(page, 0, segmentFields.syncedEnd, header.syncedEnd)
  putField(page, 0, segmentFields.preallocatedEnd, header.preallocatedEnd)
  const crc = crc32(page.subarray(0, segmentFields.headerCrc.offset))
  putField(page, 0, segmentFields.headerCrc, crc)
  return { page, crc }
}

/** Reads the header page at the start of `bytes`. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | HeaderFault {
  if (bytes.length < SEGMENT_HEADER_BYTES) return 'damaged'
  const crc = getField(bytes, 0, segmentFields.headerCrc)
  if (bytes.toString('latin1', 0, 8) !== SEGMENT_MAGIC) return 'damaged'
  if (crc !== crc32(bytes.subarray(0, segmentFields.headerCrc.offset))) return 'damaged'
  if (getField(bytes, 0, segmentFields.version) !== LOG_FORMAT_VERSION) return 'newer'
  const preallocatedEnd = getField(bytes, 0, segmentFields.preallocatedEnd)
  if (getField(bytes, 0, segmentFields.flags) !== (preallocatedEnd > 0 ? SegmentFlag.preallocated : 0)) return 'newer'
  if (!isZeroField(bytes, 0, segmentFields.reserved) || !isZeroField(bytes, 0, segmentFields.reserved2)) return 'newer'
  return {
    clusterId: bytes.toString('hex', 16, 32) as ClusterId,
    segment: getField(bytes, 0, segmentFields.segment),
    firstIndex: getField(bytes, 0, segmentFields.firstIndex),
    lastTerm: getField(bytes, 0, segmentFields.lastTerm),
    previousEnd: getField(bytes, 0, segmentFields.previousEnd),
    previousCrc: getField(bytes, 0, segmentFields.previousCrc),
    salt: getField(bytes, 0, segmentFields.salt),
    syncedEnd: getField(bytes, 0, segmentFields.syncedEnd),
    preallocatedEnd,
    crc,
  }
}

/**
 * Reads the batch header at `at`. Only magic and checksum are judged here: any place may be asked for one, since
 * recovery looks for proofs of a sync behind damage.
 */
export function decodeBatchHeader(bytes: Buffer, at: number): BatchHeader | undefined {
  if (bytes.length - at < BATCH_HEADER_BYTES) return undefined
  if (bytes.toString('latin1', at, at + 8) !== BATCH_MAGIC) return undefined
  const crc = getField(bytes, at, batchFields.headerCrc)
  if (crc !== crc32(bytes.subarray(at, at + batchFields.headerCrc.offset))) return undefined
  const id = at + batchFields.clusterId.offset
  return {
    kind: getField(bytes, at, batchFields.kind),
    flags: getField(bytes, at, batchFields.flags),
    batchBytes: getField(bytes, at, batchFields.batchBytes),
    bodyBytes: getField(bytes, at, batchFields.bodyBytes),
    recordCount: getField(bytes, at, batchFields.recordCount),
    clusterId: bytes.toString('hex', id, id + 16) as ClusterId,
    salt: getField(bytes, at, batchFields.salt),
    segment: getField(bytes, at, batchFields.segment),
    offset: getField(bytes, at, batchFields.offset),
    firstIndex: getField(bytes, at, batchFields.firstIndex),
    syncedOffset: getField(bytes, at, batchFields.syncedOffset),
    syncedIndex: getField(bytes, at, batchFields.syncedIndex),
    lastTerm: getField(bytes, at, batchFields.lastTerm),
    previousCrc: getField(bytes, at, batchFields.previousCrc),
    bodyCrc: getField(bytes, at, batchFields.bodyCrc),
    crc,
  }
}

/** Whether a header, its checksum right, is of a kind or form that only a later program writes. */
export function isNewerBatch(header: BatchHeader): boolean {
  return (header.kind !== BatchKind.data && header.kind !== BatchKind.marker) || header.flags !== 0
}

/** Whether the header was written for this very segment. */
export function belongsTo(header: BatchHeader, segment: SegmentHeader): boolean {
  return header.salt === segment.salt && header.segment === segment.segment && header.clusterId === segment.clusterId
}

/** What is impossible about the lengths and counts of a header whose checksum is right; undefined when nothing. */
export function impossibleHeader(header: BatchHeader): string | undefined {
  if (header.batchBytes !== paddedBytes(BATCH_HEADER_BYTES + header.bodyBytes) || header.batchBytes > BATCH_BYTES_MAX) {
    return `${header.batchBytes} bytes for a body of ${header.bodyBytes}`
  }
  if (header.syncedOffset > header.offset) return `synced to ${header.syncedOffset}, beyond itself at ${header.offset}`
  if (header.syncedIndex >= header.firstIndex) return `index ${header.firstIndex} synced before it was written`
  if (header.kind === BatchKind.marker) {
    return header.recordCount === 0 && header.bodyBytes === 0 ? undefined : 'a marker with records'
  }
  return header.recordCount > 0 && header.bodyBytes >= header.recordCount * RECORD_HEADER_BYTES
    ? undefined
    : `${header.recordCount} records in ${header.bodyBytes} bytes`
}

/** Whether the bytes behind the header, padding too, are those that were written. `batch` is exactly the batch. */
export function isBodyIntact(batch: Buffer, header: BatchHeader): boolean {
  return crc32(batch.subarray(BATCH_HEADER_BYTES, header.batchBytes)) === header.bodyCrc
}

/**
 * What is impossible about the records of a batch whose checksums are right (then a bug or a forger wrote them);
 * undefined when nothing is.
 *
 * @param batch         exactly the batch
 * @param previousTerm  the term of the record before
 */
export function impossibleRecords(batch: Buffer, header: BatchHeader, previousTerm: number): string | undefined {
  const end = BATCH_HEADER_BYTES + header.bodyBytes
  let at = BATCH_HEADER_BYTES
  let term = previousTerm
  for (let count = 0; count < header.recordCount; count++) {
    if (end - at < RECORD_HEADER_BYTES) return `record ${count} of ${header.recordCount} does not fit its batch`
    const payloadBytes = getField(batch, at, recordFields.payloadBytes)
    const index = getField(batch, at, recordFields.index)
    const recordTerm = getField(batch, at, recordFields.term)
    if (payloadBytes > RECORD_PAYLOAD_BYTES_MAX) return `a payload of ${payloadBytes} bytes`
    if (index !== header.firstIndex + count) return `index ${index} stands where ${header.firstIndex + count} belongs`
    if (recordTerm < term) return `index ${index} has term ${recordTerm} after term ${term}`
    term = recordTerm
    at += RECORD_HEADER_BYTES + payloadBytes
  }
  if (at !== end) return `the records end at byte ${at} of the batch, the header says ${end}`
  return term === header.lastTerm ? undefined : `the last record has term ${term}, the header says ${header.lastTerm}`
}

/** The records of a batch in which nothing is impossible. Payloads are views of `batch`. */
export function decodeRecords(batch: Buffer, header: BatchHeader): LogRecord[] {
  const records: LogRecord[] = []
  for (const cursor = new RecordCursor(batch, header); cursor.next(); ) {
    const { index, term, kind, version, flags, payloadStart, payloadEnd } = cursor
    records.push({ index, term, kind, version, flags, payload: batch.subarray(payloadStart, payloadEnd) })
  }
  return records
}

/** Goes through the records of a batch in which nothing is impossible, without an object or a view for each. */
export class RecordCursor {
  /** The batch with its header, in which the payload lies. */
  readonly bytes: Buffer
  index = 0
  term = 0
  kind = 0
  version = 0
  flags = 0
  /** The payload is bytes `payloadStart` .. `payloadEnd` - 1 of `bytes`. */
  payloadStart = 0
  payloadEnd = BATCH_HEADER_BYTES
  #left: number

  constructor(bytes: Buffer, header: BatchHeader) {
    this.bytes = bytes
    this.#left = header.recordCount
  }

  /** Goes to the next record, at first to the first. @returns whether there is one */
  next(): boolean {
    if (this.#left === 0) return false
    this.#left--
    const at = this.payloadEnd
    this.index = getField(this.bytes, at, recordFields.index)
    this.term = getField(this.bytes, at, recordFields.term)
    this.kind = getField(this.bytes, at, recordFields.kind)
    this.version = getField(this.bytes, at, recordFields.version)
    this.flags = getField(this.bytes, at, recordFields.flags)
    this.payloadStart = at + RECORD_HEADER_BYTES
    this.payloadEnd = this.payloadStart + getField(this.bytes, at, recordFields.payloadBytes)
    return true
  }
}

/** The least multiple of 4096 that holds `bytes`. */
export function paddedBytes(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES
}

/** Where a batch goes and what it can say about those before it. */
export interface BatchPlace {
  readonly clusterId: ClusterId
  readonly salt: number
  readonly segment: number
  readonly offset: number
  readonly syncedOffset: number
  readonly syncedIndex: number
  readonly previousCrc: number
}

/**
 * Collects records and makes them a batch: each payload is copied once, and the checksum is computed once, over the whole.
 * The buffer grows by doubling to BATCH_BYTES_MAX and is used again after `reset`.
 */
export class BatchBuffer {
  #buffer: Buffer
  #bodyBytes = 0
  #recordCount = 0
  #firstIndex = 0
  #lastTerm = 0

  constructor(initialBytes = PAGE_BYTES) {
    this.#buffer = Buffer.allocUnsafeSlow(Math.max(paddedBytes(initialBytes), PAGE_BYTES))
  }

  get recordCount(): number {
    return this.#recordCount
  }

  get bodyBytes(): number {
    return this.#bodyBytes
  }

  /** The index of the last record; meaningless while there is none. */
  get lastIndex(): number {
    return this.#firstIndex + this.#recordCount - 1
  }

  get lastTerm(): number {
    return this.#lastTerm
  }

  /** Bytes the batch takes in its segment. */
  get batchBytes(): number {
    return paddedBytes(BATCH_HEADER_BYTES + this.#bodyBytes)
  }

  /** Whether a record with a payload of so many bytes still fits. */
  hasRoomFor(payloadBytes: number): boolean {
    return BATCH_HEADER_BYTES + this.#bodyBytes + RECORD_HEADER_BYTES + payloadBytes <= BATCH_BYTES_MAX
  }

  /** Adds a record, which must fit; the payload is copied. Indexes must be contiguous. */
  add(index: number, term: number, kind: number, version: number, flags: number, payload: Uint8Array): void {
    assert(this.hasRoomFor(payload.length), 'a batch without room for the record')
    assert(this.#recordCount === 0 || index === this.lastIndex + 1, 'an index out of order')
    if (this.#recordCount === 0) this.#firstIndex = index
    const at = BATCH_HEADER_BYTES + this.#bodyBytes
    const end = at + RECORD_HEADER_BYTES + payload.length
    this.#grow(end)
    putField(this.#buffer, at, recordFields.payloadBytes, payload.length)
    putField(this.#buffer, at, recordFields.kind, kind)
    putField(this.#buffer, at, recordFields.version, version)
    putField(this.#buffer, at, recordFields.flags, flags)
    putField(this.#buffer, at, recordFields.index, index)
    putField(this.#buffer, at, recordFields.term, term)
    this.#buffer.set(payload, at + RECORD_HEADER_BYTES)
    this.#bodyBytes = end - BATCH_HEADER_BYTES
    this.#lastTerm = term
    this.#recordCount++
  }

  /** Makes it a marker: no records, only proof that everything up to `syncedIndex` is durable. */
  mark(nextIndex: number, lastTerm: number): void {
    this.reset()
    this.#firstIndex = nextIndex
    this.#lastTerm = lastTerm
  }

  /**
   * Pads the batch and writes its header. May be called again with another place.
   * @returns a view of the batch, valid until the next change, and the checksum that the next batch chains to
   */
  finish(place: BatchPlace): { bytes: Buffer; crc: number } {
    const batchBytes = this.batchBytes
    const buffer = this.#buffer
    buffer.fill(0, BATCH_HEADER_BYTES + this.#bodyBytes, batchBytes)
    buffer.fill(0, 0, BATCH_HEADER_BYTES)
    buffer.write(BATCH_MAGIC, 0, 'latin1')
    putField(buffer, 0, batchFields.kind, this.#recordCount === 0 ? BatchKind.marker : BatchKind.data)
    putField(buffer, 0, batchFields.headerBytes, BATCH_HEADER_BYTES)
    putField(buffer, 0, batchFields.batchBytes, batchBytes)
    putField(buffer, 0, batchFields.bodyBytes, this.#bodyBytes)
    putField(buffer, 0, batchFields.recordCount, this.#recordCount)
    buffer.write(place.clusterId, batchFields.clusterId.offset, 'hex')
    putField(buffer, 0, batchFields.salt, place.salt)
    putField(buffer, 0, batchFields.segment, place.segment)
    putField(buffer, 0, batchFields.offset, place.offset)
    putField(buffer, 0, batchFields.firstIndex, this.#firstIndex)
    putField(buffer, 0, batchFields.syncedOffset, place.syncedOffset)
    putField(buffer, 0, batchFields.syncedIndex, place.syncedIndex)
    putField(buffer, 0, batchFields.lastTerm, this.#lastTerm)
    putField(buffer, 0, batchFields.previousCrc, place.previousCrc)
    putField(buffer, 0, batchFields.bodyCrc, crc32(buffer.subarray(BATCH_HEADER_BYTES, batchBytes)))
    const crc = crc32(buffer.subarray(0, batchFields.headerCrc.offset))
    putField(buffer, 0, batchFields.headerCrc, crc)
    return { bytes: buffer.subarray(0, batchBytes), crc }
  }

  /** Forgets the records, keeps the room. */
  reset(): void {
    this.#bodyBytes = 0
    this.#recordCount = 0
  }

  #grow(bytes: number): void {
    const wanted = paddedBytes(bytes)
    if (wanted <= this.#buffer.length) return
    const larger = Buffer.allocUnsafeSlow(Math.min(BATCH_BYTES_MAX, Math.max(wanted, this.#buffer.length * 2)))
    this.#buffer.copy(larger, 0, 0, BATCH_HEADER_BYTES + this.#bodyBytes)
    this.#buffer = larger
  }
}
