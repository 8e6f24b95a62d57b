// Appends to a shared chunk at its primary: what arrived while the last batches were under way is the next batch.
//
// Invariants:
//   - offsets are given in the order of arrival; a record is never split
//   - (writer, sequence) is stored once: a retry gets the offset that it has, or waits with the first try
//   - after a batch failed anywhere nothing more is appended: whether its bytes count is for the seal to say
//
// Bounds: BATCH_BYTES_MAX and BATCH_ENTRIES_MAX a batch (a single larger record is a batch of its own),
// BATCHES_MAX batches under way, QUEUE_MAX appends waiting (then BUSY).
//
// Source: GFS §3.3; DESIGN §4 (record append).

import { crc32Combine } from '../base/crc32.ts'
import { DfsError, isDfsError } from '../base/errors.ts'
import { formatHandle, type SessionId } from '../base/ids.ts'
import { MiB } from '../base/units.ts'
import { Message } from '../wire/messages.ts'
import type { Counters } from './counters.ts'
import type { Growing } from './growing.ts'
import type { RecordEntry } from './record-index.ts'
import { CHAIN_CALL_MS, type Route } from './route.ts'

const BATCH_BYTES_MAX = 4 * MiB
const BATCH_ENTRIES_MAX = 4096
const BATCHES_MAX = 2
const QUEUE_MAX = 16_384

/** Records that arrived whole and proven. */
export interface Append {
  readonly writer: SessionId
  readonly sequence: number
  readonly count: number
  readonly sync: boolean
  readonly slices: readonly Buffer[]
  readonly bytes: number
  /** CRC32 of the slices. */
  readonly crc: number
  /** Called once, when the slices are no longer needed. */
  readonly release: () => void
}

interface Queued {
  readonly append: Append
  readonly resolve: (offset: number) => void
  readonly reject: (error: unknown) => void
}

export class Appender {
  readonly #growing: Growing
  readonly #route: Route
  readonly #counters: Counters
  #queue: Queued[] = []
  /** Appends queued or under way, by `writer:sequence`. */
  readonly #pending = new Map<string, Promise<number>>()
  #batches = 0
  #entriesUnderWay = 0

  constructor(growing: Growing, route: Route, counters: Counters) {
    this.#growing = growing
    this.#route = route
    this.#counters = counters
  }

  /**
   * Stores the records once. @returns their chunk offset, when all members have them (durably, with `sync`).
   * Throws CHUNK_FULL, CHUNK_FENCED, CHAIN_BROKEN, BUSY, INVALID_ARGUMENT (the same sequence with another length).
   */
  append(append: Append): Promise<number> {
    const key = `${append.writer}:${append.sequence}`
    const known = this.#pending.get(key) ?? this.#stored(append)
    if (known !== undefined) {
      append.release()
      return known
    }
    if (this.#queue.length >= QUEUE_MAX) {
      append.release()
      throw new DfsError('BUSY', `${QUEUE_MAX} appends wait already`, { handle: this.#growing.header.handle })
    }
    const answer = new Promise<number>((resolve, reject) => {
      this.#queue.push({ append, resolve, reject })
    })
    this.#pending.set(key, answer)
    const forget = () => this.#pending.delete(key)
    answer.then(forget, forget)
    this.#counters.appends++
    // Whatever else arrived in this turn joins the batch.
    queueMicrotask(() => this.#pump())
    return answer
  }

  /** The offset of an append that all members have. */
  #stored(append: Append): Promise<number> | undefined {
    const { index, committed, header } = this.#growing
    const entry = index.find(append.writer, append.sequence)
    if (entry === undefined || entry.offset + entry.length > committed) return undefined
    if (entry.length === append.bytes && entry.count === append.count) return Promise.resolve(entry.offset)
    const message = `chunk ${formatHandle(header.handle)}: sequence ${append.sequence} was appended with ${entry.length} bytes, now with ${append.bytes}`
    return Promise.reject(new DfsError('INVALID_ARGUMENT', message))
  }

  #pump(): void {
    while (this.#batches < BATCHES_MAX && this.#queue.length > 0) {
      const batch = this.#takeBatch()
      if (batch.length > 0) this.#run(batch)
    }
  }

  /** The next appends that fit; those that never will are refused. */
  #takeBatch(): Queued[] {
    const batch: Queued[] = []
    let bytes = 0
    let taken = 0
    for (const queued of this.#queue) {
      const { append } = queued
      const isEnough = bytes + append.bytes > BATCH_BYTES_MAX || batch.length >= BATCH_ENTRIES_MAX
      if (isEnough && batch.length > 0) break
      taken++
      const refusal = this.#refusal(append, bytes, batch.length)
      if (refusal === undefined) {
        batch.push(queued)
        bytes += append.bytes
      } else {
        append.release()
        queued.reject(refusal)
      }
    }
    this.#queue = this.#queue.slice(taken)
    this.#entriesUnderWay += batch.length
    return batch
  }

