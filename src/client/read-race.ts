// A read of one range: one replica is asked, a second as well when the first takes long; the first proven answer counts.
//
// Invariants:
//   - only the first request writes into the caller's target as bytes come; the second one's are copied when proven,
//     after the first was given up: nothing unproven can get over what is proven
//   - the loser is cancelled, and its server asked after others for a moment

import { DfsError } from '../base/errors.ts'
import type { ChunkLocation } from '../wire/messages.ts'
import type { BlockCheck, WantedRange } from './block-check.ts'
import type { Core } from './core.ts'
import type { Hedgeable, Hedging } from './hedging.ts'
import { MILD_DOUBT, type Source } from './peers.ts'
import { ReadAttempt } from './read-attempt.ts'
import { asFault, dropFault } from './retry.ts'

/** Proven bytes. */
export interface Fetched {
  readonly length: number
  /** The bytes in order; empty when they were copied to a target. Valid until `release`. */
  readonly slices: readonly Buffer[]
  release(): void
}

export interface RaceOptions {
  readonly core: Core
  readonly hedging: Hedging
  readonly location: ChunkLocation
  /** Those asked already; who is asked here is added. */
  readonly tried: Source[]
  readonly range: WantedRange
  readonly target: Uint8Array | undefined
  readonly signal: AbortSignal | undefined
  /** Gets each replica's fault; what it throws ends the read. */
  readonly onFault: (fault: DfsError, source: Source) => void
}

export class ReadRace implements Hedgeable {
  readonly startMs: number
  before: Hedgeable | undefined
  after: Hedgeable | undefined
  readonly #options: RaceOptions
  #timeoutMs = 0
  #first: ReadAttempt | undefined
  #second: ReadAttempt | undefined
  #isOver = false
  #resolve: (fetched: Fetched | undefined) => void = () => {}
  #reject: (error: unknown) => void = () => {}

  constructor(options: RaceOptions) {
    this.#options = options
    this.startMs = options.core.io.clock.nowMs()
  }

  get length(): number {
    return this.#options.range.length
  }

  /**
   * Asks `source`, the last of those tried. Once.
   *
   * @param timeoutMs  for each request
   * @returns          undefined: nobody answered well, and `onFault` was told why. Rejects with what it throws
   */
  run(source: Source, timeoutMs: number): Promise<Fetched | undefined> {
    this.#timeoutMs = timeoutMs
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      this.#first = this.#begin(source, this.#options.target)
      const { location, hedging } = this.#options
      if (location.replicas.length > 1) hedging.watch(this)
    })
  }

  onLate(): boolean {
    const { core, location, tried, range } = this.#options
    const nowMs = core.io.clock.nowMs()
    const source = core.peers.next(location.replicas, tried, range.length, nowMs)
    // What is doubtful or failed lately would only be a second one to wait for.
    if (source === undefined || source.doubt > MILD_DOUBT || core.peers.isPenalized(source.address)) return false
    tried.push(source)
    this.#second = this.#begin(source, undefined)
    return true
  }

  #begin(source: Source, target: Uint8Array | undefined): ReadAttempt {
    const { core, location, range, signal } = this.#options
    const attempt = new ReadAttempt(core, source, range, target, this.#timeoutMs, signal)
    attempt.run(location).then(
      (check) => this.#won(attempt, check),
      (error: unknown) => this.#failed(attempt, error),
    )
    return attempt
  }

  #won(attempt: ReadAttempt, check: BlockCheck): void {
    if (this.#isOver) {
      check.release()
      return
    }
    const { core, hedging, target, range } = this.#options
    const isHedge = attempt === this.#second
    const loser = isHedge ? this.#first : this.#second
    const nowMs = core.io.clock.nowMs()
    hedging.answered(range.length, nowMs - attempt.startMs)
    if (isHedge && loser !== undefined) {
      hedging.answered(range.length, nowMs - loser.startMs)
      core.peers.overtaken(loser.source.address)
    }
    this.#end(loser)
    if (!isHedge || target === undefined) {
      this.#resolve(check)
      return
    }
    let at = 0
    for (const slice of check.slices) {
      target.set(slice, at)
      at += slice.length
    }
    const { length } = check
    check.release()
    this.#resolve({ length, slices: [], release: () => {} })
  }

  #failed(attempt: ReadAttempt, error: unknown): void {
    if (this.#isOver) {
      dropFault(error)
      return
    }
    const isHedge = attempt === this.#second
    if (isHedge) this.#second = undefined
    else this.#first = undefined
    const other = isHedge ? this.#first : this.#second
    try {
      this.#options.onFault(asFault(error), attempt.source)
    } catch (end) {
      this.#end(other)
      this.#reject(end)
      return
    }
    if (other !== undefined) return
    this.#end(undefined)
    this.#resolve(undefined)
  }

  #end(loser: ReadAttempt | undefined): void {
    this.#isOver = true
    this.#options.hedging.unwatch(this)
    loser?.giveUp(new DfsError('ABORTED', 'another replica has answered'))
  }
}
