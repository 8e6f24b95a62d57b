// The directory entries: a B+tree from (directory, name) to inode, in pages of bytes, ordered by the bytes of the key.
//
//   key     directory as 6 bytes, big-endian, then the name's UTF-8: all entries of a directory lie side by side,
//           ordered by name, and renaming a tree changes one entry
//   page    4096 bytes of a slab:  header | slots → …free… ← heap | prefix
//           a slot is the offset of an entry in the heap; an entry is value (6 bytes), length (1 or 2), rest of the key
//           the prefix, which all keys of the page share, is stored once
//
// This file is the tree: which page is found by which key, how pages are split, joined and linked. What happens within a
// page stands in byte-tree-pages.ts.
//
// Invariants:
//   - slots of a page are in key order; each page but the root has at least one
//   - the prefix of a page is shared by all its keys (so a key that does not share it lies before all or after all)
//   - in an inner page the key of entry i is at most every key below it and above every key below entry i - 1; the
//     first key of an inner page counts as less than everything
//   - leaves are linked in key order
//
// The shape of the tree depends on history, its content does not: checkpoints hold the entries, not the pages.
//
// Source: Bayer & Unterauer, Prefix B-trees (TODS 1977), for prefixes and short separators.

import { assert } from '../../base/assert.ts'
import { checkPages } from './byte-tree-check.ts'
import { COUNT, commonBytes, DEAD, DIRECTORY_BYTES, LEVEL, NEXT, NONE, PAGE, PREVIOUS } from './byte-tree-layout.ts'
import { BytePages } from './byte-tree-pages.ts'

/** A leaf with fewer bytes in use is joined with its neighbour where both fit in one page. */
const SPARSE_BYTES = PAGE / 3

export class ByteTree {
  readonly #pages = new BytePages()
  /** The key of the operation under way: `setKey` writes it. */
  readonly #key = Buffer.alloc(DIRECTORY_BYTES + 1024)
  #keyBytes = 0
  /** Two keys that are compared where a page is cut; of no meaning beyond. */
  readonly #left = Buffer.alloc(PAGE)
  readonly #right = Buffer.alloc(PAGE)
  #root: number
  #rightmost: number
  #size = 0
  #cursorPage = NONE
  #cursorSlot = 0
  readonly #cursorBytes = Buffer.alloc(PAGE)
  /** The directory of the last entry, which the key has too, while nothing but `append` is called; else -1. */
  #appendDirectory = -1
  /** Where the name that `get` did not find would go: NONE once the key or the tree has changed. */
  #missPage = NONE
  #missSlot = 0
  #missDirectory = 0
  #missName = ''

  constructor() {
    this.#root = this.#pages.allocate(0)
    this.#rightmost = this.#root
  }

  /** Entries in the tree. */
  get size(): number {
    return this.#size
  }

  /** Bytes of all slabs. */
  get bytes(): number {
    return this.#pages.bytes
  }

