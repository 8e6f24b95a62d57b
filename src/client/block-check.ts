// Proof of what a chunkserver sends: each block against the checksum that was made from the writer's bytes.
//
// A reply to `read` has whole blocks and their checksums; the last may be a part of a block. One pass a byte: the
// blocks that arrive together are proven together (base/blocks.ts), and the frame's checksum follows from the same pass.
// Nothing is handed out before every block of the reply is proven; then it is trimmed to what was asked.
//
// Buffers: with a target the wanted bytes are copied as they arrive; without one the socket's buffers are retained and
// given as slices, until `release`.
//
// Source: GFS §5.2; DESIGN §3, Chunkserver.

import { combineBlock, combineRun, sumsFrom, wrongBlock } from '../base/blocks.ts'
import { crc32, crc32Combine } from '../base/crc32.ts'
import { DfsError } from '../base/errors.ts'
import { BLOCK_BYTES } from '../base/limits.ts'
import type { ReceivedBytes } from '../io/network.ts'
import type { DataSink } from '../rpc/incoming-data.ts'

/** A range of a chunk that was asked for. */
export interface WantedRange {
  /** Chunk offset. */
  readonly offset: number
  /** 1 upward. */
  readonly length: number
}

export class BlockCheck implements DataSink {
  /** Wanted bytes that the reply has: from the wanted offset on, 1 .. wanted length. */
  readonly length: number
  readonly #checksums: Uint32Array
  readonly #dataBytes: number
  /** The wanted part within the data. */
  readonly #start: number
  readonly #end: number
  readonly #chunkOffset: number
  readonly #target: Uint8Array | undefined
  readonly #onEnd: (error?: DfsError) => void
  #slices: Buffer[] = []
  #retained: ReceivedBytes[] = []
  #at = 0
  #blockCrc = 0
  #crc = 0
  #badBlock = -1

  /**
   * @param offset     chunk offset of the first data byte, as the server says
   * @param checksums  CRC32 of each block, 4 bytes each, little-endian; copied
   * @param target     takes the wanted bytes from its start on; at least as long as wanted
   * @param onEnd      called once: without an error every block was right
   * Throws CORRUPT_REPLICA when the reply can't be an answer to `wanted`.
   */
  constructor(
    wanted: WantedRange,
    offset: number,
    checksums: Uint8Array,
    dataBytes: number,
    target: Uint8Array | undefined,
    onEnd: (error?: DfsError) => void,
  ) {
    const blocks = Math.ceil(dataBytes / BLOCK_BYTES)
    const isFitting =
      offset % BLOCK_BYTES === 0 &&
      offset <= wanted.offset &&
      offset + dataBytes > wanted.offset &&
      checksums.length === 4 * blocks
    if (!isFitting) {
      throw new DfsError(
        'CORRUPT_REPLICA',
        `asked for bytes ${wanted.offset} .. ${wanted.offset + wanted.length - 1}, got ${dataBytes} from ${offset} with ${checksums.length / 4} checksums`,
      )
    }
    this.#checksums = sumsFrom(checksums)
    this.#dataBytes = dataBytes
    this.#chunkOffset = offset
    this.#start = wanted.offset - offset
    this.#end = Math.min(dataBytes, this.#start + wanted.length)
    this.length = this.#end - this.#start
    this.#target = target
    this.#onEnd = onEnd
  }

  /** The proven bytes, `length` in all; empty with a target. Valid until `release`. */
  get slices(): readonly Buffer[] {
    return this.#slices
  }

  /** Gives the socket's buffers back. */
  release(): void {
    this.#slices = []
    for (const received of this.#retained.splice(0)) received.release()
  }

  onData(bytes: Buffer, received: ReceivedBytes): void {
    this.#check(bytes)
    const from = Math.max(0, this.#start - this.#at)
    const to = Math.min(bytes.length, this.#end - this.#at)
    if (from < to) {
      const wanted = from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to)
      if (this.#target !== undefined) this.#target.set(wanted, this.#at + from - this.#start)
      else {
        received.retain()
        this.#retained.push(received)
        this.#slices.push(wanted)
      }
    }
    this.#at += bytes.length
  }

  crc(): number {
    return this.#crc
  }

  onEnd(error?: DfsError): void {
    if (error !== undefined) this.release()
    else if (this.#badBlock >= 0) {
      this.release()
      const offset = this.#chunkOffset + this.#badBlock * BLOCK_BYTES
      error = new DfsError('CORRUPT_REPLICA', `the block at ${offset} does not match its checksum`, {
        chunkOffset: offset,
      })
    }
    this.#onEnd(error)
  }

  #check(bytes: Buffer): void {
    for (let from = 0; from < bytes.length; ) {
      const at = this.#at + from
      const isBlockStart = at % BLOCK_BYTES === 0
      from = isBlockStart ? this.#checkBlocks(bytes, from) : from
      if (from < bytes.length) from = this.#checkPart(bytes, from)
    }
  }

  /** Takes the blocks that lie whole in `bytes` from `from` on. @returns the offset behind them */
  #checkBlocks(bytes: Buffer, from: number): number {
    const at = this.#at + from
    const left = bytes.length - from
    const isLast = at + left === this.#dataBytes
    const length = isLast ? left : left - (left % BLOCK_BYTES)
    if (length === 0) return from
    const run = from === 0 && length === bytes.length ? bytes : bytes.subarray(from, from + length)
    const first = at / BLOCK_BYTES
    const sums = this.#checksums
    const expected = combineRun(this.#crc, sums, first, first + Math.ceil(length / BLOCK_BYTES), length)
    this.#crc = crc32(run, this.#crc)
    if (this.#crc !== expected && this.#badBlock < 0) this.#badBlock = wrongBlock(run, sums, first).index
    return from + length
  }

  /** Takes what belongs to a block that comes in parts. @returns the offset behind it */
  #checkPart(bytes: Buffer, from: number): number {
    const at = this.#at + from
    const block = Math.floor(at / BLOCK_BYTES)
    const blockEnd = Math.min(this.#dataBytes, (block + 1) * BLOCK_BYTES)
    const to = Math.min(bytes.length, from + blockEnd - at)
    this.#blockCrc = crc32(bytes.subarray(from, to), this.#blockCrc)
    if (this.#at + to < blockEnd) return to
    if (this.#blockCrc !== this.#checksums[block] && this.#badBlock < 0) this.#badBlock = block
    const blockBytes = blockEnd - block * BLOCK_BYTES
    this.#crc =
      blockBytes === BLOCK_BYTES
        ? combineBlock(this.#crc, this.#blockCrc)
        : crc32Combine(this.#crc, this.#blockCrc, blockBytes)
    this.#blockCrc = 0
    return to
  }
}
