// Hedging: when a read takes longer than nearly all of its kind did lately, another replica is asked as well, and the
// first proven answer counts.
//
// Bound: a share of EXTRA_SHARE of the reads may be asked twice. Where everything is slow, hedges would only make it
// slower: then the usual time grows, and the budget ends.
//
// Source: Dean and Barroso, The Tail at Scale (2013); GFS has no such thing.

import { PIECE_BYTES } from '../base/limits.ts'
import { type Linked, LinkedList } from '../base/linked-list.ts'
import type { Clock, Timer } from '../io/clock.ts'
import { Latency } from './latency.ts'
import { LARGE_BYTES, SMALL_BYTES } from './peers.ts'

/** A read that may be asked for a second time. */
export interface Hedgeable extends Linked<Hedgeable> {
  readonly startMs: number
  /** Bytes. */
  readonly length: number
  /** It takes long. @returns whether another replica was asked */
  onLate(): boolean
}

const USUAL_SHARE = 0.95
const EXTRA_SHARE = 0.05
const EXTRAS_SAVED_MAX = 8
/** Below this a pause of this very process is as likely as one of the server. */
const LATE_MS_MIN = 10
/** While too little is known. */
const LATE_MS_UNKNOWN = 200
const SAMPLES_MIN = 32
const TICK_MS = 5

export class Hedging {
  readonly #clock: Clock
  readonly #kinds = [new Kind(), new Kind(), new Kind(), new Kind()] as const
  #saved = 1
  #timer: Timer | undefined
  /** Reads asked for, and those that were asked for twice. */
  reads = 0
  extras = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** A read began. */
  watch(read: Hedgeable): void {
    this.reads++
    this.#saved = Math.min(EXTRAS_SAVED_MAX, this.#saved + EXTRA_SHARE)
    this.#kindOf(read.length).underWay.add(read)
    this.#timer ??= this.#clock.after(TICK_MS, this.#look)
  }

  /** It ended. */
  unwatch(read: Hedgeable): void {
    this.#kindOf(read.length).underWay.delete(read)
  }

  /** A server took so long to answer, or has not answered yet after so long. */
  answered(length: number, tookMs: number): void {
    this.#kindOf(length).latency.add(tookMs)
  }

  #kindOf(length: number): Kind {
    if (length > PIECE_BYTES) return this.#kinds[3]
    return this.#kinds[length <= SMALL_BYTES ? 0 : length < LARGE_BYTES ? 1 : 2]
  }

  readonly #look = (): void => {
    this.#timer = undefined
    const nowMs = this.#clock.nowMs()
    let isAnyLeft = false
    for (const { underWay, latency } of this.#kinds) {
      // Most looks find nothing that is late by any measure, and need not know what is usual.
      const oldest = underWay.first
      if (oldest === undefined || nowMs - oldest.startMs < LATE_MS_MIN) {
        isAnyLeft ||= oldest !== undefined
        continue
      }
      const usualMs = latency.count < SAMPLES_MIN ? LATE_MS_UNKNOWN : latency.quantile(USUAL_SHARE)
      const lateMs = Math.max(LATE_MS_MIN, usualMs)
      // In the order they began.
      for (const read of underWay) {
        if (nowMs - read.startMs < lateMs || this.#saved < 1) break
        underWay.delete(read)
        if (!read.onLate()) continue
        this.#saved--
        this.extras++
      }
      isAnyLeft ||= !underWay.isEmpty
    }
    if (isAnyLeft) this.#timer ??= this.#clock.after(TICK_MS, this.#look)
  }
}

class Kind {
  readonly latency = new Latency()
  readonly underWay = new LinkedList<Hedgeable>()
}
