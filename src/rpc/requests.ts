// The other side's requests while they are being handled: each is answered once, by a reply or an error.

import { assert } from '../base/assert.ts'
import type { DfsError } from '../base/errors.ts'
import type { Linked } from '../base/linked-list.ts'
import { type Body, encodeBody } from '../wire/body.ts'
import { errorToBody } from '../wire/error-body.ts'
import { FrameType } from '../wire/header.ts'
import type { Connection } from './connection.ts'
import type { ArrivingData, IncomingData } from './incoming-data.ts'
import type { Outbox } from './outbox.ts'
import { closedWriter, type DataWriter, type OnWritten } from './outgoing-stream.ts'
import { bytesOf, crcOf } from './slices.ts'

/**
 * Handles the requests of one message. The body's shape is not checked yet. What it throws, or what its promise is
 * rejected with: a DfsError is the answer; anything else is a bug and goes to the connection's `onBug`. It may also
 * answer later, after it has returned; it must answer at some time, also when the request was cancelled.
 */
export type Handler = (request: IncomingRequest) => void | Promise<void>
/** Handlers by message number. */
export type Handlers = ReadonlyMap<number, Handler>

export interface IncomingRequest {
  readonly connection: Connection
  /** The message number, 0 .. 65535. */
  readonly message: number
  readonly body: unknown[]
  /** The data beside the body, on its way; undefined without any. */
  readonly data: IncomingData | undefined
  /** Fires when the caller no longer wants the answer or is gone, with the reason as DfsError. Made when first asked for. */
  readonly signal: AbortSignal
  /** True when `signal` has fired or would have. */
  readonly isCancelled: boolean
  /**
   * Answers.
   *
   * @param data       slices to send beside the body; must not change until `onWritten`
   * @param dataCrc    their CRC32; computed when left out
   * @param onWritten  called once, with an error when the bytes will never be sent
   */
  reply(body: Body, data?: readonly Uint8Array[], dataCrc?: number, onWritten?: OnWritten): void
  /**
   * Answers with data that follows by `write`. When it is aborted the caller gets the error instead.
   *
   * @param dataBytes  1 upward
   * @param onDrain    called when a write had returned false and there is room again
   */
  beginReply(body: Body, dataBytes: number, dataCrc: number, onDrain: () => void): DataWriter
  /** Refuses. */
  fail(error: DfsError): void
}

/** What a request needs of its connection. */
export interface RequestHost {
  readonly connection: Connection
  readonly outbox: Outbox
  /** It was answered: it is no longer kept. */
  finished(request: ActiveRequest): void
}

export class ActiveRequest implements IncomingRequest, Linked<ActiveRequest> {
  before: ActiveRequest | undefined
  after: ActiveRequest | undefined
  readonly message: number
  readonly id: number
  readonly body: unknown[]
  /** Of the body as it came. */
  readonly bodyBytes: number
  readonly data: ArrivingData | undefined
  readonly #host: RequestHost
  #isAnswered = false
  #cancelled: DfsError | undefined
  #abort: AbortController | undefined

  constructor(
    message: number,
    id: number,
    body: unknown[],
    bodyBytes: number,
    data: ArrivingData | undefined,
    host: RequestHost,
  ) {
    this.message = message
    this.id = id
    this.body = body
    this.bodyBytes = bodyBytes
    this.data = data
    this.#host = host
  }

  get connection(): Connection {
    return this.#host.connection
  }

  get isAnswered(): boolean {
    return this.#isAnswered
  }

  get isCancelled(): boolean {
    return this.#cancelled !== undefined
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController()
      if (this.#cancelled !== undefined) this.#abort.abort(this.#cancelled)
    }
    return this.#abort.signal
  }

  reply(body: Body, data?: readonly Uint8Array[], dataCrc?: number, onWritten?: OnWritten): void {
    this.#answer()
    if (this.#cancelled !== undefined) {
      onWritten?.(this.#cancelled)
      return
    }
    const bytes = data === undefined ? 0 : bytesOf(data)
    const encoded = encodeBody(body)
    if (data === undefined || (bytes === 0 && onWritten === undefined)) {
      this.#host.outbox.send(FrameType.reply, 0, this.id, encoded)
    } else {
      const head = { type: FrameType.reply, message: 0, id: this.id, body: encoded }
      this.#host.outbox.sendData(head, data, bytes, dataCrc ?? crcOf(data), onWritten)
    }
  }

  beginReply(body: Body, dataBytes: number, dataCrc: number, onDrain: () => void): DataWriter {
    this.#answer()
    if (this.#cancelled !== undefined) return closedWriter(this.#cancelled)
    const { outbox } = this.#host
    const head = { type: FrameType.reply, message: 0, id: this.id, body: encodeBody(body) }
    return outbox.beginStream(head, dataBytes, dataCrc, onDrain, (error) => {
      outbox.send(FrameType.error, 0, this.id, encodeBody(errorToBody(error)))
    })
  }

  fail(error: DfsError): void {
    this.#answer()
    if (this.#cancelled !== undefined) return
    this.#host.outbox.send(FrameType.error, 0, this.id, encodeBody(errorToBody(error)))
  }

  /** The caller gave up, or the connection is gone. */
  cancel(reason: DfsError): void {
    if (this.#cancelled !== undefined) return
    this.#cancelled = reason
    this.#abort?.abort(reason)
  }

  #answer(): void {
    assert(!this.#isAnswered, `request of message ${this.message} answered twice`)
    this.#isAnswered = true
    if (this.data !== undefined) {
      // Whoever has a sink goes on taking the data; what nobody asked for must not hold up the frames behind it.
      if (!this.data.isAttached) this.data.skip()
      this.data.giveBack()
    }
    this.#host.finished(this)
  }
}
