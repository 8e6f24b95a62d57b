// Our own requests that wait for their answers: ids, deadlines, and what becomes of late answers.
//
// Invariants:
//   - an id is in use for one call at a time; ids grow by one and wrap after 2^32 - 1, never 0
//   - every call is settled exactly once: by its reply, its error, its deadline, its caller, or the connection's end
//   - nextDeadlineMs is never later than the earliest deadline of a waiting call

import { DfsError } from '../base/errors.ts'
import type { ArrivingData, IncomingData } from './incoming-data.ts'

/** The answer to a call. */
export interface Reply {
  readonly body: unknown[]
  /** The data beside it, proven, when there is any and `onData` didn't take it. The caller owns it. */
  readonly data: Buffer | undefined
}

/** Takes the data of a reply; attach a sink at once or later. `body` is the reply's. */
export type OnReplyData = (body: unknown[], data: IncomingData) => void

export class PendingCall {
  readonly id: number
  readonly message: number
  readonly deadlineMs: number
  readonly onData: OnReplyData | undefined
  readonly resolve: (reply: Reply) => void
  readonly reject: (error: DfsError) => void
  /** Undoes the listener on the caller's signal. */
  unlisten: (() => void) | undefined
  /** The data of its reply, while it comes. */
  data: ArrivingData | undefined

  constructor(
    id: number,
    message: number,
    deadlineMs: number,
    onData: OnReplyData | undefined,
    resolve: (reply: Reply) => void,
    reject: (error: DfsError) => void,
  ) {
    this.id = id
    this.message = message
    this.deadlineMs = deadlineMs
    this.onData = onData
    this.resolve = resolve
    this.reject = reject
  }
}

export class CallTable {
  readonly #calls = new Map<number, PendingCall>()
  #lastId = 0
  #issuedCount = 0
  /** No call's deadline is earlier; Infinity without calls. */
  nextDeadlineMs = Number.POSITIVE_INFINITY

  get size(): number {
    return this.#calls.size
  }

  /** An id that no waiting call has: 1 .. 2^32 - 1. */
  newId(): number {
    do {
      this.#lastId = this.#lastId === 0xffff_ffff ? 1 : this.#lastId + 1
      this.#issuedCount++
    } while (this.#calls.has(this.#lastId))
    return this.#lastId
  }

  add(call: PendingCall): void {
    this.#calls.set(call.id, call)
    if (call.deadlineMs < this.nextDeadlineMs) this.nextDeadlineMs = call.deadlineMs
  }

  get(id: number): PendingCall | undefined {
    return this.#calls.get(id)
  }

  /** Whether `id` was ever given out, so that an answer to it may be late but is no nonsense. */
  wasIssued(id: number): boolean {
    return this.#issuedCount >= 0xffff_ffff || id <= this.#issuedCount
  }

  /** Takes the call out of the table, if it is still in it; the caller settles it. */
  take(id: number): PendingCall | undefined {
    const call = this.#calls.get(id)
    if (call === undefined) return undefined
    this.#calls.delete(id)
    call.unlisten?.()
    return call
  }

  /** The calls whose deadline has passed, still in the table; sets nextDeadlineMs for the rest. */
  expired(nowMs: number): PendingCall[] {
    if (nowMs < this.nextDeadlineMs) return []
    const expired: PendingCall[] = []
    let next = Number.POSITIVE_INFINITY
    for (const call of this.#calls.values()) {
      if (call.deadlineMs <= nowMs) expired.push(call)
      else if (call.deadlineMs < next) next = call.deadlineMs
    }
    this.nextDeadlineMs = next
    return expired
  }

  /** Empties the table, rejecting every call. */
  fail(error: DfsError): void {
    for (const id of [...this.#calls.keys()]) {
      const call = this.take(id)!
      const message = `message ${call.message}: ${error.message}`
      call.reject(new DfsError(error.code, message, error.detail, error.cause))
    }
  }
}
