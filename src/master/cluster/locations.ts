// Locations: which directories hold which chunk, and in what state, as the servers last said (GFS §2.6.2).
//
// Ten million chunks with three replicas each must not become thirty million objects: a chunk has four 32-bit cells in
// a page of 1,024 consecutive handles, a cell is a small directory number, what the server has said and a state; a chunk
// with more replicas has the rest in a Map.
//
// Replicas of chunks that the table doesn't know, or no longer, have cells too until their servers say that they are
// gone: so the sums of what is known are those of what is there.
//
// Invariants:
//   - a directory holds at most one replica of a chunk
//   - a page exists only while one of its cells is in use
//   - a directory's sum is that of its cells (wire/replica-sum.ts)

import { assert } from '../../base/assert.ts'
import type { ChunkHandle, DirectoryId } from '../../base/ids.ts'
import { addMark, type ReplicaCondition, removeMark, replicaConditions, replicaMark } from '../../wire/replica-sum.ts'

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

/** What its server has said of it last; `promised`: nothing yet, the log says that it is to be there. */
const saidWords = ['promised', ...replicaConditions] as const
export type Said = (typeof saidWords)[number]

export interface Replica {
  readonly directory: DirectoryId
  readonly state: ReplicaState
  readonly said: Said
}

const PAGE_HANDLES = 1024
const CELLS = 4
/** A cell: state + 1, then what was said, then the directory's number. 0: unused. */
const STATE_BITS = 3
const DIRECTORY_SHIFT = 5
const STATE_MASK = 2 ** STATE_BITS - 1
const SAID_MASK = 3
/** In the place of a state: of a chunk that is not in the table. */
const UNLISTED = replicaStates.length + 1

interface Page {
  readonly cells: Uint32Array
  used: number
}

interface DirectoryTotals {
  readonly directory: DirectoryId
  /** Of the marks of what its server has said. */
  sum: number
  /** Replicas of chunks that are not in the table, and those that its server has said nothing of. */
  odd: number
}

export class Locations {
  readonly #pages = new Map<number, Page>()
  readonly #overflow = new Map<ChunkHandle, number[]>()
  readonly #directories: DirectoryTotals[] = []
  readonly #numbers = new Map<DirectoryId, number>()

  /**
   * Says that `directory` holds the chunk in `state`; replaces what was known of that replica.
   *
   * @param said  by the directory's server
   */
  set(handle: ChunkHandle, directory: DirectoryId, state: ReplicaState, said: Said = 'promised'): void {
    this.#set(handle, directory, replicaStates.indexOf(state) + 1, said)
  }

  /** Says that `directory` holds a replica of a chunk that is not in the table: to be deleted, or set aside. */
  setUnlisted(handle: ChunkHandle, directory: DirectoryId, said: Said = 'promised'): void {
    this.#set(handle, directory, UNLISTED, said)
  }

