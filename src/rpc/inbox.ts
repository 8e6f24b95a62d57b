// The receiving side of a connection: bytes to the parser, or, while somebody has no room, kept.
//
// Back-pressure: each reason to stop (a sink without room, too many requests, too many unsent replies) is a bit. While
// any is set the parser stands still and the socket is paused; the few bytes that were already read are retained, not
// copied, and are parsed first when the last bit is cleared.

import type { ReceivedBytes, Socket } from '../io/network.ts'
import type { FrameParser } from '../wire/frame.ts'

export const PauseReason = { data: 1, requests: 2, replies: 4 } as const
export type PauseReason = (typeof PauseReason)[keyof typeof PauseReason]

export class Inbox {
  readonly #socket: Socket
  readonly #parser: FrameParser<ReceivedBytes>
  readonly #onError: (error: unknown) => void
  #reasons = 0
  #isParsing = false
  #isClosed = false
  /** Received while stopped, oldest first; each is retained. */
  #held: { bytes: Buffer; readonly received: ReceivedBytes }[] = []

  /** @param onError  gets what the parser or an event threw; nothing is parsed after that */
  constructor(socket: Socket, parser: FrameParser<ReceivedBytes>, onError: (error: unknown) => void) {
    this.#socket = socket
    this.#parser = parser
    this.#onError = onError
  }

  get isPaused(): boolean {
    return this.#reasons !== 0
  }

  isPausedFor(reason: PauseReason): boolean {
    return (this.#reasons & reason) !== 0
  }

  take(received: ReceivedBytes): void {
    if (this.#isClosed) return
    const { bytes } = received
    const taken = this.#reasons === 0 && this.#held.length === 0 ? this.#parse(bytes, received) : 0
    if (taken === bytes.length || this.#isClosed) return
    received.retain()
    this.#held.push({ bytes: taken === 0 ? bytes : bytes.subarray(taken), received })
  }

  pause(reason: PauseReason): void {
    const wasRunning = this.#reasons === 0
    this.#reasons |= reason
    if (!wasRunning || this.#isClosed) return
    this.#parser.stop()
    this.#socket.pause()
  }

  resume(reason: PauseReason): void {
    if ((this.#reasons & reason) === 0) return
    this.#reasons &= ~reason
    if (this.#reasons !== 0 || this.#isClosed) return
    this.#parser.go()
    if (this.#held.length === 0) this.#socket.resume()
    // Not at once: who calls this stands in the middle of its own work, perhaps inside the parser.
    else queueMicrotask(this.#parseHeld)
  }

  close(): void {
    this.#isClosed = true
    this.#parser.stop()
    for (const { received } of this.#held.splice(0)) received.release()
  }

  readonly #parseHeld = (): void => {
    if (this.#isParsing) return
    while (this.#reasons === 0 && !this.#isClosed) {
      const first = this.#held.shift()
      if (first === undefined) break
      const taken = this.#parse(first.bytes, first.received)
      if (taken < first.bytes.length && !this.#isClosed) {
        first.bytes = first.bytes.subarray(taken)
        this.#held.unshift(first)
      } else first.received.release()
    }
    if (this.#held.length === 0 && this.#reasons === 0 && !this.#isClosed) this.#socket.resume()
  }

  #parse(bytes: Buffer, received: ReceivedBytes): number {
    this.#isParsing = true
    try {
      return this.#parser.push(bytes, received)
    } catch (error) {
      this.#onError(error)
      return bytes.length
    } finally {
      this.#isParsing = false
    }
  }
}
