// The sending side of a connection: frames in, few large writes out.
//
// Frames of one turn of the loop leave in few writes: small ones are laid side by side in a block, data goes as the
// caller's slices, uncopied. What exceeds FLUSH_BYTES or FLUSH_FRAMES leaves at once: else two sides that have many
// requests between them would take turns, one idle while the other works through them all. At most one stream (a frame
// whose data comes later) is open; what is sent meanwhile waits behind it, in order.
//
// Invariants:
//   - frames leave whole and in the order they were given; a dropped one not at all
//   - a block is never written twice, so slices handed to the socket never change
//   - backlogBytes counts everything accepted and not yet taken by the system, streams with all they have promised

import { assert } from '../base/assert.ts'
import { crc32 } from '../base/crc32.ts'
import type { DfsError } from '../base/errors.ts'
import { KiB, MiB } from '../base/units.ts'
import type { Clock } from '../io/clock.ts'
import type { Socket } from '../io/network.ts'
import {
  type FrameHeader,
  FrameType,
  HEADER_BYTES,
  TRAILER_ABORTED,
  TRAILER_BYTES,
  TRAILER_DONE,
  writeHeader,
} from '../wire/header.ts'
import { type DataWriter, type OnWritten, OpenStream, type StreamHost } from './outgoing-stream.ts'

export type { DataWriter, OnWritten } from './outgoing-stream.ts'

/** What a frame says beside its data. */
export interface FrameHead {
  readonly type: FrameType
  readonly message: number
  readonly id: number
  readonly body: Buffer | undefined
}

const BLOCK_BYTES = 32 * KiB
const COPY_BYTES_MAX = 4 * KiB
const FLUSH_BYTES = 64 * KiB
const FLUSH_FRAMES = 32
const WRITE_BYTES_MAX = 1 * MiB
const filler = Buffer.alloc(64 * KiB)
const trailerDone = trailer(TRAILER_DONE)
const trailerAborted = trailer(TRAILER_ABORTED)

