// How many arriving bytes one connection, and the whole server, may hold before they are written and sent on.
//
// A connection over its bound stops reading: TCP holds its sender, and nobody else. A server over its bound refuses
// new pieces with BUSY: nothing waits for room while it holds room (DESIGN §4), so no circle of waiting servers forms.

import { DfsError } from '../base/errors.ts'
import { MiB } from '../base/units.ts'
import type { Connection } from '../rpc/connection.ts'

/** Of one connection: a few pieces under way. */
const CONNECTION_BYTES_MAX = 4 * MiB
/** Of all connections together. */
export const SERVER_BYTES_MAX = 512 * MiB

/** What of an IncomingData a flow needs. */
interface Pausable {
  pause(): void
  resume(): void
}

export class Flow {
  readonly #server: Flows
  #bytes = 0
  #arriving: Pausable | undefined
  #isPaused = false

  constructor(server: Flows) {
    this.#server = server
  }

  /** The data that arrives now on the connection: one at a time. */
  begin(data: Pausable): void {
    this.#arriving = data
    this.#isPaused = false
    this.#hold()
  }

  /** It has all come, or broke off. */
  end(): void {
    this.#arriving = undefined
  }

  take(bytes: number): void {
    this.#bytes += bytes
    this.#server.bytes += bytes
    this.#hold()
  }

  give(bytes: number): void {
    this.#bytes -= bytes
    this.#server.bytes -= bytes
    if (!this.#isPaused || this.#bytes > CONNECTION_BYTES_MAX / 2) return
    this.#isPaused = false
    this.#arriving?.resume()
  }

  #hold(): void {
    if (this.#isPaused || this.#arriving === undefined || this.#bytes <= CONNECTION_BYTES_MAX) return
    this.#isPaused = true
    this.#arriving.pause()
  }
}

export class Flows {
  /** Held now, by all connections. */
  bytes = 0
  readonly #flows = new WeakMap<Connection, Flow>()

  of(connection: Connection): Flow {
    let flow = this.#flows.get(connection)
    if (flow === undefined) {
      flow = new Flow(this)
      this.#flows.set(connection, flow)
    }
    return flow
  }

  /** Takes room for `bytes` that will arrive; whoever reserved subtracts them from `bytes`. Throws BUSY. */
  reserve(bytes: number): void {
    this.check(bytes)
    this.bytes += bytes
  }

  /** Throws BUSY when `bytes` more would be too many. */
  check(bytes: number): void {
    if (this.bytes + bytes <= SERVER_BYTES_MAX) return
    throw new DfsError('BUSY', `${this.bytes} arriving bytes are held here, at most ${SERVER_BYTES_MAX} may be`)
  }
}
