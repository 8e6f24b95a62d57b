// The scheduler: virtual time, one event at a time, in an order that the seed alone decides.
//
// Invariants:
//   - time never goes back, and moves only from one event to the next
//   - between two events every microtask has run: product code that awaits only ports is deterministic
//   - an event of a dead process never runs; one of a stopped process is kept until it goes on
//
// The trace checksum covers kind, time, owner and detail of every event that ran, so two runs of a seed can be compared.

import { assert } from '../../src/base/assert.ts'
import { crc32 } from '../../src/base/crc32.ts'
import type { Random } from '../../src/base/random.ts'

/** The process that an event belongs to. */
export interface EventOwner {
  readonly label: string
  readonly isAlive: boolean
  readonly isPaused: boolean
  /** Keeps the event of a stopped process. */
  hold(event: SimEvent): void
}

export interface SimEvent {
  readonly atMs: number
  /** Chance decides between events of one moment; deferred ones come last, in order. */
  readonly tie: number
  readonly order: number
  readonly kind: string
  readonly detail: string
  readonly owner: EventOwner | undefined
  readonly run: () => void
  isCancelled: boolean
}

const TRACE_LINES_MAX = 40

export class Scheduler {
  readonly #random: Random
  readonly #heap: SimEvent[] = []
  readonly #lines: string[] = []
  #nowMs = 0
  #order = 0
  #eventCount = 0
  #checksum = 0

  constructor(random: Random) {
    this.#random = random
  }

  /** Virtual milliseconds since the world began. */
  get nowMs(): number {
    return this.#nowMs
  }

  /** Events that have run. */
  get eventCount(): number {
    return this.#eventCount
  }

  /** CRC32 over all events that have run. */
  get checksum(): number {
    return this.#checksum
  }

  /** The last events, oldest first. */
  get lastLines(): readonly string[] {
    return this.#lines
  }

  /** Runs `run` `delayMs` (0 upward) from now; events of one moment come in an order drawn from the seed. */
  schedule(delayMs: number, kind: string, detail: string, owner: EventOwner | undefined, run: () => void): SimEvent {
    return this.#push(delayMs, this.#random.next(), kind, detail, owner, run)
  }

  /** Runs `run` now, after everything else of this moment; several in the order they were asked for. */
  scheduleLast(kind: string, owner: EventOwner | undefined, run: () => void): SimEvent {
    return this.#push(0, 2 ** 32, kind, '', owner, run)
  }

  /** Puts a kept event back, to run now. */
  putBack(event: SimEvent): void {
    const run = () => {
      if (!event.isCancelled) event.run()
    }
    this.#push(0, this.#order / 2 ** 53, event.kind, event.detail, event.owner, run)
  }

  /** Runs the next event. @returns false when there is none */
  step(): boolean {
    for (;;) {
      const event = this.#pop()
      if (event === undefined) return false
      if (event.isCancelled || event.owner?.isAlive === false) continue
      this.#nowMs = Math.max(this.#nowMs, event.atMs)
      if (event.owner?.isPaused) {
        event.owner.hold(event)
        continue
      }
      this.#eventCount++
      this.record(event.kind, event.owner?.label ?? 'world', event.detail)
      event.run()
      return true
    }
  }

  /** Adds a line to the trace and its checksum: for events, and for choices worth comparing between two runs. */
  record(kind: string, who: string, detail: string): void {
    const line = `${this.#nowMs.toFixed(3)} ${kind} ${who} ${detail}`
    this.#checksum = crc32(Buffer.from(line), this.#checksum)
    this.#lines.push(line)
    if (this.#lines.length > TRACE_LINES_MAX) this.#lines.shift()
  }

  #push(
    delayMs: number,
    tie: number,
    kind: string,
    detail: string,
    owner: EventOwner | undefined,
    run: () => void,
  ): SimEvent {
    assert(delayMs >= 0 && Number.isFinite(delayMs), `delay out of range: ${delayMs}`)
    const event: SimEvent = {
      atMs: this.#nowMs + delayMs,
      tie,
      order: this.#order++,
      kind,
      detail,
      owner,
      run,
      isCancelled: false,
    }
    const heap = this.#heap
    let index = heap.length
    heap.push(event)
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!isBefore(event, heap[parent]!)) break
      heap[index] = heap[parent]!
      index = parent
    }
    heap[index] = event
    return event
  }

  #pop(): SimEvent | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, last)) break
      heap[index] = heap[child]!
      index = child
    }
    heap[index] = last
    return first
  }
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  if (a.atMs !== b.atMs) return a.atMs < b.atMs
  return a.tie !== b.tie ? a.tie < b.tie : a.order < b.order
}
