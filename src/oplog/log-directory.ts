// The files of a log: their names, their headers, and what may be said when one of them is damaged. Reads only.
//
// The bytes are described in ../../oplog-format.md. A name `segment-N.oplog` appears only with a synced header in the
// file; `*.tmp` is a segment that was being written beside, never part of the log.

import { DfsError, isDfsError } from '../base/errors.ts'
import type { ClusterId } from '../base/ids.ts'
import type { Disk, DiskFile } from '../io/disk.ts'
import {
  decodeRecords,
  decodeSegmentHeader,
  type LogRecord,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from './format.ts'
import { decideRecovery, type RecoveryRule, type SegmentFacts } from './recover.ts'
import { type RunEnd, SegmentReader } from './segment-reader.ts'

/** What a person does who named a directory that has no log. */
export const NO_LOG_NEXT = "name a master's data directory, its log, or one segment"

/** A segment whose header is right and continues that of the segment before. */
export interface Segment {
  readonly path: string
  readonly header: SegmentHeader
  readonly fileBytes: number
  /** The header of the next segment; undefined for the last one. */
  readonly next: SegmentHeader | undefined
}

/** `segment-0000000000000001.oplog`: 16 decimal digits, so that names sort as numbers do. */
export function segmentName(segment: number): string {
  return `segment-${String(segment).padStart(16, '0')}.oplog`
}

/** The number in a segment's name, or undefined for any other name. */
export function segmentOfName(name: string): number | undefined {
  const match = /^segment-([0-9]{16})\.oplog$/.exec(name)
  const segment = match ? Number(match[1]) : Number.NaN
  return Number.isSafeInteger(segment) && segment >= 1 ? segment : undefined
}

/** LOG_DAMAGED (or BAD_FORMAT): names file, offset, reason and the next command. */
export function damaged(
  path: string,
  offset: number,
  why: string,
  code: 'LOG_DAMAGED' | 'BAD_FORMAT' = 'LOG_DAMAGED',
): DfsError {
  const next = `nothing was changed; run \`dfsd oplog verify ${directoryOf(path)}\``
  return new DfsError(code, `${path}: offset ${offset}: ${why}; ${next}`, { path, offset })
}

/** The segments' numbers in a directory, ascending, and the leftovers of segments that were being written. */
export async function listSegments(
  disk: Disk,
  directory: string,
): Promise<{ segments: number[]; leftovers: string[] }> {
  const segments: number[] = []
  const leftovers: string[] = []
  for (const { name, kind } of await disk.list(directory)) {
    if (kind !== 'file') continue
    const segment = segmentOfName(name)
    if (segment !== undefined) segments.push(segment)
    else if (name.startsWith('segment-') && name.endsWith('.tmp')) leftovers.push(`${directory}/${name}`)
  }
  return { segments: segments.sort((a, b) => a - b), leftovers }
}

/**
 * All segments, oldest first, each header judged by rows 1 to 4 of the recovery table.
 *
 * @param clusterId  undefined: that of the first segment (offline tools)
 * @throws NOT_FOUND without any segment; LOG_DAMAGED, BAD_FORMAT
 */
export async function readSegments(
  disk: Disk,
  directory: string,
  clusterId: ClusterId | undefined,
): Promise<Segment[]> {
  const { segments } = await listSegments(disk, directory)
  if (segments.length === 0)
    throw new DfsError('NOT_FOUND', `${directory}: there is no operation log`, { path: directory, next: NO_LOG_NEXT })
  const found: { path: string; header: SegmentHeader; fileBytes: number }[] = []
  for (const segment of segments) {
    const path = `${directory}/${segmentName(segment)}`
    const before = found.at(-1)
    const expected = before === undefined ? segment : before.header.segment + 1
    if (expected !== segment) {
      throw damaged(`${directory}/${segmentName(expected)}`, 0, `the segment is missing before ${segmentName(segment)}`)
    }
    try {
      found.push(await readSegment(disk, path, clusterId ?? before?.header.clusterId, before?.header))
    } catch (error) {
      if (!isDfsError(error, 'NOT_FOUND')) throw error
      // Listed and gone: dropped in this moment beside us, and only the oldest are dropped.
      found.length = 0
    }
  }
  return found.map((segment, index) => ({ ...segment, next: found[index + 1]?.header }))
}

/** One segment's header, judged by rows 1 to 4 of the recovery table. @throws LOG_DAMAGED, BAD_FORMAT */
export async function readSegment(
  disk: Disk,
  path: string,
  clusterId: ClusterId | undefined,
  before: SegmentHeader | undefined,
): Promise<Omit<Segment, 'next'>> {
  const { header, fileBytes } = await withFile(disk, path, async (file) => {
    const page = Buffer.alloc(SEGMENT_HEADER_BYTES)
    const bytes = await file.read(page, 0)
    return { header: decodeSegmentHeader(page.subarray(0, bytes)), fileBytes: await file.size() }
  })
  const fact = headerFact(header, segmentOfName(nameOf(path)), clusterId, before)
  if (fact !== 'whole' || typeof header === 'string') {
    const rule = decideRecovery({ part: 'last', header: fact, reachesNext: false, rest: 'nothing', proof: 'none' })
    throw damaged(path, 0, `${rule.says}${explain(header, clusterId)}`, rule.code)
  }
  return { path, header, fileBytes }
}

/** What the batches of one segment came to. */
export interface SegmentVerdict {
  readonly reader: SegmentReader
  readonly facts: SegmentFacts
  readonly rule: RecoveryRule
  /** Why the run of valid batches ended. */
  readonly stop: RunEnd
}

/**
 * Reads a whole segment and judges it by the recovery table. Does not throw for damage.
 * @param onRecord  given every valid record on the way
 */
export async function judgeSegment(
  file: DiskFile,
  segment: Segment,
  onRecord?: (record: LogRecord) => void,
): Promise<SegmentVerdict> {
  const { header, fileBytes, next } = segment
  const reader = new SegmentReader(file, fileBytes, header, next?.previousEnd)
  for (let batch = await reader.next(); batch; batch = await reader.next()) {
    if (onRecord) for (const record of decodeRecords(batch.bytes, batch.header)) onRecord(record)
  }
  const facts: SegmentFacts = {
    part: next ? 'closed' : 'last',
    header: 'whole',
    reachesNext: next !== undefined && reachesNext(reader, next),
    ...(await reader.examineRest()),
  }
  return { reader, facts, rule: decideRecovery(facts), stop: reader.stop }
}

/** The refusal of a verdict whose rule refuses. */
export function refusalOf(segment: Segment, verdict: SegmentVerdict): DfsError {
  const { reader, rule, stop } = verdict
  return damaged(segment.path, reader.end.offset, `${rule.says} (${stop.why})`, rule.code)
}

/** Whether what was read of a segment is all that the next one says it has. */
export function reachesNext(reader: SegmentReader, next: SegmentHeader): boolean {
  const { offset, crc, lastIndex, lastTerm } = reader.end
  return (
    offset === next.previousEnd &&
    crc === next.previousCrc &&
    lastIndex + 1 === next.firstIndex &&
    lastTerm === next.lastTerm
  )
}

/** Opens a file for reading and closes it whatever happens. */
export async function withFile<T>(disk: Disk, path: string, use: (file: DiskFile) => Promise<T>): Promise<T> {
  const file = await disk.open(path, 'read')
  try {
    return await use(file)
  } finally {
    await file.close()
  }
}

export function directoryOf(path: string): string {
  const slash = path.lastIndexOf('/')
  return slash < 0 ? '.' : path.slice(0, slash) || '/'
}

export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

function headerFact(
  header: ReturnType<typeof decodeSegmentHeader>,
  numberInName: number | undefined,
  clusterId: ClusterId | undefined,
  before: SegmentHeader | undefined,
): SegmentFacts['header'] {
  if (typeof header === 'string') return header
  if (clusterId !== undefined && header.clusterId !== clusterId) return 'foreign'
  if (numberInName !== undefined && header.segment !== numberInName) return 'misplaced'
  if (!before) return 'whole'
  const continues =
    header.segment === before.segment + 1 &&
    header.firstIndex >= before.firstIndex &&
    header.lastTerm >= before.lastTerm
  return continues ? 'whole' : 'misplaced'
}

function explain(header: ReturnType<typeof decodeSegmentHeader>, clusterId: ClusterId | undefined): string {
  if (typeof header === 'string') return ''
  return ` (segment ${header.segment} of cluster ${header.clusterId}${clusterId ? `; this is cluster ${clusterId}` : ''})`
}
