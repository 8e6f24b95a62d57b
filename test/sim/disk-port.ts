// The disk port of one simulated process: the contract of src/io/disk.ts over the machine's simulated disks.
//
// Each operation ends after a time drawn from the seed, so concurrent ones end in any order; a write may be seen in
// part before it ends. A process that dies in the middle of a write leaves all of it, a part, or nothing.

import { assert } from '../../src/base/assert.ts'
import { crc32 } from '../../src/base/crc32.ts'
import { DfsError } from '../../src/base/errors.ts'
import { GiB } from '../../src/base/units.ts'
import type { Disk, DiskEntry, DiskFile, DiskLock, DiskSpace, DiskStat, OpenMode } from '../../src/io/disk.ts'
import { type DiskOperation, namesOf, type SimDisk } from './disk.ts'
import type { FileNode } from './file-node.ts'
import type { SimProcess } from './machine.ts'
import type { DirectoryNode, Node } from './name-tree.ts'

/** Disks this large can't fill up in memory: their use is not counted on each write. */
const CAPACITY_NEVER_REACHED_BYTES = 64 * GiB

export function simDiskPort(process: SimProcess): Disk {
  return new SimDiskPort(process)
}

class SimDiskPort implements Disk {
  readonly #process: SimProcess

  constructor(process: SimProcess) {
    this.#process = process
  }

  open(path: string, mode: OpenMode): Promise<DiskFile> {
    return this.#change('open', path, (place) => {
      const { disk, parent, name } = place
      let node = place.node
      if (mode === 'create') {
        if (node !== undefined) throw new DfsError('ALREADY_EXISTS', `${path} is there already`, { path })
        if (parent === undefined) throw notFound(path)
        const file = disk.newFile()
        file.mtimeMs = this.#process.clock.wallMs()
        disk.names.link(parent, name, file)
        node = file
      }
      if (node === undefined) throw notFound(path)
      if (node.kind !== 'file') throw new DfsError('DISK_FAILED', `${path} is a directory`, { path })
      return new SimFile(this.#process, disk, node, path, place.path, mode !== 'read')
    })
  }

  stat(path: string): Promise<DiskStat | undefined> {
    return this.#change('stat', path, ({ disk, node }) => {
      if (node === undefined) return undefined
      const bytes = node.kind === 'file' ? node.length : 0
      return { kind: node.kind, bytes, mtimeMs: node.mtimeMs, inode: `${disk.name}:${node.number}` }
    })
  }

  list(path: string): Promise<DiskEntry[]> {
    return this.#change('list', path, ({ node }) => {
      if (node?.kind !== 'directory') throw notFound(path)
      return [...node.entries]
        .map(([name, entry]): DiskEntry => ({ name, kind: entry.kind }))
        .sort((a, b) => (a.name < b.name ? -1 : 1))
    })
  }

  makeDirectory(path: string): Promise<void> {
    return this.#change('makeDirectory', path, ({ disk, path: local }) => {
      let directory = disk.names.root
      for (const name of namesOf(local)) {
        let next = directory.entries.get(name)
        if (next === undefined) {
          next = disk.newDirectory()
          disk.names.link(directory, name, next)
        }
        if (next.kind !== 'directory') throw new DfsError('ALREADY_EXISTS', `${path}: ${name} is a file`, { path })
        directory = next
      }
    })
  }

  rename(from: string, to: string): Promise<void> {
    return this.#change('rename', from, (source) => {
      const target = placeOf(this.#process, to)
      if (source.disk !== target.disk)
        throw new DfsError('DISK_FAILED', `${from} and ${to} are on two disks`, { path: to })
      if (source.node === undefined || source.parent === undefined || target.parent === undefined) throw notFound(from)
      if (target.node?.kind === 'directory' && target.node !== source.node) {
        throw new DfsError('DISK_FAILED', `${to} is a directory`, { path: to })
      }
      source.disk.names.rename(source.parent, source.name, target.parent, target.name)
    })
  }

  remove(path: string): Promise<void> {
    return this.#change('remove', path, ({ disk, parent, name, node }) => {
      if (node === undefined || parent === undefined) throw notFound(path)
      if (node.kind !== 'file') throw new DfsError('DISK_FAILED', `${path} is a directory`, { path })
      disk.names.unlink(parent, name)
    })
  }

  removeDirectory(path: string): Promise<void> {
    return this.#change('removeDirectory', path, ({ disk, parent, name, node }) => {
      if (node?.kind !== 'directory' || parent === undefined) throw notFound(path)
      if (node.entries.size > 0) throw new DfsError('NOT_EMPTY', `${path} has ${node.entries.size} entries`, { path })
      disk.names.unlink(parent, name)
    })
  }

  syncDirectory(path: string): Promise<void> {
    const before = placeOf(this.#process, path)
    const mark = before.disk.names.mark()
    before.disk.syncCount++
    return this.#change('syncDirectory', path, ({ disk, node }) => {
      if (node?.kind !== 'directory') throw new DfsError('FSYNC_FAILED', `no directory ${path}`, { path })
      if (!disk.options.syncIsNothing) disk.names.makeDurable(node, mark)
    })
  }

  space(path: string): Promise<DiskSpace> {
    return this.#change('space', path, ({ disk, node }) => {
      if (node === undefined) throw notFound(path)
      const totalBytes = disk.options.capacityBytes
      return { totalBytes, freeBytes: Math.max(0, totalBytes - disk.usedBytes()), device: disk.name }
    })
  }

  lock(path: string): Promise<DiskLock> {
    return this.#change('lock', path, ({ disk, parent, name, node: found }) => {
      let node = found
      if (node === undefined) {
        if (parent === undefined) throw notFound(path)
        node = disk.newFile()
        disk.names.link(parent, name, node)
      }
      const { number } = node
      if (disk.locks.has(number))
        throw new DfsError('LOCKED', `${path} is locked by ${disk.locks.get(number)}`, { path })
      disk.locks.set(number, this.#process.label)
      const forget = this.#process.onDeath(() => disk.locks.delete(number))
      return {
        release: () =>
          this.#change('unlock', path, () => {
            forget()
            disk.locks.delete(number)
          }),
      }
    })
  }

  /** Runs `change` when the disk comes to it; what it throws rejects. */
  #change<T>(kind: string, path: string, change: (place: Place) => T): Promise<T> {
    const { disk, path: local } = this.#process.machine.diskOf(path)
    return later(this.#process, disk, kind, local, 0, () => {
      if (isFaulty(kind) && disk.takeFault(kind, local)) {
        throw new DfsError(
          kind === 'syncDirectory' ? 'FSYNC_FAILED' : 'DISK_FAILED',
          `${kind} ${path}: simulated EIO`,
          { path },
        )
      }
      return change(placeOf(this.#process, path))
    })
  }
}

