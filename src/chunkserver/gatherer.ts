// Gathers bytes of sealed chunks into a new one, on the master's order (compaction; DESIGN §4 "Small files").
//
// Every target of a gathering does the same by itself, from whichever replicas prove the bytes, so their chunks are equal
// and have equal digests. Nothing names the chunk until the master, who has heard the digest from all of them, logs the
// switch: what a crash or a change of mind leaves here is garbage like any other.
//
// Invariants:
//   - checksums are carried over, never made anew: the sums of the blocks that a range lies in are proven by their
//     source, and the sums of the range (over the very bytes that are written) and of what is left out around it must
//     combine to them
//   - the replica has a name that counts only when all of it is durable (clone-files.ts)
//
// Bounds: one gathering runs, WAITING_MAX wait (then BUSY), READS_AHEAD pieces are under way.

import fastq, { type queueAsPromised } from 'fastq'
import { combineSums } from '../base/blocks.ts'
import { crc32, crc32Combine } from '../base/crc32.ts'
import { DfsError } from '../base/errors.ts'
import { formatHandle, type Life } from '../base/ids.ts'
import { BLOCK_BYTES } from '../base/limits.ts'
import type { Logger } from '../base/log.ts'
import { TokenBucket } from '../base/token-bucket.ts'
import { MiB } from '../base/units.ts'
import type { Clock } from '../io/clock.ts'
import type { ConnectionPool } from '../rpc/pool.ts'
import type { Handler, IncomingRequest } from '../rpc/requests.ts'
import { Message, type ReplyOf, type RequestOf } from '../wire/messages.ts'
import { BlockSums, blockCount, PieceSums } from './block-sums.ts'
import { ChunkSource, type FetchedBlocks } from './chunk-source.ts'
import type { ChunkStore } from './chunk-store.ts'
import { CloneFiles } from './clone-files.ts'
import type { DataDirectory } from './data-directory.ts'
import { type Cut, cutRanges, type Span, spansOf } from './gather-plan.ts'
import { RecordIndex } from './record-index.ts'
import { type Proof, Replica } from './replica.ts'

const WAITING_MAX = 8
const READS_AHEAD = 4
const BURST_BYTES = 4 * MiB

export type GatherOrder = RequestOf<'gather'>

export interface GathererOptions {
  readonly store: ChunkStore
  readonly pool: ConnectionPool
  readonly clock: Clock
  readonly logger: Logger
}

interface Job {
  readonly order: GatherOrder
  readonly signal: AbortSignal
}

export class Gatherer {
  readonly #options: GathererOptions
  readonly #queue: queueAsPromised<Job, ReplyOf<'gather'>>
  #count = 0

  constructor(options: GathererOptions) {
    this.#options = options
    this.#queue = fastq.promise((job: Job) => this.#run(job), 1)
  }

  /**
   * Makes the chunk; resolves when it is durable and in the store.
   * Throws BUSY, INVALID_ARGUMENT, WRONG_DISK, DISK_FULL, DISK_FAILED, FSYNC_FAILED, CORRUPT_REPLICA, ABORTED, and what
   * the sources said.
   */
  async gather(order: GatherOrder, signal: AbortSignal): Promise<ReplyOf<'gather'>> {
    if (this.#count > WAITING_MAX) throw new DfsError('BUSY', `${this.#count} gatherings wait already`)
    this.#count++
    try {
      return await this.#queue.push({ order, signal })
    } finally {
      this.#count--
    }
  }

  async #run({ order, signal }: Job): Promise<ReplyOf<'gather'>> {
    const { store, clock, logger } = this.#options
    const { handle } = order
    const name = formatHandle(handle)
    if (signal.aborted) throw new DfsError('ABORTED', `chunk ${name}: it is no longer wanted`, { handle })
    if (store.find(handle) !== undefined) throw new DfsError('BUSY', `chunk ${name} is here already`, { handle })
    const cuts = cutRanges(order.ranges, order.sources)
    const length = cuts.reduce((sum, cut) => sum + cut.length, 0)
    const directory = this.#directory(order, length)
    const startMs = clock.nowMs()
    let files: CloneFiles | undefined
    try {
      files = await CloneFiles.begin(directory, handle, length)
      const proof = await this.#fetchAll(order, spansOf(cuts), files, signal)
      const replica = await this.#install(order, files, proof)
      store.counters.gathers++
      const tookMs = Math.round(clock.nowMs() - startMs)
      const fields = { event: 'gather', handle, bytes: length, chunks: order.sources.length, tookMs }
      logger.info(fields, `gathered chunk ${name} from ${order.sources.length} others`)
      return { facts: replica.facts() }
    } catch (error) {
      if (directory.failure === undefined) await files?.discard()
      throw error
    }
  }

