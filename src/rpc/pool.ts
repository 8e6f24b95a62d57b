// Connections to others, one for each address and lane, made when first asked for.
//
// A lane keeps bulk data apart from small requests: what waits behind a piece on one lane doesn't wait on another.
//
// Bounds: at most `connectionsMax`; over it the one that is longest unused and idle is closed, and when none is idle
// the answer is BUSY. After a failure an address is left alone for a while that doubles up to `backoffMsMax`; whoever
// asks meanwhile gets the last error at once. One that is idle for `idleMs` is closed.

import { DfsError } from '../base/errors.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Clock, Timer } from '../io/clock.ts'
import type { Entropy } from '../io/entropy.ts'
import { type Address, formatAddress, type Network } from '../io/network.ts'
import type { Expectation, Hello } from '../wire/hello.ts'
import { Connection } from './connection.ts'
import type { RpcLimits } from './limits.ts'
import type { Handlers } from './requests.ts'

export interface PoolOptions {
  readonly clock: Clock
  readonly network: Network
  readonly entropy: Entropy
  /** What we say of ourselves, asked for each connection. */
  readonly hello: () => Hello
  /** What everybody we connect to must be. */
  readonly expect?: Expectation
  /** Answers requests that the others send over these connections. */
  readonly handlers?: Handlers
  readonly onBug: (error: unknown) => void
  /** A connection that had opened is gone. */
  readonly onClose?: (connection: Connection, reason: DfsError) => void
  readonly limits?: Partial<RpcLimits>
  readonly bounds?: Partial<PoolBounds>
}

export interface PoolBounds {
  readonly connectionsMax: number
  readonly connectMs: number
  readonly idleMs: number
  readonly backoffMsMin: number
  readonly backoffMsMax: number
}

export const POOL_BOUNDS: PoolBounds = {
  connectionsMax: 1024,
  connectMs: 3 * SECOND_MS,
  idleMs: 60 * SECOND_MS,
  backoffMsMin: 50,
  backoffMsMax: 2 * SECOND_MS,
}

interface Entry {
  connection: Connection | undefined
  opening: Promise<Connection> | undefined
  usedMs: number
  failureCount: number
  lastError: DfsError | undefined
  retryAtMs: number
}

export class ConnectionPool {
  readonly #options: PoolOptions
  readonly #bounds: PoolBounds
  readonly #entries = new Map<string, Entry>()
  #sweeper: Timer | undefined
  #isClosed = false

  constructor(options: PoolOptions) {
    this.#options = options
    this.#bounds = { ...POOL_BOUNDS, ...options.bounds }
  }

  /**
   * The open connection to `address` on `lane`, made when there is none. Rejects with UNAVAILABLE, TIMEOUT, what the
   * hello met (WRONG_CLUSTER, WRONG_ROLE, UNSUPPORTED_VERSION), or BUSY.
   */
  get(address: Address, lane = ''): Promise<Connection> {
    if (this.#isClosed) return Promise.reject(new DfsError('CONNECTION_LOST', 'the connection pool is closed'))
    const key = `${formatAddress(address)} ${lane}`
    const nowMs = this.#options.clock.nowMs()
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      const refusal = this.#makeRoom()
      if (refusal !== undefined) return Promise.reject(refusal)
      entry = {
        connection: undefined,
        opening: undefined,
        usedMs: nowMs,
        failureCount: 0,
        lastError: undefined,
        retryAtMs: 0,
      }
      this.#entries.set(key, entry)
      this.#sweepLater()
    }
    entry.usedMs = nowMs
    if (entry.connection?.isOpen) return Promise.resolve(entry.connection)
    if (entry.opening !== undefined) return entry.opening
    if (entry.lastError !== undefined && nowMs < entry.retryAtMs) return Promise.reject(entry.lastError)
    entry.opening = this.#open(address, entry)
    return entry.opening
  }

