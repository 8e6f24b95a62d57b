// An appender: records at the end of a file that many others append to at the same time, each exactly once.
//
// All append to the file's open tail chunk; its primary gives the offsets. Records that are asked for while others are
// under way go out together as the next batch, one entry of the chunk's record index: a batch is there whole or not at
// all. One batch is under way at a time, so a writer's records stay in their order whatever fails.
//
// When the outcome of a batch is not known, the chunk is sealed, and its record index says for ever whether the batch is
// in it. If not, the batch goes on in the next chunk:
//
//   send ──offset──▶ acknowledged
//     └──fault──▶ again (same chunk, same sequence) ──fault──▶ seal ──▶ in the index? ──yes──▶ acknowledged
//                                                                          └──no──▶ next chunk, send
//
// Invariants:
//   - a batch keeps its records and its sequence until its outcome in a chunk is known
//   - no batch is sent to a chunk before the one before it is known to be in this or an earlier chunk
//
// Bounds: QUEUE_BYTES_MAX and QUEUE_RECORDS_MAX wait at most, then BUSY; `room` waits for less.
//
// Source: GFS §3.3, which leaves duplicates to readers; DESIGN §4 (record append).

import { crc32 } from '../base/crc32.ts'
import { DfsError } from '../base/errors.ts'
import { type ClusterId, formatHandle, type InodeId } from '../base/ids.ts'
import { RECORD_BYTES_MAX } from '../base/limits.ts'
import { RingBuffer } from '../base/ring-buffer.ts'
import { KiB, MiB, SECOND_MS } from '../base/units.ts'
import type { Connection } from '../rpc/connection.ts'
import type { Allocation } from '../wire/messages.ts'
import type { Core } from './core.ts'
import { endOfPatience } from './masters.ts'
import { type CallOptions, linkSignals, Patience, Waiters } from './patience.ts'
import { isOnlyBusy, silentMembers } from './probe.ts'
import { findBatch } from './record-lookup.ts'
import { asFault, backoffMs, isPassing, serverNamed } from './retry.ts'
import type { Session } from './session.ts'

export interface AppenderOptions extends CallOptions {
  /** Acknowledge a record only when it is durable on all its servers; otherwise `sync` and `close` make it so. */
  readonly sync?: boolean | undefined
}

const BATCH_BYTES_MAX = 1 * MiB
const BATCH_RECORDS_MAX = 8192
const QUEUE_BYTES_MAX = 64 * MiB
const QUEUE_RECORDS_MAX = 65_536
/** Records up to this size are gathered in one buffer: a copy costs less than a slice. */
const GATHER_BYTES_MAX = 16 * KiB
/** One try; at most a fifth of the caller's patience. */
const CALL_MS_MAX = 6 * SECOND_MS
/** Passing faults of one chunk that are borne before it is left, overdue answers of a chain that is only busy too. */
const TRIES_IN_PLACE = 2
const LANE = 'append'

/** What waits: records, and calls of `sync` between them. */
interface Queued {
  /** Undefined: a sync. */
  readonly slices: readonly Uint8Array[] | undefined
  readonly bytes: number
  readonly resolve: (offset: number) => void
  readonly reject: (error: unknown) => void
}

/** Records that are one entry of the record index. */
interface Batch {
  readonly records: readonly Queued[]
  readonly slices: readonly Uint8Array[]
  readonly bytes: number
  readonly crc: number
  readonly sequence: number
  /** It was sent, and whether it is in the chunk is not known. */
  isOpen: boolean
}

interface Tail {
  readonly allocation: Allocation
  /** File offset of its first byte. */
  readonly base: number
  /** Where its chain was told of the chunk. */
  told: Connection | undefined
  /** Chunk offset behind the last record of this appender that was acknowledged; behind the last that is durable. */
  end: number
  synced: number
  faults: number
}

