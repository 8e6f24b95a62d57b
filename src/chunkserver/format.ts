// The bytes of a chunk's meta file: a header block, a journal of chained records, a trailer once it is sealed.
//
// README.md beside this file describes them byte by byte; only this file (and record-index.ts for one entry of the
// index, identity-format.ts for the directory's own file) reads or writes them. Numbers are little-endian.
//
// Invariants:
//   - a record's checksum is seeded by the one of the record before: no record of another file or time fits in
//   - a record says how much of the file was on disk when it was written: damage below that is damage, not a torn tail

import { assert } from '../base/assert.ts'
import { crc32 } from '../base/crc32.ts'
import type { ChunkHandle, ClusterId, DirectoryId, Life, ServerId } from '../base/ids.ts'
import { BLOCK_BYTES, CHUNK_BYTES_MAX, RECORD_INDEX_BYTES_MAX, REPLICAS_MAX } from '../base/limits.ts'
import { KiB, MiB } from '../base/units.ts'
import { blockCount } from './block-sums.ts'
import { readU64, writeU64 } from './bytes.ts'
import { decodeEntries, ENTRY_BYTES, encodeEntries, type RecordEntry } from './record-index.ts'

export const CHUNK_HEADER_BYTES = 4 * KiB
export const SEALED_TRAILER_BYTES = 64
export const RECORD_HEADER_BYTES = 32
export const CHUNK_FORMAT_VERSION = 1

/** Records of a meta file beyond its header may take this much before the chunk counts as full. */
export const JOURNAL_BYTES_MAX = RECORD_INDEX_BYTES_MAX + 1 * MiB + 4 * blockCount(CHUNK_BYTES_MAX)
/** A meta file at most: the journal, one last batch, fence, and the seal with sums and index once more. Longer is damage. */
export const META_BYTES_MAX = CHUNK_HEADER_BYTES + 3 * JOURNAL_BYTES_MAX

const HEADER_MAGIC = Buffer.from('dfschunk', 'latin1')
const TRAILER_MAGIC = Buffer.from('dfsseal1', 'latin1')
const RECORD_MAGIC = 0x72736664 // 'dfsr'
const FLAG_TOMBSTONE = 1
const MEMBER_BYTES = 24
/** Stands for a record's checksum while it is computed. */
const ZEROS = Buffer.alloc(4)

/** A member as the allocation names it; the address is not kept. */
export interface HeaderMember {
  readonly server: ServerId
  readonly directory: DirectoryId
  readonly life: Life
}

export interface ChunkHeader {
  readonly clusterId: ClusterId
  readonly handle: ChunkHandle
  readonly version: number
  /** Log index of the allocation; 0 for a tombstone. */
  readonly logIndex: number
  readonly chunkBytes: number
  readonly shared: boolean
  /** Where, and in which life, the replica was made. */
  readonly directory: DirectoryId
  readonly life: Life
  /** Made by a fence for a chunk that was not here: it holds no bytes and never will. */
  readonly isTombstone: boolean
  readonly members: readonly HeaderMember[]
}

export function encodeHeader(header: ChunkHeader): Buffer {
  assert(header.members.length <= REPLICAS_MAX, 'too many members')
  const bytes = Buffer.alloc(CHUNK_HEADER_BYTES)
  HEADER_MAGIC.copy(bytes)
  bytes.writeUInt16LE(CHUNK_FORMAT_VERSION, 8)
  bytes.writeUInt16LE(header.isTombstone ? FLAG_TOMBSTONE : 0, 10)
  bytes.writeUInt32LE(CHUNK_HEADER_BYTES, 12)
  bytes.write(header.clusterId, 16, 16, 'hex')
  writeU64(bytes, header.handle, 32)
  bytes.writeUInt32LE(header.version, 40)
  bytes.writeUInt32LE(header.chunkBytes, 44)
  writeU64(bytes, header.logIndex, 48)
  bytes[56] = header.shared ? 1 : 0
  // 57 layout, 58 compression, 59 encryption: 0 is replicated, none, none.
  bytes.writeUInt32LE(BLOCK_BYTES, 60)
  writeU64(bytes, header.directory, 64)
  writeU64(bytes, header.life, 72)
  // 80 .. 87: data shards, parity shards, shard index of a coded layout.
  bytes.writeUInt32LE(header.members.length, 88)
  header.members.forEach((member, index) => {
    const at = 96 + index * MEMBER_BYTES
    bytes.writeUInt32LE(member.server, at)
    writeU64(bytes, member.directory, at + 8)
    writeU64(bytes, member.life, at + 16)
  })
  bytes.writeUInt32LE(crc32(bytes.subarray(0, CHUNK_HEADER_BYTES - 4)), CHUNK_HEADER_BYTES - 4)
  return bytes
}

