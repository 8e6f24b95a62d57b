// Links: typed calls over pooled connections, to masters and chunkservers.
//
// The one file of the client that knows how a message is laid on a connection. It also learns the cluster's id from the
// first hello, so that later connections are refused by servers of another cluster.

import { DfsError, type ErrorCode, isDfsError } from '../base/errors.ts'
import { RANDOM_ID_MAX } from '../base/ids.ts'
import type { Io } from '../io/io.ts'
import type { Address } from '../io/network.ts'
import { formatAddress, parseAddress } from '../io/network.ts'
import type { Connection, CallOptions as RpcCallOptions } from '../rpc/connection.ts'
import { ConnectionPool } from '../rpc/pool.ts'
import { hello } from '../wire/hello.ts'
import { type MessageName, type ReplyOf, type RequestOf, shapeOf } from '../wire/messages.ts'

export interface LinkCallOptions extends Omit<RpcCallOptions, 'onWritten'> {
  readonly timeoutMs: number
}

export class Links {
  readonly #io: Io
  readonly #masters: ConnectionPool
  readonly #chunkservers: ConnectionPool
  #clusterId = ''
  /** Addresses of this host, without port, as far as connections have shown them. */
  readonly ownHosts = new Set<string>()
  #isClosed = false
  /** Ends those who wait for a connection. */
  readonly #opening = new Set<() => void>()

  /** @param onBug  gets what is no fault of the world */
  constructor(io: Io, name: string, onBug: (error: unknown) => void) {
    this.#io = io
    const instance = 1 + io.entropy.below(RANDOM_ID_MAX)
    const options = {
      clock: io.clock,
      network: io.network,
      entropy: io.entropy,
      hello: () => hello('client', { cluster: this.#clusterId, instance, name }),
      onBug,
    }
    this.#masters = new ConnectionPool({ ...options, expect: { roles: ['master'] } })
    this.#chunkservers = new ConnectionPool({ ...options, expect: { roles: ['chunkserver'] } })
  }

  /** '' until the first connection. */
  get clusterId(): string {
    return this.#clusterId
  }

  /** The connection to a master, if it is open now. */
  openMaster(address: Address): Connection | undefined {
    return this.#isClosed ? undefined : this.#masters.peek(address)
  }

  /** A connection to a master. Errors: as ConnectionPool.get, TIMEOUT, ABORTED. */
  async master(address: Address, timeoutMs: number, signal: AbortSignal | undefined): Promise<Connection> {
    const connection = await this.#bounded(this.#masters, address, '', timeoutMs, signal).catch((error: unknown) => {
      throw isDfsError(error) && unreachable.has(error.code) ? noMaster(error) : error
    })
    this.ownHosts.add(connection.local.host)
    if (this.#clusterId === '') this.#clusterId = connection.peer?.cluster ?? ''
    return connection
  }

  /**
   * A connection to a chunkserver. What is asked on one lane doesn't wait behind another lane's bytes.
   * Errors: as ConnectionPool.get, TIMEOUT, ABORTED.
   *
   * @param address  `host:port`
   */
  chunkserver(address: string, lane: string, timeoutMs: number, signal?: AbortSignal): Promise<Connection> {
    const parsed = parseAddress(address)
    if (parsed === undefined) {
      return Promise.reject(new DfsError('UNAVAILABLE', `a chunkserver's address that can't be read: ${address}`))
    }
    return this.#bounded(this.#chunkservers, parsed, lane, timeoutMs, signal)
  }

  /** Asks on an open connection. Errors: what the other side answers, TIMEOUT, ABORTED, CONNECTION_LOST, BUSY, BAD_REQUEST. */
  async call<K extends MessageName>(
    connection: Connection,
    name: K,
    request: RequestOf<K>,
    options: LinkCallOptions,
  ): Promise<ReplyOf<K>> {
    const { number, request: shape, reply: replyShape } = shapeOf(name)
    const reply = await connection.call(number, shape.encode(request), options)
    return replyShape.decode(reply.body, name)
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  close(): void {
    this.#isClosed = true
    for (const end of [...this.#opening]) end()
    this.#masters.close()
    this.#chunkservers.close()
  }

  /** The pool's own time limit is for the whole connection; this caller may have less patience. */
  #bounded(
    pool: ConnectionPool,
    address: Address,
    lane: string,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Connection> {
    if (this.#isClosed) return Promise.reject(new DfsError('ABORTED', 'the client is closed'))
    const open = pool.peek(address, lane)
    if (open !== undefined) return Promise.resolve(open)
    const opening = pool.get(address, lane)
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#opening.delete(onClose)
        timer.cancel()
        signal?.removeEventListener('abort', onAbort)
      }
      const onAbort = (): void => {
        end()
        reject(new DfsError('ABORTED', 'the caller gave up', {}, signal?.reason))
      }
      const onClose = (): void => {
        end()
        reject(new DfsError('ABORTED', 'the client is closed'))
      }
      this.#opening.add(onClose)
      const timer = this.#io.clock.after(Math.ceil(timeoutMs), () => {
        end()
        const name = formatAddress(address)
        reject(
          new DfsError('TIMEOUT', `no connection to ${name} within ${Math.round(timeoutMs)} ms`, { address: name }),
        )
      })
      signal?.addEventListener('abort', onAbort, { once: true })
      opening.then(
        (connection) => {
          end()
          resolve(connection)
        },
        (error: unknown) => {
          end()
          reject(error)
        },
      )
      if (signal?.aborted) onAbort()
    })
  }
}

/** Faults that mean: nobody who could be asked is there. */
const unreachable: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['UNAVAILABLE', 'TIMEOUT'])

/** Who can't reach a master has nobody to ask for a report: the next step is another one. */
function noMaster({ code, message, detail, cause }: DfsError): DfsError {
  const next = 'is a master running there? `dfsd master` or `dfsd dev` starts one; --master or DFS_MASTER names another'
  return new DfsError(code, message, { ...detail, next }, cause)
}
