// One chunk of one's own while it is written: pieces down the chain, commits behind them, until it is full or fails.
//
// Pieces go out without waiting for one another; each answer says that every member has the piece. Every SYNC_BYTES,
// and whenever the writer asks, what all members have is committed and synced on all. The digest of the chunk follows
// from the pieces' checksums.
//
// Invariants:
//   - durableBytes <= ackedBytes <= sentBytes <= chunkBytes, all at borders of pieces
//   - a piece is kept until it is durable
//   - after the first fault nothing more is sent: the chunk is the sealer's
//
// Source: GFS §3.2 (pipelined push); DESIGN §4, steps 3 to 6.

import { setMaxListeners } from 'node:events'
import { assert } from '../base/assert.ts'
import { crc32, crc32Combine } from '../base/crc32.ts'
import { DfsError, type ErrorCode } from '../base/errors.ts'
import { type ClusterId, formatHandle, formatServer, type ServerId } from '../base/ids.ts'
import { MINUTE_MS, MiB, SECOND_MS } from '../base/units.ts'
import type { Timer } from '../io/clock.ts'
import type { Connection } from '../rpc/connection.ts'
import type { Allocation, RequestOf } from '../wire/messages.ts'
import type { Core } from './core.ts'
import type { Piece } from './pieces.ts'
import { silentMembers } from './probe.ts'
import { asFault, serverNamed } from './retry.ts'
import { SlowWatch } from './slow-watch.ts'

export type SealClaim = RequestOf<'commitFile'>['seals'][number]

/** What a run tells its writer, from later turns of the loop, never from within a call of the writer's. */
export interface RunEvents {
  /** All members have the piece, `tookMs` after it was sent. */
  onAcknowledged(run: ChunkRun, piece: Piece, tookMs: number): void
  /** All members have synced it. */
  onDurable(run: ChunkRun, piece: Piece, chunkOffset: number): void
  /** The last event. */
  onFault(run: ChunkRun, fault: DfsError): void
}

interface Sent {
  readonly piece: Piece
  readonly chunkOffset: number
  readonly sentMs: number
  isAcked: boolean
}

/** Unsynced bytes at most before they are synced on the way. */
const SYNC_BYTES = 16 * MiB
/** Calls have no deadline of their own that matters: the run as a whole watches for progress. */
const CALL_MS = 10 * MINUTE_MS
const CONNECT_MS_MAX = 3 * SECOND_MS

/** So many times the first patience without any answer, and the chunk is left though all its members live. */
const STALLS_MAX = 3
/** Faults that are the primary's when nobody is named. */
const PRIMARYS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'CONNECTION_LOST',
  'UNAVAILABLE',
  'BAD_FRAME',
  'BUSY',
  'NOT_READY',
  'DISK_FULL',
  'DISK_FAILED',
])

export class ChunkRun {
  readonly allocation: Allocation
  readonly #core: Core
  readonly #lane: number
  readonly #stallMs: number
  readonly #events: RunEvents
  readonly #stop = new AbortController()
  /** Not yet durable, in chunk order. */
  #sent: Sent[] = []
  #sentBytes = 0
  #ackedBytes = 0
  #durableBytes = 0
  /** Of the sent bytes. */
  #digest = 0
  /** Of the durable bytes. */
  #durableDigest = 0
  #syncTo = 0
  #isCommitting = false
  #inFlight = 0
  #connection: Promise<Connection> | undefined
  #live: Connection | undefined
  #isOver = false
  #progressMs: number
  #watchdog: Timer | undefined
  #silent: readonly ServerId[] = []
  readonly #slowWatch: SlowWatch

