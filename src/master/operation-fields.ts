// Takes the fields of a logged operation from its msgpack bytes, one after the other, each checked.
//
// A start reads millions of records: nothing is made that the operation does not keep, no array of fields, no view of the
// payload. What msgpack can say and a record can't (maps, binary, extensions) is refused like any other shape.
//
// Source: the msgpack specification (github.com/msgpack/msgpack/blob/master/spec.md).

import { DfsError } from '../base/errors.ts'
import type { ChunkHandle, DirectoryId, InodeId, Life, ServerId, SessionId } from '../base/ids.ts'
import { unpack } from '../base/msgpack.ts'
import type {
  Extent,
  ExtentSwitch,
  GoalChange,
  Member,
  NewInode,
  OperationKind,
  Publish,
  Requester,
  SealClaim,
} from './operations.ts'

export class Fields {
  #kind: OperationKind = 'advanceTime'
  #version = 0
  #bytes: Buffer = Buffer.alloc(0)
  /** Of `#bytes`. */
  #view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, 0)
  #at = 0
  #end = 0
  #fieldCount = 0
  #fieldsTaken = 0
  /** Owners and groups, which are few: the last one of each hash. */
  readonly #names: (string | undefined)[] = new Array(NAMES).fill(undefined)

  /** The encoding version of the record. */
  get version(): number {
    return this.#version
  }

  /**
   * Begins with the record in bytes `from` .. `to` - 1 of `bytes`, which must not change until its end.
   * @throws BAD_FORMAT when it is not an array
   */
  begin(kind: OperationKind, version: number, bytes: Buffer, from: number, to: number): void {
    this.#kind = kind
    this.#version = version
    if (bytes !== this.#bytes) {
      this.#bytes = bytes
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    }
    this.#at = from
    this.#end = to
    this.#fieldsTaken = 0
    this.#fieldCount = this.#arrayLength()
  }

