// Carries out what the master orders in its answers to heartbeats: seal, delete, quarantine.
//
// An order is valid for a time from the moment the heartbeat was *sent*, by this server's own clock, and dies with the
// connection. It is looked at again just before each thing that can't be undone (DESIGN §5).

import fastq, { type queueAsPromised } from 'fastq'
import { isDfsError } from '../base/errors.ts'
import { formatHandle } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import type { Order } from '../wire/messages.ts'
import type { ChunkStore } from './chunk-store.ts'
import type { HistoryGuard } from './history-guard.ts'
import { seal } from './sealing.ts'

/** Orders carried out side by side. */
const AT_ONCE = 8
/** Orders that wait at most; the master gives those dropped again. */
const WAITING_MAX = 4096

interface Given {
  readonly order: Order
  /** Whether it may still be carried out. */
  readonly isValid: () => boolean
}

export class Orders {
  readonly #store: ChunkStore
  readonly #guard: HistoryGuard
  readonly #logger: Logger
  readonly #queue: queueAsPromised<Given>
  /** Orders waiting or under way, so that none is done twice at once. */
  readonly #known = new Set<string>()

  constructor(store: ChunkStore, guard: HistoryGuard, logger: Logger) {
    this.#store = store
    this.#guard = guard
    this.#logger = logger
    this.#queue = fastq.promise((given: Given) => this.#run(given), AT_ONCE)
  }

  /** Takes orders in; they run soon, in no order. @param isValid  asked again before each is carried out */
  give(orders: readonly Order[], isValid: () => boolean): void {
    for (const order of orders) {
      const key = `${order.kind} ${order.handle}`
      if (this.#known.has(key) || this.#known.size >= WAITING_MAX) continue
      this.#known.add(key)
      const forget = () => this.#known.delete(key)
      this.#queue.push({ order, isValid }).then(forget, forget)
    }
  }

  async #run({ order, isValid }: Given): Promise<void> {
    const { handle } = order
    const fields = { handle, order: order.kind }
    const name = formatHandle(handle)
    if (!isValid() || this.#guard.isRolledBack) {
      this.#logger.info(fields, `order to ${order.kind} chunk ${name} was not carried out: it is no longer valid`)
      return
    }
    const replica = this.#store.find(handle)
    if (replica === undefined) return
    try {
      if (order.kind === 'seal') await seal(this.#store, order)
      else if (order.version < replica.version) {
        this.#logger.warn(
          fields,
          `order to ${order.kind} chunk ${name} is for version ${order.version}, ${replica.version} is here`,
        )
      } else if (order.kind === 'delete') {
        await this.#store.remove(replica, isValid)
        this.#logger.info(fields, `deleted chunk ${name} on the master's order`)
      } else {
        await this.#store.quarantine(replica, "on the master's order")
      }
    } catch (error) {
      if (!isDfsError(error)) throw error
      // The master sees what is here, and orders again.
      this.#logger.warn(
        { ...fields, code: error.code },
        `order to ${order.kind} chunk ${name} failed: ${error.message}`,
      )
    }
  }
}
