// The thread that writes a checkpoint: an entry of its own, given one job, answering with one message.
//
// It opens the real disk itself: nothing but the job and the answer passes between it and the serving master.

import { setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { isDfsError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { nodeDisk } from '../io/node/disk.ts'
import { type CheckpointJob, type CheckpointResult, makeCheckpoint } from './checkpointer.ts'

/** Of the thread, as `nice` counts. */
const PRIORITY = 19

/** What the thread tells its parent. The answer is the last message. */
export type CheckpointMessage =
  | { readonly kind: 'log'; readonly level: keyof Logger; readonly fields: string; readonly message: string }
  | { readonly kind: 'done'; readonly result: CheckpointResult }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string }

function tell(message: CheckpointMessage): void {
  parentPort?.postMessage(message)
}

/** Fields go as JSON text: what they hold may be nothing that a thread can be sent. */
function logAs(level: keyof Logger): Logger[keyof Logger] {
  return (fields, message) => tell({ kind: 'log', level, fields: JSON.stringify(fields), message })
}

const logger: Logger = { debug: logAs('debug'), info: logAs('info'), warn: logAs('warn'), error: logAs('error') }

// A checkpoint has time; the serving thread has not. Elsewhere than in Linux this would be the whole process's priority.
if (process.platform === 'linux') setPriority(PRIORITY)

try {
  tell({ kind: 'done', result: await makeCheckpoint(nodeDisk, logger, workerData as CheckpointJob) })
} catch (error) {
  if (!isDfsError(error)) throw error
  tell({ kind: 'failed', code: error.code, message: error.message })
}
