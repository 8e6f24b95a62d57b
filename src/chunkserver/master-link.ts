// The conversation with the master: join, full report, heartbeats, and orders in their answers.
//
// One connection at a time; when it ends, or the master is silent, the next address is tried, with a wait that grows.
// Writers don't notice: no promise rests on the master being there.
//
// Invariants:
//   - heartbeats and reports leave one after the other, each with a higher sequence number
//   - a full report is made at each join, and when the master asks for one: its sum of the replicas differs from ours
//   - an order is valid while its connection lives, and for a time from the sending of its heartbeat
//
// Source: GFS §2.3, §2.6.2; DESIGN §3, §5.

import { DfsError, type ErrorCode, isDfsError } from '../base/errors.ts'
import type { ServerId } from '../base/ids.ts'
import { formatServer } from '../base/ids.ts'
import { ORDER_VALID_MS } from '../base/limits.ts'
import type { Logger } from '../base/log.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Io } from '../io/io.ts'
import { type Address, formatAddress, parseAddress } from '../io/network.ts'
import type { Connection } from '../rpc/connection.ts'
import { connect } from '../rpc/pool.ts'
import type { Handlers } from '../rpc/requests.ts'
import type { Hello } from '../wire/hello.ts'
import { type DirectoryFacts, type History, Message, type ReplicaFacts, type RequestOf } from '../wire/messages.ts'
import type { Counters } from './counters.ts'
import { DirectoryNews } from './directory-news.ts'
import type { HistoryGuard } from './history-guard.ts'
import { type Inventory, REPORT_PART_MAX } from './inventory.ts'
import type { Orders } from './orders.ts'
import type { Replica } from './replica.ts'

/** Faults that mean that nobody answers; all others are the answer of a master. */
const unreachable: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['UNAVAILABLE', 'TIMEOUT', 'CONNECTION_LOST'])
const CONNECT_MS = 3 * SECOND_MS
const JOIN_MS = 10 * SECOND_MS
const LEAVE_MS = 1 * SECOND_MS
/** A heartbeat that is answered later than this many intervals (at least HEARTBEAT_MS_MIN) ends the connection. */
const INTERVALS_MAX = 4
const HEARTBEAT_MS_MIN = 2 * SECOND_MS
const WAIT_MS_MIN = 100
const WAIT_MS_MAX = 3 * SECOND_MS
/** Urgent news don't wait for the next heartbeat, but two are never closer than this. */
const URGENT_MS = 20
/** Every so many heartbeats all replicas are held against what was told of them: milliseconds for 100,000. */
const RECOUNT_BEATS = 256

export interface MasterLinkOptions {
  readonly io: Io
  readonly logger: Logger
  readonly masters: readonly Address[]
  readonly hello: () => Hello
  readonly handlers: Handlers
  readonly onBug: (error: unknown) => void
  readonly inventory: Inventory
  readonly orders: Orders
  readonly guard: HistoryGuard
  readonly counters: Counters
  /** What a join says; asked each time. */
  readonly joinFacts: () => Omit<RequestOf<'join'>, 'seenLogIndex'>
  readonly directories: () => readonly DirectoryFacts[]
  readonly load: () => { streams: number; queuedBytes: number }
  readonly replicas: () => Iterable<Replica>
  /** The master gave this server its number. */
  readonly onJoined: (server: ServerId) => Promise<void>
}

export class MasterLink {
  readonly #options: MasterLinkOptions
  readonly #news = new DirectoryNews()
  #told = { bytesRead: 0, bytesWritten: 0 }
  #connection: Connection | undefined
  #master: Address | undefined
  #isJoined = false
  #isClosed = false
  #isUrgent = false
  #wake: (() => void) | undefined
  #running: Promise<void> | undefined
  #lastFault = ''
  #beats = 0

  constructor(options: MasterLinkOptions) {
    this.#options = options
  }

  get isJoined(): boolean {
    return this.#isJoined
  }

  /** The master that is talked to now. */
  get master(): Address | undefined {
    return this.#isJoined ? this.#master : undefined
  }

  start(): void {
    this.#running = this.#run().catch((error: unknown) => this.#options.onBug(error))
  }

