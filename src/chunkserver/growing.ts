// A replica in the life it was allocated in: takes pieces, commits, syncs, and ends with a fence.
//
// How far it is, each at most the one before:
//
//   arrived    bytes that came and whose checksum is right
//   received   ... and are written to the file, so that a dead process leaves them (`sums.length`)
//   journalled ... and described by an `extend` record
//   synced     ... and on disk, record and all
//
// Invariants:
//   - one piece arrives at a time, where `arrived` ends; what it writes before it is proven lies beyond `arrived`
//   - a sum is never changed once it is whole; the last one moves on with `received`
//   - a shared chunk's bytes count only together with their index entries: its bounds are those of batches
//
// The bytes are described in README.md. Source: GFS §3.1, §3.2; DESIGN §2, §4.

import { assert } from '../base/assert.ts'
import { DfsError, isDfsError } from '../base/errors.ts'
import { type ChunkHandle, formatHandle } from '../base/ids.ts'
import { BLOCK_BYTES, RECORD_INDEX_BYTES_MAX } from '../base/limits.ts'
import { KiB } from '../base/units.ts'
import type { DiskFile } from '../io/disk.ts'
import type { ReceivedBytes } from '../io/network.ts'
import { BlockSums, blockCount, PieceSums } from './block-sums.ts'
import { refusalOf } from './fences.ts'
import { CHUNK_HEADER_BYTES, type ChunkHeader, encodeHeader, JOURNAL_BYTES_MAX } from './format.ts'
import { Journal } from './journal.ts'
import { MutationOrder } from './mutation-order.ts'
import { partialSum } from './partial-sum.ts'
import { ENTRY_BYTES, type RecordEntry, RecordIndex } from './record-index.ts'
import { settled } from './settled.ts'

/** A write goes to the disk when so much has gathered, or the piece ends. */
const WRITE_BYTES = 1024 * KiB

/** The two files of a chunk. */
export interface ChunkFiles {
  readonly data: DiskFile
  readonly meta: DiskFile
}

/** What a growing replica needs of its surroundings. */
export interface GrowingHost {
  /** Makes the two files; they stay open as long as the replica grows. */
  createFiles(): Promise<ChunkFiles>
  /** Makes the names of the two files durable. */
  syncNames(): Promise<void>
  /** A write or sync failed with this. */
  onDiskError(error: DfsError): void
  /** So many bytes were written to the data file. */
  onWritten(bytes: number): void
  /** A round of syncs begins. */
  onSync(): void
}

/** A piece on its way in. */
export interface ArrivingPiece {
  /** Takes the next bytes; keeps them (retained) until they are written. @param onWritten  called once they are, or never will be */
  push(bytes: Buffer, received: ReceivedBytes | undefined, onWritten?: () => void): void
  /** CRC32 of what was pushed. */
  readonly crc: number
  /** All came and is proven: it counts as arrived at once. Resolves when it is received; rejects with the disk's error. */
  finish(): Promise<void>
  /** It broke off or was wrong: nothing of it counts. */
  abandon(): void
}

export class Growing {
  readonly header: ChunkHeader
  readonly sums = new BlockSums()
  readonly index = new RecordIndex()
  readonly order = new MutationOrder()
  readonly journal: Journal
  /** Resolves when it grows no more and its files are closed. */
  readonly closed: Promise<void>
  #setClosed!: () => void
  /** Readable by anybody: all members have it. */
  committed = 0
  #arrived = 0
  #arrivedPartial = 0
  #journalled = 0
  #synced = 0
  #piece: ArrivingPiece | undefined
  /** Writes of abandoned pieces that have not ended. */
  #strays = 0
  /** Settle when everything accepted so far is received, and journalled. Never reject. */
  #receiving: Promise<void> = Promise.resolve()
  #journalling: Promise<void> = Promise.resolve()
  /** Writes under way, stray ones included: a fence waits for them. */
  readonly #writes = new Set<Promise<void>>()
  #failure: DfsError | undefined
  #isFenced = false
  #fencing: Promise<void> | undefined
  /** The server stops. */
  #isEnding = false
  #closing: Promise<void> | undefined
  #syncing: Promise<void> | undefined
  #syncNext: Promise<void> | undefined
  readonly #host: GrowingHost
  readonly #files: Promise<ChunkFiles>
  #names: Promise<void> | undefined

