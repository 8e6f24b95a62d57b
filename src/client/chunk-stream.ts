// A stream of pieces into chunks of one's own, one after the other; whatever fails on the way is sealed and gone on
// from in a new chunk, and the writer above notices nothing but time.
//
// The next chunk is asked for while the tail of the last one is still on its way, and the seals of full ones ride along.
// A piece that must be sent again goes into whatever chunk is current: the order of the extents is that of the file,
// not that of the chunks.
//
// Invariants:
//   - every piece taken is, until `extents` have been logged, in exactly one of: pending, a run, recovery, placed
//   - heldBytes (what is kept for sending again, not counting the tail of placed bytes) is bounded by who pushes: `room`
//
// Source: GFS §3.2; Windows Azure Storage (SOSP 2011) §4.3; DESIGN §4, step 6.

import { assert } from '../base/assert.ts'
import { DfsError, isDfsError } from '../base/errors.ts'
import { type ChunkHandle, formatHandle, type InodeId, type ServerId } from '../base/ids.ts'
import { PIECE_BYTES, PIECE_BYTES_MAX } from '../base/limits.ts'
import { MiB, SECOND_MS } from '../base/units.ts'
import type { Allocation } from '../wire/messages.ts'
import { ChunkRun, type RunEvents, type SealClaim } from './chunk-run.ts'
import type { Core } from './core.ts'
import { type Patience, Waiters } from './patience.ts'
import { type Piece, splitPiece } from './pieces.ts'
import { type Extent, Placed } from './placed.ts'
import { asFault, backoffMs } from './retry.ts'
import type { Session } from './session.ts'

/** Sent and not yet answered. */
const WINDOW_BYTES = 8 * MiB
/** A chain that answers a piece within this gets larger ones: on a slow one a large piece would look like a stall. */
const QUICK_MS = 500
/** Taken and not yet durable: then `room` waits. More than a run's SYNC_BYTES and the window, so that syncs overlap. */
const HELD_BYTES_MAX = 40 * MiB
/** Of the durable ones, the last that could be sent once more. */
const KEPT_BYTES = 8 * MiB
/** A chain without any answer for so long is looked into; at most a fifth of the writer's patience. */
const STALL_MS_MAX = 5 * SECOND_MS
/** A server that failed is avoided for so long: a chunk on fewer servers than the goal costs more than one more try. */
const AVOID_MS = 15 * SECOND_MS
/** Seals that one request may carry. */
const CLAIMS_PER_REQUEST_MAX = 64

export class ChunkStream {
  readonly #core: Core
  readonly #session: Session
  readonly #inode: InodeId
  readonly #patience: Patience
  readonly #waiters: Waiters
  readonly #placed = new Placed(KEPT_BYTES, (piece) => this.#release(piece))
  readonly #avoid = new Map<ServerId, number>()
  #pending: Piece[] = []
  #current: ChunkRun | undefined
  /** Left for the next chunk, not yet durable. */
  readonly #finishing = new Set<ChunkRun>()
  #claims: SealClaim[] = []
  #isAllocating = false
  #recoveries = 0
  #failuresInRow = 0
  #hasMetFault = false
  #unackedBytes = 0
  #heldBytes = 0
  /** File offset up to which pieces were ever acknowledged: only what is beyond is progress. */
  #ackedHigh = 0
  #pieceBytes = PIECE_BYTES
  #isDraining = false
  #fault: DfsError | undefined
  /** What a run met last. */
  #lastFault: DfsError | undefined
  #isOver = false

  constructor(core: Core, session: Session, inode: InodeId, first: Allocation | undefined, patience: Patience) {
    this.#core = core
    this.#session = session
    this.#inode = inode
    this.#patience = patience
    this.#waiters = new Waiters(core.io.clock)
    if (first !== undefined) this.#current = this.#begin(first)
  }

  get hasRoom(): boolean {
    return this.#heldBytes < HELD_BYTES_MAX
  }

  /** How large the pieces to come should be. */
  get pieceBytes(): number {
    return this.#pieceBytes
  }

