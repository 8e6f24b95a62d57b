// What a gathering reads: ranges of other chunks, cut so that the whole blocks of each fit into one read, and cuts that
// lie near each other joined to one read. Pure.

import { DfsError } from '../base/errors.ts'
import { type ChunkHandle, formatHandle } from '../base/ids.ts'
import { BLOCK_BYTES, CHUNK_BYTES_MAX, PIECE_BYTES } from '../base/limits.ts'
import { KiB } from '../base/units.ts'

/** A run of a source chunk's bytes that goes into the gathered chunk behind the one before. */
export interface GatherRange {
  /** Place of the chunk among the sources. */
  readonly source: number
  readonly offset: number
  readonly length: number
}

/** A range, or a part of one, whose whole blocks are at most PIECE_BYTES. */
export interface Cut extends GatherRange {
  /** Logged length of its chunk: where the last block ends. */
  readonly chunkLength: number
}

/** Whole blocks of one source that are read at once, and the cuts that lie in them, in the order they are wanted in. */
export interface Span {
  readonly source: number
  readonly offset: number
  readonly length: number
  readonly cuts: readonly Cut[]
}

/** Bytes between two cuts that are rather read than made two reads of. */
const GAP_BYTES_MAX = 64 * KiB

/**
 * Cuts ranges into what single reads can bring.
 *
 * Throws INVALID_ARGUMENT for a range outside its chunk, and for more bytes than a chunk has.
 */
export function cutRanges(
  ranges: readonly GatherRange[],
  sources: readonly { readonly handle: ChunkHandle; readonly length: number }[],
): Cut[] {
  const cuts: Cut[] = []
  let total = 0
  for (const { source, offset, length } of ranges) {
    const chunk = sources[source]
    if (chunk === undefined || length === 0 || offset + length > chunk.length) {
      const name = chunk === undefined ? `source ${source}` : `chunk ${formatHandle(chunk.handle)}`
      throw new DfsError('INVALID_ARGUMENT', `${length} bytes at ${offset} are no range of ${name}`)
    }
    total += length
    for (let at = offset; at < offset + length; ) {
      const end = Math.min(offset + length, at - (at % BLOCK_BYTES) + PIECE_BYTES)
      cuts.push({ source, offset: at, length: end - at, chunkLength: chunk.length })
      at = end
    }
  }
  if (total === 0 || total > CHUNK_BYTES_MAX) {
    throw new DfsError('INVALID_ARGUMENT', `ranges of ${total} bytes, 1 to ${CHUNK_BYTES_MAX} make a chunk`)
  }
  return cuts
}

/** Reads for the cuts, in their order. */
export function spansOf(cuts: readonly Cut[]): Span[] {
  const spans: { source: number; offset: number; length: number; cuts: Cut[] }[] = []
  for (const cut of cuts) {
    const start = cut.offset - (cut.offset % BLOCK_BYTES)
    const end = Math.min(cut.chunkLength, Math.ceil((cut.offset + cut.length) / BLOCK_BYTES) * BLOCK_BYTES)
    const last = spans.at(-1)
    const lastEnd = last === undefined ? 0 : last.offset + last.length
    const isNear = last?.source === cut.source && start >= last.offset && start - lastEnd <= GAP_BYTES_MAX
    if (last !== undefined && isNear && end - last.offset <= PIECE_BYTES) {
      last.length = Math.max(last.length, end - last.offset)
      last.cuts.push(cut)
    } else spans.push({ source: cut.source, offset: start, length: end - start, cuts: [cut] })
  }
  return spans
}
