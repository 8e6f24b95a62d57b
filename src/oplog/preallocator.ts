// Room for the segment after the open one: a file of zeros, synced, made beside while the log goes on.
//
// A synced write into a file that grows waits for a commit of the file system's journal, since size and extents change; a
// write over zeros that were synced does not. Node cannot reserve room without writing it, so the zeros are written.
//
// Invariants:
//   - nothing of the log is ever in this file: it may be lost, torn or thrown away at any moment
//   - the log never waits for it but at `close`; what goes wrong here costs only speed
//   - it is handed out only when every byte of it was synced
//
// Source: etcd server/storage/wal/file_pipeline.go (the next file is made while this one is written).

import { DfsError, isDfsError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { KiB, MiB } from '../base/units.ts'
import type { Disk, DiskFile } from '../io/disk.ts'

/** A file of zeros that is the caller's from now on, open. */
export interface PreallocatedFile {
  readonly path: string
  readonly file: DiskFile
  readonly bytes: number
}

/** Ends like every file that is no part of a log: a start removes it. */
const NAME = 'segment-preallocated.oplog.tmp'
/** So many times the room that is asked for must be free: the log's zeros are not what fills a disk. */
const FREE_FACTOR_MIN = 16
/** Written and synced at once: more would hold up the syncs of the log on the same disk. */
const STEP_BYTES = 1 * MiB

const zeros = Buffer.alloc(64 * KiB)

export class Preallocator {
  readonly #disk: Disk
  readonly #directory: string
  readonly #logger: Logger
  /** `tired`: no room or no luck; `take` lets it try again. `over`: its disk failed, or it was closed. */
  #state: 'idle' | 'filling' | 'ready' | 'tired' | 'over' = 'idle'
  #file: DiskFile | undefined
  /** Zeros on the disk, what the file is to have, and how much of that is due by now. */
  #bytes = 0
  #wantedBytes = 0
  #dueBytes = 0
  #isFilling = false
  #filling: Promise<void> | undefined

  constructor(disk: Disk, directory: string, logger: Logger) {
    this.#disk = disk
    this.#directory = directory
    this.#logger = logger
  }

  /** Bytes it takes on the disk now. */
  get bytes(): number {
    return this.#bytes
  }

  get isReady(): boolean {
    return this.#state === 'ready'
  }

  /**
   * Goes on with the file, or begins one, unless it is ready or the last try failed. To be called again and again: zeros
   * are made as room is used, step by step, so that no flood of them stands between the log and its disk.
   *
   * @param bytes  what a file that is begun now is to have
   * @param share  how much of it is due by now, 0 .. 1
   */
  advance(bytes: number, share: number): void {
    if (this.#state === 'idle') {
      this.#state = 'filling'
      this.#wantedBytes = bytes
      this.#dueBytes = 0
    }
    if (this.#state !== 'filling') return
    this.#dueBytes = Math.max(this.#dueBytes, this.#wantedBytes * Math.min(1, share))
    if (!this.#isFilling && this.#bytes < this.#dueBytes) this.#filling = this.#fill()
  }

  /** The file, when one is ready. Whoever takes it closes it. In any case `advance` may try again. */
  take(): PreallocatedFile | undefined {
    if (this.#state === 'tired') this.#state = 'idle'
    if (this.#state !== 'ready' || !this.#file) return undefined
    const taken = { path: this.#path, file: this.#file, bytes: this.#bytes }
    this.#file = undefined
    this.#bytes = 0
    this.#state = 'idle'
    return taken
  }

  /** Ends what is being made after at most one step; nothing more is handed out. */
  stop(): void {
    this.#state = 'over'
  }

  /**
   * The same, and closes the file.
   * @param removes  whether the file is removed too: not after a failure of the log, then the next start does it
   */
  async close(removes: boolean): Promise<void> {
    this.stop()
    await this.#filling
    if (this.#file) await this.#discard(this.#file, removes)
  }

  get #path(): string {
    return `${this.#directory}/${NAME}`
  }

  /** Never rejects for a fault of the world: that is said, and the log goes on by growing. */
  async #fill(): Promise<void> {
    this.#isFilling = true
    try {
      const file = this.#file ?? (await this.#create())
      this.#file = file
      while (this.#state === 'filling' && this.#bytes < this.#dueBytes) {
        const step = Math.min(STEP_BYTES, this.#wantedBytes - this.#bytes)
        await file.write(zerosOf(step), this.#bytes)
        this.#bytes += step
        await file.sync()
      }
      if (this.#state === 'filling' && this.#bytes === this.#wantedBytes) this.#state = 'ready'
    } catch (error) {
      if (!isDfsError(error)) throw error
      this.#logger.warn(
        { path: this.#path, bytes: this.#wantedBytes, error: error.message },
        'oplog: no room was made ahead; the log goes on by growing',
      )
      if (this.#state === 'filling') {
        if (this.#file) await this.#discard(this.#file, true)
        // A disk that failed is not asked again by this process.
        if (this.#state === 'filling') this.#state = isDfsError(error, 'DISK_FULL') ? 'tired' : 'over'
      }
    }
    this.#isFilling = false
  }

  async #create(): Promise<DiskFile> {
    const wantedFree = FREE_FACTOR_MIN * this.#wantedBytes
    const { freeBytes } = await this.#disk.space(this.#directory)
    if (freeBytes < wantedFree) throw new DfsError('DISK_FULL', `${freeBytes} bytes are free, ${wantedFree} wanted`)
    return await this.#disk.open(this.#path, 'create')
  }

  async #discard(file: DiskFile, removes: boolean): Promise<void> {
    this.#file = undefined
    this.#bytes = 0
    try {
      await file.close()
      if (removes) await this.#disk.remove(this.#path)
    } catch (error) {
      if (!isDfsError(error)) throw error
      // The next start removes it.
      this.#logger.warn({ path: this.#path, error: error.message }, 'oplog: room made ahead was not given back')
    }
  }
}

/** One after the other they are `bytes` zeros. */
function zerosOf(bytes: number): Buffer[] {
  const slices: Buffer[] = []
  for (let left = bytes; left > 0; left -= zeros.length)
    slices.push(left < zeros.length ? zeros.subarray(0, left) : zeros)
  return slices
}
