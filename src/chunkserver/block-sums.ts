// Block checksums: a CRC32 for each 4 KiB block of a chunk, and what follows from them without touching the bytes.
//
// Invariants:
//   - the last sum covers the bytes of its block up to `length`; all others cover whole blocks
//   - a sum below the last one never changes
//
// Source: GFS §5.2 (64 KiB blocks there); the combining is zlib's.

import { assert } from '../base/assert.ts'
import { combineBlock } from '../base/blocks.ts'
import { crc32, crc32Combine } from '../base/crc32.ts'
import { BLOCK_BYTES, CHUNK_BYTES_MAX } from '../base/limits.ts'

/** Blocks that hold `bytes` bytes. */
export function blockCount(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES)
}

export class BlockSums {
  #sums = new Uint32Array(16)
  #length = 0

  /** Bytes covered, 0 .. CHUNK_BYTES_MAX. */
  get length(): number {
    return this.#length
  }

  /** Bytes of memory held. */
  get memoryBytes(): number {
    return this.#sums.byteLength
  }

  /** The sum of block `index`, which starts below `length`. */
  at(index: number): number {
    assert(index >= 0 && index < blockCount(this.#length), 'no such block')
    return this.#sums[index]!
  }

  /** The sum of the last block if it is not whole, else 0 (the sum of no bytes). */
  get partialSum(): number {
    return this.#length % BLOCK_BYTES === 0 ? 0 : this.at(blockCount(this.#length) - 1)
  }

  /**
   * Covers the bytes up to `to` as well.
   *
   * @param sums  of the blocks from the one that holds the byte `length` to the one that ends at or holds `to`; copied
   */
  extend(to: number, sums: ArrayLike<number>): void {
    assert(to >= this.#length && to <= CHUNK_BYTES_MAX, 'sums that do not continue the chunk')
    if (to === this.#length) return
    const first = Math.floor(this.#length / BLOCK_BYTES)
    assert(sums.length === blockCount(to) - first, 'not one sum for each block')
    this.#reserve(blockCount(to))
    this.#sums.set(sums, first)
    this.#length = to
  }

  /** The sums of blocks `first` .. `end` - 1, copied. */
  slice(first: number, end: number): Uint32Array {
    assert(end <= blockCount(this.#length), 'no such block')
    return this.#sums.slice(first, end)
  }

  /** CRC32 of the first `blocks` blocks, which must be whole. */
  digestOfBlocks(blocks: number): number {
    assert(blocks * BLOCK_BYTES <= this.#length, 'the blocks are not whole')
    let digest = 0
    for (let index = 0; index < blocks; index++) digest = combineBlock(digest, this.#sums[index]!)
    return digest
  }

  /** CRC32 of all bytes covered. */
  digest(): number {
    const whole = Math.floor(this.#length / BLOCK_BYTES)
    const rest = this.#length % BLOCK_BYTES
    const digest = this.digestOfBlocks(whole)
    return rest === 0 ? digest : crc32Combine(digest, this.#sums[whole]!, rest)
  }

  /**
   * Forgets what lies beyond `length`.
   *
   * @param partialSum  the sum of the last block up to `length` when that is not a block's end
   */
  cut(length: number, partialSum: number): void {
    assert(length <= this.#length, 'a cut beyond the end')
    this.#length = length
    if (length % BLOCK_BYTES !== 0) this.#sums[blockCount(length) - 1] = partialSum
  }

  #reserve(blocks: number): void {
    if (blocks <= this.#sums.length) return
    const sums = new Uint32Array(Math.min(blockCount(CHUNK_BYTES_MAX), Math.max(blocks, this.#sums.length * 2)))
    sums.set(this.#sums)
    this.#sums = sums
  }
}

/**
 * The sums of bytes that continue a chunk at any offset, in one checksum pass: each byte is read once, and both the
 * blocks' sums and the checksum of the piece alone follow.
 */
export class PieceSums {
  readonly #sums: number[] = []
  /** Sum of the block's bytes before this piece, and how many they are. */
  #before: number
  #beforeBytes: number
  /** Sum of this piece's bytes in the block under way. */
  #inBlock = 0
  #inBlockBytes = 0
  #crc = 0

  /**
   * @param offset      chunk offset of the first byte
   * @param partialSum  of the block that holds `offset`, up to `offset`; 0 when a block starts there
   */
  constructor(offset: number, partialSum: number) {
    this.#beforeBytes = offset % BLOCK_BYTES
    this.#before = partialSum
  }

  /** Takes the next bytes. */
  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#beforeBytes + this.#inBlockBytes === 0 && bytes.length - at >= BLOCK_BYTES) {
        at = this.#pushBlocks(bytes, at)
        continue
      }
      const room = BLOCK_BYTES - this.#beforeBytes - this.#inBlockBytes
      const count = Math.min(room, bytes.length - at)
      this.#inBlock = crc32(bytes.subarray(at, at + count), this.#inBlock)
      this.#inBlockBytes += count
      at += count
      if (count === room) this.#closeBlock()
    }
  }

  /** Takes whole blocks from `at` on: the way of nearly all bytes, so it makes the cheapest views. @returns the offset behind them */
  #pushBlocks(bytes: Uint8Array, at: number): number {
    const { buffer, byteOffset, length } = bytes
    const sums = this.#sums
    let crc = this.#crc
    let end = at
    for (; length - end >= BLOCK_BYTES; end += BLOCK_BYTES) {
      const sum = crc32(new Uint8Array(buffer, byteOffset + end, BLOCK_BYTES))
      sums.push(sum)
      crc = combineBlock(crc, sum)
    }
    this.#crc = crc
    return end
  }

  /** CRC32 of the piece's own bytes so far. */
  get crc(): number {
    return this.#inBlockBytes === 0 ? this.#crc : crc32Combine(this.#crc, this.#inBlock, this.#inBlockBytes)
  }

  /** Sums of the blocks touched so far, for `BlockSums.extend`; the last may cover a part of its block. */
  get sums(): number[] {
    return this.#inBlockBytes === 0 ? this.#sums : [...this.#sums, this.#blockSum()]
  }

  /** What the piece after this one is given as `partialSum`. */
  get partialSum(): number {
    return this.#inBlockBytes === 0 ? (this.#beforeBytes === 0 ? 0 : this.#before) : this.#blockSum()
  }

  #blockSum(): number {
    return this.#beforeBytes === 0 ? this.#inBlock : crc32Combine(this.#before, this.#inBlock, this.#inBlockBytes)
  }

  #closeBlock(): void {
    this.#sums.push(this.#blockSum())
    this.#crc =
      this.#inBlockBytes === BLOCK_BYTES
        ? combineBlock(this.#crc, this.#inBlock)
        : crc32Combine(this.#crc, this.#inBlock, this.#inBlockBytes)
    this.#before = 0
    this.#beforeBytes = 0
    this.#inBlock = 0
    this.#inBlockBytes = 0
  }
}

const IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/** Sums as the wire has them, 4 bytes each; takes `sums` over. */
export function littleEndian(sums: Uint32Array): Buffer {
  const bytes = Buffer.from(sums.buffer, sums.byteOffset, sums.byteLength)
  return IS_LITTLE_ENDIAN ? bytes : bytes.swap32()
}