  /** @throws BAD_FORMAT when anything is left */
  end(): void {
    if (this.#fieldsTaken !== this.#fieldCount) this.fail('another number of fields')
    if (this.#at !== this.#end) this.fail(`${this.#end - this.#at} bytes over`)
  }

  fail(what: string): never {
    const message = `${this.#kind}: field ${this.#fieldsTaken} of ${this.#fieldCount}: ${what}`
    throw new DfsError('BAD_FORMAT', message, { kind: this.#kind, field: this.#fieldsTaken })
  }

  /** A whole number, 0 .. 2^53 - 1. */
  whole(): number {
    this.#fieldsTaken++
    return this.#whole()
  }

  /** A whole number of either sign, up to 2^53 - 1. */
  signed(): number {
    this.#fieldsTaken++
    return this.#signed()
  }

  text(): string {
    this.#fieldsTaken++
    return this.#text()
  }

  truth(): boolean {
    this.#fieldsTaken++
    const head = this.#byte()
    if (head !== TRUE && head !== FALSE) this.fail('no truth value')
    return head === TRUE
  }

  /** A flat list of whole numbers. */
  wholes(): number[] {
    const values: number[] = []
    for (let left = this.#list(1); left > 0; left--) values.push(this.#whole())
    return values
  }

  texts(): string[] {
    const values: string[] = []
    for (let left = this.#list(1); left > 0; left--) values.push(this.#text())
    return values
  }

  /** Whether the next field is there; an absent one is passed. */
  has(): boolean {
    if (this.#fieldsTaken < this.#fieldCount && this.#bytes[this.#at] !== NIL) return true
    this.#fieldsTaken++
    this.#at++
    return false
  }

  oneOf<T extends string>(choices: readonly T[]): T {
    const choice = choices[this.whole()]
    return choice === undefined ? this.fail('no such choice') : choice
  }

  by(): Requester {
    return { session: this.whole() as SessionId, request: this.whole(), floor: this.whole() }
  }

  inode(): NewInode {
    return { mode: this.whole(), owner: this.#name(), group: this.#name(), goal: this.whole() }
  }

  publish(): Publish {
    return { path: this.text(), overwrite: this.truth() }
  }

  // An array of one is made as such: one that grows from nothing gets room for seventeen.

  extents(): Extent[] {
    let left = this.#list(3)
    if (left === 3) return [this.#extent()]
    const extents: Extent[] = []
    for (; left > 0; left -= 3) extents.push(this.#extent())
    return extents
  }

  #extent(): Extent {
    return { handle: this.#whole() as ChunkHandle, offset: this.#whole(), length: this.#whole() }
  }

  seals(): SealClaim[] {
    let left = this.#list(3)
    if (left === 3) return [this.#seal()]
    const seals: SealClaim[] = []
    for (; left > 0; left -= 3) seals.push(this.#seal())
    return seals
  }

  #seal(): SealClaim {
    return { handle: this.#whole() as ChunkHandle, length: this.#whole(), digest: this.#whole() }
  }

  members(): Member[] {
    let left = this.#list(3)
    if (left === 3) return [this.#member()]
    const members: Member[] = []
    for (; left > 0; left -= 3) members.push(this.#member())
    return members
  }

  #member(): Member {
    const server = this.#whole() as ServerId
    return { server, directory: this.#whole() as DirectoryId, life: this.#whole() as Life }
  }

  goals(): GoalChange[] {
    const goals: GoalChange[] = []
    for (let left = this.#list(3); left > 0; left -= 3) {
      goals.push({ handle: this.#whole() as ChunkHandle, from: this.#whole(), to: this.#whole() })
    }
    return goals
  }

  switches(): ExtentSwitch[] {
    const heads: number[] = []
    for (let left = this.#list(4); left > 0; left--) heads.push(this.#whole())
    const extents = this.extents()
    const switches: ExtentSwitch[] = []
    let at = 0
    for (let i = 0; i < heads.length; i += 4) {
      const count = heads[i + 3]!
      const from = extents.slice(at, at + count)
      if (from.length !== count) this.fail('fewer extents than the switches name')
      at += count
      switches.push({ inode: heads[i] as InodeId, fileOffset: heads[i + 1]!, offset: heads[i + 2]!, from })
    }
    if (at !== extents.length) this.fail('more extents than the switches name')
    return switches
  }

  /** Pairs of a name and a whole number or nil, flat. */
  options(): (readonly [string, number | null])[] {
    const pairs: (readonly [string, number | null])[] = []
    for (let left = this.#list(2); left > 0; left -= 2) pairs.push([this.#text(), this.#isNil() ? null : this.#whole()])
    return pairs
  }

  /** Pairs of a name and a value or nil, flat. */
  attributes(): (readonly [string, string | null])[] {
    const pairs: (readonly [string, string | null])[] = []
    for (let left = this.#list(2); left > 0; left -= 2) {
      pairs.push([this.#text(), this.#isNil() ? null : this.#text()])
    }
    return pairs
  }

  // The values of msgpack.

  /** The number of values in the array that comes as the next field: a multiple of `width`. */
  #list(width: number): number {
    this.#fieldsTaken++
    const count = this.#arrayLength()
    if (count % width !== 0) this.fail(`not a multiple of ${width} values`)
    return count
  }

  /** Whether nil comes next, which is passed. */
  #isNil(): boolean {
    const isNil = this.#at < this.#end && this.#bytes[this.#at] === NIL
    if (isNil) this.#at++
    return isNil
  }

  #arrayLength(): number {
    const head = this.#byte()
    if (head >= 0x90 && head <= 0x9f) return head & 15
    if (head === 0xdc) return this.#unsigned(2)
    if (head === 0xdd) return this.#unsigned(4)
    return this.fail('no array')
  }

  #whole(): number {
    const head = this.#byte()
    if (head < 0x80) return head
    if (head === 0xcd) return this.#unsigned(2)
    if (head === 0xce) return this.#unsigned(4)
    if (head === 0xcb) {
      const value = this.#view.getFloat64(this.#take(8))
      if (Number.isSafeInteger(value) && value >= 0) return value
      return this.fail('no whole number')
    }
    this.#at--
    const value = this.#signed()
    return value < 0 ? this.fail('no whole number') : value
  }

  #signed(): number {
    const value = this.#number(this.#byte())
    return Number.isSafeInteger(value) ? value : this.fail('no whole number')
  }

  #number(head: number): number {
    if (head < 0x80) return head
    if (head >= 0xe0) return head - 0x100
    switch (head) {
      case 0xca:
        return this.#view.getFloat32(this.#take(4))
      case 0xcb:
        return this.#view.getFloat64(this.#take(8))
      case 0xcc:
        return this.#unsigned(1)
      case 0xcd:
        return this.#unsigned(2)
      case 0xce:
        return this.#unsigned(4)
      case 0xcf:
        return this.#unsigned(4) * 2 ** 32 + this.#unsigned(4)
      case 0xd0:
        return (this.#unsigned(1) << 24) >> 24
      case 0xd1:
        return (this.#unsigned(2) << 16) >> 16
      case 0xd2:
        return this.#unsigned(4) | 0
      case 0xd3:
        return (this.#unsigned(4) | 0) * 2 ** 32 + this.#unsigned(4)
      default:
        return this.fail('no number')
    }
  }

  #text(): string {
    const start = this.#at
    const end = this.#textEnd()
    const bytes = this.#bytes
    for (let at = this.#at; at < end; at++) {
      if (bytes[at]! < 0x80) continue
      // Beyond ASCII by the decoder that requests go through, so that replay sees the very text that was applied.
      this.#at = end
      return unpack(bytes.subarray(start, end)) as string
    }
    const text = bytes.toString('latin1', this.#at, end)
    this.#at = end
    return text
  }

  /** A text that is nearly always one of few. */
  #name(): string {
    this.#fieldsTaken++
    const start = this.#at
    const end = this.#textEnd()
    const bytes = this.#bytes
    let hash = 0
    for (let at = this.#at; at < end; at++) hash = (Math.imul(hash, 31) + bytes[at]!) | 0
    const known = this.#names[hash & (NAMES - 1)]
    if (known !== undefined && this.#isNext(known, end)) {
      this.#at = end
      return known
    }
    this.#at = start
    const name = this.#text()
    if (name.length <= NAME_KEPT_MAX) this.#names[hash & (NAMES - 1)] = name
    return name
  }

  /** Whether the bytes up to `end` are this text: never for one beyond ASCII. */
  #isNext(text: string, end: number): boolean {
    const start = this.#at
    if (end - start !== text.length) return false
    for (let i = 0; i < text.length; i++) {
      const byte = this.#bytes[start + i]!
      if (byte >= 0x80 || byte !== text.charCodeAt(i)) return false
    }
    return true
  }

  /** Passes the head of a text. @returns where the text ends */
  #textEnd(): number {
    const head = this.#byte()
    let bytes: number
    if (head >= 0xa0 && head <= 0xbf) bytes = head & 31
    else if (head === 0xd9) bytes = this.#unsigned(1)
    else if (head === 0xda) bytes = this.#unsigned(2)
    else if (head === 0xdb) bytes = this.#unsigned(4)
    else return this.fail('no text')
    if (bytes > this.#end - this.#at) this.fail('a text that is cut short')
    return this.#at + bytes
  }

  #byte(): number {
    if (this.#at >= this.#end) this.fail('the bytes end')
    return this.#bytes[this.#at++]!
  }

  #unsigned(count: 1 | 2 | 4): number {
    const at = this.#take(count)
    const bytes = this.#bytes
    if (count === 1) return bytes[at]!
    if (count === 2) return bytes[at]! * 2 ** 8 + bytes[at + 1]!
    return bytes[at]! * 2 ** 24 + (bytes[at + 1]! << 16) + (bytes[at + 2]! << 8) + bytes[at + 3]!
  }

  /** Passes so many bytes. @returns where they begin */
  #take(count: number): number {
    const at = this.#at
    if (count > this.#end - at) this.fail('the bytes end')
    this.#at = at + count
    return at
  }
}

const NIL = 0xc0
const FALSE = 0xc2
const TRUE = 0xc3
/** Texts remembered, a power of two, and how long one may be. */
const NAMES = 64
const NAME_KEPT_MAX = 64
