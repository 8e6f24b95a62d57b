// The pages of the tree of entries, in slabs of 32: what is done within one page, or with two neighbours.
//
// Which page is whose child and neighbour is the tree's affair (byte-tree.ts, where the invariants stand, too).
// byte-tree-layout.ts has the offsets within a page.

import { assert } from '../../base/assert.ts'
import {
  COUNT,
  commonBytes,
  copyKey,
  DEAD,
  DIRECTORY_BYTES,
  entryBytes,
  HEAP,
  LAST,
  LEVEL,
  NEXT,
  NONE,
  PAGE,
  PREFIX,
  PREVIOUS,
  SLOT,
  SLOTS,
  VALUE_BYTES,
  writeEntry,
  writeValue,
} from './byte-tree-layout.ts'

const SLAB_SHIFT = 5
const SLAB_PAGES = 2 ** SLAB_SHIFT
const SLAB_MASK = SLAB_PAGES - 1

export class BytePages {
  /** Whether the latest `search` found the very key. */
  found = false
  readonly #slabs8: Buffer[] = []
  readonly #slabs16: Uint16Array[] = []
  readonly #freePages: number[] = []
  #pagesUsed = 0
  /** A page that is being written anew. */
  readonly #scratch8 = Buffer.alloc(PAGE)
  readonly #scratch16 = new Uint16Array(this.#scratch8.buffer, this.#scratch8.byteOffset, PAGE / 2)
  readonly #moved = Buffer.alloc(PAGE)
  /** The first and the last key of what is to share a prefix; of no meaning beyond. */
  readonly #first = Buffer.alloc(PAGE)
  readonly #last = Buffer.alloc(PAGE)

  /** Bytes of all slabs. */
  get bytes(): number {
    return this.#slabs8.length * SLAB_PAGES * PAGE
  }

  /** A page without entries and neighbours. */
  allocate(level: number): number {
    let page = this.#freePages.pop()
    if (page === undefined) {
      page = this.#pagesUsed++
      if ((page & SLAB_MASK) === 0) {
        const slab = new ArrayBuffer(SLAB_PAGES * PAGE)
        this.#slabs8.push(Buffer.from(slab))
        this.#slabs16.push(new Uint16Array(slab))
      }
    }
    this.clear(page, level)
    this.setLink(page, NEXT, NONE)
    this.setLink(page, PREVIOUS, NONE)
    return page
  }

  /** Nothing names the page any more: it may be given out again. */
  free(page: number): void {
    this.#freePages.push(page)
  }

  /** Makes a page empty; its links stay. */
  clear(page: number, level: number): void {
    this.setField(page, COUNT, 0)
    this.setField(page, LEVEL, level)
    this.setField(page, HEAP, PAGE)
    this.setField(page, DEAD, 0)
    this.setField(page, PREFIX, 0)
    this.setField(page, LAST, 0xffff)
  }

  /** A field of the page's header: COUNT, LEVEL, HEAP, DEAD, PREFIX or LAST. */
  field(page: number, field: number): number {
    return this.#slabs16[page >>> SLAB_SHIFT]![(page & SLAB_MASK) * (PAGE / 2) + field]!
  }

  setField(page: number, field: number, value: number): void {
    this.#slabs16[page >>> SLAB_SHIFT]![(page & SLAB_MASK) * (PAGE / 2) + field] = value
  }

  /** The page named under NEXT or PREVIOUS; NONE for none. */
  link(page: number, field: number): number {
    return this.field(page, field) + this.field(page, field + 1) * 2 ** 16
  }

  setLink(page: number, field: number, to: number): void {
    this.setField(page, field, to & 0xffff)
    this.setField(page, field + 1, Math.floor(to / 2 ** 16))
  }

  /** The value of an entry: an inode in a leaf, else a page. */
  value(page: number, slot: number): number {
    const bytes = this.#slabs8[page >>> SLAB_SHIFT]!
    const at = (page & SLAB_MASK) * PAGE + this.field(page, SLOT + slot)
    return (
      bytes[at]! +
      bytes[at + 1]! * 2 ** 8 +
      bytes[at + 2]! * 2 ** 16 +
      bytes[at + 3]! * 2 ** 24 +
      bytes[at + 4]! * 2 ** 32 +
      bytes[at + 5]! * 2 ** 40
    )
  }

  setValue(page: number, slot: number, value: number): void {
    const at = (page & SLAB_MASK) * PAGE + this.field(page, SLOT + slot)
    this.#slabs8[page >>> SLAB_SHIFT]!.writeUIntLE(value, at, VALUE_BYTES)
  }

