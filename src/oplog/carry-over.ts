// What a start does with records that nothing proves to be synced: they are copied to a new segment and synced before
// anything is served. After a failed sync the page cache shows what the disk does not have, and syncing the old file
// again would prove nothing.

import type { Disk } from '../io/disk.ts'
import { BatchBuffer, SEGMENT_HEADER_BYTES } from './format.ts'
import { readBatches } from './log-reader.ts'
import type { RecoveredLog } from './recovery.ts'
import { SegmentWriter } from './segment-writer.ts'

/**
 * @param salt  random, 0 .. 2^48 - 1
 * @returns the new segment, or undefined when every record is proven
 * @throws DISK_FULL (nothing has changed), FSYNC_FAILED
 */
export async function carryOver(
  disk: Disk,
  directory: string,
  recovered: RecoveredLog,
  salt: number,
): Promise<SegmentWriter | undefined> {
  const { proven, end, segments } = recovered
  if (proven.lastIndex === end.lastIndex) return undefined
  const last = segments.at(-1)!
  let syncedEnd = SEGMENT_HEADER_BYTES
  for await (const batch of copies()) syncedEnd += batch.batchBytes
  const plan = {
    clusterId: last.header.clusterId,
    segment: last.header.segment + 1,
    firstIndex: proven.lastIndex + 1,
    lastTerm: proven.lastTerm,
    previousEnd: proven.offset,
    previousCrc: proven.crc,
    salt,
    syncedEnd,
  }
  return SegmentWriter.create(disk, directory, plan, copies())

  async function* copies(): AsyncGenerator<BatchBuffer, void, void> {
    const batch = new BatchBuffer()
    for await (const records of readBatches(disk, last, proven.offset, end.offset)) {
      batch.reset()
      for (const { index, term, kind, version, flags, payload } of records) {
        batch.add(index, term, kind, version, flags, payload)
      }
      yield batch
    }
  }
}
