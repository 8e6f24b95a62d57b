// Where a member of an open chunk stands in its chain, and the way to the next one.
//
// Each inbound connection has a lane of its own to the next member, so that a slow sender holds up only itself. What
// is sent by one route leaves in the order of the calls.
//
// Source: GFS §3.2 (a chain, each server sends to one other).

import { DfsError, type ErrorCode, isDfsError } from '../base/errors.ts'
import { type ChunkHandle, formatHandle, formatServer } from '../base/ids.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Clock } from '../io/clock.ts'
import { type Address, parseAddress } from '../io/network.ts'
import type { Connection } from '../rpc/connection.ts'
import type { ConnectionPool } from '../rpc/pool.ts'
import type { Allocation, ChainMember } from '../wire/messages.ts'

/** How long a member may take for its part, and the same again for each member behind it: the deepest culprit is named first. */
const PUSH_MS = 10 * SECOND_MS
const SYNC_MS = 30 * SECOND_MS
const HOP_MS = 3 * SECOND_MS

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

  /** Milliseconds that the members behind this one may take together. */
  timeoutMs(sync: boolean): number {
    return (sync ? SYNC_MS : PUSH_MS) + HOP_MS * (this.hopsLeft - 1)
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
      .catch((error: unknown) => {
        throw this.#broken(error)
      })
  }

  /** Rejects with TIMEOUT when `answer` takes longer than the members behind this one may. */
  within<T>(answer: Promise<T>, sync: boolean): Promise<T> {
    const timeoutMs = this.timeoutMs(sync)
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(timeoutMs, () => {
        reject(new DfsError('TIMEOUT', `${formatServer(this.next!.server)} did not answer within ${timeoutMs} ms`))
      })
      answer.then(resolve, reject).finally(() => timer.cancel())
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
