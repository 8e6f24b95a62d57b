// Replicas: what servers say of theirs, held against the log; and the orders that follow (GFS §2.6.2, §4.4, §4.5).
//
// Level-triggered: an order that gets lost is given again when the replica is reported again, in a full report at the
// latest. Those are rare: servers tell changes, and with each heartbeat the sum of all they have; it is asked for
// everything when that is not the sum of what is known, and now and then while something is left over.
// Orders to delete wait while the master is young or in safe mode.

import { type ChunkHandle, type DirectoryId, formatServer, type ServerId } from '../base/ids.ts'
import { ORDER_HOLDBACK_MS } from '../base/limits.ts'
import { MINUTE_MS, SECOND_MS } from '../base/units.ts'
import type { Order, ReplicaFacts } from '../wire/messages.ts'
import { addMark, conditionOf } from '../wire/replica-sum.ts'
import type { ReplicaState } from './cluster/locations.ts'
import type { ServerView } from './cluster/servers.ts'
import type { MasterContext } from './context.ts'
import type { ChunkFacts } from './metadata/chunk-table.ts'
import { judgeReplica } from './plan/garbage.ts'

/** Orders waiting for one server at most; what is over is found again by its next full report. */
const ORDERS_WAITING_MAX = 100_000
/** Orders in one heartbeat reply. */
const ORDERS_PER_REPLY = 1024
/** A difference that a full report does not end is asked about again after this long, then ever more rarely. */
const DIFFERENCE_MS_MIN = 10 * SECOND_MS
const DIFFERENCE_MS_MAX = 10 * MINUTE_MS

export class Replicas {
  readonly #context: MasterContext
  readonly #startMs: number
  readonly #orders = new Map<ServerId, Map<ChunkHandle, Order>>()
  readonly #wantsReport = new Set<ServerId>()
  /** Servers whose last sum was not the known one. */
  readonly #differences = new WeakMap<ServerView, { askAtMs: number; waitMs: number }>()
  /** Handles named since a server's full report began; what it had and doesn't name is gone. */
  readonly #reporting = new Map<ServerId, Set<ChunkHandle>>()
  /** Replicas set aside because the log doesn't know them, a server each. */
  readonly #quarantined = new Map<ServerId, Set<ChunkHandle>>()

  constructor(context: MasterContext) {
    this.#context = context
    this.#startMs = context.clock.nowMs()
  }

  /** Whether orders to delete may go out now. */
  get mayDelete(): boolean {
    const { clock, safeMode } = this.#context
    return !safeMode.isOn && clock.nowMs() - this.#startMs >= ORDER_HOLDBACK_MS
  }

