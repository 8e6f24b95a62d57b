// Placed: what a writer has durable in chunks and not yet in the log, in file order.
//
// The last of the bytes are kept although they are durable: should the log, against expectation, say that a chunk is
// shorter, they are sent again. What is no longer kept is merged with its neighbour, so a long file costs one entry a
// chunk.
//
// Invariant: a piece is told to `onGone` once, when it is neither kept nor given back any more.

import { assert } from '../base/assert.ts'
import type { ChunkHandle } from '../base/ids.ts'
import type { Extent } from '../wire/messages.ts'
import type { Piece } from './pieces.ts'

export type { Extent }

interface Entry {
  /** File offset, counted from where the writer began. */
  readonly offset: number
  length: number
  readonly handle: ChunkHandle
  readonly chunkOffset: number
  /** Kept bytes. */
  piece: Piece | undefined
}

export class Placed {
  readonly #keptBytesMax: number
  readonly #onGone: (piece: Piece) => void
  #entries: Entry[] = []
  #kept: Entry[] = []
  #keptBytes = 0

  constructor(keptBytesMax: number, onGone: (piece: Piece) => void) {
    this.#keptBytesMax = keptBytesMax
    this.#onGone = onGone
  }

  add(piece: Piece, handle: ChunkHandle, chunkOffset: number): void {
    const entry = { offset: piece.offset, length: piece.length, handle, chunkOffset, piece }
    // Nearly always the end; a piece that was sent again comes late.
    let index = this.#entries.length
    while (index > 0 && this.#entries[index - 1]!.offset > entry.offset) index--
    this.#entries.splice(index, 0, entry)
    this.#kept.push(entry)
    this.#keptBytes += piece.length
    while (this.#keptBytes > this.#keptBytesMax) this.#letGo()
  }

  /** Takes out what lies in `handle` beyond `length`. @returns its pieces; undefined for bytes that are no longer kept */
  takeBeyond(
    handle: ChunkHandle,
    length: number,
  ): { pieces: Piece[]; lost: { offset: number; length: number } | undefined } {
    const pieces: Piece[] = []
    let lost: { offset: number; length: number } | undefined
    this.#entries = this.#entries.filter((entry) => {
      if (entry.handle !== handle || entry.chunkOffset + entry.length <= length) return true
      if (entry.piece === undefined)
        lost ??= { offset: entry.offset + Math.max(0, length - entry.chunkOffset), length: entry.length }
      else pieces.push(entry.piece)
      return false
    })
    const gone = new Set(pieces)
    this.#kept = this.#kept.filter((entry) => entry.piece !== undefined && !gone.has(entry.piece))
    this.#keptBytes = this.#kept.reduce((sum, entry) => sum + entry.length, 0)
    return { pieces, lost }
  }

  /** The extents in file order, neighbours merged. */
  extents(): Extent[] {
    const extents: { handle: ChunkHandle; offset: number; length: number }[] = []
    for (const { handle, chunkOffset, length } of this.#entries) {
      const last = extents.at(-1)
      if (last !== undefined && last.handle === handle && last.offset + last.length === chunkOffset)
        last.length += length
      else extents.push({ handle, offset: chunkOffset, length })
    }
    return extents
  }

  /** The log has the first `bytes` in file order: extents as `extents` gave them, whole. */
  drop(bytes: number): void {
    let left = bytes
    let count = 0
    while (left > 0) left -= this.#entries[count++]!.length
    assert(left === 0, 'a part of an extent was logged')
    const gone = new Set(this.#entries.splice(0, count))
    this.#kept = this.#kept.filter((entry) => !gone.has(entry))
    this.#keptBytes = this.#kept.reduce((sum, entry) => sum + entry.length, 0)
    for (const { piece } of gone) if (piece !== undefined) this.#onGone(piece)
  }

  #letGo(): void {
    const entry = this.#kept.shift()
    if (entry === undefined) return
    if (entry.piece !== undefined) {
      this.#keptBytes -= entry.piece.length
      this.#onGone(entry.piece)
    }
    entry.piece = undefined
    const index = this.#entries.indexOf(entry)
    const before = this.#entries[index - 1]
    const isRunOn =
      before !== undefined &&
      before.piece === undefined &&
      before.handle === entry.handle &&
      before.offset + before.length === entry.offset &&
      before.chunkOffset + before.length === entry.chunkOffset
    if (!isRunOn) return
    before.length += entry.length
    this.#entries.splice(index, 1)
  }
}
