// Inodes: files and directories, ten words each, with a single extent in the row itself.
//
//   word 0   parent, low 32 bits            5   content version, low 32 bits
//        1   mtime, low 32 bits             6   low 32 bits of A
//        2   ctime, low 32 bits             7   high 21 bits of A | flags << 21
//        3   parent high | mtime high << 16 8   B (27 bits) | content version high << 27
//        4   ctime high | profile << 16     9   C (27 bits)
//
//   file without extents   A = B = C = 0
//   file with one extent   A = chunk handle, B = offset in the chunk, C = length
//   file with a list       A = size, B = block of the list, C = number of extents
//   directory              A = number of entries
//
// Invariants:
//   - the extents of a file cover 0 .. size without a gap; none is empty
//   - an inode number is never given twice
//
// Source: GFS §2.6.1 (under 64 bytes a file).

import { assert } from '../../base/assert.ts'
import type { ChunkHandle, InodeId } from '../../base/ids.ts'
import type { Extent } from '../operations.ts'
import { ExtentLists } from './extent-lists.ts'
import { IdIndex } from './id-index.ts'
import { WordTable } from './word-table.ts'

/** Parent of the removed trees. */
export const TRASH_INODE = 2 as InodeId
/** Parent of a tree that a job is still building. */
export const HIDDEN_INODE = 3 as InodeId
/** Parent of a file that has no name yet. */
export const NO_PARENT = 0 as InodeId
/** The first number of an ordinary inode. */
export const FIRST_INODE = 16 as InodeId

const DIRECTORY = 1
const LIST = 2
const ATTRIBUTES = 4
const SHIFT_AT = 3
const SHIFT_MASK = 31
const LOW_27 = 2 ** 27 - 1
const LOW_21 = 2 ** 21 - 1

export class InodeTable {
  readonly index = new IdIndex()
  readonly #rows = new WordTable(10, 10)
  readonly #lists = new ExtentLists()
  #directories = 0

  get count(): number {
    return this.index.size
  }

  get directoryCount(): number {
    return this.#directories
  }

  /** Bytes of all pages. */
  get bytes(): number {
    return this.#rows.bytes + this.#lists.bytes
  }

  /** The row of an inode, or -1. A row is valid until its inode is deleted. */
  row(inode: InodeId): number {
    return this.index.get(inode)
  }

  create(
    inode: InodeId,
    isDirectory: boolean,
    parent: InodeId,
    profile: number,
    mtimeMs: number,
    ctimeMs: number,
  ): number {
    const row = this.#rows.allocate()
    this.index.add(inode, row)
    if (isDirectory) {
      this.#directories++
      this.#setFlags(row, DIRECTORY)
    }
    this.setParent(row, parent)
    this.setMtimeMs(row, mtimeMs)
    this.setCtimeMs(row, ctimeMs)
    this.setProfile(row, profile)
    return row
  }

  /**
   * Puts inodes into the empty table: files without anything, in rows 0, 1, 2, …
   * @param inodes  ascending; not kept
   */
  load(inodes: Float64Array): void {
    assert(this.count === 0, 'a table that is not empty')
    this.#rows.allocateRows(inodes.length)
    this.index.addAscending(inodes)
  }

  /** Makes a directory of a loaded inode. */
  makeDirectory(row: number): void {
    this.#directories++
    this.#setFlags(row, DIRECTORY)
  }

  /** The inode must have neither extents nor entries. */
  delete(inode: InodeId, row: number): void {
    assert(this.isDirectory(row) ? this.entryCount(row) === 0 : this.extentCount(row) === 0, 'an inode in use')
    if (this.isDirectory(row)) this.#directories--
    this.index.delete(inode)
    this.#rows.release(row)
  }

