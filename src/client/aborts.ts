// What is under way and ends by somebody's signal: one listener a signal, however many listen.

import { DfsError, isDfsError } from '../base/errors.ts'
import { type Linked, LinkedList } from '../base/linked-list.ts'

export interface Endable extends Linked<Endable> {
  giveUp(error: DfsError): void
}

/** What ends by a signal, without a listener for each: one a signal, made with the first. */
export class Aborts {
  readonly #bySignal = new WeakMap<AbortSignal, LinkedList<Endable>>()

  /** Throws ABORTED when the signal has fired. */
  add(signal: AbortSignal | undefined, attempt: Endable): void {
    if (signal === undefined) return
    if (signal.aborted) throw abortedBy(signal)
    let underWay = this.#bySignal.get(signal)
    if (underWay === undefined) {
      const made = new LinkedList<Endable>()
      underWay = made
      this.#bySignal.set(signal, made)
      signal.addEventListener(
        'abort',
        () => {
          const error = abortedBy(signal)
          for (const one of [...made]) one.giveUp(error)
        },
        { once: true },
      )
    }
    underWay.add(attempt)
  }

  delete(signal: AbortSignal | undefined, attempt: Endable): void {
    if (signal !== undefined) this.#bySignal.get(signal)?.delete(attempt)
  }
}

function abortedBy(signal: AbortSignal): DfsError {
  const reason: unknown = signal.reason
  return isDfsError(reason) ? reason : new DfsError('ABORTED', 'the caller gave up', {}, reason)
}