export class Outbox {
  readonly #socket: Socket
  readonly #clock: Clock
  readonly #onRoom: () => void
  readonly #header: FrameHeader = {
    type: FrameType.ping,
    message: 0,
    id: 0,
    bodyBytes: 0,
    dataBytes: 0,
    bodyCrc: 0,
    dataCrc: 0,
  }
  #block = Buffer.allocUnsafe(0)
  #blockStart = 0
  #blockEnd = 0
  /** Slices to be handed to the socket, oldest first. */
  #ready: Uint8Array[] = []
  #readyBytes = 0
  /** Bytes ever made ready, handed to the socket, and taken by the system: places in the stream of bytes. */
  #enqueued = 0
  #handed = 0
  #written = 0
  /** What to do when the bytes up to a place were written, by place. */
  #marks: Mark[] = []
  #stream: OpenStream | undefined
  #waiting: Waiting[] = []
  #isSendingWaiting = false
  /** Promised by waiting frames and streams, not yet enqueued. */
  #owedBytes = 0
  #callDataBytes = 0
  #isBlocked = false
  #isFlushDue = false
  /** Frames put since the last flush. */
  #frames = 0
  #closed: DfsError | undefined

  /** @param onRoom  called when the socket had no room and has some again */
  constructor(socket: Socket, clock: Clock, onRoom: () => void) {
    this.#socket = socket
    this.#clock = clock
    this.#onRoom = onRoom
  }

  /** Accepted and not yet taken by the system. */
  get backlogBytes(): number {
    return this.#enqueued - this.#written + this.#owedBytes
  }

  /** That part of it which is data of our own calls. */
  get callDataBytes(): number {
    return this.#callDataBytes
  }

  /** Grows whenever something is sent. */
  get enqueuedBytes(): number {
    return this.#enqueued
  }

  /** Grows whenever the system takes something. */
  get writtenBytes(): number {
    return this.#written
  }

  /** True while the system holds back bytes that were handed to it. */
  get isAwaitingSystem(): boolean {
    return this.#handed > this.#written
  }

  get isBlocked(): boolean {
    return this.#isBlocked
  }

  /** The stream at the head, which others wait behind. */
  get stream(): DataWriter | undefined {
    return this.#stream
  }

  /** Sends a frame without data. */
  send(type: FrameType, message: number, id: number, body: Buffer | undefined): void {
    if (this.#closed !== undefined) return
    if (this.#stream === undefined) {
      this.#putHead(type, message, id, body, 0, 0)
      this.#scheduleFlush()
      return
    }
    const head = { type, message, id, body }
    this.#wait({ head, data: [], dataBytes: 0, dataCrc: 0, onWritten: undefined, stream: undefined })
  }

  /** Sends a frame with data that is all there. The slices must not change until `onWritten`. */
  sendData(
    head: FrameHead,
    data: readonly Uint8Array[],
    dataBytes: number,
    dataCrc: number,
    onWritten?: OnWritten,
  ): void {
    if (this.#closed !== undefined) {
      onWritten?.(this.#closed)
      return
    }
    if (head.type === FrameType.request) this.#callDataBytes += dataBytes
    const frame = { head, data, dataBytes, dataCrc, onWritten, stream: undefined }
    if (this.#stream === undefined) this.#putFrame(frame)
    else this.#wait(frame)
  }

  /**
   * Begins a frame whose data follows by `write`.
   *
   * @param dataBytes  1 upward
   * @param onDrain    called when a write had returned false and there is room again
   * @param onAborted  called once when the frame is given up (by `abort`, here or from outside), not on close
   */
  beginStream(
    head: FrameHead,
    dataBytes: number,
    dataCrc: number,
    onDrain: () => void,
    onAborted: (error: DfsError) => void,
  ): DataWriter {
    assert(dataBytes > 0, 'a stream without data')
    const isCall = head.type === FrameType.request
    const stream = new OpenStream(dataBytes, isCall, onDrain, onAborted, this.#streamHost)
    if (this.#closed !== undefined) {
      stream.close(this.#closed)
      return stream
    }
    if (isCall) this.#callDataBytes += dataBytes
    const frame = { head, data: [], dataBytes, dataCrc, onWritten: undefined, stream }
    if (this.#stream === undefined) this.#putFrame(frame)
    else this.#wait(frame)
    return stream
  }

  /** Takes back the request `id` if it still waits. @returns whether it did */
  drop(id: number, error: DfsError): boolean {
    const index = this.#waiting.findIndex((frame) => frame.head.id === id && frame.head.type === FrameType.request)
    const frame = this.#waiting[index]
    if (frame === undefined) return false
    this.#waiting.splice(index, 1)
    this.#owedBytes -= frameBytes(frame)
    this.#callDataBytes -= frame.dataBytes
    frame.onWritten?.(error)
    frame.stream?.close(error)
    return true
  }

  /** The socket has room again. */
  drained(): void {
    this.#isBlocked = false
    this.flush()
    if (this.#isBlocked) return
    this.#stream?.drained()
    this.#onRoom()
  }

  /** Hands everything that is ready to the socket, as far as it has room. */
  flush(): void {
    this.#isFlushDue = false
    this.#frames = 0
    if (this.#closed !== undefined) return
    this.#sealBlock()
    while (this.#ready.length > 0 && !this.#isBlocked) this.#writeSome()
  }

  /** Gives up the open stream and all that waits, so that the next frame follows at once. */
  abandon(error: DfsError): void {
    this.#dropWaiting(error)
    this.#stream?.abort(error)
  }

  /** Hands all that is ready to the socket, room or not; then nothing more is sent. */
  finish(error: DfsError): void {
    if (this.#closed !== undefined) return
    this.abandon(error)
    this.#sealBlock()
    while (this.#ready.length > 0) this.#writeSome()
    this.close(error)
  }

  /** Nothing more is sent. What waited gets the error; what the socket may still hold waits for `settle`. */
  close(error: DfsError): void {
    if (this.#closed !== undefined) return
    this.#closed = error
    this.#ready = []
    this.#dropWaiting(error)
    this.#stream?.close(error)
    this.#stream = undefined
  }

  /** The socket is gone and holds no slice any more: whoever still waits for `onWritten` gets the error. */
  settle(error: DfsError): void {
    this.close(error)
    for (const mark of this.#marks.splice(0)) mark.onWritten?.(error)
  }

  #dropWaiting(error: DfsError): void {
    for (const frame of this.#waiting.splice(0)) {
      this.#owedBytes -= frameBytes(frame)
      if (frame.head.type === FrameType.request) this.#callDataBytes -= frame.dataBytes
      frame.onWritten?.(error)
      frame.stream?.close(error)
    }
  }

  #wait(frame: Waiting): void {
    this.#owedBytes += frameBytes(frame)
    this.#waiting.push(frame)
  }

  #putFrame(frame: Waiting): void {
    const { head, data, dataBytes, dataCrc, onWritten, stream } = frame
    this.#putHead(head.type, head.message, head.id, head.body, dataBytes, dataCrc)
    if (stream !== undefined) {
      this.#stream = stream
      this.#owedBytes += dataBytes + TRAILER_BYTES
      stream.begin()
    } else if (dataBytes > 0) {
      for (const slice of data) this.#putSlice(slice)
      this.#put(trailerDone)
      this.#mark(head.type === FrameType.request ? dataBytes : 0, onWritten)
    } else if (onWritten !== undefined) this.#mark(0, onWritten)
    this.#scheduleFlush()
  }

  /** A stream is over: what waited behind it goes, up to and with the next stream. */
  #sendWaiting(): void {
    if (this.#isSendingWaiting) return
    this.#isSendingWaiting = true
    while (this.#stream === undefined) {
      const frame = this.#waiting.shift()
      if (frame === undefined) break
      this.#owedBytes -= frameBytes(frame)
      this.#putFrame(frame)
    }
    this.#isSendingWaiting = false
  }

  #putHead(
    type: FrameType,
    message: number,
    id: number,
    body: Buffer | undefined,
    dataBytes: number,
    dataCrc: number,
  ): void {
    const header = this.#header
    const bodyBytes = body === undefined ? 0 : body.length
    header.type = type
    header.message = message
    header.id = id
    header.bodyBytes = bodyBytes
    header.dataBytes = dataBytes
    header.bodyCrc = body === undefined ? 0 : crc32(body)
    header.dataCrc = dataCrc
    this.#frames++
    if (this.#blockEnd + HEADER_BYTES > this.#block.length) this.#newBlock()
    writeHeader(this.#block, this.#blockEnd, header)
    this.#blockEnd += HEADER_BYTES
    this.#enqueued += HEADER_BYTES
    if (body === undefined) return
    if (bodyBytes <= COPY_BYTES_MAX) this.#put(body)
    else this.#putSlice(body)
  }

  /** Copies a few bytes into the block. */
  #put(bytes: Buffer): void {
    if (this.#blockEnd + bytes.length > this.#block.length) this.#newBlock()
    bytes.copy(this.#block, this.#blockEnd)
    this.#blockEnd += bytes.length
    this.#enqueued += bytes.length
  }

  #putSlice(slice: Uint8Array): void {
    if (slice.length === 0) return
    this.#sealBlock()
    this.#ready.push(slice)
    this.#readyBytes += slice.length
    this.#enqueued += slice.length
  }

  #newBlock(): void {
    this.#sealBlock()
    this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
    this.#blockStart = 0
    this.#blockEnd = 0
  }

  #sealBlock(): void {
    if (this.#blockEnd === this.#blockStart) return
    this.#ready.push(this.#block.subarray(this.#blockStart, this.#blockEnd))
    this.#readyBytes += this.#blockEnd - this.#blockStart
    this.#blockStart = this.#blockEnd
  }

  #mark(callDataBytes: number, onWritten: OnWritten | undefined): void {
    this.#marks.push({ place: this.#enqueued, callDataBytes, onWritten })
  }

  #scheduleFlush(): void {
    if (this.#isBlocked) return
    if (this.#readyBytes + this.#blockEnd - this.#blockStart >= FLUSH_BYTES) this.flush()
    else if (this.#frames >= FLUSH_FRAMES) {
      this.flush()
      this.#socket.flush()
    } else if (!this.#isFlushDue) {
      this.#isFlushDue = true
      this.#clock.defer(this.#flushIfDue)
    }
  }

  readonly #flushIfDue = (): void => {
    if (this.#isFlushDue) this.flush()
  }

  /** One write of at most WRITE_BYTES_MAX, so that progress shows in steps of that size. */
  #writeSome(): void {
    let slices = this.#ready
    let bytes = this.#readyBytes
    if (bytes > WRITE_BYTES_MAX) {
      bytes = 0
      let count = 0
      while (count < slices.length && bytes < WRITE_BYTES_MAX) {
        const slice = slices[count]!
        const room = WRITE_BYTES_MAX - bytes
        if (slice.length > room) {
          slices.splice(count, 1, slice.subarray(0, room), slice.subarray(room))
          bytes += room
        } else bytes += slice.length
        count++
      }
      this.#ready = slices.slice(count)
      slices = slices.slice(0, count)
    } else this.#ready = []
    this.#readyBytes -= bytes
    this.#handed += bytes
    const place = this.#handed
    if (!this.#socket.write(slices, (error) => this.#wrote(place, error))) this.#isBlocked = true
  }

  #wrote(place: number, error: Error | undefined): void {
    // A failed write is followed by the socket's onClose, which settles everything in one place.
    if (error !== undefined) return
    this.#written = place
    let done = 0
    while (done < this.#marks.length && this.#marks[done]!.place <= place) done++
    if (done === 0) return
    for (const mark of this.#marks.splice(0, done)) {
      this.#callDataBytes -= mark.callDataBytes
      mark.onWritten?.()
    }
    this.#onRoom()
  }

  readonly #streamHost: StreamHost = {
    put: (stream, slices, bytes, onWritten) => {
      for (const slice of slices) this.#putSlice(slice)
      this.#owedBytes -= bytes
      this.#mark(stream.isCall ? bytes : 0, onWritten)
      this.#scheduleFlush()
      return !this.#isBlocked
    },
    end: (stream, isComplete) => {
      let bytes = stream.bytesLeft
      this.#owedBytes -= bytes + TRAILER_BYTES
      if (stream.isCall) this.#callDataBytes -= bytes
      for (; bytes > 0; bytes -= filler.length)
        this.#putSlice(bytes < filler.length ? filler.subarray(0, bytes) : filler)
      this.#put(isComplete ? trailerDone : trailerAborted)
      this.#stream = undefined
      this.#scheduleFlush()
      this.#sendWaiting()
    },
    forget: (stream) => {
      const index = this.#waiting.findIndex((frame) => frame.stream === stream)
      const frame = this.#waiting[index]
      assert(frame !== undefined, 'a stream that neither runs nor waits')
      this.#waiting.splice(index, 1)
      this.#owedBytes -= frameBytes(frame)
      if (stream.isCall) this.#callDataBytes -= frame.dataBytes
    },
  }
}

interface Mark {
  readonly place: number
  readonly callDataBytes: number
  readonly onWritten: OnWritten | undefined
}

/** A frame that waits behind a stream, or is one. */
interface Waiting {
  readonly head: FrameHead
  readonly data: readonly Uint8Array[]
  readonly dataBytes: number
  readonly dataCrc: number
  readonly onWritten: OnWritten | undefined
  readonly stream: OpenStream | undefined
}

function frameBytes(frame: Waiting): number {
  const { head, dataBytes } = frame
  return HEADER_BYTES + (head.body?.length ?? 0) + dataBytes + (dataBytes > 0 ? TRAILER_BYTES : 0)
}

function trailer(word: number): Buffer {
  const bytes = Buffer.alloc(TRAILER_BYTES)
  bytes.writeUInt32LE(word)
  return bytes
}
