// What the trash holds. The size of a removed file stands in its entry; that of a tree is counted when it is first asked
// for, a slice at a time, and remembered: a removed tree doesn't change until it is purged.

import type { InodeId } from '../base/ids.ts'
import type { Clock } from '../io/clock.ts'
import type { MetadataState } from './metadata/state.ts'

/** Directory entries looked at between which others are served. */
const SLICE_ENTRIES = 5000
const PAGE_ENTRIES = 1000

export class TrashSizes {
  readonly #state: MetadataState
  readonly #clock: Clock
  /** Bytes of the trees in the trash, by trash id. */
  #trees = new Map<number, number>()

  constructor(state: MetadataState, clock: Clock) {
    this.#state = state
    this.#clock = clock
  }

  /** Bytes of all files in the trash, once for all replicas. What is purged while it is counted may be in or not. */
  async total(): Promise<number> {
    const trees = new Map<number, number>()
    let total = 0
    for (const { id, inode, type, size } of this.#state.trash(0, Number.MAX_SAFE_INTEGER)) {
      if (type === 'file') {
        total += size
        continue
      }
      const bytes = this.#trees.get(id) ?? (await this.#count(inode))
      trees.set(id, bytes)
      total += bytes
    }
    this.#trees = trees
    return total
  }

  async #count(top: InodeId): Promise<number> {
    const state = this.#state
    let bytes = 0
    let looked = 0
    const directories: InodeId[] = [top]
    for (let at = directories.pop(); at !== undefined; at = directories.pop()) {
      let after: string | undefined
      for (;;) {
        const entries = state.list(at, after, PAGE_ENTRIES)
        for (const { inode } of entries) {
          const row = state.inodes.row(inode)
          if (state.inodes.isDirectory(row)) directories.push(inode)
          else bytes += state.inodes.size(row)
        }
        looked += entries.length
        if (looked >= SLICE_ENTRIES) {
          looked = 0
          await new Promise<void>((resolve) => this.#clock.defer(resolve))
        }
        if (entries.length < PAGE_ENTRIES) break
        after = entries.at(-1)?.name
      }
    }
    return bytes
  }
}
