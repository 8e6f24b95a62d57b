// Groups: what many callers ask for at about the same time goes out together, as one message.
//
// Nothing waits for company: while no group is under way, whatever one turn of the loop brought leaves at its end. What
// comes meanwhile is the next group, and goes beside those under way only once it is half of a largest one: else many
// callers would make many small groups instead of a few good ones.
//
// Invariants:
//   - a member is settled once: by its group, by its time, or by its signal, and then it is no member any more
//   - members leave in the order they came
//   - `groupsMax` groups under way at most; no timer while there is no member
//
// Bounds are those of who adds: a caller holds its place until it is settled.

import { DfsError, isDfsError } from '../base/errors.ts'
import { type Linked, LinkedList } from '../base/linked-list.ts'
import type { Clock, Timer } from '../io/clock.ts'
import type { Aborts, Endable } from './aborts.ts'
import { endOfPatience } from './masters.ts'
import type { Patience } from './patience.ts'
import { asFault } from './retry.ts'

/** What one caller wants, and how it is told. */
export interface Member<T, R> {
  readonly item: T
  /** False once it is settled: nobody waits for it any more. */
  readonly isWaiting: boolean
  /** The latest fault that its group met: the cause of the TIMEOUT when its time is over before the group's end. */
  last: DfsError | undefined
  resolve(result: R): void
  reject(error: unknown): void
}

export interface GroupRules<T, R> {
  readonly clock: Clock
  readonly aborts: Aborts
  /** Groups under way at most. */
  readonly groupsMax: number
  /** Members of a group at most. */
  readonly membersMax: number
  /** What the sizes of a group's members add up to at most; a larger member goes alone. */
  sizeMax(): number
  /** Whether `item` may go in one group with `first`. */
  fits(first: T, item: T): boolean
  /**
   * Carries a group out. What it rejects with is what the members get that still wait; one that waits when it resolves
   * (the next group may go then) is settled later by whoever `run` gave it to.
   *
   * @param members  at least one; some may stop waiting at any time
   */
  run(members: readonly Member<T, R>[]): Promise<void>
}

export class Groups<T, R> {
  readonly #rules: GroupRules<T, R>
  /** In the order they came, not under way. */
  readonly #queue: Place<T, R>[] = []
  #queuedSize = 0
  /** Queued or under way. */
  readonly #members = new LinkedList<Membership<T, R>>()
  #underWay = 0
  #isPlanned = false
  #timer: Timer | undefined
  /** No member's time ends before the timer looks. */
  #timerMs = Number.POSITIVE_INFINITY

  constructor(rules: GroupRules<T, R>) {
    this.#rules = rules
  }

  /**
   * Resolves with what its group makes of the item. Rejects with what the group says, TIMEOUT (`cause`: the last fault
   * met) or ABORTED.
   *
   * @param size       what it counts for `sizeMax`
   * @param timeoutMs  for all of it, waiting for a group included
   */
  add(item: T, size: number, timeoutMs: number, signal: AbortSignal | undefined): Promise<R> {
    const { aborts, clock } = this.#rules
    return new Promise((resolve, reject) => {
      const endsMs = clock.nowMs() + timeoutMs
      const place = new Place<T, R>(item, size, endsMs, resolve, reject, () => {
        aborts.delete(signal, place)
        this.#leave(place)
      })
      aborts.add(signal, place)
      this.#members.add(place.membership)
      this.#queue.push(place)
      this.#queuedSize += size
      if (endsMs < this.#timerMs) this.#lookAt(endsMs)
      this.#plan()
    })
  }

  /** Cuts groups when what is ready now has been handled. */
  #plan(): void {
    if (this.#isPlanned || !this.#isDue) return
    this.#isPlanned = true
    this.#rules.clock.defer(() => {
      this.#isPlanned = false
      while (this.#isDue) this.#start(this.#take())
    })
  }

  get #isDue(): boolean {
    if (this.#queue.length === 0 || this.#underWay >= this.#rules.groupsMax) return false
    const { membersMax } = this.#rules
    return this.#underWay === 0 || this.#queuedSize * 2 >= this.#rules.sizeMax() || this.#queue.length * 2 >= membersMax
  }

