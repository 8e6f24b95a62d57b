// A connection: both sides ask and answer over one socket, many requests at once, answers in any order.
//
// Format and rules: ../wire/README.md. This file joins the parts and decides when a connection ends; the parts are
// outbox.ts (sending), inbox.ts (receiving, back-pressure), calls.ts (our requests), requests.ts (theirs),
// incoming-data.ts (data as it comes) and watch.ts (what has taken too long).
//
// Invariants:
//   - nothing but the hello and an error is believed before the other side's hello was checked
//   - a broken rule is answered with a typed error frame of id 0, then the connection closes; it costs nobody else
//   - when it closes every call fails with CONNECTION_LOST, every request's signal fires, every data sink ends

import { assert } from '../base/assert.ts'
import { DfsError, isDfsError } from '../base/errors.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Clock, Timer } from '../io/clock.ts'
import { type Address, formatAddress, type ReceivedBytes, type Socket } from '../io/network.ts'
import { type Body, decodeBody, encodeBody } from '../wire/body.ts'
import { errorFromBody, errorToBody } from '../wire/error-body.ts'
import { type DataVerdict, FrameParser } from '../wire/frame.ts'
import { badFrame, type FrameHeader, FrameType } from '../wire/header.ts'
import { checkHello, type Expectation, HELLO_BYTES_MAX, type Hello, helloFromBody, helloToBody } from '../wire/hello.ts'
import { CallTable, type OnReplyData, PendingCall, type Reply } from './calls.ts'
import { Inbox, PauseReason } from './inbox.ts'
import { ArrivingData, type ByteBudget, type IncomingDataHost } from './incoming-data.ts'
import { RPC_LIMITS, type RpcLimits } from './limits.ts'
import { closedWriter, type DataWriter, type OnWritten, Outbox } from './outbox.ts'
import { ActiveRequest, bytesOf, crcOf, type Handlers, type RequestHost } from './requests.ts'
import { Watch } from './watch.ts'

export interface ConnectionOptions {
  readonly clock: Clock
  /** What we say of ourselves. */
  readonly hello: Hello
  /** True for the side that was connected to: it answers the other's hello, once it has accepted it. */
  readonly isAcceptor: boolean
  /** What the other side must be. */
  readonly expect?: Expectation
  /** Answers the other side's requests; without it every one is UNKNOWN_MESSAGE. */
  readonly handlers?: Handlers
  /** Gets what is no fault of the world: the process should end. */
  readonly onBug: (error: unknown) => void
  /** Called once, when the connection is gone; `reason` says why. Also for one that never opened. */
  readonly onClose?: (connection: Connection, reason: DfsError) => void
  readonly limits?: Partial<RpcLimits>
  /** Memory for `collect` of requests' data, shared by the connections of a server. */
  readonly budget?: ByteBudget
}

export interface CallOptions {
  /** Milliseconds until TIMEOUT; the connection's `callMs` when left out. */
  readonly timeoutMs?: number
  /** Gives up with ABORTED, or with the signal's reason when that is a DfsError. */
  readonly signal?: AbortSignal
  /** Sent beside the body. The slices must not change until `onWritten`. */
  readonly data?: readonly Uint8Array[]
  /** Their CRC32; computed when left out. */
  readonly dataCrc?: number
  /** Called once when the data left this process, or with an error when it never will. */
  readonly onWritten?: OnWritten
  /** Takes the reply's data as it comes; without it the data is collected, at most `collectBytesMax`. */
  readonly onData?: OnReplyData
}

/** A call whose data is sent as it comes. */
export interface StreamedCall {
  readonly writer: DataWriter
  readonly reply: Promise<Reply>
}

type State = 'greeting' | 'open' | 'closing' | 'closed'

/** How long the other side has to read what was queued, and why the connection ends, before the socket is destroyed. */
const LINGER_MS = 5 * SECOND_MS

export class Connection {
  /** Resolves when both sides have accepted each other (an acceptor: when it has accepted the other); rejects with the reason when the connection closes before. */
  readonly opened: Promise<void>

