// The frame parser: any slice of bytes in, proven headers, whole bodies and passing data out.
//
// Format: README.md. Pure: it keeps no socket and no clock, and copies no data byte. A body is a view of the slice
// it came in when it lies in one; else it is put together. Data goes through as views of the slices, together with
// the `owner` that the caller gave for the slice, so that a consumer can keep them.
//
// Invariants:
//   - memory kept: one header, and of one body only what has arrived (doubled at most)
//   - events come in the order onFrame, onData*, onDataEnd; the last two only for frames with data
//   - after an error nothing more is taken: the bytes that follow have no meaning
//
// One checksum pass a byte: the parser computes the data's CRC32 unless the consumer, which may need one for each
// block anyway, says by `checkDataWith` that it brings the value for the whole.

import { assert } from '../base/assert.ts'
import { crc32 } from '../base/crc32.ts'
import {
  badFrame,
  type FrameHeader,
  type FrameLimits,
  FrameType,
  HEADER_BYTES,
  readHeader,
  TRAILER_ABORTED,
  TRAILER_BYTES,
  TRAILER_DONE,
} from './header.ts'

export interface FrameEvents<Owner> {
  /** A header and its whole body, both proven. `header` and `body` are valid until this returns. */
  onFrame(header: Readonly<FrameHeader>, body: Buffer): void
  /** Data bytes of the frame, in order, at least one. A view of the slice that `owner` came with. */
  onData(bytes: Buffer, owner: Owner): void
  /** The data is over. After `corrupt` the parser takes no more. */
  onDataEnd(verdict: DataVerdict): void
}

/** `complete`: all came and the checksum is right. `aborted`: the sender gave up. `corrupt`: the checksum is wrong. */
export type DataVerdict = 'complete' | 'aborted' | 'corrupt'

type State = 'header' | 'body' | 'data' | 'trailer' | 'broken'

const BODY_FIRST_BYTES = 64 * 1024

export class FrameParser<Owner> {
  /** What later frames may promise; may be changed between frames. */
  limits: FrameLimits