  /** Copies the whole key of an entry. @returns its bytes */
  copyKey(page: number, slot: number, to: Buffer): number {
    const slab = page >>> SLAB_SHIFT
    return copyKey(this.#slabs8[slab]!, this.#slabs16[slab]!, (page & SLAB_MASK) * PAGE, slot, to)
  }

  /** Bytes that the page's content needs. */
  usedBytes(page: number): number {
    return SLOTS + this.field(page, COUNT) * 2 + (PAGE - this.field(page, HEAP)) - this.field(page, DEAD)
  }

  // Finding and changing entries.

  /** The slot of `key` (then `found`), or where it would go. */
  search(page: number, key: Uint8Array, keyBytes: number): number {
    const words = this.#slabs16[page >>> SLAB_SHIFT]!
    const bytes = this.#slabs8[page >>> SLAB_SHIFT]!
    const base = (page & SLAB_MASK) * PAGE
    const header = base / 2
    const count = words[header + COUNT]!
    const prefixBytes = words[header + PREFIX]!
    this.found = false
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
        this.found = true
        return middle
      }
      if (difference < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Puts an entry at a slot that `search` gave. @returns false when it does not fit: the page has to be split */
  place(page: number, slot: number, key: Uint8Array, keyBytes: number, value: number): boolean {
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
      const grown = this.usedBytes(page) + (count - 1) * (prefixBytes - shared) + count // a length may grow to 2 bytes
      if (grown + entryBytes(keyBytes - shared) + 2 > PAGE) return false
      this.#repack(page, shared)
      prefixBytes = shared
    }
    const needed = entryBytes(keyBytes - prefixBytes)
    if (this.usedBytes(page) + needed + 2 > PAGE) return false
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

  /**
   * Puts bytes `from` .. `to` - 1 of `name` behind the last entry of a leaf, in the directory of that entry, straight into
   * the page (loading a checkpoint).
   *
   * @param directory  a key that begins with that directory
   * @returns false when the name is not above that entry's, undefined when it takes more than writing it there; with both
   *          nothing has changed
   */
  append(
    page: number,
    directory: Uint8Array,
    name: Uint8Array,
    from: number,
    to: number,
    value: number,
  ): boolean | undefined {
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
    writeValue(bytes, base + entry, value)
    let write = base + entry + VALUE_BYTES
    bytes[write++] = rest < 255 ? rest : 255
    if (rest >= 255) bytes[write++] = rest - 255
    for (let i = prefixBytes; i < DIRECTORY_BYTES; i++) bytes[write++] = directory[i]!
    for (let i = start; i < to; i++) bytes[write++] = name[i]!
    words[header + HEAP] = entry
    words[header + SLOT + count] = entry
    words[header + COUNT] = count + 1
    words[header + LAST] = count
    return true
  }

  /** Takes an entry out; its bytes in the heap are dead until the page is written anew. */
  removeSlot(page: number, slot: number): void {
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

  // Pages that are cut, joined or written anew.

  /** Where to cut: at the new key when keys arrive in order (so pages stay full), else in the middle by bytes. */
  splitSlot(page: number, slot: number, key: Uint8Array, keyBytes: number): number {
    const count = this.field(page, COUNT)
    const level = this.field(page, LEVEL)
    if (level === 0) {
      const inOrder = slot > 0 && this.field(page, LAST) === slot - 1
      if (inOrder || !this.#sharesPrefix(page, key, keyBytes)) return slot
    }
    let bytes = 0
    const half = this.usedBytes(page) / 2
    const sizes = this.#slabs8[page >>> SLAB_SHIFT]!
    const base = (page & SLAB_MASK) * PAGE
    for (let i = 0; i < count; i++) {
      const at = base + this.field(page, SLOT + i) + VALUE_BYTES
      bytes += entryBytes(sizes[at] === 255 ? 255 + sizes[at + 1]! : sizes[at]!) + 2
      if (bytes >= half) return Math.max(1, Math.min(count - 1, i + 1))
    }
    return Math.max(1, count - 1)
  }

  #sharesPrefix(page: number, key: Uint8Array, keyBytes: number): boolean {
    const prefixBytes = this.field(page, PREFIX)
    if (keyBytes < prefixBytes) return false
    const bytes = this.#slabs8[page >>> SLAB_SHIFT]!
    const prefix = (page & SLAB_MASK) * PAGE + PAGE - prefixBytes
    for (let i = 0; i < prefixBytes; i++) if (bytes[prefix + i] !== key[i]) return false
    return true
  }

  /** Moves the entries from slot `at` on to `next`, a new page, each part under the longest prefix it has. */
  divide(page: number, at: number, next: number): void {
    const count = this.field(page, COUNT)
    this.#toScratch(page)
    this.clear(page, this.field(page, LEVEL))
    this.#refill(page, 0, at)
    this.#refill(next, at, count)
  }

  /** Moves all entries of `right` behind those of `left`. @returns false, with nothing changed, when they would not all fit with a tenth to spare */
  join(left: number, right: number): boolean {
    const first = this.#first
    const last = this.#last
    const firstBytes = this.copyKey(left, 0, first)
    const lastBytes = this.copyKey(right, this.field(right, COUNT) - 1, last)
    const shared = commonBytes(first, firstBytes, last, lastBytes)
    let bytes = SLOTS + shared
    for (const part of [left, right]) {
      const count = this.field(part, COUNT)
      bytes += this.usedBytes(part) - SLOTS + count * (this.field(part, PREFIX) - shared + 1)
    }
    if (bytes > PAGE * 0.9) return false
    this.#repack(left, shared)
    this.#toScratch(right)
    this.#fill(left, 0, this.#scratch16[COUNT]!, shared)
    return true
  }

  /** Fills an empty page with a range of the scratch page, under the longest prefix of that range. */
  #refill(page: number, from: number, to: number): void {
    if (from >= to) return
    const first = this.#first
    const last = this.#last
    const firstBytes = copyKey(this.#scratch8, this.#scratch16, 0, from, first)
    const lastBytes = copyKey(this.#scratch8, this.#scratch16, 0, to - 1, last)
    this.#fill(page, from, to, commonBytes(first, firstBytes, last, lastBytes))
  }

  /** Writes the page anew without dead bytes, with the first `prefixBytes` of its keys as the prefix. */
  #repack(page: number, prefixBytes: number): void {
    this.#toScratch(page)
    const count = this.#scratch16[COUNT]!
    const last = this.#scratch16[LAST]!
    this.clear(page, this.#scratch16[LEVEL]!)
    this.#fill(page, 0, count, prefixBytes)
    this.setField(page, LAST, last)
  }

  #toScratch(page: number): void {
    const base = (page & SLAB_MASK) * PAGE
    this.#slabs8[page >>> SLAB_SHIFT]!.copy(this.#scratch8, 0, base, base + PAGE)
  }

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
}
