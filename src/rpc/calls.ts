// Our own requests that wait for their answers: ids, deadlines, and what becomes of late answers.
//
// Invariants:
//   - an id is in use for one call at a time; ids grow by one and wrap after 2^32 - 1, never 0
//   - every call is settled exactly once: by its reply, its error, its deadline, its caller, or the connection's end
//   - nextDeadlineMs is never later than the earliest deadline of a waiting call

import { assert } from '../base/assert.ts'
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

/** Room at first; it doubles when half of it is taken. */
const SLOTS_MIN = 64

/**
 * The waiting calls, each in the slot that its id ends in: ids whose slot is taken are passed over. No Map, which leaves
 * old tables behind (base/linked-list.ts says why that is dear).
 */
export class CallTable {
  #slots: (PendingCall | undefined)[] = new Array(SLOTS_MIN).fill(undefined)
  #mask = SLOTS_MIN - 1
  #size = 0
  #lastId = 0
  #issuedCount = 0
  /** No call's deadline is earlier; Infinity without calls. */
  nextDeadlineMs = Number.POSITIVE_INFINITY

  get size(): number {
    return this.#size
  }

  /** An id for `add`, that no waiting call has: 1 .. 2^32 - 1. */
  newId(): number {
    if (2 * this.#size >= this.#slots.length) this.#grow()
    do {
      this.#lastId = this.#lastId === 0xffff_ffff ? 1 : this.#lastId + 1
      this.#issuedCount++
    } while (this.#slots[this.#lastId & this.#mask] !== undefined)
    return this.#lastId
  }

  add(call: PendingCall): void {
    const slot = call.id & this.#mask
    assert(this.#slots[slot] === undefined, 'two calls in one slot')
    this.#slots[slot] = call
    this.#size++
    if (call.deadlineMs < this.nextDeadlineMs) this.nextDeadlineMs = call.deadlineMs
  }

  get(id: number): PendingCall | undefined {
    const call = this.#slots[id & this.#mask]
    return call?.id === id ? call : undefined
  }

  /** Whether `id` was ever given out, so that an answer to it may be late but is no nonsense. */
  wasIssued(id: number): boolean {
    return this.#issuedCount >= 0xffff_ffff || id <= this.#issuedCount
  }

  /** Takes the call out of the table, if it is still in it; the caller settles it. */
  take(id: number): PendingCall | undefined {
    const call = this.get(id)
    if (call === undefined) return undefined
    this.#slots[id & this.#mask] = undefined
    this.#size--
    call.unlisten?.()
    return call
  }

  /** The calls whose deadline has passed, still in the table; sets nextDeadlineMs for the rest. */
  expired(nowMs: number): PendingCall[] {
    if (nowMs < this.nextDeadlineMs) return []
    const expired: PendingCall[] = []
    let next = Number.POSITIVE_INFINITY
    for (const call of this.#waiting()) {
      if (call.deadlineMs <= nowMs) expired.push(call)
      else if (call.deadlineMs < next) next = call.deadlineMs
    }
    this.nextDeadlineMs = next
    return expired
  }

  /** Empties the table, rejecting every call. */
  fail(error: DfsError): void {
    for (const call of this.#waiting()) {
      if (this.take(call.id) === undefined) continue
      const message = `message ${call.message}: ${error.message}`
      call.reject(new DfsError(error.code, message, error.detail, error.cause))
    }
  }

  /** Oldest first, but for the wrap of ids. */
  #waiting(): PendingCall[] {
    return this.#slots.filter((call) => call !== undefined).sort((a, b) => a.id - b.id)
  }

  /** Ids that differ in their last bits differ in one more bit as well: nobody's slot is taken. */
  #grow(): void {
    const calls = this.#waiting()
    this.#slots = new Array(2 * this.#slots.length).fill(undefined)
    this.#mask = this.#slots.length - 1
    for (const call of calls) this.#slots[call.id & this.#mask] = call
  }
}
