// The real clock.

import type { Clock, Timer } from '../clock.ts'
import { sleepBy, timeoutSignalBy } from '../waits.ts'

/** Node's timers take 2^31 - 1 ms at most and fire at once above it: longer ones are taken in steps. */
const TIMER_STEP_MS = 2 ** 31 - 1

export const nodeClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, callback) => startTimer(delayMs, callback, false),
  sleep: (delayMs, signal) => sleepBy((ms, callback) => startTimer(ms, callback, true), delayMs, signal),
  defer(callback) {
    setImmediate(callback)
  },
  timeoutSignal: (delayMs) => timeoutSignalBy((ms, callback) => startTimer(ms, callback, false), delayMs),
}

function startTimer(delayMs: number, callback: () => void, keepsAlive: boolean): Timer {
  let handle: NodeJS.Timeout
  const arm = (leftMs: number): void => {
    const stepMs = Math.min(leftMs, TIMER_STEP_MS)
    handle = setTimeout(leftMs > stepMs ? () => arm(leftMs - stepMs) : callback, stepMs)
    if (!keepsAlive) handle.unref()
  }
  arm(delayMs)
  return { cancel: () => clearTimeout(handle) }
}
