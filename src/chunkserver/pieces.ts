// One piece on its way through this server: checked, written and sent on at the same time, each byte touched once.
//
//   socket ──▶ PieceSums (CRC32) ──▶ file.write of the received slices
//          └─▶ the next member, as soon as a slice is here (cut-through)
//
// A received slice is given back to its socket when both its write and its sending are done.

import type { DfsError } from '../base/errors.ts'
import type { ReceivedBytes } from '../io/network.ts'
import type { Connection } from '../rpc/connection.ts'
import type { IncomingData } from '../rpc/incoming-data.ts'
import type { DataWriter } from '../rpc/outbox.ts'
import type { Body } from '../wire/body.ts'
import type { Flow } from './flow.ts'
import type { ArrivingPiece } from './growing.ts'
import { CHAIN_CALL_MS, type Route } from './route.ts'

export interface PieceParts {
  /** Resolves when the piece is received here. */
  readonly own: Promise<void>
  /** Resolves when all members behind this one have answered; undefined at the end of the chain. */
  readonly behind: Promise<void> | undefined
}

interface Waiting {
  readonly bytes: Buffer
  readonly received: ReceivedBytes
}

/**
 * Lets `data` through.
 *
 * @param onArrived  called in the turn in which the last byte was proven; its result is awaited with `own`
 */
export function passPiece(
  data: IncomingData,
  piece: ArrivingPiece,
  flow: Flow,
  route: Route,
  message: number,
  body: Body,
  onArrived: () => Promise<void>,
): PieceParts {
  const onward = route.next === undefined ? undefined : new Onward(flow)
  const behind =
    onward === undefined
      ? undefined
      : route
          .forward((connection) => onward.begin(connection, message, body, data))
          .catch((error: unknown) => {
            onward.giveUp()
            throw error
          })
  const own = new Promise<void>((resolve, reject) => {
    data.receive({
      onData: (bytes, received) => {
        flow.take(bytes.length)
        piece.push(bytes, received, () => flow.give(bytes.length))
        onward?.push(bytes, received)
      },
      onEnd: (error) => {
        flow.end()
        if (error !== undefined) {
          piece.abandon()
          onward?.abort(error)
          reject(error)
          return
        }
        try {
          const received = piece.finish()
          resolve(Promise.all([received, onArrived()]).then(() => undefined))
          received.catch(() => {}) // told by the line above
        } catch (refusal) {
          reject(refusal)
        }
      },
      crc: () => piece.crc,
    })
    flow.begin(data)
  })
  return { own, behind }
}

/** The slices that go on to the next member; they wait here until its connection is there. */
class Onward {
  readonly #flow: Flow
  #waiting: Waiting[] = []
  #writer: DataWriter | undefined
  #isOver = false
  #aborted: DfsError | undefined

  constructor(flow: Flow) {
    this.#flow = flow
  }

  /** Begins to send; resolves with the next member's answer. */
  async begin(connection: Connection, message: number, body: Body, data: IncomingData): Promise<void> {
    const { writer, reply } = connection.beginCall(message, body, data.bytes, data.crc, () => {}, {
      timeoutMs: CHAIN_CALL_MS,
    })
    this.#writer = writer
    if (this.#aborted !== undefined) writer.abort(this.#aborted)
    const waiting = this.#waiting
    this.#waiting = []
    for (const { bytes, received } of waiting) this.#send(writer, bytes, received)
    await reply
  }

  push(bytes: Buffer, received: ReceivedBytes): void {
    if (this.#isOver) return
    received.retain()
    this.#flow.take(bytes.length)
    if (this.#writer === undefined) this.#waiting.push({ bytes, received })
    else this.#send(this.#writer, bytes, received)
  }

  /** The bytes are not complete: the next member learns it. */
  abort(error: DfsError): void {
    this.#aborted = error
    this.#writer?.abort(error)
    this.giveUp()
  }

  /** Nobody takes them any more. */
  giveUp(): void {
    this.#isOver = true
    const waiting = this.#waiting
    this.#waiting = []
    for (const { bytes, received } of waiting) {
      received.release()
      this.#flow.give(bytes.length)
    }
  }

  #send(writer: DataWriter, bytes: Buffer, received: ReceivedBytes): void {
    writer.write([bytes], () => {
      received.release()
      this.#flow.give(bytes.length)
    })
  }
}
