// The fields of an operation as they are read from the log: one after the other, each checked. Whatever does not have the
// shape is BAD_FORMAT (operation-codec.ts says what the shapes are).

import { DfsError } from '../base/errors.ts'
import type { ChunkHandle, DirectoryId, InodeId, Life, ServerId, SessionId } from '../base/ids.ts'
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

/** Takes the fields of a record one after the other, each checked. */
export class Fields {
  readonly #kind: OperationKind
  /** The encoding version of the record. */
  readonly version: number
  readonly #fields: readonly unknown[]
  #at = 0

  constructor(kind: OperationKind, version: number, fields: readonly unknown[]) {
    this.#kind = kind
    this.version = version
    this.#fields = fields
  }

  end(): void {
    if (this.#at !== this.#fields.length) this.fail('another number of fields')
  }

  fail(what: string): never {
    const message = `${this.#kind}: field ${this.#at} of ${this.#fields.length}: ${what}`
    throw new DfsError('BAD_FORMAT', message, { kind: this.#kind, field: this.#at })
  }

  /** A whole number, 0 .. 2^53 - 1. */
  whole(): number {
    const value = this.#fields[this.#at++]
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) this.fail('no whole number')
    return value
  }

  /** A whole number of either sign, up to 2^53 - 1. */
  signed(): number {
    const value = this.#fields[this.#at++]
    if (typeof value !== 'number' || !Number.isSafeInteger(value)) this.fail('no whole number')
    return value
  }

  text(): string {
    const value = this.#fields[this.#at++]
    if (typeof value !== 'string') this.fail('no text')
    return value
  }

  truth(): boolean {
    const value = this.#fields[this.#at++]
    if (typeof value !== 'boolean') this.fail('no truth value')
    return value
  }

  list(): readonly unknown[] {
    const value = this.#fields[this.#at++]
    if (!Array.isArray(value)) this.fail('no array')
    return value
  }

  /** A flat list of whole numbers, whose count `width` divides. */
  wholes(width: number): readonly number[] {
    const values = this.list()
    if (values.length % width !== 0) this.fail(`not a multiple of ${width} numbers`)
    for (const value of values) {
      if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) this.fail('no whole number')
    }
    return values as readonly number[]
  }

  texts(): readonly string[] {
    const values = this.list()
    for (const value of values) if (typeof value !== 'string') this.fail('no text')
    return values as readonly string[]
  }

  /** Whether the next field is there; an absent one is passed. */
  has(): boolean {
    const value = this.#fields[this.#at]
    if (value !== null && value !== undefined) return true
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
    return { mode: this.whole(), owner: this.text(), group: this.text(), goal: this.whole() }
  }

  publish(): Publish {
    return { path: this.text(), overwrite: this.truth() }
  }

  extents(): Extent[] {
    const values = this.wholes(3)
    const extents: Extent[] = []
    for (let i = 0; i < values.length; i += 3) {
      extents.push({ handle: values[i] as ChunkHandle, offset: values[i + 1]!, length: values[i + 2]! })
    }
    return extents
  }

  seals(): SealClaim[] {
    const values = this.wholes(3)
    const seals: SealClaim[] = []
    for (let i = 0; i < values.length; i += 3) {
      seals.push({ handle: values[i] as ChunkHandle, length: values[i + 1]!, digest: values[i + 2]! })
    }
    return seals
  }

  members(): Member[] {
    const values = this.wholes(3)
    const members: Member[] = []
    for (let i = 0; i < values.length; i += 3) {
      members.push({
        server: values[i] as ServerId,
        directory: values[i + 1] as DirectoryId,
        life: values[i + 2] as Life,
      })
    }
    return members
  }

  goals(): GoalChange[] {
    const values = this.wholes(3)
    const goals: GoalChange[] = []
    for (let i = 0; i < values.length; i += 3) {
      goals.push({ handle: values[i] as ChunkHandle, from: values[i + 1]!, to: values[i + 2]! })
    }
    return goals
  }

  switches(): ExtentSwitch[] {
    const heads = this.wholes(4)
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

  /** Pairs of a name and a value or nil, flat. */
  attributes(): (readonly [string, string | null])[] {
    const values = this.list()
    if (values.length % 2 !== 0) this.fail('a name without a value')
    const pairs: (readonly [string, string | null])[] = []
    for (let i = 0; i < values.length; i += 2) {
      const name = values[i]
      const value = values[i + 1]
      if (typeof name !== 'string' || (typeof value !== 'string' && value !== null)) this.fail('no text')
      pairs.push([name, value])
    }
    return pairs
  }
}
