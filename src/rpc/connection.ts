// A connection: both sides ask and answer over one socket, many requests at once, answers in any order.
//
// Format and rules: ../wire/README.md. This file joins the parts and decides when a connection ends; the parts are
// outbox.ts (sending), inbox.ts (receiving, back-pressure), caller.ts (our requests), responder.ts (theirs),
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
import { Caller, type CallOptions, type StreamedCall, type StreamedCallOptions } from './caller.ts'
import type { Reply } from './calls.ts'
import { Inbox, PauseReason } from './inbox.ts'
import type { ArrivingData, ByteBudget, IncomingDataHost } from './incoming-data.ts'
import { RPC_LIMITS, type RpcLimits } from './limits.ts'
import { Outbox } from './outbox.ts'
import type { Handlers } from './requests.ts'
import { Responder } from './responder.ts'
import { Watch } from './watch.ts'

export type { CallOptions, StreamedCall, StreamedCallOptions } from './caller.ts'

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
  readonly #caller: Caller
  readonly #responder: Responder
  readonly #watch: Watch
  #timer: Timer | undefined
  #wakeAtMs = 0
  #state: State = 'greeting'
  #peer: Hello | undefined
  #reason: DfsError | undefined
  #resolveOpened: () => void = () => {}
  #rejectOpened: (error: DfsError) => void = () => {}
  /** The data of the frame that is arriving. */
  #arriving: ArrivingData | undefined
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
    this.#inbox = new Inbox(socket, this.#parser, (error) => this.#onBroken(error))
    this.#outbox = new Outbox(socket, this.#clock, () => this.#onRoom())
    this.#caller = new Caller({
      clock: this.#clock,
      limits: this.#limits,
      outbox: this.#outbox,
      dataHost: this.#dataHost(undefined),
      refusal: () => this.#callRefusal(),
      name: () => this.#name(),
      wakeBy: (atMs) => {
        if (atMs < this.#wakeAtMs) this.#wakeAt(atMs)
      },
    })
    this.#responder = new Responder({
      connection: this,
      handlers: options.handlers,
      outbox: this.#outbox,
      dataHost: this.#dataHost(options.budget),
      onBug: options.onBug,
      changed: () => this.#onRequestsChanged(),
    })
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

  get local(): Address {
    return this.#socket.local
  }

  /** Both ends have one address: the other side is on this host, in this network namespace. */
  get isWithinHost(): boolean {
    return this.#socket.local.host === this.#socket.remote.host
  }

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  /** True when it has neither calls nor requests nor bytes under way. */
  get isIdle(): boolean {
    return this.#caller.count === 0 && this.#responder.count === 0 && this.#outbox.backlogBytes === 0
  }

  /** Calls that wait for their answers. */
  get callCount(): number {
    return this.#caller.count
  }

  /** Requests of the other side that are being handled. */
  get requestCount(): number {
    return this.#responder.count
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
    return this.#caller.call(message, body, options)
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
    options: StreamedCallOptions = NO_OPTIONS,
  ): StreamedCall {
    return this.#caller.beginCall(message, body, dataBytes, dataCrc, onDrain, options)
  }

  /**
   * Ends a call of ours, rejecting it with `error`; the other side is told. Harmless when it is settled already, as
   * long as its id is not in use again: whoever keeps one forgets it with the answer.
   *
   * @param id  as `CallOptions.onStart` was told
   */
  giveUp(id: number, error: DfsError): void {
    this.#caller.giveUp(id, error)
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

  #onFrame(header: Readonly<FrameHeader>, body: Buffer): void {
    if (header.dataBytes === 0) this.#framesSeen++
    if (this.#state === 'greeting') {
      this.#onGreeting(header, body)
      return
    }
    switch (header.type) {
      case FrameType.request:
        this.#expectData(this.#responder.onRequest(header, body))
        break
      case FrameType.reply:
        this.#expectData(this.#caller.onReply(header, body))
        break
      case FrameType.error:
        if (header.id === 0) throw new PeerRefusal(errorFromBody(decodeBody(body)))
        this.#caller.onError(header.id, body)
        break
      case FrameType.cancel:
        this.#responder.onCancel(header.id)
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

  #onDataEnd(verdict: DataVerdict): void {
    this.#framesSeen++
    const data = this.#arriving
    this.#arriving = undefined
    data?.finish(verdict)
  }

  /** Data follows: without a sink the connection stands still until there is one. */
  #expectData(data: ArrivingData | undefined): void {
    if (this.#state !== 'open') {
      data?.lost(this.#reason!) // whoever was given it ended the connection at once
      return
    }
    this.#arriving = data
    if (data !== undefined && !data.isAttached) this.#inbox.pause(PauseReason.data)
  }

  #dataHost(budget: ByteBudget | undefined): IncomingDataHost {
    return {
      collectBytesMax: this.#limits.collectBytesMax,
      budget,
      pauseData: () => this.#inbox.pause(PauseReason.data),
      resumeData: () => this.#inbox.resume(PauseReason.data),
      checkDataWith: (crc) => this.#parser.checkDataWith(crc),
    }
  }

  #callRefusal(): DfsError | undefined {
    if (this.#state === 'open') return undefined
    assert(this.#state !== 'greeting', 'a call before the connection is open')
    return new DfsError('CONNECTION_LOST', `the connection to ${this.#name()} is closed`, {}, this.#reason)
  }

  #onRequestsChanged(): void {
    const { requestsMax, requestBytesMax, replyBytesMax } = this.#limits
    const isFull = this.#responder.count >= requestsMax || this.#responder.bodyBytes >= requestBytesMax
    if (isFull) this.#inbox.pause(PauseReason.requests)
    else this.#inbox.resume(PauseReason.requests)
    if (this.#replyBytes() > replyBytesMax) this.#inbox.pause(PauseReason.replies)
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
    this.#arriving?.lost(lost)
    this.#arriving = undefined
    this.#responder.fail(lost)
    this.#caller.fail(lost)
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
    this.#caller.expire(nowMs)
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
    this.#wakeAt(Math.min(nowMs + this.#watch.tickMs, this.#caller.nextDeadlineMs))
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
