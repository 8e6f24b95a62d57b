// Records in a stream of bytes: lines with their newlines, or pieces of one size.

import { DfsError } from '../../base/errors.ts'
import { RECORD_BYTES_MAX } from '../../base/limits.ts'

const NEWLINE = 10

/**
 * Cuts a stream into lines, each with its newline; what stands behind the last newline is one more. Throws
 * INVALID_ARGUMENT for a line of more than RECORD_BYTES_MAX bytes.
 */
export async function* linesOf(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer[]> {
  let line: Buffer[] = []
  let bytes = 0
  for await (const piece of pieces) {
    let from = 0
    for (let end = piece.indexOf(NEWLINE); end >= 0; end = piece.indexOf(NEWLINE, from)) {
      line.push(piece.subarray(from, end + 1))
      yield line
      line = []
      bytes = 0
      from = end + 1
    }
    if (from === piece.length) continue
    line.push(piece.subarray(from))
    bytes += piece.length - from
    if (bytes > RECORD_BYTES_MAX) {
      throw new DfsError('INVALID_ARGUMENT', `a line of over ${RECORD_BYTES_MAX} bytes is no record: see --record-size`)
    }
  }
  if (line.length > 0) yield line
}

/** Cuts a stream into records of `size` bytes (1 upward), the last one perhaps shorter. */
export async function* cutOf(pieces: AsyncIterable<Buffer>, size: number): AsyncGenerator<Buffer[]> {
  let record: Buffer[] = []
  let left = size
  for await (const piece of pieces) {
    for (let from = 0; from < piece.length; ) {
      const part = piece.subarray(from, from + left)
      record.push(part)
      left -= part.length
      from += part.length
      if (left > 0) continue
      yield record
      record = []
      left = size
    }
  }
  if (record.length > 0) yield record
}