  /** The first of the queue, and those behind it up to one that doesn't fit. */
  #take(): Place<T, R>[] {
    const { fits, membersMax } = this.#rules
    const sizeMax = this.#rules.sizeMax()
    const first = this.#queue[0]!
    let count = 0
    let size = 0
    for (const place of this.#queue) {
      if (count > 0 && (count >= membersMax || size + place.size > sizeMax || !fits(first.item, place.item))) break
      place.isQueued = false
      size += place.size
      count++
    }
    this.#queuedSize -= size
    return this.#queue.splice(0, count)
  }

  #start(group: readonly Place<T, R>[]): void {
    this.#underWay++
    const end = (): void => {
      this.#underWay--
      this.#plan()
    }
    this.#rules.run(group).then(end, (error: unknown) => {
      for (const member of group) member.reject(error)
      end()
    })
  }

  /** A member is settled. */
  #leave(place: Place<T, R>): void {
    this.#members.delete(place.membership)
    if (place.isQueued) {
      this.#queue.splice(this.#queue.indexOf(place), 1)
      this.#queuedSize -= place.size
    }
    if (!this.#members.isEmpty) return
    this.#timer?.cancel()
    this.#timerMs = Number.POSITIVE_INFINITY
  }

  #lookAt(atMs: number): void {
    this.#timer?.cancel()
    this.#timerMs = atMs
    this.#timer = this.#rules.clock.after(Math.max(0, Math.ceil(atMs - this.#rules.clock.nowMs())), this.#look)
  }

  /** Ends those whose time is over. */
  readonly #look = (): void => {
    const nowMs = this.#rules.clock.nowMs()
    this.#timerMs = Number.POSITIVE_INFINITY
    let nextMs = Number.POSITIVE_INFINITY
    for (const { place } of [...this.#members]) {
      if (place.endsMs > nowMs) nextMs = Math.min(nextMs, place.endsMs)
      else place.giveUp(new DfsError('TIMEOUT', 'no answer in time', {}, place.last))
    }
    if (nextMs < Number.POSITIVE_INFINITY) this.#lookAt(nextMs)
  }
}

/**
 * `groups.add` for as long as the caller's patience lasts, whose time counts anew with progress elsewhere. Errors: those
 * of the group, TIMEOUT or the last fault it met, ABORTED.
 */
export async function addPatiently<T, R>(groups: Groups<T, R>, item: T, size: number, patience: Patience): Promise<R> {
  for (;;) {
    try {
      return await groups.add(item, size, patience.leftMs, patience.signal)
    } catch (error) {
      const fault = asFault(error)
      if (fault.code !== 'TIMEOUT') throw fault
      const last = isDfsError(fault.cause) ? fault.cause : undefined
      try {
        patience.check(last)
      } catch (end) {
        throw endOfPatience(end, last)
      }
    }
  }
}

/** A place in the list of all members; the neighbours of the place itself are those in its signal's list. */
interface Membership<T, R> extends Linked<Membership<T, R>> {
  readonly place: Place<T, R>
}

class Place<T, R> implements Member<T, R>, Endable {
  before: Endable | undefined
  after: Endable | undefined
  readonly membership: Membership<T, R> = { place: this, before: undefined, after: undefined }
  readonly item: T
  readonly size: number
  readonly endsMs: number
  isWaiting = true
  isQueued = true
  last: DfsError | undefined
  readonly #resolve: (result: R) => void
  readonly #reject: (error: unknown) => void
  readonly #onSettled: () => void

  constructor(
    item: T,
    size: number,
    endsMs: number,
    resolve: (result: R) => void,
    reject: (error: unknown) => void,
    onSettled: () => void,
  ) {
    this.item = item
    this.size = size
    this.endsMs = endsMs
    this.#resolve = resolve
    this.#reject = reject
    this.#onSettled = onSettled
  }

  resolve(result: R): void {
    if (!this.isWaiting) return
    this.isWaiting = false
    this.#onSettled()
    this.#resolve(result)
  }

  reject(error: unknown): void {
    if (!this.isWaiting) return
    this.isWaiting = false
    this.#onSettled()
    this.#reject(error)
  }

  giveUp(error: DfsError): void {
    this.reject(error)
  }
}
