// What goal each chunk should have: the highest of the files that name it. There is no way back from a chunk to its files,
// so the inodes are gone through.
//
// Both tables are walked a slice at a time, between which requests are served; the state may change meanwhile, and does.
// New files come last in the order of inodes, so that those made during the walk are met as well. The chunks that somebody
// asked about are judged in the very step that meets the last file: an open chunk whose files come by the millisecond would
// never be seen with all its references otherwise.
//
// A chunk that is held by a writer, or of which not every reference was met, is never lowered; what was allocated after the
// scan began is left alone. What slips through (a reference that moved from a file ahead of the scan to one behind it) a
// later scan puts right; what comes after a chunk was judged is noted by `apply` (changes.comingGoals).
//
// Bounds: five bytes a row of the chunk table while a scan lasts; CHANGES_MAX differences a scan.

import type { ChunkHandle, InodeId } from '../base/ids.ts'
import type { MetadataState } from './metadata/state.ts'
import type { GoalChange } from './operations.ts'

const CHANGES_MAX = 100_000
const ROWS_MIN = 1024

export class GoalScan {
  /** Chunks whose goal is another than it should be. */
  readonly found: GoalChange[] = []
  /** The same: what each of them is to have. */
  readonly goals = new Map<ChunkHandle, number>()
  /** Chunks asked about that could not be judged this time. */
  readonly unsettled: ChunkHandle[] = []
  readonly #state: MetadataState
  readonly #asked: ReadonlySet<ChunkHandle>
  readonly #beganIndex: number
  /** By row of the chunk table: the highest goal of the files met, and the references met. */
  #goals = new Uint8Array(ROWS_MIN)
  #references = new Uint32Array(ROWS_MIN)
  #inode = -1
  /** The next extent of that file. */
  #extent = 0
  #hasSeenFiles = false
  #handle = -1

  /** @param asked  chunks that somebody waits for; not changed, and not to be changed while the scan lasts */
  constructor(state: MetadataState, asked: ReadonlySet<ChunkHandle> = new Set()) {
    this.#state = state
    this.#asked = asked
    this.#beganIndex = state.lastIndex
  }

  /** Goes through the next `rows` files and extents, then chunks. @returns whether any are left */
  step(rows: number): boolean {
    if (this.#hasSeenFiles) return this.#compare(rows)
    this.#hasSeenFiles = !this.#collect(rows)
    if (this.#hasSeenFiles) for (const handle of this.#asked) if (!this.#judge(handle)) this.unsettled.push(handle)
    return true
  }

  #collect(rows: number): boolean {
    const { inodes, profiles } = this.#state
    for (let left = rows; left > 0; left--) {
      let row = this.#extent > 0 ? inodes.row(this.#inode as InodeId) : -1
      if (row < 0) {
        this.#inode = inodes.index.next(this.#inode)
        if (this.#inode < 0) return false
        this.#extent = 0
        row = inodes.row(this.#inode as InodeId)
      }
      if (inodes.isDirectory(row)) continue
      const goal = profiles.get(inodes.profile(row)).goal || this.#state.goal
      const count = inodes.extentCount(row)
      const end = Math.min(count, this.#extent + left)
      left -= Math.max(0, end - this.#extent - 1)
      for (let at = this.#extent; at < end; at++) this.#note(inodes.extent(row, at).handle, goal)
      this.#extent = end < count ? end : 0
    }
    return true
  }

  #note(handle: ChunkHandle | 0, goal: number): void {
    if (handle === 0) return
    const row = this.#state.chunks.row(handle)
    if (row >= this.#goals.length) {
      const length = Math.max(row + 1, 2 * this.#goals.length)
      const goals = new Uint8Array(length)
      goals.set(this.#goals)
      this.#goals = goals
      const references = new Uint32Array(length)
      references.set(this.#references)
      this.#references = references
    }
    this.#goals[row] = Math.max(this.#goals[row]!, goal)
    this.#references[row]!++
  }

  #compare(rows: number): boolean {
    const { chunks } = this.#state
    for (let left = rows; left > 0; left--) {
      this.#handle = chunks.index.next(this.#handle)
      if (this.#handle < 0 || this.found.length >= CHANGES_MAX) return false
      const handle = this.#handle as ChunkHandle
      if (!this.#asked.has(handle)) this.#judge(handle)
    }
    return true
  }

  /** @returns whether it is known what goal the chunk should have */
  #judge(handle: ChunkHandle): boolean {
    const { chunks } = this.#state
    const row = chunks.row(handle)
    if (row < 0 || chunks.references(row) === 0) return true
    if (chunks.allocationIndex(row) > this.#beganIndex) return false
    const from = chunks.goal(row)
    const present = from || this.#state.goal
    const to = this.#goals[row] ?? 0
    if (to === present) return true
    // More is wanted by a file that was met, whatever the others want.
    if (to < present && (chunks.owners.has(handle) || chunks.references(row) !== this.#references[row])) return false
    this.found.push({ handle, from, to })
    this.goals.set(handle, to)
    return true
  }
}
