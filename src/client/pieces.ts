// Pieces: a stream of bytes of any cut becomes pieces of at most PIECE_BYTES_MAX, each with its checksum, without copying.
//
// Pieces end at multiples of the piece size in the file, whatever it is at the time, so that after a flush in the middle
// the next ones lie on block borders again. The checksum is computed once, here; it is what every replica and every reader is held to.

import { assert } from '../base/assert.ts'
import { crc32 } from '../base/crc32.ts'

/** A run of a file's bytes on its way to a chunk. The slices never change. */
export interface Piece {
  /** File offset of the first byte, counted from where the writer began. */
  readonly offset: number
  /** 1 upward. */
  readonly length: number
  readonly slices: readonly Uint8Array[]
  /** CRC32 of the bytes. */
  readonly crc: number
  /** To be called when the bytes will not be needed again, if ever: their owner may then change them. */
  readonly releases: readonly (() => void)[]
}

export class PieceCutter {
  /** Where the pieces to come end: at multiples of it in the file. May be changed at any time. */
  pieceBytes: number
  #offset: number
  #slices: Uint8Array[] = []
  #releases: (() => void)[] = []
  #length = 0
  #crc = 0

  /** @param offset  file offset of the first byte to come */
  constructor(pieceBytes: number, offset: number) {
    this.pieceBytes = pieceBytes
    this.#offset = offset
  }

  /** Bytes that are not yet in a piece. */
  get openBytes(): number {
    return this.#length
  }

  /**
   * Takes bytes, which belong to the cutter from now on.
   *
   * @param onReleased  called once when all pieces with a part of them were released
   * @returns the pieces that are full
   */
  push(bytes: Uint8Array, onReleased?: () => void): Piece[] {
    const full: Piece[] = []
    let parts = 0
    const release = () => {
      if (--parts === 0) onReleased?.()
    }
    for (let at = 0; at < bytes.length; ) {
      const start = this.#offset + this.#length
      const room = this.pieceBytes - (start % this.pieceBytes)
      const slice = at === 0 && bytes.length <= room ? bytes : bytes.subarray(at, at + room)
      this.#slices.push(slice)
      if (onReleased !== undefined) {
        parts++
        this.#releases.push(release)
      }
      this.#crc = crc32(slice, this.#crc)
      this.#length += slice.length
      at += slice.length
      if (slice.length === room) full.push(this.#cut())
    }
    return full
  }

  /** What has not filled a piece yet, if there is anything. */
  flush(): Piece | undefined {
    return this.#length === 0 ? undefined : this.#cut()
  }

  #cut(): Piece {
    const piece = {
      offset: this.#offset,
      length: this.#length,
      slices: this.#slices,
      crc: this.#crc,
      releases: this.#releases,
    }
    this.#offset += this.#length
    this.#slices = []
    this.#releases = []
    this.#length = 0
    this.#crc = 0
    return piece
  }
}

/** The piece's first `length` bytes (1 .. length - 1) and the rest, as pieces of their own, which release nothing. */
export function splitPiece(piece: Piece, length: number): [Piece, Piece] {
  assert(length > 0 && length < piece.length, 'nothing to split off')
  const head: Uint8Array[] = []
  const tail: Uint8Array[] = []
  let at = 0
  for (const slice of piece.slices) {
    const cut = Math.max(0, Math.min(slice.length, length - at))
    if (cut > 0) head.push(slice.subarray(0, cut))
    if (cut < slice.length) tail.push(slice.subarray(cut))
    at += slice.length
  }
  return [
    { offset: piece.offset, length, slices: head, crc: crcOf(head), releases: [] },
    { offset: piece.offset + length, length: piece.length - length, slices: tail, crc: crcOf(tail), releases: [] },
  ]
}

function crcOf(slices: readonly Uint8Array[]): number {
  let crc = 0
  for (const slice of slices) crc = crc32(slice, crc)
  return crc
}
