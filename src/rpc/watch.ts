// What has taken too long on one connection: looked at every `tickMs`, from counters, so that nothing is timed on the
// way of a frame. Pure: time is an argument. A limit is noticed at most one tick late.

import { DfsError } from '../base/errors.ts'
import type { RpcLimits } from './limits.ts'

/** The state of a connection at one moment. */
export interface WatchFacts {
  readonly isGreeting: boolean
  /** Whole frames received. */
  readonly framesSeen: number
  readonly isInsideFrame: boolean
  /** We stopped reading, for any reason. */
  readonly isPaused: boolean
  /** We stopped reading because a sink has no room. */
  readonly isPausedForData: boolean
  readonly enqueuedBytes: number
  readonly writtenBytes: number
  readonly isAwaitingSystem: boolean
  readonly isStreaming: boolean
}

export type WatchVerdict =
  | { readonly kind: 'fine' }
  /** Say that we live. */
  | { readonly kind: 'ping' }
  /** Give up the stream that is open. */
  | { readonly kind: 'abortStream'; readonly error: DfsError }
  /** Tell the other side why, and close. */
  | { readonly kind: 'refuse'; readonly error: DfsError }
  /** Nobody listens: break the socket. */
  | { readonly kind: 'destroy'; readonly error: DfsError }

export class Watch {
  /** Set when bytes came; cleared at each look. */
  heard = false
  /** Milliseconds between looks: half of `aliveMs`, so that a ping is never late. */
  readonly tickMs: number
  readonly #limits: RpcLimits
  readonly #startMs: number
  #heardMs: number
  #frameSinceMs: number
  #framesSeen = 0
  #pausedForDataSinceMs: number
  #writtenSinceMs: number
  #writtenBytes = 0
  #enqueuedSinceMs: number
  #enqueuedBytes = 0

  constructor(limits: RpcLimits, nowMs: number) {
    this.#limits = limits
    this.tickMs = limits.aliveMs / 2
    this.#startMs = nowMs
    this.#heardMs = nowMs
    this.#frameSinceMs = nowMs
    this.#pausedForDataSinceMs = nowMs
    this.#writtenSinceMs = nowMs
    this.#enqueuedSinceMs = nowMs
  }

  look(nowMs: number, facts: WatchFacts): WatchVerdict {
    const isQuiet = facts.enqueuedBytes === this.#enqueuedBytes
    this.#remember(nowMs, facts)
    const { helloMs, silenceMs, frameMs, stallMs, streamStallMs } = this.#limits
    if (facts.isGreeting) {
      if (nowMs - this.#startMs < helloMs) return FINE
      return { kind: 'refuse', error: new DfsError('TIMEOUT', `no hello within ${helloMs} ms`, { helloMs }) }
    }
    if (nowMs - this.#heardMs >= silenceMs) return lost(`nothing came for ${silenceMs} ms`)
    if (nowMs - this.#frameSinceMs >= frameMs) {
      const error = new DfsError('TIMEOUT', `a frame that began was not complete after ${frameMs} ms`, { frameMs })
      return { kind: 'refuse', error }
    }
    if (nowMs - this.#writtenSinceMs >= stallMs) return lost(`the other side read nothing for ${stallMs} ms`)
    if (nowMs - this.#pausedForDataSinceMs >= stallMs) {
      return lost(`there was no room for the other side's data for ${stallMs} ms`)
    }
    if (facts.isStreaming && nowMs - this.#enqueuedSinceMs >= streamStallMs) {
      const error = new DfsError('TIMEOUT', `the data of a frame stopped coming for ${streamStallMs} ms`, {
        streamStallMs,
      })
      return { kind: 'abortStream', error }
    }
    // In the middle of a stream a ping can't go out, and a stream is never quiet for long.
    return isQuiet && !facts.isAwaitingSystem && !facts.isStreaming ? PING : FINE
  }

  #remember(nowMs: number, facts: WatchFacts): void {
    if (this.heard || facts.isPaused) this.#heardMs = nowMs
    this.heard = false
    if (!facts.isInsideFrame || facts.isPaused || facts.framesSeen !== this.#framesSeen) this.#frameSinceMs = nowMs
    this.#framesSeen = facts.framesSeen
    if (!facts.isPausedForData) this.#pausedForDataSinceMs = nowMs
    if (!facts.isAwaitingSystem || facts.writtenBytes !== this.#writtenBytes) this.#writtenSinceMs = nowMs
    this.#writtenBytes = facts.writtenBytes
    // While the system holds back our bytes it is not the source that is slow.
    if (facts.enqueuedBytes !== this.#enqueuedBytes || facts.isAwaitingSystem) this.#enqueuedSinceMs = nowMs
    this.#enqueuedBytes = facts.enqueuedBytes
  }
}

const FINE: WatchVerdict = { kind: 'fine' }
const PING: WatchVerdict = { kind: 'ping' }

function lost(why: string): WatchVerdict {
  return { kind: 'destroy', error: new DfsError('CONNECTION_LOST', why) }
}