/** The header in the first block of `bytes`, or why there is none. */
export function decodeHeader(bytes: Buffer): ChunkHeader | { readonly fault: string } {
  if (bytes.length < CHUNK_HEADER_BYTES) return { fault: `${bytes.length} bytes, a header has ${CHUNK_HEADER_BYTES}` }
  if (!bytes.subarray(0, 8).equals(HEADER_MAGIC)) return { fault: 'it does not start as a chunk header' }
  const expected = bytes.readUInt32LE(CHUNK_HEADER_BYTES - 4)
  const actual = crc32(bytes.subarray(0, CHUNK_HEADER_BYTES - 4))
  if (expected !== actual) return { fault: `header checksum ${expected} on disk, ${actual} computed` }
  const formatVersion = bytes.readUInt16LE(8)
  const flags = bytes.readUInt16LE(10)
  if (formatVersion !== CHUNK_FORMAT_VERSION || flags > FLAG_TOMBSTONE) {
    return { fault: `format version ${formatVersion}, flags ${flags}: made by a later version` }
  }
  if (bytes[57] !== 0 || bytes[58] !== 0 || bytes[59] !== 0 || bytes.readUInt32LE(60) !== BLOCK_BYTES) {
    return { fault: 'a layout, compression, encryption or block size of a later version' }
  }
  const handle = readU64(bytes, 32)
  const logIndex = readU64(bytes, 48)
  const directory = readU64(bytes, 64)
  const life = readU64(bytes, 72)
  const chunkBytes = bytes.readUInt32LE(44)
  const memberCount = bytes.readUInt32LE(88)
  if (!handle || logIndex === undefined || directory === undefined || life === undefined)
    return { fault: 'an id out of range' }
  // The protocol has no version 0: a replica of it could not be told to the master, nor anything that is told with it.
  if (bytes.readUInt32LE(40) === 0) return { fault: 'version 0, the first is 1' }
  if (chunkBytes > CHUNK_BYTES_MAX || memberCount > REPLICAS_MAX) return { fault: 'a size out of range' }
  const members: HeaderMember[] = []
  for (let index = 0; index < memberCount; index++) {
    const at = 96 + index * MEMBER_BYTES
    members.push({
      server: bytes.readUInt32LE(at) as ServerId,
      directory: (readU64(bytes, at + 8) ?? 0) as DirectoryId,
      life: (readU64(bytes, at + 16) ?? 0) as Life,
    })
  }
  return {
    clusterId: bytes.toString('hex', 16, 32) as ClusterId,
    handle: handle as ChunkHandle,
    version: bytes.readUInt32LE(40),
    logIndex,
    chunkBytes,
    shared: bytes[56] === 1,
    directory: directory as DirectoryId,
    life: life as Life,
    isTombstone: (flags & FLAG_TOMBSTONE) !== 0,
    members,
  }
}

/** What the master's log says of a sealed chunk, and the sums and index entries that prove it. */
export interface SealedRecord {
  readonly kind: 'sealed'
  readonly version: number
  readonly length: number
  readonly digest: number
  readonly indexDigest: number
  /** One for each block of `length` bytes. */
  readonly sums: ArrayLike<number>
  readonly entries: readonly RecordEntry[]
}

export interface ExtendRecord {
  readonly kind: 'extend'
  readonly serial: number
  readonly from: number
  readonly to: number
  /** Of the blocks that hold bytes `from` .. `to`; the last up to `to`. */
  readonly sums: ArrayLike<number>
  /** The batch of a shared chunk. */
  readonly entries: readonly RecordEntry[]
}

export type JournalRecord =
  | ExtendRecord
  /** Data up to `length` was on disk before this was written. */
  | { readonly kind: 'synced'; readonly length: number }
  /** Final: no more bytes, in this life or another. */
  | { readonly kind: 'fenced' }
  | SealedRecord
  /** A later chunk version (GFS §4.5). */
  | { readonly kind: 'version'; readonly version: number }

const RecordKind = { extend: 1, synced: 2, fenced: 3, sealed: 4, version: 5 } as const

