// Where a member of an open chunk stands in its chain, and the way to the next one.
//
// Each inbound connection has a lane of its own to the next member, so that a slow sender holds up only itself, and at
// its primary each shared chunk has one. What is sent by one route leaves in the order of the calls.
//
// Source: GFS §3.2 (a chain, each server sends to one other).

import { DfsError, type ErrorCode, isDfsError } from '../base/errors.ts'
import { type ChunkHandle, formatHandle, formatServer } from '../base/ids.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Clock, Timer } from '../io/clock.ts'
import { type Address, parseAddress } from '../io/network.ts'
import type { Connection } from '../rpc/connection.ts'
import type { ConnectionPool } from '../rpc/pool.ts'
import type { Allocation, ChainMember } from '../wire/messages.ts'
import { settled } from './settled.ts'

/**
 * How long the members behind this one may be without any answer once this one is done with its own part, and how much
 * longer for each of them: the deepest culprit is named first, and before a client loses its patience (10 s).
 */
const PUSH_MS = 4 * SECOND_MS
const SYNC_MS = 6 * SECOND_MS
const HOP_MS = 1.5 * SECOND_MS
/** Bounds a call along the chain in any case. */
export const CHAIN_CALL_MS = 120 * SECOND_MS

/** Refusals that say something of the chunk and not of the server: they go back as they are. */
const chunkCodes: ReadonlySet<ErrorCode> = new Set(['CHUNK_FENCED', 'CHUNK_SEALED', 'CHUNK_FULL', 'CHAIN_BROKEN'])

export class Route {
  readonly handle: ChunkHandle
  readonly isPrimary: boolean
  /** The next member; undefined at the end of the chain. */
  readonly next: ChainMember | undefined
  /** Members behind this one. */
  readonly hopsLeft: number
  readonly #address: Address | undefined
  readonly #lane: string
  readonly #pool: ConnectionPool
  readonly #clock: Clock
  /** When the next member last answered anything. */
  #answeredMs = 0
  /** Settles when everything sent so far has been handed to its connection. Never rejects. */
  #turn: Promise<void> = Promise.resolve()

  /** @param position  of this member in `allocation.members` */
  constructor(allocation: Allocation, position: number, lane: string, pool: ConnectionPool, clock: Clock) {
    this.handle = allocation.handle
    this.isPrimary = position === 0
    this.next = allocation.members[position + 1]
    this.hopsLeft = allocation.members.length - position - 1
    this.#lane = lane
    this.#pool = pool
    this.#clock = clock
    if (this.next !== undefined) {
      this.#address = parseAddress(this.next.address)
      if (this.#address === undefined) {
        const message = `chunk ${formatHandle(this.handle)}: member ${formatServer(this.next.server)} has no address: ${this.next.address}`
        throw new DfsError('BAD_REQUEST', message)
      }
    }
  }

  /**
   * Hands the connection to the next member to `send`, in the order of the calls. There must be a next member.
   * Rejects with what `send` or its result met, as CHAIN_BROKEN naming the server that failed.
   */
  forward<T>(send: (connection: Connection) => Promise<T>): Promise<T> {
    const sent = this.#turn.then(async () => {
      const connection = await this.#pool.get(this.#address!, this.#lane)
      return { answer: send(connection) } // boxed: the next in turn doesn't wait for the answer
    })
    this.#turn = sent.then(
      ({ answer }) => {
        answer.catch(() => {}) // whoever forwarded is told
      },
      () => {}, // as above
    )
    return sent
      .then(({ answer }) => answer)
      .then(
        (answer) => {
          this.#answeredMs = this.#clock.nowMs()
          return answer
        },
        (error: unknown) => {
          throw this.#broken(error)
        },
      )
  }

  /**
   * Resolves when this member's part and that of all behind it are done. Those behind are given up on (CHAIN_BROKEN)
   * when they are slower than this one: nothing came from them for a while after `own`. When all are slow, all wait.
   */
  async join(own: Promise<unknown>, behind: Promise<unknown> | undefined, sync: boolean): Promise<void> {
    if (behind === undefined) await own
    else await Promise.all([own, Promise.race([behind, this.#silence(own, behind, sync)])])
  }

  /** Rejects when nothing was heard for too long; resolves with `behind` at the latest. */
  async #silence(own: Promise<unknown>, behind: Promise<unknown>, sync: boolean): Promise<void> {
    await settled(own)
    const limitMs = (sync ? SYNC_MS : PUSH_MS) + HOP_MS * (this.hopsLeft - 1)
    const doneMs = this.#clock.nowMs()
    return new Promise((resolve, reject) => {
      let timer: Timer | undefined
      const look = () => {
        const silentMs = this.#clock.nowMs() - Math.max(doneMs, this.#answeredMs)
        if (silentMs < limitMs) {
          timer = this.#clock.after(Math.ceil(limitMs - silentMs), look)
          return
        }
        const message = `no answer for ${Math.round(silentMs)} ms`
        reject(this.#broken(new DfsError('TIMEOUT', message)))
      }
      look()
      settled(behind).then(() => {
        timer?.cancel()
        resolve()
      })
    })
  }

  /** The error of the chain for one met on the way to the next member. */
  #broken(error: unknown): unknown {
    if (!isDfsError(error) || chunkCodes.has(error.code)) return error
    const server = formatServer(this.next!.server)
    const message = `chunk ${formatHandle(this.handle)}: ${server} at ${this.next!.address} did not take it: ${error.message}`
    return new DfsError('CHAIN_BROKEN', message, { handle: this.handle, server, code: error.code }, error)
  }
}