  /** The connection if it is open right now, for use. */
  peek(address: Address, lane = ''): Connection | undefined {
    const entry = this.#entries.get(`${formatAddress(address)} ${lane}`)
    if (!entry?.connection?.isOpen) return undefined
    entry.usedMs = this.#options.clock.nowMs()
    return entry.connection
  }

  /** Closes every connection; `get` is refused from now on. */
  close(): void {
    this.#isClosed = true
    this.#sweeper?.cancel()
    for (const { connection } of this.#entries.values()) connection?.close()
    this.#entries.clear()
  }

  async #open(address: Address, entry: Entry): Promise<Connection> {
    const { connectMs, backoffMsMin, backoffMsMax } = this.#bounds
    try {
      const connection = await connect(this.#options, address, connectMs, (closed, reason) => {
        if (entry.connection !== closed) return
        entry.connection = undefined
        this.#options.onClose?.(closed, reason)
      })
      if (this.#isClosed) {
        connection.close()
        throw new DfsError('CONNECTION_LOST', 'the connection pool is closed')
      }
      entry.connection = connection
      entry.failureCount = 0
      entry.lastError = undefined
      return connection
    } catch (error) {
      if (!(error instanceof DfsError)) throw error
      const { clock, entropy } = this.#options
      const waitMs = Math.min(backoffMsMax, backoffMsMin * 2 ** entry.failureCount)
      entry.failureCount = Math.min(entry.failureCount + 1, 30)
      entry.lastError = error
      // Between half and the whole, so that many who lost the same server don't come back together.
      entry.retryAtMs = clock.nowMs() + waitMs / 2 + entropy.below(Math.ceil(waitMs / 2) + 1)
      throw error
    } finally {
      entry.opening = undefined
    }
  }

  #makeRoom(): DfsError | undefined {
    const { connectionsMax } = this.#bounds
    if (this.#entries.size < connectionsMax) return undefined
    let oldest: string | undefined
    let oldestMs = Number.POSITIVE_INFINITY
    for (const [key, entry] of this.#entries) {
      const isIdle = entry.opening === undefined && (entry.connection === undefined || entry.connection.isIdle)
      if (!isIdle || entry.usedMs >= oldestMs) continue
      oldest = key
      oldestMs = entry.usedMs
    }
    if (oldest === undefined) {
      return new DfsError('BUSY', `${connectionsMax} connections are in use already`, { connectionsMax })
    }
    this.#drop(oldest)
    return undefined
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key)
    this.#entries.delete(key)
    entry?.connection?.close()
  }

  #sweepLater(): void {
    this.#sweeper ??= this.#options.clock.after(this.#bounds.idleMs / 2, () => {
      this.#sweeper = undefined
      const beforeMs = this.#options.clock.nowMs() - this.#bounds.idleMs
      for (const [key, entry] of [...this.#entries]) {
        const isIdle = entry.opening === undefined && (entry.connection === undefined || entry.connection.isIdle)
        if (isIdle && entry.usedMs <= beforeMs) this.#drop(key)
      }
      if (this.#entries.size > 0 && !this.#isClosed) this.#sweepLater()
    })
  }
}

/** What `connect` needs of PoolOptions. */
export type ConnectOptions = Pick<
  PoolOptions,
  'clock' | 'network' | 'hello' | 'expect' | 'handlers' | 'onBug' | 'limits'
>

/**
 * One connection outside of any pool, open. Rejects like `ConnectionPool.get`.
 *
 * @param connectMs  for the socket; the hello has its own limit
 * @param onClose    called once when the connection is gone
 */
export async function connect(
  options: ConnectOptions,
  address: Address,
  connectMs: number,
  onClose?: (connection: Connection, reason: DfsError) => void,
): Promise<Connection> {
  const { clock, network, expect, handlers, onBug, limits } = options
  const socket = await network.connect(address, connectMs)
  const connection = new Connection(socket, {
    clock,
    hello: options.hello(),
    isAcceptor: false,
    ...(expect && { expect }),
    ...(handlers && { handlers }),
    onBug,
    ...(onClose && { onClose }),
    ...(limits && { limits }),
  })
  await connection.opened
  return connection
}
