// A log's way back: read all that is needed, judge it by the table in recover.ts, and only then say what the writer
// goes on from. Nothing on disk changes before every verdict is in.

import { DfsError } from '../base/errors.ts'
import type { ClusterId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import type { Disk } from '../io/disk.ts'
import { damaged, judgeSegment, NO_LOG_NEXT, readSegments, refusalOf, type Segment, withFile } from './log-directory.ts'
import { segmentOfIndex } from './log-reader.ts'
import type { Boundary } from './segment-reader.ts'

export interface RecoverOptions {
  readonly disk: Disk
  readonly directory: string
  readonly clusterId: ClusterId
  readonly logger: Logger
  /** Records from here on are verified and must be there: one more than the checkpoint's index. */
  readonly fromIndex: number
  /** The log must reach at least this record: the checkpoint's index. */
  readonly reachIndex: number
}

/** A torn tail that was cut: it stays in its file, and no later start reads it. */
export interface TornTail {
  readonly path: string
  readonly offset: number
  readonly bytes: number
  readonly why: string
}

export interface RecoveredLog {
  readonly segments: readonly Segment[]
  /** Up to where the last segment is proven to be durable. */
  readonly proven: Boundary
  /** Where its valid batches end: what lies between must be copied and synced before it is served. */
  readonly end: Boundary
  readonly tornTail: TornTail | undefined
  /** Zeros behind the end of the last segment, in which nothing was written yet. */
  readonly unwrittenBytes: number
  /** Records read and verified. */
  readonly recordCount: number
}

/** @throws NOT_FOUND without a log; LOG_DAMAGED, BAD_FORMAT, DISK_FAILED. Reads only. */
export async function recoverLog(options: RecoverOptions): Promise<RecoveredLog> {
  const { disk, directory, clusterId, logger, fromIndex, reachIndex } = options
  const segments = await readSegments(disk, directory, clusterId)
  const needed = segments.slice(segmentOfIndex(segments, fromIndex))
  let recordCount = 0
  for (const segment of needed) {
    const verdict = await withFile(disk, segment.path, (file) => judgeSegment(file, segment))
    if (verdict.rule.action === 'refuse') throw refusalOf(segment, verdict)
    const { end, proven } = verdict.reader
    recordCount += verdict.reader.recordCount
    if (segment.next) continue
    if (end.lastIndex < reachIndex) {
      throw damaged(
        segment.path,
        end.offset,
        `the log ends with index ${end.lastIndex}, a checkpoint has ${reachIndex}`,
      )
    }
    const tornTail =
      verdict.rule.action === 'cut'
        ? { path: segment.path, offset: end.offset, bytes: segment.fileBytes - end.offset, why: verdict.stop.why }
        : undefined
    if (tornTail) logger.warn({ ...tornTail, lastIndex: end.lastIndex }, `oplog: ${verdict.rule.says}`)
    const unwrittenBytes = verdict.facts.rest === 'unwritten' ? segment.fileBytes - end.offset : 0
    return { segments, proven, end, tornTail, unwrittenBytes, recordCount }
  }
  throw new DfsError('NOT_FOUND', `${directory}: there is no operation log`, { path: directory, next: NO_LOG_NEXT })
}
