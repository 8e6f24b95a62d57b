// One request to one replica for the blocks that hold a range, with the proof of what comes.
//
// Written for many a second: no listener on a signal, no question to the pool of connections while one is known.

import { DfsError } from '../base/errors.ts'
import { SECOND_MS } from '../base/units.ts'
import type { CallOptions, Connection } from '../rpc/connection.ts'
import type { IncomingData } from '../rpc/incoming-data.ts'
import { type ChunkLocation, Message } from '../wire/messages.ts'
import type { Endable } from './aborts.ts'
import { BlockCheck, type WantedRange } from './block-check.ts'
import type { Core } from './core.ts'
import type { Peer, Source } from './peers.ts'

const LANE = 'read'
/** How long a connection is used before the pool is asked again, which closes those that nobody asks for. */
const CONNECTION_MS = 10 * SECOND_MS

export class ReadAttempt implements CallOptions, Endable {
  readonly source: Source
  readonly timeoutMs: number
  readonly startMs: number
  before: Endable | undefined
  after: Endable | undefined
  readonly #core: Core
  readonly #peer: Peer
  readonly #signal: AbortSignal | undefined
  #connection: Connection | undefined
  #id = 0
  #check: BlockCheck | undefined
  #fault: DfsError | undefined
  #ended: DfsError | undefined
  readonly #range: WantedRange
  readonly #target: Uint8Array | undefined

  /**
   * @param target     takes the bytes as they come, proven or not, until `run` has settled or `giveUp` was called
   * @param timeoutMs  for the connection, and then for the answer
   */
  constructor(
    core: Core,
    source: Source,
    range: WantedRange,
    target: Uint8Array | undefined,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ) {
    this.#core = core
    this.source = source
    this.#peer = core.peers.of(source.address)
    this.#range = range
    this.#target = target
    this.timeoutMs = timeoutMs
    this.startMs = core.io.clock.nowMs()
    this.#signal = signal
  }

  /** Asks, once. Errors: those of the connection and of the server, CORRUPT_REPLICA, TIMEOUT, ABORTED. */
  async run({ handle, version }: ChunkLocation): Promise<BlockCheck> {
    const peer = this.#peer
    const { offset, length } = this.#range
    const weight = peer.weightOf(length)
    peer.load += weight
    const underWay = ++peer.readsUnderWay
    this.#core.aborts.add(this.#signal, this)
    try {
      const isKnown = peer.connection?.isOpen && this.startMs < peer.connectionUntilMs
      const connection = isKnown ? peer.connection! : await this.#connect()
      if (this.#ended !== undefined) throw this.#ended
      this.#connection = connection
      await connection.call(Message.read.number, Message.read.request.encode({ handle, version, offset, length }), this)
      if (this.#fault !== undefined) throw this.#fault
      if (this.#check === undefined) throw new DfsError('CORRUPT_REPLICA', 'an answer without bytes')
      peer.answered(length, this.#core.io.clock.nowMs() - this.startMs, underWay)
      return this.#check
    } catch (error) {
      this.#check?.release()
      throw error
    } finally {
      this.#id = 0
      this.#core.aborts.delete(this.#signal, this)
      peer.load -= weight
      peer.readsUnderWay--
    }
  }

  /** Ends it with `error`, if it has not ended: from now on nothing gets into the target. */
  giveUp(error: DfsError): void {
    this.#ended ??= error
    if (this.#id !== 0) this.#connection?.giveUp(this.#id, error)
  }

  readonly onStart = (id: number): void => {
    this.#id = id
  }

  readonly onData = (body: unknown[], data: IncomingData): void => {
    const reply = Message.read.reply.decode(body, 'read')
    this.#check = new BlockCheck(this.#range, reply.offset, reply.checksums, data.bytes, this.#target, this.#onEnd)
    data.receive(this.#check)
  }

  readonly #onEnd = (error?: DfsError): void => {
    this.#fault = error
  }

  async #connect(): Promise<Connection> {
    const peer = this.#peer
    const { links, peers } = this.#core
    const connection = await links.chunkserver(peer.address, LANE, this.timeoutMs, this.#signal)
    peers.connected(this.source, peer, connection, this.startMs + CONNECTION_MS)
    return connection
  }
}
