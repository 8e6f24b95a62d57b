// The disk of one data directory, with a look at what waits for it: how long the oldest operation under way has been
// waiting. A disk that hangs gives no error; this is how others learn whose disk holds them up.
//
// Watched is what writers wait for; reads of replicas at rest have descriptors of their own (file-cache.ts).

import { SECOND_MS } from '../base/units.ts'
import type { Clock } from '../io/clock.ts'
import type { Disk, DiskEntry, DiskFile, DiskLock, DiskSpace, DiskStat, OpenMode } from '../io/disk.ts'

/** How long ago is lately: between one and two of these. */
const WINDOW_MS = 5 * SECOND_MS

export class WatchedDisk implements Disk {
  readonly #disk: Disk
  readonly #clock: Clock
  /** When each operation under way began, the oldest first. */
  readonly #begun = new Map<object, number>()
  #windowStartMs = 0
  /** The longest that ended in this window, and in the one before. */
  #longestMs = 0
  #longestBeforeMs = 0

  constructor(disk: Disk, clock: Clock) {
    this.#disk = disk
    this.#clock = clock
  }

  /** Milliseconds that the oldest operation under way has been waiting; 0: none is. */
  get waitingMs(): number {
    for (const beganMs of this.#begun.values()) return this.#clock.nowMs() - beganMs
    return 0
  }

  /** The longest that an operation has taken lately, one that is still under way included. */
  get recentMs(): number {
    this.#turnWindow()
    return Math.max(this.waitingMs, this.#longestMs, this.#longestBeforeMs)
  }

  /** Resolves as `operation` does, and counts it as waiting until then. */
  async watch<T>(operation: Promise<T>): Promise<T> {
    const beganMs = this.#clock.nowMs()
    this.#begun.set(operation, beganMs)
    try {
      return await operation
    } finally {
      this.#begun.delete(operation)
      const nowMs = this.#turnWindow()
      this.#longestMs = Math.max(this.#longestMs, nowMs - beganMs)
    }
  }

  #turnWindow(): number {
    const nowMs = this.#clock.nowMs()
    const goneMs = nowMs - this.#windowStartMs
    if (goneMs >= WINDOW_MS) {
      this.#longestBeforeMs = goneMs < 2 * WINDOW_MS ? this.#longestMs : 0
      this.#longestMs = 0
      this.#windowStartMs = nowMs
    }
    return nowMs
  }

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    return new WatchedFile(await this.watch(this.#disk.open(path, mode)), this)
  }

  syncDirectory(path: string): Promise<void> {
    return this.watch(this.#disk.syncDirectory(path))
  }

  stat(path: string): Promise<DiskStat | undefined> {
    return this.#disk.stat(path)
  }

  list(path: string): Promise<DiskEntry[]> {
    return this.#disk.list(path)
  }

  makeDirectory(path: string): Promise<void> {
    return this.#disk.makeDirectory(path)
  }

  rename(from: string, to: string): Promise<void> {
    return this.#disk.rename(from, to)
  }

  remove(path: string): Promise<void> {
    return this.#disk.remove(path)
  }

  removeDirectory(path: string): Promise<void> {
    return this.#disk.removeDirectory(path)
  }

  space(path: string): Promise<DiskSpace> {
    return this.#disk.space(path)
  }

  lock(path: string): Promise<DiskLock> {
    return this.#disk.lock(path)
  }
}

class WatchedFile implements DiskFile {
  readonly path: string
  readonly #file: DiskFile
  readonly #disk: WatchedDisk

  constructor(file: DiskFile, disk: WatchedDisk) {
    this.path = file.path
    this.#file = file
    this.#disk = disk
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return this.#disk.watch(this.#file.read(buffer, position))
  }

  write(slices: readonly Uint8Array[], position: number): Promise<void> {
    return this.#disk.watch(this.#file.write(slices, position))
  }

  sync(): Promise<void> {
    return this.#disk.watch(this.#file.sync())
  }

  truncate(bytes: number): Promise<void> {
    return this.#file.truncate(bytes)
  }

  allocate(bytes: number): Promise<void> {
    return this.#file.allocate(bytes)
  }

  size(): Promise<number> {
    return this.#file.size()
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
