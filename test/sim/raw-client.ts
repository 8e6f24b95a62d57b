// A client without a library: typed requests to one master, each change sent again with its own number until it has a
// verdict. What the tests of the master speak.

import { DfsError, isDfsError } from '../../src/base/errors.ts'
import type { SessionId } from '../../src/base/ids.ts'
import { RANDOM_ID_MAX } from '../../src/base/ids.ts'
import type { Io } from '../../src/io/io.ts'
import type { Address } from '../../src/io/network.ts'
import type { Requester } from '../../src/master/operations.ts'
import { ask } from '../../src/rpc/ask.ts'
import type { Connection } from '../../src/rpc/connection.ts'
import { connect } from '../../src/rpc/pool.ts'
import { hello } from '../../src/wire/hello.ts'
import type { MessageName, ReplyOf, RequestOf } from '../../src/wire/messages.ts'

type Changing = { [K in MessageName]: RequestOf<K> extends { readonly by: Requester } ? K : never }[MessageName]

/** Failures of the way to the master: the same request is sent again. */
const onTheWay = new Set([
  'CONNECTION_LOST',
  'UNAVAILABLE',
  'TIMEOUT',
  'NOT_READY',
  'BUSY',
  'DISK_FULL',
  'FSYNC_FAILED',
  'FILE_BUSY',
])

export class RawClient {
  readonly session: SessionId
  readonly #io: Io
  readonly #address: Address
  #connection: Connection | undefined
  #request = 0
  readonly #unanswered = new Set<number>()

  constructor(io: Io, address: Address) {
    this.#io = io
    this.#address = address
    this.session = (1 + io.entropy.below(RANDOM_ID_MAX)) as SessionId
  }

  /** One try. */
  async ask<K extends MessageName>(name: K, request: RequestOf<K>, timeoutMs = 5000): Promise<ReplyOf<K>> {
    return ask(await this.#connect(), name, request, { timeoutMs })
  }

  /** A change, exactly once, sent again until there is a verdict: the reply, or the master's refusal as an error. */
  async change<K extends Changing>(name: K, fields: Omit<RequestOf<K>, 'by'>): Promise<ReplyOf<K>> {
    const request = ++this.#request
    this.#unanswered.add(request)
    try {
      return await this.until(() => {
        const by = { session: this.session, request, floor: Math.min(...this.#unanswered) - 1 }
        return this.ask(name, { by, ...fields } as unknown as RequestOf<K>)
      })
    } finally {
      this.#unanswered.delete(request)
    }
  }

  /** Calls again as long as only the way to the master failed. */
  async until<T>(call: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await call()
      } catch (error) {
        if (!isDfsError(error) || !onTheWay.has(error.code)) throw error
        await this.#io.clock.sleep(20)
      }
    }
  }

  close(): void {
    this.#connection?.close()
  }

  async #connect(): Promise<Connection> {
    if (this.#connection?.isOpen) return this.#connection
    const { clock, network } = this.#io
    const onBug = (error: unknown): never => {
      throw error
    }
    this.#connection = await connect({ clock, network, hello: () => hello('client'), onBug }, this.#address, 1000)
    return this.#connection
  }
}

/** The code of the DfsError that `call` ends with; undefined when it succeeds. */
export async function codeOf(call: Promise<unknown>): Promise<string | undefined> {
  try {
    await call
    return undefined
  } catch (error) {
    if (error instanceof DfsError) return error.code
    throw error
  }
}