  /**
   * @param stallMs  without any answer for so long while one is due, each member is asked whether it lives: TIMEOUT when
   *                 one is silent; when all live they are waited for, three times as long in all
   */
  constructor(core: Core, allocation: Allocation, stallMs: number, events: RunEvents) {
    // It ends every piece under way at once: no leak to be warned of.
    setMaxListeners(0, this.#stop.signal)
    this.#core = core
    this.allocation = allocation
    this.#lane = core.lanes.take()
    this.#stallMs = stallMs
    this.#events = events
    this.#progressMs = core.io.clock.nowMs()
    this.#slowWatch = new SlowWatch({
      core,
      allocation,
      signal: this.#stop.signal,
      waitedMs: () => this.#waitedMs(),
      onSlow: (slow, waitedMs) => {
        this.#silent = slow
        this.#stalled(waitedMs)
      },
      onBug: (error) => this.#fail(asFault(error)),
    })
  }

  /** Bytes that still fit. */
  get room(): number {
    return this.allocation.chunkBytes - this.#sentBytes
  }

  get sentBytes(): number {
    return this.#sentBytes
  }

  /** Sent pieces that not all members are known to have, in bytes. */
  get unackedBytes(): number {
    return this.#sent.reduce((sum, sent) => (sent.isAcked ? sum : sum + sent.piece.length), 0)
  }

  get isDurable(): boolean {
    return this.#durableBytes === this.#sentBytes
  }

  /** What may stand in the log as its end; everything sent is durable and nothing more is sent after. */
  get claim(): SealClaim {
    assert(this.isDurable, 'a claim for bytes that are not durable')
    return { handle: this.allocation.handle, length: this.#durableBytes, digest: this.#durableDigest }
  }

  /** Sends a piece that fits. */
  send(piece: Piece): void {
    assert(!this.#isOver && piece.length <= this.room, 'a piece for a run that cannot take it')
    const sent = { piece, chunkOffset: this.#sentBytes, sentMs: this.#core.io.clock.nowMs(), isAcked: false }
    this.#sent.push(sent)
    this.#sentBytes += piece.length
    this.#digest = combine(this.#digest, piece)
    this.#push(sent).catch((error: unknown) => this.#fail(asFault(error)))
    this.#watch()
  }

  /** Makes what was sent so far durable as soon as all members have it. */
  sync(): void {
    this.#syncTo = this.#sentBytes
    this.#commitIfDue()
  }

  /** No more events, nothing more is sent. Gives the lane back. Harmless when it is over. */
  end(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#stop.abort(new DfsError('ABORTED', 'the writer left this chunk'))
    this.#watchdog?.cancel()
    this.#slowWatch.stop()
    this.#core.lanes.give(this.#lane)
  }

  /**
   * After a fault: what the log's seal makes of the pieces that were not durable. The run has ended.
   *
   * @returns `kept` lie within the chunk, `again` must be sent to another
   * Errors: CORRUPT_REPLICA when the sealed bytes are not the ones sent.
   */
  settle(length: number, digest: number): { kept: { piece: Piece; chunkOffset: number }[]; again: Piece[] } {
    const kept: { piece: Piece; chunkOffset: number }[] = []
    const again: Piece[] = []
    let expected = this.#durableDigest
    let isComparable = length >= this.#durableBytes && length <= this.#sentBytes
    for (const { piece, chunkOffset } of this.#sent) {
      const end = chunkOffset + piece.length
      if (end <= length) {
        kept.push({ piece, chunkOffset })
        expected = combine(expected, piece)
      } else {
        // A piece that was cut is sent again whole: a few bytes of the old chunk stay unused.
        again.push(piece)
        if (chunkOffset < length) expected = combineHead(expected, piece, length - chunkOffset)
      }
    }
    if (length > this.#sentBytes) isComparable = false
    const isOurs = length <= this.#sentBytes && (!isComparable || expected === digest)
    if (!isOurs) {
      const chunk = formatHandle(this.allocation.handle)
      throw new DfsError(
        'CORRUPT_REPLICA',
        `chunk ${chunk} was sealed at ${length} with digest ${digest}; ${this.#sentBytes} were sent, with digest ${expected} there`,
        { handle: chunk, length },
      )
    }
    return { kept, again }
  }

  /** The members to blame for `fault`. */
  suspects(fault: DfsError): readonly ServerId[] {
    if (this.#silent.length > 0) return this.#silent
    const named = serverNamed(fault)
    if (named !== undefined) return [named]
    const primary = this.allocation.members[0]
    const isPrimarys = PRIMARYS.has(fault.code)
    return primary !== undefined && isPrimarys ? [primary.server] : []
  }

  async #push(sent: Sent): Promise<void> {
    this.#inFlight++
    try {
      const connection = await this.#connect()
      const { handle, version } = this.allocation
      const { slices, crc } = sent.piece
      const request = { handle, version, offset: sent.chunkOffset }
      const options = { timeoutMs: CALL_MS, signal: this.#stop.signal, data: slices, dataCrc: crc }
      await this.#core.links.call(connection, 'pushPiece', request, options)
    } finally {
      this.#inFlight--
    }
    if (this.#isOver) return
    sent.isAcked = true
    this.#progress()
    for (const next of this.#sent) {
      if (!next.isAcked) break
      this.#ackedBytes = Math.max(this.#ackedBytes, next.chunkOffset + next.piece.length)
    }
    this.#commitIfDue()
    this.#events.onAcknowledged(this, sent.piece, this.#progressMs - sent.sentMs)
  }

  #commitIfDue(): void {
    if (this.#isCommitting || this.#isOver || this.#ackedBytes === this.#durableBytes) return
    const isAsked = this.#syncTo > this.#durableBytes && this.#ackedBytes >= this.#syncTo
    if (!isAsked && this.#ackedBytes - this.#durableBytes < SYNC_BYTES) return
    this.#isCommitting = true
    this.#commit(this.#ackedBytes).catch((error: unknown) => this.#fail(asFault(error)))
    this.#watch()
  }

  async #commit(length: number): Promise<void> {
    const { handle, version } = this.allocation
    this.#inFlight++
    try {
      const connection = await this.#connect()
      const request = { handle, version, serial: 0, length, sync: true }
      await this.#core.links.call(connection, 'commit', request, { timeoutMs: CALL_MS, signal: this.#stop.signal })
    } finally {
      this.#inFlight--
      this.#isCommitting = false
    }
    if (this.#isOver) return
    this.#durableBytes = length
    this.#progress()
    const durable: Sent[] = []
    while (this.#sent.length > 0 && this.#sent[0]!.chunkOffset < length) durable.push(this.#sent.shift()!)
    for (const { piece } of durable) this.#durableDigest = combine(this.#durableDigest, piece)
    this.#commitIfDue()
    for (const { piece, chunkOffset } of durable) this.#events.onDurable(this, piece, chunkOffset)
  }

  /** The connection to the primary, which has been told of the chunk; a new one when the last was closed as idle. */
  #connect(): Promise<Connection> {
    const isGone = this.#live !== undefined && !this.#live.isOpen && this.#inFlight === 1
    if (this.#connection === undefined || isGone) this.#connection = this.#open(this.#connection === undefined)
    return this.#connection
  }

  async #open(isFirst: boolean): Promise<Connection> {
    const { links } = this.#core
    const primary = this.allocation.members[0]
    if (primary === undefined)
      throw new DfsError('UNAVAILABLE', `chunk ${formatHandle(this.allocation.handle)} has no members`)
    const { signal } = this.#stop
    const connectMs = Math.min(CONNECT_MS_MAX, this.#stallMs)
    const connection = await links.chunkserver(primary.address, `write-${this.#lane}`, connectMs, signal)
    this.#live = connection
    this.#progress()
    if (isFirst) {
      const request = { clusterId: links.clusterId as ClusterId, allocation: this.allocation }
      // Not awaited: the pieces follow at once, in order.
      links
        .call(connection, 'openChunk', request, { timeoutMs: CALL_MS, signal })
        .then(() => this.#progress())
        .catch((error: unknown) => this.#fail(asFault(error)))
    }
    return connection
  }

  #progress(): void {
    this.#progressMs = this.#core.io.clock.nowMs()
  }

  /** One timer while answers are due. */
  #watch(): void {
    this.#slowWatch.start()
    if (this.#watchdog !== undefined) return
    if (this.#inFlight === 0) this.#progress()
    this.#watchdog = this.#core.io.clock.after(this.#stallMs, () => this.#look(this.#stallMs))
  }

  /** How long the oldest piece that has no answer has waited, or, when all have, the commit under way. */
  #waitedMs(): number | undefined {
    const oldest = this.#sent.find((sent) => !sent.isAcked)
    if (oldest === undefined && !this.#isCommitting) return undefined
    return this.#core.io.clock.nowMs() - (oldest?.sentMs ?? this.#progressMs)
  }

  /** @param patienceMs  silence of the chain that is borne before somebody is asked */
  #look(patienceMs: number): void {
    this.#watchdog = undefined
    if (this.#isOver || (this.#ackedBytes === this.#sentBytes && !this.#isCommitting)) return
    const { clock } = this.#core.io
    const silentMs = clock.nowMs() - this.#progressMs
    if (silentMs >= STALLS_MAX * this.#stallMs) this.#stalled(silentMs)
    else if (silentMs < patienceMs) {
      // There was an answer since: back to the first patience.
      const nextMs = silentMs < this.#stallMs ? this.#stallMs : patienceMs
      this.#watchdog = clock.after(Math.ceil(nextMs - silentMs), () => this.#look(nextMs))
    } else {
      const nextMs = patienceMs + this.#stallMs
      this.#watchdog = clock.after(this.#stallMs, () => this.#look(nextMs))
      this.#probe(silentMs).catch((error: unknown) => this.#fail(asFault(error)))
    }
  }

  async #probe(silentMs: number): Promise<void> {
    const silent = await silentMembers(this.#core, this.allocation, this.#stop.signal)
    if (this.#isOver || silent.length === 0) return
    this.#silent = silent
    this.#stalled(silentMs)
  }

  #stalled(silentMs: number): void {
    const chunk = formatHandle(this.allocation.handle)
    const who = this.#silent.length === 0 ? 'its chain' : this.#silent.map(formatServer).join(', ')
    const words = `chunk ${chunk}: no answer from ${who} for ${Math.round(silentMs)} ms`
    this.#fail(new DfsError('TIMEOUT', words, { handle: chunk }))
  }

  #fail(fault: DfsError): void {
    if (this.#isOver) return
    this.end()
    this.#events.onFault(this, fault)
  }
}

function combine(digest: number, piece: Piece): number {
  return crc32Combine(digest, piece.crc, piece.length)
}

/** Continues `digest` over the first `length` bytes of the piece. */
function combineHead(digest: number, piece: Piece, length: number): number {
  let left = length
  for (const slice of piece.slices) {
    if (left <= 0) break
    digest = crc32(slice.subarray(0, left), digest)
    left -= slice.length
  }
  return digest
}
