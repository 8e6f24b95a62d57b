// The operation log: every change of metadata, in commit order, on disk before anyone is told.
//
// The bytes are described in ../../oplog-format.md; only format.ts reads or writes them. Payloads are opaque.
//
// Group commit: everything that was appended while the disk was busy is one batch, one write and one sync. Records wait
// in one of two buffers (one fills while the other is being written), so there is no object and no promise a record.
//
// Invariants:
//   - log indexes are contiguous, also across segments
//   - syncedIndex <= lastIndex; nothing above syncedIndex has been acknowledged
//   - one batch is being written at a time, and the next one only after its sync succeeded
//   - a start never appends to an old segment; an old segment is never changed, only dropped whole
//   - a failed write or sync is final: state `failed`, no second try on that file
//   - a batch refused for want of room is off the disk, and that is synced, before its records are refused
//
// Source: GFS §2.6.3; Rebello et al., ATC 2020 (failed fsync is final).

import { assert } from '../base/assert.ts'
import { DfsError, isDfsError } from '../base/errors.ts'
import type { Timer } from '../io/clock.ts'
import type { DiskSpace } from '../io/disk.ts'
import { carryOver } from './carry-over.ts'
import { BatchBuffer, type LogRecord, RECORD_PAYLOAD_BYTES_MAX, SEGMENT_HEADER_BYTES } from './format.ts'
import { listSegments } from './log-directory.ts'
import { IDLE_MARKER_MS_DEFAULT, type NewRecord, type OpLogOptions, WAITERS_MAX } from './log-options.ts'
import { readLog } from './log-reader.ts'
import { LogStats } from './log-stats.ts'
import { type RecoveredLog, recoverLog, type TornTail } from './recovery.ts'
import { newSalt, SegmentChain } from './segment-chain.ts'
import { SegmentWriter } from './segment-writer.ts'

interface Waiter {
  readonly index: number
  readonly resolve: () => void
  readonly reject: (error: DfsError) => void
}

export type { NewRecord, OpLogEvents, OpLogOptions } from './log-options.ts'

export class OpLog {
  readonly stats = new LogStats()
  /** What the start cut off, if anything. */
  readonly tornTail: TornTail | undefined
  /** Records that the start copied to a new segment, since nothing proved them synced. */
  readonly carriedCount: number
  readonly #options: OpLogOptions
  readonly #chain: SegmentChain
  #state: 'open' | 'closing' | 'closed' | 'failed' = 'open'
  #failure: DfsError | undefined
  #pending = new BatchBuffer()
  #spare = new BatchBuffer()
  #lastIndex: number
  #lastTerm: number
  #syncedIndex: number
  #syncedTerm: number
  #isWriting = false
  #endsWithMarker: boolean
  #rollWanted = false
  #markerWanted = false
  #markerTimer: Timer | undefined
  #waiters: Waiter[] = []
  #idle: (() => void)[] = []
  #closing: Promise<void> | undefined

  private constructor(options: OpLogOptions, recovered: RecoveredLog, carried: SegmentWriter | undefined) {
    const { proven, end, tornTail } = recovered
    this.#options = options
    this.#chain = new SegmentChain(options, recovered, carried)
    this.#endsWithMarker = carried === undefined
    this.#lastIndex = this.#syncedIndex = end.lastIndex
    this.#lastTerm = this.#syncedTerm = end.lastTerm
    this.tornTail = tornTail
    this.carriedCount = end.lastIndex - proven.lastIndex
  }

  /**
   * Makes an empty log in a directory, which is made too. Durable when it resolves.
   *
   * @param firstIndex  the index of the first record to come: above 1 when it goes on from a checkpoint
   * @param lastTerm    the term of the record before it
   * @throws ALREADY_EXISTS when there is a log, DISK_FULL, FSYNC_FAILED
   */
  static async format(
    options: Pick<OpLogOptions, 'disk' | 'entropy' | 'directory' | 'clusterId'>,
    firstIndex = 1,
    lastTerm = 0,
  ): Promise<void> {
    const { disk, entropy, directory, clusterId } = options
    await disk.makeDirectory(directory)
    if ((await listSegments(disk, directory)).segments.length > 0) {
      throw new DfsError('ALREADY_EXISTS', `${directory}: there is an operation log already`, { path: directory })
    }
    const start = { segment: 1, firstIndex, lastTerm, previousEnd: 0, previousCrc: 0, syncedEnd: SEGMENT_HEADER_BYTES }
    const writer = await SegmentWriter.create(disk, directory, { clusterId, salt: newSalt(entropy), ...start }, [])
    await writer.close()
  }