  /** Replicas that servers hold and no log record explains. */
  get quarantinedCount(): number {
    let count = 0
    for (const handles of this.#quarantined.values()) count += handles.size
    return count
  }

  /** Takes what a server says of one replica. Throws WRONG_DISK for a directory that is not one of its own. */
  note(server: ServerView, facts: ReplicaFacts): void {
    const { state, locations } = this.#context
    const { handle, directory } = facts
    this.#context.servers.checkOwner(server, directory)
    this.#reporting.get(server.id)?.add(handle)
    this.#context.attention.add(handle)
    if (facts.state === 'gone') {
      locations.delete(handle, directory)
      return
    }
    if (state.reserved?.handle === handle) {
      // Being gathered: nothing names it yet, so nobody reads it; where it is has to be known if it is given up.
      locations.set(handle, directory, 'different', conditionOf(facts.state))
      return
    }
    // Whether orders may go out is a question to all servers, and a report names a million replicas.
    const verdict = state.hasChunk(handle) ? 'keep' : judgeReplica(handle, state, this.mayDelete)
    if (verdict === 'delete') this.#order(server.id, orderOf('delete', facts))
    if (verdict === 'quarantine') this.#quarantine(server, facts)
    const chunk = state.chunk(handle)
    if (chunk) this.#quarantined.get(server.id)?.delete(handle)
    else {
      locations.setUnlisted(handle, directory, conditionOf(facts.state))
      // Known once, and orders to delete are held back: the next report brings it again.
      if (verdict === 'keep') this.#wantsReport.add(server.id)
      return
    }
    if (chunk.state === 'sealed' && (facts.state === 'open' || facts.state === 'fenced')) {
      this.orderSeal(server.id, chunk)
      const isNews = !locations.of(handle).some((known) => known.directory === directory)
      if (isNews) this.#context.settling.begin(handle, this.#context.clock.nowMs())
    }
    locations.set(handle, directory, replicaState(facts, chunk), conditionOf(facts.state))
  }

  /** The replica there is to be cut to what the log says, with the server's next heartbeat. */
  orderSeal(server: ServerId, chunk: ChunkFacts): void {
    const { handle, version, length, digest, indexDigest } = chunk
    this.#order(server, { kind: 'seal', handle, version, length, digest, indexDigest })
  }

  /** A reader has met a bad replica of the chunk. */
  awaited(handle: ChunkHandle): void {
    if (this.#context.state.hasChunk(handle)) this.#context.attention.await(handle)
  }

  beginReport(server: ServerView): void {
    this.#reporting.set(server.id, new Set())
  }

  /** The report is whole: what it did not name is not there. */
  endReport(server: ServerView): void {
    const named = this.#reporting.get(server.id)
    if (!named) return
    this.#reporting.delete(server.id)
    this.#wantsReport.delete(server.id)
    server.hasReported = true
    for (const { directory } of server.directories) {
      for (const handle of [...this.#context.locations.handlesOf(directory)]) {
        if (named.has(handle)) continue
        if (this.#isMember(handle, directory)) this.#context.locations.set(handle, directory, 'open')
        else this.#context.locations.delete(handle, directory)
        this.#context.attention.add(handle)
      }
    }
  }

  /**
   * The next heartbeat reply asks for a full report where something is left over: replicas that have to go, because an
   * order may have been lost, and such as the log promised and nobody has seen.
   */
  wantReports(): void {
    const { servers, locations } = this.#context
    for (const server of servers.all()) {
      if (server.directories.some(({ directory }) => locations.oddIn(directory) > 0)) {
        this.#wantsReport.add(server.id)
      }
    }
  }

  /**
   * Holds the sum of what a server has against that of what is known of it. One difference may be an answer that crossed
   * a heartbeat; one that stays means that something got lost on the way, and everything is asked for.
   *
   * @param sum  undefined: the server has more to say first, or is an earlier version
   */
  compare(server: ServerView, sum: number | undefined): void {
    if (sum === undefined || !server.hasReported) return
    const { locations, logger, clock } = this.#context
    const known = server.directories.reduce((total, { directory }) => addMark(total, locations.sumOf(directory)), 0)
    const difference = this.#differences.get(server)
    if (known === sum) {
      this.#differences.delete(server)
      return
    }
    const nowMs = clock.nowMs()
    if (!difference) {
      this.#differences.set(server, { askAtMs: nowMs, waitMs: DIFFERENCE_MS_MIN })
      return
    }
    if (nowMs < difference.askAtMs) return
    difference.askAtMs = nowMs + difference.waitMs
    difference.waitMs = Math.min(DIFFERENCE_MS_MAX, 2 * difference.waitMs)
    this.#wantsReport.add(server.id)
    logger.warn(
      { event: 'replicas-differ', server: server.id, told: sum, known },
      `what ${formatServer(server.id)} has differs from what is known of it: it is asked for everything`,
    )
  }

  wantsReport(server: ServerId): boolean {
    return this.#wantsReport.has(server)
  }

  /** The chunk of `length` bytes left the table: its replicas may go, once that is allowed. */
  forgotten(handle: ChunkHandle, length: number): void {
    const { locations, servers } = this.#context
    for (const { directory } of locations.of(handle)) {
      const server = servers.serverOfDirectory(directory)
      if (server) this.#order(server.id, { ...gone, handle, length })
    }
    locations.unlist(handle)
    this.#context.attention.add(handle)
  }

  /** Orders for one heartbeat reply; they leave the queue. */
  takeOrders(server: ServerId): Order[] {
    const waiting = this.#orders.get(server)
    if (!waiting) return []
    const taken: Order[] = []
    const mayDelete = this.mayDelete
    for (const order of waiting.values()) {
      if (order.kind === 'delete' && !mayDelete) continue
      taken.push(order)
      if (taken.length >= ORDERS_PER_REPLY) break
    }
    for (const order of taken) waiting.delete(order.handle)
    return taken
  }

  /** Replicas that still wait to be deleted, over all servers. */
  get pendingDeletes(): number {
    let count = 0
    for (const waiting of this.#orders.values())
      for (const order of waiting.values()) if (order.kind === 'delete') count++
    return count
  }

  /** Bytes of these replicas: what is not free yet. */
  get pendingDeleteBytes(): number {
    let bytes = 0
    for (const waiting of this.#orders.values())
      for (const order of waiting.values()) if (order.kind === 'delete') bytes += order.length
    return bytes
  }

  #order(server: ServerId, order: Order): void {
    let waiting = this.#orders.get(server)
    if (!waiting) {
      waiting = new Map()
      this.#orders.set(server, waiting)
    }
    if (waiting.size < ORDERS_WAITING_MAX) waiting.set(order.handle, order)
    else this.#wantsReport.add(server)
  }

  #quarantine(server: ServerView, facts: ReplicaFacts): void {
    let handles = this.#quarantined.get(server.id)
    if (!handles) {
      handles = new Set()
      this.#quarantined.set(server.id, handles)
    }
    handles.add(facts.handle)
    if (facts.state === 'quarantined') return
    this.#context.logger.warn(
      { event: 'quarantine', handle: facts.handle, server: server.id, length: facts.length },
      'a chunk that the log does not know is set aside, not deleted',
    )
    this.#order(server.id, orderOf('quarantine', facts))
  }

  #isMember(handle: ChunkHandle, directory: DirectoryId): boolean {
    return this.#context.state.chunkMembers(handle)?.some((member) => member.directory === directory) ?? false
  }
}

/** The chunk has left the table for good: a replica of it goes whatever its version. */
const gone = { kind: 'delete', version: 2 ** 32 - 1, digest: 0, indexDigest: 0 } as const

function orderOf(kind: 'delete' | 'quarantine', facts: ReplicaFacts): Order {
  return {
    kind,
    handle: facts.handle,
    version: facts.version,
    length: facts.length,
    digest: facts.digest,
    indexDigest: 0,
  }
}

function replicaState(
  facts: ReplicaFacts,
  chunk: {
    readonly state: 'open' | 'sealed'
    readonly version: number
    readonly length: number
    readonly digest: number
  },
): ReplicaState {
  if (facts.state === 'corrupt') {
    // Sealed with another digest it is another's, whatever else is wrong with it.
    const isOther = chunk.state === 'sealed' && facts.digest !== 0 && facts.digest !== chunk.digest
    return isOther ? 'different' : 'corrupt'
  }
  if (facts.state === 'quarantined' || facts.version < chunk.version) return 'different'
  // Fenced, it gets no longer: what it lacks of the logged length it will never have.
  if (facts.state === 'fenced' && chunk.state === 'sealed' && facts.length < chunk.length) return 'short'
  if (facts.state !== 'sealed') return 'open'
  if (chunk.state === 'open' || facts.length > chunk.length) return 'different'
  if (facts.length < chunk.length) return 'short'
  return facts.digest === chunk.digest ? 'good' : 'different'
}