interface Place {
  readonly disk: SimDisk
  /** The path on that disk. */
  readonly path: string
  readonly parent: DirectoryNode | undefined
  readonly name: string
  readonly node: Node | undefined
}

function placeOf(process: SimProcess, path: string): Place {
  const { disk, path: local } = process.machine.diskOf(path)
  const names = namesOf(local)
  const { parent, node } = disk.names.place(names)
  return {
    disk,
    path: local,
    parent,
    name: names.at(-1) ?? '',
    node,
  }
}

class SimFile implements DiskFile {
  readonly path: string
  readonly #process: SimProcess
  readonly #disk: SimDisk
  readonly #node: FileNode
  readonly #localPath: string
  readonly #isWritable: boolean
  #isClosed = false

  constructor(
    process: SimProcess,
    disk: SimDisk,
    node: FileNode,
    path: string,
    localPath: string,
    isWritable: boolean,
  ) {
    this.#process = process
    this.#disk = disk
    this.#node = node
    this.path = path
    this.#localPath = localPath
    this.#isWritable = isWritable
    process.openPaths.push(path)
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return this.#later('read', `${position}+${buffer.length}`, buffer.length, () => {
      this.#failIfTold('read')
      return this.#node.read(buffer, position)
    })
  }

  write(slices: readonly Uint8Array[], position: number): Promise<void> {
    const checksum = checksumOf(slices)
    const length = slices.reduce((sum, slice) => sum + slice.length, 0)
    const { random } = this.#disk
    let written = 0
    const writeUpTo = (end: number) => {
      if (end <= written) return
      this.#node.write(position + written, Buffer.concat(slices, length).subarray(written, end))
      this.#node.mtimeMs = this.#process.clock.wallMs()
      written = end
    }
    // A process that dies now leaves a prefix; the system call itself is not interrupted in the middle twice.
    const forget = this.#process.onDeath(() => {
      if (random.chance(0.5)) writeUpTo(written + random.below(length - written + 1))
    })
    const detail = `${position}+${length} ${checksum.toString(16)}`
    if (length > 1 && this.#isWritable && !this.#isClosed && random.chance(0.2)) {
      const partly = random.below(length)
      this.#process.schedule(this.#disk.options.latencyMsMin / 2, 'write-part', this.#localPath, () => {
        if (this.#room(position, partly) >= partly) writeUpTo(partly)
      })
    }
    return this.#later('write', detail, length, () => {
      forget()
      if (checksumOf(slices) !== checksum) {
        this.#process.world.fail(`${this.path}: the slices of a write at ${position} changed before it resolved`)
      }
      if (this.#disk.takeFault('write', this.#localPath)) {
        writeUpTo(written + random.below(length - written + 1))
        throw new DfsError('DISK_FAILED', `write ${this.path}: simulated EIO`, { path: this.path })
      }
      const room = this.#room(position, length)
      if (room < length) {
        writeUpTo(Math.min(length, random.below(room + 1)))
        throw new DfsError('DISK_FULL', `write ${this.path}: ${length} bytes, ${room} free`, { path: this.path })
      }
      writeUpTo(length)
    })
  }

  sync(): Promise<void> {
    const mark = this.#node.mark()
    this.#disk.syncCount++
    return this.#later('sync', '', 0, () => {
      if (this.#disk.takeFault('sync', this.#localPath)) {
        this.#node.failSync(mark, this.#disk.random)
        throw new DfsError('FSYNC_FAILED', `sync ${this.path}: simulated EIO`, { path: this.path })
      }
      if (!this.#disk.options.syncIsNothing) this.#node.makeDurable(mark)
    })
  }

  truncate(bytes: number): Promise<void> {
    return this.#later('truncate', `${bytes}`, 0, () => {
      this.#failIfTold('write')
      this.#node.truncate(bytes)
      this.#node.mtimeMs = this.#process.clock.wallMs()
    })
  }

  allocate(bytes: number): Promise<void> {
    return this.#later('allocate', `${bytes}`, 0, () => {
      if (this.#room(0, bytes) < bytes)
        throw new DfsError('DISK_FULL', `no room for ${bytes} bytes of ${this.path}`, { path: this.path })
    })
  }

  size(): Promise<number> {
    return this.#later('size', '', 0, () => this.#node.length)
  }

  close(): Promise<void> {
    const closing = this.#later('close', '', 0, () => undefined)
    this.#isClosed = true
    const { openPaths } = this.#process
    openPaths.splice(openPaths.indexOf(this.path), 1)
    return closing
  }

  /** How much of `length` bytes at `position` the disk has room for. */
  #room(position: number, length: number): number {
    if (this.#disk.options.capacityBytes >= CAPACITY_NEVER_REACHED_BYTES) return length
    const grows = Math.max(0, position + length - this.#node.length)
    const free = this.#disk.options.capacityBytes - this.#disk.usedBytes()
    return grows <= free ? length : Math.max(0, length - (grows - free))
  }

  #failIfTold(operation: DiskOperation): void {
    if (this.#disk.takeFault(operation, this.#localPath)) {
      throw new DfsError('DISK_FAILED', `${operation} ${this.path}: simulated EIO`, { path: this.path })
    }
  }

  #later<T>(kind: string, detail: string, bytes: number, act: () => T): Promise<T> {
    assert(!this.#isClosed || !this.#process.isAlive, `${kind} of ${this.path} after close`)
    assert(
      this.#isWritable || !['write', 'truncate', 'allocate'].includes(kind),
      `${kind} of ${this.path}, which was opened to read`,
    )
    return later(this.#process, this.#disk, kind, `${this.#localPath} ${detail}`, bytes, act)
  }
}

/** Acts when the disk comes to it, unless the process has died or the disk is stalled. */
function later<T>(
  process: SimProcess,
  disk: SimDisk,
  kind: string,
  detail: string,
  bytes: number,
  act: () => T,
): Promise<T> {
  const { latencyMsMin, latencyMsMax, slowFactor, bytesPerMs } = disk.options
  const delayMs =
    slowFactor * (latencyMsMin + (latencyMsMax - latencyMsMin) * disk.random.fraction() + bytes / bytesPerMs)
  return new Promise((resolve, reject) => {
    const run = () => {
      if (disk.holdWhileStalled(() => process.schedule(0, kind, detail, run))) return
      try {
        resolve(act())
      } catch (error) {
        reject(error)
      }
    }
    process.schedule(delayMs, kind, detail, run)
  })
}

function isFaulty(kind: string): kind is DiskOperation {
  return kind === 'open' || kind === 'rename' || kind === 'remove' || kind === 'syncDirectory'
}

function notFound(path: string): DfsError {
  return new DfsError('NOT_FOUND', `no such file or directory: ${path}`, { path })
}

function checksumOf(slices: readonly Uint8Array[]): number {
  return slices.reduce((checksum, slice) => crc32(slice, checksum), 0)
}