  readonly #events: FrameEvents<Owner>
  readonly #header: FrameHeader = {
    type: FrameType.ping,
    message: 0,
    id: 0,
    bodyBytes: 0,
    dataBytes: 0,
    bodyCrc: 0,
    dataCrc: 0,
  }
  #state: State = 'header'
  #isStopped = false
  /** Holds a header or trailer that came in parts; `#filled` bytes of it are there. */
  readonly #scratch = Buffer.alloc(HEADER_BYTES)
  #filled = 0
  /** Holds a body that came in parts. */
  #body: Buffer | undefined
  #dataLeft = 0
  #crc = 0
  #ownCrc: (() => number) | undefined

  constructor(events: FrameEvents<Owner>, limits: FrameLimits) {
    this.#events = events
    this.limits = limits
  }

  /** True when some, but not all, bytes of a frame have been taken. */
  get isInsideFrame(): boolean {
    return this.#state !== 'header' || this.#filled > 0
  }

  /** Data bytes of the current frame still to come. */
  get dataLeft(): number {
    return this.#dataLeft
  }

  /**
   * Takes bytes until they are used up or an event called `stop`.
   *
   * @param owner  handed to `onData` with every view of `bytes`
   * @returns      bytes taken, 0 .. bytes.length; fewer than given only when stopped
   * Throws BAD_FRAME, FRAME_TOO_LARGE, UNSUPPORTED_VERSION; the parser must not be used after that.
   */
  push(bytes: Buffer, owner: Owner): number {
    assert(this.#state !== 'broken', 'bytes for a parser that has failed')
    let at = 0
    while (!this.#isStopped && at < bytes.length) {
      if (this.#state === 'header') at = this.#takeHeader(bytes, at)
      else if (this.#state === 'body') at = this.#takeBody(bytes, at)
      else if (this.#state === 'data') at = this.#takeData(bytes, at, owner)
      else at = this.#takeTrailer(bytes, at)
    }
    return at
  }

  /** Makes `push` return after the event under way. */
  stop(): void {
    this.#isStopped = true
  }

  /** Undoes `stop`; the caller pushes the rest again. */
  go(): void {
    this.#isStopped = false
  }

  /**
   * Takes the current frame's data checksum from `crc`, asked once when all data has come, instead of computing it.
   * Only before the first data byte.
   */
  checkDataWith(crc: () => number): void {
    assert(this.#dataLeft === this.#header.dataBytes, 'the data has begun')
    this.#ownCrc = crc
  }

  #takeHeader(bytes: Buffer, at: number): number {
    if (this.#filled === 0 && bytes.length - at >= HEADER_BYTES) {
      this.#readHeader(bytes, at)
      return this.#beginBody(bytes, at + HEADER_BYTES)
    }
    const end = this.#fill(bytes, at, HEADER_BYTES)
    if (this.#filled < HEADER_BYTES) {
      // Rubbish is noticed at its first byte, not when 32 have come.
      if (this.#scratch[0] !== 0xdf)
        this.#break(badFrame(`a frame starts with 0xdf, this one with 0x${this.#scratch[0]!.toString(16)}`))
      return end
    }
    this.#filled = 0
    this.#readHeader(this.#scratch, 0)
    return this.#beginBody(bytes, end)
  }

  #readHeader(from: Buffer, offset: number): void {
    try {
      readHeader(from, offset, this.#header, this.limits)
    } catch (error) {
      this.#break(error)
    }
  }

  /** A body of no bytes must not wait for a next one. */
  #beginBody(bytes: Buffer, at: number): number {
    if (this.#header.bodyBytes === 0) {
      this.#deliver(bytes.subarray(at, at))
      return at
    }
    this.#state = 'body'
    return at
  }

  #takeBody(bytes: Buffer, at: number): number {
    const { bodyBytes } = this.#header
    if (this.#filled === 0 && bytes.length - at >= bodyBytes) {
      this.#deliver(bytes.subarray(at, at + bodyBytes))
      return at + bodyBytes
    }
    const count = Math.min(bytes.length - at, bodyBytes - this.#filled)
    this.#body = grown(this.#body, this.#filled, this.#filled + count, bodyBytes)
    bytes.copy(this.#body, this.#filled, at, at + count)
    this.#filled += count
    if (this.#filled === bodyBytes) {
      const body = this.#body.subarray(0, bodyBytes)
      this.#body = undefined
      this.#filled = 0
      this.#deliver(body)
    }
    return at + count
  }

  #deliver(body: Buffer): void {
    const header = this.#header
    if (header.bodyBytes > 0) {
      const actual = crc32(body)
      if (actual !== header.bodyCrc)
        this.#break(badFrame(`body checksum ${header.bodyCrc} in the header, ${actual} computed`))
    }
    this.#dataLeft = header.dataBytes
    this.#crc = 0
    this.#ownCrc = undefined
    this.#state = header.dataBytes > 0 ? 'data' : 'header'
    this.#events.onFrame(header, body)
  }

  #takeData(bytes: Buffer, at: number, owner: Owner): number {
    const count = Math.min(bytes.length - at, this.#dataLeft)
    const data = at === 0 && count === bytes.length ? bytes : bytes.subarray(at, at + count)
    if (this.#ownCrc === undefined) this.#crc = crc32(data, this.#crc)
    this.#dataLeft -= count
    if (this.#dataLeft === 0) this.#state = 'trailer'
    this.#events.onData(data, owner)
    return at + count
  }

  #takeTrailer(bytes: Buffer, at: number): number {
    const end = this.#fill(bytes, at, TRAILER_BYTES)
    if (this.#filled < TRAILER_BYTES) return end
    this.#filled = 0
    const word = this.#scratch.readUInt32LE(0)
    if (word === TRAILER_ABORTED) {
      this.#state = 'header'
      this.#events.onDataEnd('aborted')
      return end
    }
    const crc = this.#ownCrc === undefined ? this.#crc : this.#ownCrc()
    if (word === TRAILER_DONE && crc === this.#header.dataCrc) {
      this.#state = 'header'
      this.#events.onDataEnd('complete')
      return end
    }
    this.#state = 'broken'
    this.#events.onDataEnd('corrupt')
    throw word === TRAILER_DONE
      ? badFrame(`data checksum ${this.#header.dataCrc} in the header, ${crc} computed`)
      : badFrame(`0x${word.toString(16)} behind the data instead of DONE or ABRT`)
  }

  /** Copies up to `want` bytes in all into the scratch; @returns the offset behind what was taken. */
  #fill(bytes: Buffer, at: number, want: number): number {
    const count = Math.min(want - this.#filled, bytes.length - at)
    bytes.copy(this.#scratch, this.#filled, at, at + count)
    this.#filled += count
    return at + count
  }

  #break(error: unknown): never {
    this.#state = 'broken'
    throw error
  }
}

/** A buffer of at least `need` bytes that starts with the first `filled` ones of `old`; never over `bytesMax`. */
function grown(old: Buffer | undefined, filled: number, need: number, bytesMax: number): Buffer {
  if (old !== undefined && old.length >= need) return old
  const bytes = Math.min(bytesMax, Math.max(need, old === undefined ? BODY_FIRST_BYTES : 2 * old.length))
  const buffer = Buffer.allocUnsafe(bytes)
  old?.copy(buffer, 0, 0, filled)
  return buffer
}
