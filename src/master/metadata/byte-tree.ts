// The directory entries: a B+tree from (directory, name) to inode, in pages of bytes, ordered by the bytes of the key.
//
//   key     directory as 6 bytes, big-endian, then the name's UTF-8: all entries of a directory lie side by side,
//           ordered by name, and renaming a tree changes one entry
//   page    4096 bytes of a slab:  header | slots → …free… ← heap | prefix
//           a slot is the offset of an entry in the heap; an entry is value (6 bytes), length (1 or 2), rest of the key
//           the prefix, which all keys of the page share, is stored once
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
import {
  COUNT,
  commonBytes,
  copyKey,
  DEAD,
  entryBytes,
  HEAP,
  LAST,
  LEVEL,
  NEXT,
  PAGE,
  PREFIX,
  PREVIOUS,
  SLOT,
  SLOTS,
  VALUE_BYTES,
  writeEntry,
  writeValue,
} from './byte-tree-page.ts'

const SLAB_SHIFT = 5
const SLAB_PAGES = 2 ** SLAB_SHIFT
const SLAB_MASK = SLAB_PAGES - 1
const NONE = 0xffffffff
const DIRECTORY_BYTES = 6
/** A leaf with fewer bytes in use is joined with its neighbour where both fit in one page. */
const SPARSE_BYTES = PAGE / 3

export class ByteTree {
  /** The key of the operation under way: `setKey` writes it. */
  readonly #key = Buffer.alloc(DIRECTORY_BYTES + 1024)
  #keyBytes = 0
  readonly #slabs8: Buffer[] = []
  readonly #slabs16: Uint16Array[] = []
  readonly #freePages: number[] = []
  readonly #scratch8 = Buffer.alloc(PAGE)
  readonly #scratch16 = new Uint16Array(this.#scratch8.buffer, this.#scratch8.byteOffset, PAGE / 2)
  #pagesUsed = 0
  #root: number
  #rightmost: number
  #found = false
  #size = 0
  #cursorPage = NONE
  #cursorSlot = 0
  /** The directory of the last entry, which the key has too, while nothing but `append` is called; else -1. */
  #appendDirectory = -1
  /** Where the name that `get` did not find would go: NONE once the key or the tree has changed. */
  #missPage = NONE
  #missSlot = 0
  #missDirectory = 0
  #missName = ''

  constructor() {
    this.#root = this.#allocate(0)
    this.#rightmost = this.#root
  }

  /** Entries in the tree. */
  get size(): number {
    return this.#size
  }

  /** Bytes of all slabs. */
  get bytes(): number {
    return this.#slabs8.length * SLAB_PAGES * PAGE
  }