/** A record as found in a file. */
export interface StoredRecord {
  readonly record: JournalRecord
  /** Offset in the file and bytes, header and padding included. */
  readonly offset: number
  readonly bytes: number
  readonly crc: number
  /** The checksum it was seeded by. */
  readonly seed: number
  /** Bytes of this file that were on disk when it was written. */
  readonly syncedBytes: number
}

/**
 * Encodes a record into a new buffer.
 *
 * @param offset       where in the file it will stand
 * @param seed         checksum of the record before, that of the header for the first one
 * @param syncedBytes  bytes of the file known to be on disk
 * @returns            the bytes and their checksum, the next record's seed
 */
export function encodeRecord(
  record: JournalRecord,
  offset: number,
  seed: number,
  syncedBytes: number,
): { bytes: Buffer; crc: number } {
  const payload = encodePayload(record)
  const bytes = Buffer.alloc(RECORD_HEADER_BYTES + Math.ceil(payload.length / 8) * 8)
  bytes.writeUInt32LE(RECORD_MAGIC, 0)
  bytes[4] = RecordKind[record.kind]
  bytes.writeUInt32LE(bytes.length, 8)
  bytes.writeUInt32LE(offset, 12)
  bytes.writeUInt32LE(seed, 16)
  bytes.writeUInt32LE(syncedBytes, 20)
  payload.copy(bytes, RECORD_HEADER_BYTES)
  const crc = crc32(bytes, seed) // of the record with zeros in place of its checksum
  bytes.writeUInt32LE(crc, 24)
  return { bytes, crc }
}

/**
 * The record at `offset` of `file`, whatever stands before it; undefined when there is none that is whole.
 *
 * @param base  offset of `file`'s first byte in the real file
 */
export function decodeRecord(file: Buffer, offset: number, base = 0): StoredRecord | undefined {
  const at = offset - base
  if (at < 0 || at + RECORD_HEADER_BYTES > file.length || file.readUInt32LE(at) !== RECORD_MAGIC) return undefined
  const bytes = file.readUInt32LE(at + 8)
  if (bytes < RECORD_HEADER_BYTES || bytes % 8 !== 0 || bytes > META_BYTES_MAX || at + bytes > file.length)
    return undefined
  if (file.readUInt32LE(at + 12) !== offset) return undefined
  const seed = file.readUInt32LE(at + 16)
  const crc = file.readUInt32LE(at + 24)
  const actual = crc32(file.subarray(at + 28, at + bytes), crc32(ZEROS, crc32(file.subarray(at, at + 24), seed)))
  if (actual !== crc) return undefined
  const record = decodePayload(file[at + 4]!, file.subarray(at + RECORD_HEADER_BYTES, at + bytes))
  if (record === undefined) return undefined
  return { record, offset, bytes, crc, seed, syncedBytes: file.readUInt32LE(at + 20) }
}

function encodePayload(record: JournalRecord): Buffer {
  switch (record.kind) {
    case 'extend':
      return withSums([record.from, record.to], record.sums, record.entries, record.serial)
    case 'sealed':
      return withSums(
        [record.version, record.length, record.digest, record.indexDigest],
        record.sums,
        record.entries,
        0,
      )
    case 'synced':
      return words([record.length])
    case 'version':
      return words([record.version])
    case 'fenced':
      return Buffer.alloc(0)
  }
}

/** serial u64, count of sums u32, count of entries u32, `fields`, sums, (4 bytes of padding,) entries. */
function withSums(
  fields: readonly number[],
  sums: ArrayLike<number>,
  entries: readonly RecordEntry[],
  serial: number,
): Buffer {
  const sumsAt = 16 + 4 * fields.length
  const entriesAt = sumsAt + 4 * (sums.length + (sums.length % 2))
  const bytes = Buffer.alloc(entriesAt + ENTRY_BYTES * entries.length)
  writeU64(bytes, serial, 0)
  bytes.writeUInt32LE(sums.length, 8)
  bytes.writeUInt32LE(entries.length, 12)
  fields.forEach((field, index) => {
    bytes.writeUInt32LE(field, 16 + 4 * index)
  })
  for (let index = 0; index < sums.length; index++) bytes.writeUInt32LE(sums[index]!, sumsAt + 4 * index)
  encodeEntries(entries).copy(bytes, entriesAt)
  return bytes
}

function words(fields: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * fields.length)
  fields.forEach((field, index) => {
    bytes.writeUInt32LE(field, 4 * index)
  })
  return bytes
}

