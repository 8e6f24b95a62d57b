// The session: who this client is to the masters, so that a change that is asked for twice happens once.
//
// Invariants:
//   - a request number is used for one change, whatever master is asked how often
//   - floor < every number without an answer; numbers up to it are never asked again
//   - at most REQUESTS_MAX numbers lie above the floor, fewer than a master keeps replies for
//
// A session that was idle for long is left for a new one before the master may have ended it; one that a writer holds
// is kept alive instead.

import { assert } from '../base/assert.ts'
import { RANDOM_ID_MAX, type SessionId } from '../base/ids.ts'
import { SESSION_REPLIES_MAX, SESSION_SILENCE_MS } from '../base/limits.ts'
import { MINUTE_MS } from '../base/units.ts'
import type { Clock, Timer } from '../io/clock.ts'
import type { Entropy } from '../io/entropy.ts'
import type { Patience } from './patience.ts'
import { Waiters } from './patience.ts'

const REQUESTS_MAX = SESSION_REPLIES_MAX - 64
const IDLE_MS_MAX = SESSION_SILENCE_MS / 2
const RENEW_MS = 1 * MINUTE_MS

export class Session {
  readonly id: SessionId
  readonly #clock: Clock
  readonly #waiters: Waiters
  #next = 1
  /** Numbers without an answer, in rising order. */
  #open = new Set<number>()
  #usedMs: number
  #holders = 0
  #sequence = 0
  isEnded = false

  constructor(clock: Clock, entropy: Entropy) {
    this.id = (1 + entropy.below(RANDOM_ID_MAX)) as SessionId
    this.#clock = clock
    this.#waiters = new Waiters(clock)
    this.#usedMs = clock.nowMs()
  }

  get floor(): number {
    for (const oldest of this.#open) return oldest - 1
    return this.#next - 1
  }

  /** True when nothing depends on this session and it may be about to be ended. */
  get isStale(): boolean {
    return this.#holders === 0 && this.#open.size === 0 && this.#clock.nowMs() - this.#usedMs > IDLE_MS_MAX
  }

  get isHeld(): boolean {
    return this.#holders > 0
  }

  /** A number for one change; give it back with `end`. A promise only while too many have no answer. */
  begin(patience: Patience): number | Promise<number> {
    if (this.#next - this.floor > REQUESTS_MAX) return this.#waiters.wait(patience).then(() => this.begin(patience))
    const number = this.#next++
    this.#open.add(number)
    this.#usedMs = this.#clock.nowMs()
    return number
  }

  /** The change has its answer, or nobody will ask for it again. */
  end(number: number): void {
    const wasThere = this.#open.delete(number)
    assert(wasThere, 'a request number ended twice')
    this.#usedMs = this.#clock.nowMs()
    this.#waiters.wake()
  }

  /** A writer's unnamed file and chunks belong to the session: it must live. */
  hold(): void {
    this.#holders++
  }

  release(): void {
    assert(this.#holders > 0, 'a session released twice')
    this.#holders--
  }

  /** For what is appended to shared chunks: the first of `count` numbers that are unique within the session. */
  nextSequence(count = 1): number {
    const first = this.#sequence + 1
    this.#sequence += count
    return first
  }
}

/** The sessions of one client: one at a time, the next when the last was idle for long or was ended. */
export class Sessions {
  readonly #clock: Clock
  readonly #entropy: Entropy
  readonly #renew: (session: Session) => void
  readonly #held = new Set<Session>()
  #current: Session
  #timer: Timer | undefined

  /** @param renew  tells the master that a held session lives; must not throw */
  constructor(clock: Clock, entropy: Entropy, renew: (session: Session) => void) {
    this.#clock = clock
    this.#entropy = entropy
    this.#renew = renew
    this.#current = new Session(clock, entropy)
  }

  current(): Session {
    if (this.#current.isEnded || this.#current.isStale) this.#current = new Session(this.#clock, this.#entropy)
    return this.#current
  }

  /** A session that is kept alive until it is given back as often as it was taken. */
  hold(): Session {
    const session = this.current()
    session.hold()
    this.#held.add(session)
    this.#watch()
    return session
  }

  release(session: Session): void {
    session.release()
    if (session.isHeld) return
    this.#held.delete(session)
    if (this.#held.size === 0) this.close()
  }

  close(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #watch(): void {
    if (this.#timer !== undefined) return
    this.#timer = this.#clock.after(RENEW_MS, () => {
      this.#timer = undefined
      if (this.#held.size === 0) return
      for (const session of this.#held) this.#renew(session)
      this.#watch()
    })
  }
}