  #refusal(append: Append, batchBytes: number, batchEntries: number): unknown {
    const growing = this.#growing
    try {
      growing.check()
    } catch (error) {
      return error
    }
    const { handle, chunkBytes } = growing.header
    const end = growing.arrived + batchBytes + append.bytes
    if (end <= chunkBytes && growing.hasIndexRoom(this.#entriesUnderWay + batchEntries + 1)) return undefined
    const message = `chunk ${formatHandle(handle)} is full at ${growing.arrived} of ${chunkBytes} bytes`
    return new DfsError('CHUNK_FULL', message, { handle, length: growing.arrived, chunkBytes })
  }

  #run(batch: readonly Queued[]): void {
    this.#batches++
    this.#counters.batches++
    this.#carryOut(batch)
      .then(
        (offsets) => batch.forEach((queued, index) => void queued.resolve(offsets[index]!)),
        (error: unknown) => {
          if (isDfsError(error)) this.#growing.spoil(error)
          for (const queued of batch) queued.reject(error)
        },
      )
      .finally(() => {
        this.#batches--
        this.#entriesUnderWay -= batch.length
        this.#pump()
      })
  }

  async #carryOut(batch: readonly Queued[]): Promise<number[]> {
    const growing = this.#growing
    const offset = growing.arrived
    const entries: RecordEntry[] = []
    let end = offset
    let crc = 0
    for (const { append } of batch) {
      const { writer, sequence, count, bytes } = append
      entries.push({ writer, sequence, count, offset: end, length: bytes })
      crc = crc32Combine(crc, append.crc, bytes)
      end += bytes
    }
    const sync = batch.some(({ append }) => append.sync)
    const releases = new Release(batch, this.#route.next === undefined ? 1 : 2)
    let received: Promise<void>
    let own: Promise<void>
    let serial: number
    try {
      const piece = growing.beginPiece(offset, end - offset)
      for (const { append } of batch) for (const slice of append.slices) piece.push(slice, undefined)
      received = piece.finish()
      serial = growing.order.issue()
      own = growing.commit(serial, end, sync, entries)
    } catch (error) {
      releases.all()
      throw error
    }
    const done = () => releases.one()
    received.then(done, done)
    const behind =
      this.#route.next === undefined ? undefined : this.#send(batch, entries, serial, offset, crc, sync, done)
    await this.#route.join(Promise.all([received, own]), behind, sync)
    growing.committed = Math.max(growing.committed, end)
    return entries.map((entry) => entry.offset)
  }

  #send(
    batch: readonly Queued[],
    entries: readonly RecordEntry[],
    serial: number,
    offset: number,
    crc: number,
    sync: boolean,
    done: () => void,
  ): Promise<void> {
    const { handle, version } = this.#growing.header
    const body = Message.appendBatch.request.encode({ handle, version, serial, offset, sync, entries })
    const data = batch.flatMap(({ append }) => append.slices)
    let isSent = false
    return this.#route
      .forward(async (connection) => {
        isSent = true
        const options = { data, dataCrc: crc, timeoutMs: CHAIN_CALL_MS, onWritten: done }
        await connection.call(Message.appendBatch.number, body, options)
      })
      .finally(() => {
        if (!isSent) done()
      })
  }
}

/** Gives a batch's slices back when both their write and their sending are over. */
class Release {
  readonly #batch: readonly Queued[]
  #left: number

  constructor(batch: readonly Queued[], users: number) {
    this.#batch = batch
    this.#left = users
  }

  one(): void {
    if (--this.#left === 0) this.all()
  }

  all(): void {
    for (const { append } of this.#batch) append.release()
  }
}
