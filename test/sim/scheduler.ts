// The scheduler: virtual time, one event at a time, in an order that the seed alone decides.
//
// Invariants:
//   - time never goes back, and moves only from one event to the next
//   - between two events every microtask has run: product code that awaits only ports is deterministic
//   - an event of a dead process never runs; one of a stopped process is kept until it goes on
//
// The trace checksum covers kind, time, owner and detail of every event that ran, so two runs of a seed can be compared.

import { assert } from '../../src/base/assert.ts'
import type { Random } from '../../src/base/random.ts'
import { RingBuffer } from '../../src/base/ring-buffer.ts'

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
  /** Chance decides between events of one moment. */
  readonly tie: number
  readonly order: number
  readonly kind: string
  readonly detail: string
  readonly owner: EventOwner | undefined
  readonly run: () => void
  isCancelled: boolean
}

const TRACE_LINES_MAX = 40

/** One line of the trace, written as text only when somebody reads it. */
interface TraceLine {
  atMs: number
  kind: string
  who: string
  detail: string
}

export class Scheduler {
  readonly #random: Random
  readonly #heap: SimEvent[] = []
  /** What was asked for as the last of its moment, in order: it would only wander through the heap. */
  readonly #deferred = new RingBuffer<SimEvent>()
  /** The last lines, in a ring: the next one takes the place `#lineCount % TRACE_LINES_MAX`. */
  readonly #lines: TraceLine[] = []
  #lineCount = 0
  /** The time as the checksum sees it. */
  readonly #time = new Float64Array(1)
  readonly #timeWords = new Uint32Array(this.#time.buffer)
  /** Gets every line of the trace: to look into one run. */
  onLine: ((line: string) => void) | undefined
  #nowMs = 0
  #order = 0
  #eventCount = 0
  #checksum = 0x811c9dc5 | 0

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

  /** A hash (FNV-1a, 32 bits) over all events that have run. */
  get checksum(): number {
    return this.#checksum >>> 0
  }

  /** The last events, oldest first. */
  get lastLines(): readonly string[] {
    const start = Math.max(0, this.#lineCount - TRACE_LINES_MAX)
    return Array.from({ length: this.#lineCount - start }, (_, index) => {
      const { atMs, kind, who, detail } = this.#lines[(start + index) % TRACE_LINES_MAX]!
      return `${atMs.toFixed(3)} ${kind} ${who} ${detail}`
    })
  }

  /** Runs `run` `delayMs` (0 upward) from now; events of one moment come in an order drawn from the seed. */
  schedule(delayMs: number, kind: string, detail: string, owner: EventOwner | undefined, run: () => void): SimEvent {
    return this.#push(this.#event(delayMs, this.#random.next(), kind, detail, owner, run))
  }

  /** Runs `run` now, after everything else of this moment; several in the order they were asked for. */
  scheduleLast(kind: string, owner: EventOwner | undefined, run: () => void): SimEvent {
    const event = this.#event(0, 0, kind, '', owner, run)
    this.#deferred.push(event)
    return event
  }

  /** What is yet to happen to one process, kinds only: nothing, when it was closed and left nothing behind. */
  pendingOf(owner: EventOwner): string[] {
    const events = [...this.#heap]
    for (let left = this.#deferred.count; left > 0; left--) {
      const event = this.#deferred.shift()
      events.push(event)
      this.#deferred.push(event)
    }
    return events.filter((event) => event.owner === owner && !event.isCancelled).map(({ kind }) => kind)
  }

  /** How many things are yet to happen to each process. */
  pendingCounts(): Map<EventOwner, number> {
    const counts = new Map<EventOwner, number>()
    for (const { owner, isCancelled } of this.#heap)
      if (owner !== undefined && !isCancelled) counts.set(owner, (counts.get(owner) ?? 0) + 1)
    return counts
  }

  /** Puts a kept event back, to run now. */
  putBack(event: SimEvent): void {
    const run = () => {
      if (!event.isCancelled) event.run()
    }
    this.#push(this.#event(0, this.#order / 2 ** 53, event.kind, event.detail, event.owner, run))
  }

  /** Runs the next event. @returns false when there is none */
  step(): boolean {
    for (;;) {
      const event = this.#next()
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
    this.#time[0] = this.#nowMs
    let hash = hashWord(hashWord(this.#checksum, this.#timeWords[0]!), this.#timeWords[1]!)
    hash = hashText(hashText(hashText(hash, kind), who), detail)
    this.#checksum = hash
    const line = this.#lines[this.#lineCount % TRACE_LINES_MAX]
    if (line === undefined) this.#lines.push({ atMs: this.#nowMs, kind, who, detail })
    else {
      line.atMs = this.#nowMs
      line.kind = kind
      line.who = who
      line.detail = detail
    }
    this.#lineCount++
    this.onLine?.(`${this.#nowMs.toFixed(3)} ${kind} ${who} ${detail}`)
  }

  #event(
    delayMs: number,
    tie: number,
    kind: string,
    detail: string,
    owner: EventOwner | undefined,
    run: () => void,
  ): SimEvent {
    assert(delayMs >= 0 && Number.isFinite(delayMs), `delay out of range: ${delayMs}`)
    return {
      atMs: this.#nowMs + delayMs,
      tie,
      order: this.#order++,
      kind,
      detail,
      owner,
      run,
      isCancelled: false,
    }
  }

  /** The first of all: what was deferred comes when nothing else is left of its moment. */
  #next(): SimEvent | undefined {
    const deferred = this.#deferred.peek()
    if (deferred === undefined) return this.#pop()
    const first = this.#heap[0]
    return first !== undefined && first.atMs <= deferred.atMs ? this.#pop() : this.#deferred.shift()
  }

  #push(event: SimEvent): SimEvent {
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

const FNV_PRIME = 0x01000193

function hashWord(hash: number, word: number): number {
  return Math.imul(Math.imul(hash ^ (word & 0xffff), FNV_PRIME) ^ (word >>> 16), FNV_PRIME)
}

function hashText(hash: number, text: string): number {
  let result = hash
  for (let index = 0; index < text.length; index++) result = Math.imul(result ^ text.charCodeAt(index), FNV_PRIME)
  return Math.imul(result ^ text.length, FNV_PRIME)
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  if (a.atMs !== b.atMs) return a.atMs < b.atMs
  return a.tie !== b.tie ? a.tie < b.tie : a.order < b.order
}
