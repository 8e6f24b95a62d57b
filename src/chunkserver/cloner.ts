// Makes replicas of sealed chunks from those of other servers, on the master's order (GFS §4.3).
//
// A copy is proven against the log's digest before it has a name that counts, and durable before it is told
// (clone-files.ts). It takes the place of what the server held of the chunk: a damaged or short replica goes when its
// whole copy is there and not before; one with other content goes to the quarantine.
//
// Each byte is checked once, while it arrives, and written from where it was received (clone-sink.ts).
//
// Bounds: CLONES_AT_ONCE copies run, WAITING_MAX wait (then BUSY), READS_AT_ONCE pieces of a copy are under way.

import fastq, { type queueAsPromised } from 'fastq'
import { DfsError } from '../base/errors.ts'
import { type ChunkHandle, formatHandle, type Life } from '../base/ids.ts'
import { COPIES_PER_SERVER_MAX, PIECE_BYTES, RECORD_INDEX_BYTES_MAX } from '../base/limits.ts'
import type { Logger } from '../base/log.ts'
import { TokenBucket } from '../base/token-bucket.ts'
import { MiB } from '../base/units.ts'
import type { Clock } from '../io/clock.ts'
import type { ConnectionPool } from '../rpc/pool.ts'
import type { Handler, IncomingRequest } from '../rpc/requests.ts'
import { Message, type ReplyOf, type RequestOf } from '../wire/messages.ts'
import { BlockSums, blockCount } from './block-sums.ts'
import { ChunkSource } from './chunk-source.ts'
import type { ChunkStore } from './chunk-store.ts'
import { CloneFiles } from './clone-files.ts'
import type { WriteSlices } from './clone-sink.ts'
import type { DataDirectory } from './data-directory.ts'
import { ENTRY_BYTES, encodeEntries, RecordIndex } from './record-index.ts'
import { type Proof, Replica } from './replica.ts'

/** The master gives fewer, as the operator wants; a last copy finds room beside them. */
export const CLONES_AT_ONCE = COPIES_PER_SERVER_MAX + 1
const WAITING_MAX = 64
const READS_AT_ONCE = 4
const BURST_BYTES = MiB
/** Entries in one answer to `recordIndex`. */
const ENTRIES_PER_PAGE = RECORD_INDEX_BYTES_MAX / 2 / ENTRY_BYTES

export type CloneOrder = RequestOf<'clone'>

export interface ClonerOptions {
  readonly store: ChunkStore
  readonly pool: ConnectionPool
  readonly clock: Clock
  readonly logger: Logger
}

interface Job {
  readonly order: CloneOrder
  readonly signal: AbortSignal
}

export class Cloner {
  readonly #options: ClonerOptions
  readonly #queue: queueAsPromised<Job, ReplyOf<'clone'>>
  readonly #running = new Set<ChunkHandle>()
  #bucket: TokenBucket | undefined
  #bytesPerSecond = 0

  constructor(options: ClonerOptions) {
    this.#options = options
    this.#queue = fastq.promise((job: Job) => this.#run(job), CLONES_AT_ONCE)
  }

  /** Copies that run or wait. */
  get count(): number {
    return this.#running.size
  }

  /**
   * Makes the copy; resolves when it is durable and in the store. The same chunk that is here whole is answered at once.
   * Throws BUSY, WRONG_DISK, DISK_FULL, DISK_FAILED, FSYNC_FAILED, CORRUPT_REPLICA, ABORTED, and what the sources said.
   */
  async clone(order: CloneOrder, signal: AbortSignal): Promise<ReplyOf<'clone'>> {
    const { handle } = order
    const here = this.#options.store.find(handle)
    if (here !== undefined && isWhole(here, order)) return { facts: here.facts(), bytes: 0 }
    if (this.#running.has(handle) || this.#running.size >= CLONES_AT_ONCE + WAITING_MAX) {
      const reason = this.#running.has(handle) ? 'it is being copied already' : `${this.#running.size} copies wait`
      throw new DfsError('BUSY', `chunk ${formatHandle(handle)}: ${reason}`, { handle })
    }
    this.#running.add(handle)
    try {
      return await this.#queue.push({ order, signal })
    } finally {
      this.#running.delete(handle)
    }
  }

