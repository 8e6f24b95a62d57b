// The highest log index a master has ever shown this server. A master that shows less has lost history: nothing is
// allocated, cut or deleted for it, bytes are still read.
//
// A lost history is met when a master is joined, never in the middle of a connection: a process doesn't forget while
// it runs, and its messages may overtake each other.
//
// Source: DESIGN §3 (Chunkserver).

import { DfsError } from '../base/errors.ts'
import type { History } from '../wire/messages.ts'

export class HistoryGuard {
  #seen: number
  #rolledBack: History | undefined

  /** @param seen  the highest index that the chunks here know of */
  constructor(seen: number) {
    this.#seen = seen
  }

  get seen(): number {
    return this.#seen
  }

  /** True while the master joined last has lost history. */
  get isRolledBack(): boolean {
    return this.#rolledBack !== undefined
  }

  /** A master was joined. @returns false when it shows less than was seen and nobody accepted the loss */
  join(history: History): boolean {
    this.#rolledBack = undefined
    if (history.logIndex >= this.#seen) this.#seen = history.logIndex
    else if (history.rollbackLostIndex >= this.#seen) this.#seen = history.logIndex
    else this.#rolledBack = history
    return this.#rolledBack === undefined
  }

  /** The joined master shows how far it is now. New records don't bring a lost history back, only its acceptance ends it. */
  show(history: History): void {
    if (this.#rolledBack === undefined) this.#seen = Math.max(this.#seen, history.logIndex)
    else if (history.rollbackLostIndex >= this.#seen) this.join(history)
  }

  /** Throws MASTER_ROLLED_BACK. */
  check(): void {
    if (this.#rolledBack === undefined) return
    const { logIndex } = this.#rolledBack
    const message = `the master's log ends at ${logIndex}, ${this.#seen} was seen here: its history is lost. Restore its log, or accept the loss with \`dfs admin accept-rollback\``
    throw new DfsError('MASTER_ROLLED_BACK', message, { logIndex, seen: this.#seen })
  }
}
