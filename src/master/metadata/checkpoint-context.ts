// What the sections of a checkpoint are made of: the order of rows when writing, what is remembered when reading, and
// sections of one kind each.

import type { ChunkHandle } from '../../base/ids.ts'
import { settle } from './chunk-operations.ts'
import {
  badSection,
  columnBytes,
  columnSink,
  type RecordFields,
  recordBytes,
  recordSink,
  type SectionSink,
} from './sections.ts'
import { MetadataState } from './state.ts'

export interface SectionRow {
  readonly name: string
  /** How its bytes are cut: for the table in README.md, which a test compares. */
  readonly shape: string
  /** The sections version that brought it; 1 when left out. */
  readonly since?: number
  encode(context: Encoding): Iterable<Uint8Array>
  decode(context: Decoding): SectionSink
}

/** What writing needs besides the state: the canonical order of rows. */
export class Encoding {
  readonly state: MetadataState
  readonly inodes: Float64Array
  readonly inodeRows: Uint32Array
  readonly chunks: Float64Array
  readonly chunkRows: Uint32Array
  readonly profileOrder: readonly number[]
  /** The canonical number of each profile. */
  readonly profileNumbers: Uint16Array

  constructor(state: MetadataState) {
    this.state = state
    ;[this.inodes, this.inodeRows] = inOrder(state.inodes.index)
    ;[this.chunks, this.chunkRows] = inOrder(state.chunks.index)
    this.profileOrder = state.profiles.inOrder()
    this.profileNumbers = new Uint16Array(65_536)
    this.profileOrder.forEach((number, at) => {
      this.profileNumbers[number] = at
    })
  }
}

function inOrder(index: {
  size: number
  forEach(visit: (id: number, row: number) => void): void
}): [Float64Array, Uint32Array] {
  const ids = new Float64Array(index.size)
  const rows = new Uint32Array(index.size)
  let at = 0
  index.forEach((id, row) => {
    ids[at] = id
    rows[at++] = row
  })
  return [ids, rows]
}

/** What reading remembers between sections. Rows of fresh tables are given as 0, 1, 2, … */
export class Decoding {
  readonly state = new MetadataState()
  /** The sections version that wrote what is read; known once the first section is. */
  version = 0
  readonly profiles: number[] = []
  inodes = new Float64Array(0)
  counts = new Uint32Array(0)
  chunks = new Float64Array(0)

  finish(): MetadataState {
    const { state } = this
    for (let row = 0; row < this.chunks.length; row++) {
      state.chunks.countLoaded(row)
      const handle = this.chunks[row] as ChunkHandle
      if (state.chunks.isOpen(row) !== state.chunks.members.has(handle))
        throw badSection('members', 'not those of the open chunks')
      if (state.chunks.references(row) === 0) settle(state, handle)
    }
    if (state.chunks.count !== this.chunks.length) throw badSection('chunk.handle', 'a chunk that nothing holds')
    for (const number of this.profiles) state.profiles.drop(number)
    return state
  }
}

/** @param read  sets the values of inodes in rows `from` .. `to` - 1 */
export function inodeColumn(
  name: string,
  width: number,
  write: (context: Encoding, buffer: Buffer, offset: number, row: number, at: number) => void,
  read: (context: Decoding, buffer: Buffer, offset: number, from: number, to: number) => void,
): SectionRow {
  return {
    name,
    shape: `column of ${width}`,
    encode: (context) =>
      columnBytes(context.inodes.length, width, (buffer, offset, at) =>
        write(context, buffer, offset, context.inodeRows[at]!, at),
      ),
    decode: (context) =>
      columnSink(
        name,
        width,
        (buffer, offset, from, to) => {
          if (to > context.inodes.length) throw badSection(name, `over ${context.inodes.length} values`)
          read(context, buffer, offset, from, to)
        },
        (count) => checkCount(name, count, context.inodes.length),
      ),
  }
}

/** @param read  sets the values of chunks in rows `from` .. `to` - 1 */
export function chunkColumn(
  name: string,
  width: number,
  write: (context: Encoding, buffer: Buffer, offset: number, row: number) => void,
  read: (context: Decoding, buffer: Buffer, offset: number, from: number, to: number) => void,
): SectionRow {
  return {
    name,
    shape: `column of ${width}`,
    encode: (context) =>
      columnBytes(context.chunks.length, width, (buffer, offset, at) =>
        write(context, buffer, offset, context.chunkRows[at]!),
      ),
    decode: (context) =>
      columnSink(
        name,
        width,
        (buffer, offset, from, to) => {
          if (to > context.chunks.length) throw badSection(name, `over ${context.chunks.length} values`)
          read(context, buffer, offset, from, to)
        },
        (count) => checkCount(name, count, context.chunks.length),
      ),
  }
}

export function records(
  name: string,
  encode: (state: MetadataState, context: Encoding) => Iterable<readonly unknown[]>,
  decode: (context: Decoding, fields: RecordFields) => void,
): SectionRow {
  return {
    name,
    shape: 'records',
    encode: (context) => recordBytes(encode(context.state, context)),
    decode: (context) =>
      recordSink(name, (fields) => {
        decode(context, fields)
        fields.end()
      }),
  }
}

function checkCount(name: string, count: number, expected: number): void {
  if (count !== expected) throw badSection(name, `${count} values, ${expected} are due`)
}

/** Collects a column of ascending ids. */
export function idSink(
  name: string,
  width: number,
  get: (buffer: Buffer, at: number) => number,
  finished: (ids: Float64Array<ArrayBuffer>) => void,
): SectionSink {
  let ids = new Float64Array(4096)
  return columnSink(
    name,
    width,
    (buffer, offset, from, to) => {
      if (to > ids.length) {
        const grown = new Float64Array(Math.max(ids.length * 2, to))
        grown.set(ids)
        ids = grown
      }
      let before = from === 0 ? 0 : ids[from - 1]!
      for (let at = from; at < to; at++, offset += width) {
        const id = get(buffer, offset)
        if (id <= before || id > Number.MAX_SAFE_INTEGER) throw badSection(name, `${id} after ${before}`)
        ids[at] = id
        before = id
      }
    },
    (count) => finished(ids.slice(0, count)),
  )
}