  async #run({ order, signal }: Job): Promise<ReplyOf<'clone'>> {
    const { store, clock, logger } = this.#options
    if (signal.aborted) throw cancelled(order.handle)
    const directory = this.#directoryFor(order)
    const startMs = clock.nowMs()
    let files: CloneFiles | undefined
    try {
      files = await CloneFiles.begin(directory, order.handle, order.length)
      const proof = await this.#fetchAll(order, files, signal)
      const replica = await this.#install(order, files, proof)
      store.counters.clones++
      const tookMs = Math.round(clock.nowMs() - startMs)
      logger.info(
        { event: 'clone', handle: order.handle, bytes: order.length, tookMs },
        `copied chunk ${formatHandle(order.handle)}`,
      )
      return { facts: replica.facts(), bytes: order.length }
    } catch (error) {
      store.counters.cloneFailures++
      if (directory.failure === undefined) await files?.discard()
      throw error
    }
  }

  /** Where a replica of the chunk is already, else where the master says. */
  #directoryFor(order: CloneOrder): DataDirectory {
    const { store } = this.#options
    const { handle, length } = order
    const directory = store.find(handle)?.directory ?? store.directory(order.directory)
    if (directory === undefined) {
      const message = `chunk ${formatHandle(handle)}: directory ${order.directory} is not one of this server`
      throw new DfsError('WRONG_DISK', message, { handle, directory: order.directory })
    }
    directory.check()
    if (directory.freeForChunks >= length) return directory
    const message = `chunk ${formatHandle(handle)}: ${directory.path} has ${directory.freeForChunks} bytes for chunks, ${length} are needed`
    throw new DfsError('DISK_FULL', message, { handle, path: directory.path })
  }

  /** All bytes, written and proven against the log. */
  async #fetchAll(order: CloneOrder, files: CloneFiles, signal: AbortSignal): Promise<Proof> {
    const { pool, clock, store } = this.#options
    const { handle, version, length, sources } = order
    const source = new ChunkSource({ pool, clock, handle, version, sources, signal })
    const index = order.shared ? await source.recordIndex(order.indexDigest) : new RecordIndex()
    const sums = new Uint32Array(blockCount(length))
    let next = 0
    let isOver = false
    const write: WriteSlices = (slices, position) => files.write(slices, position)
    const work = async (lane: number): Promise<void> => {
      while (next < length && !isOver) {
        const offset = next
        const bytes = Math.min(PIECE_BYTES, length - offset)
        next += bytes
        await this.#throttle(order, bytes, signal)
        for (const run of await source.copy(offset, bytes, String(lane), write)) {
          sums.set(run.sums, blockCount(run.offset))
          store.counters.bytesCloned += run.length
        }
      }
    }
    const workers = Array.from({ length: READS_AT_ONCE }, (_, lane) =>
      work(lane).catch((error: unknown) => {
        isOver = true // the others end with the piece they have
        throw error
      }),
    )
    const results = await Promise.allSettled(workers)
    for (const result of results) if (result.status === 'rejected') throw result.reason
    if (signal.aborted) throw cancelled(handle)
    const proof: Proof = { sums: new BlockSums(), index }
    proof.sums.extend(length, sums)
    const digest = proof.sums.digest()
    if (digest === order.digest && (!order.shared || index.length === length)) return proof
    const message = `chunk ${formatHandle(handle)}: the copy has digest ${digest}, the log says ${order.digest}`
    throw new DfsError('CORRUPT_REPLICA', message, { handle })
  }

  async #install(order: CloneOrder, files: CloneFiles, proof: Proof): Promise<Replica> {
    const { store } = this.#options
    const { handle, version, length, digest, indexDigest, shared, logIndex } = order
    const { directory } = files
    const header = {
      clusterId: store.clusterId,
      handle,
      version,
      logIndex,
      chunkBytes: length,
      shared,
      directory: directory.id,
      // Of no life: it took part in no acknowledgement.
      life: 0 as Life,
      isTombstone: false,
      members: [],
    }
    const record = { version, length, digest, indexDigest, sums: proof.sums.slice(0, blockCount(length)) }
    const sealed = await files.finish(header, { ...record, entries: proof.index.entries })
    const other = store.find(handle)
    if (other?.form.kind === 'sealed' && !isSame(other, order)) {
      await store.quarantine(other, 'it has other content than the log says, and a right copy is here')
    }
    const replica = new Replica(header, directory, version, { kind: 'sealed', sealed }, true)
    await store.install(replica, proof, () => files.place())
    return replica
  }

  async #throttle(order: CloneOrder, bytes: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options
    const rate = order.bytesPerSecond
    if (rate === 0) return
    const nowMs = clock.nowMs()
    if (this.#bucket === undefined) this.#bucket = new TokenBucket(rate, burstOf(rate), nowMs)
    else if (rate !== this.#bytesPerSecond) this.#bucket.setRate(rate, burstOf(rate), nowMs)
    this.#bytesPerSecond = rate
    const waitMs = this.#bucket.take(bytes, nowMs)
    if (waitMs > 0) await clock.sleep(waitMs, signal)
  }
}

/** The messages of copies: the order of a master, and what other servers ask to carry one out. */
export function cloneHandlers(
  cloner: Cloner,
  store: ChunkStore,
  checkMaster: (request: IncomingRequest, history: CloneOrder['history']) => void,
): [number, Handler][] {
  return [
    [
      Message.clone.number,
      async (request) => {
        const order = Message.clone.request.decode(request.body, 'clone')
        checkMaster(request, order.history)
        request.reply(Message.clone.reply.encode(await cloner.clone(order, request.signal)))
      },
    ],
    [
      Message.recordIndex.number,
      async (request) => {
        const { handle, version, from } = Message.recordIndex.request.decode(request.body, 'recordIndex')
        const replica = store.get(handle)
        replica.checkVersion(version)
        const { entries } = (await store.proofOf(replica)).index
        const page = encodeEntries(entries.slice(from, from + ENTRIES_PER_PAGE))
        request.reply(Message.recordIndex.reply.encode({ entries: page, count: entries.length }))
      },
    ],
  ]
}

/** What may come at once: a quarter of a second's worth, so that a low rate is low from the first byte on. */
function burstOf(bytesPerSecond: number): number {
  return Math.min(BURST_BYTES, bytesPerSecond / 4)
}

function isSame(replica: Replica, order: CloneOrder): boolean {
  const { form } = replica
  return form.kind === 'sealed' && form.sealed.length === order.length && form.sealed.digest === order.digest
}

function isWhole(replica: Replica, order: CloneOrder): boolean {
  return replica.damage === undefined && !replica.isGone && isSame(replica, order)
}

function cancelled(handle: ChunkHandle): DfsError {
  return new DfsError('ABORTED', `chunk ${formatHandle(handle)}: the copy is no longer wanted`, { handle })
}
