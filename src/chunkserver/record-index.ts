// The record index of a shared chunk: who appended what, where, so that a retry gets the old answer.
//
// Invariants:
//   - entries are in the order of their offsets, without gaps: they tile the chunk from byte 0
//   - (writer, sequence) is there at most once
//
// The bytes of an entry are described in README.md; `encodeEntries` is their only writer. Source: DESIGN §4 (record append).

import { assert } from '../base/assert.ts'
import { crc32 } from '../base/crc32.ts'
import type { SessionId } from '../base/ids.ts'
import { readU64, writeU64 } from './bytes.ts'

export interface RecordEntry {
  readonly writer: SessionId
  /** The writer's number of the first record, 1 upward. */
  readonly sequence: number
  /** Records that were appended together. */
  readonly count: number
  /** Chunk offset of the first byte. */
  readonly offset: number
  readonly length: number
}

/** Bytes of one entry: writer u64, sequence u64, count u32, offset u32, length u32, 0 u32. */
export const ENTRY_BYTES = 32

export function encodeEntries(entries: readonly RecordEntry[]): Buffer {
  const bytes = Buffer.alloc(entries.length * ENTRY_BYTES)
  entries.forEach((entry, index) => {
    const at = index * ENTRY_BYTES
    writeU64(bytes, entry.writer, at)
    writeU64(bytes, entry.sequence, at + 8)
    bytes.writeUInt32LE(entry.count, at + 16)
    bytes.writeUInt32LE(entry.offset, at + 20)
    bytes.writeUInt32LE(entry.length, at + 24)
  })
  return bytes
}

/** The entries in `bytes`, or undefined when they are none. */
export function decodeEntries(bytes: Buffer): RecordEntry[] | undefined {
  if (bytes.length % ENTRY_BYTES !== 0) return undefined
  const entries: RecordEntry[] = []
  for (let at = 0; at < bytes.length; at += ENTRY_BYTES) {
    const writer = readU64(bytes, at)
    const sequence = readU64(bytes, at + 8)
    if (writer === undefined || sequence === undefined) return undefined
    entries.push({
      writer: writer as SessionId,
      sequence,
      count: bytes.readUInt32LE(at + 16),
      offset: bytes.readUInt32LE(at + 20),
      length: bytes.readUInt32LE(at + 24),
    })
  }
  return entries
}

export class RecordIndex {
  readonly #entries: RecordEntry[] = []
  readonly #byWriter = new Map<SessionId, Map<number, RecordEntry>>()
  /** CRC32 over the encoded entries. */
  #digest = 0

  /** In order of their offsets; not to be changed. */
  get entries(): readonly RecordEntry[] {
    return this.#entries
  }

  /** Bytes the index takes on disk. */
  get bytes(): number {
    return this.#entries.length * ENTRY_BYTES
  }

  get digest(): number {
    return this.#digest
  }

  /** Chunk bytes that the entries tile. */
  get length(): number {
    const last = this.#entries.at(-1)
    return last === undefined ? 0 : last.offset + last.length
  }

  find(writer: SessionId, sequence: number): RecordEntry | undefined {
    return this.#byWriter.get(writer)?.get(sequence)
  }

  /** Whether `entries` go on where these end and bring no (writer, sequence) twice. */
  continues(entries: readonly RecordEntry[]): boolean {
    let at = this.length
    for (const entry of entries) {
      if (entry.offset !== at || this.find(entry.writer, entry.sequence) !== undefined) return false
      at += entry.length
    }
    return true
  }

  add(entries: readonly RecordEntry[]): void {
    assert(this.continues(entries), 'entries that do not continue the record index')
    this.#digest = crc32(encodeEntries(entries), this.#digest)
    for (const entry of entries) {
      this.#entries.push(entry)
      const mine = this.#byWriter.get(entry.writer)
      if (mine === undefined) this.#byWriter.set(entry.writer, new Map([[entry.sequence, entry]]))
      else mine.set(entry.sequence, entry)
    }
  }

  /** CRC32 of the entries that lie whole below `length`. */
  digestAt(length: number): number {
    return length >= this.length ? this.#digest : crc32(encodeEntries(this.within(length)))
  }

  /** The entries that lie whole below `length`. */
  within(length: number): RecordEntry[] {
    return this.#entries.filter((entry) => entry.offset + entry.length <= length)
  }
}
