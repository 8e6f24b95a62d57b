// A disk in memory for tests of formats: every byte can be seen and changed, calls can be made to fail, and `afterPowerLoss`
// keeps only what was synced. The cruel one, which tears and reorders, is ../sim/disk.ts.

import { DfsError, type ErrorCode } from '../../src/base/errors.ts'
import type { Disk, DiskEntry, DiskFile, DiskLock, DiskSpace, DiskStat, OpenMode } from '../../src/io/disk.ts'

export type DiskCall = 'open' | 'read' | 'write' | 'sync' | 'truncate' | 'rename' | 'remove' | 'syncDirectory'

interface Node {
  bytes: Buffer
  /** Others see the same buffer: copied before it changes. */
  isShared: boolean
  size: number
  durable: Buffer
}

export class MemoryDisk implements Disk {
  names = new Map<string, Node>()
  durableNames = new Map<string, Node>()
  directories = new Set<string>(['/'])
  /** Every call that changes something or syncs, in order: `write /log/a 0+4096`. */
  readonly calls: string[] = []
  /** Gives the code a call fails with. Called before anything happens. */
  fault: (call: DiskCall, path: string) => ErrorCode | undefined = () => undefined
  /** Bytes that all files may have together; a write beyond writes what fits and fails. */
  capacity = Number.MAX_SAFE_INTEGER

  bytes(path: string): Buffer {
    const node = this.#node(path)
    return Buffer.from(node.bytes.subarray(0, node.size))
  }

  /** Puts a file there, durable. */
  put(path: string, bytes: Uint8Array): void {
    this.#share(path, Buffer.from(bytes))
  }

  #share(path: string, bytes: Buffer): void {
    const node = { bytes, isShared: true, size: bytes.length, durable: bytes }
    this.names.set(path, node)
    this.durableNames.set(path, node)
    this.directories.add(parent(path))
  }

  paths(): string[] {
    return [...this.names.keys()].sort()
  }

  /** A copy of every byte and name as it is seen now: what `kill -9` leaves. */
  copy(): MemoryDisk {
    const disk = new MemoryDisk()
    for (const [path, node] of this.names) {
      node.isShared = true
      disk.#share(path, node.bytes.subarray(0, node.size))
    }
    for (const directory of this.directories) disk.directories.add(directory)
    return disk
  }

  /** What is left when nothing but what was synced is left. */
  afterPowerLoss(): MemoryDisk {
    const disk = new MemoryDisk()
    for (const [path, node] of this.durableNames) disk.#share(path, node.durable)
    for (const directory of this.directories) disk.directories.add(directory)
    return disk
  }

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    this.#enter('open', path)
    if (mode === 'create') {
      if (this.names.has(path)) throw new DfsError('ALREADY_EXISTS', path, { path })
      this.names.set(path, { bytes: Buffer.alloc(0), isShared: false, size: 0, durable: Buffer.alloc(0) })
    }
    const node = this.#node(path)
    return {
      path,
      read: async (buffer, position) => {
        this.#enter('read', path)
        return node.bytes.copy(buffer, 0, position, Math.min(node.size, position + buffer.length))
      },
      write: async (slices, position) => {
        this.calls.push(`write ${path} ${position}+${slices.reduce((sum, slice) => sum + slice.length, 0)}`)
        const code = this.fault('write', path)
        const all = Buffer.concat(slices)
        const room = this.capacity - this.#used() + node.size - position
        const fits = code ? Math.floor(all.length / 2) : Math.max(0, Math.min(all.length, room))
        this.#resize(node, Math.max(node.size, position + fits))
        all.copy(node.bytes, position, 0, fits)
        if (code ?? (fits < all.length ? 'DISK_FULL' : undefined)) {
          throw new DfsError(code ?? 'DISK_FULL', `${path}: no room`, { path })
        }
      },
      sync: async () => {
        this.#enter('sync', path)
        node.durable = Buffer.from(node.bytes.subarray(0, node.size))
      },
      truncate: async (bytes) => {
        this.#enter('truncate', path)
        this.#resize(node, bytes)
      },
      allocate: async () => {},
      size: async () => node.size,
      close: async () => {},
    }
  }

  async stat(path: string): Promise<DiskStat | undefined> {
    const node = this.names.get(path)
    if (node) return { kind: 'file', bytes: node.size, mtimeMs: 0, inode: path }
    return this.directories.has(path) ? { kind: 'directory', bytes: 0, mtimeMs: 0, inode: path } : undefined
  }

  async list(path: string): Promise<DiskEntry[]> {
    if (!this.directories.has(path)) throw new DfsError('NOT_FOUND', path, { path })
    return this.paths()
      .filter((file) => parent(file) === path)
      .map((file) => ({ name: file.slice(file.lastIndexOf('/') + 1), kind: 'file' as const }))
  }

  async makeDirectory(path: string): Promise<void> {
    this.directories.add(path)
  }

  async rename(from: string, to: string): Promise<void> {
    this.#enter('rename', to)
    const node = this.#node(from)
    this.names.delete(from)
    this.names.set(to, node)
  }

  async remove(path: string): Promise<void> {
    this.#enter('remove', path)
    this.#node(path)
    this.names.delete(path)
  }

  async removeDirectory(path: string): Promise<void> {
    this.directories.delete(path)
  }

  async syncDirectory(path: string): Promise<void> {
    this.#enter('syncDirectory', path)
    for (const name of [...this.durableNames.keys()]) if (parent(name) === path) this.durableNames.delete(name)
    for (const [name, node] of this.names) if (parent(name) === path) this.durableNames.set(name, node)
  }

  async space(): Promise<DiskSpace> {
    return { totalBytes: this.capacity, freeBytes: this.capacity - this.#used(), device: '' }
  }

  async lock(): Promise<DiskLock> {
    return { release: async () => {} }
  }

  #enter(call: DiskCall, path: string): void {
    if (call !== 'read' && call !== 'open') this.calls.push(`${call} ${path}`)
    const code = this.fault(call, path)
    if (code) throw new DfsError(code, `${path}: ${call} failed`, { path })
  }

  #node(path: string): Node {
    const node = this.names.get(path)
    if (!node) throw new DfsError('NOT_FOUND', path, { path })
    return node
  }

  #used(): number {
    let sum = 0
    for (const node of this.names.values()) sum += node.size
    return sum
  }

  /** Called before every change. */
  #resize(node: Node, size: number): void {
    if (node.isShared) node.bytes = Buffer.from(node.bytes)
    node.isShared = false
    if (size > node.bytes.length) {
      const larger = Buffer.alloc(Math.max(size, node.bytes.length * 2))
      node.bytes.copy(larger, 0, 0, node.size)
      node.bytes = larger
    }
    if (size < node.size) node.bytes.fill(0, size, node.size)
    node.size = size
  }
}

function parent(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/'
}