  /**
   * Opens a log: verifies it, cuts a torn tail (and says so), makes durable what nothing proves to be.
   * Nothing on disk has changed when it throws LOG_DAMAGED or BAD_FORMAT.
   *
   * @throws NOT_FOUND (no log: `format` makes one), LOG_DAMAGED, BAD_FORMAT, DISK_FULL, DISK_FAILED, FSYNC_FAILED
   */
  static async open(options: OpLogOptions): Promise<OpLog> {
    const { disk, directory, clusterId, logger, entropy, fromIndex = 1, reachIndex = 0 } = options
    const recovered = await recoverLog({ disk, directory, clusterId, logger, fromIndex, reachIndex })
    for (const leftover of (await listSegments(disk, directory)).leftovers) await disk.remove(leftover)
    const carried = await carryOver(disk, directory, recovered, newSalt(entropy))
    if (carried)
      logger.info({ path: carried.path, fromIndex: carried.header.firstIndex }, 'oplog: unproven tail copied')
    // Names that a process before us made and did not live to sync.
    else await disk.syncDirectory(directory)
    const log = new OpLog(options, recovered, carried)
    if (carried) log.#armMarker()
    return log
  }

  get state(): 'open' | 'closing' | 'closed' | 'failed' {
    return this.#state
  }

  /** Why it failed, in state `failed`. */
  get failure(): DfsError | undefined {
    return this.#failure
  }

  /** The oldest record that is still in the log; one more than `lastIndex` when there is none. */
  get firstIndex(): number {
    return this.#chain.firstIndex
  }

  /** The last record appended, durable or not. */
  get lastIndex(): number {
    return this.#lastIndex
  }

  get lastTerm(): number {
    return this.#lastTerm
  }

  /** The last durable record: what may be applied and answered. */
  get syncedIndex(): number {
    return this.#syncedIndex
  }

  /** The last record of the closed segments: of all there are after a start, until the first append. */
  get closedIndex(): number {
    return this.#chain.writer ? this.#chain.lastFirstIndex - 1 : this.#syncedIndex
  }

  /** Bytes of all segments, without the room made ahead. */
  get bytes(): number {
    return this.#chain.bytes
  }

  /** Bytes of zeros that the log has on the disk to write to. */
  get preallocatedBytes(): number {
    return this.#chain.preallocatedBytes
  }

  /** Bytes that records wait in until the disk is free; at most BATCH_BYTES_MAX. */
  get queuedBytes(): number {
    return this.#pending.bodyBytes
  }

