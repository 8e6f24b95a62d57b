// Bytes of a sealed chunk from other servers' replicas: each block from any of them that proves it.
//
// Sources are asked one after the other, in an order that a failure changes: who was silent or away comes last from then
// on. When every source refuses a range and a bad block may be why, the range is halved, down to one block: three
// replicas, each with another bad block, are still whole (DESIGN §5).

import { crc32 } from '../base/crc32.ts'
import { DfsError, isDfsError } from '../base/errors.ts'
import { type ChunkHandle, formatHandle, formatServer, type ServerId } from '../base/ids.ts'
import { BLOCK_BYTES } from '../base/limits.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Clock } from '../io/clock.ts'
import { parseAddress } from '../io/network.ts'
import { ask } from '../rpc/ask.ts'
import type { OnReplyData, Reply } from '../rpc/calls.ts'
import type { Connection } from '../rpc/connection.ts'
import type { ConnectionPool } from '../rpc/pool.ts'
import { Message } from '../wire/messages.ts'
import { blockCount } from './block-sums.ts'
import { CloneSink, type WriteSlices } from './clone-sink.ts'
import { decodeEntries, type RecordEntry, RecordIndex } from './record-index.ts'

export interface Source {
  readonly server: ServerId
  readonly address: string
}

/** Proven blocks from `offset` on, with the sum of each. */
export interface ProvenRun {
  readonly offset: number
  readonly length: number
  readonly sums: Uint32Array
}

/** And their bytes. */
export interface FetchedBlocks extends ProvenRun {
  readonly bytes: Buffer
}

/** An answer that takes longer sends the asker to the next source. */
const READ_MS = 5 * SECOND_MS
/** Rounds over all sources before a range is given up. */
const ROUNDS = 4
const ROUND_WAIT_MS = 100

export interface ChunkSourceOptions {
  readonly pool: ConnectionPool
  readonly clock: Clock
  readonly handle: ChunkHandle
  readonly version: number
  readonly sources: readonly Source[]
  readonly signal: AbortSignal
}

export class ChunkSource {
  readonly #options: ChunkSourceOptions
  /** Best first; changed as they fail. */
  readonly #sources: Source[]

  constructor(options: ChunkSourceOptions) {
    this.#options = options
    this.#sources = [...options.sources]
  }

  /**
   * `length` bytes at `offset`, which begin and end with blocks (or the chunk), in one or more parts.
   *
   * @param lane  keeps concurrent fetches on connections of their own
   * Throws CORRUPT_REPLICA (a block that no source proves), ABORTED, or what the last source said.
   */
  fetch(offset: number, length: number, lane: string): Promise<FetchedBlocks[]> {
    return this.#gather(offset, length, (source, from, count) => this.#read(source, from, count, lane))
  }

  /**
   * The same, written as they arrive and not kept. All is proven when this resolves; until then, and when it rejects,
   * anything may have been written of the range.
   */
  copy(offset: number, length: number, lane: string, write: WriteSlices): Promise<ProvenRun[]> {
    return this.#gather(offset, length, (source, from, count) => this.#copy(source, from, count, lane, write))
  }

