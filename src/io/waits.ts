// The two waits every clock offers, built on its `after`: the real and the simulated clock share them.

import { DfsError } from '../base/errors.ts'
import type { Timer } from './clock.ts'

type After = (delayMs: number, callback: () => void) => Timer

/** Resolves `delayMs` from now; rejects with ABORTED (the signal's reason as cause) when `signal` fires first. */
export function sleepBy(after: After, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = () => new DfsError('ABORTED', `a wait of ${delayMs} ms was given up`, {}, signal?.reason)
    if (signal?.aborted) return reject(aborted())
    const onAbort = () => {
      timer.cancel()
      reject(aborted())
    }
    const timer = after(delayMs, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** A signal that fires after `delayMs` with a TIMEOUT DfsError as reason. */
export function timeoutSignalBy(after: After, delayMs: number): AbortSignal {
  const controller = new AbortController()
  after(delayMs, () => controller.abort(new DfsError('TIMEOUT', `the deadline of ${delayMs} ms passed`)))
  return controller.signal
}
