// Listens, and turns every socket that comes into a connection, within bounds.
//
// At the bounds: a socket over `connectionsMax`, or over `greetingsMax` that have not said hello yet, is told BUSY and
// closed (and closed unheard when that many more are being told already); data that requests want collected beyond `collectBytesTotalMax` is refused with BUSY, request by request.

import { DfsError } from '../base/errors.ts'
import { MiB, SECOND_MS } from '../base/units.ts'
import type { Clock } from '../io/clock.ts'
import type { Address, Listener, Network, Socket } from '../io/network.ts'
import type { Expectation, Hello } from '../wire/hello.ts'
import { Connection } from './connection.ts'
import { ByteBudget } from './incoming-data.ts'
import type { RpcLimits } from './limits.ts'
import type { Handlers } from './requests.ts'

export interface ServerOptions {
  readonly clock: Clock
  /** What we say of ourselves, asked for each connection. */
  readonly hello: () => Hello
  readonly expect?: Expectation
  readonly handlers: Handlers
  /** Gets what is no fault of the world: the process should end. */
  readonly onBug: (error: unknown) => void
  /** A connection's hello was accepted: `peer` is known, it can be asked. */
  readonly onOpen?: (connection: Connection) => void
  /** It is gone; also called for one that never opened. */
  readonly onClose?: (connection: Connection, reason: DfsError) => void
  readonly limits?: Partial<RpcLimits>
  readonly bounds?: Partial<ServerBounds>
}

export interface ServerBounds {
  readonly connectionsMax: number
  /** Of these, such that have not said hello yet. */
  readonly greetingsMax: number
  /** Memory for the data of all requests that is collected. */
  readonly collectBytesTotalMax: number
}

export const SERVER_BOUNDS: ServerBounds = {
  connectionsMax: 10_000,
  greetingsMax: 1000,
  collectBytesTotalMax: 256 * MiB,
}

export class RpcServer {
  readonly #options: ServerOptions
  readonly #bounds: ServerBounds
  readonly #budget: ByteBudget
  readonly #connections = new Set<Connection>()
  #greetingCount = 0
  #listener: Listener | undefined

  /** Listens at `address`; INVALID_ARGUMENT when it can't be had. */
  static async listen(network: Network, address: Address, options: ServerOptions): Promise<RpcServer> {
    const server = new RpcServer(options)
    server.#listener = await network.listen(address, (socket) => server.#accept(socket))
    return server
  }

  private constructor(options: ServerOptions) {
    this.#options = options
    this.#bounds = { ...SERVER_BOUNDS, ...options.bounds }
    this.#budget = new ByteBudget(this.#bounds.collectBytesTotalMax)
  }

  /** The address in use, with the port the system chose. */
  get address(): Address {
    return this.#listener!.address
  }

  /** All connections, those that have not said hello too. */
  get connections(): ReadonlySet<Connection> {
    return this.#connections
  }

  /**
   * Accepts no more, lets the requests under way finish for at most `graceMs`, then closes every connection.
   * Resolves when the listener is closed and every connection was told.
   */
  async close(graceMs = 5 * SECOND_MS): Promise<void> {
    await this.#listener!.close()
    const { clock } = this.#options
    const endMs = clock.nowMs() + graceMs
    while (clock.nowMs() < endMs && [...this.#connections].some((connection) => connection.requestCount > 0)) {
      await clock.sleep(Math.min(20, graceMs))
    }
    const reason = new DfsError('CONNECTION_LOST', 'the server is stopping')
    for (const connection of [...this.#connections]) connection.close(reason)
  }

  #accept(socket: Socket): void {
    const { clock, hello, expect, handlers, onBug, limits } = this.#options
    const { connectionsMax, greetingsMax } = this.#bounds
    if (this.#connections.size >= connectionsMax + greetingsMax) {
      socket.start({ onBytes() {}, onDrain() {}, onEnd() {}, onClose() {} })
      socket.destroy()
      return
    }
    let isGreeting = true
    const greeted = () => {
      if (isGreeting) this.#greetingCount--
      isGreeting = false
    }
    this.#greetingCount++
    const connection = new Connection(socket, {
      clock,
      hello: hello(),
      isAcceptor: true,
      ...(expect && { expect }),
      handlers,
      onBug,
      ...(limits && { limits }),
      budget: this.#budget,
      onClose: (closed, reason) => {
        greeted()
        this.#connections.delete(closed)
        this.#options.onClose?.(closed, reason)
      },
    })
    this.#connections.add(connection)
    if (this.#connections.size > connectionsMax || this.#greetingCount > greetingsMax) {
      const message = `too many connections: ${this.#connections.size}, ${this.#greetingCount} of them without a hello`
      connection.refuse(new DfsError('BUSY', message, { connectionsMax, greetingsMax }))
      return
    }
    connection.opened.then(
      () => {
        greeted()
        if (connection.isOpen) this.#options.onOpen?.(connection)
      },
      () => {}, // onClose tells
    )
  }
}