  readonly #socket: Socket
  readonly #options: ConnectionOptions
  readonly #limits: RpcLimits
  readonly #clock: Clock
  readonly #parser: FrameParser<ReceivedBytes>
  readonly #inbox: Inbox
  readonly #outbox: Outbox
  readonly #calls = new CallTable()
  readonly #requests = new Map<number, ActiveRequest>()
  readonly #watch: Watch
  readonly #requestHost: RequestHost
  readonly #requestDataHost: IncomingDataHost
  readonly #replyDataHost: IncomingDataHost
  #timer: Timer | undefined
  #wakeAtMs = 0
  #state: State = 'greeting'
  #peer: Hello | undefined
  #reason: DfsError | undefined
  #resolveOpened: () => void = () => {}
  #rejectOpened: (error: DfsError) => void = () => {}
  /** The data of the frame that is arriving, and who waits for it. */
  #arriving: ArrivingData | undefined
  /** What to do when it is complete. */
  #onDataComplete: (() => void) | undefined
  #framesSeen = 0

  /** Takes over the socket, in the turn it was got; who connected says hello. */
  constructor(socket: Socket, options: ConnectionOptions) {
    this.#socket = socket
    this.#options = options
    this.#limits = { ...RPC_LIMITS, ...options.limits }
    this.#clock = options.clock
    this.opened = new Promise((resolve, reject) => {
      this.#resolveOpened = resolve
      this.#rejectOpened = reject
    })
    // Whoever doesn't await it learns the same from `onClose` and from the calls.
    this.opened.catch(() => {})
    this.#parser = new FrameParser<ReceivedBytes>(
      {
        onFrame: (header, body) => this.#onFrame(header, body),
        onData: (bytes, received) => this.#arriving?.deliver(bytes, received),
        onDataEnd: (verdict) => this.#onDataEnd(verdict),
      },
      { bodyBytesMax: HELLO_BYTES_MAX, dataBytesMax: 0 },
    )
    this.#outbox = new Outbox(socket, this.#clock, () => this.#onRoom())
    this.#requestHost = {
      connection: this,
      outbox: this.#outbox,
      finished: (request) => this.#onAnswered(request),
    }
    const { collectBytesMax } = this.#limits
    const host = {
      collectBytesMax,
      pauseData: () => this.#inbox.pause(PauseReason.data),
      resumeData: () => this.#inbox.resume(PauseReason.data),
      checkDataWith: (crc: () => number) => this.#parser.checkDataWith(crc),
    }
    this.#replyDataHost = { ...host, budget: undefined }
    this.#requestDataHost = { ...host, budget: options.budget }
    this.#inbox = new Inbox(socket, this.#parser, (error) => this.#onBroken(error))
    this.#watch = new Watch(this.#limits, this.#clock.nowMs())
    socket.start({
      onBytes: (received) => {
        if (this.#state === 'greeting' || this.#state === 'open') {
          this.#watch.heard = true
          this.#inbox.take(received)
        }
      },
      onDrain: () => this.#outbox.drained(),
      onEnd: () => this.#onEnd(),
      onClose: (error) => this.#onSocketClosed(error),
    })
    if (!options.isAcceptor) this.#sendHello()
    this.#wakeAt(this.#clock.nowMs() + Math.min(this.#limits.helloMs, this.#watch.tickMs))
  }

  /** What the other side said of itself; undefined until `opened`. */
  get peer(): Hello | undefined {
    return this.#peer
  }

  get remote(): Address {
    return this.#socket.remote
  }

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  /** True when it has neither calls nor requests nor bytes under way. */
  get isIdle(): boolean {
    return this.#calls.size === 0 && this.#requests.size === 0 && this.#outbox.backlogBytes === 0
  }

  /** Calls that wait for their answers. */
  get callCount(): number {
    return this.#calls.size
  }

  /** Requests of the other side that are being handled. */
  get requestCount(): number {
    return this.#requests.size
  }

  /** Accepted for sending and not yet taken by the system. */
  get backlogBytes(): number {
    return this.#outbox.backlogBytes
  }

  /**
   * Asks. Rejects with what the other side answers, TIMEOUT, ABORTED, CONNECTION_LOST, or BUSY when too much waits
   * already. After TIMEOUT, ABORTED and CONNECTION_LOST it is not known whether the request was carried out.
   *
   * @param message  0 .. 65535
   */
  call(message: number, body: Body, options: CallOptions = NO_OPTIONS): Promise<Reply> {
    const data = options.data
    const dataBytes = data === undefined ? 0 : bytesOf(data)
    const refusal = this.#refusal(dataBytes)
    if (refusal !== undefined) {
      options.onWritten?.(refusal)
      return Promise.reject(refusal)
    }
    const id = this.#calls.newId()
    const reply = this.#register(id, message, options)
    const encoded = encodeBody(body)
    if (data === undefined || (dataBytes === 0 && options.onWritten === undefined)) {
      this.#outbox.send(FrameType.request, message, id, encoded)
    } else {
      const head = { type: FrameType.request, message, id, body: encoded }
      this.#outbox.sendData(head, data, dataBytes, options.dataCrc ?? crcOf(data), options.onWritten)
    }
    return reply
  }

  /**
   * Asks with data that follows by `writer.write`. Aborting the writer rejects the reply with that error; a reply or
   * error that comes before all data was written doesn't end the writer: abort it when the rest is not wanted.
   *
   * @param dataBytes  1 upward
   * @param dataCrc    the CRC32 of the data to come
   * @param onDrain    called when a write had returned false and there is room again
   */
  beginCall(
    message: number,
    body: Body,
    dataBytes: number,
    dataCrc: number,
    onDrain: () => void,
    options: Omit<CallOptions, 'data' | 'dataCrc' | 'onWritten'> = NO_OPTIONS,
  ): StreamedCall {
    const refusal = this.#refusal(dataBytes)
    if (refusal !== undefined) return { writer: closedWriter(refusal), reply: Promise.reject(refusal) }
    const id = this.#calls.newId()
    const reply = this.#register(id, message, options)
    const head = { type: FrameType.request, message, id, body: encodeBody(body) }
    const writer = this.#outbox.beginStream(head, dataBytes, dataCrc, onDrain, (error) => this.#giveUp(id, error))
    return { writer, reply }
  }

  /** Sends what is queued, then ends; calls that still wait fail with CONNECTION_LOST. Harmless when it is closed. */
  close(reason = new DfsError('CONNECTION_LOST', 'this side closed the connection')): void {
    if (this.#state !== 'greeting' && this.#state !== 'open') return
    this.#lose(reason)
    this.#endSoon()
  }

  /** Breaks the connection now. Harmless when it is closed. */
  destroy(reason: DfsError): void {
    if (this.#state === 'closed') return
    this.#lose(reason)
    this.#outbox.close(this.#reason!)
    this.#socket.destroy(reason)
  }

  /** Sends an error that ends the connection, and closes it: for whoever accepts it but can't keep it. */
  refuse(error: DfsError): void {
    if (this.#state !== 'greeting' && this.#state !== 'open') return
    this.#outbox.abandon(error)
    this.#outbox.send(FrameType.error, 0, 0, encodeBody(errorToBody(error)))
    this.#lose(error)
    this.#endSoon()
  }

  #refusal(dataBytes: number): DfsError | undefined {
    if (this.#state !== 'open') {
      assert(this.#state !== 'greeting', 'a call before the connection is open')
      return new DfsError('CONNECTION_LOST', `the connection to ${this.#name()} is closed`, {}, this.#reason)
    }
    const { callsMax, callBytesMax } = this.#limits
    if (this.#calls.size >= callsMax) {
      return new DfsError('BUSY', `${callsMax} calls to ${this.#name()} wait for answers already`, { callsMax })
    }
    if (dataBytes > 0 && this.#outbox.callDataBytes + dataBytes > callBytesMax) {
      const message = `${this.#outbox.callDataBytes} bytes to ${this.#name()} wait to be sent already, at most ${callBytesMax} may`
      return new DfsError('BUSY', message, { bytes: dataBytes, callBytesMax })
    }
    return undefined
  }

  #register(id: number, message: number, options: CallOptions): Promise<Reply> {
    const deadlineMs = this.#clock.nowMs() + (options.timeoutMs ?? this.#limits.callMs)
    return new Promise((resolve, reject) => {
      const call = new PendingCall(id, message, deadlineMs, options.onData, resolve, reject)
      const { signal } = options
      if (signal !== undefined) {
        const abort = () => this.#giveUp(id, abortError(signal))
        if (signal.aborted) queueMicrotask(abort)
        else signal.addEventListener('abort', abort, { once: true })
        call.unlisten = () => signal.removeEventListener('abort', abort)
      }
      this.#calls.add(call)
      if (deadlineMs < this.#wakeAtMs) this.#wakeAt(deadlineMs)
    })
  }

  /** Settles a call with an error of ours and tells the other side that nobody waits any more. */
  #giveUp(id: number, error: DfsError): void {
    const call = this.#calls.take(id)
    if (call === undefined) return
    if (!this.#outbox.drop(id, error)) this.#outbox.send(FrameType.cancel, 0, id, undefined)
    call.data?.skip()
    call.reject(error)
  }

  #onFrame(header: Readonly<FrameHeader>, body: Buffer): void {
    if (header.dataBytes === 0) this.#framesSeen++
    if (this.#state === 'greeting') {
      this.#onGreeting(header, body)
      return
    }
    switch (header.type) {
      case FrameType.request:
        this.#onRequest(header, body)
        break
      case FrameType.reply:
        this.#onReply(header, body)
        break
      case FrameType.error:
        this.#onError(header.id, body)
        break
      case FrameType.cancel:
        this.#requests.get(header.id)?.cancel(new DfsError('ABORTED', 'the caller gave up'))
        break
      case FrameType.ping:
        break
      default:
        throw badFrame('a second hello')
    }
  }

  #sendHello(): void {
    this.#outbox.send(FrameType.hello, 0, 0, encodeBody(helloToBody(this.#options.hello)))
  }

  #onGreeting(header: Readonly<FrameHeader>, body: Buffer): void {
    if (header.type === FrameType.error) throw new PeerRefusal(errorFromBody(decodeBody(body)))
    if (header.type !== FrameType.hello) throw badFrame(`a frame of type ${header.type} before the hello`)
    const peer = helloFromBody(decodeBody(body))
    checkHello(this.#options.hello, peer, this.#options.expect ?? {})
    if (this.#options.isAcceptor) this.#sendHello()
    this.#peer = peer
    this.#state = 'open'
    this.#parser.limits = this.#limits
    this.#resolveOpened()
  }

  #onRequest(header: Readonly<FrameHeader>, bytes: Buffer): void {
    const { id, message, dataBytes, dataCrc } = header
    if (this.#requests.has(id)) throw badFrame(`request id ${id} is in use`)
    const data = dataBytes > 0 ? new ArrivingData(dataBytes, dataCrc, this.#requestDataHost) : undefined
    this.#arriving = data
    const handler = this.#options.handlers?.get(message)
    let request: ActiveRequest
    try {
      if (handler === undefined) {
        throw new DfsError('UNKNOWN_MESSAGE', `message ${message} is not known here`, { message })
      }
      request = new ActiveRequest(message, id, decodeBody(bytes), data, this.#requestHost)
    } catch (error) {
      if (!isDfsError(error)) throw error
      data?.skip()
      this.#outbox.send(FrameType.error, 0, id, encodeBody(errorToBody(error)))
      this.#holdIfRepliesPile()
      return
    }
    this.#requests.set(id, request)
    if (this.#requests.size >= this.#limits.requestsMax) this.#inbox.pause(PauseReason.requests)
    try {
      const promise = handler(request)
      if (promise !== undefined) promise.catch((error: unknown) => this.#onHandlerThrew(request, error))
    } catch (error) {
      this.#onHandlerThrew(request, error)
    }
    if (data !== undefined && !data.isAttached) this.#inbox.pause(PauseReason.data)
  }

  #onHandlerThrew(request: ActiveRequest, error: unknown): void {
    if (isDfsError(error) && !request.isAnswered) {
      request.fail(error)
      return
    }
    if (!request.isAnswered) request.fail(new DfsError('INTERNAL', `message ${request.message}: a bug in the server`))
    this.#options.onBug(error)
  }

  #onReply(header: Readonly<FrameHeader>, bytes: Buffer): void {
    const { id, dataBytes, dataCrc } = header
    if (!this.#calls.wasIssued(id)) throw badFrame(`a reply to request ${id}, which was never sent`)
    const call = this.#calls.get(id)
    const data = dataBytes > 0 ? new ArrivingData(dataBytes, dataCrc, this.#replyDataHost) : undefined
    this.#arriving = data
    if (call === undefined || call.data !== undefined) {
      data?.skip() // late: the caller has given up meanwhile
      return
    }
    let body: unknown[]
    try {
      body = decodeBody(bytes)
      if (data === undefined) this.#calls.take(id)?.resolve({ body, data: undefined })
      else this.#beginReplyData(call, body, data)
    } catch (error) {
      if (!isDfsError(error)) throw error
      data?.skip()
      this.#giveUp(id, error)
    }
  }

  #beginReplyData(call: PendingCall, body: unknown[], data: ArrivingData): void {
    call.data = data
    if (call.onData === undefined) {
      data.collect().then(
        (collected) => this.#calls.take(call.id)?.resolve({ body, data: collected }),
        (error: DfsError) => this.#onCollectFailed(call.id, error),
      )
      return
    }
    this.#onDataComplete = () => this.#calls.take(call.id)?.resolve({ body, data: undefined })
    call.onData(body, data)
    if (!data.isAttached) this.#inbox.pause(PauseReason.data)
  }

  /** ABORTED needs nothing: the error frame that says why follows, or nobody waits any more. */
  #onCollectFailed(id: number, error: DfsError): void {
    if (error.code !== 'ABORTED') this.#giveUp(id, error)
  }

  #onDataEnd(verdict: DataVerdict): void {
    this.#framesSeen++
    const data = this.#arriving
    const onComplete = this.#onDataComplete
    this.#arriving = undefined
    this.#onDataComplete = undefined
    data?.finish(verdict)
    if (verdict === 'complete') onComplete?.()
  }

  #onError(id: number, bytes: Buffer): void {
    const error = errorFromBody(decodeBody(bytes))
    if (id === 0) throw new PeerRefusal(error)
    if (!this.#calls.wasIssued(id)) throw badFrame(`an error for request ${id}, which was never sent`)
    this.#calls.take(id)?.reject(error)
  }

  #onAnswered(request: ActiveRequest): void {
    this.#requests.delete(request.id)
    this.#holdIfRepliesPile()
    if (this.#requests.size < this.#limits.requestsMax) this.#inbox.resume(PauseReason.requests)
  }

  /** The parser, or what it called, refused what came. */
  #onBroken(error: unknown): void {
    if (error instanceof PeerRefusal) {
      this.#lose(error.refusal)
      this.#endSoon()
    } else if (isDfsError(error)) this.refuse(error)
    else {
      this.destroy(new DfsError('INTERNAL', `a bug met on the connection to ${this.#name()}`, {}, error))
      this.#options.onBug(error)
    }
  }

  #onRoom(): void {
    const { replyBytesMax } = this.#limits
    if (this.#replyBytes() <= replyBytesMax / 2) this.#inbox.resume(PauseReason.replies)
  }

  #holdIfRepliesPile(): void {
    if (this.#replyBytes() > this.#limits.replyBytesMax) this.#inbox.pause(PauseReason.replies)
  }

  #replyBytes(): number {
    return this.#outbox.backlogBytes - this.#outbox.callDataBytes
  }

  /** The other side sends no more. It may still read: what is queued goes out, then we end too. */
  #onEnd(): void {
    this.#lose(new DfsError('CONNECTION_LOST', `${this.#name()} closed the connection`))
    this.#endSoon()
  }

  /** Nothing is taken or asked any more; everybody who waits is told. The first reason counts. */
  #lose(reason: DfsError): void {
    if (this.#state === 'closing' || this.#state === 'closed') return
    const wasGreeting = this.#state === 'greeting'
    this.#state = 'closing'
    this.#reason = reason
    const lost =
      reason.code === 'CONNECTION_LOST'
        ? reason
        : new DfsError(
            'CONNECTION_LOST',
            `the connection to ${this.#name()} ended: ${reason.message}`,
            reason.detail,
            reason,
          )
    if (wasGreeting) this.#rejectOpened(reason)
    this.#inbox.close()
    const requests = [...this.#requests.values()]
    this.#arriving?.lost(lost)
    this.#arriving = undefined
    for (const request of requests) request.cancel(lost)
    this.#calls.fail(lost)
    this.#outbox.abandon(lost)
  }

  /** Lets the queued bytes go and the other side read them, then breaks the socket. */
  #endSoon(): void {
    this.#outbox.finish(this.#reason!)
    this.#socket.end()
    // What still comes is dropped unread; without reading, the system would answer with a reset and the other side
    // would never see the last frame.
    this.#socket.resume()
    this.#timer?.cancel()
    this.#timer = this.#clock.after(LINGER_MS, () => this.#socket.destroy(this.#reason))
  }

  #onSocketClosed(error: Error | undefined): void {
    const reason = isDfsError(error)
      ? error
      : new DfsError('CONNECTION_LOST', `the connection to ${this.#name()} broke`, {}, error)
    this.#lose(reason)
    this.#state = 'closed'
    this.#timer?.cancel()
    this.#outbox.settle(this.#reason!)
    this.#options.onClose?.(this, this.#reason!)
  }

  #wakeAt(atMs: number): void {
    this.#timer?.cancel()
    this.#wakeAtMs = atMs
    this.#timer = this.#clock.after(Math.max(0, atMs - this.#clock.nowMs()), this.#wake)
  }

  /** The one timer: deadlines of calls, and all that may take only so long. */
  readonly #wake = (): void => {
    if (this.#state !== 'greeting' && this.#state !== 'open') return
    const nowMs = this.#clock.nowMs()
    for (const call of this.#calls.expired(nowMs)) {
      const message = `message ${call.message} to ${this.#name()} was not answered in time`
      this.#giveUp(call.id, new DfsError('TIMEOUT', message, { message: call.message }))
    }
    const verdict = this.#watch.look(nowMs, {
      isGreeting: this.#state === 'greeting',
      framesSeen: this.#framesSeen,
      isInsideFrame: this.#parser.isInsideFrame,
      isPaused: this.#inbox.isPaused,
      isPausedForData: this.#inbox.isPausedFor(PauseReason.data),
      enqueuedBytes: this.#outbox.enqueuedBytes,
      writtenBytes: this.#outbox.writtenBytes,
      isAwaitingSystem: this.#outbox.isAwaitingSystem,
      isStreaming: this.#outbox.stream !== undefined,
    })
    if (verdict.kind === 'refuse') {
      this.refuse(verdict.error)
      return
    }
    if (verdict.kind === 'destroy') {
      this.destroy(verdict.error)
      return
    }
    if (verdict.kind === 'abortStream') this.#outbox.stream?.abort(verdict.error)
    if (verdict.kind === 'ping') this.#outbox.send(FrameType.ping, 0, 0, undefined)
    this.#wakeAt(Math.min(nowMs + this.#watch.tickMs, this.#calls.nextDeadlineMs))
  }

  #name(): string {
    const at = formatAddress(this.#socket.remote)
    return this.#peer === undefined || this.#peer.name === '' ? at : `${this.#peer.name} (${at})`
  }
}

const NO_OPTIONS: CallOptions = {}

/** The other side ended the connection and said why. */
class PeerRefusal extends Error {
  readonly refusal: DfsError

  constructor(refusal: DfsError) {
    super(refusal.message)
    this.refusal = refusal
  }
}

function abortError(signal: AbortSignal): DfsError {
  const reason: unknown = signal.reason
  return isDfsError(reason) ? reason : new DfsError('ABORTED', 'the caller gave up', {}, reason)
}
