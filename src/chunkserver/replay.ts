// Replays a chunk's meta file: what the replica is, as far as its journal alone can tell.
//
// Pure. The data file is looked at by recover.ts, which proves what lies beyond the synced length.
//
// How a record that isn't whole is judged (README.md, "Recovery"):
//   - no later record says that this place was on disk   → a torn tail: cut there
//   - a later record says so (`syncedBytes` beyond it)   → damage: the replica is corrupt, nothing is cut

import { BlockSums } from './block-sums.ts'
import {
  CHUNK_HEADER_BYTES,
  type ChunkHeader,
  decodeHeader,
  decodeRecord,
  type ExtendRecord,
  type SealedRecord,
  type StoredRecord,
} from './format.ts'
import { RecordIndex } from './record-index.ts'

export interface Replay {
  readonly header: ChunkHeader
  readonly version: number
  /** Sums up to the synced length, at which data was on disk. */
  readonly sums: BlockSums
  /** Index entries up to there. */
  readonly index: RecordIndex
  /** What was written behind that, in order: each is to be proven by the data. */
  readonly unproven: readonly ExtendRecord[]
  readonly isFenced: boolean
  readonly sealed: SealedRecord | undefined
  readonly sealedAt: StoredRecord | undefined
  /** Why the journal can't be trusted, with the offset; undefined when it can. */
  readonly damage: string | undefined
  /** Where the next record goes, and its seed. */
  readonly endBytes: number
  readonly endCrc: number
  /** Bytes behind `endBytes` that are no records: a torn tail. */
  readonly tornBytes: number
  readonly recordCount: number
}

/** @param file  the whole meta file; not kept */
export function replay(file: Buffer): Replay | { readonly fault: string } {
  const header = decodeHeader(file)
  if ('fault' in header) return header
  let seed = file.readUInt32LE(CHUNK_HEADER_BYTES - 4)
  let offset = CHUNK_HEADER_BYTES
  let version = header.version
  let isFenced = false
  let sealedAt: StoredRecord | undefined
  let sealed: SealedRecord | undefined
  let damage: string | undefined
  let recordCount = 0
  const sums = new BlockSums()
  const index = new RecordIndex()
  let unproven: ExtendRecord[] = []
  let reach = 0
  while (sealed === undefined && damage === undefined) {
    const stored = decodeRecord(file, offset)
    if (stored === undefined || stored.seed !== seed) break
    const { record } = stored
    if (record.kind === 'extend') {
      if (record.from !== reach)
        damage = `a record at ${offset} goes on at ${record.from}, the one before ended at ${reach}`
      else {
        unproven.push(record)
        reach = record.to
      }
    } else if (record.kind === 'synced') {
      unproven = settle(sums, index, unproven, record.length)
      if (sums.length !== record.length)
        damage = `a record at ${offset} syncs ${record.length} bytes, ${sums.length} are described`
    } else if (record.kind === 'fenced') isFenced = true
    else if (record.kind === 'version') version = record.version
    else {
      sealed = record
      sealedAt = stored
      version = record.version
    }
    seed = stored.crc
    offset += stored.bytes
    recordCount++
  }
  if (sealed === undefined && damage === undefined) damage = damageBehind(file, offset)
  return {
    header,
    version,
    sums,
    index,
    unproven,
    isFenced,
    sealed,
    sealedAt,
    damage,
    endBytes: offset,
    endCrc: seed,
    tornBytes: sealed === undefined ? file.length - offset : 0,
    recordCount,
  }
}

/** Takes over the records that end at or before `length`; @returns the others. */
function settle(sums: BlockSums, index: RecordIndex, records: ExtendRecord[], length: number): ExtendRecord[] {
  let taken = 0
  for (const record of records) {
    if (record.to > length || !adopt(sums, index, record)) break
    taken++
  }
  return records.slice(taken)
}

/** Adds what one `extend` record says to sums and index. @returns false, and adds nothing, when it doesn't fit them */
export function adopt(sums: BlockSums, index: RecordIndex, record: ExtendRecord): boolean {
  if (record.from !== sums.length || !index.continues(record.entries)) return false
  sums.extend(record.to, record.sums)
  index.add(record.entries)
  return true
}

/** Looks behind a record that isn't whole for one that proves this place to have been on disk. */
function damageBehind(file: Buffer, offset: number): string | undefined {
  for (let at = offset; at < file.length; at += 8) {
    const later = decodeRecord(file, at)
    if (later !== undefined && later.syncedBytes > offset) {
      return `the record at ${offset} is damaged: the one at ${at} says that ${later.syncedBytes} bytes were on disk`
    }
  }
  return undefined
}
