// The data of one arriving frame: handed on as it comes, collected, or thrown away.
//
// Whoever is given an IncomingData may attach its sink later; until then, and while the sink is paused, the
// connection stands still (back-pressure over TCP), and nothing is buffered. One checksum pass: a sink that computes
// checksums anyway says so by `crc`, else the connection computes one.

import { assert } from '../base/assert.ts'
import { DfsError } from '../base/errors.ts'
import type { ReceivedBytes } from '../io/network.ts'
import type { DataVerdict } from '../wire/frame.ts'

export interface DataSink {
  /**
   * The next bytes, in order, at least one. Valid until it returns, or, after `received.retain()`, until the matching
   * `received.release()`. Not yet proven: only `onEnd` without an error says that all bytes were right.
   */
  onData(bytes: Buffer, received: ReceivedBytes): void
  /**
   * Called once. Without an error all bytes came and match their checksum. BAD_FRAME: they don't match. ABORTED: the
   * sender gave up. CONNECTION_LOST: no more will come.
   */
  onEnd(error?: DfsError): void
  /** When there: the CRC32 of all bytes given to `onData`, asked once, after the last; nobody else computes one. */
  crc?(): number
}

export interface IncomingData {
  /** 1 upward. */
  readonly bytes: number
  /** The CRC32 that the sender promises. */
  readonly crc: number
  /** Attaches the sink. One of `receive`, `collect`, `skip`, once, now or later. */
  receive(sink: DataSink): void
  /**
   * All bytes, proven, in one new buffer the caller owns. Rejects with FRAME_TOO_LARGE over the connection's
   * `collectBytesMax`, BUSY over the server's memory for this, else as `DataSink.onEnd`.
   */
  collect(): Promise<Buffer>
  /** Throws away what comes, now or from now on. A sink's `onEnd` is still called. */
  skip(): void
  /** The sink has no room: the whole connection stops reading. Few bytes, those already received, may still come. */
  pause(): void
  resume(): void
}

/** Memory that several connections share, in bytes. */
export class ByteBudget {
  #left: number

  constructor(bytes: number) {
    this.#left = bytes
  }

  get leftBytes(): number {
    return this.#left
  }

  /** @returns false, and takes nothing, when not that many are left */
  take(bytes: number): boolean {
    if (bytes > this.#left) return false
    this.#left -= bytes
    return true
  }

  give(bytes: number): void {
    this.#left += bytes
  }
}

/** What the data of a frame needs of its connection. */
export interface IncomingDataHost {
  readonly collectBytesMax: number
  readonly budget: ByteBudget | undefined
  pauseData(): void
  resumeData(): void
  checkDataWith(crc: () => number): void
}

/** The connection's side of an IncomingData. */
export class ArrivingData implements IncomingData {
  readonly bytes: number
  readonly crc: number
  /** Called after the sink's end when all bytes came and were right. */
  onComplete: (() => void) | undefined
  readonly #host: IncomingDataHost
  #sink: DataSink | undefined
  #isSkipping = false
  #isPaused = false
  /** Set when it is over; null without an error. */
  #end: DfsError | null | undefined
  #collectedBytes = 0

  constructor(bytes: number, crc: number, host: IncomingDataHost) {
    this.bytes = bytes
    this.crc = crc
    this.#host = host
  }

  /** Somebody takes or throws away the bytes. */
  get isAttached(): boolean {
    return this.#sink !== undefined || this.#isSkipping
  }

  receive(sink: DataSink): void {
    assert(this.#sink === undefined, 'the data has a sink already')
    if (this.#end !== undefined || this.#isSkipping) {
      sink.onEnd(this.#end ?? new DfsError('ABORTED', 'the data was thrown away before it was asked for'))
      return
    }
    this.#sink = sink
    if (sink.crc !== undefined) this.#host.checkDataWith(() => (this.#isSkipping ? this.crc : sink.crc!()))
    this.#host.resumeData()
  }

  collect(): Promise<Buffer> {
    const { bytes } = this
    const { collectBytesMax, budget } = this.#host
    if (bytes > collectBytesMax) {
      this.skip()
      const message = `data of ${bytes} bytes where at most ${collectBytesMax} are taken`
      return Promise.reject(new DfsError('FRAME_TOO_LARGE', message, { bytes, bytesMax: collectBytesMax }))
    }
    if (budget !== undefined && !budget.take(bytes)) {
      this.skip()
      const message = `no room for ${bytes} more bytes of requests, ${budget.leftBytes} are left`
      return Promise.reject(new DfsError('BUSY', message, { bytes, leftBytes: budget.leftBytes }))
    }
    if (budget !== undefined) this.#collectedBytes = bytes
    return new Promise((resolve, reject) => {
      const all = Buffer.allocUnsafe(bytes)
      let filled = 0
      this.receive({
        onData: (slice) => {
          filled += slice.copy(all, filled)
        },
        onEnd: (error) => (error === undefined ? resolve(all) : reject(error)),
      })
    })
  }

  skip(): void {
    if (this.#isSkipping || this.#end !== undefined) return
    // A checksum of what nobody looks at proves nothing.
    if (this.#sink === undefined) this.#host.checkDataWith(() => this.crc)
    this.#isSkipping = true
    this.#isPaused = false
    this.#host.resumeData()
  }

  pause(): void {
    if (this.#isPaused || this.#end !== undefined || this.#isSkipping) return
    this.#isPaused = true
    this.#host.pauseData()
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    if (this.#end === undefined && this.isAttached) this.#host.resumeData()
  }

  /** More bytes from the parser. */
  deliver(bytes: Buffer, received: ReceivedBytes): void {
    if (!this.#isSkipping) this.#sink?.onData(bytes, received)
  }

  /** The parser saw the end. */
  finish(verdict: DataVerdict): void {
    if (verdict === 'complete') {
      this.#over(this.#isSkipping ? new DfsError('ABORTED', 'the data was thrown away') : undefined)
      this.onComplete?.()
    } else if (verdict === 'aborted')
      this.#over(new DfsError('ABORTED', 'the sender gave up in the middle of the data'))
    else this.#over(new DfsError('BAD_FRAME', `data of ${this.bytes} bytes does not match its checksum ${this.crc}`))
  }

  /** The connection is gone. */
  lost(error: DfsError): void {
    this.#over(error)
  }

  /** Gives back the memory of `collect`: who collected is done with it. */
  giveBack(): void {
    this.#host.budget?.give(this.#collectedBytes)
    this.#collectedBytes = 0
  }

  #over(error: DfsError | undefined): void {
    if (this.#end !== undefined) return
    this.#end = error ?? null
    this.#sink?.onEnd(error)
    if (this.#isPaused) this.#host.resumeData()
    this.#isPaused = false
  }
}