  /** The inode under `name` in `directory`, or 0. */
  get(directory: number, name: string): number {
    this.#setKey(directory, name)
    const page = this.#descend(0, this.#key, this.#keyBytes)
    const slot = this.#search(page, this.#key, this.#keyBytes)
    if (this.#found) return this.#value(page, slot)
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
      if (this.#place(page, this.#missSlot, this.#key, this.#keyBytes, inode)) this.#size++
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
      const done = this.#appendNext(name, from, to, inode)
      if (done !== undefined) return done
    }
    this.#appendDirectory = -1
    this.#setParent(directory)
    const key = this.#key
    let end = DIRECTORY_BYTES
    for (let i = from; i < to; i++) key[end++] = name[i]!
    this.#keyBytes = end
    const page = this.#rightmost
    const slot = this.#search(page, key, end)
    if (this.#found || slot !== this.#field(page, COUNT)) return false
    if (this.#place(page, slot, key, end, inode)) this.#size++
    else this.#insert(0, key, end, inode)
    this.#appendDirectory = directory
    return true
  }

  /**
   * `append` of a name in the directory of the one before, straight into the last page.
   * @returns undefined, with nothing changed, when that takes more than writing it there
   */
  #appendNext(name: Uint8Array, from: number, to: number, inode: number): boolean | undefined {
    const page = this.#rightmost
    const bytes = this.#slabs8[page >>> SLAB_SHIFT]!
    const words = this.#slabs16[page >>> SLAB_SHIFT]!
    const base = (page & SLAB_MASK) * PAGE
    const header = base / 2
    const count = words[header + COUNT]!
    const prefixBytes = words[header + PREFIX]!
    // What of the name the prefix says: the directory's part is shared with the entry before.
    const start = prefixBytes > DIRECTORY_BYTES ? from + prefixBytes - DIRECTORY_BYTES : from
    if (start > to) return undefined
    const prefix = base + PAGE - prefixBytes + DIRECTORY_BYTES
    for (let i = from; i < start; i++) if (bytes[prefix + i - from] !== name[i]) return undefined
    // The entry before, from the same byte of the name on.
    let other = base + words[header + SLOT + count - 1]! + VALUE_BYTES
    let otherRest = bytes[other++]!
    if (otherRest === 255) otherRest += bytes[other++]!
    const otherEnd = other + otherRest
    if (prefixBytes < DIRECTORY_BYTES) other += DIRECTORY_BYTES - prefixBytes
    let at = start
    while (at < to && other < otherEnd && name[at] === bytes[other]) {
      at++
      other++
    }
    if (at === to || (other < otherEnd && name[at]! < bytes[other]!)) return false

    const rest = DIRECTORY_BYTES + to - from - prefixBytes
    const needed = entryBytes(rest)
    const entry = words[header + HEAP]! - needed
    if (entry < SLOTS + (count + 1) * 2) return undefined
    writeValue(bytes, base + entry, inode)
    let write = base + entry + VALUE_BYTES
    bytes[write++] = rest < 255 ? rest : 255
    if (rest >= 255) bytes[write++] = rest - 255
    for (let i = prefixBytes; i < DIRECTORY_BYTES; i++) bytes[write++] = this.#key[i]!
    for (let i = start; i < to; i++) bytes[write++] = name[i]!
    words[header + HEAP] = entry
    words[header + SLOT + count] = entry
    words[header + COUNT] = count + 1
    words[header + LAST] = count
    this.#size++
    return true
  }

  /** Removes an entry. @returns its inode, or 0 when there was none */
  delete(directory: number, name: string): number {
    this.#setKey(directory, name)
    const key = this.#key
    const keyBytes = this.#keyBytes
    const page = this.#descend(0, key, keyBytes)
    const slot = this.#search(page, key, keyBytes)
    if (!this.#found) return 0
    const inode = this.#value(page, slot)
    this.#removeSlot(page, slot)
    this.#size--
    if (this.#field(page, COUNT) === 0) this.#removeEmpty(page, key, keyBytes)
    else if (this.#usedBytes(page) < SPARSE_BYTES) this.#joinWithNext(page, key, keyBytes)
    return inode
  }

  /**
   * Puts the cursor on the first entry of `directory` after the name `after` ('' for its first).
   * @returns whether there is one. A change of the tree ends the cursor.
   */
  seek(directory: number, after: string): boolean {
    this.#setKey(directory, after)
    const page = this.#descend(0, this.#key, this.#keyBytes)
    const slot = this.#search(page, this.#key, this.#keyBytes)
    this.#cursorPage = page
    this.#cursorSlot = this.#found ? slot + 1 : slot
    return this.#settleCursor() && this.cursorDirectory() === directory
  }

  /** Puts the cursor on the very first entry. @returns whether there is one */
  seekFirst(): boolean {
    let page = this.#root
    while (this.#field(page, LEVEL) > 0) page = this.#value(page, 0)
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
    const length = this.#copyKey(this.#cursorPage, this.#cursorSlot, this.#cursorBytes)
    for (let i = DIRECTORY_BYTES; i < length; i++) to[at + i - DIRECTORY_BYTES] = this.#cursorBytes[i]!
    return length - DIRECTORY_BYTES
  }

  cursorInode(): number {
    return this.#value(this.#cursorPage, this.#cursorSlot)
  }

  readonly #cursorBytes = Buffer.alloc(PAGE)

  #cursorKey(): [Buffer, number] {
    return [this.#cursorBytes, this.#copyKey(this.#cursorPage, this.#cursorSlot, this.#cursorBytes)]
  }

  #settleCursor(): boolean {
    while (this.#cursorPage !== NONE && this.#cursorSlot >= this.#field(this.#cursorPage, COUNT)) {
      this.#cursorPage = this.#link(this.#cursorPage, NEXT)
      this.#cursorSlot = 0
    }
    return this.#cursorPage !== NONE
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

  // Pages.

  #allocate(level: number): number {
    let page = this.#freePages.pop()
    if (page === undefined) {
      page = this.#pagesUsed++
      if ((page & SLAB_MASK) === 0) {
        const slab = new ArrayBuffer(SLAB_PAGES * PAGE)
        this.#slabs8.push(Buffer.from(slab))
        this.#slabs16.push(new Uint16Array(slab))
      }
    }
    this.#clear(page, level)
    this.#setLink(page, NEXT, NONE)
    this.#setLink(page, PREVIOUS, NONE)
    return page
  }

  /** Makes a page empty; its links stay. */
  #clear(page: number, level: number): void {
    this.#setField(page, COUNT, 0)
    this.#setField(page, LEVEL, level)
    this.#setField(page, HEAP, PAGE)
    this.#setField(page, DEAD, 0)
    this.#setField(page, PREFIX, 0)
    this.#setField(page, LAST, 0xffff)
  }

  #field(page: number, field: number): number {
    return this.#slabs16[page >>> SLAB_SHIFT]![(page & SLAB_MASK) * (PAGE / 2) + field]!
  }

  #setField(page: number, field: number, value: number): void {
    this.#slabs16[page >>> SLAB_SHIFT]![(page & SLAB_MASK) * (PAGE / 2) + field] = value
  }

  #link(page: number, field: number): number {
    return this.#field(page, field) + this.#field(page, field + 1) * 2 ** 16
  }

  #setLink(page: number, field: number, to: number): void {
    this.#setField(page, field, to & 0xffff)
    this.#setField(page, field + 1, Math.floor(to / 2 ** 16))
  }