  /** Something happened that the master should know before the next heartbeat is due. */
  urgent(): void {
    if (this.#isUrgent) return
    this.#isUrgent = true
    this.#wake?.()
  }

  /** Ends the conversation; with `leave` the master is told that it is maintenance. */
  async close(leave: boolean): Promise<void> {
    const connection = this.#connection
    if (leave && this.#isJoined && connection?.isOpen) {
      try {
        await connection.call(Message.leave.number, Message.leave.request.encode({}), { timeoutMs: LEAVE_MS })
      } catch (error) {
        this.#options.logger.warn({ error: String(error) }, 'the master could not be told that this server leaves')
      }
    }
    this.#isClosed = true
    this.#wake?.()
    connection?.close()
    await this.#running
  }

  async #run(): Promise<void> {
    const { masters, io, inventory } = this.#options
    let failures = 0
    for (let turn = 0; !this.#isClosed; turn++) {
      const address = this.#master ?? masters[turn % masters.length]!
      try {
        await this.#converse(address)
        failures = 0
      } catch (error) {
        if (!isDfsError(error)) throw error
        this.#master = leaderOf(error)
        this.#tellFault(address, error)
        failures = this.#isJoined ? 0 : failures + 1
      }
      this.#isJoined = false
      inventory.untold()
      this.#connection?.close()
      this.#connection = undefined
      if (this.#isClosed) return
      const waitMs = Math.min(WAIT_MS_MAX, WAIT_MS_MIN * 2 ** Math.min(failures, 10))
      await this.#sleep(waitMs / 2 + io.entropy.below(Math.ceil(waitMs / 2)))
    }
  }

  /** Joins and beats until the connection ends, which is an error. */
  async #converse(address: Address): Promise<void> {
    const { io, hello, handlers, onBug, inventory, guard, logger } = this.#options
    const connection = await connect(
      { clock: io.clock, network: io.network, hello, expect: { roles: ['master'] }, handlers, onBug },
      address,
      CONNECT_MS,
      (closed) => {
        // One that was refused ends a moment after it failed: that must not cut the wait before the next try short.
        if (closed === this.#connection) this.#wake?.()
      },
    )
    if (this.#isClosed) return connection.close()
    this.#connection = connection
    const facts = this.#options.joinFacts()
    const asked = Message.join.request.encode({ ...facts, seenLogIndex: guard.seen })
    const answer = await connection.call(Message.join.number, asked, { timeoutMs: JOIN_MS })
    const joined = Message.join.reply.decode(answer.body, 'join')
    this.#checkHistory(joined.history, address)
    await this.#options.onJoined(joined.server)
    this.#isJoined = true
    this.#master = address
    this.#lastFault = ''
    logger.info(
      { server: joined.server, master: formatAddress(address) },
      `joined ${formatAddress(address)} as ${formatServer(joined.server)}`,
    )
    this.#news.joined(facts.directories)
    inventory.beginAnew(this.#facts())
    await this.#report(connection)
    let heartbeatMs = joined.heartbeatMs
    while (!this.#isClosed) {
      this.#isUrgent = false
      heartbeatMs = await this.#beat(connection, heartbeatMs)
      if (!this.#isUrgent) await this.#sleep(heartbeatMs)
      if (this.#isUrgent) await this.#sleep(URGENT_MS)
      if (!connection.isOpen)
        throw new DfsError('CONNECTION_LOST', `the connection to the master at ${formatAddress(address)} ended`)
    }
  }

  /** Bytes read and written since the last heartbeat. What a lost one carried is not told again: it is for people. */
  #traffic(): { readBytes: number; writtenBytes: number } {
    const { bytesRead, bytesWritten } = this.#options.counters
    const { bytesRead: readBefore, bytesWritten: writtenBefore } = this.#told
    this.#told = { bytesRead, bytesWritten }
    return { readBytes: bytesRead - readBefore, writtenBytes: bytesWritten - writtenBefore }
  }

  /** @returns the interval to the next heartbeat */
  async #beat(connection: Connection, heartbeatMs: number): Promise<number> {
    const { io, inventory, orders, guard, counters } = this.#options
    if (++this.#beats % RECOUNT_BEATS === 0) this.#recount()
    const changes = inventory.take()
    const body = Message.heartbeat.request.encode({
      sequence: inventory.nextSequence(),
      ...this.#news.next(this.#options.directories()),
      ...this.#options.load(),
      changes,
      replicaSum: inventory.sum,
      ...this.#traffic(),
    })
    const sentMs = io.clock.nowMs()
    const timeoutMs = Math.max(HEARTBEAT_MS_MIN, INTERVALS_MAX * heartbeatMs)
    try {
      const answer = await connection.call(Message.heartbeat.number, body, { timeoutMs })
      const reply = Message.heartbeat.reply.decode(answer.body, 'heartbeat')
      inventory.told()
      counters.heartbeats++
      guard.show(reply.history)
      const validMs = Math.min(reply.validMs, ORDER_VALID_MS)
      orders.give(reply.orders, () => connection.isOpen && io.clock.nowMs() < sentMs + validMs)
      if (reply.wantReport) await this.#report(connection)
      return reply.heartbeatMs
    } catch (error) {
      counters.heartbeatFailures++
      throw error
    }
  }

  /** Everything, in parts; each part says what is so when it leaves. */
  async #report(connection: Connection): Promise<void> {
    const { inventory } = this.#options
    const replicas = [...this.#options.replicas()]
    for (let at = 0; at === 0 || at < replicas.length; at += REPORT_PART_MAX) {
      const part = replicas.slice(at, at + REPORT_PART_MAX).map((replica) => replica.facts())
      const body = Message.chunkReport.request.encode({
        sequence: inventory.nextSequence(),
        isFirst: at === 0,
        isLast: at + REPORT_PART_MAX >= replicas.length,
        replicas: part,
      })
      await connection.call(Message.chunkReport.number, body, { timeoutMs: JOIN_MS })
    }
  }

  /** What every change should have told already. */
  #recount(): void {
    const { inventory, logger } = this.#options
    const count = inventory.recount(this.#facts())
    if (count > 0) logger.error({ event: 'unsaid', count }, `${count} replicas had changed and the master was not told`)
  }

  *#facts(): Generator<ReplicaFacts> {
    for (const replica of this.#options.replicas()) yield replica.facts()
  }

  #checkHistory(history: History, address: Address): void {
    const { guard, logger } = this.#options
    if (guard.join(history)) return
    logger.error(
      { seen: guard.seen, shown: history.logIndex, master: formatAddress(address) },
      `the master at ${formatAddress(address)} shows history up to ${history.logIndex}, ${guard.seen} was seen: bytes are served, nothing is allocated, cut or deleted. Restore its log, or run \`dfs admin accept-rollback\``,
    )
  }

  /** Said once for each kind of fault, not once for each try. */
  #tellFault(address: Address, error: DfsError): void {
    const fault = `${formatAddress(address)} ${error.code}`
    if (fault === this.#lastFault || this.#isClosed) return
    this.#lastFault = fault
    const fields = { master: formatAddress(address), code: error.code }
    const what = unreachable.has(error.code) ? 'no master at' : 'not taken in by the master at'
    this.#options.logger.warn(fields, `${what} ${formatAddress(address)}: ${error.message} (${error.next})`)
  }

  /** Waits, or until something urgent. */
  #sleep(delayMs: number): Promise<void> {
    if (this.#isClosed) return Promise.resolve()
    return new Promise((resolve) => {
      const done = () => {
        timer.cancel()
        this.#wake = undefined
        resolve()
      }
      const timer = this.#options.io.clock.after(delayMs, done)
      this.#wake = done
    })
  }
}

/** Where a master that doesn't lead says the leader is. */
function leaderOf(error: DfsError): Address | undefined {
  const { leader } = error.detail
  return error.code === 'NOT_LEADER' && typeof leader === 'string' ? parseAddress(leader) : undefined
}

/** Asks the masters, one after the other, which cluster they belong to. Rejects when none can be reached. */
export async function learnCluster(
  options: Pick<MasterLinkOptions, 'io' | 'masters' | 'hello' | 'onBug'>,
): Promise<string> {
  const { io, hello, onBug } = options
  let last: unknown
  for (const address of options.masters) {
    try {
      const dial = { clock: io.clock, network: io.network, hello, expect: { roles: ['master' as const] }, onBug }
      const connection = await connect(dial, address, CONNECT_MS)
      const cluster = connection.peer?.cluster ?? ''
      connection.close()
      if (cluster !== '') return cluster
      last = new DfsError('NOT_READY', `the master at ${formatAddress(address)} has no cluster id yet`)
    } catch (error) {
      if (!isDfsError(error)) throw error
      last = error
    }
  }
  throw last
}
