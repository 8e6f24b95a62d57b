// One data directory (disk): its paths, its life, its state, its room, and the quarantine.
//
// README.md describes the layout. Invariants:
//   - a directory that failed once stays failed until it is opened again: nothing more is written to it
//   - nothing is ever deleted but on an order; what can't be understood goes to the quarantine

import { DfsError, isDfsError } from '../base/errors.ts'
import { type ChunkHandle, type DirectoryId, formatHandle, type Life } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import type { DiskLock } from '../io/disk.ts'
import type { DirectoryFacts } from '../wire/messages.ts'
import type { DirectoryIdentity } from './identity-format.ts'
import type { WatchedDisk } from './watched-disk.ts'

export const IDENTITY_NAME = 'identity'
export const LOCK_NAME = 'lock'
export const CHUNKS_NAME = 'chunks'
export const QUARANTINE_NAME = 'quarantine'
/** Subdirectories of `chunks`: one for each value of a handle's low byte. */
export const SHARD_COUNT = 256

/** Characters of a device's name on the wire. */
const DEVICE_LENGTH_MAX = 100

/** Read errors that a directory may give before it counts as failed; each costs the replica it met. */
const READ_ERRORS_MAX = 8
/** What is told of a slow disk is rounded down to this, so that a quick one is no news. */
const SLOW_STEP_MS = 500

export function shardName(handle: ChunkHandle): string {
  return (handle % SHARD_COUNT).toString(16).padStart(2, '0')
}

export class DataDirectory {
  readonly path: string
  readonly id: DirectoryId
  /** Drawn when it was opened; kept in memory only. */
  readonly life: Life
  identity: DirectoryIdentity
  readonly disk: WatchedDisk
  /** Bytes of data files here. */
  usedBytes = 0
  chunkCount = 0
  /** Where the scrubber is in its pass, 0 .. 1000, and how long ago it finished one: kept by scrubber.ts. */
  scrub: { readonly permille: number; readonly ageMs: number | undefined } = { permille: 0, ageMs: undefined }
  readonly #lock: DiskLock
  readonly #logger: Logger
  readonly #reserveBytes: number
  readonly #onFailed: (directory: DataDirectory) => void
  #failure: DfsError | undefined
  #isFull = false
  #readErrors = 0
  #totalBytes = 0
  #freeBytes = 0
  #device = ''
  /** Syncs of shard directories under way, and those that follow: callers share them. */
  readonly #syncs = new Map<string, { running: Promise<void>; next: Promise<void> | undefined }>()

  constructor(fields: {
    readonly path: string
    readonly identity: DirectoryIdentity
    readonly life: Life
    readonly disk: WatchedDisk
    readonly lock: DiskLock
    readonly logger: Logger
    /** Kept free: new chunks are refused below it. */
    readonly reserveBytes: number
    /** Called once, when the directory fails. */
    readonly onFailed: (directory: DataDirectory) => void
  }) {
    this.path = fields.path
    this.id = fields.identity.directory
    this.identity = fields.identity
    this.life = fields.life
    this.disk = fields.disk
    this.#lock = fields.lock
    this.#logger = fields.logger
    this.#reserveBytes = fields.reserveBytes
    this.#onFailed = fields.onFailed
  }

  get failure(): DfsError | undefined {
    return this.#failure
  }