  isDirectory(row: number): boolean {
    return (this.#flags(row) & DIRECTORY) !== 0
  }

  hasAttributes(row: number): boolean {
    return (this.#flags(row) & ATTRIBUTES) !== 0
  }

  setHasAttributes(row: number, has: boolean): void {
    this.#setFlags(row, has ? this.#flags(row) | ATTRIBUTES : this.#flags(row) & ~ATTRIBUTES)
  }

  parent(row: number): InodeId {
    return (this.#rows.get(row, 0) + (this.#rows.get(row, 3) & 0xffff) * 2 ** 32) as InodeId
  }

  setParent(row: number, parent: InodeId): void {
    this.#rows.set(row, 0, parent)
    this.#rows.set(row, 3, (this.#rows.get(row, 3) & 0xffff0000) | Math.floor(parent / 2 ** 32))
  }

  mtimeMs(row: number): number {
    return this.#rows.get(row, 1) + (this.#rows.get(row, 3) >>> 16) * 2 ** 32
  }

  /** @param mtimeMs  0 .. 2^48 - 1 */
  setMtimeMs(row: number, mtimeMs: number): void {
    this.#rows.set(row, 1, mtimeMs)
    this.#rows.set(row, 3, (this.#rows.get(row, 3) & 0xffff) | (Math.floor(mtimeMs / 2 ** 32) << 16))
  }

  ctimeMs(row: number): number {
    return this.#rows.get(row, 2) + (this.#rows.get(row, 4) & 0xffff) * 2 ** 32
  }

  setCtimeMs(row: number, ctimeMs: number): void {
    this.#rows.set(row, 2, ctimeMs)
    this.#rows.set(row, 4, (this.#rows.get(row, 4) & 0xffff0000) | Math.floor(ctimeMs / 2 ** 32))
  }

  profile(row: number): number {
    return this.#rows.get(row, 4) >>> 16
  }

  setProfile(row: number, profile: number): void {
    this.#rows.set(row, 4, (this.#rows.get(row, 4) & 0xffff) | (profile << 16))
  }

  /** Grows by one with each change of a file's bytes; 0 .. 2^37 - 1. */
  contentVersion(row: number): number {
    return this.#rows.get(row, 5) + (this.#rows.get(row, 8) >>> 27) * 2 ** 32
  }

  setContentVersion(row: number, version: number): void {
    this.#rows.set(row, 5, version)
    this.#rows.set(row, 8, (this.#rows.get(row, 8) & LOW_27) | (Math.floor(version / 2 ** 32) << 27))
  }

  entryCount(row: number): number {
    return this.#a(row)
  }

  setEntryCount(row: number, count: number): void {
    this.#setA(row, count)
  }

  // Extents of a file.

  size(row: number): number {
    return this.#isList(row) ? this.#a(row) : this.#c(row)
  }

  extentCount(row: number): number {
    return this.#isList(row) ? this.#c(row) : this.#c(row) === 0 ? 0 : 1
  }

  /** Extent `at` of a file, 0 .. extentCount - 1. */
  extent(row: number, at: number): Extent {
    if (!this.#isList(row)) return { handle: this.#a(row) as ChunkHandle, offset: this.#b(row), length: this.#c(row) }
    this.#locate(row)
    const { values, base } = this.#lists
    const end = at + 1 < this.#c(row) ? values[base + at * 3 + 3]! : this.#a(row)
    const start = values[base + at * 3]!
    return { handle: values[base + at * 3 + 1] as ChunkHandle, offset: values[base + at * 3 + 2]!, length: end - start }
  }

  /** Where extent `at` begins in the file; the size for `at` = extentCount. */
  fileOffset(row: number, at: number): number {
    if (at >= this.extentCount(row)) return this.size(row)
    if (!this.#isList(row)) return 0
    this.#locate(row)
    return this.#lists.values[this.#lists.base + at * 3]!
  }

  /** The extent that holds byte `offset`; extentCount when it lies at or beyond the end. */
  extentAt(row: number, offset: number): number {
    const count = this.extentCount(row)
    if (offset >= this.size(row)) return count
    if (!this.#isList(row)) return 0
    this.#locate(row)
    const { values, base } = this.#lists
    let low = 0
    let high = count - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (values[base + middle * 3]! <= offset) low = middle
      else high = middle - 1
    }
    return low
  }

  /**
   * Puts `added` in place of extents `from` .. `from + removed - 1`. Extents after them must keep their file offsets:
   * either the lengths are equal, or nothing follows.
   */
  replaceExtents(row: number, from: number, removed: number, added: readonly Extent[]): void {
    const count = this.extentCount(row)
    const newCount = count - removed + added.length
    const start = this.fileOffset(row, from)
    let end = start
    for (const extent of added) end += extent.length
    const after = count - from - removed
    assert(after === 0 || end === this.fileOffset(row, from + removed), 'extents that would move')
    const size = after === 0 ? end : this.size(row)
    assert(newCount <= LOW_27, 'too many extents')

    if (newCount === 0) {
      this.#releaseList(row)
      this.#setA(row, 0)
      this.#setB(row, 0)
      this.#setC(row, 0)
      return
    }
    if (newCount === 1) {
      const only = added.length === 1 ? added[0]! : this.extent(row, from === 0 ? count - 1 : 0)
      if (only.handle !== 0) {
        this.#releaseList(row)
        this.setOnlyExtent(row, only.handle, only.offset, only.length)
        return
      }
    }
    const isShorter = added.length < removed
    if (isShorter) this.#locate(row)
    else this.#reserve(row, newCount)
    const { values, base } = this.#lists
    if (added.length !== removed && after > 0) {
      values.copyWithin(base + (from + added.length) * 3, base + (from + removed) * 3, base + count * 3)
    }
    let offset = start
    let at = base + from * 3
    for (const extent of added) {
      values[at++] = offset
      values[at++] = extent.handle
      values[at++] = extent.offset
      offset += extent.length
    }
    this.#setA(row, size)
    this.#setC(row, newCount)
    // A smaller block has no room for what stood behind the removed ones: only now that they have moved up.
    if (isShorter) this.#reserve(row, newCount)
  }

  /** Gives a file without a list its one extent, which is no hole. */
  setOnlyExtent(row: number, handle: ChunkHandle, offset: number, length: number): void {
    this.#setA(row, handle)
    this.#setB(row, offset)
    this.#setC(row, length)
  }

  /** Makes the row a list with room for `count` extents, its present extents kept, and locates it. */
  #reserve(row: number, count: number): void {
    const shift = Math.max(1, Math.ceil(Math.log2(count)))
    const oldCount = this.extentCount(row)
    if (this.#isList(row)) {
      const oldShift = (this.#flags(row) >>> SHIFT_AT) & SHIFT_MASK
      if (shift === oldShift || shift === oldShift - 1) {
        this.#locate(row)
        return
      }
      const oldBlock = this.#b(row)
      const block = this.#lists.allocate(shift)
      this.#lists.locate(oldShift, oldBlock)
      const from = this.#lists.values
      const fromBase = this.#lists.base
      this.#lists.locate(shift, block)
      const kept = Math.min(oldCount, 2 ** shift)
      this.#lists.values.set(from.subarray(fromBase, fromBase + kept * 3), this.#lists.base)
      const { values, base } = this.#lists
      this.#lists.release(oldShift, oldBlock)
      this.#lists.values = values
      this.#lists.base = base
      this.#setB(row, block)
    } else {
      const block = this.#lists.allocate(shift)
      const size = this.size(row)
      this.#lists.locate(shift, block)
      const { values, base } = this.#lists
      values[base] = 0
      values[base + 1] = this.#a(row)
      values[base + 2] = this.#b(row)
      this.#setA(row, size)
      this.#setB(row, block)
      this.#setC(row, oldCount)
    }
    this.#setFlags(row, (this.#flags(row) & ~(SHIFT_MASK << SHIFT_AT)) | LIST | (shift << SHIFT_AT))
  }

  #releaseList(row: number): void {
    if (!this.#isList(row)) return
    this.#lists.release((this.#flags(row) >>> SHIFT_AT) & SHIFT_MASK, this.#b(row))
    this.#setFlags(row, this.#flags(row) & ~(LIST | (SHIFT_MASK << SHIFT_AT)))
    this.#setB(row, 0)
  }

  #locate(row: number): void {
    this.#lists.locate((this.#flags(row) >>> SHIFT_AT) & SHIFT_MASK, this.#b(row))
  }

  #isList(row: number): boolean {
    return (this.#flags(row) & LIST) !== 0
  }

  #flags(row: number): number {
    return this.#rows.get(row, 7) >>> 21
  }

  #setFlags(row: number, flags: number): void {
    this.#rows.set(row, 7, (this.#rows.get(row, 7) & LOW_21) | (flags << 21))
  }

  #a(row: number): number {
    return this.#rows.get(row, 6) + (this.#rows.get(row, 7) & LOW_21) * 2 ** 32
  }

  #setA(row: number, value: number): void {
    this.#rows.set(row, 6, value)
    this.#rows.set(row, 7, (this.#rows.get(row, 7) & ~LOW_21) | Math.floor(value / 2 ** 32))
  }

  #b(row: number): number {
    return this.#rows.get(row, 8) & LOW_27
  }

  #setB(row: number, value: number): void {
    assert(value <= LOW_27, 'out of 27 bits')
    this.#rows.set(row, 8, (this.#rows.get(row, 8) & ~LOW_27) | value)
  }

  #c(row: number): number {
    return this.#rows.get(row, 9) & LOW_27
  }

  #setC(row: number, value: number): void {
    assert(value <= LOW_27, 'out of 27 bits')
    this.#rows.set(row, 9, value)
  }
}
