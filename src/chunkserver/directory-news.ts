// What a heartbeat says of the data directories: all of it when something worth telling has changed and now and then
// besides, else nothing. So a heartbeat of a server at rest stays under 100 bytes.

import type { DirectoryFacts } from '../wire/messages.ts'

/** Heartbeats without facts in a row at most. */
const QUIET_BEATS_MAX = 20
/** Used or free bytes that differ by this part of the capacity are news. */
const NEWS_PART = 1 / 256

export class DirectoryNews {
  #told: readonly DirectoryFacts[] | undefined
  #quietBeats = 0

  /** A join says everything: what follows is told against that. */
  joined(facts: readonly DirectoryFacts[]): void {
    this.#told = facts
    this.#quietBeats = 0
  }

  /** The fields of the next heartbeat. One that gets lost costs its connection, and a join follows. */
  next(facts: readonly DirectoryFacts[]): {
    readonly directories: readonly DirectoryFacts[]
    readonly hasDirectories: boolean
  } {
    const told = this.#told
    const isQuiet = told?.length === facts.length && facts.every((now, index) => !isNews(told[index]!, now))
    if (isQuiet && ++this.#quietBeats <= QUIET_BEATS_MAX) return { directories: [], hasDirectories: false }
    this.joined(facts)
    return { directories: facts, hasDirectories: true }
  }
}

function isNews(before: DirectoryFacts, now: DirectoryFacts): boolean {
  const limit = now.capacityBytes * NEWS_PART
  return (
    before.directory !== now.directory ||
    before.life !== now.life ||
    before.state !== now.state ||
    before.chunks !== now.chunks ||
    before.capacityBytes !== now.capacityBytes ||
    before.slowMs !== now.slowMs ||
    Math.abs(before.usedBytes - now.usedBytes) > limit ||
    Math.abs(before.freeBytes - now.freeBytes) > limit
  )
}
