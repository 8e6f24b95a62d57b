// The masters: finds the one that leads, asks it, and asks again as long as that can help and the caller has patience.
//
// Invariants:
//   - a change keeps its request number through every repetition, so that it happens at most once, whatever breaks
//   - an answer of a master is no progress by itself: whoever asks again and again must still run out of patience
//   - when patience ends while a change may have happened, the answer is OUTCOME_UNKNOWN, never a guess
//
// Source: the exactly-once table is that of Raft §8 (client interaction); GFS §2.7.1 leaves duplicates to readers.

import { assert } from '../base/assert.ts'
import { DfsError } from '../base/errors.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Entropy } from '../io/entropy.ts'
import { type Address, formatAddress, parseAddress } from '../io/network.ts'
import type { Connection } from '../rpc/connection.ts'
import { Message, type MessageName, type ReplyOf, type Requester, type RequestOf } from '../wire/messages.ts'
import type { Links } from './links.ts'
import type { Patience } from './patience.ts'
import { asFault, backoffMs, isMasterRetriable, isOutcomeOpen } from './retry.ts'
import type { Session } from './session.ts'

export type By = Requester

export interface SendOptions {
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  /** To be called when the request leaves: from then on it may happen. */
  readonly onSend: () => void
}

/** Another way to send one change than as a message of its own. Errors: as Links.call. */
export type Send<K extends MessageName> = (
  connection: Connection,
  request: RequestOf<K>,
  options: SendOptions,
) => Promise<ReplyOf<K>>

/** One question to a master takes at most this long before another master, or the same again, is asked. */
export const MASTER_CALL_MS = 15 * SECOND_MS
/** A change that was refused is not sent once more with less time left: unanswered, a plain no would become an unknown. */
const LAST_TRY_MS_MIN = 200

export class Masters {
  readonly #links: Links
  readonly #entropy: Entropy
  readonly #addresses: Address[]
  #current = 0

  /** @param addresses  at least one */
  constructor(links: Links, entropy: Entropy, addresses: readonly Address[]) {
    assert(addresses.length > 0, 'no master address')
    this.#links = links
    this.#entropy = entropy
    this.#addresses = [...addresses]
  }

  /** Asks something that changes nothing, or that is the same when it happens twice. Errors: as the message's, TIMEOUT, ABORTED. */
  ask<K extends MessageName>(name: K, request: RequestOf<K>, patience: Patience): Promise<ReplyOf<K>> {
    return this.askWith(name, () => request, patience)
  }

  /** `ask` with a request that is made anew for every repetition. @param makeRequest  given the number of tries before */
  async askWith<K extends MessageName>(
    name: K,
    makeRequest: (attempt: number) => RequestOf<K>,
    patience: Patience,
  ): Promise<ReplyOf<K>> {
    let last: DfsError | undefined
    for (let attempt = 0; ; attempt++) {
      const timeoutMs = this.#leftMs(patience, last)
      try {
        let connection = this.#connect(patience, timeoutMs)
        if (connection instanceof Promise) connection = await connection
        return await this.#links.call(connection, name, makeRequest(attempt), { timeoutMs, signal: patience.signal })
      } catch (error) {
        last = this.#judge(error, patience)
        if (!isMasterRetriable(last)) throw last
        await this.#pause(attempt, patience, last)
      }
    }
  }

  /**
   * Asks for a change that happens at most once.
   *
   * @param makeRequest  the request for the requester given: called again for every repetition, as the floor moves
   * @param session      on whose behalf
   * @param send         how a request is sent; as a message of its own when left out
   * Errors: as the message's; OUTCOME_UNKNOWN when it was sent and patience ended before the answer; SESSION_ENDED;
   * TIMEOUT or the last fault when it certainly did not happen; ABORTED (`detail.outcome` is 'unknown' when it may have happened).
   */
  async change<K extends MessageName>(
    name: K,
    makeRequest: (by: By) => RequestOf<K>,
    session: Session,
    patience: Patience,
    send?: Send<K>,
  ): Promise<ReplyOf<K>> {
    const begun = session.begin(patience)
    const number = typeof begun === 'number' ? begun : await begun
    let isOpen = false
    let last: DfsError | undefined
    try {
      for (let attempt = 0; ; attempt++) {
        const timeoutMs = this.#leftMs(patience, last)
        if (last !== undefined && !isOpen && timeoutMs < LAST_TRY_MS_MIN) {
          await this.#wait(timeoutMs, patience, last)
          continue
        }
        let wasSent = false
        try {
          let connection = this.#connect(patience, timeoutMs)
          if (connection instanceof Promise) connection = await connection
          const by: By = { session: session.id, request: number, floor: Math.min(session.floor, number - 1) }
          const request = makeRequest(by)
          const { signal } = patience
          const onSend = (): void => {
            wasSent = true
          }
          if (send !== undefined) return await send(connection, request, { timeoutMs, signal, onSend })
          onSend()
          return await this.#links.call(connection, name, request, { timeoutMs, signal })
        } catch (error) {
          last = this.#judge(error, patience)
          // Asked again while it is under way, a long change is busy as well: it keeps its number, and its outcome as open as it was.
          if (wasSent && last.code !== 'FILE_BUSY' && isOutcomeOpen(last)) isOpen = true
          if (last.code === 'SESSION_ENDED') session.isEnded = true
          if (last.code === 'SESSION_ENDED' && isOpen) throw last
          if (!isMasterRetriable(last)) {
            // Any other verdict is given in log order: the change did not happen before it, and can't after it.
            if (last.code !== 'ABORTED' && last.code !== 'OUTCOME_UNKNOWN') isOpen = false
            throw last
          }
          await this.#pause(attempt, patience, last)
        }
      }
    } catch (error) {
      throw isOpen ? unknownOutcome(name, asFault(error)) : error
    } finally {
      session.end(number)
    }
  }