  /**
   * Takes a record into the next batch. It is durable when `onSynced` (or `whenSynced`) says so, and not before.
   *
   * @returns its index
   * @throws BUSY (the next batch is full), INVALID_ARGUMENT (payload over RECORD_PAYLOAD_BYTES_MAX), UNAVAILABLE
   *         (closed), FSYNC_FAILED
   */
  append(record: NewRecord): number {
    this.#checkOpen()
    const { term, kind, version, payload, flags = 0 } = record
    assert(term >= this.#lastTerm, 'a term less than that of the record before')
    if (payload.length > RECORD_PAYLOAD_BYTES_MAX) {
      throw new DfsError(
        'INVALID_ARGUMENT',
        `a log record of ${payload.length} bytes, at most ${RECORD_PAYLOAD_BYTES_MAX}`,
      )
    }
    if (!this.#pending.hasRoomFor(payload.length)) {
      throw new DfsError(
        'BUSY',
        `the operation log's queue is full: ${this.#pending.bodyBytes} bytes wait for the disk`,
      )
    }
    const index = this.#lastIndex + 1
    this.#pending.add(index, term, kind, version, flags, payload)
    this.#lastIndex = index
    this.#lastTerm = term
    this.#wake()
    return index
  }

  /**
   * Resolves when record `index` is durable. To be called in the same turn as its `append`: a refused index is given again.
   * @throws DISK_FULL, FSYNC_FAILED, BUSY (over WAITERS_MAX callers)
   */
  whenSynced(index: number): Promise<void> {
    assert(index <= this.#lastIndex, 'waiting for a record that was not appended')
    if (this.#failure) return Promise.reject(this.#failure)
    if (index <= this.#syncedIndex) return Promise.resolve()
    if (this.#waiters.length >= WAITERS_MAX) {
      return Promise.reject(new DfsError('BUSY', `${WAITERS_MAX} callers wait for the operation log already`))
    }
    return new Promise((resolve, reject) => this.#waiters.push({ index, resolve, reject }))
  }

  /** Appends one record and waits until it is durable: for callers that are not in a hurry. @returns its index */
  async appendAndSync(record: NewRecord): Promise<number> {
    const index = this.append(record)
    await this.whenSynced(index)
    return index
  }

  /**
   * The durable records from `fromIndex` on, a batch at a time, up to what is durable at the call. Payloads are views
   * that are valid until the next batch is asked for. @throws LOG_DAMAGED, BAD_FORMAT
   */
  read(fromIndex: number): AsyncGenerator<LogRecord[], void, void> {
    const { disk, directory, clusterId } = this.#options
    return readLog({ disk, directory, clusterId, fromIndex, throughIndex: this.#syncedIndex })
  }

  /**
   * Closes the segment now, so that it can be dropped as soon as checkpoints cover it. Without room on the disk it stays
   * open. @returns the last index of the closed segments
   */
  async roll(): Promise<number> {
    this.#checkOpen()
    const { writer } = this.#chain
    if (writer && (writer.offset > SEGMENT_HEADER_BYTES || this.#pending.recordCount > 0 || this.#isWriting)) {
      this.#rollWanted = true
      this.#wake()
      await this.#whenIdle()
      if (this.#failure) throw this.#failure
    }
    return this.closedIndex
  }

  /**
   * Drops the oldest segments whose records are all below `index`; the segment that is written never. Each removal is
   * durable before the next, so that a crash leaves no gap.
   *
   * @returns how many segments went
   * @throws DISK_FAILED, FSYNC_FAILED (final)
   */
  async dropBefore(index: number): Promise<number> {
    try {
      return await this.#chain.dropBefore(index, () => this.#state !== 'failed')
    } catch (error) {
      // A file that cannot be removed is there as before; a directory that cannot be synced is the end.
      if (isDfsError(error, 'FSYNC_FAILED')) this.#fail(error)
      throw error
    }
  }

  /** Room on the log's disk; the owner turns read-only while there is still enough for removals and one checkpoint. */
  space(): Promise<DiskSpace> {
    return this.#options.disk.space(this.#options.directory)
  }

  /** Makes everything durable, writes a marker, and closes. In state `failed` it only closes the file. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#markerTimer?.cancel()
    this.#chain.stop()
    if (this.#state === 'open') {
      this.#state = 'closing'
      this.#markerWanted = true
      this.#wake()
    }
    await this.#whenIdle()
    await this.#chain.close(!this.#failure)
    if (!this.#failure) this.#state = 'closed'
  }

  #checkOpen(): void {
    if (this.#state === 'open') return
    if (this.#failure) throw this.#failure
    throw new DfsError('UNAVAILABLE', 'the operation log is closed')
  }

  #wake(): void {
    if (this.#isWriting) return
    this.#isWriting = true
    this.#markerTimer?.cancel()
    // What else arrives in this turn rides along.
    this.#options.clock.defer(() => void this.#writeAll())
  }

  /** The one writer. Faults of the world end in `failed`; a broken invariant rejects, unhandled, and ends the process. */
  async #writeAll(): Promise<void> {
    try {
      while (!this.#failure) {
        if (this.#pending.recordCount > 0) await this.#commit()
        else if (this.#rollWanted) await this.#rollEmpty()
        else if (this.#markerWanted) await this.#writeMarker()
        else break
      }
    } catch (error) {
      if (!isDfsError(error)) throw error
      this.#fail(error)
    }
    this.#isWriting = false
    if (this.#state === 'open') this.#armMarker()
    const idle = this.#idle
    this.#idle = []
    for (const resolve of idle) resolve()
  }

  async #commit(): Promise<void> {
    const batch = this.#pending
    this.#pending = this.#spare
    this.#spare = batch
    const startMs = this.#options.clock.nowMs()
    try {
      if (this.#rollWanted || this.#chain.needsNext(batch.batchBytes)) await this.#startSegment(batch)
      else await this.#chain.append(batch, this.#syncedIndex)
    } catch (error) {
      if (!isDfsError(error, 'DISK_FULL')) throw error
      this.#refuse(error)
      return
    }
    if (this.#failure) return
    this.#endsWithMarker = false
    this.stats.onBatch(batch.recordCount, batch.bodyBytes, batch.batchBytes, this.#options.clock.nowMs() - startMs)
    this.#syncedIndex = batch.lastIndex
    this.#syncedTerm = batch.lastTerm
    batch.reset()
    this.#options.events.onSynced(this.#syncedIndex)
    this.#settleWaiters()
  }

  /** Closes the open segment, if there is one, and opens the next, born with `batch`. */
  async #startSegment(batch: BatchBuffer | undefined): Promise<void> {
    this.#rollWanted = false
    await this.#chain.startNext(batch, this.#syncedIndex + 1, this.#syncedTerm)
    this.#endsWithMarker = true
    this.stats.segments++
  }

  async #rollEmpty(): Promise<void> {
    try {
      await this.#startSegment(undefined)
    } catch (error) {
      if (!isDfsError(error, 'DISK_FULL')) throw error
      this.#options.logger.warn({ ...error.detail }, 'oplog: no room for a new segment, the old one stays open')
    }
  }

  /** Nothing above syncedIndex is on disk any more: says so to all whose records waited, and goes on. */
  #refuse(cause: DfsError): void {
    const error = new DfsError('DISK_FULL', cause.message, cause.detail, cause)
    const fromIndex = this.#syncedIndex + 1
    this.#pending.reset()
    this.#spare.reset()
    this.#lastIndex = this.#syncedIndex
    this.#lastTerm = this.#syncedTerm
    this.stats.refusals++
    this.#options.logger.warn({ fromIndex, ...cause.detail }, 'oplog: no room on the disk, records refused')
    this.#options.events.onRefused(fromIndex, error)
    const refused = this.#waiters
    this.#waiters = []
    for (const waiter of refused) waiter.reject(error)
  }

  async #writeMarker(): Promise<void> {
    this.#markerWanted = false
    const { writer } = this.#chain
    if (!writer || this.#endsWithMarker) return
    this.#spare.mark(this.#syncedIndex + 1, this.#syncedTerm)
    try {
      await this.#chain.append(this.#spare, this.#syncedIndex)
      this.stats.markers++
      this.stats.syncs++
    } catch (error) {
      if (!isDfsError(error, 'DISK_FULL')) throw error
      this.#options.logger.warn({ path: writer.path }, 'oplog: no room for a marker')
    }
    this.#endsWithMarker = true
  }

  #armMarker(): void {
    if (this.#endsWithMarker) return
    this.#markerTimer?.cancel()
    this.#markerTimer = this.#options.clock.after(this.#options.idleMarkerMs ?? IDLE_MARKER_MS_DEFAULT, () => {
      if (this.#state !== 'open' || this.#isWriting) return
      this.#markerWanted = true
      this.#wake()
    })
  }

  #fail(cause: DfsError): void {
    if (this.#state === 'failed') return
    this.#state = 'failed'
    const failure =
      cause.code === 'FSYNC_FAILED' ? cause : new DfsError('FSYNC_FAILED', cause.message, cause.detail, cause)
    this.#failure = failure
    this.#chain.stop()
    this.#pending.reset()
    this.#options.logger.error({ ...failure.detail, syncedIndex: this.#syncedIndex }, `oplog: ${failure.message}`)
    this.#options.events.onFailed(failure)
    const failed = this.#waiters
    this.#waiters = []
    for (const waiter of failed) waiter.reject(failure)
  }

  #settleWaiters(): void {
    const waiting = this.#waiters
    if (waiting.length === 0) return
    this.#waiters = waiting.filter((waiter) => waiter.index > this.#syncedIndex)
    for (const waiter of waiting) if (waiter.index <= this.#syncedIndex) waiter.resolve()
  }

  #whenIdle(): Promise<void> {
    return this.#isWriting ? new Promise((resolve) => this.#idle.push(resolve)) : Promise.resolve()
  }
}