  #directory(order: GatherOrder, length: number): DataDirectory {
    const { handle } = order
    const directory = this.#options.store.directory(order.directory)
    if (directory === undefined) {
      const message = `chunk ${formatHandle(handle)}: directory ${order.directory} is not one of this server`
      throw new DfsError('WRONG_DISK', message, { handle, directory: order.directory })
    }
    directory.check()
    if (directory.freeForChunks >= length) return directory
    const message = `chunk ${formatHandle(handle)}: ${directory.path} has ${directory.freeForChunks} bytes for chunks, ${length} are needed`
    throw new DfsError('DISK_FULL', message, { handle, path: directory.path })
  }

  /** All bytes, in the order of their ranges; reads run ahead. */
  async #fetchAll(order: GatherOrder, spans: readonly Span[], files: CloneFiles, signal: AbortSignal): Promise<Proof> {
    const { pool, clock } = this.#options
    const sources = order.sources.map(
      ({ handle, version, servers }) => new ChunkSource({ pool, clock, handle, version, sources: servers, signal }),
    )
    const bucket =
      order.bytesPerSecond === 0 ? undefined : new TokenBucket(order.bytesPerSecond, BURST_BYTES, clock.nowMs())
    const proof: Proof = { sums: new BlockSums(), index: new RecordIndex() }
    const ahead: Promise<readonly FetchedBlocks[]>[] = []
    let next = 0
    try {
      for (const span of spans) {
        for (; next < spans.length && ahead.length < READS_AHEAD; next++) {
          const { source, offset, length } = spans[next]!
          const waitMs = bucket?.take(length, clock.nowMs()) ?? 0
          if (waitMs > 0) await clock.sleep(waitMs, signal)
          const fetched = sources[source]!.fetch(offset, length, `gather ${next % READS_AHEAD}`)
          fetched.catch(() => {}) // awaited below, in order; until then a failure is nobody's
          ahead.push(fetched)
        }
        await this.#take(order, span, (await ahead.shift()) ?? [], proof.sums, files)
      }
      return proof
    } finally {
      await Promise.allSettled(ahead)
    }
  }

  /** Puts a span's cuts behind what is there already: sums first, from the bytes that are then written. */
  async #take(
    order: GatherOrder,
    span: Span,
    parts: readonly FetchedBlocks[],
    sums: BlockSums,
    files: CloneFiles,
  ): Promise<void> {
    const start = sums.length
    const bytes = Buffer.allocUnsafe(span.cuts.reduce((sum, cut) => sum + cut.length, 0))
    let filled = 0
    for (const cut of span.cuts) {
      const target = bytes.subarray(filled, filled + cut.length)
      const piece = new PieceSums(sums.length, sums.partialSum)
      const around = copyCut(cut, parts, target)
      piece.push(target)
      const combined = crc32Combine(crc32Combine(around.head, piece.crc, cut.length), around.tail, around.tailBytes)
      if (combined !== around.proven) {
        const { handle } = order.sources[cut.source]!
        const message = `chunk ${formatHandle(handle)}: ${cut.length} bytes at ${cut.offset} have changed in memory`
        throw new DfsError('CORRUPT_REPLICA', message, { handle })
      }
      sums.extend(sums.length + cut.length, piece.sums)
      filled += cut.length
    }
    await files.write([bytes], start)
    this.#options.store.counters.bytesGathered += bytes.length
  }

  async #install(order: GatherOrder, files: CloneFiles, proof: Proof): Promise<Replica> {
    const { store } = this.#options
    const { handle, logIndex } = order
    const { directory } = files
    const { length } = proof.sums
    const digest = proof.sums.digest()
    const header = {
      clusterId: store.clusterId,
      handle,
      version: 1,
      logIndex,
      chunkBytes: length,
      shared: false,
      directory: directory.id,
      // Of no life: it took part in no acknowledgement.
      life: 0 as Life,
      isTombstone: false,
      members: [],
    }
    const record = { version: 1, length, digest, indexDigest: 0, sums: proof.sums.slice(0, blockCount(length)) }
    const sealed = await files.finish(header, { ...record, entries: [] })
    const replica = new Replica(header, directory, 1, { kind: 'sealed', sealed }, true)
    await store.install(replica, proof, () => files.place())
    return replica
  }
}

/**
 * Copies a cut out of the blocks it lies in.
 *
 * @returns the sums of what surrounds it in its first and last block, and what all of it combines to in the source
 */
function copyCut(cut: Cut, parts: readonly FetchedBlocks[], target: Buffer) {
  const end = cut.offset + cut.length
  let head = 0
  let tail = 0
  let tailBytes = 0
  let proven = 0
  for (const part of parts) {
    const partEnd = part.offset + part.bytes.length
    // Blocks of this part that hold bytes of the cut.
    const from = Math.max(part.offset, Math.floor(cut.offset / BLOCK_BYTES) * BLOCK_BYTES)
    const to = Math.min(partEnd, Math.ceil(end / BLOCK_BYTES) * BLOCK_BYTES)
    if (from >= to) continue
    const first = (from - part.offset) / BLOCK_BYTES
    const blocks = part.sums.subarray(first, first + blockCount(to - from))
    const lastBytes = to - from - (blocks.length - 1) * BLOCK_BYTES
    proven = crc32Combine(proven, combineSums(blocks, lastBytes), to - from)
    const copyFrom = Math.max(from, cut.offset)
    const copyTo = Math.min(to, end)
    if (from < copyFrom) head = crc32(part.bytes.subarray(from - part.offset, copyFrom - part.offset), head)
    if (copyTo < to) {
      tail = crc32(part.bytes.subarray(copyTo - part.offset, to - part.offset), tail)
      tailBytes += to - copyTo
    }
    part.bytes.copy(target, copyFrom - cut.offset, copyFrom - part.offset, copyTo - part.offset)
  }
  return { head, tail, tailBytes, proven }
}

/** The message of gatherings. */
export function gatherHandlers(
  gatherer: Gatherer,
  checkMaster: (request: IncomingRequest, history: GatherOrder['history']) => void,
): [number, Handler][] {
  return [
    [
      Message.gather.number,
      async (request) => {
        const order = Message.gather.request.decode(request.body, 'gather')
        checkMaster(request, order.history)
        request.reply(Message.gather.reply.encode(await gatherer.gather(order, request.signal)))
      },
    ],
  ]
}
