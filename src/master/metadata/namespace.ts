// The namespace: inodes and the names they have in directories.
//
// Invariants:
//   - each inode below the root has exactly one entry, that of (its parent, its name); the tops of removed trees, of
//     trees under construction and files without a name have none: their parent is TRASH_INODE, HIDDEN_INODE, NO_PARENT
//   - a directory's entryCount is the number of its entries
//   - the cache of directory paths holds only what a walk would find; any change that could move or end a directory
//     empties it
//
// Source: GFS §4.1 (but with directories as such, for listing and for renaming trees).

import { assert } from '../../base/assert.ts'
import type { InodeId } from '../../base/ids.ts'
import { ROOT_INODE } from '../../base/ids.ts'
import { invalidPathMessage, pathFault } from '../../base/path.ts'
import { ByteTree } from './byte-tree.ts'
import type { InodeTable } from './inode-table.ts'
import { no, type Refusal } from './outcome.ts'

/** Directory paths remembered at most; then the cache starts anew. */
const CACHED_PATHS_MAX = 8192

/** Where a path leads. */
export interface Place {
  /** The directory that holds, or would hold, the last name; 0 for the root itself. */
  readonly parent: InodeId
  readonly name: string
  /** 0 when nothing has that name. */
  readonly inode: InodeId
}

export class Namespace {
  readonly entries = new ByteTree()
  readonly #inodes: InodeTable
  readonly #cache = new Map<string, InodeId>()
  /** The directory that was found in the cache last; '' for none. */
  #lastPath = ''
  #lastInode = ROOT_INODE

  constructor(inodes: InodeTable) {
    this.#inodes = inodes
  }

  /** Where `path` leads, or why that can't be: INVALID_PATH; NOT_FOUND, NOT_A_DIRECTORY of a directory on the way. */
  locate(path: string): Place | Refusal {
    const fault = pathFault(path)
    if (fault !== undefined) return no('INVALID_PATH', invalidPathMessage(path, fault))
    if (path.length === 1) return { parent: 0 as InodeId, name: '', inode: ROOT_INODE }
    const slash = lastSlash(path)
    const parent = slash === 0 ? ROOT_INODE : this.#directory(path, slash)
    if (typeof parent !== 'number') return parent
    const name = path.slice(slash + 1)
    return { parent, name, inode: this.entries.get(parent, name) as InodeId }
  }

  /** The inode under `name`, or 0. */
  child(directory: InodeId, name: string): InodeId {
    return this.entries.get(directory, name) as InodeId
  }

  /** The directory that the first `length` characters of `of` name. */
  #directory(of: string, length: number): InodeId | Refusal {
    if (this.#lastPath.length === length && beginsWith(of, this.#lastPath)) return this.#lastInode
    const path = of.slice(0, length)
    const cached = this.#cache.get(path)
    if (cached !== undefined) {
      this.#lastPath = path
      this.#lastInode = cached
      return cached
    }
    let inode = ROOT_INODE
    for (let start = 1; start <= path.length; ) {
      const slash = path.indexOf('/', start)
      const end = slash < 0 ? path.length : slash
      const child = this.child(inode, path.slice(start, end))
      if (child === 0) return no('NOT_FOUND', `${path.slice(0, end)}: no such directory`, { path: path.slice(0, end) })
      if (!this.#inodes.isDirectory(this.#inodes.row(child))) {
        return no('NOT_A_DIRECTORY', `${path.slice(0, end)} is a file, not a directory`, { path: path.slice(0, end) })
      }
      inode = child
      start = end + 1
    }
    if (this.#cache.size >= CACHED_PATHS_MAX) this.#cache.clear()
    this.#cache.set(path, inode)
    return inode
  }

  /** Gives an inode, which has no entry, its name in a directory. */
  link(directory: InodeId, name: string, inode: InodeId, wallMs: number): void {
    this.entries.set(directory, name, inode)
    this.#inodes.setParent(this.#inodes.row(inode), directory)
    this.#entryChanged(directory, 1, wallMs)
  }

  /** Takes an inode's name away; `parent` (no directory) is what stands for it then. */
  unlink(directory: InodeId, name: string, parent: InodeId, wallMs: number): void {
    const inode = this.entries.delete(directory, name) as InodeId
    assert(inode !== 0, 'an entry that is not there')
    const row = this.#inodes.row(inode)
    if (this.#inodes.isDirectory(row)) this.forgetPaths()
    this.#inodes.setParent(row, parent)
    this.#entryChanged(directory, -1, wallMs)
  }

  /** To be called when a directory moves or ends. */
  forgetPaths(): void {
    if (this.#cache.size > 0) this.#cache.clear()
    this.#lastPath = ''
  }

  /** Whether `inode` is `top` or lies below it. */
  isWithin(inode: InodeId, top: InodeId): boolean {
    for (let at = inode; at !== 0; ) {
      if (at === top) return true
      const row = this.#inodes.row(at)
      if (row < 0) return false
      at = this.#inodes.parent(row)
    }
    return false
  }

  /** The path of an inode; undefined for one without a name or in the trash. Costs a walk over its directories' entries. */
  pathOf(inode: InodeId): string | undefined {
    const names: string[] = []
    for (let at = inode; at !== ROOT_INODE; ) {
      const row = this.#inodes.row(at)
      if (row < 0) return undefined
      const parent = this.#inodes.parent(row)
      const name = this.#nameIn(parent, at)
      if (name === undefined) return undefined
      names.push(name)
      at = parent
    }
    return `/${names.reverse().join('/')}`
  }

  #nameIn(directory: InodeId, inode: InodeId): string | undefined {
    for (let more = this.entries.seek(directory, ''); more; more = this.entries.advance()) {
      if (this.entries.cursorDirectory() !== directory) return undefined
      if (this.entries.cursorInode() === inode) return this.entries.cursorName()
    }
    return undefined
  }

  #entryChanged(directory: InodeId, difference: number, wallMs: number): void {
    const row = this.#inodes.row(directory)
    this.#inodes.setEntryCount(row, this.#inodes.entryCount(row) + difference)
    this.#inodes.setMtimeMs(row, wallMs)
    this.#inodes.setCtimeMs(row, wallMs)
  }
}

// By the character: a call of `lastIndexOf` or `startsWith` costs more than the few dozen of a path.

function lastSlash(path: string): number {
  let at = path.length - 1
  while (path.charCodeAt(at) !== SLASH) at--
  return at
}

/** Whether `text`, which is no shorter, begins with `start`. */
function beginsWith(text: string, start: string): boolean {
  for (let i = 0; i < start.length; i++) if (text.charCodeAt(i) !== start.charCodeAt(i)) return false
  return true
}

const SLASH = 47
