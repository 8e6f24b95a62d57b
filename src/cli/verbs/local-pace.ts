// Where work on local files is done: here and now, which costs the least where the bytes lie in memory, or by other
// threads, where this one must not stand still for a disk. Which of the two holds is measured all the time.

import type { Clock } from '../../io/clock.ts'

/** What takes no longer is quick: handing it to another thread and back would take about as long. */
const quickMsMax = 1
/** Operations that go by other threads after one that was not quick. */
const slowCount = 16

export class LocalPace {
  readonly #clock: Pick<Clock, 'nowMs'>
  #slowLeft = 0

  constructor(clock: Pick<Clock, 'nowMs'>) {
    this.#clock = clock
  }

  /**
   * One short operation, in one of two ways. Errors: its own.
   *
   * @param now    blocks this thread; must change nothing when it fails for want of descriptors
   * @param later  the same by another thread, which also waits while too many files are open
   */
  async run<T>(now: () => T, later: () => Promise<T>): Promise<T> {
    if (this.#slowLeft > 0) {
      this.#slowLeft--
      return later()
    }
    const startMs = this.#clock.nowMs()
    try {
      return now()
    } catch (error) {
      if (!isShortOfDescriptors(error)) throw error
    } finally {
      if (this.#clock.nowMs() - startMs > quickMsMax) this.#slowLeft = slowCount
    }
    return later()
  }
}

function isShortOfDescriptors(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EMFILE' || error.code === 'ENFILE')
}