  #set(handle: ChunkHandle, directory: DirectoryId, state: number, said: Said): void {
    const number = this.#number(directory)
    const cell = ((number << DIRECTORY_SHIFT) | (saidWords.indexOf(said) << STATE_BITS) | state) >>> 0
    const pageNumber = Math.floor(handle / PAGE_HANDLES)
    let page = this.#pages.get(pageNumber)
    if (!page) {
      page = { cells: new Uint32Array(PAGE_HANDLES * CELLS), used: 0 }
      this.#pages.set(pageNumber, page)
    }
    const start = (handle % PAGE_HANDLES) * CELLS
    let free = -1
    for (let i = start; i < start + CELLS; i++) {
      const before = page.cells[i]!
      if (before === 0) {
        if (free < 0) free = i
      } else if (before >>> DIRECTORY_SHIFT === number) {
        this.#uncount(handle, before)
        this.#count(handle, cell)
        page.cells[i] = cell
        return
      }
    }
    const rest = this.#overflow.get(handle)
    const inRest = rest?.findIndex((other) => other >>> DIRECTORY_SHIFT === number) ?? -1
    if (rest && inRest >= 0) {
      this.#uncount(handle, rest[inRest]!)
      rest[inRest] = cell
    } else if (free >= 0) {
      page.cells[free] = cell
      page.used++
    } else if (rest) rest.push(cell)
    else this.#overflow.set(handle, [cell])
    this.#count(handle, cell)
    if (page.used === 0) this.#pages.delete(pageNumber)
  }

  /** Forgets one replica. */
  delete(handle: ChunkHandle, directory: DirectoryId): void {
    const number = this.#numbers.get(directory)
    if (number === undefined) return
    const rest = this.#overflow.get(handle)
    const inRest = rest?.findIndex((cell) => cell >>> DIRECTORY_SHIFT === number) ?? -1
    if (rest && inRest >= 0) {
      this.#uncount(handle, rest[inRest]!)
      rest.splice(inRest, 1)
      if (rest.length === 0) this.#overflow.delete(handle)
    }
    const pageNumber = Math.floor(handle / PAGE_HANDLES)
    const page = this.#pages.get(pageNumber)
    if (!page) return
    const start = (handle % PAGE_HANDLES) * CELLS
    for (let i = start; i < start + CELLS; i++) {
      if (page.cells[i] === 0 || page.cells[i]! >>> DIRECTORY_SHIFT !== number) continue
      this.#uncount(handle, page.cells[i]!)
      this.#clear(pageNumber, page, i)
    }
  }

  /** The chunk left the table: its replicas stay known as `unlisted` until their servers say that they are gone. */
  unlist(handle: ChunkHandle): void {
    for (const { directory, said } of this.of(handle)) {
      if (said === 'promised') this.delete(handle, directory)
      else this.setUnlisted(handle, directory, said)
    }
  }

  /** The sum of the replicas in `directory`, as its server has said them (wire/replica-sum.ts). */
  sumOf(directory: DirectoryId): number {
    const number = this.#numbers.get(directory)
    return number === undefined ? 0 : this.#directories[number]!.sum
  }

  /** Replicas in `directory` of chunks that are not in the table, and those that its server has said nothing of. */
  oddIn(directory: DirectoryId): number {
    const number = this.#numbers.get(directory)
    return number === undefined ? 0 : this.#directories[number]!.odd
  }

  /** The replicas of a chunk in the table, in no order that means anything; none: nobody has said so. */
  of(handle: ChunkHandle): Replica[] {
    const found: Replica[] = []
    const page = this.#pages.get(Math.floor(handle / PAGE_HANDLES))
    if (page) {
      const start = (handle % PAGE_HANDLES) * CELLS
      for (let i = start; i < start + CELLS; i++)
        if (isListed(page.cells[i]!)) found.push(this.#replica(page.cells[i]!))
    }
    for (const cell of this.#overflow.get(handle) ?? []) if (isListed(cell)) found.push(this.#replica(cell))
    return found
  }

  /** Every chunk of which `directory` is said to hold a replica, in the table or not. Walks everything: for a full report, not for a tick. */
  *handlesOf(directory: DirectoryId): Generator<ChunkHandle> {
    const number = this.#numbers.get(directory)
    if (number === undefined) return
    for (const [pageNumber, page] of this.#pages) {
      for (let i = 0; i < page.cells.length; i++) {
        if (page.cells[i] !== 0 && page.cells[i]! >>> DIRECTORY_SHIFT === number)
          yield (pageNumber * PAGE_HANDLES + Math.floor(i / CELLS)) as ChunkHandle
      }
    }
    for (const [handle, cells] of this.#overflow) {
      if (cells.some((cell) => cell >>> DIRECTORY_SHIFT === number)) yield handle
    }
  }

  #clear(pageNumber: number, page: Page, index: number): void {
    page.cells[index] = 0
    page.used--
    if (page.used === 0) this.#pages.delete(pageNumber)
  }

  #count(handle: ChunkHandle, cell: number): void {
    const totals = this.#directories[cell >>> DIRECTORY_SHIFT]!
    const said = saidIn(cell)
    if (said === 'promised' || (cell & STATE_MASK) === UNLISTED) totals.odd++
    if (said !== 'promised') totals.sum = addMark(totals.sum, replicaMark(handle, totals.directory, said))
  }

  #uncount(handle: ChunkHandle, cell: number): void {
    const totals = this.#directories[cell >>> DIRECTORY_SHIFT]!
    const said = saidIn(cell)
    if (said === 'promised' || (cell & STATE_MASK) === UNLISTED) totals.odd--
    if (said !== 'promised') totals.sum = removeMark(totals.sum, replicaMark(handle, totals.directory, said))
  }

  #replica(cell: number): Replica {
    const totals = this.#directories[cell >>> DIRECTORY_SHIFT]
    const state = replicaStates[(cell & STATE_MASK) - 1]
    assert(totals !== undefined && state !== undefined, 'a cell that names nothing')
    return { directory: totals.directory, state, said: saidIn(cell) }
  }

  #number(directory: DirectoryId): number {
    let number = this.#numbers.get(directory)
    if (number === undefined) {
      number = this.#directories.length
      this.#directories.push({ directory, sum: 0, odd: 0 })
      this.#numbers.set(directory, number)
    }
    return number
  }
}

function isListed(cell: number): boolean {
  return cell !== 0 && (cell & STATE_MASK) !== UNLISTED
}

function saidIn(cell: number): 'promised' | ReplicaCondition {
  return saidWords[(cell >>> STATE_BITS) & SAID_MASK]!
}
