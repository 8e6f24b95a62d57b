// Direct reads: sealed chunks of a chunkserver on this very host, read from its files without a network between.
//
// The server names the file and gives the stored checksums. What is not beyond doubt is read over the network as
// always, and the server is not asked again for a while: no such file here or another one (a client in a container),
// no permission, a disk that hangs. The first read of a chunk goes over the network; a second one makes the offer be
// asked for, beside the reads, so that no read waits for it.
//
// Invariants:
//   - every block matches its checksum, and the checksums of a chunk combine to the digest that the master's log has
//   - bytes are read into buffers of our own: a disk that hangs never writes into what the caller was given
//
// Bounds: FILES_MAX open files, closed when unused for a minute; LATE_MS for a read, then the network is asked.

import { combineRun, findWrongBlock, sumsFrom } from '../base/blocks.ts'
import { DfsError } from '../base/errors.ts'
import { type ChunkHandle, formatHandle } from '../base/ids.ts'
import { BLOCK_BYTES, PIECE_BYTES, PIECE_BYTES_MAX } from '../base/limits.ts'
import { type Linked, LinkedList } from '../base/linked-list.ts'
import { KiB, MINUTE_MS, SECOND_MS } from '../base/units.ts'
import type { Timer } from '../io/clock.ts'
import type { DiskFile } from '../io/disk.ts'
import { type ChunkLocation, Message } from '../wire/messages.ts'
import type { WantedRange } from './block-check.ts'
import type { Core } from './core.ts'
import { MILD_DOUBT, type Source } from './peers.ts'
import type { Fetched } from './read-race.ts'
import { asFault, dropFault } from './retry.ts'

const FILES_MAX = 64
const OPENING_MAX = 8
const SEEN_MAX = 4096
const OFFER_MS = 2 * SECOND_MS
/** After a doubt the server is left alone for so long. */
const OFF_MS = MINUTE_MS
/** A chunk that was not offered is asked for again after so long. */
const NOT_OFFERED_MS = 5 * SECOND_MS
const UNUSED_MS = MINUTE_MS
const LATE_MS = 200
const TICK_MS = 50
const LANE = 'read'

/** A sealed chunk whose file is open. */
interface DirectChunk {
  readonly handle: ChunkHandle
  readonly address: string
  readonly file: DiskFile
  readonly length: number
  /** CRC32 of each block, little-endian. */
  readonly sums: Uint32Array
  users: number
  usedMs: number
  isDropped: boolean
}

/** A read of the disk under way. */
interface UnderWay extends Linked<UnderWay> {
  readonly startMs: number
  readonly onLate: () => void
}

export class DirectReads {
  readonly #core: Core
  readonly #isEnabled: boolean
  /** In order of their last use. */
  readonly #chunks = new Map<ChunkHandle, DirectChunk>()
  /** Read once already, over the network: from when on a file may be asked for. */
  readonly #seen = new Map<ChunkHandle, number>()
  readonly #opening = new Set<ChunkHandle>()
  readonly #offUntilMs = new Map<string, number>()
  readonly #underWay = new LinkedList<UnderWay>()
  readonly #buffers = new Buffers()
  #watch: Timer | undefined
  #sweeper: Timer | undefined
  /** Reads answered from files. */
  count = 0

