// Reads the records of a log in order: at a start, in the checkpoint worker, in offline tools. Reads only, and never
// beyond what the reader was told is durable, so it may run beside a log that is being written.

import type { ClusterId } from '../base/ids.ts'
import type { Disk } from '../io/disk.ts'
import { decodeRecords, type LogRecord, RecordCursor } from './format.ts'
import { damaged, reachesNext, readSegments, type Segment } from './log-directory.ts'
import { type ReadBatch, SegmentReader } from './segment-reader.ts'

export interface ReadLogOptions {
  readonly disk: Disk
  readonly directory: string
  readonly clusterId: ClusterId
  /** The first record wanted, 1 upward. */
  readonly fromIndex: number
  /** The last record wanted: one that is known to be durable. */
  readonly throughIndex: number
}

/**
 * The records `fromIndex` .. `throughIndex`, a batch at a time, every byte verified. Payloads are views that are valid
 * until the next batch is asked for.
 *
 * @throws LOG_DAMAGED when a record is missing or damaged; BAD_FORMAT
 */
export async function* readLog(options: ReadLogOptions): AsyncGenerator<LogRecord[], void, void> {
  const { fromIndex, throughIndex } = options
  for await (const { bytes, header } of readDataBatches(options)) {
    const records = decodeRecords(bytes, header)
    const isWhole = header.firstIndex >= fromIndex && header.firstIndex + header.recordCount - 1 <= throughIndex
    yield isWhole ? records : records.filter(({ index }) => index >= fromIndex && index <= throughIndex)
  }
}

/**
 * Calls `visit` with each record `fromIndex` .. `throughIndex`, in order, every byte verified: for who reads millions.
 * The cursor is valid during the call.
 *
 * @throws LOG_DAMAGED when a record is missing or damaged; BAD_FORMAT; what `visit` throws
 */
export async function visitLog(options: ReadLogOptions, visit: (record: RecordCursor) => void): Promise<void> {
  const { fromIndex, throughIndex } = options
  for await (const { bytes, header } of readDataBatches(options)) {
    visitRecords(new RecordCursor(bytes, header), fromIndex, throughIndex, visit)
  }
}

/** Apart from the asynchronous loop, which is never optimised. */
function visitRecords(
  cursor: RecordCursor,
  fromIndex: number,
  throughIndex: number,
  visit: (record: RecordCursor) => void,
): void {
  while (cursor.next()) if (cursor.index >= fromIndex && cursor.index <= throughIndex) visit(cursor)
}

/** The batches with records `fromIndex` .. `throughIndex`; the first and the last may have others too. */
async function* readDataBatches(options: ReadLogOptions): AsyncGenerator<ReadBatch, void, void> {
  const { disk, directory, clusterId, fromIndex, throughIndex } = options
  if (fromIndex > throughIndex) return
  const segments = await readSegments(disk, directory, clusterId)
  let nextIndex = fromIndex
  for (const segment of segments.slice(segmentOfIndex(segments, fromIndex))) {
    if (segment.header.firstIndex > throughIndex) return
    const file = await disk.open(segment.path, 'read')
    try {
      const reader = new SegmentReader(file, segment.fileBytes, segment.header, segment.next?.previousEnd)
      for (let batch = await reader.next(); batch; batch = await reader.next()) {
        const { firstIndex, recordCount } = batch.header
        if (recordCount > 0 && firstIndex + recordCount > nextIndex) {
          yield batch
          nextIndex = Math.min(throughIndex + 1, firstIndex + recordCount)
        }
        if (nextIndex > throughIndex) return
      }
      const isWhole = segment.next ? reachesNext(reader, segment.next) : false
      if (!isWhole) throw damaged(segment.path, reader.end.offset, `index ${nextIndex} is missing (${reader.stop.why})`)
    } finally {
      await file.close()
    }
  }
}

/** The position of the segment that has, or would have, record `index`. @throws LOG_DAMAGED when it is older than the log */
export function segmentOfIndex(segments: readonly Segment[], index: number): number {
  const first = segments[0]!
  if (first.header.firstIndex > index) {
    throw damaged(first.path, 0, `index ${index} is missing: the log begins with ${first.header.firstIndex}`)
  }
  return segments.findLastIndex((segment) => segment.header.firstIndex <= index)
}

/** The data batches of one segment between two offsets, each with its records. */
export async function* readBatches(
  disk: Disk,
  segment: Segment,
  fromOffset: number,
  toOffset: number,
): AsyncGenerator<LogRecord[], void, void> {
  const file = await disk.open(segment.path, 'read')
  try {
    const reader = new SegmentReader(file, segment.fileBytes, segment.header, toOffset)
    for (let batch = await reader.next(); batch; batch = await reader.next()) {
      if (batch.header.offset >= fromOffset && batch.header.recordCount > 0) {
        yield decodeRecords(batch.bytes, batch.header)
      }
    }
    if (reader.end.offset !== toOffset) throw damaged(segment.path, reader.end.offset, reader.stop.why)
  } finally {
    await file.close()
  }
}
