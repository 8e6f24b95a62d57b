// Proposer: the one way into the log. An operation goes in, its verdict comes out once it is durable and applied.
//
// Invariants:
//   - operations are applied in log order, each exactly once, and nobody hears a verdict before
//   - while a job (a longer change in several records) is in the state, only its own steps enter the log: what a
//     client asks meanwhile waits here
//   - what the log refused or lost is never applied, and its requester gets an error
//
// Source: DESIGN §3 "The log"; GFS §2.6.3.

import { assert } from '../base/assert.ts'
import { DfsError, isDfsError } from '../base/errors.ts'
import type { SessionId } from '../base/ids.ts'
import { RingBuffer } from '../base/ring-buffer.ts'
import type { Clock } from '../io/clock.ts'
import { apply, refusal } from './metadata/apply.ts'
import type { MetadataState } from './metadata/state.ts'
import { encodeOperation } from './operation-codec.ts'
import { type Operation, type Outcome, operationTable, type RecordTime } from './operations.ts'

/** What waits behind a job at most; then BUSY. */
const HELD_MAX = 10_000

/** The log as the proposer needs it; it tells the rest by `synced`, `refused` and `failed`. */
export interface ProposalLog {
  /** @returns the record's index. Throws BUSY, UNAVAILABLE or FSYNC_FAILED. */
  append(record: {
    readonly term: number
    readonly kind: number
    readonly version: number
    readonly payload: Uint8Array
  }): number
}

interface Waiting {
  readonly operation: Operation
  readonly resolve: (outcome: Outcome) => void
  readonly reject: (error: unknown) => void
}

interface Appended extends Waiting {
  readonly index: number
  readonly time: RecordTime
  readonly session: SessionId | undefined
}

export interface ProposerOptions {
  readonly state: MetadataState
  readonly log: ProposalLog
  readonly clock: Clock
  /** The term of every record that this master writes. */
  readonly term: number
  /** Told of each operation right after it was applied, before its requester is. */
  readonly onApplied: (operation: Operation, outcome: Outcome) => void
}

export class Proposer {
  readonly #options: ProposerOptions
  readonly #clusterBaseMs: number
  readonly #startMs: number
  readonly #appended = new RingBuffer<Appended>()
  readonly #held = new RingBuffer<Waiting>()
  readonly #unapplied = new Map<SessionId, number>()
  #isRunningJob = false

  constructor(options: ProposerOptions) {
    this.#options = options
    this.#clusterBaseMs = options.state.clusterMs
    this.#startMs = options.clock.nowMs()
  }

  /** Cluster time now: what the next record will carry. */
  get clusterMs(): number {
    return this.#clusterBaseMs + Math.floor(this.#options.clock.nowMs() - this.#startMs)
  }

  /** Operations that have not been answered. */
  get pendingCount(): number {
    return this.#appended.count + this.#held.count
  }

