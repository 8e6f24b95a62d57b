// Patience: how long one call of the library may take, and who may end it early.
//
// Three bounds, all optional but the second: a signal (ABORTED), a time without progress (TIMEOUT), and a time for the
// whole (TIMEOUT). Nothing here keeps a timer between waits: each wait takes what is left as its own deadline, so a
// call that has ended leaves nothing behind.

import { setMaxListeners } from 'node:events'
import { DfsError } from '../base/errors.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Clock } from '../io/clock.ts'

/** What every call of the library takes. */
export interface CallOptions {
  /** Ends the call with ABORTED; `cause` is the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /** Milliseconds for the whole call. None by default. */
  readonly deadlineMs?: number | undefined
  /** Milliseconds without any progress after which the call fails. By default the client's (30 s). */
  readonly timeoutMs?: number | undefined
}

export const TIMEOUT_MS_DEFAULT = 30 * SECOND_MS

/** Signals that are not warned about. */
const unlimited = new WeakSet<AbortSignal>()

export class Patience {
  readonly signal: AbortSignal | undefined
  /** Milliseconds without progress that are borne. */
  readonly timeoutMs: number
  readonly #clock: Clock
  readonly #endsMs: number
  /** Shared with those that `under` made. */
  readonly #last: { progressMs: number }

  constructor(clock: Clock, options: CallOptions, timeoutMsDefault = TIMEOUT_MS_DEFAULT, parent?: Patience) {
    const nowMs = clock.nowMs()
    this.#clock = clock
    this.signal = options.signal
    // One signal ends many requests at once: that is what it is for, not a leak to be warned of.
    if (options.signal !== undefined && !unlimited.has(options.signal)) {
      unlimited.add(options.signal)
      setMaxListeners(0, options.signal)
    }
    this.timeoutMs = options.timeoutMs ?? timeoutMsDefault
    this.#last = parent === undefined ? { progressMs: nowMs } : parent.#last
    const endsMs = options.deadlineMs === undefined ? Number.POSITIVE_INFINITY : nowMs + options.deadlineMs
    this.#endsMs = parent === undefined ? endsMs : parent.#endsMs
  }

  /** The same bounds and the same progress, but ended by `signal` instead. */
  under(signal: AbortSignal): Patience {
    return new Patience(this.#clock, { signal, timeoutMs: this.timeoutMs }, this.timeoutMs, this)
  }

  /** Something went forward: the time without progress counts anew. */
  progress(): void {
    this.#last.progressMs = this.#clock.nowMs()
  }

  /** Milliseconds left, 0 when none are. */
  get leftMs(): number {
    const nowMs = this.#clock.nowMs()
    return Math.max(0, Math.min(this.#endsMs, this.#last.progressMs + this.timeoutMs) - nowMs)
  }

  /** Throws ABORTED or TIMEOUT (`last`, the latest fault met, as cause and in the message) when it is over. */
  check(last?: DfsError): void {
    if (this.signal?.aborted) throw new DfsError('ABORTED', 'the caller gave up', {}, this.signal.reason)
    if (this.leftMs > 0) return
    const isWhole = this.#clock.nowMs() >= this.#endsMs
    const what = isWhole ? 'the deadline passed' : `no progress for ${Math.round(this.timeoutMs)} ms`
    throw new DfsError(
      'TIMEOUT',
      last === undefined ? what : `${what}; last: ${last.message}`,
      { ...last?.detail, ...(last && { lastCode: last.code }) },
      last,
    )
  }

  /** What is left, at most `capMs`; throws as `check` when nothing is. */
  capMs(capMs: number, last?: DfsError): number {
    this.check(last)
    return Math.min(capMs, this.leftMs)
  }

  /** Waits `delayMs` or until the bounds are met, then checks them. */
  async sleep(delayMs: number, last?: DfsError): Promise<void> {
    this.check(last)
    await this.#clock.sleep(Math.min(delayMs, this.leftMs), this.signal)
    this.check(last)
  }
}

/** Those who wait for a change that somebody here will tell. Each waits no longer than its patience. */
export class Waiters {
  readonly #clock: Clock
  #waiting = new Set<(error?: DfsError) => void>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Resolves with the next `wake`; rejects with the error of `fail`, or ABORTED or TIMEOUT of `patience`. */
  wait(patience: Patience): Promise<void> {
    return new Promise((resolve, reject) => {
      patience.check()
      const done = (error?: unknown): void => {
        this.#waiting.delete(done)
        timer.cancel()
        patience.signal?.removeEventListener('abort', onEnd)
        if (error === undefined) resolve()
        else reject(error)
      }
      const onEnd = (): void => {
        try {
          patience.check()
        } catch (error) {
          done(error)
          return
        }
        // There was progress since the timer was set.
        timer = this.#clock.after(Math.ceil(patience.leftMs), onEnd)
      }
      let timer = this.#clock.after(Math.ceil(patience.leftMs), onEnd)
      patience.signal?.addEventListener('abort', onEnd, { once: true })
      this.#waiting.add(done)
    })
  }

  wake(): void {
    const waiting = [...this.#waiting]
    for (const done of waiting) done()
  }

  fail(error: DfsError): void {
    const waiting = [...this.#waiting]
    for (const done of waiting) done(error)
  }
}

/** Makes each of `signals` end `stop` as well, with its reason. @returns undoes it */
export function linkSignals(stop: AbortController, ...signals: readonly (AbortSignal | undefined)[]): () => void {
  const undo: (() => void)[] = []
  for (const signal of signals) {
    if (signal === undefined) continue
    const abort = (): void => stop.abort(signal.reason)
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
    undo.push(() => signal.removeEventListener('abort', abort))
  }
  return () => {
    for (const one of undo) one()
  }
}