export class Appender {
  readonly path: string
  readonly #core: Core
  readonly #inode: InodeId
  readonly #recordBytesMax: number
  readonly #batchBytesMax: number
  readonly #isSync: boolean
  readonly #session: Session
  readonly #patience: Patience
  readonly #waiters: Waiters
  readonly #unlink: () => void
  readonly #queue = new RingBuffer<Queued>()
  #queuedBytes = 0
  #tail: Tail | undefined
  #isRunning = false
  #isClosing = false
  #isReleased = false
  #closed: Promise<void> | undefined
  #last: Promise<unknown> = Promise.resolve()
  #fault: DfsError | undefined
  /** Acknowledged, never synced, and lost with the power of all its servers: `sync` and `close` say so. */
  #lost: DfsError | undefined

  /** @param chunkBytes  what the cluster's chunks grow to */
  constructor(
    core: Core,
    path: string,
    inode: InodeId,
    chunkBytes: number,
    options: AppenderOptions,
    timeoutMs: number,
  ) {
    this.path = path
    this.#core = core
    this.#inode = inode
    this.#isSync = options.sync ?? false
    this.#recordBytesMax = Math.min(RECORD_BYTES_MAX, chunkBytes)
    this.#batchBytesMax = Math.min(BATCH_BYTES_MAX, Math.floor(chunkBytes / 4))
    const stop = new AbortController()
    this.#unlink = linkSignals(stop, options.signal, core.closing)
    this.#patience = new Patience(core.io.clock, options, timeoutMs).under(stop.signal)
    this.#waiters = new Waiters(core.io.clock)
    this.#session = core.sessions.hold()
  }

  /** Bytes that wait or are under way. */
  get pendingBytes(): number {
    return this.#queuedBytes
  }

  /** Whether `append` takes a record now. */
  get hasRoom(): boolean {
    return this.#queuedBytes < QUEUE_BYTES_MAX && this.#queue.count < QUEUE_RECORDS_MAX
  }

