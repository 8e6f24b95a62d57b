// The answering half of a connection: the other side's requests find their handlers and are kept until they are answered.

import { DfsError, isDfsError } from '../base/errors.ts'
import { LinkedList } from '../base/linked-list.ts'
import { decodeBody, encodeBody } from '../wire/body.ts'
import { errorToBody } from '../wire/error-body.ts'
import { badFrame, type FrameHeader, FrameType } from '../wire/header.ts'
import type { Connection } from './connection.ts'
import { ArrivingData, type IncomingDataHost } from './incoming-data.ts'
import type { Outbox } from './outbox.ts'
import { ActiveRequest, type Handlers, type RequestHost } from './requests.ts'

/** What the responder needs of its connection. */
export interface ResponderHost {
  readonly connection: Connection
  readonly handlers: Handlers | undefined
  readonly outbox: Outbox
  readonly dataHost: IncomingDataHost
  readonly onBug: (error: unknown) => void
  /** A request came, was answered or refused: the bounds are to be looked at again. */
  changed(): void
}

export class Responder {
  readonly #host: ResponderHost
  readonly #requestHost: RequestHost
  /** In the order they came. */
  readonly #requests = new LinkedList<ActiveRequest>()
  #count = 0
  /** No request being handled has a higher id. A caller's ids grow: one that is higher need not be looked for. */
  #idMax = 0
  #bodyBytes = 0

  constructor(host: ResponderHost) {
    this.#host = host
    const { connection, outbox } = host
    this.#requestHost = {
      connection,
      outbox,
      finished: (request) => {
        this.#requests.delete(request)
        this.#count--
        if (this.#count === 0) this.#idMax = 0
        this.#bodyBytes -= request.bodyBytes
        host.changed()
      },
    }
  }

  /** Requests that are being handled. */
  get count(): number {
    return this.#count
  }

  /** Bytes of their bodies, as they came. */
  get bodyBytes(): number {
    return this.#bodyBytes
  }

  /** A request came. @returns its data, already attached or waiting for its sink. Throws BAD_FRAME for an id in use. */
  onRequest(header: Readonly<FrameHeader>, bytes: Buffer): ArrivingData | undefined {
    const { id, message, dataBytes, dataCrc } = header
    if (this.#find(id) !== undefined) throw badFrame(`request id ${id} is in use`)
    const data = dataBytes > 0 ? new ArrivingData(dataBytes, dataCrc, this.#host.dataHost) : undefined
    const handler = this.#host.handlers?.get(message)
    let request: ActiveRequest
    try {
      if (handler === undefined) {
        throw new DfsError('UNKNOWN_MESSAGE', `message ${message} is not known here`, { message })
      }
      request = new ActiveRequest(message, id, decodeBody(bytes), bytes.length, data, this.#requestHost)
    } catch (error) {
      if (!isDfsError(error)) throw error
      data?.skip()
      this.#host.outbox.send(FrameType.error, 0, id, encodeBody(errorToBody(error)))
      this.#host.changed()
      return data
    }
    this.#requests.add(request)
    this.#count++
    if (id > this.#idMax) this.#idMax = id
    this.#bodyBytes += request.bodyBytes
    this.#host.changed()
    try {
      const promise = handler(request)
      if (promise !== undefined) promise.catch((error: unknown) => this.#onHandlerThrew(request, error))
    } catch (error) {
      this.#onHandlerThrew(request, error)
    }
    return data
  }

  onCancel(id: number): void {
    this.#find(id)?.cancel(new DfsError('ABORTED', 'the caller gave up'))
  }

  /** The connection is gone. */
  fail(error: DfsError): void {
    for (const request of [...this.#requests]) request.cancel(error)
  }

  /** The request with this id that is being handled; there are `requestsMax` to look through at most. */
  #find(id: number): ActiveRequest | undefined {
    if (id > this.#idMax) return undefined
    let request = this.#requests.first
    while (request !== undefined && request.id !== id) request = request.after
    return request
  }

  #onHandlerThrew(request: ActiveRequest, error: unknown): void {
    if (isDfsError(error) && !request.isAnswered) {
      request.fail(error)
      return
    }
    if (!request.isAnswered) request.fail(new DfsError('INTERNAL', `message ${request.message}: a bug in the server`))
    this.#host.onBug(error)
  }
}
