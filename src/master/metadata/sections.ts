// How the sections of a checkpoint are cut into bytes: columns of fixed width, and records of msgpack.
//
//   column   values one after the other, little-endian, `width` bytes each
//   records  for each: length (4 bytes, little-endian), then that many bytes of one msgpack array
//
// What each section means is in checkpoint.ts and README.md.

import { DfsError } from '../../base/errors.ts'
import { pack, unpack } from '../../base/msgpack.ts'

/** A named run of bytes; each piece is valid until the next one is asked for. */
export interface Section {
  readonly name: string
  readonly bytes: Iterable<Uint8Array>
}

/** Takes the bytes of one section, cut anywhere. */
export interface SectionSink {
  push(piece: Uint8Array): void
  /** The section is over. Throws BAD_FORMAT when bytes are missing. */
  end(): void
}

const PIECE_BYTES = 64 * 1024

/** A column of `count` values of `width` bytes; `write` puts value `at` into the buffer at an offset. */
export function* columnBytes(
  count: number,
  width: number,
  write: (buffer: Buffer, offset: number, at: number) => void,
): Iterable<Uint8Array> {
  const perPiece = Math.floor(PIECE_BYTES / width)
  const buffer = Buffer.alloc(Math.min(perPiece, Math.max(count, 1)) * width)
  for (let start = 0; start < count; start += perPiece) {
    const values = Math.min(perPiece, count - start)
    fillColumn(buffer, width, start, values, write)
    yield buffer.subarray(0, values * width)
  }
}

/** Apart from the generator, because a loop within one is never optimised. */
function fillColumn(
  buffer: Buffer,
  width: number,
  start: number,
  values: number,
  write: (buffer: Buffer, offset: number, at: number) => void,
): void {
  for (let i = 0; i < values; i++) write(buffer, i * width, start + i)
}

/**
 * Reads a column: `read` is called with runs of values, where the first lies in a buffer, its number in the column, and
 * the number after the last. It has the loop, because a call for each of millions of values costs more than the value.
 */
export function columnSink(
  name: string,
  width: number,
  read: (buffer: Buffer, offset: number, from: number, to: number) => void,
  finished: (count: number) => void,
): SectionSink {
  const rest = Buffer.alloc(width)
  let restBytes = 0
  let count = 0
  return {
    push(piece) {
      const buffer = Buffer.from(piece.buffer, piece.byteOffset, piece.length)
      let at = 0
      if (restBytes > 0) {
        const taken = Math.min(width - restBytes, buffer.length)
        buffer.copy(rest, restBytes, 0, taken)
        restBytes += taken
        at = taken
        if (restBytes < width) return
        read(rest, 0, count, count + 1)
        count++
        restBytes = 0
      }
      const values = Math.floor((buffer.length - at) / width)
      if (values > 0) read(buffer, at, count, count + values)
      count += values
      restBytes = buffer.copy(rest, 0, at + values * width)
    },
    end() {
      if (restBytes > 0) throw badSection(name, `${restBytes} bytes over`)
      finished(count)
    },
  }
}

/** Records, each a msgpack array. */
export function* recordBytes(records: Iterable<readonly unknown[]>): Iterable<Uint8Array> {
  const length = Buffer.alloc(4)
  for (const record of records) {
    const bytes = pack(record)
    length.writeUInt32LE(bytes.length)
    yield length
    yield bytes
  }
}

export function recordSink(name: string, read: (fields: RecordFields) => void): SectionSink {
  return itemSink(name, (buffer) => {
    let at = 0
    while (buffer.length - at >= 4) {
      const end = at + 4 + buffer.readUInt32LE(at)
      if (end > buffer.length) break
      read(new RecordFields(name, unpackRecord(name, buffer.subarray(at + 4, end))))
      at = end
    }
    return at
  })
}

