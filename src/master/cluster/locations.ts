// Locations: which directories hold which chunk, and in what state, as the servers last said (GFS §2.6.2).
//
// Ten million chunks with three replicas each must not become thirty million objects: a chunk has four 32-bit cells in
// a page of 1,024 consecutive handles, a cell is a small directory number and a state; a chunk with more replicas has
// the rest in a Map.
//
// Invariants:
//   - a directory holds at most one replica of a chunk
//   - a page exists only while one of its cells is in use

import { assert } from '../../base/assert.ts'
import type { ChunkHandle, DirectoryId } from '../../base/ids.ts'

/**
 * What is known of a replica:
 *   open       it grows, or waits for its seal
 *   good       sealed, of the logged length and digest
 *   short      sealed or fenced shorter than the log says: a true prefix, read from when nothing better lives
 *   corrupt    a block failed; other blocks may still be read, each is proven
 *   different  sealed with another digest, or an older version: never read from
 */
export const replicaStates = ['open', 'good', 'short', 'corrupt', 'different'] as const
export type ReplicaState = (typeof replicaStates)[number]

export interface Replica {
  readonly directory: DirectoryId
  readonly state: ReplicaState
}

const PAGE_HANDLES = 1024
const CELLS = 4
const STATE_BITS = 3

interface Page {
  readonly cells: Uint32Array
  used: number
}

export class Locations {
  readonly #pages = new Map<number, Page>()
  readonly #overflow = new Map<ChunkHandle, number[]>()
  readonly #directories: DirectoryId[] = []
  readonly #numbers = new Map<DirectoryId, number>()

  /** Says that `directory` holds the chunk in `state`; replaces what was known of that replica. */
  set(handle: ChunkHandle, directory: DirectoryId, state: ReplicaState): void {
    const number = this.#number(directory)
    const cell = ((number << STATE_BITS) | (replicaStates.indexOf(state) + 1)) >>> 0
    const pageNumber = Math.floor(handle / PAGE_HANDLES)
    let page = this.#pages.get(pageNumber)
    if (!page) {
      page = { cells: new Uint32Array(PAGE_HANDLES * CELLS), used: 0 }
      this.#pages.set(pageNumber, page)
    }
    const start = (handle % PAGE_HANDLES) * CELLS
    let free = -1
    for (let i = start; i < start + CELLS; i++) {
      if (page.cells[i] === 0) {
        if (free < 0) free = i
      } else if (page.cells[i]! >>> STATE_BITS === number) {
        page.cells[i] = cell
        return
      }
    }
    const rest = this.#overflow.get(handle)
    const inRest = rest?.findIndex((other) => other >>> STATE_BITS === number) ?? -1
    if (rest && inRest >= 0) rest[inRest] = cell
    else if (free >= 0) {
      page.cells[free] = cell
      page.used++
    } else if (rest) rest.push(cell)
    else this.#overflow.set(handle, [cell])
  }

  /** Forgets one replica. */
  delete(handle: ChunkHandle, directory: DirectoryId): void {
    const number = this.#numbers.get(directory)
    if (number === undefined) return
    const rest = this.#overflow.get(handle)
    const inRest = rest?.findIndex((cell) => cell >>> STATE_BITS === number) ?? -1
    if (rest && inRest >= 0) {
      rest.splice(inRest, 1)
      if (rest.length === 0) this.#overflow.delete(handle)
    }
    const pageNumber = Math.floor(handle / PAGE_HANDLES)
    const page = this.#pages.get(pageNumber)
    if (!page) return
    const start = (handle % PAGE_HANDLES) * CELLS
    for (let i = start; i < start + CELLS; i++) {
      if (page.cells[i] !== 0 && page.cells[i]! >>> STATE_BITS === number) this.#clear(pageNumber, page, i)
    }
  }

  /** Forgets all replicas of a chunk. */
  forget(handle: ChunkHandle): void {
    this.#overflow.delete(handle)
    const pageNumber = Math.floor(handle / PAGE_HANDLES)
    const page = this.#pages.get(pageNumber)
    if (!page) return
    const start = (handle % PAGE_HANDLES) * CELLS
    for (let i = start; i < start + CELLS; i++) if (page.cells[i] !== 0) this.#clear(pageNumber, page, i)
  }

  /** The replicas of a chunk, in no order that means anything; none: nobody has said so. */
  of(handle: ChunkHandle): Replica[] {
    const found: Replica[] = []
    const page = this.#pages.get(Math.floor(handle / PAGE_HANDLES))
    if (page) {
      const start = (handle % PAGE_HANDLES) * CELLS
      for (let i = start; i < start + CELLS; i++) if (page.cells[i] !== 0) found.push(this.#replica(page.cells[i]!))
    }
    for (const cell of this.#overflow.get(handle) ?? []) found.push(this.#replica(cell))
    return found
  }

  /** Every chunk of which `directory` is said to hold a replica. Walks everything: for a full report, not for a tick. */
  *handlesOf(directory: DirectoryId): Generator<ChunkHandle> {
    const number = this.#numbers.get(directory)
    if (number === undefined) return
    for (const [pageNumber, page] of this.#pages) {
      for (let i = 0; i < page.cells.length; i++) {
        if (page.cells[i] !== 0 && page.cells[i]! >>> STATE_BITS === number)
          yield (pageNumber * PAGE_HANDLES + Math.floor(i / CELLS)) as ChunkHandle
      }
    }
    for (const [handle, cells] of this.#overflow) {
      if (cells.some((cell) => cell >>> STATE_BITS === number)) yield handle
    }
  }

  #clear(pageNumber: number, page: Page, index: number): void {
    page.cells[index] = 0
    page.used--
    if (page.used === 0) this.#pages.delete(pageNumber)
  }

  #replica(cell: number): Replica {
    const directory = this.#directories[cell >>> STATE_BITS]
    const state = replicaStates[(cell & 7) - 1]
    assert(directory !== undefined && state !== undefined, 'a cell that names nothing')
    return { directory, state }
  }

  #number(directory: DirectoryId): number {
    let number = this.#numbers.get(directory)
    if (number === undefined) {
      number = this.#directories.length
      this.#directories.push(directory)
      this.#numbers.set(directory, number)
    }
    return number
  }
}
