// Compaction: which chunks are mostly dead, which files lie in too many pieces, and what is put together from their live
// bytes (DESIGN §4 "Small files").
//
// Pure. A run is bytes that files want to keep: extents of one file that follow each other. Runs that lie in the same bytes
// of a chunk (snapshots share them) are copied once. Every gathering becomes one sealed chunk, and every run of it one
// conditional switch.

import type { ChunkHandle, InodeId } from '../../base/ids.ts'
import { GATHER_RANGES_MAX, GATHER_SOURCES_MAX, ROWS_PER_RECORD_MAX } from '../../base/limits.ts'
import { KiB } from '../../base/units.ts'
import type { Extent, ExtentSwitch } from '../operations.ts'

/** Less dead space than this is not worth the records; where chunks are small, a sixteenth of a chunk is enough. */
const DEAD_BYTES_MIN = 64 * KiB
/** A file with as many extents is rewritten when they average under FRAGMENT_BYTES. */
const FRAGMENTS_MIN = 4
const FRAGMENT_BYTES = 64 * KiB
/** Extents that one switch replaces at most. */
export const RUN_EXTENTS_MAX = 4000
/** Rows of one record that switches may touch, with those beside each run. */
const SWITCH_ROWS_MAX = ROWS_PER_RECORD_MAX / 2
const ROWS_BESIDE_RUN = 4

/** A sealed chunk without an owner, as the log has it. */
export interface SealedFacts {
  /** Logged length. */
  readonly length: number
  /** Bytes that files name, each as often as it is named. */
  readonly liveBytes: number
}

/** Whether files name less than half of the chunk, and what they don't name is worth moving the rest. */
export function isMostlyDead({ length, liveBytes }: SealedFacts, chunkBytes: number): boolean {
  const least = Math.min(DEAD_BYTES_MIN, chunkBytes / 16)
  return liveBytes > 0 && 2 * liveBytes < length && length - liveBytes >= least
}

/** Whether a file lies in many small pieces. */
export function isFragmented(size: number, extentCount: number): boolean {
  return extentCount >= FRAGMENTS_MIN && size < extentCount * FRAGMENT_BYTES
}

/** Bytes of one file from `fileOffset` on, which lie in `from`, in their order; no holes; at most RUN_EXTENTS_MAX. */
export interface Run {
  readonly inode: InodeId
  readonly fileOffset: number
  readonly from: readonly Extent[]
}

/** One new chunk: its bytes, and the files that are to point to it. */
export interface Gathering {
  /** Wanted replicas. */
  readonly goal: number
  readonly length: number
  readonly ranges: readonly Extent[]
  readonly switches: readonly ExtentSwitch[]
}

/**
 * Puts runs together to chunks of at most `chunkBytes`.
 *
 * @param runs    any order; not changed. Those of one extent are laid out by their old place, longer ones in file order
 * @param goalOf  the wanted replicas of the chunk that takes a run's bytes
 */
export function planGatherings(runs: readonly Run[], goalOf: (run: Run) => number, chunkBytes: number): Gathering[] {
  const byGoal = new Map<number, Run[]>()
  for (const run of runs) {
    const goal = goalOf(run)
    const same = byGoal.get(goal)
    if (same) same.push(run)
    else byGoal.set(goal, [run])
  }
  const gatherings: Gathering[] = []
  for (const [goal, same] of [...byGoal].sort((a, b) => a[0] - b[0])) {
    let builder = new Builder(goal, chunkBytes)
    for (const group of [...sharedGroups(same), ...longRuns(same)]) {
      if (!builder.hasRoomFor(group.ranges)) {
        if (builder.length > 0) gatherings.push(builder.end())
        builder = new Builder(goal, chunkBytes)
      }
      if (builder.hasRoomFor(group.ranges)) builder.add(group)
    }
    if (builder.length > 0) gatherings.push(builder.end())
  }
  return gatherings
}

