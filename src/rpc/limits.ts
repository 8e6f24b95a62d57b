// The bounds of a connection, and what happens at each.

import { FRAME_BODY_BYTES_MAX, FRAME_DATA_BYTES_MAX, PIECE_BYTES } from '../base/limits.ts'
import { KiB, MiB, SECOND_MS } from '../base/units.ts'

export interface RpcLimits {
  /** The other side's hello must be complete by then: else TIMEOUT, closed. */
  readonly helloMs: number
  /** A call without a deadline of its own has this one. */
  readonly callMs: number
  /** A frame whose first byte came must be complete by then, pauses of ours not counted: else TIMEOUT, closed. */
  readonly frameMs: number
  /** Each side sends at least one byte in this time; part of the protocol. */
  readonly aliveMs: number
  /** Nothing came for this long: CONNECTION_LOST. Several times `aliveMs`. */
  readonly silenceMs: number
  /** The other side took nothing for this long while we had something for it: CONNECTION_LOST. */
  readonly stallMs: number
  /** A stream of ours that gets no bytes from its source for this long is aborted: others wait behind it. */
  readonly streamStallMs: number
  /** Calls without an answer at most: then BUSY. */
  readonly callsMax: number
  /** Bytes that wait to be sent, those of the call itself with them: over it a call is BUSY. */
  readonly callBytesMax: number
  /** Requests of the other side being handled at most: then we stop reading. */
  readonly requestsMax: number
  /** Body bytes of these: then we stop reading too. */
  readonly requestBytesMax: number
  /** Bytes of replies that wait to be sent: beyond it we stop reading. */
  readonly replyBytesMax: number
  /** Data that `collect` puts into one buffer at most: then FRAME_TOO_LARGE. */
  readonly collectBytesMax: number
  readonly bodyBytesMax: number
  readonly dataBytesMax: number
}

export const RPC_LIMITS: RpcLimits = {
  helloMs: 5 * SECOND_MS,
  callMs: 30 * SECOND_MS,
  frameMs: 30 * SECOND_MS,
  aliveMs: 5 * SECOND_MS,
  silenceMs: 20 * SECOND_MS,
  stallMs: 30 * SECOND_MS,
  streamStallMs: 5 * SECOND_MS,
  callsMax: 4096,
  callBytesMax: 64 * MiB,
  requestsMax: 512,
  requestBytesMax: 8 * MiB,
  replyBytesMax: 4 * MiB,
  collectBytesMax: PIECE_BYTES + 64 * KiB,
  bodyBytesMax: FRAME_BODY_BYTES_MAX,
  dataBytesMax: FRAME_DATA_BYTES_MAX,
}
