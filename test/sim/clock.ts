// The simulated clock of one process. It starts at a moment of its own: times of two processes can't be compared.

import type { Random } from '../../src/base/random.ts'
import type { Clock, Timer } from '../../src/io/clock.ts'
import { sleepBy, timeoutSignalBy } from '../../src/io/waits.ts'
import type { SimProcess } from './machine.ts'

/** The shortest wait: a real timer's is a millisecond. */
const TICK_MS = 0.001

/** Where the wall clocks of a simulated world begin. */
const WALL_START_MS = Date.UTC(2026, 0, 1)

export function simClock(process: SimProcess, random: Random): Clock {
  const { machine, world } = process
  const startMs = world.nowMs
  const offsetMs = random.below(1_000_000) / 8
  const after = (delayMs: number, callback: () => void): Timer => {
    // Time that a double can't add to now would be a timer that fires without end in one moment.
    const waitMs = delayMs > 0 ? Math.max(delayMs / machine.clockRate, TICK_MS) : 0
    const event = process.schedule(waitMs, 'timer', '', callback)
    return {
      cancel() {
        event.isCancelled = true
      },
    }
  }
  return {
    nowMs: () => offsetMs + (world.nowMs - startMs) * machine.clockRate,
    wallMs: () => Math.floor(WALL_START_MS + machine.wallOffsetMs + world.nowMs * machine.clockRate),
    after,
    sleep: (delayMs, signal) => sleepBy(after, delayMs, signal),
    defer(callback) {
      world.scheduler.scheduleLast('defer', process, callback)
    },
    timeoutSignal: (delayMs) => timeoutSignalBy(after, delayMs),
  }
}