  get state(): DirectoryFacts['state'] {
    if (this.#failure !== undefined) return 'failed'
    return this.#isFull || this.freeForChunks === 0 ? 'full' : 'ok'
  }

  /** Bytes that new chunks may take. */
  get freeForChunks(): number {
    return Math.max(0, this.#freeBytes - this.#reserveBytes)
  }

  shardPath(handle: ChunkHandle): string {
    return `${this.path}/${CHUNKS_NAME}/${shardName(handle)}`
  }

  dataPath(handle: ChunkHandle): string {
    return `${this.shardPath(handle)}/${formatHandle(handle)}.data`
  }

  metaPath(handle: ChunkHandle): string {
    return `${this.shardPath(handle)}/${formatHandle(handle)}.meta`
  }

  facts(): DirectoryFacts {
    return {
      directory: this.id,
      life: this.life,
      path: this.path,
      state: this.state,
      capacityBytes: this.#totalBytes,
      usedBytes: this.usedBytes,
      freeBytes: this.#failure === undefined ? this.freeForChunks : 0,
      chunks: this.chunkCount,
      scrubPermille: this.scrub.permille,
      scrubAgeMs: this.scrub.ageMs,
      device: this.#device,
      slowMs: Math.floor(this.disk.recentMs / SLOW_STEP_MS) * SLOW_STEP_MS,
    }
  }

  /** Asks the system how much room there is. A failing disk is noticed here as well. */
  async measure(): Promise<void> {
    if (this.#failure !== undefined) return
    try {
      const space = await this.disk.space(this.path)
      this.#totalBytes = space.totalBytes
      this.#freeBytes = space.freeBytes
      this.#device = space.device.slice(0, DEVICE_LENGTH_MAX)
      if (this.freeForChunks > 0) this.#isFull = false
    } catch (error) {
      if (!isDfsError(error)) throw error
      this.onDiskError(error)
    }
  }

  /** A write or sync failed: DISK_FULL closes the directory to new chunks until there is room, anything else for good. */
  onDiskError(error: DfsError): void {
    if (error.code === 'DISK_FULL') {
      this.#isFull = true
      return
    }
    if (error.code !== 'DISK_FAILED' && error.code !== 'FSYNC_FAILED') return
    this.#failed(error)
  }

  /** A read failed: the replica's fault at first, the disk's when it happens often. */
  onReadError(error: DfsError): void {
    if (++this.#readErrors > READ_ERRORS_MAX) this.#failed(error)
  }

  /** Throws DISK_FAILED once the directory has failed. */
  check(): void {
    if (this.#failure === undefined) return
    throw new DfsError('DISK_FAILED', `directory ${this.path} has failed: ${this.#failure.message}`, {
      path: this.path,
    })
  }

  /** Makes the names in the handle's shard durable; callers of one moment share one sync. */
  syncNames(handle: ChunkHandle): Promise<void> {
    const path = this.shardPath(handle)
    const sync = () => this.disk.syncDirectory(path)
    const entry = this.#syncs.get(path)
    if (entry !== undefined) {
      entry.next ??= entry.running.catch(() => {}).then(() => this.#beginSync(path, sync)) // its callers are told
      return entry.next
    }
    return this.#beginSync(path, sync)
  }

  #beginSync(path: string, sync: () => Promise<void>): Promise<void> {
    const running = sync().finally(() => {
      if (this.#syncs.get(path)?.running === running) this.#syncs.delete(path)
    })
    this.#syncs.set(path, { running, next: undefined })
    return running
  }

  /** Moves a file of `chunks` into the quarantine under a name that is free, and says why. Nothing when it is missing. */
  async quarantine(path: string, reason: string): Promise<void> {
    if ((await this.disk.stat(path)) === undefined) return
    const name = path.slice(path.lastIndexOf('/') + 1)
    let target = `${this.path}/${QUARANTINE_NAME}/${name}`
    for (let count = 1; (await this.disk.stat(target)) !== undefined; count++) {
      target = `${this.path}/${QUARANTINE_NAME}/${name}.${count}`
    }
    await this.disk.rename(path, target)
    await this.disk.syncDirectory(`${this.path}/${QUARANTINE_NAME}`)
    this.#logger.warn({ path, target, reason }, `moved to quarantine: ${reason}`)
  }

  /** Releases the lock. */
  async close(): Promise<void> {
    await this.#lock.release()
  }

  #failed(error: DfsError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#logger.error(
      { path: this.path, code: error.code },
      `directory ${this.path} has failed and is left alone: ${error.message}. Replace the disk, or restart when it is well`,
    )
    this.#onFailed(this)
  }
}