function unpackRecord(name: string, bytes: Buffer): readonly unknown[] {
  let fields: unknown
  try {
    fields = unpack(bytes)
  } catch (cause) {
    const message = `checkpoint section ${name}: a record that is not msgpack`
    throw new DfsError('BAD_FORMAT', message, { section: name }, cause)
  }
  if (!Array.isArray(fields)) throw badSection(name, 'a record that is not an array')
  return fields
}

/** Reads items of varying length: `read` takes the whole items at the start of a buffer and says how many bytes they have. */
export function itemSink(name: string, read: (buffer: Buffer) => number): SectionSink {
  let rest: Buffer = Buffer.alloc(0)
  return {
    push(piece) {
      const added = Buffer.from(piece.buffer, piece.byteOffset, piece.length)
      const buffer = rest.length === 0 ? added : Buffer.concat([rest, added])
      rest = Buffer.from(buffer.subarray(read(buffer)))
    },
    end() {
      if (rest.length > 0) throw badSection(name, `${rest.length} bytes over`)
    },
  }
}

export function badSection(name: string, what: string): DfsError {
  return new DfsError('BAD_FORMAT', `checkpoint section ${name}: ${what}`, { section: name })
}

/** Takes the fields of a record one after the other, each checked. */
export class RecordFields {
  readonly #section: string
  readonly #fields: readonly unknown[]
  #at = 0

  constructor(section: string, fields: readonly unknown[]) {
    this.#section = section
    this.#fields = fields
  }

  get left(): number {
    return this.#fields.length - this.#at
  }

  fail(what: string): never {
    throw badSection(this.#section, `field ${this.#at} of ${this.#fields.length}: ${what}`)
  }

  whole(): number {
    const value = this.#fields[this.#at++]
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) this.fail('no whole number')
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

  plain(): string | number | boolean {
    const value = this.#fields[this.#at++]
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean')
      this.fail('no plain value')
    return value
  }

  list(): RecordFields {
    const value = this.#fields[this.#at++]
    if (!Array.isArray(value)) this.fail('no array')
    return new RecordFields(this.#section, value)
  }

  /** The list's whole numbers, whose count `width` divides. */
  wholes(width: number): number[] {
    const list = this.list()
    if (list.left % width !== 0) this.fail(`not a multiple of ${width} numbers`)
    const values: number[] = []
    while (list.left > 0) values.push(list.whole())
    return values
  }

  end(): void {
    if (this.left !== 0) this.fail('another number of fields')
  }
}

// Numbers in columns.

// Byte by byte: a checked `readUInt32LE` costs several times as much, and a checkpoint has many of these.

export function putU32(buffer: Buffer, at: number, value: number): void {
  buffer[at] = value
  buffer[at + 1] = value >>> 8
  buffer[at + 2] = value >>> 16
  buffer[at + 3] = value >>> 24
}

export function getU16(buffer: Buffer, at: number): number {
  return buffer[at]! | (buffer[at + 1]! << 8)
}

export function getU32(buffer: Buffer, at: number): number {
  return (buffer[at]! | (buffer[at + 1]! << 8) | (buffer[at + 2]! << 16)) + buffer[at + 3]! * 2 ** 24
}

/** 6 bytes for 0 .. 2^48 - 1. */
export function putU48(buffer: Buffer, at: number, value: number): void {
  const high = Math.floor(value / 2 ** 32)
  putU32(buffer, at, value >>> 0)
  buffer[at + 4] = high
  buffer[at + 5] = high >>> 8
}

export function getU48(buffer: Buffer, at: number): number {
  return getU32(buffer, at) + (buffer[at + 4]! | (buffer[at + 5]! << 8)) * 2 ** 32
}

/** 8 bytes for 0 .. 2^53 - 1. */
export function putU64(buffer: Buffer, at: number, value: number): void {
  putU32(buffer, at, value >>> 0)
  putU32(buffer, at + 4, Math.floor(value / 2 ** 32))
}

export function getU64(buffer: Buffer, at: number): number {
  return getU32(buffer, at) + getU32(buffer, at + 4) * 2 ** 32
}
