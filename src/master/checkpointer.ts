// The checkpointer: the last checkpoint plus closed segments, replayed through the same `apply`, make the next one.
//
// It runs beside the serving master (a worker thread; inline in simulation) and shares nothing with it but files that
// no longer change, so the serving loop never pauses and recovery code runs every few minutes instead of once a year.
//
// Source: GFS §2.6.3, §5.1.1.

import type { ClusterId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import type { Disk } from '../io/disk.ts'
import { listCheckpoints, loadNewestCheckpoint, writeCheckpoint } from '../oplog/checkpoint-file.ts'
import { visitLog } from '../oplog/log-reader.ts'
import { apply } from './metadata/apply.ts'
import { encodeCheckpoint, loadCheckpointSections } from './metadata/checkpoint.ts'
import { MetadataState } from './metadata/state.ts'
import { decodeOperation } from './operation-codec.ts'

export interface CheckpointJob {
  readonly logDirectory: string
  readonly checkpointDirectory: string
  readonly clusterId: ClusterId
  /** The last record of the closed segments. */
  readonly throughIndex: number
}

export interface CheckpointResult {
  readonly index: number
  /** Bytes of the checkpoint file. */
  readonly bytes: number
  readonly checksum: number
}

/** The newest state that checkpoints give; an empty one without any. Damaged ones are passed over, with a warning. */
export async function loadNewestState(
  disk: Disk,
  logger: Logger,
  checkpointDirectory: string,
  clusterId: ClusterId,
): Promise<MetadataState> {
  const loaded = await loadNewestCheckpoint({ disk, directory: checkpointDirectory, clusterId, logger }, (reader) =>
    loadCheckpointSections(reader.sections()),
  )
  const state = loaded?.value ?? new MetadataState()
  state.changes.isCollecting = false
  return state
}

/** Applies the records after the state's last one, up to `throughIndex`. @returns how many */
export async function replay(
  disk: Disk,
  state: MetadataState,
  logDirectory: string,
  clusterId: ClusterId,
  throughIndex: number,
): Promise<number> {
  const fromIndex = state.lastIndex + 1
  await visitLog({ disk, directory: logDirectory, clusterId, fromIndex, throughIndex }, (record) => {
    const { kind, version, bytes, payloadStart, payloadEnd, index, term } = record
    const { time, op } = decodeOperation(kind, version, bytes, payloadStart, payloadEnd)
    apply(state, op, time, index, term)
  })
  return state.lastIndex + 1 - fromIndex
}

/** Makes one checkpoint at `throughIndex`. An existing one of that index is left as it is. */
export async function makeCheckpoint(disk: Disk, logger: Logger, job: CheckpointJob): Promise<CheckpointResult> {
  const { logDirectory, checkpointDirectory, clusterId, throughIndex } = job
  const state = await loadNewestState(disk, logger, checkpointDirectory, clusterId)
  await replay(disk, state, logDirectory, clusterId, throughIndex)
  const written = await writeCheckpoint(
    { disk, directory: checkpointDirectory, clusterId, index: state.lastIndex, term: state.lastTerm },
    encodeCheckpoint(state),
  )
  return { index: state.lastIndex, bytes: written.bytes, checksum: written.checksum }
}

/** Bytes of the newest checkpoint; 0 without any. */
export async function newestCheckpointBytes(disk: Disk, checkpointDirectory: string): Promise<number> {
  return (await listCheckpoints(disk, checkpointDirectory))[0]?.bytes ?? 0
}