  /** The inode under `name` in `directory`, or 0. */
  get(directory: number, name: string): number {
    this.#setKey(directory, name)
    const page = this.#descend(0, this.#key, this.#keyBytes)
    const slot = this.#pages.search(page, this.#key, this.#keyBytes)
    if (this.#pages.found) return this.#pages.value(page, slot)
    this.#missPage = page
    this.#missSlot = slot
    this.#missDirectory = directory
    this.#missName = name
    return 0
  }

  /** Adds or replaces. @param inode 1 .. 2^48 - 1 */
  set(directory: number, name: string, inode: number): void {
    if (this.#missPage !== NONE && this.#missDirectory === directory && this.#missName === name) {
      // Asked for just now, not found, nothing changed since: the key and its place are known.
      const page = this.#missPage
      this.#missPage = NONE
      if (this.#pages.place(page, this.#missSlot, this.#key, this.#keyBytes, inode)) this.#size++
      else this.#insert(0, this.#key, this.#keyBytes, inode)
      return
    }
    this.#setKey(directory, name)
    this.#missPage = NONE
    this.#insert(0, this.#key, this.#keyBytes, inode)
  }

  /**
   * Adds an entry whose key is above all others (loading a checkpoint); its name is bytes `from` .. `to` - 1 of `name`.
   * @returns false, with nothing changed, when it is not above
   */
  append(directory: number, name: Uint8Array, from: number, to: number, inode: number): boolean {
    if (directory === this.#appendDirectory) {
      const done = this.#pages.append(this.#rightmost, this.#key, name, from, to, inode)
      if (done) this.#size++
      if (done !== undefined) return done
    }
    this.#appendDirectory = -1
    this.#setParent(directory)
    const key = this.#key
    let end = DIRECTORY_BYTES
    for (let i = from; i < to; i++) key[end++] = name[i]!
    this.#keyBytes = end
    const page = this.#rightmost
    const slot = this.#pages.search(page, key, end)
    if (this.#pages.found || slot !== this.#pages.field(page, COUNT)) return false
    if (this.#pages.place(page, slot, key, end, inode)) this.#size++
    else this.#insert(0, key, end, inode)
    this.#appendDirectory = directory
    return true
  }

  /** Removes an entry. @returns its inode, or 0 when there was none */
  delete(directory: number, name: string): number {
    this.#setKey(directory, name)
    const key = this.#key
    const keyBytes = this.#keyBytes
    const page = this.#descend(0, key, keyBytes)
    const slot = this.#pages.search(page, key, keyBytes)
    if (!this.#pages.found) return 0
    const inode = this.#pages.value(page, slot)
    this.#pages.removeSlot(page, slot)
    this.#size--
    if (this.#pages.field(page, COUNT) === 0) this.#removeEmpty(page, key, keyBytes)
    else if (this.#pages.usedBytes(page) < SPARSE_BYTES) this.#joinWithNext(page, key, keyBytes)
    return inode
  }

  /**
   * Puts the cursor on the first entry of `directory` after the name `after` ('' for its first).
   * @returns whether there is one. A change of the tree ends the cursor.
   */
  seek(directory: number, after: string): boolean {
    this.#setKey(directory, after)
    const page = this.#descend(0, this.#key, this.#keyBytes)
    const slot = this.#pages.search(page, this.#key, this.#keyBytes)
    this.#cursorPage = page
    this.#cursorSlot = this.#pages.found ? slot + 1 : slot
    return this.#settleCursor() && this.cursorDirectory() === directory
  }

  /** Puts the cursor on the very first entry. @returns whether there is one */
  seekFirst(): boolean {
    let page = this.#root
    while (this.#pages.field(page, LEVEL) > 0) page = this.#pages.value(page, 0)
    this.#cursorPage = page
    this.#cursorSlot = 0
    return this.#settleCursor()
  }

  /** Moves the cursor on. @returns whether there is an entry, of whichever directory */
  advance(): boolean {
    this.#cursorSlot++
    return this.#settleCursor()
  }

  /** Whether the cursor stands on an entry. */
  get hasCursor(): boolean {
    return this.#cursorPage !== NONE
  }

  cursorDirectory(): number {
    const [bytes, length] = this.#cursorKey()
    assert(length > DIRECTORY_BYTES, 'an entry without a name')
    return bytes.readUIntBE(0, DIRECTORY_BYTES)
  }

  cursorName(): string {
    const [bytes, length] = this.#cursorKey()
    return bytes.toString('utf8', DIRECTORY_BYTES, length)
  }

  /** Copies the bytes of the name. @returns how many */
  copyCursorName(to: Buffer, at: number): number {
    const length = this.#pages.copyKey(this.#cursorPage, this.#cursorSlot, this.#cursorBytes)
    for (let i = DIRECTORY_BYTES; i < length; i++) to[at + i - DIRECTORY_BYTES] = this.#cursorBytes[i]!
    return length - DIRECTORY_BYTES
  }

  cursorInode(): number {
    return this.#pages.value(this.#cursorPage, this.#cursorSlot)
  }

  #cursorKey(): [Buffer, number] {
    return [this.#cursorBytes, this.#pages.copyKey(this.#cursorPage, this.#cursorSlot, this.#cursorBytes)]
  }

  /** Past the last entry of a leaf the cursor goes on in the next one. */
  #settleCursor(): boolean {
    const pages = this.#pages
    let page = this.#cursorPage
    if (page === NONE) return false
    if (this.#cursorSlot < pages.field(page, COUNT)) return true
    do page = pages.link(page, NEXT)
    while (page !== NONE && pages.field(page, COUNT) === 0)
    this.#cursorPage = page
    this.#cursorSlot = 0
    return page !== NONE
  }

  #setParent(directory: number): void {
    this.#missPage = NONE
    const key = this.#key
    const high = Math.floor(directory / 2 ** 32)
    const low = directory >>> 0
    key[0] = high >>> 8
    key[1] = high
    key[2] = low >>> 24
    key[3] = low >>> 16
    key[4] = low >>> 8
    key[5] = low
  }

  #setKey(directory: number, name: string): void {
    this.#appendDirectory = -1
    this.#setParent(directory)
    const key = this.#key
    let at = DIRECTORY_BYTES
    for (let i = 0; i < name.length; i++) {
      const unit = name.charCodeAt(i)
      if (unit >= 0x80) {
        at = DIRECTORY_BYTES + key.write(name, DIRECTORY_BYTES, 'utf8')
        break
      }
      key[at++] = unit
    }
    this.#keyBytes = at
  }

  /** The page of `level` that `key` belongs to. */
  #descend(level: number, key: Uint8Array, keyBytes: number): number {
    let page = this.#root
    while (this.#pages.field(page, LEVEL) > level) page = this.#pages.value(page, this.#childSlot(page, key, keyBytes))
    return page
  }

  #childSlot(page: number, key: Uint8Array, keyBytes: number): number {
    const slot = this.#pages.search(page, key, keyBytes)
    return this.#pages.found || slot === 0 ? slot : slot - 1
  }

  // Insertion.

  /** Puts `key` into the page of `level` that it belongs to, splitting pages until it fits. */
  #insert(level: number, key: Uint8Array, keyBytes: number, value: number): void {
    for (;;) {
      const page = this.#descend(level, key, keyBytes)
      const slot = this.#pages.search(page, key, keyBytes)
      if (this.#pages.found) {
        assert(level === 0, 'a separator twice')
        this.#pages.setValue(page, slot, value)
        return
      }
      if (this.#pages.place(page, slot, key, keyBytes, value)) {
        if (level === 0) this.#size++
        return
      }
      this.#split(page, slot, key, keyBytes)
    }
  }

  /** Splits a page in which `key` (for `slot`) does not fit. Either part may stay empty when the key goes there. */
  #split(page: number, slot: number, key: Uint8Array, keyBytes: number): void {
    const level = this.#pages.field(page, LEVEL)
    const count = this.#pages.field(page, COUNT)
    const at = this.#pages.splitSlot(page, slot, key, keyBytes)
    // The keys on both sides of the cut; the new key itself where one side stays empty.
    const left = this.#left
    const right = this.#right
    let leftBytes = keyBytes
    let rightBytes = keyBytes
    if (at === 0) left.set(key.subarray(0, keyBytes))
    else leftBytes = this.#pages.copyKey(page, at - 1, left)
    if (at === count) right.set(key.subarray(0, keyBytes))
    else rightBytes = this.#pages.copyKey(page, at, right)
    // Between leaves the shortest key that tells them apart; between inner pages the key itself.
    const separatorBytes =
      level === 0 ? commonBytes(left, leftBytes, right, rightBytes) + 1 : at === count ? keyBytes : rightBytes
    const separator = Buffer.from(right.subarray(0, separatorBytes))

    const next = this.#pages.allocate(level)
    // Names that come in order leave the full page as it is: nothing moves, and nothing in it is dead.
    if (at < count || this.#pages.field(page, DEAD) > 0) {
      this.#pages.divide(page, at, next)
    }
    this.#linkAfter(page, next)
    if (page === this.#root) {
      const root = this.#pages.allocate(level + 1)
      this.#pages.place(root, 0, separator, 0, page)
      this.#pages.place(root, 1, separator, separatorBytes, next)
      this.#root = root
    } else {
      this.#insert(level + 1, separator, separatorBytes, next)
    }
  }

  #linkAfter(page: number, added: number): void {
    const after = this.#pages.link(page, NEXT)
    this.#pages.setLink(page, NEXT, added)
    this.#pages.setLink(added, PREVIOUS, page)
    this.#pages.setLink(added, NEXT, after)
    if (after !== NONE) this.#pages.setLink(after, PREVIOUS, added)
    if (page === this.#rightmost) this.#rightmost = added
  }

  // Removal.

  /** Takes a page without entries out of the tree, and its parents if they become empty. */
  #removeEmpty(page: number, key: Uint8Array, keyBytes: number): void {
    if (page === this.#root) {
      this.#pages.clear(page, 0)
      return
    }
    const level = this.#pages.field(page, LEVEL)
    const parent = this.#descend(level + 1, key, keyBytes)
    const slot = this.#childSlot(parent, key, keyBytes)
    assert(this.#pages.value(parent, slot) === page, 'a page that its parent does not name')
    this.#unlink(page)
    this.#pages.removeSlot(parent, slot)
    if (this.#pages.field(parent, COUNT) === 0) this.#removeEmpty(parent, key, keyBytes)
    else this.#lowerRoot()
  }

  #unlink(page: number): void {
    const next = this.#pages.link(page, NEXT)
    const previous = this.#pages.link(page, PREVIOUS)
    if (next !== NONE) this.#pages.setLink(next, PREVIOUS, previous)
    if (previous !== NONE) this.#pages.setLink(previous, NEXT, next)
    if (page === this.#rightmost) this.#rightmost = previous
    this.#pages.free(page)
  }

  /** A root with one child is replaced by it. */
  #lowerRoot(): void {
    while (this.#pages.field(this.#root, LEVEL) > 0 && this.#pages.field(this.#root, COUNT) === 1) {
      const child = this.#pages.value(this.#root, 0)
      this.#pages.free(this.#root)
      this.#root = child
    }
  }

  /** Joins a sparse leaf with the next one below the same parent, if both fit in one page. */
  #joinWithNext(page: number, key: Uint8Array, keyBytes: number): void {
    if (page === this.#root) return
    const parent = this.#descend(1, key, keyBytes)
    let slot = this.#childSlot(parent, key, keyBytes)
    if (slot + 1 === this.#pages.field(parent, COUNT)) slot-- // the last child joins the one before
    if (slot < 0) return
    const left = this.#pages.value(parent, slot)
    const right = this.#pages.value(parent, slot + 1)
    if (!this.#pages.join(left, right)) return
    this.#pages.removeSlot(parent, slot + 1)
    this.#unlink(right)
    this.#lowerRoot()
  }

  /** Checks the invariants of the whole tree (tests). Throws AssertionError. */
  check(): void {
    checkPages(this.#pages, this.#root, this.#rightmost, this.#size)
  }
}
