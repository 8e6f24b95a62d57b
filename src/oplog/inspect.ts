// Looking at logs and checkpoints from outside: what stands behind `dfsd oplog` and `dfsd checkpoint`. Offline; never
// changes a byte. What payloads and sections mean is told by an injected decoder.

import type { ErrorDetail } from '../base/errors.ts'
import { isDfsError } from '../base/errors.ts'
import type { Disk } from '../io/disk.ts'
import { loadCheckpoint } from './checkpoint-file.ts'
import { openCheckpoint } from './checkpoint-reader.ts'
import { decodeRecords, type LogRecord } from './format.ts'
import {
  directoryOf,
  judgeSegment,
  nameOf,
  readSegment,
  readSegments,
  refusalOf,
  type Segment,
  withFile,
} from './log-directory.ts'
import { SegmentReader } from './segment-reader.ts'

/** Plain values that are added to a record's row: `{ op: 'mkdir', path: '/a' }`. May throw for what it does not know. */
export type RecordDecoder = (record: LogRecord) => Readonly<Record<string, unknown>>

export interface DumpRange {
  /** First and last index wanted; all without. */
  readonly fromIndex?: number
  readonly throughIndex?: number
}

/** One record of a dump. */
export interface RecordRow {
  readonly segment: string
  /** Of its batch, bytes from the start of the segment. */
  readonly offset: number
  readonly index: number
  readonly term: number
  readonly kind: number
  readonly version: number
  /** Of its payload. */
  readonly bytes: number
  /** What the decoder made of it, or `{ undecodable: reason }`. */
  readonly decoded: Readonly<Record<string, unknown>>
}

/** The first damage of a file: what a start would refuse with. */
export interface Damage {
  readonly code: string
  readonly message: string
  readonly path: string
  readonly offset: number
}

export interface LogVerdict {
  /** Whether a start would serve this log, perhaps after cutting a torn tail. */
  readonly isSound: boolean
  readonly damage: Damage | undefined
  /** What a start would cut. */
  readonly tornTail: { readonly path: string; readonly offset: number; readonly bytes: number } | undefined
  readonly clusterId: string | undefined
  readonly segmentCount: number
  readonly batchCount: number
  readonly recordCount: number
  readonly firstIndex: number
  readonly lastIndex: number
  /** Zeros behind the end of the last segment: room that the log made ahead and has not written to. */
  readonly preallocatedBytes: number
  /** Records at the end that nothing proves synced: a start copies them to a new segment. */
  readonly unprovenCount: number
}

export interface LogNumbers extends LogVerdict {
  /** Of all segment files. */
  readonly fileBytes: number
  readonly markerCount: number
  readonly payloadBytes: number
  /** Records and payload bytes by kind, ascending. */
  readonly kinds: readonly { readonly kind: number; readonly records: number; readonly payloadBytes: number }[]
}

/**
 * The records of a log, or of one segment, in order, up to the first damage, which is thrown.
 *
 * @param path  a log's directory, or a segment
 * @throws NOT_FOUND, LOG_DAMAGED, BAD_FORMAT, DISK_FAILED
 */
export async function* dumpLog(
  disk: Disk,
  path: string,
  range: DumpRange = {},
  decode: RecordDecoder = () => ({}),
): AsyncGenerator<RecordRow, void, void> {
  const { fromIndex = 1, throughIndex = Number.MAX_SAFE_INTEGER } = range
  for (const segment of await segmentsAt(disk, path)) {
    if (segment.header.firstIndex > throughIndex) return
    if (segment.next && segment.next.firstIndex <= fromIndex) continue
    const verdict = await withFile(disk, segment.path, (file) => judgeSegment(file, segment))
    const file = await disk.open(segment.path, 'read')
    try {
      const reader = new SegmentReader(file, segment.fileBytes, segment.header, segment.next?.previousEnd)
      for (let batch = await reader.next(); batch; batch = await reader.next()) {
        for (const record of decodeRecords(batch.bytes, batch.header)) {
          if (record.index < fromIndex || record.index > throughIndex) continue
          yield rowOf(segment, batch.header.offset, record, decode)
        }
      }
    } finally {
      await file.close()
    }
    if (verdict.rule.action === 'refuse') throw refusalOf(segment, verdict)
  }
}

/** Reads every byte of a log, or of one segment, and says what a start would do with it. @throws NOT_FOUND, DISK_FAILED */
export async function verifyLog(disk: Disk, path: string): Promise<LogVerdict> {
  const { markerCount, fileBytes, payloadBytes, kinds, ...verdict } = await measureLog(disk, path)
  return verdict
}

