// Reads the records of a log in order: at a start, in the checkpoint worker, in offline tools. Reads only, and never
// beyond what the reader was told is durable, so it may run beside a log that is being written.

import type { ClusterId } from '../base/ids.ts'
import type { Disk } from '../io/disk.ts'
import { decodeRecords, type LogRecord } from './format.ts'
import { damaged, reachesNext, readSegments, type Segment } from './log-directory.ts'
import { SegmentReader } from './segment-reader.ts'

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
          const records = decodeRecords(batch.bytes, batch.header)
          const last = Math.min(throughIndex, firstIndex + recordCount - 1)
          yield firstIndex >= nextIndex && last === firstIndex + recordCount - 1
            ? records
            : records.slice(nextIndex - firstIndex, last - firstIndex + 1)
          nextIndex = last + 1
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
