// Where the bytes of an open file are: its extents as of the content version it was opened at, a few pages in memory.
//
// The extents of an open file don't change under the reader: another content version is FILE_CHANGED, never a mixture.
// What repair and compaction do keeps the content version, and then the extents are simply asked for again.

import { assert } from '../base/assert.ts'
import { DfsError, isDfsError } from '../base/errors.ts'
import type { FileStat, PlacedExtent, ReplyOf } from '../wire/messages.ts'
import type { Core } from './core.ts'
import type { Patience } from './patience.ts'
import { askWithTail } from './tail-length.ts'

const PAGE_EXTENTS = 1024
const PAGES_MAX = 8

interface Page {
  /** File offsets: the page has every extent between them. */
  readonly start: number
  readonly end: number
  readonly extents: readonly PlacedExtent[]
}

export class FileMap {
  readonly path: string
  readonly stat: FileStat
  readonly #core: Core
  #pages: Page[] = []
  /** The committed bytes of the file's open tail, as of the open: they don't change any more, as long as the chunk is there. */
  #tail: PlacedExtent | undefined

  private constructor(core: Core, path: string, stat: FileStat, tailBytes: number) {
    this.#core = core
    this.path = path
    this.stat = tailBytes === 0 ? stat : { ...stat, size: stat.size + tailBytes }
    const { tail, size } = stat
    this.#tail =
      tail === undefined || tailBytes === 0
        ? undefined
        : { fileOffset: size, handle: tail.handle, offset: 0, length: tailBytes }
  }

  /** Errors: NOT_FOUND, IS_A_DIRECTORY, and the masters'. */
  static async open(core: Core, path: string, patience: Patience): Promise<FileMap> {
    const request = { path, fromOffset: 0, limit: PAGE_EXTENTS }
    const { reply, tailBytes } = await askWithTail(
      core,
      () => core.masters.ask('openForRead', request, patience),
      patience,
    )
    if (reply.stat.isDirectory) throw new DfsError('IS_A_DIRECTORY', `${path} is a directory`, { path })
    const map = new FileMap(core, path, reply.stat, tailBytes)
    map.#take(reply, 0)
    return map
  }

  /** The extent that holds the byte at `offset`, 0 .. size - 1. Errors: FILE_CHANGED, and the masters'. */
  async extentAt(offset: number, patience: Patience): Promise<PlacedExtent> {
    const found = this.known(offset) ?? extentIn(await this.#load(offset, patience), offset)
    if (found === undefined) {
      throw new DfsError('INTERNAL', `${this.path}: the master named no extent for offset ${offset}`, {
        path: this.path,
        offset,
      })
    }
    return found
  }

  /** As `extentAt`, but undefined where the master would have to be asked. */
  known(offset: number): PlacedExtent | undefined {
    assert(offset >= 0 && offset < this.stat.size, 'an offset outside of the file')
    if (this.#tail !== undefined && offset >= this.#tail.fileOffset) return this.#tail
    const page = this.#pages.find((candidate) => candidate.start <= offset && offset < candidate.end)
    return page && extentIn(page, offset)
  }

  /** Forgets what was learned: the next question goes to the master, at the same content version. */
  forget(): void {
    this.#pages = []
    // The file has another content version since the tail's seal: the next question says FILE_CHANGED.
    this.#tail = undefined
  }

  async #load(offset: number, patience: Patience): Promise<Page> {
    const { inode, contentVersion } = this.stat
    try {
      const request = { inode, contentVersion, fromOffset: offset, limit: PAGE_EXTENTS }
      return this.#take(await this.#core.masters.ask('extents', request, patience), offset)
    } catch (error) {
      if (!isDfsError(error, 'NOT_FOUND')) throw error
      throw new DfsError('FILE_CHANGED', `${this.path} was removed while it was read`, { path: this.path }, error)
    }
  }

  #take(reply: ReplyOf<'extents'>, fromOffset: number): Page {
    for (const location of reply.chunks) if (location.replicas.length > 0) this.#core.locations.put(location)
    const { extents } = reply
    const last = extents.at(-1)
    const page = {
      start: extents[0]?.fileOffset ?? fromOffset,
      end: last === undefined ? fromOffset : last.fileOffset + last.length,
      extents,
    }
    this.#pages.push(page)
    if (this.#pages.length > PAGES_MAX) this.#pages.shift()
    return page
  }
}

/** The extent of the page that holds the byte at `offset`, if there is one. */
function extentIn({ extents }: Page, offset: number): PlacedExtent | undefined {
  let low = 0
  let high = extents.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (extents[middle]!.fileOffset <= offset) low = middle
    else high = middle - 1
  }
  const found = extents[low]
  return found !== undefined && offset >= found.fileOffset && offset < found.fileOffset + found.length
    ? found
    : undefined
}
