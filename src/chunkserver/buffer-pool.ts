// Buffers for reads from disk: four sizes, used again, bounded in all.
//
// From half of the bound on replies are shorter (the client asks again for the rest). At the bound: BUSY, the client goes
// to another replica or comes again. Nothing waits here while it holds a buffer.

import { DfsError } from '../base/errors.ts'
import { FreeBuffers } from '../base/free-buffers.ts'
import { BLOCK_BYTES, PIECE_BYTES, PIECE_BYTES_MAX } from '../base/limits.ts'
import { KiB, MiB } from '../base/units.ts'

const SIZES = [BLOCK_BYTES, 64 * KiB, PIECE_BYTES, PIECE_BYTES_MAX]
/** Free buffers kept of each size, in bytes. */
const FREE_BYTES_MAX = 16 * MiB

export class BufferPool {
  readonly #free = SIZES.map((size) => new FreeBuffers(size, FREE_BYTES_MAX / size))
  readonly #bytesMax: number
  #usedBytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** The most that one read should take now. */
  get readBytesMax(): number {
    return this.#usedBytes + PIECE_BYTES_MAX > this.#bytesMax / 2 ? PIECE_BYTES : PIECE_BYTES_MAX
  }

  /** A buffer of at least `bytes` (at most PIECE_BYTES_MAX), content undefined, to be given back once. Throws BUSY. */
  take(bytes: number): Buffer {
    const index = SIZES.findIndex((size) => size >= bytes)
    const size = SIZES[index]!
    if (this.#usedBytes + size > this.#bytesMax) {
      throw new DfsError('BUSY', `${this.#usedBytes} bytes of reads are under way, at most ${this.#bytesMax} may be`)
    }
    this.#usedBytes += size
    return this.#free[index]!.take()
  }

  give(buffer: Buffer): void {
    this.#usedBytes -= buffer.length
    this.#free[SIZES.indexOf(buffer.length)]!.give(buffer)
  }
}