  async #gather<Run extends ProvenRun>(
    offset: number,
    length: number,
    read: (source: Source, offset: number, length: number) => Promise<Run>,
  ): Promise<Run[]> {
    let last: DfsError | undefined
    for (let round = 0; round < ROUNDS; round++) {
      let mayHalve = false
      let mayWait = false
      for (const source of [...this.#sources]) {
        try {
          const run = await read(source, offset, length)
          if (run.length >= length) return [run]
          return [run, ...(await this.#gather(offset + run.length, length - run.length, read))]
        } catch (error) {
          last = this.#judge(error, source)
          if (last.code === 'CORRUPT_REPLICA' || last.code === 'BEYOND_COMMITTED') mayHalve = true
          else mayWait = true
        }
      }
      if (mayHalve && length > BLOCK_BYTES) {
        const half = Math.ceil(blockCount(length) / 2) * BLOCK_BYTES
        const first = await this.#gather(offset, half, read)
        return [...first, ...(await this.#gather(offset + half, length - half, read))]
      }
      if (!mayWait) break
      await this.#options.clock.sleep(ROUND_WAIT_MS * 2 ** round, this.#options.signal)
    }
    throw last ?? this.#noSource()
  }

  /** The record index with this digest, from any source that has it. Throws like `fetch`. */
  async recordIndex(digest: number): Promise<RecordIndex> {
    let last: DfsError | undefined
    for (const source of [...this.#sources]) {
      try {
        const index = new RecordIndex()
        index.add(await this.#entries(source))
        if (index.digest === digest) return index
        last = new DfsError(
          'CORRUPT_REPLICA',
          `chunk ${formatHandle(this.#options.handle)}: the record index of ${formatServer(source.server)} has digest ${index.digest}, the log says ${digest}`,
          { handle: this.#options.handle, server: source.server },
        )
      } catch (error) {
        last = this.#judge(error, source)
      }
    }
    throw last ?? this.#noSource()
  }

  async #read(source: Source, offset: number, length: number, lane: string): Promise<FetchedBlocks> {
    const { handle, version, signal } = this.#options
    const connection = await this.#connection(source, lane)
    const body = Message.read.request.encode({ handle, version, offset, length })
    const reply = await connection.call(Message.read.number, body, { timeoutMs: READ_MS, signal })
    const bytes = reply.data ?? Buffer.alloc(0)
    const stored = this.#storedSums(reply.body, offset, length, bytes.length)
    for (let index = 0; index < stored.length; index++) {
      const at = index * BLOCK_BYTES
      const size = Math.min(BLOCK_BYTES, bytes.length - at)
      const sum = crc32(new Uint8Array(bytes.buffer, bytes.byteOffset + at, size))
      this.#checkSum(sum, stored[index]!, offset + at)
    }
    return { offset, length: bytes.length, bytes, sums: stored }
  }

  async #copy(source: Source, offset: number, length: number, lane: string, write: WriteSlices): Promise<ProvenRun> {
    const { handle, version, signal } = this.#options
    const connection = await this.#connection(source, lane)
    const body = Message.read.request.encode({ handle, version, offset, length })
    const sink = new CloneSink(offset, write)
    let bytes = 0
    let stored = new Uint32Array(0)
    let refusal: unknown
    const onData: OnReplyData = (answer, data) => {
      try {
        stored = this.#storedSums(answer, offset, length, data.bytes)
        bytes = data.bytes
        data.receive(sink)
      } catch (error) {
        refusal = error // thrown below: this is called in the middle of the connection's work
        data.skip()
      }
    }
    let reply: Reply
    try {
      reply = await connection.call(Message.read.number, body, { timeoutMs: READ_MS, signal, onData })
    } finally {
      // Also when it failed: what is still being written must not come after what a better source sends.
      await sink.settled()
    }
    if (refusal !== undefined) throw refusal
    if (bytes === 0) this.#storedSums(reply.body, offset, length, 0)
    for (const [index, sum] of sink.sums.entries()) this.#checkSum(sum, stored[index]!, offset + index * BLOCK_BYTES)
    return { offset, length: bytes, sums: stored }
  }

  /** What a source says of the blocks that it sends. Throws CORRUPT_REPLICA for other blocks than were asked for. */
  #storedSums(answer: unknown[], offset: number, length: number, bytes: number): Uint32Array<ArrayBuffer> {
    const { offset: from, checksums } = Message.read.reply.decode(answer, 'read')
    const isFitting = from === offset && bytes > 0 && checksums.length === 4 * blockCount(bytes)
    // More than was asked for comes only with the rest of a last block, which a sealed chunk does not have.
    if (!isFitting || bytes > length || (bytes < length && bytes % BLOCK_BYTES !== 0)) {
      const words = `asked for ${length} bytes at ${offset}, got ${bytes} from ${from} with ${checksums.length / 4} checksums`
      throw new DfsError('CORRUPT_REPLICA', words, { handle: this.#options.handle })
    }
    const view = new DataView(checksums.buffer, checksums.byteOffset, checksums.byteLength)
    return Uint32Array.from({ length: checksums.length / 4 }, (_, index) => view.getUint32(4 * index, true))
  }

  #checkSum(actual: number, stored: number, at: number): void {
    if (actual === stored) return
    const words = `the block at ${at} has checksum ${actual}, its server said ${stored}`
    throw new DfsError('CORRUPT_REPLICA', words, { handle: this.#options.handle })
  }

  async #entries(source: Source): Promise<RecordEntry[]> {
    const { handle, version, signal } = this.#options
    const connection = await this.#connection(source, '')
    const all: RecordEntry[] = []
    let end = 0
    for (;;) {
      const request = { handle, version, from: all.length }
      const { entries, count } = await ask(connection, 'recordIndex', request, { timeoutMs: READ_MS, signal })
      const page = decodeEntries(Buffer.from(entries.buffer, entries.byteOffset, entries.byteLength))
      if (page === undefined || (page.length === 0 && all.length < count)) {
        throw new DfsError('CORRUPT_REPLICA', `a page of ${entries.length} bytes is no part of a record index`)
      }
      for (const entry of page) {
        if (entry.offset !== end) throw new DfsError('CORRUPT_REPLICA', `a record index with a gap at ${end}`)
        end += entry.length
        all.push(entry)
      }
      if (all.length >= count) return all
    }
  }

  #connection(source: Source, lane: string): Promise<Connection> {
    const address = parseAddress(source.address)
    if (address === undefined) throw new DfsError('INVALID_ARGUMENT', `${source.address} is not HOST:PORT`)
    return this.#options.pool.get(address, `clone ${lane}`)
  }

  /** Names the source; throws on when the copy is no longer wanted. */
  #judge(error: unknown, source: Source): DfsError {
    const { signal, handle } = this.#options
    if (!isDfsError(error) || signal.aborted) throw error
    if (error.code !== 'CORRUPT_REPLICA' && error.code !== 'BEYOND_COMMITTED' && this.#sources.length > 1) {
      this.#sources.splice(this.#sources.indexOf(source), 1)
      this.#sources.push(source)
    }
    const words = `chunk ${formatHandle(handle)} from ${formatServer(source.server)} (${source.address}): ${error.message}`
    return new DfsError(error.code, words, { ...error.detail, handle, server: source.server }, error)
  }

  #noSource(): DfsError {
    const { handle } = this.#options
    return new DfsError('UNKNOWN_LOCATION', `chunk ${formatHandle(handle)}: no source to copy it from`, { handle })
  }
}
