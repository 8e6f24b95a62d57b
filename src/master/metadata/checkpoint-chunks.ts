// The sections of the chunk table.

import { REPLICAS_MAX } from '../../base/limits.ts'
import { chunkColumn, idSink, type SectionRow } from './checkpoint-context.ts'
import { CHUNK_FLAGS_MAX } from './chunk-table.ts'
import { badSection, columnBytes, getU16, getU32, getU48, getU64, putU32, putU48, putU64 } from './sections.ts'

export const chunkSections: readonly SectionRow[] = [
  {
    name: 'chunk.handle',
    shape: 'column of 8',
    encode: ({ chunks }) => columnBytes(chunks.length, 8, (buffer, offset, at) => putU64(buffer, offset, chunks[at]!)),
    decode: (context) =>
      idSink('chunk.handle', 8, getU64, (ids) => {
        context.chunks = ids
        context.state.chunks.load(ids)
      }),
  },
  chunkColumn(
    'chunk.version',
    2,
    ({ state }, buffer, offset, row) => buffer.writeUInt16LE(state.chunks.version(row), offset),
    ({ state: { chunks } }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset += 2) chunks.setVersion(row, getU16(buffer, offset))
    },
  ),
  chunkColumn(
    'chunk.layout',
    1,
    (_context, buffer, offset) => buffer.writeUInt8(0, offset),
    (_context, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset++) {
        if (buffer[offset]! !== 0) throw badSection('chunk.layout', 'a layout that is not known here')
      }
    },
  ),
  chunkColumn(
    'chunk.flags',
    1,
    ({ state }, buffer, offset, row) => buffer.writeUInt8(state.chunks.flags(row), offset),
    ({ state: { chunks } }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset++) {
        if (buffer[offset]! > CHUNK_FLAGS_MAX) throw badSection('chunk.flags', 'flags that are not known here')
        chunks.setFlags(row, buffer[offset]!)
      }
    },
  ),
  chunkColumn(
    'chunk.length',
    4,
    ({ state }, buffer, offset, row) => putU32(buffer, offset, state.chunks.length(row)),
    ({ state: { chunks, chunkBytes } }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset += 4) {
        const length = getU32(buffer, offset)
        if (length > chunkBytes) throw badSection('chunk.length', 'over the size of a chunk')
        chunks.setLength(row, length)
      }
    },
  ),
  chunkColumn(
    'chunk.digest',
    4,
    ({ state }, buffer, offset, row) => putU32(buffer, offset, state.chunks.digest(row)),
    ({ state: { chunks } }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset += 4) chunks.setDigest(row, getU32(buffer, offset))
    },
  ),
  chunkColumn(
    'chunk.references',
    4,
    ({ state }, buffer, offset, row) => putU32(buffer, offset, state.chunks.references(row)),
    ({ state: { chunks } }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset += 4) chunks.setReferences(row, getU32(buffer, offset))
    },
  ),
  chunkColumn(
    'chunk.live',
    6,
    ({ state }, buffer, offset, row) => putU48(buffer, offset, state.chunks.dual(row)),
    ({ state: { chunks } }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset += 6) chunks.setDual(row, getU48(buffer, offset))
    },
  ),
  chunkColumn(
    'chunk.allocation',
    6,
    ({ state }, buffer, offset, row) => putU48(buffer, offset, state.chunks.allocationIndex(row)),
    ({ state: { chunks } }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset += 6) chunks.setAllocationIndex(row, getU48(buffer, offset))
    },
  ),
  chunkColumn(
    'chunk.goal',
    1,
    ({ state }, buffer, offset, row) => buffer.writeUInt8(state.chunks.goal(row), offset),
    ({ state: { chunks } }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset++) {
        if (buffer[offset]! > REPLICAS_MAX) throw badSection('chunk.goal', 'out of range')
        chunks.setGoal(row, buffer[offset]!)
      }
    },
  ),
]
