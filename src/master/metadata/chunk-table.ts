// Chunks: seven words each, and a few objects for those that are open or lent to a writer.
//
//   word 0   length (27 bits) | flags << 27      4   high 16 bits of D | version << 16
//        1   digest                              5   allocation index, low 32 bits
//        2   references                          6   its high 16 bits | goal << 16 | 11 bits kept for the layout
//        3   low 32 bits of D
//
//   D = live bytes while there are references; then the cluster time since when there are none
//
// Invariants:
//   - `references` is the number of extents of all inodes that name the chunk, `liveBytes` the sum of their lengths
//   - a chunk leaves the table only sealed, without references and without an owner
//   - a file has at most one tail, which is open, shared and without an owner
//   - a chunk that waits for the end of its retention is in `due` under (unreferencedSinceMs, handle), one that waits only
//     for readers of moved bytes in `dueMoved`
//
// Source: GFS §2.6.1, §4.4; the seal is that of DESIGN §2.

import { assert } from '../../base/assert.ts'
import type { ChunkHandle, InodeId, SessionId } from '../../base/ids.ts'
import { counterOf, lineageOf } from '../../base/ids.ts'
import type { Member } from '../operations.ts'
import { DueHeap } from './due-heap.ts'
import { IdIndex } from './id-index.ts'
import { IdMap } from './id-map.ts'
import { WordTable } from './word-table.ts'

const OPEN = 1
const SHARED = 2
/** Retained when the last reference goes: a file with a name has held it. */
const RETAIN = 4
/** Bytes of it were moved to another chunk: kept a little when the last reference goes, for readers on their way. */
const MOVED = 8
/** All that are known: a checkpoint with others is of a later version. */
export const CHUNK_FLAGS_MAX = 15
const LOW_27 = 2 ** 27 - 1

/** Versions of a chunk at most: `raiseVersion` beyond is LIMIT_EXCEEDED. */
export const CHUNK_VERSION_MAX = 65_535

/** Who may seal a chunk and name its bytes: the session that allocated it, for one inode, until the file is closed. */
export interface ChunkOwner {
  readonly session: SessionId
  readonly inode: InodeId
  /** The file was closed before the chunk was sealed: the seal ends the ownership. */
  closed: boolean
}

/** A chunk as others see it. */
export interface ChunkFacts {
  readonly handle: ChunkHandle
  readonly version: number
  readonly state: 'open' | 'sealed'
  readonly shared: boolean
  /** Logged length; 0 while open. */
  readonly length: number
  readonly digest: number
  readonly indexDigest: number
  readonly goal: number
  readonly references: number
  readonly liveBytes: number
  /** The session whose writer holds it; 0 for none. */
  readonly owner: SessionId | 0
  /** The file it was allocated for, while it is owned, or whose open tail it is; else 0. */
  readonly inode: InodeId | 0
  /** Log index of the record that allocated it. */
  readonly allocationIndex: number
  /** Cluster time since when no file names it; 0 while one does or none ever did. */
  readonly unreferencedSinceMs: number
}

/**
 * How a reference goes: by a change of a named file, with a file that never had a name, with purged trash, or because its
 * bytes lie in another chunk now.
 */
export type DropReason = 'edited' | 'abandoned' | 'purged' | 'moved'

export class ChunkTable {
  readonly index = new IdIndex()
  readonly #rows = new WordTable(7, 10)
  readonly indexDigests = new Map<ChunkHandle, number>()
  readonly members = new IdMap<ChunkHandle, readonly Member[]>()
  readonly owners = new IdMap<ChunkHandle, ChunkOwner>()
  /** The open chunk at the end of a file, by the file; `tailFiles` is the same by the chunk (tails.ts). */
  readonly tails = new Map<InodeId, ChunkHandle>()
  readonly tailFiles = new Map<ChunkHandle, InodeId>()
  readonly due = new DueHeap()
  readonly dueMoved = new DueHeap()
  /** Of open chunks, the highest end of an extent that this process saw name it: cache, not state. */
  readonly #namedEnds = new IdMap<ChunkHandle, number>()
  #liveBytes = 0

  get count(): number {
    return this.index.size
  }

  /** Bytes that extents name, each as often as it is named. */
  get liveBytesTotal(): number {
    return this.#liveBytes
  }