  /** Takes a piece. Throws the fault that ended the stream. */
  push(piece: Piece): void {
    if (this.#fault !== undefined) throw this.#fault
    assert(!this.#isOver, 'a piece for a stream that has ended')
    this.#heldBytes += piece.length
    this.#pending.push(piece)
    this.#pump()
  }

  /** Resolves when there is room for more. Rejects with the fault that ended the stream. */
  async room(): Promise<void> {
    while (!this.hasRoom) await this.#wait()
    if (this.#fault !== undefined) throw this.#fault
  }

  /** Resolves when everything pushed is durable on all members of its chunks. Rejects with the fault that ended the stream. */
  async drain(): Promise<void> {
    this.#isDraining = true
    this.#pump()
    while (this.#heldBytes > 0 || this.#recoveries > 0) await this.#wait()
    this.#isDraining = false
    if (this.#fault !== undefined) throw this.#fault
  }

  /** After `drain`: what the log does not have yet, in file order. */
  extents(): Extent[] {
    return this.#placed.extents()
  }

  /** The log has these extents, the first of `extents()`, and these claims. */
  logged(extents: readonly Extent[], claims: readonly SealClaim[]): void {
    this.#placed.drop(extents.reduce((sum, extent) => sum + extent.length, 0))
    this.#forgetClaims(claims)
  }

  /** After `drain`: seals to be logged with the extents. @param isLast  the current chunk ends as well */
  claims(isLast: boolean): SealClaim[] {
    const run = this.#current
    if (isLast && run !== undefined) {
      this.#current = undefined
      run.end()
      this.#claims.push(run.claim)
    }
    return this.#claims.slice(-CLAIMS_PER_REQUEST_MAX)
  }

  /**
   * The log says SEALED_SHORT: what lies beyond is sent again; `drain` afterwards. Throws DATA_LOST when the bytes are
   * no longer kept: every member had synced them, and all of them are gone.
   */
  sealedShort(fault: DfsError): void {
    const handle = fault.detail.handle
    const length = fault.detail.length
    const parsed = typeof handle === 'string' ? Number.parseInt(handle, 16) : handle
    if (typeof parsed !== 'number' || typeof length !== 'number') throw fault
    this.#cut(parsed as ChunkHandle, length)
    this.#pump()
  }

  /** Ends it: nothing more is sent. Harmless when it has ended. */
  end(fault: DfsError = new DfsError('ABORTED', 'the writer has ended')): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#fault ??= fault
    this.#current?.end()
    for (const run of this.#finishing) run.end()
    this.#waiters.fail(this.#fault)
  }

  async #wait(): Promise<void> {
    if (this.#fault !== undefined) throw this.#fault
    try {
      await this.#waiters.wait(this.#patience)
    } catch (error) {
      this.#fail(asFault(error))
      throw this.#fault
    }
  }

  /** That time is up says little: what was met last says why. */
  #explained(fault: DfsError): DfsError {
    const last = this.#lastFault
    if (fault.code !== 'TIMEOUT' || last === undefined || fault.detail.lastCode !== undefined) return fault
    const detail = { ...last.detail, lastCode: last.code, timedOut: true }
    return new DfsError('TIMEOUT', `${fault.message}; last: ${last.message}`, detail, last)
  }

  #fail(fault: DfsError): void {
    this.#fault ??= this.#explained(fault)
    this.end(this.#fault)
  }

  /** Sends what can be sent. */
  #pump(): void {
    if (this.#isOver) return
    while (this.#pending.length > 0 && this.#unackedBytes < WINDOW_BYTES) {
      const run = this.#current
      const piece = this.#pending[0]!
      if (run === undefined) {
        this.#allocate()
        return
      }
      if (piece.length <= run.room) {
        this.#pending.shift()
        this.#unackedBytes += piece.length
        run.send(piece)
      } else if (run.sentBytes === 0) this.#pending.splice(0, 1, ...splitPiece(piece, run.room))
      else this.#leave(run)
    }
    if (this.#isDraining && this.#pending.length === 0) this.#current?.sync()
  }

  /** The run is full: it ends when all of it is durable. */
  #leave(run: ChunkRun): void {
    this.#current = undefined
    this.#finishing.add(run)
    run.sync()
    this.#finishIfDurable(run)
  }

  #finishIfDurable(run: ChunkRun): void {
    if (!run.isDurable || !this.#finishing.delete(run)) return
    run.end()
    this.#claims.push(run.claim)
  }

  #allocate(): void {
    if (this.#isAllocating) return
    this.#isAllocating = true
    this.#nextChunk().then(
      (allocation) => {
        this.#isAllocating = false
        if (this.#isOver) return
        this.#current = this.#begin(allocation)
        this.#pump()
      },
      (error: unknown) => this.#fail(asFault(error)),
    )
  }

  async #nextChunk(): Promise<Allocation> {
    if (this.#failuresInRow > 1) await this.#patience.sleep(backoffMs(this.#failuresInRow, this.#core.io.entropy))
    for (;;) {
      const claims = this.#claims.slice(0, CLAIMS_PER_REQUEST_MAX)
      const avoid = this.#avoided()
      let tries = 0
      try {
        const { allocation } = await this.#core.masters.change(
          'allocateChunk',
          // Whom we would rather avoid is better than nobody.
          (by) => ({ by, inode: this.#inode, seals: claims, avoid: tries++ === 0 ? avoid : [] }),
          this.#session,
          this.#patience,
        )
        this.#forgetClaims(claims)
        return allocation
      } catch (error) {
        if (isDfsError(error, 'SEALED_SHORT')) this.sealedShort(error)
        // The answer was lost, and before the repetition the chunk was sealed already.
        else if (!isDfsError(error, 'CHUNK_SEALED')) throw error
      }
    }
  }

  #forgetClaims(claims: readonly SealClaim[]): void {
    this.#claims = this.#claims.filter((claim) => !claims.includes(claim))
  }

  #avoided(): ServerId[] {
    const nowMs = this.#core.io.clock.nowMs()
    for (const [server, untilMs] of this.#avoid) if (untilMs <= nowMs) this.#avoid.delete(server)
    return [...this.#avoid.keys()].slice(-CLAIMS_PER_REQUEST_MAX)
  }

  #begin(allocation: Allocation): ChunkRun {
    const stallMs = Math.min(STALL_MS_MAX, Math.max(1, this.#patience.timeoutMs / 5))
    return new ChunkRun(this.#core, allocation, stallMs, this.#events)
  }

  readonly #events: RunEvents = {
    onAcknowledged: (_run, piece, tookMs) => {
      this.#pieceBytes = tookMs <= QUICK_MS ? PIECE_BYTES_MAX : PIECE_BYTES
      this.#unackedBytes -= piece.length
      const end = piece.offset + piece.length
      if (end > this.#ackedHigh) {
        this.#ackedHigh = end
        this.#patience.progress()
      }
      this.#pump()
    },
    onDurable: (run, piece, chunkOffset) => {
      this.#failuresInRow = 0
      this.#lastFault = undefined
      this.#patience.progress()
      this.#place(piece, run.allocation.handle, chunkOffset)
      this.#finishIfDurable(run)
    },
    onFault: (run, fault) => {
      this.#hasMetFault = true
      if (this.#isOver) return
      // A chain's own patience may have used up ours; only a fault that follows another without anything between counts.
      if (this.#failuresInRow === 0) this.#patience.progress()
      this.#recoveries++
      this.#recover(run, fault).then(
        () => {
          this.#recoveries--
          this.#waiters.wake()
          this.#pump()
        },
        (error: unknown) => this.#fail(asFault(error)),
      )
      // What was not sent yet need not wait for the seal.
      this.#pump()
    },
  }

  /** After a fault a connection that was left may still be sending bytes which meanwhile lie in another chunk: then nothing is released. */
  #release(piece: Piece): void {
    if (this.#hasMetFault) return
    for (const release of piece.releases) release()
  }

  #place(piece: Piece, handle: ChunkHandle, chunkOffset: number): void {
    this.#placed.add(piece, handle, chunkOffset)
    this.#heldBytes -= piece.length
    this.#waiters.wake()
  }

  async #recover(run: ChunkRun, fault: DfsError): Promise<void> {
    if (run === this.#current) this.#current = undefined
    this.#finishing.delete(run)
    this.#unackedBytes -= run.unackedBytes
    this.#failuresInRow++
    this.#lastFault = fault
    const { handle } = run.allocation
    const suspects = run.suspects(fault)
    const untilMs = this.#core.io.clock.nowMs() + AVOID_MS
    for (const server of suspects) this.#avoid.set(server, untilMs)
    const reason = `${fault.code}: ${fault.message}`.slice(0, 500)
    const request = { session: this.#session.id, handle, suspects, reason }
    const { length, digest } = await this.#core.masters.ask('sealChunk', request, this.#patience)
    if (this.#isOver) return
    const { kept, again } = run.settle(length, digest)
    this.#cut(handle, length)
    for (const { piece, chunkOffset } of kept) this.#place(piece, handle, chunkOffset)
    this.#requeue(again)
  }

  /** Takes back what was thought durable in the chunk beyond `length`, to be sent again. */
  #cut(handle: ChunkHandle, length: number): void {
    this.#claims = this.#claims.filter((claim) => claim.handle !== handle)
    const { pieces, lost } = this.#placed.takeBeyond(handle, length)
    if (lost !== undefined) {
      const chunk = formatHandle(handle)
      throw new DfsError(
        'DATA_LOST',
        `chunk ${chunk} was sealed at ${length}: bytes from offset ${lost.offset} of what was written, synced before on all its servers, are gone`,
        { handle: chunk, length, offset: lost.offset },
      )
    }
    for (const piece of pieces) this.#heldBytes += piece.length
    this.#requeue(pieces)
  }

  #requeue(pieces: readonly Piece[]): void {
    this.#pending = [...pieces, ...this.#pending].sort((a, b) => a.offset - b.offset)
  }
}
