// The asking half of a connection: calls go out, their replies come back, late ones are dropped.

import { DfsError, isDfsError } from '../base/errors.ts'
import type { Clock } from '../io/clock.ts'
import { type Body, decodeBody, encodeBody } from '../wire/body.ts'
import { errorFromBody } from '../wire/error-body.ts'
import { badFrame, type FrameHeader, FrameType } from '../wire/header.ts'
import { CallTable, type OnReplyData, PendingCall, type Reply } from './calls.ts'
import { ArrivingData, type IncomingDataHost } from './incoming-data.ts'
import type { RpcLimits } from './limits.ts'
import type { Outbox } from './outbox.ts'
import { closedWriter, type DataWriter, type OnWritten } from './outgoing-stream.ts'
import { bytesOf, crcOf } from './slices.ts'

export interface CallOptions {
  /** Milliseconds until TIMEOUT; the connection's `callMs` when left out. */
  readonly timeoutMs?: number | undefined
  /** Gives up with ABORTED, or with the signal's reason when that is a DfsError. */
  readonly signal?: AbortSignal | undefined
  /** Sent beside the body. The slices must not change until `onWritten`. */
  readonly data?: readonly Uint8Array[] | undefined
  /** Their CRC32; computed when left out. */
  readonly dataCrc?: number | undefined
  /** Called once when the data left this process, or with an error when it never will. */
  readonly onWritten?: OnWritten | undefined
  /** Takes the reply's data as it comes; without it the data is collected, at most `collectBytesMax`. */
  readonly onData?: OnReplyData | undefined
  /** Told at once how `Connection.giveUp` names this call: cheaper than a signal for who asks very often. */
  readonly onStart?: ((id: number) => void) | undefined
}

/** Options of a call whose data is sent as it comes. */
export type StreamedCallOptions = Pick<CallOptions, 'timeoutMs' | 'signal' | 'onData'>

/** A call whose data is sent as it comes. */
export interface StreamedCall {
  readonly writer: DataWriter
  readonly reply: Promise<Reply>
}

/** What the caller needs of its connection. */
export interface CallerHost {
  readonly clock: Clock
  readonly limits: RpcLimits
  readonly outbox: Outbox
  readonly dataHost: IncomingDataHost
  /** Why nothing can be asked now, if so. */
  refusal(): DfsError | undefined
  /** How the other side is called in messages. */
  name(): string
  /** Makes sure that `expire` is called at `atMs` or soon after. */
  wakeBy(atMs: number): void
}

export class Caller {
  readonly #host: CallerHost
  readonly #calls = new CallTable()

  constructor(host: CallerHost) {
    this.#host = host
  }

  /** Calls that wait for their answers. */
  get count(): number {
    return this.#calls.size
  }

  /** No call's deadline is earlier; Infinity without calls. */
  get nextDeadlineMs(): number {
    return this.#calls.nextDeadlineMs
  }

  /** See `Connection.call`. */
  call(message: number, body: Body, options: CallOptions): Promise<Reply> {
    const { data, onWritten } = options
    const dataBytes = data === undefined ? 0 : bytesOf(data)
    const refusal = this.#refusal(dataBytes, options.signal)
    if (refusal !== undefined) {
      onWritten?.(refusal)
      return Promise.reject(refusal)
    }
    const encoded = encodeBody(body)
    const id = this.#calls.newId()
    const reply = this.#register(id, message, options)
    const { outbox } = this.#host
    if (data === undefined || (dataBytes === 0 && onWritten === undefined)) {
      outbox.send(FrameType.request, message, id, encoded)
    } else {
      const head = { type: FrameType.request, message, id, body: encoded }
      outbox.sendData(head, data, dataBytes, options.dataCrc ?? crcOf(data), onWritten)
    }
    return reply
  }

  /** See `Connection.beginCall`. */
  beginCall(
    message: number,
    body: Body,
    dataBytes: number,
    dataCrc: number,
    onDrain: () => void,
    options: StreamedCallOptions,
  ): StreamedCall {
    const refusal = this.#refusal(dataBytes, options.signal)
    if (refusal !== undefined) return { writer: closedWriter(refusal), reply: Promise.reject(refusal) }
    const encoded = encodeBody(body)
    const id = this.#calls.newId()
    const reply = this.#register(id, message, options)
    const head = { type: FrameType.request, message, id, body: encoded }
    const { outbox } = this.#host
    const writer = outbox.beginStream(head, dataBytes, dataCrc, onDrain, (error) => this.giveUp(id, error))
    return { writer, reply }
  }

