// What the master is told of the replicas here: everything at a join, then what changed.
//
// All that a server says carries a sequence number, and older is ignored. What was sent and not answered is said
// again: the newest facts of each chunk, once.
//
// Source: GFS §2.6.2.

import type { ChunkHandle } from '../base/ids.ts'
import type { ReplicaFacts } from '../wire/messages.ts'

/** Changes in one heartbeat; the rest waits for the next. */
export const CHANGES_MAX = 4096
/** Replicas in one part of a full report. */
export const REPORT_PART_MAX = 8192

export class Inventory {
  #sequence = 0
  #changed = new Map<ChunkHandle, ReplicaFacts>()
  #sent: Map<ChunkHandle, ReplicaFacts> | undefined

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

  /** A full report follows and says it all. */
  forgetChanges(): void {
    this.#changed.clear()
    this.#sent = undefined
  }
}
