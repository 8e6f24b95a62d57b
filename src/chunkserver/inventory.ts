// What the master is told of the replicas here: everything at a join, then what changed.
//
// All that a server says carries a sequence number, and older is ignored. What was sent and not answered is said
// again: the newest facts of each chunk, once.
//
// Invariants:
//   - the sum covers what was said and what waits to be said: it is the master's as soon as nothing waits
//
// Source: GFS §2.6.2.

import type { ChunkHandle } from '../base/ids.ts'
import type { ReplicaFacts } from '../wire/messages.ts'
import { addMark, conditionOf, removeMark, replicaMark } from '../wire/replica-sum.ts'

/** Changes in one heartbeat; the rest waits for the next. */
export const CHANGES_MAX = 4096
/** Replicas in one part of a full report. */
export const REPORT_PART_MAX = 8192

export class Inventory {
  #sequence = 0
  #changed = new Map<ChunkHandle, ReplicaFacts>()
  #sent: Map<ChunkHandle, ReplicaFacts> | undefined
  /** The mark of each replica as it was last noted; their sum. */
  #marks = new Map<ChunkHandle, number>()
  #sum = 0

  /** The number of the next message. */
  nextSequence(): number {
    return ++this.#sequence
  }

  /** Changes that wait to be told. */
  get changeCount(): number {
    return this.#changed.size
  }

  /** Notes the facts of a replica that changed. */
  changed(facts: ReplicaFacts): void {
    this.#changed.delete(facts.handle) // the newest last
    this.#changed.set(facts.handle, facts)
    this.#mark(facts)
  }

  /** The sum of the replicas here, for a heartbeat that `take` has filled; undefined while more changes wait. */
  get sum(): number | undefined {
    return this.#changed.size === 0 ? this.#sum : undefined
  }

  /**
   * Holds what was noted against what is there. A difference is a change that nobody noted: it is noted now.
   *
   * @param all  the facts of every replica here
   * @returns    how many differed
   */
  recount(all: Iterable<ReplicaFacts>): number {
    const lost = new Set(this.#marks.keys())
    const missed: ReplicaFacts[] = []
    for (const facts of all) {
      lost.delete(facts.handle)
      if (markOf(facts) !== this.#marks.get(facts.handle)) missed.push(facts)
    }
    for (const facts of missed) this.changed(facts)
    // Nothing is left to say of these but that the sum is another now: the master asks for everything, and finds out.
    for (const handle of lost) {
      this.#sum = removeMark(this.#sum, this.#marks.get(handle)!)
      this.#marks.delete(handle)
    }
    return missed.length + lost.size
  }

  /** The changes for a heartbeat, at most CHANGES_MAX; `told` or `untold` follows before the next. */
  take(): readonly ReplicaFacts[] {
    const sent = new Map<ChunkHandle, ReplicaFacts>()
    for (const [handle, facts] of this.#changed) {
      if (sent.size === CHANGES_MAX) break
      sent.set(handle, facts)
    }
    for (const handle of sent.keys()) this.#changed.delete(handle)
    this.#sent = sent
    return [...sent.values()]
  }

  /** The master has what `take` gave. */
  told(): void {
    this.#sent = undefined
  }

  /** It may not: said again, unless something newer is known. */
  untold(): void {
    const before = this.#sent ?? new Map<ChunkHandle, ReplicaFacts>()
    for (const [handle, facts] of this.#changed) before.set(handle, facts)
    this.#changed = before
    this.#sent = undefined
  }

  /** A full report follows and says it all. @param all  as for `recount` */
  beginAnew(all: Iterable<ReplicaFacts>): void {
    this.#marks.clear()
    this.#sum = 0
    for (const facts of all) this.#mark(facts)
    this.#changed.clear()
    this.#sent = undefined
  }

  #mark(facts: ReplicaFacts): void {
    const before = this.#marks.get(facts.handle)
    const mark = markOf(facts)
    if (before !== undefined) this.#sum = removeMark(this.#sum, before)
    if (mark === undefined) this.#marks.delete(facts.handle)
    else {
      this.#sum = addMark(this.#sum, mark)
      this.#marks.set(facts.handle, mark)
    }
  }
}

function markOf({ handle, directory, state }: ReplicaFacts): number | undefined {
  const condition = conditionOf(state)
  return condition === undefined ? undefined : replicaMark(handle, directory, condition)
}