/** Switches in lists that one record each may carry. */
export function switchBatches(switches: readonly ExtentSwitch[]): ExtentSwitch[][] {
  const batches: ExtentSwitch[][] = []
  let batch: ExtentSwitch[] = []
  let rows = 0
  for (const one of switches) {
    const more = one.from.length + ROWS_BESIDE_RUN
    if (rows + more > SWITCH_ROWS_MAX && batch.length > 0) {
      batches.push(batch)
      batch = []
      rows = 0
    }
    batch.push(one)
    rows += more
  }
  if (batch.length > 0) batches.push(batch)
  return batches
}

/** Bytes to copy one after the other, and where in them runs lie. */
interface Group {
  readonly ranges: readonly Extent[]
  readonly runs: readonly { readonly run: Run; readonly at: number }[]
}

/** Runs of one extent, joined where they share bytes or lie side by side: one range for each stretch of live bytes. */
function sharedGroups(runs: readonly Run[]): Group[] {
  const single = runs.flatMap((run) => (run.from.length === 1 ? [{ run, extent: run.from[0]! }] : []))
  single.sort(
    (a, b) => a.extent.handle - b.extent.handle || a.extent.offset - b.extent.offset || a.run.inode - b.run.inode,
  )
  const groups: { handle: ChunkHandle; offset: number; end: number; runs: { run: Run; at: number }[] }[] = []
  for (const { run, extent } of single) {
    const last = groups.at(-1)
    const end = extent.offset + extent.length
    if (last?.handle === extent.handle && extent.offset <= last.end) {
      last.end = Math.max(last.end, end)
      last.runs.push({ run, at: extent.offset - last.offset })
    } else groups.push({ handle: extent.handle, offset: extent.offset, end, runs: [{ run, at: 0 }] })
  }
  return groups.map(({ handle, offset, end, runs: members }) => ({
    ranges: [{ handle, offset, length: end - offset }],
    runs: members,
  }))
}

function longRuns(runs: readonly Run[]): Group[] {
  const long = runs.filter(({ from }) => from.length > 1)
  long.sort((a, b) => a.inode - b.inode || a.fileOffset - b.fileOffset)
  return long.flatMap(ofFewSources).map((run) => ({ ranges: run.from, runs: [{ run, at: 0 }] }))
}

/** The run in parts that one gathering each may read: with more chunks than that it would never be taken. */
function ofFewSources({ inode, fileOffset, from }: Run): Run[] {
  const parts: Run[] = []
  let sources = new Set<ChunkHandle>()
  let part: Extent[] = []
  let start = fileOffset
  let end = fileOffset
  for (const extent of from) {
    if (sources.size === GATHER_SOURCES_MAX && !sources.has(extent.handle)) {
      parts.push({ inode, fileOffset: start, from: part })
      sources = new Set()
      part = []
      start = end
    }
    sources.add(extent.handle)
    part.push(extent)
    end += extent.length
  }
  parts.push({ inode, fileOffset: start, from: part })
  return parts
}

class Builder {
  length = 0
  readonly #goal: number
  readonly #chunkBytes: number
  readonly #ranges: Extent[] = []
  readonly #switches: ExtentSwitch[] = []
  readonly #sources = new Set<ChunkHandle>()

  constructor(goal: number, chunkBytes: number) {
    this.#goal = goal
    this.#chunkBytes = chunkBytes
  }

  hasRoomFor(ranges: readonly Extent[]): boolean {
    const bytes = ranges.reduce((sum, { length }) => sum + length, 0)
    const sources = new Set(ranges.map(({ handle }) => handle))
    return (
      this.length + bytes <= this.#chunkBytes &&
      this.#ranges.length + ranges.length <= GATHER_RANGES_MAX &&
      this.#sources.size + sources.size <= GATHER_SOURCES_MAX
    )
  }

  add({ ranges, runs }: Group): void {
    const start = this.length
    for (const range of ranges) {
      this.#ranges.push(range)
      this.#sources.add(range.handle)
      this.length += range.length
    }
    for (const { run, at } of runs) this.#switches.push({ ...run, offset: start + at })
  }

  end(): Gathering {
    return { goal: this.#goal, length: this.length, ranges: this.#ranges, switches: this.#switches }
  }
}
