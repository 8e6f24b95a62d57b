// Watches a chain for a member that is slower than the others, while answers are due.
//
// One that answers late but steadily is never silent, and would hold up its writer for ever: it is left for another chunk
// (DESIGN §4, step 6). Nobody is asked as long as answers come in time.

import type { ServerId } from '../base/ids.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Timer } from '../io/clock.ts'
import type { Allocation } from '../wire/messages.ts'
import type { Core } from './core.ts'
import { SLOW_MS, slowMembers } from './probe.ts'

/** Between two times that the members are asked. */
const AGAIN_MS = SECOND_MS / 2

export interface SlowWatchOptions {
  readonly core: Core
  readonly allocation: Allocation
  /** Ends the questions under way; `stop` follows at once. */
  readonly signal: AbortSignal
  /** How long the oldest of what was sent has waited for its answer; undefined: nothing waits. */
  readonly waitedMs: () => number | undefined
  readonly onSlow: (servers: readonly ServerId[], waitedMs: number) => void
  /** What is no fault of the world. */
  readonly onBug: (error: unknown) => void
}

export class SlowWatch {
  readonly #options: SlowWatchOptions
  #timer: Timer | undefined
  #isAsking = false

  constructor(options: SlowWatchOptions) {
    this.#options = options
  }

  /** Something was sent. */
  start(): void {
    if (this.#timer === undefined && !this.#isAsking) this.#arm(SLOW_MS)
  }

  /** With `signal`: nothing is looked at any more. */
  stop(): void {
    this.#timer?.cancel()
  }

  #arm(delayMs: number): void {
    if (this.#options.signal.aborted) return
    this.#timer = this.#options.core.io.clock.after(Math.ceil(delayMs), () => this.#look())
  }

  #look(): void {
    this.#timer = undefined
    const { waitedMs, onBug } = this.#options
    const waited = waitedMs()
    if (waited === undefined) return
    if (waited < SLOW_MS) this.#arm(SLOW_MS - waited)
    else {
      this.#isAsking = true
      this.#ask().catch(onBug)
    }
  }

  async #ask(): Promise<void> {
    const { core, allocation, signal, waitedMs, onSlow } = this.#options
    const slow = await slowMembers(core, allocation, signal)
    this.#isAsking = false
    const waited = waitedMs()
    if (signal.aborted || waited === undefined) return
    if (slow.length > 0) onSlow(slow, waited)
    else this.#arm(AGAIN_MS)
  }
}