  /** Waits until there is room for more. Errors: as `append`. */
  async room(): Promise<void> {
    for (;;) {
      if (this.#fault !== undefined) throw this.#fault
      if (this.hasRoom) return
      await this.#waiters.wait(this.#patience)
    }
  }

  /**
   * Appends one record: its bytes stand together in the file, once, behind those of the calls before. They belong to the
   * appender until the promise settles. Resolves when all servers of the file's tail have it (durably, with `sync`).
   * A fault ends the appender: later calls are rejected with the same.
   *
   * @param record   1 .. RECORD_BYTES_MAX bytes (at most a chunk), whole or in slices
   * @returns        its offset in the file
   * Errors: INVALID_ARGUMENT, BUSY (too much waits: `room`), FILE_REMOVED, NO_SERVERS, TIMEOUT, ABORTED;
   * OUTCOME_UNKNOWN when it was sent, patience ended, and it may be there or not.
   */
  append(record: Uint8Array | readonly Uint8Array[]): Promise<number> {
    const slices = record instanceof Uint8Array ? [record] : record
    let bytes = 0
    for (const slice of slices) bytes += slice.length
    if (bytes === 0 || bytes > this.#recordBytesMax) {
      const message = `a record of ${bytes} bytes, 1 to ${this.#recordBytesMax} are taken`
      return Promise.reject(new DfsError('INVALID_ARGUMENT', message, { bytes }))
    }
    if (!this.hasRoom) {
      const message = `${this.#queue.count} records with ${this.#queuedBytes} bytes wait to be appended to ${this.path}`
      return Promise.reject(new DfsError('BUSY', message, { path: this.path }))
    }
    return this.#push(slices, bytes)
  }

  /** Resolves when every record so far is acknowledged. Errors: as `append`. */
  async flush(): Promise<void> {
    await this.#last
    if (this.#fault !== undefined) throw this.#fault
  }

  /**
   * Resolves when every record so far is durable. Errors: as `append`; DATA_LOST when records that were acknowledged
   * without sync went with the power of all servers that had them.
   */
  async sync(): Promise<void> {
    await this.#push(undefined, 0)
  }

  /** Syncs and ends the appender. Errors: as `sync`. Repeated: the same answer. */
  close(): Promise<void> {
    if (this.#closed === undefined) {
      const synced = this.#push(undefined, 0)
      this.#isClosing = true
      this.#closed = synced.then(() => {}).finally(() => this.#release())
    }
    return this.#closed
  }

  #push(slices: readonly Uint8Array[] | undefined, bytes: number): Promise<number> {
    if (this.#fault !== undefined) return Promise.reject(this.#fault)
    if (this.#isClosing)
      return Promise.reject(new DfsError('INVALID_ARGUMENT', `the appender of ${this.path} is closed`))
    const answer = new Promise<number>((resolve, reject) => {
      this.#queue.push({ slices, bytes, resolve, reject })
    })
    this.#queuedBytes += bytes
    this.#last = answer.catch(() => {}) // who awaits it is told; a later failure of all is found in `#fault`
    if (!this.#isRunning) {
      this.#isRunning = true
      // Whatever else is asked for in this turn joins the batch.
      queueMicrotask(() => {
        this.#run().catch((error: unknown) => this.#fail(error, undefined))
      })
    }
    return answer
  }

  /** Takes what waits, in order, until nothing does. */
  async #run(): Promise<void> {
    // The caller's own time between two calls is not the cluster's.
    this.#patience.progress()
    for (let first = this.#queue.peek(); first !== undefined; first = this.#queue.peek()) {
      if (first.slices === undefined) {
        try {
          await this.#syncTail()
        } catch (error) {
          if (error !== this.#lost) throw error
          this.#queue.shift().reject(error)
          this.#lost = undefined
          continue
        }
        this.#queue.shift().resolve(0)
        continue
      }
      const batch = this.#takeBatch()
      try {
        let at = await this.#place(batch)
        this.#patience.progress()
        this.#queuedBytes -= batch.bytes
        for (const record of batch.records) {
          record.resolve(at)
          at += record.bytes
        }
      } catch (error) {
        this.#fail(error, batch)
        return
      }
      this.#waiters.wake()
    }
    this.#isRunning = false
  }

  #takeBatch(): Batch {
    const records: Queued[] = []
    let bytes = 0
    for (let next = this.#queue.peek(); next?.slices !== undefined; next = this.#queue.peek()) {
      const isEnough = bytes + next.bytes > this.#batchBytesMax || records.length >= BATCH_RECORDS_MAX
      if (isEnough && records.length > 0) break
      bytes += next.bytes
      records.push(this.#queue.shift())
    }
    let slices = records.flatMap((record) => record.slices ?? [])
    if (slices.length > 1 && bytes / slices.length <= GATHER_BYTES_MAX) slices = [Buffer.concat(slices, bytes)]
    const crc = slices.reduce((sum, slice) => crc32(slice, sum), 0)
    const sequence = this.#session.nextSequence(records.length)
    return { records, slices, bytes, crc, sequence, isOpen: false }
  }

  /** Puts a batch into the file, once. @returns its offset in the file */
  async #place(batch: Batch): Promise<number> {
    let last: DfsError | undefined
    try {
      for (let attempt = 0; ; attempt++) {
        this.#patience.check(last)
        const tail = await this.#borrow(last)
        try {
          const offset = await this.#send(tail, batch)
          return this.#acknowledged(tail, batch, offset, this.#isSync)
        } catch (error) {
          const fault = asFault(error)
          if (fault.code === 'ABORTED') throw fault
          last = fault
          if (!(await this.#staysAt(tail, fault))) {
            const offset = await this.#leave(tail, fault, batch)
            if (offset !== undefined) return this.#acknowledged(tail, batch, offset, true)
            batch.isOpen = false
          }
          if (fault.code !== 'CHUNK_FULL' || attempt > 0)
            await this.#patience.sleep(backoffMs(attempt, this.#core.io.entropy), last)
        }
      }
    } catch (error) {
      throw endOfPatience(error, last)
    }
  }

  #acknowledged(tail: Tail, batch: Batch, offset: number, isSynced: boolean): number {
    tail.end = Math.max(tail.end, offset + batch.bytes)
    if (isSynced) tail.synced = tail.end
    tail.faults = 0
    batch.isOpen = false
    return tail.base + offset
  }

  async #borrow(last: DfsError | undefined): Promise<Tail> {
    let seen = last
    for (let attempt = 0; this.#tail === undefined; attempt++) {
      const request = { session: this.#session.id, inode: this.#inode, notHandle: undefined }
      const suspects = this.#suspects
      try {
        const { base, allocation } = await this.#core.masters.askWith(
          'fileTail',
          // Whom we would rather avoid is better than nobody.
          (tries) => ({ ...request, avoid: tries === 0 ? suspects : [] }),
          this.#patience,
        )
        this.#tail = { allocation, base, told: undefined, end: 0, synced: 0, faults: 0 }
      } catch (error) {
        // It was sealed while the answer was made.
        seen = asFault(error)
        if (seen.code !== 'CHUNK_SEALED') throw seen
        await this.#patience.sleep(backoffMs(attempt, this.#core.io.entropy), seen)
      }
    }
    return this.#tail
  }

  /** Servers that failed in the last chunk. */
  #suspects: Allocation['members'][number]['server'][] = []

  /** The primary of a tail, told of the chunk: the promise says how the telling ended. */
  async #connect(
    tail: Tail,
  ): Promise<{ connection: Connection; timeoutMs: number; told: Promise<unknown> | undefined }> {
    const { links } = this.#core
    const { allocation } = tail
    const primary = allocation.members[0]
    if (primary === undefined)
      throw new DfsError('UNAVAILABLE', `chunk ${formatHandle(allocation.handle)} has no members`)
    const timeoutMs = this.#patience.capMs(Math.min(CALL_MS_MAX, Math.max(1, this.#patience.timeoutMs / 5)))
    const { signal } = this.#patience
    const connection = await links.chunkserver(primary.address, LANE, timeoutMs, signal)
    if (tail.told === connection) return { connection, timeoutMs, told: undefined }
    tail.told = connection
    const told = links.call(
      connection,
      'openChunk',
      { clusterId: links.clusterId as ClusterId, allocation },
      { timeoutMs, signal },
    )
    // The call behind it fails as well; this one says more.
    told.catch(asFault)
    return { connection, timeoutMs, told }
  }

