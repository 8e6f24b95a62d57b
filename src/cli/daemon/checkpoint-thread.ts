// Makes a checkpoint in a worker thread, so that the serving loop never pauses for it.

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { DfsError, ErrorCode } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import type { CheckpointMessage } from '../../master/checkpoint-worker.ts'
import type { CheckpointJob, CheckpointResult } from '../../master/checkpointer.ts'

/** The way to make checkpoints of a master that logs to `logger`. */
export function checkpointerOf(logger: Logger): (job: CheckpointJob) => Promise<CheckpointResult> {
  return (job) =>
    new Promise((resolve, reject) => {
      const worker = start(job)
      let answered = false
      worker.on('message', (message: CheckpointMessage) => {
        if (message.kind === 'log') {
          logger[message.level](JSON.parse(message.fields), message.message)
          return
        }
        answered = true
        if (message.kind === 'done') resolve(message.result)
        else reject(new DfsError(isErrorCode(message.code) ? message.code : 'INTERNAL', message.message))
      })
      worker.once('error', reject)
      worker.once('exit', (code) => {
        if (answered) return
        reject(new DfsError('INTERNAL', `the checkpoint thread ended with code ${code} and without an answer`))
      })
    })
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ErrorCode, code)
}

function start(workerData: CheckpointJob): Worker {
  // Built, the worker lies beside the program or one directory above this chunk of it.
  for (const place of ['./checkpoint-worker.js', '../checkpoint-worker.js']) {
    const built = new URL(place, import.meta.url)
    if (existsSync(fileURLToPath(built))) return new Worker(built, { workerData })
  }
  // From the sources: a worker of TypeScript needs the loader of its parent.
  const source = new URL('../../master/checkpoint-worker.ts', import.meta.url).href
  const loader = import.meta.resolve('tsx/esm/api')
  const boot = `import(${JSON.stringify(loader)}).then(({ register }) => { register(); return import(${JSON.stringify(source)}) })`
  return new Worker(boot, { eval: true, workerData })
}
