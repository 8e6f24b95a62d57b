// Open files of replicas that don't grow, for reading: a bounded number, the longest unused is closed first.

import type { Disk, DiskFile } from '../io/disk.ts'

interface Entry {
  readonly file: Promise<DiskFile>
  opened: DiskFile | undefined
  /** The latest use has the highest. */
  turn: number
  users: number
  isDropped: boolean
}

export class FileCache {
  readonly #disk: Disk
  readonly #filesMax: number
  /** In order of their last use. */
  readonly #entries = new Map<string, Entry>()
  #turn = 0

  /** @param filesMax  open files kept; those in use count and may exceed it */
  constructor(disk: Disk, filesMax: number) {
    this.#disk = disk
    this.#filesMax = filesMax
  }

  /** Runs `action` with the file, which stays open at least so long. Rejects as `Disk.open` and `action` do. */
  use<T>(path: string, action: (file: DiskFile) => Promise<T>): Promise<T> {
    const entry = this.#entries.get(path) ?? this.#open(path)
    if (entry.turn !== this.#turn) {
      entry.turn = ++this.#turn
      this.#entries.delete(path)
      this.#entries.set(path, entry)
    }
    entry.users++
    const result = entry.opened === undefined ? entry.file.then(action) : action(entry.opened)
    return result.then(
      (value) => {
        this.#used(entry)
        return value
      },
      (error: unknown) => {
        // It may not be what it was: the next use opens it anew.
        this.drop(path)
        this.#used(entry)
        throw error
      },
    )
  }

  /** Forgets the file: it is closed when its users are done. */
  drop(path: string): void {
    const entry = this.#entries.get(path)
    if (entry === undefined) return
    this.#entries.delete(path)
    entry.isDropped = true
    this.#closeUnused(entry)
  }

  close(): void {
    for (const path of [...this.#entries.keys()]) this.drop(path)
  }

  #open(path: string): Entry {
    const entry: Entry = {
      file: this.#disk.open(path, 'read'),
      opened: undefined,
      users: 0,
      turn: -1,
      isDropped: false,
    }
    entry.file.then(
      (file) => {
        entry.opened = file
      },
      () => {}, // whoever uses it is told
    )
    return entry
  }

  #used(entry: Entry): void {
    entry.users--
    if (entry.isDropped) this.#closeUnused(entry)
    if (this.#entries.size > this.#filesMax) this.#shrink()
  }

  #shrink(): void {
    for (const [path, entry] of this.#entries) {
      if (this.#entries.size <= this.#filesMax) return
      if (entry.users === 0) this.drop(path)
    }
  }

  #closeUnused(entry: Entry): void {
    if (entry.users > 0) return
    entry.file.then(
      (file) => file.close(),
      () => {}, // it never opened; who wanted it was told
    )
  }
}