  /** A reply came. @returns its data, already attached or waiting for its sink. Throws BAD_FRAME for one to nobody. */
  onReply(header: Readonly<FrameHeader>, bytes: Buffer): ArrivingData | undefined {
    const { id, dataBytes, dataCrc } = header
    if (!this.#calls.wasIssued(id)) throw badFrame(`a reply to request ${id}, which was never sent`)
    const call = this.#calls.get(id)
    const data = dataBytes > 0 ? new ArrivingData(dataBytes, dataCrc, this.#host.dataHost) : undefined
    if (call === undefined || call.data !== undefined) {
      data?.skip() // late: the caller has given up meanwhile
      return data
    }
    try {
      const body = decodeBody(bytes)
      if (data === undefined) this.#calls.take(id)?.resolve({ body, data: undefined })
      else this.#beginData(call, body, data)
    } catch (error) {
      if (!isDfsError(error)) throw error
      data?.skip()
      this.giveUp(id, error)
    }
    return data
  }

  /** An error for one of our requests came. Throws BAD_FRAME for one to nobody. */
  onError(id: number, bytes: Buffer): void {
    const error = errorFromBody(decodeBody(bytes))
    if (!this.#calls.wasIssued(id)) throw badFrame(`an error for request ${id}, which was never sent`)
    this.#calls.take(id)?.reject(error)
  }

  /** Gives up the calls whose deadline has passed. */
  expire(nowMs: number): void {
    for (const call of this.#calls.expired(nowMs)) {
      const message = `message ${call.message} to ${this.#host.name()} was not answered in time`
      this.giveUp(call.id, new DfsError('TIMEOUT', message, { message: call.message }))
    }
  }

  /** The connection is gone. */
  fail(error: DfsError): void {
    this.#calls.fail(error)
  }

  #refusal(dataBytes: number, signal: AbortSignal | undefined): DfsError | undefined {
    const refusal = this.#host.refusal()
    if (refusal !== undefined) return refusal
    if (signal?.aborted) return abortError(signal)
    const { callsMax, callBytesMax } = this.#host.limits
    if (this.#calls.size >= callsMax) {
      return new DfsError('BUSY', `${callsMax} calls to ${this.#host.name()} wait for answers already`, { callsMax })
    }
    const { backlogBytes } = this.#host.outbox
    if (backlogBytes + dataBytes > callBytesMax) {
      const message = `${backlogBytes} bytes to ${this.#host.name()} wait to be sent already, at most ${callBytesMax} may`
      return new DfsError('BUSY', message, { bytes: dataBytes, callBytesMax })
    }
    return undefined
  }

  #register(id: number, message: number, options: CallOptions): Promise<Reply> {
    const { clock, limits } = this.#host
    const deadlineMs = clock.nowMs() + (options.timeoutMs ?? limits.callMs)
    return new Promise((resolve, reject) => {
      const call = new PendingCall(id, message, deadlineMs, options.onData, resolve, reject)
      const { signal } = options
      if (signal !== undefined) {
        const abort = () => this.giveUp(id, abortError(signal))
        signal.addEventListener('abort', abort, { once: true })
        call.unlisten = () => signal.removeEventListener('abort', abort)
      }
      this.#calls.add(call)
      this.#host.wakeBy(deadlineMs)
      options.onStart?.(id)
    })
  }

  /** See `Connection.giveUp`: settles a call with an error of ours and tells the other side that nobody waits any more. */
  giveUp(id: number, error: DfsError): void {
    const call = this.#calls.take(id)
    if (call === undefined) return
    const { outbox } = this.#host
    if (!outbox.drop(id, error)) outbox.send(FrameType.cancel, 0, id, undefined)
    call.data?.skip()
    call.reject(error)
  }

  #beginData(call: PendingCall, body: unknown[], data: ArrivingData): void {
    const { id } = call
    call.data = data
    if (call.onData !== undefined) {
      data.onComplete = () => this.#calls.take(id)?.resolve({ body, data: undefined })
      call.onData(body, data)
      return
    }
    data.collect().then(
      (collected) => this.#calls.take(id)?.resolve({ body, data: collected }),
      (error: DfsError) => {
        // ABORTED needs nothing: the error frame that says why follows, or nobody waits any more.
        if (error.code !== 'ABORTED') this.giveUp(id, error)
      },
    )
  }
}

function abortError(signal: AbortSignal): DfsError {
  const reason: unknown = signal.reason
  return isDfsError(reason) ? reason : new DfsError('ABORTED', 'the caller gave up', {}, reason)
}
