// From an id (inode number, chunk handle) to its row: a radix tree over paged words. Ids come mostly one after the
// other, so that an id costs little over 4 bytes; a lone survivor among dead ids costs two nodes of 256 bytes.
//
//   id = group × 4096 + middle × 64 + last        groups: a Map, one entry for 4096 ids
//                                                  a node: 64 words, each a node or a row, plus 1; 0 for none

import { assert } from '../../base/assert.ts'
import { WordTable } from './word-table.ts'

const FAN_OUT = 64
const GROUP = FAN_OUT * FAN_OUT

export class IdIndex {
  readonly #nodes = new WordTable(FAN_OUT, 6)
  readonly #groups = new Map<number, number>()
  /** The keys of `#groups` in ascending order; undefined when it must be sorted again. */
  #sorted: number[] | undefined = []
  #lastGroup = -1
  #lastNode = 0
  #size = 0

  get size(): number {
    return this.#size
  }

  /** The row of `id`, or -1. */
  get(id: number): number {
    const group = Math.floor(id / GROUP)
    const node = this.#node(group)
    if (node < 0) return -1
    const low = id - group * GROUP
    const leaf = this.#nodes.get(node, low >>> 6)
    return leaf === 0 ? -1 : this.#nodes.get(leaf - 1, low & 63) - 1
  }

  /** @param id  a whole number, 0 .. 2^53 - 1, not in the index */
  add(id: number, row: number): void {
    const group = Math.floor(id / GROUP)
    let node = this.#node(group)
    if (node < 0) {
      node = this.#nodes.allocate()
      this.#groups.set(group, node)
      this.#lastGroup = group
      this.#lastNode = node
      const sorted = this.#sorted
      if (sorted !== undefined && (sorted.length === 0 || sorted[sorted.length - 1]! < group)) sorted.push(group)
      else this.#sorted = undefined
    }
    const low = id - group * GROUP
    let leaf = this.#nodes.get(node, low >>> 6)
    if (leaf === 0) {
      leaf = this.#nodes.allocate() + 1
      this.#nodes.set(node, low >>> 6, leaf)
    }
    assert(this.#nodes.get(leaf - 1, low & 63) === 0, 'an id twice')
    this.#nodes.set(leaf - 1, low & 63, row + 1)
    this.#size++
  }

  /** Puts ids, which ascend, into the empty index, with rows 0, 1, 2, … */
  addAscending(ids: Float64Array): void {
    assert(this.#size === 0, 'an index that is not empty')
    let from = -1
    let leaf = -1
    for (let row = 0; row < ids.length; row++) {
      const id = ids[row]!
      // Ids of one leaf lie side by side.
      if (leaf >= 0 && id - from < FAN_OUT) {
        this.#nodes.set(leaf, id - from, row + 1)
        this.#size++
        continue
      }
      this.add(id, row)
      from = Math.floor(id / FAN_OUT) * FAN_OUT
      leaf = this.#nodes.get(this.#lastNode, (from % GROUP) / FAN_OUT) - 1
    }
  }

  /** @param id  in the index */
  delete(id: number): void {
    const group = Math.floor(id / GROUP)
    const node = this.#node(group)
    const low = id - group * GROUP
    const leaf = node < 0 ? 0 : this.#nodes.get(node, low >>> 6)
    assert(leaf !== 0 && this.#nodes.get(leaf - 1, low & 63) !== 0, 'an id that is not in the index')
    this.#nodes.set(leaf - 1, low & 63, 0)
    this.#size--
    if (!this.#isEmpty(leaf - 1)) return
    this.#nodes.release(leaf - 1)
    this.#nodes.set(node, low >>> 6, 0)
    if (!this.#isEmpty(node)) return
    this.#nodes.release(node)
    this.#groups.delete(group)
    this.#lastGroup = -1
    this.#sorted = undefined
  }

  /** The least id above `after` (-1 for the first), or -1. */
  next(after: number): number {
    const start = after + 1
    const groups = this.#sortedGroups()
    let at = lowerBound(groups, Math.floor(start / GROUP))
    let from = groups[at] === Math.floor(start / GROUP) ? start % GROUP : 0
    for (; at < groups.length; at++, from = 0) {
      const group = groups[at]!
      const node = this.#groups.get(group)!
      for (let middle = from >>> 6, last = from & 63; middle < FAN_OUT; middle++, last = 0) {
        const leaf = this.#nodes.get(node, middle)
        if (leaf === 0) continue
        for (; last < FAN_OUT; last++) {
          if (this.#nodes.get(leaf - 1, last) !== 0) return group * GROUP + middle * FAN_OUT + last
        }
      }
    }
    return -1
  }

  /** Visits every id in ascending order. The index must not change meanwhile. */
  forEach(visit: (id: number, row: number) => void): void {
    for (const group of this.#sortedGroups()) {
      const node = this.#groups.get(group)!
      for (let middle = 0; middle < FAN_OUT; middle++) {
        const leaf = this.#nodes.get(node, middle)
        if (leaf === 0) continue
        for (let last = 0; last < FAN_OUT; last++) {
          const row = this.#nodes.get(leaf - 1, last)
          if (row !== 0) visit(group * GROUP + middle * FAN_OUT + last, row - 1)
        }
      }
    }
  }

  #node(group: number): number {
    if (group === this.#lastGroup) return this.#lastNode
    const node = this.#groups.get(group)
    if (node === undefined) return -1
    this.#lastGroup = group
    this.#lastNode = node
    return node
  }

  #isEmpty(node: number): boolean {
    for (let i = 0; i < FAN_OUT; i++) if (this.#nodes.get(node, i) !== 0) return false
    return true
  }

  #sortedGroups(): number[] {
    this.#sorted ??= [...this.#groups.keys()].sort((a, b) => a - b)
    return this.#sorted
  }
}

function lowerBound(sorted: readonly number[], value: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (sorted[middle]! < value) low = middle + 1
    else high = middle
  }
  return low
}
