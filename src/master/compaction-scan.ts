// What compaction finds in the metadata: chunks that are mostly dead, the files that still name bytes of them, and files
// that lie in many small pieces. There is no way back from a chunk to its files, so the inodes are gone through.
//
// Both tables are walked a slice at a time, between which requests are served; the state may change meanwhile, and does.
// That is no harm: every switch is conditional, and what was missed is found by a later pass.
//
// Bounds: VICTIMS_MAX chunks and RUNS_MAX runs a pass; CANDIDATES_MAX files are remembered from one pass to the next.

import type { ChunkHandle, InodeId } from '../base/ids.ts'
import type { MetadataState } from './metadata/state.ts'
import type { Extent } from './operations.ts'
import { isFragmented, isMostlyDead, RUN_EXTENTS_MAX, type Run } from './plan/compaction.ts'

/** Chunks that one pass empties, the most dead ones first, with at most so many chunks' worth of live bytes. */
const VICTIMS_MAX = 256
const LIVE_CHUNKS_MAX = 16
const RUNS_MAX = 200_000
const CANDIDATES_MAX = 10_000
/** Extents of fragmented files that one pass rewrites. */
const REWRITE_EXTENTS_MAX = 100_000

export interface Victim {
  readonly handle: ChunkHandle
  readonly length: number
  readonly liveBytes: number
}

/** Looks for chunks that are mostly dead. */
export class VictimScan {
  /** Those found, any order. */
  readonly found: Victim[] = []
  readonly #state: MetadataState
  #at = -1

  constructor(state: MetadataState) {
    this.#state = state
  }

  /** Goes through the next `rows` chunks. @returns whether any are left */
  step(rows: number): boolean {
    const { chunks, chunkBytes } = this.#state
    for (let left = rows; left > 0; left--) {
      this.#at = chunks.index.next(this.#at)
      if (this.#at < 0) return false
      const handle = this.#at as ChunkHandle
      const row = chunks.row(handle)
      if (chunks.isOpen(row) || chunks.references(row) === 0 || chunks.owners.has(handle)) continue
      const facts = { length: chunks.length(row), liveBytes: chunks.liveBytes(row) }
      if (isMostlyDead(facts, chunkBytes)) this.found.push({ handle, ...facts })
    }
    return true
  }
}

/** The most dead of the victims, as many as one pass takes. */
export function chooseVictims(victims: readonly Victim[], chunkBytes: number): Victim[] {
  const chosen: Victim[] = []
  let liveBytes = 0
  for (const victim of [...victims].sort((a, b) => share(a) - share(b) || a.handle - b.handle)) {
    liveBytes += victim.liveBytes
    if (chosen.length > 0 && (chosen.length >= VICTIMS_MAX || liveBytes > LIVE_CHUNKS_MAX * chunkBytes)) break
    chosen.push(victim)
  }
  return chosen
}

function share({ liveBytes, length }: Victim): number {
  return liveBytes / length
}

/** Content versions of fragmented files, as a pass met them: one that has the same a pass later is left alone by writers. */
export type Candidates = ReadonlyMap<InodeId, number>

/** Goes through all files. */
export class FileScan {
  /** Extents in the victims, each a run of its own. */
  readonly victimRuns: Run[] = []
  /** Runs of files that lie in many pieces and have not changed since the pass before. */
  readonly rewriteRuns: Run[] = []
  readonly candidates = new Map<InodeId, number>()
  /** Open shared chunks that keep a file in pieces. */
  readonly openInTheWay = new Set<ChunkHandle>()
  readonly #state: MetadataState
  readonly #victims: ReadonlySet<ChunkHandle>
  readonly #before: Candidates
  #rewriteExtents = 0
  #inode = -1
  /** The next extent of that file. */
  #extent = 0

  /** @param before  the candidates of the last pass */
  constructor(state: MetadataState, victims: ReadonlySet<ChunkHandle>, before: Candidates) {
    this.#state = state
    this.#victims = victims
    this.#before = before
  }

  /** Goes through the next `rows` files or extents. @returns whether any are left */
  step(rows: number): boolean {
    const { inodes } = this.#state
    let left = rows
    while (left > 0) {
      let row = this.#extent > 0 ? inodes.row(this.#inode as InodeId) : -1
      if (row < 0) {
        this.#inode = inodes.index.next(this.#inode)
        if (this.#inode < 0) return false
        this.#extent = 0
        row = inodes.row(this.#inode as InodeId)
        left--
        if (inodes.isDirectory(row)) continue
        this.#considerFragments(row)
      }
      left -= this.#victimsOf(row, left)
    }
    return true
  }

  /** Collects the file's extents in victims, from `#extent` on. @returns extents looked at */
  #victimsOf(row: number, rows: number): number {
    const { inodes } = this.#state
    const count = this.#victims.size === 0 ? 0 : inodes.extentCount(row)
    const end = Math.min(count, this.#extent + Math.max(1, rows))
    const looked = end - this.#extent
    for (let at = this.#extent; at < end; at++) {
      const extent = inodes.extent(row, at)
      if (!this.#victims.has(extent.handle) || this.victimRuns.length >= RUNS_MAX) continue
      this.victimRuns.push({ inode: this.#inode as InodeId, fileOffset: inodes.fileOffset(row, at), from: [extent] })
    }
    this.#extent = end < count ? end : 0
    return Math.max(0, looked)
  }

  #considerFragments(row: number): void {
    const { inodes, holders, chunks } = this.#state
    const inode = this.#inode as InodeId
    const count = inodes.extentCount(row)
    if (!isFragmented(inodes.size(row), count) || holders.has(inode) || chunks.tails.has(inode)) return
    const version = inodes.contentVersion(row)
    if (this.candidates.size < CANDIDATES_MAX) this.candidates.set(inode, version)
    if (this.#before.get(inode) !== version) return
    let from: Extent[] = []
    let fileOffset = 0
    const end = (): void => {
      if (from.length > 1) this.rewriteRuns.push({ inode, fileOffset, from })
      from = []
    }
    let bytes = 0
    for (let at = 0; at < count && this.#rewriteExtents < REWRITE_EXTENTS_MAX; at++) {
      const extent = inodes.extent(row, at)
      if (!this.#isMovable(extent.handle)) {
        end()
        continue
      }
      if (from.length >= RUN_EXTENTS_MAX || bytes + extent.length > this.#state.chunkBytes) end()
      if (from.length === 0) {
        fileOffset = inodes.fileOffset(row, at)
        bytes = 0
      }
      from.push(extent)
      bytes += extent.length
      this.#rewriteExtents++
    }
    end()
  }

  #isMovable(handle: ChunkHandle): boolean {
    if (handle === 0) return false
    const { chunks } = this.#state
    const row = chunks.row(handle)
    if (!chunks.isOpen(row)) return !chunks.owners.has(handle)
    if (chunks.isShared(row) && !chunks.tailFiles.has(handle)) this.openInTheWay.add(handle)
    return false
  }
}
