// Options that several daemons share.

import { BLOCK_BYTES, CHUNK_BYTES_MAX } from '../../base/limits.ts'
import { UsageError } from '../failure.ts'
import type { Options } from '../options.ts'
import { logLevels } from './logging-levels.ts'

export const masterTuning = {
  'min-replicas': {
    kind: 'number',
    min: 1,
    max: 16,
    describe: 'replicas a chunk may start with; 2 for goals of 3 and more, else 1',
  },
  'chunk-size': { kind: 'size', default: '64MiB', describe: 'bytes a chunk grows to' },
  'heartbeat-ms': {
    kind: 'number',
    min: 10,
    max: 600_000,
    describe: 'between heartbeats; by the size of the cluster when left out',
  },
  'dead-after-ms': {
    kind: 'number',
    min: 50,
    max: 3_600_000,
    describe: 'silence after which a chunkserver is dead; by its own habit when left out',
  },
  'repair-rate': {
    kind: 'size',
    default: '256MiB',
    describe: 'bytes a second that copies may take of each chunkserver, last copies apart; 0: no limit',
  },
  'lease-ms': { kind: 'number', min: 100, max: 3_600_000, default: '60000', describe: 'length of a lease' },
  retention: { kind: 'duration', default: '1d', describe: 'how long removed files can be had back' },
  'log-budget': {
    kind: 'size',
    default: '20GiB',
    describe: 'bytes of log kept at most, room made ahead (up to 128MiB) included',
  },
  'checkpoint-every': { kind: 'size', default: '256MiB', describe: 'bytes of log after which a checkpoint is due' },
} as const satisfies Options

export const chunkTuning = {
  reserve: { kind: 'size', default: '1GiB', describe: 'free space left on each disk' },
  'scrub-rate': {
    kind: 'size',
    default: '5MiB',
    describe: 'bytes a second that the scrubber checks on each disk; 0: only when asked',
  },
} as const satisfies Options

/** Of every daemon; the globals of `dfsd`. */
export const daemonGlobals = {
  'log-level': { kind: 'text', default: 'info', choices: logLevels, describe: 'least level that is logged' },
  json: { kind: 'flag', describe: 'one JSON document, or one object a line' },
  config: { kind: 'text', describe: 'file of options, JSON or YAML' },
  'stop-with-stdin': { kind: 'flag', describe: 'stop when standard input ends (for supervisors)' },
} as const satisfies Options

/** @throws UsageError for a --chunk-size that no cluster can have */
export function checkChunkSize(bytes: number): void {
  if (bytes >= BLOCK_BYTES && bytes <= CHUNK_BYTES_MAX && bytes % BLOCK_BYTES === 0) return
  const wanted = `a multiple of ${BLOCK_BYTES} up to ${CHUNK_BYTES_MAX} bytes is wanted`
  throw new UsageError(`--chunk-size is ${bytes}: ${wanted}`)
}