  #value(page: number, slot: number): number {
    const bytes = this.#slabs8[page >>> SLAB_SHIFT]!
    const at = (page & SLAB_MASK) * PAGE + this.#field(page, SLOT + slot)
    return (
      bytes[at]! +
      bytes[at + 1]! * 2 ** 8 +
      bytes[at + 2]! * 2 ** 16 +
      bytes[at + 3]! * 2 ** 24 +
      bytes[at + 4]! * 2 ** 32 +
      bytes[at + 5]! * 2 ** 40
    )
  }

  /** The page of `level` that `key` belongs to. */
  #descend(level: number, key: Uint8Array, keyBytes: number): number {
    let page = this.#root
    while (this.#field(page, LEVEL) > level) page = this.#value(page, this.#childSlot(page, key, keyBytes))
    return page
  }

  #childSlot(page: number, key: Uint8Array, keyBytes: number): number {
    const slot = this.#search(page, key, keyBytes)
    return this.#found || slot === 0 ? slot : slot - 1
  }

  /** The slot of `key` (then `#found`), or where it would go. */
  #search(page: number, key: Uint8Array, keyBytes: number): number {
    const words = this.#slabs16[page >>> SLAB_SHIFT]!
    const bytes = this.#slabs8[page >>> SLAB_SHIFT]!
    const base = (page & SLAB_MASK) * PAGE
    const header = base / 2
    const count = words[header + COUNT]!
    const prefixBytes = words[header + PREFIX]!
    this.#found = false
    if (count === 0) return 0
    const prefix = base + PAGE - prefixBytes
    const shared = prefixBytes < keyBytes ? prefixBytes : keyBytes
    for (let i = 0; i < shared; i++) {
      const difference = key[i]! - bytes[prefix + i]!
      if (difference !== 0) return difference < 0 ? 0 : count
    }
    if (keyBytes < prefixBytes) return 0
    let low = 0
    let high = count
    while (low < high) {
      const middle = (low + high) >>> 1
      let at = base + words[header + SLOT + middle]! + VALUE_BYTES
      let rest = bytes[at++]!
      if (rest === 255) rest += bytes[at++]!
      const keyRest = keyBytes - prefixBytes
      const common = rest < keyRest ? rest : keyRest
      let difference = 0
      for (let i = 0; i < common; i++) {
        difference = bytes[at + i]! - key[prefixBytes + i]!
        if (difference !== 0) break
      }
      if (difference === 0) difference = rest - keyRest
      if (difference === 0) {
        this.#found = true
        return middle
      }
      if (difference < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Copies the whole key of an entry. @returns its bytes */
  #copyKey(page: number, slot: number, to: Buffer): number {
    const slab = page >>> SLAB_SHIFT
    return copyKey(this.#slabs8[slab]!, this.#slabs16[slab]!, (page & SLAB_MASK) * PAGE, slot, to)
  }

  /** Bytes that the page's content needs. */
  #usedBytes(page: number): number {
    return SLOTS + this.#field(page, COUNT) * 2 + (PAGE - this.#field(page, HEAP)) - this.#field(page, DEAD)
  }

  // Insertion.

  /** Puts `key` into the page of `level` that it belongs to, splitting pages until it fits. */
  #insert(level: number, key: Uint8Array, keyBytes: number, value: number): void {
    for (;;) {
      const page = this.#descend(level, key, keyBytes)
      const slot = this.#search(page, key, keyBytes)
      if (this.#found) {
        assert(level === 0, 'a separator twice')
        this.#setValue(page, slot, value)
        return
      }
      if (this.#place(page, slot, key, keyBytes, value)) {
        if (level === 0) this.#size++
        return
      }
      this.#split(page, slot, key, keyBytes)
    }
  }

  #setValue(page: number, slot: number, value: number): void {
    const at = (page & SLAB_MASK) * PAGE + this.#field(page, SLOT + slot)
    this.#slabs8[page >>> SLAB_SHIFT]!.writeUIntLE(value, at, VALUE_BYTES)
  }

  /** Puts an entry at a slot of this page. @returns false when it does not fit */
  #place(page: number, slot: number, key: Uint8Array, keyBytes: number, value: number): boolean {
    const bytes = this.#slabs8[page >>> SLAB_SHIFT]!
    const words = this.#slabs16[page >>> SLAB_SHIFT]!
    const base = (page & SLAB_MASK) * PAGE
    const header = base / 2
    const count = words[header + COUNT]!
    if (count === 0) {
      // The first key is all prefix; the next ones shorten it to what is shared.
      words[header + PREFIX] = keyBytes
      words[header + HEAP] = PAGE - keyBytes
      words[header + DEAD] = 0
      for (let i = 0; i < keyBytes; i++) bytes[base + PAGE - keyBytes + i] = key[i]!
    }
    let prefixBytes = words[header + PREFIX]!
    let shared = 0
    const prefix = base + PAGE - prefixBytes
    while (shared < prefixBytes && shared < keyBytes && bytes[prefix + shared] === key[shared]) shared++
    if (shared < prefixBytes) {
      const grown = this.#usedBytes(page) + (count - 1) * (prefixBytes - shared) + count // a length may grow to 2 bytes
      if (grown + entryBytes(keyBytes - shared) + 2 > PAGE) return false
      this.#repack(page, shared)
      prefixBytes = shared
    }
    const needed = entryBytes(keyBytes - prefixBytes)
    if (this.#usedBytes(page) + needed + 2 > PAGE) return false
    if (words[header + HEAP]! - (SLOTS + count * 2) < needed + 2) this.#repack(page, prefixBytes)
    const at = words[header + HEAP]! - needed
    words[header + HEAP] = at
    writeEntry(bytes, base + at, value, key, prefixBytes, keyBytes)
    words.copyWithin(header + SLOT + slot + 1, header + SLOT + slot, header + SLOT + count)
    words[header + SLOT + slot] = at
    words[header + COUNT] = count + 1
    words[header + LAST] = slot
    return true
  }

  /** Writes the page anew without dead bytes, with the first `prefixBytes` of its keys as the prefix. */
  #repack(page: number, prefixBytes: number): void {
    this.#toScratch(page)
    const count = this.#scratch16[COUNT]!
    const last = this.#scratch16[LAST]!
    this.#clear(page, this.#scratch16[LEVEL]!)
    this.#fill(page, 0, count, prefixBytes)
    this.#setField(page, LAST, last)
  }

  #toScratch(page: number): void {
    const base = (page & SLAB_MASK) * PAGE
    this.#slabs8[page >>> SLAB_SHIFT]!.copy(this.#scratch8, 0, base, base + PAGE)
  }

  readonly #moved = Buffer.alloc(PAGE)
  /** Two keys that are compared where a page is cut or joined; of no meaning beyond. */
  readonly #left = Buffer.alloc(PAGE)
  readonly #right = Buffer.alloc(PAGE)

  /** Appends entries `from` .. `to - 1` of the scratch page to `page`, which is empty or has this very prefix. */
  #fill(page: number, from: number, to: number, prefixBytes: number): void {
    const bytes = this.#slabs8[page >>> SLAB_SHIFT]!
    const words = this.#slabs16[page >>> SLAB_SHIFT]!
    const base = (page & SLAB_MASK) * PAGE
    const header = base / 2
    const moved = this.#moved
    for (let i = from; i < to; i++) {
      const keyBytes = copyKey(this.#scratch8, this.#scratch16, 0, i, moved)
      const count = words[header + COUNT]!
      if (count === 0) {
        words[header + PREFIX] = prefixBytes
        words[header + HEAP] = PAGE - prefixBytes
        moved.copy(bytes, base + PAGE - prefixBytes, 0, prefixBytes)
      }
      const at = words[header + HEAP]! - entryBytes(keyBytes - prefixBytes)
      assert(at >= SLOTS + (count + 1) * 2, 'a page overflows')
      words[header + HEAP] = at
      const value = this.#scratch8.readUIntLE(this.#scratch16[SLOT + i]!, VALUE_BYTES)
      writeEntry(bytes, base + at, value, moved, prefixBytes, keyBytes)
      words[header + SLOT + count] = at
      words[header + COUNT] = count + 1
    }
  }

  /** Splits a page in which `key` (for `slot`) does not fit. Either part may stay empty when the key goes there. */
  #split(page: number, slot: number, key: Uint8Array, keyBytes: number): void {
    const level = this.#field(page, LEVEL)
    const count = this.#field(page, COUNT)
    const at = this.#splitSlot(page, slot, key, keyBytes)
    // The keys on both sides of the cut; the new key itself where one side stays empty.
    const left = this.#left
    const right = this.#right
    let leftBytes = keyBytes
    let rightBytes = keyBytes
    if (at === 0) left.set(key.subarray(0, keyBytes))
    else leftBytes = this.#copyKey(page, at - 1, left)
    if (at === count) right.set(key.subarray(0, keyBytes))
    else rightBytes = this.#copyKey(page, at, right)
    // Between leaves the shortest key that tells them apart; between inner pages the key itself.
    const separatorBytes =
      level === 0 ? commonBytes(left, leftBytes, right, rightBytes) + 1 : at === count ? keyBytes : rightBytes
    const separator = Buffer.from(right.subarray(0, separatorBytes))

    const next = this.#allocate(level)
    // Names that come in order leave the full page as it is: nothing moves, and nothing in it is dead.
    if (at < count || this.#field(page, DEAD) > 0) {
      this.#toScratch(page)
      this.#clear(page, level)
      this.#refill(page, 0, at)
      this.#refill(next, at, count)
    }
    this.#linkAfter(page, next)
    if (page === this.#root) {
      const root = this.#allocate(level + 1)
      this.#place(root, 0, separator, 0, page)
      this.#place(root, 1, separator, separatorBytes, next)
      this.#root = root
    } else {
      this.#insert(level + 1, separator, separatorBytes, next)
    }
  }

  /** Fills an empty page with a range of the scratch page, under the longest prefix of that range. */
  #refill(page: number, from: number, to: number): void {
    if (from >= to) return
    const first = this.#left
    const last = this.#right
    const firstBytes = copyKey(this.#scratch8, this.#scratch16, 0, from, first)
    const lastBytes = copyKey(this.#scratch8, this.#scratch16, 0, to - 1, last)
    this.#fill(page, from, to, commonBytes(first, firstBytes, last, lastBytes))
  }

  /** Where to cut: at the new key when keys arrive in order (so pages stay full), else in the middle by bytes. */
  #splitSlot(page: number, slot: number, key: Uint8Array, keyBytes: number): number {
    const count = this.#field(page, COUNT)
    const level = this.#field(page, LEVEL)
    if (level === 0) {
      const inOrder = slot > 0 && this.#field(page, LAST) === slot - 1
      if (inOrder || !this.#sharesPrefix(page, key, keyBytes)) return slot
    }
    let bytes = 0
    const half = this.#usedBytes(page) / 2
    const sizes = this.#slabs8[page >>> SLAB_SHIFT]!
    const base = (page & SLAB_MASK) * PAGE
    for (let i = 0; i < count; i++) {
      const at = base + this.#field(page, SLOT + i) + VALUE_BYTES
      bytes += entryBytes(sizes[at] === 255 ? 255 + sizes[at + 1]! : sizes[at]!) + 2
      if (bytes >= half) return Math.max(1, Math.min(count - 1, i + 1))
    }
    return Math.max(1, count - 1)
  }

  #sharesPrefix(page: number, key: Uint8Array, keyBytes: number): boolean {
    const prefixBytes = this.#field(page, PREFIX)
    if (keyBytes < prefixBytes) return false
    const bytes = this.#slabs8[page >>> SLAB_SHIFT]!
    const prefix = (page & SLAB_MASK) * PAGE + PAGE - prefixBytes
    for (let i = 0; i < prefixBytes; i++) if (bytes[prefix + i] !== key[i]) return false
    return true
  }

  #linkAfter(page: number, added: number): void {
    const after = this.#link(page, NEXT)
    this.#setLink(page, NEXT, added)
    this.#setLink(added, PREVIOUS, page)
    this.#setLink(added, NEXT, after)
    if (after !== NONE) this.#setLink(after, PREVIOUS, added)
    if (page === this.#rightmost) this.#rightmost = added
  }

  // Removal.

  #removeSlot(page: number, slot: number): void {
    const slab = page >>> SLAB_SHIFT
    const bytes = this.#slabs8[slab]!
    const words = this.#slabs16[slab]!
    const base = (page & SLAB_MASK) * PAGE
    const header = base / 2
    const count = words[header + COUNT]!
    const at = base + words[header + SLOT + slot]! + VALUE_BYTES
    const rest = bytes[at] === 255 ? 255 + bytes[at + 1]! : bytes[at]!
    words[header + DEAD] = words[header + DEAD]! + entryBytes(rest)
    words.copyWithin(header + SLOT + slot, header + SLOT + slot + 1, header + SLOT + count)
    words[header + COUNT] = count - 1
    words[header + LAST] = 0xffff
  }

  /** Takes a page without entries out of the tree, and its parents if they become empty. */
  #removeEmpty(page: number, key: Uint8Array, keyBytes: number): void {
    if (page === this.#root) {
      this.#clear(page, 0)
      return
    }
    const level = this.#field(page, LEVEL)
    const parent = this.#descend(level + 1, key, keyBytes)
    const slot = this.#childSlot(parent, key, keyBytes)
    assert(this.#value(parent, slot) === page, 'a page that its parent does not name')
    this.#unlink(page)
    this.#removeSlot(parent, slot)
    if (this.#field(parent, COUNT) === 0) this.#removeEmpty(parent, key, keyBytes)
    else this.#lowerRoot()
  }

  #unlink(page: number): void {
    const next = this.#link(page, NEXT)
    const previous = this.#link(page, PREVIOUS)
    if (next !== NONE) this.#setLink(next, PREVIOUS, previous)
    if (previous !== NONE) this.#setLink(previous, NEXT, next)
    if (page === this.#rightmost) this.#rightmost = previous
    this.#freePages.push(page)
  }

  /** A root with one child is replaced by it. */
  #lowerRoot(): void {
    while (this.#field(this.#root, LEVEL) > 0 && this.#field(this.#root, COUNT) === 1) {
      const child = this.#value(this.#root, 0)
      this.#freePages.push(this.#root)
      this.#root = child
    }
  }

  /** Joins a sparse leaf with the next one below the same parent, if both fit in one page. */
  #joinWithNext(page: number, key: Uint8Array, keyBytes: number): void {
    if (page === this.#root) return
    const parent = this.#descend(1, key, keyBytes)
    let slot = this.#childSlot(parent, key, keyBytes)
    if (slot + 1 === this.#field(parent, COUNT)) slot-- // the last child joins the one before
    if (slot < 0) return
    const left = this.#value(parent, slot)
    const right = this.#value(parent, slot + 1)
    const first = this.#left
    const last = this.#right
    const firstBytes = this.#copyKey(left, 0, first)
    const lastBytes = this.#copyKey(right, this.#field(right, COUNT) - 1, last)
    const shared = commonBytes(first, firstBytes, last, lastBytes)
    let bytes = SLOTS + shared
    for (const part of [left, right]) {
      const count = this.#field(part, COUNT)
      bytes += this.#usedBytes(part) - SLOTS + count * (this.#field(part, PREFIX) - shared + 1)
    }
    if (bytes > PAGE * 0.9) return
    this.#repack(left, shared)
    this.#toScratch(right)
    this.#fill(left, 0, this.#scratch16[COUNT]!, shared)
    this.#removeSlot(parent, slot + 1)
    this.#unlink(right)
    this.#lowerRoot()
  }

  /** Checks the invariants of the whole tree (tests). Throws AssertionError. */
  check(): void {
    let entries = 0
    let before: Buffer | undefined
    const key = Buffer.alloc(PAGE)
    const leaves: number[] = []
    const visit = (page: number, level: number, low: Buffer | undefined, high: Buffer | undefined): void => {
      assert(this.#field(page, LEVEL) === level, 'a page on the wrong level')
      const count = this.#field(page, COUNT)
      assert(count > 0 || page === this.#root, 'an empty page')
      if (level === 0) leaves.push(page)
      for (let i = 0; i < count; i++) {
        const own = Buffer.from(key.subarray(0, this.#copyKey(page, i, key)))
        if (level === 0) {
          assert(before === undefined || Buffer.compare(before, own) < 0, 'keys out of order')
          assert(low === undefined || Buffer.compare(low, own) <= 0, 'a key below its separator')
          assert(high === undefined || Buffer.compare(own, high) < 0, 'a key above its separator')
          before = own
          entries++
        } else {
          const end = i + 1 < count ? Buffer.from(key.subarray(0, this.#copyKey(page, i + 1, key))) : high
          visit(this.#value(page, i), level - 1, i === 0 ? low : own, end)
        }
      }
    }
    visit(this.#root, this.#field(this.#root, LEVEL), undefined, undefined)
    assert(entries === this.#size, `the tree has ${entries} entries, counted ${this.#size}`)
    for (let i = 0; i < leaves.length; i++) {
      assert(this.#link(leaves[i]!, NEXT) === (leaves[i + 1] ?? NONE), 'leaves out of order')
      assert(this.#link(leaves[i]!, PREVIOUS) === (leaves[i - 1] ?? NONE), 'leaves out of order')
    }
    assert(leaves[leaves.length - 1] === this.#rightmost, 'the last leaf is not known')
  }
}