  /** The master in use. A promise only while there is no connection: nearly always there is one. */
  #connect(patience: Patience, timeoutMs: number): Connection | Promise<Connection> {
    const address = this.#addresses[this.#current]!
    return this.#links.openMaster(address) ?? this.#links.master(address, timeoutMs, patience.signal)
  }

  #leftMs(patience: Patience, last: DfsError | undefined): number {
    try {
      return patience.capMs(MASTER_CALL_MS, last)
    } catch (error) {
      throw endOfPatience(error, last)
    }
  }

  /** What went wrong; turns to another master where that is the reason. */
  #judge(error: unknown, patience: Patience): DfsError {
    const fault = asFault(error)
    if (patience.signal?.aborted) return new DfsError('ABORTED', 'the caller gave up', {}, patience.signal.reason)
    if (fault.code === 'NOT_LEADER') this.#follow(fault)
    else if (fault.code === 'CONNECTION_LOST' || fault.code === 'UNAVAILABLE' || fault.code === 'TIMEOUT') this.#turn()
    return fault
  }

  /** To the leader that a master names, or to the next in the list. */
  #follow(fault: DfsError): void {
    const named = typeof fault.detail.leader === 'string' ? parseAddress(fault.detail.leader) : undefined
    if (named === undefined) {
      this.#turn()
      return
    }
    const index = this.#addresses.findIndex((address) => formatAddress(address) === formatAddress(named))
    if (index >= 0) this.#current = index
    else if (this.#addresses.length < ADDRESSES_MAX) this.#current = this.#addresses.push(named) - 1
    else this.#turn()
  }

  #turn(): void {
    this.#current = (this.#current + 1) % this.#addresses.length
  }

  async #pause(attempt: number, patience: Patience, last: DfsError): Promise<void> {
    if (last.code === 'NOT_LEADER' && attempt < this.#addresses.length) return
    await this.#wait(backoffMs(attempt, this.#entropy), patience, last)
  }

  async #wait(delayMs: number, patience: Patience, last: DfsError): Promise<void> {
    try {
      await patience.sleep(delayMs, last)
    } catch (error) {
      throw endOfPatience(error, last)
    }
  }
}

/** Masters may name others; a list that grows for ever would be theirs to fill. */
const ADDRESSES_MAX = 32

/**
 * The fault to report when patience ends: what a server said (too few chunkservers, still starting) tells more than
 * that time passed; `detail.timedOut` says that it did.
 */
export function endOfPatience(error: unknown, last: DfsError | undefined): DfsError {
  const fault = asFault(error)
  if (fault.code !== 'TIMEOUT' || last === undefined || last.code === 'TIMEOUT') return fault
  // Somebody within waited less long for the same: it has been said.
  if (last.detail.timedOut === true) return last
  return new DfsError(
    last.code,
    `${last.message} (${fault.message.split(';')[0]})`,
    { ...last.detail, timedOut: true },
    last,
  )
}

function unknownOutcome(name: MessageName, fault: DfsError): DfsError {
  if (fault.code === 'ABORTED')
    return new DfsError('ABORTED', fault.message, { ...fault.detail, outcome: 'unknown' }, fault)
  if (fault.code === 'OUTCOME_UNKNOWN') return fault
  const message = `${Message[name].means}: it was sent, and whether it happened is not known: ${fault.message}`
  return new DfsError(
    'OUTCOME_UNKNOWN',
    message,
    { lastCode: fault.code, ...(fault.code === 'TIMEOUT' && { timedOut: true }), ...fault.detail },
    fault,
  )
}