  /** @returns the chunk offset that the primary gave */
  async #send(tail: Tail, batch: Batch): Promise<number> {
    const { handle, version } = tail.allocation
    const { connection, timeoutMs, told } = await this.#connect(tail)
    const { sequence, records, slices, crc } = batch
    const { signal } = this.#patience
    const request = { handle, version, writer: this.#session.id, sequence, count: records.length, sync: this.#isSync }
    batch.isOpen = true
    try {
      const options = { timeoutMs, signal, data: slices, dataCrc: crc }
      return (await this.#core.links.call(connection, 'appendShared', request, options)).offset
    } catch (error) {
      if (told !== undefined && !signal?.aborted) await told
      throw error
    }
  }

  /** Whether the same is tried at the same chunk: it would be found there, so it can't happen twice. */
  async #staysAt(tail: Tail, fault: DfsError): Promise<boolean> {
    tail.told = undefined
    if (!isPassing(fault) || ++tail.faults > TRIES_IN_PLACE) return false
    return fault.code !== 'TIMEOUT' || (await isOnlyBusy(this.#core, tail.allocation, this.#patience))
  }

  /**
   * Ends a chunk that takes no more, and learns what became of a batch.
   *
   * @returns the batch's chunk offset; undefined when it is not in the chunk and never will be
   */
  async #leave(tail: Tail, fault: DfsError, batch: Batch | undefined): Promise<number | undefined> {
    const { handle, members } = tail.allocation
    const isOver = fault.code === 'CHUNK_FULL' || fault.code === 'CHUNK_SEALED' || fault.code === 'CHUNK_FENCED'
    const suspects = isOver ? [] : await this.#silent(tail.allocation, fault, members[0]?.server)
    const reason = `${fault.code}: ${fault.message}`.slice(0, 500)
    const request = { session: this.#session.id, handle, suspects, reason }
    const sealed = await this.#core.masters.ask('sealChunk', request, this.#patience)
    this.#suspects = suspects
    if (sealed.length < tail.end && this.#lost === undefined) {
      const message = `${this.path}: chunk ${formatHandle(handle)} counts up to ${sealed.length} bytes, ${tail.end} were acknowledged, and not all of them synced: their servers lost power`
      this.#lost = new DfsError('DATA_LOST', message, { path: this.path, handle: formatHandle(handle) })
    }
    tail.synced = tail.end
    let found: number | undefined
    // What is not known to be there lies behind what is.
    if (batch?.isOpen && sealed.length > tail.end)
      found = await findBatch(this.#core, tail.allocation, this.#session.id, batch, this.#patience)
    this.#tail = undefined
    return found
  }

  async #silent(allocation: Allocation, fault: DfsError, primary: Allocation['members'][number]['server'] | undefined) {
    const named = serverNamed(fault)
    if (named !== undefined) return [named]
    if (fault.code === 'TIMEOUT') return await silentMembers(this.#core, allocation, this.#patience.signal)
    return isPassing(fault) && primary !== undefined ? [primary] : []
  }

  /** Makes what was acknowledged durable; what lies in sealed chunks is. */
  async #syncTail(): Promise<void> {
    let last: DfsError | undefined
    for (let attempt = 0; ; attempt++) {
      const tail = this.#tail
      if (tail === undefined || tail.synced === tail.end) break
      const { handle, version } = tail.allocation
      const length = tail.end
      try {
        this.#patience.check(last)
        const { connection, timeoutMs } = await this.#connect(tail)
        const options = { timeoutMs, signal: this.#patience.signal }
        await this.#core.links.call(connection, 'commit', { handle, version, serial: 0, length, sync: true }, options)
        tail.synced = length
      } catch (error) {
        last = asFault(error)
        if (last.code === 'ABORTED') throw last
        if (!(await this.#staysAt(tail, last))) await this.#leave(tail, last, undefined)
        await this.#patience.sleep(backoffMs(attempt, this.#core.io.entropy), last)
      }
    }
    this.#patience.progress()
    if (this.#lost !== undefined) throw this.#lost
  }

  /** Nothing goes on after a fault: a later record must not overtake an earlier one. */
  #fail(error: unknown, batch: Batch | undefined): void {
    const fault = asFault(error)
    this.#fault ??= fault
    const unknown = batch?.isOpen ? outcomeUnknown(this.path, fault) : fault
    for (const record of batch?.records ?? []) record.reject(unknown)
    while (this.#queue.count > 0) this.#queue.shift().reject(fault)
    this.#queuedBytes = 0
    this.#waiters.fail(fault)
    this.#release()
  }

  #release(): void {
    if (this.#isReleased) return
    this.#isReleased = true
    this.#isClosing = true
    this.#unlink()
    this.#core.sessions.release(this.#session)
  }
}

function outcomeUnknown(path: string, fault: DfsError): DfsError {
  if (fault.code === 'ABORTED')
    return new DfsError('ABORTED', fault.message, { ...fault.detail, outcome: 'unknown' }, fault)
  if (fault.code === 'OUTCOME_UNKNOWN') return fault
  const message = `${path}: a record was sent, and whether it is in the file is not known: ${fault.message}`
  return new DfsError('OUTCOME_UNKNOWN', message, { ...fault.detail, lastCode: fault.code }, fault)
}