  get bytes(): number {
    return this.#rows.bytes
  }

  row(handle: ChunkHandle): number {
    return this.index.get(handle)
  }

  /** A new open chunk, version 1. */
  allocate(
    handle: ChunkHandle,
    members: readonly Member[],
    goal: number,
    isShared: boolean,
    allocationIndex: number,
    owner: ChunkOwner | undefined,
  ): number {
    assert(counterOf(handle) > 0 && lineageOf(handle) >= 0, 'no handle')
    const row = this.#rows.allocate()
    this.index.add(handle, row)
    // A shared chunk may hold bytes whose record is still on its way: it has retention even when no file named it yet.
    this.setFlags(row, OPEN | (isShared ? SHARED | RETAIN : 0))
    this.setVersion(row, 1)
    this.setAllocationIndex(row, allocationIndex)
    this.setGoal(row, goal)
    this.members.set(handle, members)
    if (owner !== undefined) this.owners.set(handle, owner)
    return row
  }

  /** A new chunk that was sealed elsewhere, version 1. */
  addSealed(handle: ChunkHandle, length: number, digest: number, goal: number, allocationIndex: number): void {
    const row = this.#rows.allocate()
    this.index.add(handle, row)
    this.setVersion(row, 1)
    this.setAllocationIndex(row, allocationIndex)
    this.setGoal(row, goal)
    this.setLength(row, length)
    this.setDigest(row, digest)
  }

  /**
   * Puts the chunks of a checkpoint into the empty table, in rows 0, 1, 2, …; the caller sets every field.
   * @param handles  ascending; not kept
   */
  load(handles: Float64Array): void {
    assert(this.count === 0, 'a table that is not empty')
    this.#rows.allocateRows(handles.length)
    this.index.addAscending(handles)
  }

  /** Takes a sealed, unreferenced, unowned chunk out of the table. */
  forget(handle: ChunkHandle, row: number): void {
    assert(!this.isOpen(row) && this.references(row) === 0 && !this.owners.has(handle), 'a chunk in use')
    this.indexDigests.delete(handle)
    this.index.delete(handle)
    this.#rows.release(row)
  }

  /** Closes an open chunk. @returns its members, who are no longer kept here */
  seal(handle: ChunkHandle, row: number, length: number, digest: number, indexDigest: number): readonly Member[] {
    assert(this.isOpen(row), 'a second seal')
    this.setLength(row, length)
    this.setFlags(row, this.flags(row) & ~OPEN)
    this.#rows.set(row, 1, digest)
    if (indexDigest !== 0) this.indexDigests.set(handle, indexDigest)
    const members = this.members.get(handle)
    assert(members !== undefined, 'an open chunk without members')
    this.members.delete(handle)
    this.#namedEnds.delete(handle)
    return members
  }

  isOpen(row: number): boolean {
    return (this.flags(row) & OPEN) !== 0
  }

  isShared(row: number): boolean {
    return (this.flags(row) & SHARED) !== 0
  }

  isRetained(row: number): boolean {
    return (this.flags(row) & RETAIN) !== 0
  }

  /** Whether it stays for a while when the last reference goes. */
  isKept(row: number): boolean {
    return (this.flags(row) & (RETAIN | MOVED)) !== 0
  }

  length(row: number): number {
    return this.#rows.get(row, 0) & LOW_27
  }

  setLength(row: number, length: number): void {
    this.#rows.set(row, 0, (this.#rows.get(row, 0) & ~LOW_27) | length)
  }

  digest(row: number): number {
    return this.#rows.get(row, 1)
  }

  setDigest(row: number, digest: number): void {
    this.#rows.set(row, 1, digest)
  }

  references(row: number): number {
    return this.#rows.get(row, 2)
  }

  setReferences(row: number, references: number): void {
    this.#rows.set(row, 2, references)
  }

  liveBytes(row: number): number {
    return this.references(row) === 0 ? 0 : this.dual(row)
  }

  unreferencedSinceMs(row: number): number {
    return this.references(row) === 0 ? this.dual(row) : 0
  }

  /** Live bytes or unreferencedSinceMs, by whether there are references. */
  dual(row: number): number {
    return this.#rows.get(row, 3) + (this.#rows.get(row, 4) & 0xffff) * 2 ** 32
  }