  constructor(header: ChunkHeader, host: GrowingHost) {
    this.header = header
    this.#host = host
    this.closed = new Promise((resolve) => {
      this.#setClosed = resolve
    })
    const bytes = encodeHeader(header)
    this.#files = host.createFiles().then(async (files) => {
      try {
        await files.meta.write([bytes], 0)
        return files
      } catch (error) {
        await Promise.all([files.data.close(), files.meta.close()])
        throw error
      }
    })
    // Whoever writes or appends is told; here it only must not count as unhandled.
    this.#files.catch((error: unknown) => this.#fail(error))
    const crc = bytes.readUInt32LE(CHUNK_HEADER_BYTES - 4)
    const meta = this.#files.then((files) => files.meta)
    meta.catch(() => {}) // as above
    this.journal = new Journal(meta, CHUNK_HEADER_BYTES, crc, 0)
  }

  get arrived(): number {
    return this.#arrived
  }

  /** Bytes that a fence would count. */
  get length(): number {
    return this.header.shared ? this.index.length : this.sums.length
  }

  get synced(): number {
    return this.#synced
  }

  get isFenced(): boolean {
    return this.#isFenced
  }

  /** The open files; rejects when they could not be made. */
  get files(): Promise<ChunkFiles> {
    return this.#files
  }

  /** The first failure of disk or chain; nothing more is taken after it. */
  get failure(): DfsError | undefined {
    return this.#failure
  }

  /** Ends the taking of bytes for a reason outside, a broken chain. */
  spoil(error: DfsError): void {
    this.#failure ??= error
  }

  /** Throws CHUNK_FENCED, or the failure that ended it. */
  check(): void {
    const refusal = refusalOf(this.header.handle, this.#isFenced ? 'fenced' : 'open')
    if (refusal !== undefined) throw refusal
    if (this.#failure !== undefined) throw this.#failure
  }

  /**
   * Begins a piece of `bytes` bytes at `offset`. Throws CHUNK_FENCED, CHUNK_FULL, OUT_OF_ORDER, BUSY (the writes of a
   * piece that broke off are under way), or the failure that ended it.
   */
  beginPiece(offset: number, bytes: number): ArrivingPiece {
    this.check()
    const { handle, chunkBytes } = this.header
    const name = formatHandle(handle)
    if (this.#piece !== undefined || offset !== this.#arrived) {
      const message = `chunk ${name}: a piece at ${offset}, the replica goes on at ${this.#arrived}`
      throw new DfsError('OUT_OF_ORDER', message, { handle, offset, arrived: this.#arrived })
    }
    if (this.#strays > 0) throw new DfsError('BUSY', `chunk ${name}: a broken piece is still being written`, { handle })
    if (offset + bytes > chunkBytes || this.journal.endBytes > JOURNAL_BYTES_MAX) {
      const message = `chunk ${name} is full: ${offset} of ${chunkBytes} bytes, ${bytes} more don't fit`
      throw new DfsError('CHUNK_FULL', message, { handle, length: offset, chunkBytes })
    }
    const piece = this.#pieceAt(offset)
    this.#piece = piece
    return piece
  }

  /** Whether `count` more entries fit into the index. */
  hasIndexRoom(count: number): boolean {
    return this.index.bytes + count * ENTRY_BYTES <= RECORD_INDEX_BYTES_MAX
  }

  /** Throws what `commit` would throw at once. */
  checkCommit(length: number): void {
    this.check()
    if (length <= this.#arrived) return
    const { handle } = this.header
    const message = `chunk ${formatHandle(handle)}: commit up to ${length}, ${this.#arrived} bytes have arrived`
    throw new DfsError('BEYOND_COMMITTED', message, { handle, length, arrived: this.#arrived })
  }

  /**
   * This member's part of a commit, in the order of the calls: waits until the bytes are received, describes them in
   * the journal, and with `sync` makes them durable. The serial number has been taken by then.
   * Throws at once BEYOND_COMMITTED when they have not arrived, CHUNK_FENCED, or the failure that ended it.
   *
   * @param entries  of a shared chunk's batch, which ends at `length`
   */
  commit(serial: number, length: number, sync: boolean, entries: readonly RecordEntry[] = []): Promise<void> {
    this.checkCommit(length)
    const before = this.#journalling
    const received = this.#receiving
    const journalled = before.then(async () => {
      await received
      if (this.#failure !== undefined && this.sums.length < length) throw this.#failure
      await this.#describe(serial, length, entries)
    })
    this.#journalling = settled(journalled)
    return sync ? journalled.then(() => this.sync()) : journalled
  }

  /** Makes everything journalled so far durable, names included; several callers share one round. */
  sync(): Promise<void> {
    if (this.#syncing === undefined) {
      this.#syncing = this.#syncOnce().finally(() => {
        this.#syncing = undefined
      })
      return this.#syncing
    }
    // What is under way may have begun before the caller's bytes were there: the next round is theirs.
    this.#syncNext ??= settled(this.#syncing).then(() => {
      this.#syncNext = undefined
      return this.sync()
    })
    return this.#syncNext
  }

  /**
   * Fences: refuses everything from now on, waits for what was accepted, and makes all of it durable with the fence.
   * Resolves also when the disk has no room for the record: in this life memory holds the fence, in another the life does.
   * Rejects with UNAVAILABLE once `end` was called: the files are about to be closed.
   */
  fence(): Promise<void> {
    this.#isFenced = true
    this.#fencing ??= this.#isEnding ? Promise.reject(stopping(this.header.handle)) : this.#fence()
    return this.#fencing
  }

  async #fence(): Promise<void> {
    while (this.#writes.size > 0) await Promise.all([...this.#writes].map(settled))
    await this.#receiving
    await this.#journalling
    if (this.#syncing !== undefined) await settled(this.#syncing)
    try {
      if (!this.header.shared) await this.#describe(this.order.last, this.sums.length, [])
      await this.journal.append({ kind: 'fenced' })
      await this.sync()
    } catch (error) {
      if (!isDfsError(error)) throw error
      if (error.code !== 'DISK_FULL') throw error
    }
  }

  /** The server stops: what was accepted ends, is made durable, and the files are closed. Nothing may follow. */
  async end(): Promise<void> {
    this.#isEnding = true
    // A fence under way does the same and more, with the same files.
    if (this.#fencing !== undefined) await settled(this.#fencing)
    else await this.#finish()
    // Rounds that others have asked for meanwhile.
    for (let under = this.#lastSync; under !== undefined; under = this.#lastSync) await settled(under)
    await this.close()
  }

  get #lastSync(): Promise<void> | undefined {
    return this.#syncNext ?? this.#syncing
  }

  async #finish(): Promise<void> {
    while (this.#writes.size > 0) await Promise.all([...this.#writes].map(settled))
    await this.#receiving
    await this.#journalling
    // What the disk refuses was never acknowledged as durable.
    await settled(this.sync())
  }

  /** Closes the files, once; nothing may follow. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    try {
      const files = await this.#files.catch(() => undefined) // they could not be made, and are closed
      await files?.data.close()
      await files?.meta.close()
    } finally {
      this.#setClosed()
    }
  }

  #pieceAt(offset: number): ArrivingPiece {
    const sums = new PieceSums(offset, this.#arrivedPartial)
    let slices: Buffer[] = []
    let releases: (() => void)[] = []
    let gathered = 0
    let at = offset
    let isAbandoned = false
    const writes: Promise<void>[] = []
    const flush = () => {
      if (gathered === 0) return
      writes.push(this.#write(slices, at, releases))
      at += gathered
      slices = []
      releases = []
      gathered = 0
    }
    const piece: ArrivingPiece = {
      push: (bytes, received, onWritten) => {
        assert(this.#piece === piece, 'bytes for a piece that is over')
        sums.push(bytes)
        received?.retain()
        slices.push(bytes)
        releases.push(() => {
          received?.release()
          onWritten?.()
        })
        gathered += bytes.length
        if (gathered >= WRITE_BYTES) flush()
      },
      get crc() {
        return sums.crc
      },
      finish: () => {
        assert(this.#piece === piece, 'a piece ends twice')
        this.#piece = undefined
        flush()
        const end = at
        if (this.#isFenced) {
          this.#wander(writes)
          throw refusalOf(this.header.handle, 'fenced')
        }
        this.#arrived = end
        this.#arrivedPartial = sums.partialSum
        const before = this.#receiving
        const received = Promise.all([before, ...writes]).then(() => {
          if (this.#failure !== undefined && this.sums.length !== offset) throw this.#failure
          this.sums.extend(end, sums.sums)
        })
        this.#receiving = settled(received)
        return received
      },
      abandon: () => {
        if (isAbandoned || this.#piece !== piece) return
        isAbandoned = true
        this.#piece = undefined
        for (const release of releases) release()
        this.#wander(writes)
      },
    }
    return piece
  }

  /** Counts writes whose bytes don't count: the next piece must not be overtaken by them. */
  #wander(writes: readonly Promise<void>[]): void {
    if (writes.length === 0) return
    this.#strays++
    Promise.all(writes.map(settled)).then(() => {
      this.#strays--
    })
  }

  #write(slices: Buffer[], position: number, releases: readonly (() => void)[]): Promise<void> {
    const write = this.#files
      .then((files) => files.data.write(slices, position))
      .then(
        () => {
          this.#host.onWritten(slices.reduce((sum, slice) => sum + slice.length, 0))
        },
        (error: unknown) => {
          this.#fail(error)
          throw error
        },
      )
      .finally(() => {
        this.#writes.delete(write)
        for (const release of releases) release()
      })
    this.#writes.add(write)
    write.catch(() => {}) // the piece's `finish` tells; an abandoned piece has nobody to tell
    return write
  }

  /** Writes the `extend` record from what is journalled up to `length`. */
  async #describe(serial: number, length: number, entries: readonly RecordEntry[]): Promise<void> {
    const from = this.#journalled
    if (length <= from && entries.length === 0) return
    if (!this.index.continues(entries)) {
      const { handle } = this.header
      const message = `chunk ${formatHandle(handle)}: a batch at ${from} that does not continue the record index, or repeats a record`
      const error = new DfsError('INVALID_ARGUMENT', message, { handle })
      this.spoil(error)
      throw error
    }
    const first = Math.floor(from / BLOCK_BYTES)
    const sums = length === from ? [] : [...this.sums.slice(first, blockCount(length))]
    if (length < this.sums.length && length % BLOCK_BYTES !== 0) sums[sums.length - 1] = await this.partialSumAt(length)
    this.#journalled = length
    const appended = this.journal.append({ kind: 'extend', serial, from, to: length, sums, entries })
    try {
      await appended
    } catch (error) {
      this.#fail(error)
      throw error
    }
    this.index.add(entries)
  }

  /** The sum of the block that holds `length`, up to `length`, from the bytes on disk, which are checked on the way. */
  async partialSumAt(length: number): Promise<number> {
    const { data } = await this.#files
    return partialSum(this.sums, length, (buffer, position) => data.read(buffer, position))
  }

  async #syncOnce(): Promise<void> {
    const target = this.#journalled
    const files = await this.#files
    this.#host.onSync()
    try {
      this.#names ??= this.#host.syncNames()
      await Promise.all([files.data.sync(), this.#names])
      if (target > this.#synced) await this.journal.append({ kind: 'synced', length: target })
      await this.journal.sync()
    } catch (error) {
      this.#fail(error)
      throw error
    }
    this.#synced = Math.max(this.#synced, target)
  }

  #fail(error: unknown): void {
    if (!isDfsError(error)) return
    this.#failure ??= error
    this.#host.onDiskError(error)
  }
}

function stopping(handle: ChunkHandle): DfsError {
  return new DfsError('UNAVAILABLE', `chunk ${formatHandle(handle)}: the server stops`, { handle })
}