/** The same, with numbers of what is in it. @throws NOT_FOUND, DISK_FAILED */
export async function measureLog(disk: Disk, path: string): Promise<LogNumbers> {
  const kinds = new Map<number, { records: number; payloadBytes: number }>()
  const sum = { segmentCount: 0, batchCount: 0, recordCount: 0, markerCount: 0, fileBytes: 0, payloadBytes: 0 }
  let damage: Damage | undefined
  let tornTail: LogVerdict['tornTail']
  let unprovenCount = 0
  let preallocatedBytes = 0
  let segments: readonly Segment[] = []
  let lastIndex = 0
  try {
    segments = await segmentsAt(disk, path)
    lastIndex = segments[0]!.header.firstIndex - 1
    for (const segment of segments) {
      const verdict = await withFile(disk, segment.path, (file) =>
        judgeSegment(file, segment, (record) => count(kinds, record)),
      )
      const { reader, rule } = verdict
      sum.segmentCount++
      sum.batchCount += reader.batchCount
      sum.markerCount += reader.markerCount
      sum.recordCount += reader.recordCount
      sum.fileBytes += segment.fileBytes
      lastIndex = reader.end.lastIndex
      if (rule.action === 'refuse') throw refusalOf(segment, verdict)
      if (segment.next) continue
      unprovenCount = reader.end.lastIndex - reader.proven.lastIndex
      const { offset } = reader.end
      if (verdict.facts.rest === 'unwritten') preallocatedBytes = segment.fileBytes - offset
      if (rule.action === 'cut') {
        tornTail = { path: segment.path, offset, bytes: segment.fileBytes - offset }
      }
    }
  } catch (error) {
    damage = damageOf(error)
  }
  for (const { payloadBytes } of kinds.values()) sum.payloadBytes += payloadBytes
  return {
    isSound: damage === undefined,
    damage,
    tornTail,
    clusterId: segments[0]?.header.clusterId,
    ...sum,
    firstIndex: segments[0]?.header.firstIndex ?? 0,
    lastIndex,
    preallocatedBytes,
    unprovenCount,
    kinds: [...kinds].sort(([a], [b]) => a - b).map(([kind, numbers]) => ({ kind, ...numbers })),
  }
}

export interface CheckpointVerdict {
  readonly isSound: boolean
  readonly damage: Damage | undefined
  readonly clusterId: string | undefined
  readonly index: number
  readonly term: number
  readonly bytes: number
  /** Over the whole content: what masters compare. */
  readonly checksum: number
  readonly sections: readonly { readonly name: string; readonly bytes: number }[]
}

/** Reads every byte of a checkpoint. @throws NOT_FOUND, DISK_FAILED */
export async function verifyCheckpoint(disk: Disk, path: string): Promise<CheckpointVerdict> {
  const sections: { name: string; bytes: number }[] = []
  try {
    const { reader } = await loadCheckpoint(disk, path, undefined, async (opened) => {
      for await (const { name, bytes } of opened.sections()) {
        const section = { name, bytes: 0 }
        sections.push(section)
        for await (const data of bytes) section.bytes += data.length
      }
    })
    const { bytes, checksum } = reader
    return { isSound: true, damage: undefined, ...reader.header, bytes, checksum, sections }
  } catch (error) {
    const damage = damageOf(error)
    return { isSound: false, damage, clusterId: undefined, index: 0, term: 0, bytes: 0, checksum: 0, sections }
  }
}

/** What a section's bytes mean: rows of plain values. */
export type SectionDecoder = (
  name: string,
  bytes: AsyncIterable<Buffer>,
) => AsyncIterable<Readonly<Record<string, unknown>>>

/**
 * The content of a checkpoint as rows of plain values, each with its `section`; without a decoder one row a section.
 * @throws NOT_FOUND, CHECKPOINT_DAMAGED at the first damage, BAD_FORMAT, DISK_FAILED
 */
export async function* dumpCheckpoint(
  disk: Disk,
  path: string,
  decode: SectionDecoder = measureSection,
): AsyncGenerator<Readonly<Record<string, unknown>>, void, void> {
  const reader = await openCheckpoint(disk, path)
  try {
    for await (const { name, bytes } of reader.sections()) {
      for await (const row of decode(name, bytes)) yield { section: name, ...row }
    }
  } finally {
    await reader.close()
  }
}

async function* measureSection(
  _name: string,
  bytes: AsyncIterable<Buffer>,
): AsyncGenerator<Readonly<Record<string, unknown>>, void, void> {
  let sum = 0
  for await (const data of bytes) sum += data.length
  yield { bytes: sum }
}

/** A directory's segments, or the one segment that `path` names: then nothing is known of what follows it. */
async function segmentsAt(disk: Disk, path: string): Promise<readonly Segment[]> {
  const stat = await disk.stat(path)
  if (stat?.kind !== 'file') return readSegments(disk, path, undefined)
  const segment = { ...(await readSegment(disk, path, undefined, undefined)), next: undefined }
  // With its neighbours in place the next header says where this one truly ends.
  const beside = await readSegments(disk, directoryOf(path), segment.header.clusterId).catch((error: unknown) => {
    if (isDfsError(error)) return []
    throw error
  })
  return [beside.find((other) => nameOf(other.path) === nameOf(path)) ?? segment]
}

function rowOf(segment: Segment, offset: number, record: LogRecord, decode: RecordDecoder): RecordRow {
  const { index, term, kind, version, payload } = record
  return {
    segment: nameOf(segment.path),
    offset,
    index,
    term,
    kind,
    version,
    bytes: payload.length,
    decoded: decoded(record, decode),
  }
}

function decoded(record: LogRecord, decode: RecordDecoder): Readonly<Record<string, unknown>> {
  try {
    return decode(record)
  } catch (error) {
    // A dump goes on: the record's bytes are proven, only their meaning is not known here.
    return { undecodable: error instanceof Error ? error.message : String(error) }
  }
}

function count(kinds: Map<number, { records: number; payloadBytes: number }>, { kind, payload }: LogRecord): void {
  const numbers = kinds.get(kind) ?? { records: 0, payloadBytes: 0 }
  numbers.records++
  numbers.payloadBytes += payload.length
  kinds.set(kind, numbers)
}

/** The damage that an error of reading tells of; other errors are thrown on. */
function damageOf(error: unknown): Damage {
  const codes = ['LOG_DAMAGED', 'CHECKPOINT_DAMAGED', 'BAD_FORMAT']
  if (!isDfsError(error) || !codes.includes(error.code)) throw error
  const { path, offset }: ErrorDetail = error.detail
  return { code: error.code, message: error.message, path: String(path), offset: Number(offset) }
}