  constructor(core: Core, isEnabled: boolean) {
    this.#core = core
    this.#isEnabled = isEnabled
    if (isEnabled) core.closing.addEventListener('abort', () => this.#close(), { once: true })
  }

  /** The replica of the chunk whose file is open here; undefined: over the network. */
  source(location: ChunkLocation): Source | undefined {
    if (!this.#isEnabled || !location.isSealed) return undefined
    const chunk = this.#chunks.get(location.handle)
    if (chunk !== undefined) return location.replicas.find(({ address }) => address === chunk.address)
    this.#consider(location)
    return undefined
  }

  /**
   * A range of a chunk that has a `source`, proven. Undefined: to be read over the network. Errors: CORRUPT_REPLICA.
   *
   * @param target  takes the bytes when they are proven; without it a buffer is lent until `release`
   */
  async read(handle: ChunkHandle, range: WantedRange, target: Uint8Array | undefined): Promise<Fetched | undefined> {
    const chunk = this.#chunks.get(handle)
    if (chunk === undefined) return undefined
    const { offset, length } = range
    const start = offset - (offset % BLOCK_BYTES)
    const end = Math.min(chunk.length, Math.ceil((offset + length) / BLOCK_BYTES) * BLOCK_BYTES)
    if (offset + length > chunk.length || end - start > PIECE_BYTES_MAX) return undefined
    const buffer = this.#buffers.take(end - start)
    const bytes = buffer.subarray(0, end - start)
    try {
      const count = await this.#readFile(chunk, bytes, start)
      if (count === undefined) return undefined // the disk may still write into the buffer: it is left to it
      this.#prove(chunk, bytes, count, start)
    } catch (error) {
      const fault = asFault(error)
      this.#doubt(chunk.address)
      if (fault.code === 'CORRUPT_REPLICA') throw fault
      return undefined
    }
    this.count++
    const wanted = bytes.subarray(offset - start, offset - start + length)
    if (target === undefined) return { length, slices: [wanted], release: () => this.#buffers.give(buffer) }
    target.set(wanted)
    this.#buffers.give(buffer)
    return { length, slices: [], release: () => {} }
  }

  /** Throws CORRUPT_REPLICA. */
  #prove({ handle, sums }: DirectChunk, bytes: Buffer, count: number, start: number): void {
    if (count < bytes.length) {
      const message = `the file of chunk ${formatHandle(handle)} ends at ${start + count}, ${start + bytes.length} bytes belong to it`
      throw new DfsError('CORRUPT_REPLICA', message, { chunkOffset: start + count })
    }
    const wrong = findWrongBlock(bytes, sums, start / BLOCK_BYTES)
    if (wrong === undefined) return
    const chunkOffset = wrong.index * BLOCK_BYTES
    const message = `the block at ${chunkOffset} has checksum ${wrong.actual} in its file, ${sums[wrong.index]} is stored`
    throw new DfsError('CORRUPT_REPLICA', message, { chunkOffset })
  }

  /** @returns bytes read; undefined when the disk takes too long */
  #readFile(chunk: DirectChunk, bytes: Buffer, position: number): Promise<number | undefined> {
    const { clock } = this.#core.io
    const nowMs = clock.nowMs()
    chunk.users++
    chunk.usedMs = nowMs
    return new Promise((resolve, reject) => {
      const read: UnderWay = {
        startMs: nowMs,
        before: undefined,
        after: undefined,
        onLate: () => {
          this.#doubt(chunk.address)
          resolve(undefined)
        },
      }
      this.#underWay.add(read)
      this.#watch ??= clock.after(TICK_MS, this.#look)
      const ended = (): void => {
        this.#underWay.delete(read)
        chunk.users--
        if (chunk.isDropped) this.#closeUnused(chunk)
      }
      chunk.file.read(bytes, position).then(
        (count) => {
          ended()
          resolve(count)
        },
        (error: unknown) => {
          ended()
          reject(error)
        },
      )
    })
  }

  readonly #look = (): void => {
    this.#watch = undefined
    const lateMs = this.#core.io.clock.nowMs() - LATE_MS
    for (const read of this.#underWay) {
      if (read.startMs > lateMs) break
      this.#underWay.delete(read)
      read.onLate()
    }
    if (!this.#underWay.isEmpty) this.#watch ??= this.#core.io.clock.after(TICK_MS, this.#look)
  }

  /** Asks for the file of a chunk that is read again, if a server on this host may have it. */
  #consider(location: ChunkLocation): void {
    const { handle } = location
    const { peers, closing, io } = this.#core
    if (this.#opening.size >= OPENING_MAX || this.#opening.has(handle) || closing.aborted) return
    const nowMs = io.clock.nowMs()
    const source = location.replicas.find(
      ({ doubt, address }) =>
        doubt <= MILD_DOUBT && peers.isWithinHost(address) && nowMs >= (this.#offUntilMs.get(address) ?? 0),
    )
    if (source === undefined) return
    const fromMs = this.#seen.get(handle)
    if (fromMs === undefined) {
      if (this.#seen.size >= SEEN_MAX) this.#seen.clear()
      this.#seen.set(handle, nowMs)
      return
    }
    if (nowMs < fromMs) return
    this.#opening.add(handle)
    this.#open(location, source)
      .then((chunk) => {
        if (chunk === undefined) this.#seen.set(handle, io.clock.nowMs() + NOT_OFFERED_MS)
        else if (closing.aborted) this.#closeUnused(chunk)
        else this.#add(chunk)
      })
      .catch((error: unknown) => {
        asFault(error)
        this.#doubt(source.address)
      })
      .finally(() => this.#opening.delete(handle))
  }

  /** Undefined: not offered, which says nothing of other chunks: it may only not be sealed there yet. */
  async #open(location: ChunkLocation, { address }: Source): Promise<DirectChunk | undefined> {
    const { links, closing, io } = this.#core
    const { handle, version, length, digest } = location
    const connection = await links.chunkserver(address, LANE, OFFER_MS, closing)
    if (!connection.isWithinHost) return undefined
    const { number, request, reply } = Message.directRead
    const options = { timeoutMs: OFFER_MS, signal: closing }
    const { body, data } = await connection.call(number, request.encode({ handle, version }), options)
    const { offer } = reply.decode(body, 'directRead')
    if (offer === undefined || data === undefined) return undefined
    const sums = data.length % 4 === 0 ? sumsFrom(data) : NO_SUMS
    if (offer.length !== length || offer.blockBytes !== BLOCK_BYTES || digestOf(sums, length) !== digest) {
      throw new DfsError('CORRUPT_REPLICA', `${address} offers another chunk than ${formatHandle(handle)}`)
    }
    const stat = await io.disk.stat(offer.path)
    // A path that is a pipe or a device here must not even be opened.
    if (stat?.kind !== 'file' || stat.inode !== offer.inode) {
      throw new DfsError('NOT_FOUND', `${offer.path} is not here, or another file`, { path: offer.path })
    }
    const file = await io.disk.open(offer.path, 'read')
    return { handle, address, file, length, sums, users: 0, usedMs: io.clock.nowMs(), isDropped: false }
  }

  #add(chunk: DirectChunk): void {
    this.#chunks.set(chunk.handle, chunk)
    if (this.#chunks.size > FILES_MAX) {
      let longest = chunk
      for (const one of this.#chunks.values()) if (one.usedMs < longest.usedMs) longest = one
      this.#drop(longest)
    }
    this.#sweepLater()
  }

  /** All of this server is read over the network for a while. */
  #doubt(address: string): void {
    if (this.#offUntilMs.size >= SEEN_MAX) this.#offUntilMs.clear()
    this.#offUntilMs.set(address, this.#core.io.clock.nowMs() + OFF_MS)
    for (const chunk of [...this.#chunks.values()]) if (chunk.address === address) this.#drop(chunk)
  }

  #drop(chunk: DirectChunk): void {
    this.#chunks.delete(chunk.handle)
    chunk.isDropped = true
    this.#closeUnused(chunk)
  }

  #closeUnused(chunk: DirectChunk): void {
    // A file that was only read has nothing to lose when it can't be closed.
    if (chunk.users === 0) chunk.file.close().catch(dropFault)
  }

  #sweepLater(): void {
    this.#sweeper ??= this.#core.io.clock.after(UNUSED_MS / 2, () => {
      this.#sweeper = undefined
      const beforeMs = this.#core.io.clock.nowMs() - UNUSED_MS
      for (const chunk of [...this.#chunks.values()]) {
        if (chunk.users === 0 && chunk.usedMs <= beforeMs) this.#drop(chunk)
      }
      if (this.#chunks.size > 0) this.#sweepLater()
    })
  }

  #close(): void {
    this.#sweeper?.cancel()
    for (const chunk of [...this.#chunks.values()]) this.#drop(chunk)
  }
}

/** CRC32 of a chunk of `length` bytes from those of its blocks; undefined when there is not one for each. */
function digestOf(sums: Uint32Array, length: number): number | undefined {
  if (sums.length !== Math.ceil(length / BLOCK_BYTES)) return undefined
  return combineRun(0, sums, 0, sums.length, length)
}

const NO_SUMS = new Uint32Array(0)

const SIZES: readonly number[] = [16 * KiB, 128 * KiB, PIECE_BYTES, PIECE_BYTES_MAX]
const FREE_MAX: readonly number[] = [64, 64, 16, 4]

/** Buffers used again; a few of each size are kept. */
class Buffers {
  readonly #free: readonly Buffer[][] = SIZES.map(() => [])

  take(bytes: number): Buffer {
    const index = SIZES.findIndex((size) => size >= bytes)
    return this.#free[index]!.pop() ?? Buffer.allocUnsafeSlow(SIZES[index]!)
  }

  give(buffer: Buffer): void {
    const index = SIZES.indexOf(buffer.length)
    if (this.#free[index]!.length < FREE_MAX[index]!) this.#free[index]!.push(buffer)
  }
}