function decodePayload(kind: number, payload: Buffer): JournalRecord | undefined {
  if (kind === RecordKind.fenced) return payload.length === 0 ? { kind: 'fenced' } : undefined
  if (kind === RecordKind.synced || kind === RecordKind.version) {
    if (payload.length !== 8) return undefined
    const value = payload.readUInt32LE(0)
    return kind === RecordKind.synced ? { kind: 'synced', length: value } : { kind: 'version', version: value }
  }
  if (kind !== RecordKind.extend && kind !== RecordKind.sealed) return undefined
  const fieldCount = kind === RecordKind.extend ? 2 : 4
  const sumsAt = 16 + 4 * fieldCount
  if (payload.length < sumsAt) return undefined
  const serial = readU64(payload, 0)
  const sumCount = payload.readUInt32LE(8)
  const entryCount = payload.readUInt32LE(12)
  const entriesAt = sumsAt + 4 * (sumCount + (sumCount % 2))
  if (serial === undefined || entriesAt + ENTRY_BYTES * entryCount !== payload.length) return undefined
  const sums = new Uint32Array(sumCount)
  for (let index = 0; index < sumCount; index++) sums[index] = payload.readUInt32LE(sumsAt + 4 * index)
  const entries = decodeEntries(payload.subarray(entriesAt))
  if (entries === undefined) return undefined
  if (kind === RecordKind.extend) {
    const from = payload.readUInt32LE(16)
    const to = payload.readUInt32LE(20)
    const isRun = from <= to && to <= CHUNK_BYTES_MAX
    const sumsWanted = to === from ? 0 : blockCount(to) - Math.floor(from / BLOCK_BYTES)
    return isRun && sumCount === sumsWanted ? { kind: 'extend', serial, from, to, sums, entries } : undefined
  }
  const length = payload.readUInt32LE(20)
  if (length > CHUNK_BYTES_MAX || sumCount !== blockCount(length)) return undefined
  return {
    kind: 'sealed',
    version: payload.readUInt32LE(16),
    length,
    digest: payload.readUInt32LE(24),
    indexDigest: payload.readUInt32LE(28),
    sums,
    entries,
  }
}

/** The last 64 bytes of a sealed chunk's meta file: all that a start needs besides the header. */
export interface SealedTrailer {
  readonly handle: ChunkHandle
  readonly version: number
  readonly length: number
  readonly digest: number
  readonly indexDigest: number
  /** Where the `sealed` record stands, and its checksum. */
  readonly recordOffset: number
  readonly recordBytes: number
  readonly recordCrc: number
}

export function encodeTrailer(trailer: SealedTrailer): Buffer {
  const bytes = Buffer.alloc(SEALED_TRAILER_BYTES)
  TRAILER_MAGIC.copy(bytes)
  writeU64(bytes, trailer.handle, 8)
  bytes.writeUInt32LE(trailer.version, 16)
  bytes.writeUInt32LE(trailer.length, 20)
  bytes.writeUInt32LE(trailer.digest, 24)
  bytes.writeUInt32LE(trailer.indexDigest, 28)
  bytes.writeUInt32LE(trailer.recordOffset, 32)
  bytes.writeUInt32LE(trailer.recordBytes, 36)
  bytes.writeUInt32LE(trailer.recordCrc, 40)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, SEALED_TRAILER_BYTES - 4)), SEALED_TRAILER_BYTES - 4)
  return bytes
}

/** The trailer in these 64 bytes, or undefined: then the journal says what there is. */
export function decodeTrailer(bytes: Buffer): SealedTrailer | undefined {
  if (bytes.length !== SEALED_TRAILER_BYTES || !bytes.subarray(0, 8).equals(TRAILER_MAGIC)) return undefined
  if (bytes.readUInt32LE(SEALED_TRAILER_BYTES - 4) !== crc32(bytes.subarray(0, SEALED_TRAILER_BYTES - 4)))
    return undefined
  const handle = readU64(bytes, 8)
  if (!handle) return undefined
  return {
    handle: handle as ChunkHandle,
    version: bytes.readUInt32LE(16),
    length: bytes.readUInt32LE(20),
    digest: bytes.readUInt32LE(24),
    indexDigest: bytes.readUInt32LE(28),
    recordOffset: bytes.readUInt32LE(32),
    recordBytes: bytes.readUInt32LE(36),
    recordCrc: bytes.readUInt32LE(40),
  }
}
