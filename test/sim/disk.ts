// A simulated disk: what lasts when processes and machines don't, the faults it is told to have, and the test's own
// hands on its files. The port that processes use is disk-port.ts.

import { DfsError } from '../../src/base/errors.ts'
import type { Random } from '../../src/base/random.ts'
import { FileNode } from './file-node.ts'
import { DirectoryNode, NameTree, type Node } from './name-tree.ts'
import type { SimDiskOptions } from './options.ts'
import type { SimWorld } from './world.ts'

/** A path on the disk (exact), or a pattern that it must match. */
export type PathMatch = string | RegExp

export type DiskOperation = 'read' | 'write' | 'sync' | 'syncDirectory' | 'open' | 'rename' | 'remove'

interface Fault {
  readonly operation: DiskOperation
  readonly match: PathMatch
  times: number
}

export class SimDisk {
  readonly world: SimWorld
  readonly name: string
  /** May be changed at any time. */
  readonly options: SimDiskOptions
  readonly random: Random
  readonly names: NameTree
  /** Paths of locked objects by inode number. */
  readonly locks = new Map<number, string>()
  /** Syncs of files and of directories that were asked for: to count group commits. */
  syncCount = 0
  #nodeCount = 1
  #faults: Fault[] = []
  #isStalled = false
  #stalled: (() => void)[] = []
  /** What `usedBytes` found; undefined when a name or a length has changed since. */
  #usedBytes: number | undefined
  readonly #forgetUse = (): void => {
    this.#usedBytes = undefined
  }

  constructor(world: SimWorld, name: string, options: SimDiskOptions, random: Random) {
    this.world = world
    this.name = name
    this.names = new NameTree(this.#forgetUse)
    this.options = { ...options }
    this.random = random
  }

  // Faults.

  /** The next `times` reads of matching files fail with DISK_FAILED. */
  failRead(match: PathMatch, times = 1): void {
    this.#faults.push({ operation: 'read', match, times })
  }

  /** The next `times` writes of matching files fail with DISK_FAILED; a part of the bytes may be written. */
  failWrite(match: PathMatch, times = 1): void {
    this.#faults.push({ operation: 'write', match, times })
  }

  /** The next `times` syncs of matching files fail with FSYNC_FAILED; what was not synced may be forgotten at power loss whatever is synced later. */
  failSync(match: PathMatch, times = 1): void {
    this.#faults.push({ operation: 'sync', match, times })
  }

  /** The next `times` operations of that kind on matching paths fail. */
  fail(operation: DiskOperation, match: PathMatch, times = 1): void {
    this.#faults.push({ operation, match, times })
  }

  /** Takes back every fault that was told and not used up, and every probability of errors. */
  healFaults(): void {
    this.#faults = []
    this.options.readErrorChance = 0
    this.options.writeErrorChance = 0
    this.options.syncErrorChance = 0
    this.options.slowFactor = 1
    this.unstall()
  }

  /** Whether this operation is to fail; uses up one of the told faults. */
  takeFault(operation: DiskOperation, path: string): boolean {
    const index = this.#faults.findIndex(
      (fault) =>
        fault.operation === operation &&
        (typeof fault.match === 'string' ? fault.match === path : fault.match.test(path)),
    )
    const fault = this.#faults[index]
    if (fault !== undefined) {
      if (--fault.times <= 0) this.#faults.splice(index, 1)
      return true
    }
    const { readErrorChance, writeErrorChance, syncErrorChance } = this.options
    if (operation === 'read') return this.random.chance(readErrorChance)
    if (operation === 'write') return this.random.chance(writeErrorChance)
    return (operation === 'sync' || operation === 'syncDirectory') && this.random.chance(syncErrorChance)
  }

  /** No operation ends until `unstall`. */
  stall(): void {
    this.#isStalled = true
  }

  unstall(): void {
    this.#isStalled = false
    const stalled = this.#stalled
    this.#stalled = []
    for (const resume of stalled) resume()
  }

  /** Keeps `resume` until `unstall`. @returns false when the disk is not stalled */
  holdWhileStalled(resume: () => void): boolean {
    if (this.#isStalled) this.#stalled.push(resume)
    return this.#isStalled
  }

  /** Turns one bit (0 .. 7) of the stored byte at `position`. */
  flipBit(path: string, position: number, bit: number): void {
    this.fileAt(path).flipBit(position, bit)
  }

  /** Power is lost: what was not synced is kept, torn or forgotten, each change for itself. */
  losePower(): void {
    const { keepChance } = this.options
    const files = new Set<FileNode>()
    // Also files that only a durable name holds must forget.
    for (const { node } of this.names.walk()) if (node.kind === 'file') files.add(node)
    this.names.losePower(this.random, keepChance)
    for (const { node } of this.names.walk()) if (node.kind === 'file') files.add(node)
    for (const file of [...files].sort((a, b) => a.number - b.number)) file.losePower(this.random, this.options)
    this.locks.clear()
    this.#stalled = []
  }

  // The test's own hands: at once, durable, without faults.

  /** Paths of all files, sorted. */
  paths(): string[] {
    return [...this.names.walk()].filter(({ node }) => node.kind === 'file').map(({ path }) => path)
  }

  has(path: string): boolean {
    return this.names.find(namesOf(path)) !== undefined
  }

  /** The bytes a reader would see now. */
  readFile(path: string): Buffer {
    const node = this.fileAt(path)
    const bytes = Buffer.alloc(node.length)
    node.read(bytes, 0)
    return bytes
  }

  /** Makes the file hold exactly `bytes`, with all directories above it; keeps the inode of an existing file. */
  writeFile(path: string, bytes: Uint8Array): void {
    const names = namesOf(path)
    let directory = this.names.root
    for (const name of names.slice(0, -1)) {
      let next = directory.entries.get(name)
      if (next === undefined) {
        next = this.newDirectory()
        directory.entries.set(name, next)
      }
      if (next.kind !== 'directory') throw new Error(`${path}: ${name} is a file`)
      directory.durable.set(name, next)
      directory = next
    }
    const name = names.at(-1) ?? ''
    let node = directory.entries.get(name)
    if (node === undefined) {
      node = this.newFile()
      directory.entries.set(name, node)
    }
    if (node.kind !== 'file') throw new Error(`${path} is a directory`)
    this.#forgetUse()
    directory.durable.set(name, node)
    node.replace(bytes)
  }

  /** Removes the file. */
  removeFile(path: string): void {
    const names = namesOf(path)
    const directory = this.names.find(names.slice(0, -1))
    const name = names.at(-1) ?? ''
    if (directory?.kind !== 'directory' || !directory.entries.has(name)) throw new Error(`no file ${path}`)
    this.#forgetUse()
    directory.entries.delete(name)
    directory.durable.delete(name)
  }

  /** All files with their bytes, for `restoreFiles`. */
  saveFiles(): Map<string, Buffer> {
    return new Map(this.paths().map((path) => [path, this.readFile(path)]))
  }

  /** Makes the disk hold exactly these files; empty directories stay. */
  restoreFiles(files: ReadonlyMap<string, Uint8Array>): void {
    for (const path of this.paths()) if (!files.has(path)) this.removeFile(path)
    for (const [path, bytes] of files) this.writeFile(path, bytes)
  }

  /** Bytes of all files that have a name. */
  usedBytes(): number {
    if (this.#usedBytes !== undefined) return this.#usedBytes
    this.#usedBytes = bytesBelow(this.names.root)
    return this.#usedBytes
  }

  fileAt(path: string): FileNode {
    const node = this.names.find(namesOf(path))
    if (node?.kind !== 'file') throw new DfsError('NOT_FOUND', `no file ${path}`, { path })
    return node
  }

  newFile(): FileNode {
    return new FileNode(++this.#nodeCount, this.#forgetUse)
  }

  newDirectory(): DirectoryNode {
    return new DirectoryNode(++this.#nodeCount)
  }
}

function bytesBelow(directory: DirectoryNode): number {
  let bytes = 0
  for (const node of directory.entries.values()) bytes += node.kind === 'file' ? node.length : bytesBelow(node)
  return bytes
}

/** The components of a path; `.` and empty ones count for nothing. */
export function namesOf(path: string): readonly string[] {
  const known = namesByPath.get(path)
  if (known !== undefined) return known
  const names = splitPath(path)
  // The same few paths are asked for all the time; the others come and go.
  if (namesByPath.size >= PATHS_KEPT_MAX) namesByPath.clear()
  namesByPath.set(path, names)
  return names
}

const PATHS_KEPT_MAX = 5000
const namesByPath = new Map<string, readonly string[]>()

function splitPath(path: string): string[] {
  const names: string[] = []
  for (const name of path.split('/')) {
    if (name === '..') names.pop()
    else if (name !== '' && name !== '.') names.push(name)
  }
  return names
}

export type { Node }
