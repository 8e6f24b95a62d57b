// The scrubber: reads every replica again and again and checks each block, so that rot is found while other replicas
// are whole (GFS §5.2). One loop for each data directory, in the order of handles.
//
// What it finds takes the way of every bad block: the replica is marked and the master told (ChunkStore.damaged).
//
// Invariants:
//   - of a growing replica, length and checksums are taken in one step and nothing beyond is read (reader.ts)
//   - a pass that was asked for is remembered when it begins, and is one that was asked for after a restart too
//   - what was passed is remembered at most SAVE_MS late: a restart repeats a little, and skips nothing
//   - at most one buffer of a piece a directory

import { DfsError, isDfsError } from '../base/errors.ts'
import type { ChunkHandle } from '../base/ids.ts'
import { PIECE_BYTES } from '../base/limits.ts'
import type { Logger } from '../base/log.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Clock } from '../io/clock.ts'
import type { Handler } from '../rpc/requests.ts'
import { Message } from '../wire/messages.ts'
import { BufferPool } from './buffer-pool.ts'
import type { ChunkStore } from './chunk-store.ts'
import type { DataDirectory } from './data-directory.ts'
import { decodeRecord } from './format.ts'
import { readBlocks } from './reader.ts'
import type { Replica } from './replica.ts'
import { loadPosition, NO_POSITION, type ScrubPosition, savePosition } from './scrub-position.ts'
import { mustYield, passDueMs, permilleOf, restMs, type Step } from './scrub-schedule.ts'

const SAVE_MS = 30 * SECOND_MS
const YIELD_LOOK_MS = 10
/** At rest, the age of the last pass is told anew this often. */
const SHOW_MS = 30 * SECOND_MS

export interface ScrubberOptions {
  readonly clock: Clock
  readonly store: ChunkStore
  readonly logger: Logger
  /** For each directory; 0: only when asked. */
  readonly bytesPerSecond: number
  /** Reads and writes of others under way. */
  readonly streams: () => number
  readonly onBug: (error: unknown) => void
}

export interface ScrubCounters {
  scrubbedBytes: number
  scrubbedChunks: number
  scrubPasses: number
  scrubDamaged: number
}

export class Scrubber {
  readonly counters: ScrubCounters = { scrubbedBytes: 0, scrubbedChunks: 0, scrubPasses: 0, scrubDamaged: 0 }
  readonly #loops: DirectoryScrub[]

  constructor(options: ScrubberOptions, directories: readonly DataDirectory[]) {
    this.#loops = directories.map((directory) => new DirectoryScrub(options, directory, this.counters))
  }