  setDual(row: number, value: number): void {
    this.#rows.set(row, 3, value)
    this.#rows.set(row, 4, (this.#rows.get(row, 4) & 0xffff0000) | Math.floor(value / 2 ** 32))
  }

  version(row: number): number {
    return this.#rows.get(row, 4) >>> 16
  }

  setVersion(row: number, version: number): void {
    this.#rows.set(row, 4, (this.#rows.get(row, 4) & 0xffff) | (version << 16))
  }

  allocationIndex(row: number): number {
    return this.#rows.get(row, 5) + (this.#rows.get(row, 6) & 0xffff) * 2 ** 32
  }

  setAllocationIndex(row: number, index: number): void {
    this.#rows.set(row, 5, index)
    this.#rows.set(row, 6, (this.#rows.get(row, 6) & 0xffff0000) | Math.floor(index / 2 ** 32))
  }

  goal(row: number): number {
    return (this.#rows.get(row, 6) >>> 16) & 31
  }

  setGoal(row: number, goal: number): void {
    this.#rows.set(row, 6, (this.#rows.get(row, 6) & 0xffff) | (goal << 16))
  }

  flags(row: number): number {
    return this.#rows.get(row, 0) >>> 27
  }

  setFlags(row: number, flags: number): void {
    this.#rows.set(row, 0, (this.#rows.get(row, 0) & LOW_27) | (flags << 27))
  }

  /** Counts `liveBytes` of a loaded row into the total. */
  countLoaded(row: number): void {
    this.#liveBytes += this.liveBytes(row)
  }

  /**
   * Bytes that an open chunk has at least, because files name them: what is named was synced on every member. Copies of
   * a file name the same bytes again, so it is no sum: the highest end seen, or the mean of all extents (their longest
   * has no less), which is all that is known of those of a checkpoint. 0 when none does.
   */
  namedBytes(handle: ChunkHandle): number {
    const row = this.row(handle)
    if (row < 0 || this.references(row) === 0) return 0
    return Math.max(this.#namedEnds.get(handle) ?? 0, Math.ceil(this.liveBytes(row) / this.references(row)))
  }

  /** One more extent names the chunk's bytes up to `end`, `length` of them. */
  addReference(handle: ChunkHandle, row: number, end: number, length: number): void {
    if (this.isOpen(row)) this.#namedEnds.set(handle, Math.max(this.#namedEnds.get(handle) ?? 0, end))
    const references = this.references(row)
    this.setDual(row, references === 0 ? length : this.dual(row) + length)
    this.setReferences(row, references + 1)
    this.#liveBytes += length
  }

  /** One extent of `length` bytes no longer names the chunk. @returns whether it was the last one */
  dropReference(row: number, length: number, reason: DropReason, clusterMs: number): boolean {
    const references = this.references(row) - 1
    const live = this.dual(row) - length
    assert(references >= 0 && live >= 0, 'a reference that was never counted')
    if (reason === 'edited') this.setFlags(row, this.flags(row) | RETAIN)
    if (reason === 'moved') this.setFlags(row, this.flags(row) | MOVED)
    this.setReferences(row, references)
    this.#liveBytes -= length
    if (references > 0) {
      this.setDual(row, live)
      return false
    }
    // What was moved is not deleted: there is nothing to have back.
    if (reason === 'purged' || reason === 'moved') this.setFlags(row, this.flags(row) & ~RETAIN)
    this.setDual(row, this.isKept(row) ? clusterMs : 0)
    return true
  }

  facts(handle: ChunkHandle, row: number): ChunkFacts {
    const owner = this.owners.get(handle)
    return {
      handle,
      version: this.version(row),
      state: this.isOpen(row) ? 'open' : 'sealed',
      shared: this.isShared(row),
      length: this.length(row),
      digest: this.digest(row),
      indexDigest: this.indexDigests.get(handle) ?? 0,
      goal: this.goal(row),
      references: this.references(row),
      liveBytes: this.liveBytes(row),
      owner: owner === undefined ? 0 : owner.session,
      inode: owner?.inode ?? this.tailFiles.get(handle) ?? 0,
      allocationIndex: this.allocationIndex(row),
      unreferencedSinceMs: this.unreferencedSinceMs(row),
    }
  }
}