  /**
   * The verdict on an operation, after it is durable and applied; or at once, without a record, when the state refuses
   * it and nothing of its session is on the way. Rejects with DISK_FULL, FSYNC_FAILED, BUSY or UNAVAILABLE when it did
   * not enter the log.
   */
  propose(operation: Operation): Promise<Outcome> {
    const { state } = this.#options
    const by = 'by' in operation ? operation.by : undefined
    if (by) {
      const known = state.sessionReply(by.session, by.request)
      if (known) return Promise.resolve(known)
      if (!this.#unapplied.has(by.session) && !state.job) {
        const refused = refusal(state, operation)
        if (refused) return Promise.resolve(refused)
      }
    }
    return new Promise((resolve, reject) => {
      const waiting = { operation, resolve, reject }
      if (!this.#isRunningJob) this.#append(waiting)
      else if (this.#held.count < HELD_MAX) this.#held.push(waiting)
      else reject(new DfsError('BUSY', `${HELD_MAX} changes wait for a longer one`))
    })
  }

  /** Ends the job in the state, if there is one: after a start, or when its last step met a full disk. */
  finishJob(): Promise<void> {
    if (!this.#options.state.job || this.#isRunningJob) return Promise.resolve()
    return new Promise((resolve, reject) => this.#runJob(undefined, () => resolve(), reject))
  }

  /** The log says: durable up to this index. */
  synced(index: number): void {
    for (let next = this.#appended.peek(); next && next.index <= index; next = this.#appended.peek()) {
      this.#appended.shift()
      this.#settle(next)
      this.#apply(next)
    }
  }

  /** The log says: nothing from this index on was kept. */
  refused(fromIndex: number, error: DfsError): void {
    for (let last = this.#appended.peekLast(); last && last.index >= fromIndex; last = this.#appended.peekLast()) {
      this.#appended.pop()
      this.#settle(last)
      last.reject(error)
    }
  }

  /** The log, or the master, is over: nobody is answered any more but by this error. */
  failed(error: DfsError): void {
    while (this.#appended.count > 0) this.#appended.shift().reject(error)
    while (this.#held.count > 0) this.#held.shift().reject(error)
    this.#unapplied.clear()
  }

  #append(waiting: Waiting): void {
    const { log, clock, term } = this.#options
    const { operation, resolve, reject } = waiting
    const time = { clusterMs: this.clusterMs, wallMs: clock.wallMs() }
    const { number: kind, version } = operationTable[operation.kind]
    let index: number
    try {
      index = log.append({ term, kind, version, payload: encodeOperation(time, operation) })
    } catch (error) {
      if (!isDfsError(error)) throw error
      reject(error)
      return
    }
    const session = 'by' in operation ? operation.by?.session : undefined
    if (session !== undefined) this.#unapplied.set(session, (this.#unapplied.get(session) ?? 0) + 1)
    this.#appended.push({ operation, resolve, reject, index, time, session })
  }

  #apply({ operation, time, index, resolve, reject }: Appended): void {
    const { state, term, onApplied } = this.#options
    const outcome = apply(state, operation, time, index, term)
    onApplied(operation, outcome)
    // Its steps may have been refused before: then whoever asks again for it goes on with it, and nobody else is answered by it.
    if (isOfJob(state, operation) && !this.#isRunningJob) this.#runJob(operation, resolve, reject)
    else resolve(outcome)
  }

  #settle({ session }: Appended): void {
    if (session === undefined) return
    const count = this.#unapplied.get(session) ?? 0
    assert(count > 0, 'a session without operations on the way')
    if (count === 1) this.#unapplied.delete(session)
    else this.#unapplied.set(session, count - 1)
  }

  /** Step after step until the state has no job; then the one who began it is answered, and what was held goes on. */
  #runJob(begun: Operation | undefined, resolve: (outcome: Outcome) => void, reject: (error: unknown) => void): void {
    const { state } = this.#options
    this.#isRunningJob = true
    const end = (): void => {
      this.#isRunningJob = false
      for (let left = this.#held.count; left > 0; left--) {
        const waiting = this.#held.shift()
        this.propose(waiting.operation).then(waiting.resolve, waiting.reject)
      }
    }
    const step = (): void => {
      this.#append({
        operation: { kind: 'continueJob' },
        resolve: (outcome) => {
          if (state.job) {
            step()
            return
          }
          const by = begun && 'by' in begun ? begun.by : undefined
          const verdict = (by && state.sessionReply(by.session, by.request)) ?? outcome
          end()
          resolve(verdict)
        },
        reject: (error) => {
          end()
          reject(begun === undefined ? error : begunAlready(error))
        },
      })
    }
    step()
  }
}

/** Whether the operation is the one that the longer change in the state was asked for by. */
function isOfJob({ job }: MetadataState, operation: Operation): boolean {
  const by = 'by' in operation ? operation.by : undefined
  return job !== undefined && by?.session === job.by.session && by.request === job.by.request
}

/** What refused a step has not refused the change: it is in the log, and goes on. Whoever asks again hears how it ended. */
function begunAlready(error: unknown): unknown {
  if (!isDfsError(error) || error.code === 'UNAVAILABLE') return error
  return new DfsError('UNAVAILABLE', `the change has begun, and goes on later: ${error.message}`, error.detail, error)
}