  start(): void {
    for (const loop of this.#loops) loop.start()
  }

  /** Begins a pass over everything now, as fast as other work allows; one that was asked for before goes on. */
  scrubNow(): void {
    for (const loop of this.#loops) loop.scrubNow()
  }

  /** Stops, and remembers where it was. */
  async close(): Promise<void> {
    await Promise.all(this.#loops.map((loop) => loop.close()))
  }
}

/** What the master may ask of it. */
export function scrubHandlers(scrubber: Scrubber): ReadonlyMap<number, Handler> {
  const { number, reply } = Message.scrubNow
  return new Map([
    [
      number,
      (request) => {
        const role = request.connection.peer?.role
        if (role !== 'master') {
          throw new DfsError('WRONG_ROLE', `message ${number} is the master's, a ${role ?? 'stranger'} sent it`)
        }
        scrubber.scrubNow()
        request.reply(reply.encode({}))
      },
    ],
  ])
}

class DirectoryScrub {
  readonly #options: ScrubberOptions
  readonly #directory: DataDirectory
  readonly #counters: ScrubCounters
  readonly #pool = new BufferPool(PIECE_BYTES)
  #position: ScrubPosition = NO_POSITION
  #savedMs = 0
  #isDirty = false
  /** The pass under way, or the next one, was asked for. */
  #isAsked = false
  #beginsAnew = false
  #isClosed = false
  #running: Promise<void> | undefined
  #wake: (() => void) | undefined

  constructor(options: ScrubberOptions, directory: DataDirectory, counters: ScrubCounters) {
    this.#options = options
    this.#directory = directory
    this.#counters = counters
  }

  start(): void {
    this.#running = this.#run().catch((error: unknown) => this.#options.onBug(error))
  }

  scrubNow(): void {
    if (this.#isAsked) return
    this.#isAsked = true
    this.#beginsAnew = true
    this.#wake?.()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#wake?.()
    await this.#running
  }

  get #isOver(): boolean {
    return this.#isClosed || this.#directory.failure !== undefined
  }

  async #run(): Promise<void> {
    const { clock, bytesPerSecond } = this.#options
    this.#position = await this.#load()
    this.#savedMs = clock.nowMs()
    if (this.#position.isAsked) this.#isAsked = true
    this.#show(0)
    while (!this.#isOver) {
      const isUnderWay = this.#position.cursor !== 0
      const dueMs = bytesPerSecond === 0 ? Number.POSITIVE_INFINITY : isUnderWay ? 0 : this.#dueMs()
      if (this.#isAsked || dueMs === 0) await this.#pass()
      else await this.#sleep(Math.min(dueMs, SHOW_MS))
      if (!this.#isAsked && this.#position.cursor === 0) this.#show(0)
    }
    if (this.#directory.failure === undefined) await this.#save()
  }

  async #load(): Promise<ScrubPosition> {
    const { disk, path } = this.#directory
    try {
      return await loadPosition(disk, path)
    } catch (error) {
      if (!isDfsError(error)) throw error
      this.#options.logger.warn({ path, code: error.code }, `a scrub begins anew in ${path}: ${error.message}`)
      return NO_POSITION
    }
  }

  #dueMs(): number {
    return passDueMs(this.#position.startedWallMs, this.#wallMs())
  }

  /** From where the last one was broken off, or from the first chunk on. */
  async #pass(): Promise<void> {
    const { clock, store, logger } = this.#options
    if (this.#beginsAnew || this.#position.cursor === 0) {
      this.#position = { ...this.#position, cursor: 0, startedWallMs: this.#wallMs() }
    }
    this.#beginsAnew = false
    if (this.#isAsked && !this.#position.isAsked) {
      this.#position = { ...this.#position, isAsked: true }
      this.#isDirty = true
      await this.#save()
    }
    const handles = handlesIn(store, this.#directory)
    this.#show(permilleOf(handles.filter((handle) => handle <= this.#position.cursor).length, handles.length))
    const damagedBefore = this.#counters.scrubDamaged
    for (const [index, handle] of handles.entries()) {
      if (handle <= this.#position.cursor) continue
      const replica = store.find(handle as ChunkHandle)
      if (replica?.directory === this.#directory) await this.#replica(replica)
      if (this.#isOver || this.#beginsAnew) return
      this.#position = { ...this.#position, cursor: handle as ChunkHandle }
      this.#isDirty = true
      this.#show(permilleOf(index + 1, handles.length))
      if (clock.nowMs() - this.#savedMs >= SAVE_MS) await this.#save()
    }
    if (this.#isOver) return
    this.#position = { ...this.#position, cursor: 0, finishedWallMs: this.#wallMs(), isAsked: false }
    this.#isDirty = true
    this.#show(0)
    this.#counters.scrubPasses++
    if (this.#isAsked) {
      this.#isAsked = false
      const damaged = this.#counters.scrubDamaged - damagedBefore
      const { path } = this.#directory
      logger.info({ event: 'scrubbed', path, chunks: handles.length, damaged }, `every chunk in ${path} was checked`)
      await this.#save()
    } else if (clock.nowMs() - this.#savedMs >= SAVE_MS) await this.#save()
  }

  /** Checks one replica, piece by piece. One that is known to be damaged is the repair's. */
  async #replica(replica: Replica): Promise<void> {
    const { clock, bytesPerSecond } = this.#options
    let offset = 0
    let isDone = replica.damage !== undefined
    while (!isDone) {
      await this.#yield()
      if (this.#isOver || this.#beginsAnew) return
      const startMs = clock.nowMs()
      const bytes = await this.#step(replica, offset)
      offset += bytes
      // A growing replica may have grown meanwhile: what is there when its end is reached belongs to this pass.
      isDone = bytes === 0 || offset >= replica.length
      this.#counters.scrubbedBytes += bytes
      const step: Step = { bytes, tookMs: clock.nowMs() - startMs, endsChunk: isDone }
      const rest = bytesPerSecond === 0 ? 0 : restMs(step, bytesPerSecond, this.#isAsked)
      if (rest > 0) await this.#sleep(rest)
      else await new Promise<void>((resolve) => clock.defer(resolve))
    }
    this.#counters.scrubbedChunks++
  }

  /** @returns bytes checked from `offset` on; 0 when there is nothing more to be checked of this replica */
  async #step(replica: Replica, offset: number): Promise<number> {
    const { store } = this.#options
    try {
      if (offset === 0) {
        // A descriptor shows bytes whose name is gone, or is another file's by now: after a restart they would be lost.
        store.files.drop(replica.dataPath)
        store.files.drop(replica.metaPath)
        await checkRecord(store, replica)
      }
      const length = Math.min(PIECE_BYTES, replica.length - offset)
      if (length <= 0) return 0
      const found = await readBlocks(store, this.#pool, replica, offset, length)
      this.#pool.give(found.buffer)
      return Math.min(length, found.offset + found.bytes.length - offset)
    } catch (error) {
      if (!isDfsError(error)) throw error
      if (error.code === 'CORRUPT_REPLICA' && replica.damage !== undefined) this.#counters.scrubDamaged++
      // Whatever else: it was removed or cut meanwhile, or its directory has failed, which `damaged` or the next look tells.
      return 0
    }
  }

  /** Gives way to the reads and writes of others, within bounds. */
  async #yield(): Promise<void> {
    const { clock, streams } = this.#options
    const startMs = clock.nowMs()
    while (!this.#isOver && mustYield(streams(), clock.nowMs() - startMs, this.#isAsked)) {
      await this.#sleep(YIELD_LOOK_MS)
    }
  }

  #show(permille: number): void {
    const { finishedWallMs } = this.#position
    const ageMs = finishedWallMs === 0 ? undefined : Math.max(0, this.#wallMs() - finishedWallMs)
    this.#directory.scrub = { permille, ageMs }
  }

  #wallMs(): number {
    return Math.max(1, Math.floor(this.#options.clock.wallMs()))
  }

  async #save(): Promise<void> {
    if (!this.#isDirty) return
    const { clock, logger } = this.#options
    const { disk, path } = this.#directory
    try {
      await savePosition(disk, path, this.#position)
      this.#isDirty = false
    } catch (error) {
      if (!isDfsError(error)) throw error
      // A full disk costs the memory of where it was, nothing else; any other fault is the directory's.
      this.#directory.onDiskError(error)
      logger.warn({ path, code: error.code }, `where the scrubber is could not be noted: ${error.message}`)
    }
    this.#savedMs = clock.nowMs()
  }

  /** Waits, or until it is asked for a pass or closed. */
  #sleep(delayMs: number): Promise<void> {
    if (this.#isClosed) return Promise.resolve()
    return new Promise((resolve) => {
      const done = () => {
        timer.cancel()
        this.#wake = undefined
        resolve()
      }
      const timer = this.#options.clock.after(delayMs, done)
      this.#wake = done
    })
  }
}

/** Handles of the replicas in a directory, ascending: eight bytes each for as long as a pass lasts. */
function handlesIn(store: ChunkStore, directory: DataDirectory): Float64Array {
  const handles: number[] = []
  for (const replica of store.replicas) {
    if (replica.directory === directory) handles.push(replica.handle)
  }
  return Float64Array.from(handles).sort()
}

/**
 * The sums of a sealed replica as they stand on the disk: readers may have them in memory since long ago.
 * Throws CORRUPT_REPLICA, after the replica was reported.
 */
async function checkRecord(store: ChunkStore, replica: Replica): Promise<void> {
  const { form } = replica
  if (form.kind !== 'sealed') return
  const { recordBytes, recordOffset, recordCrc } = form.sealed
  const bytes = Buffer.allocUnsafe(recordBytes)
  const count = await store.read(replica, replica.metaPath, bytes, recordOffset)
  const stored = decodeRecord(bytes.subarray(0, count), recordOffset, recordOffset)
  if (stored?.record.kind === 'sealed' && stored.crc === recordCrc) return
  if (replica.isGone || replica.form !== form) return
  throw store.damaged(replica, `the record of its block sums at ${recordOffset} can't be read`)
}
