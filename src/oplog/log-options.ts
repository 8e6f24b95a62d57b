// What a log is opened with, what it is given, and what it tells.

import type { DfsError } from '../base/errors.ts'
import type { ClusterId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import { MiB } from '../base/units.ts'
import type { Clock } from '../io/clock.ts'
import type { Disk } from '../io/disk.ts'
import type { Entropy } from '../io/entropy.ts'
import type { LogRecord } from './format.ts'

export const SEGMENT_BYTES_DEFAULT = 64 * MiB
/** Log written to a segment without preallocation before room is made ahead: a log that is hardly used takes none. */
export const PREALLOCATE_AFTER_BYTES_DEFAULT = 1 * MiB
export const IDLE_MARKER_MS_DEFAULT = 50
/** Callers of `whenSynced` that may wait at once: then BUSY. */
export const WAITERS_MAX = 1024

/** What the log tells its owner. Called synchronously, one after the other, in log order; must not throw. */
export interface OpLogEvents {
  /** Every record up to and with this index is durable. */
  onSynced(syncedIndex: number): void
  /** No record from this index on was kept, and none will be found after a restart: DISK_FULL. The index is given again. */
  onRefused(fromIndex: number, error: DfsError): void
  /** The log is over and so is the process: FSYNC_FAILED. What was not acknowledged is whole or absent after a restart. */
  onFailed(error: DfsError): void
}

export interface OpLogOptions {
  readonly disk: Disk
  readonly clock: Clock
  readonly entropy: Entropy
  readonly logger: Logger
  /** Has nothing but the log in it. */
  readonly directory: string
  readonly clusterId: ClusterId
  readonly events: OpLogEvents
  /** Records from here on are verified at the start: one more than the checkpoint's index. 1 without a checkpoint. */
  readonly fromIndex?: number
  /** LOG_DAMAGED when the log ends before this record: the checkpoint's index. */
  readonly reachIndex?: number
  /** A segment that would grow beyond is closed. A batch larger than that has a segment of its own. */
  readonly segmentBytes?: number
  /** Room is made ahead once a segment has so many bytes, four times as many at first; never more than a segment. */
  readonly preallocateAfterBytes?: number
  /** A marker is written when nothing was appended for so long. */
  readonly idleMarkerMs?: number
}

/** What is appended. The payload is copied before `append` returns. */
export type NewRecord = Pick<LogRecord, 'term' | 'kind' | 'version'> & {
  readonly payload: Uint8Array
  readonly flags?: number
}
