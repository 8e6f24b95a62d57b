// The sections of inodes, their extents and their names.

import type { ChunkHandle, InodeId } from '../../base/ids.ts'
import { CHUNK_BYTES_MAX, NAME_BYTES_MAX } from '../../base/limits.ts'
import type { Extent } from '../operations.ts'
import type { ByteTree } from './byte-tree.ts'
import { type Decoding, type Encoding, idSink, inodeColumn, type SectionRow } from './checkpoint-context.ts'
import { FILE_BYTES_MAX } from './outcome.ts'
import {
  badSection,
  columnBytes,
  columnSink,
  getU16,
  getU32,
  getU48,
  getU64,
  itemSink,
  putU32,
  putU48,
  putU64,
  type SectionSink,
} from './sections.ts'

const DIRECTORY = 1

export const inodeSections: readonly SectionRow[] = [
  {
    name: 'inode.number',
    shape: 'column of 6',
    encode: ({ inodes }) => columnBytes(inodes.length, 6, (buffer, offset, at) => putU48(buffer, offset, inodes[at]!)),
    decode: (context) =>
      idSink('inode.number', 6, getU48, (ids) => {
        context.inodes = ids
        context.counts = new Uint32Array(ids.length)
        context.state.inodes.load(ids)
      }),
  },
  inodeColumn(
    'inode.flags',
    1,
    ({ state }, buffer, offset, row) => buffer.writeUInt8(state.inodes.isDirectory(row) ? DIRECTORY : 0, offset),
    ({ state }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset++) {
        const flags = buffer[offset]!
        if (flags > DIRECTORY) throw badSection('inode.flags', `flags ${flags}`)
        if (flags === DIRECTORY) state.inodes.makeDirectory(row)
      }
    },
  ),
  inodeColumn(
    'inode.parent',
    6,
    ({ state }, buffer, offset, row) => putU48(buffer, offset, state.inodes.parent(row)),
    ({ state: { inodes } }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset += 6) inodes.setParent(row, getU48(buffer, offset) as InodeId)
    },
  ),
  inodeColumn(
    'inode.mtime',
    6,
    ({ state }, buffer, offset, row) => putU48(buffer, offset, state.inodes.mtimeMs(row)),
    ({ state: { inodes } }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset += 6) inodes.setMtimeMs(row, getU48(buffer, offset))
    },
  ),
  inodeColumn(
    'inode.ctime',
    6,
    ({ state }, buffer, offset, row) => putU48(buffer, offset, state.inodes.ctimeMs(row)),
    ({ state: { inodes } }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset += 6) inodes.setCtimeMs(row, getU48(buffer, offset))
    },
  ),
  inodeColumn(
    'inode.version',
    6,
    ({ state }, buffer, offset, row) => putU48(buffer, offset, state.inodes.contentVersion(row)),
    ({ state: { inodes } }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset += 6) {
        const version = getU48(buffer, offset)
        if (version >= 2 ** 37) throw badSection('inode.version', 'out of range')
        inodes.setContentVersion(row, version)
      }
    },
  ),
  inodeColumn(
    'inode.profile',
    2,
    ({ state, profileNumbers }, buffer, offset, row) =>
      buffer.writeUInt16LE(profileNumbers[state.inodes.profile(row)]!, offset),
    ({ state, profiles }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset += 2) {
        const profile = profiles[getU16(buffer, offset)]
        if (profile === undefined) throw badSection('inode.profile', 'no such profile')
        state.inodes.setProfile(row, state.profiles.useAgain(profile))
      }
    },
  ),
  inodeColumn(
    'inode.count',
    4,
    ({ state }, buffer, offset, row) =>
      putU32(
        buffer,
        offset,
        state.inodes.isDirectory(row) ? state.inodes.entryCount(row) : state.inodes.extentCount(row),
      ),
    ({ counts }, buffer, offset, from, to) => {
      for (let row = from; row < to; row++, offset += 4) counts[row] = getU32(buffer, offset)
    },
  ),
  { name: 'extents', shape: 'rows of 20', encode: encodeExtents, decode: decodeExtents },
  { name: 'entries', shape: 'name length (1), name, inode (6)', encode: encodeEntries, decode: decodeEntries },
]

const EXTENT_BYTES = 20

function* encodeExtents(context: Encoding): Iterable<Uint8Array> {
  const buffer = Buffer.alloc(EXTENT_BYTES * 4096)
  const cursor = { row: 0, extent: 0 }
  for (let bytes = fillExtents(context, cursor, buffer); bytes > 0; bytes = fillExtents(context, cursor, buffer)) {
    yield buffer.subarray(0, bytes)
  }
}

/** Fills the buffer from the cursor on. @returns bytes. (A loop within a generator is never optimised.) */
function fillExtents({ state, inodeRows }: Encoding, cursor: { row: number; extent: number }, buffer: Buffer): number {
  const { inodes } = state
  let at = 0
  for (; cursor.row < inodeRows.length; cursor.row++, cursor.extent = 0) {
    const row = inodeRows[cursor.row]!
    const count = inodes.isDirectory(row) ? 0 : inodes.extentCount(row)
    for (; cursor.extent < count; cursor.extent++) {
      if (at === buffer.length) return at
      const { handle, offset, length } = inodes.extent(row, cursor.extent)
      putU64(buffer, at, handle)
      putU32(buffer, at + 8, offset)
      putU64(buffer, at + 12, length)
      at += EXTENT_BYTES
    }
  }
  return at
}

function decodeExtents({ state, inodes, counts }: Decoding): SectionSink {
  let row = 0
  let extents: Extent[] = []
  const skip = (): void => {
    while (row < inodes.length && (state.inodes.isDirectory(row) || counts[row] === 0)) row++
  }
  return columnSink(
    'extents',
    EXTENT_BYTES,
    (buffer, offset, from, to) => {
      for (let at = from; at < to; at++, offset += EXTENT_BYTES) {
        if (extents.length === 0) skip()
        if (row >= inodes.length) throw badSection('extents', 'more than the files have')
        const handle = getU64(buffer, offset) as ChunkHandle
        const start = getU32(buffer, offset + 8)
        const length = getU64(buffer, offset + 12)
        if (length === 0 || length > (handle === 0 ? FILE_BYTES_MAX : CHUNK_BYTES_MAX) || start > CHUNK_BYTES_MAX) {
          throw badSection('extents', `offset ${start}, length ${length}: out of range`)
        }
        if (handle > Number.MAX_SAFE_INTEGER) throw badSection('extents', 'a handle out of range')
        // By far the most files have one extent, and it is no hole.
        if (counts[row] === 1 && handle !== 0) {
          state.inodes.setOnlyExtent(row, handle, start, length)
        } else {
          extents.push({ handle, offset: start, length })
          if (extents.length < counts[row]!) continue
          state.inodes.replaceExtents(row, 0, 0, extents)
          extents = []
        }
        state.fileBytes += state.inodes.size(row)
        row++
      }
    },
    () => {
      skip()
      if (extents.length > 0 || row < inodes.length) throw badSection('extents', 'fewer than the files have')
    },
  )
}

function* encodeEntries({ state }: Encoding): Iterable<Uint8Array> {
  const { entries } = state.names
  if (!entries.seekFirst()) return
  const buffer = Buffer.alloc(64 * 1024)
  for (let bytes = fillEntries(entries, buffer); bytes > 0; bytes = fillEntries(entries, buffer)) {
    yield buffer.subarray(0, bytes)
  }
}

/** Fills the buffer with the entries from the cursor on. @returns bytes */
function fillEntries(entries: ByteTree, buffer: Buffer): number {
  let at = 0
  while (entries.hasCursor && at + NAME_BYTES_MAX + 7 <= buffer.length) {
    const nameBytes = entries.copyCursorName(buffer, at + 1)
    buffer[at] = nameBytes
    putU48(buffer, at + 1 + nameBytes, entries.cursorInode())
    at += nameBytes + 7
    entries.advance()
  }
  return at
}

/** Directories come in the order of their numbers, each with as many entries as its count says. */
function decodeEntries({ state, inodes, counts }: Decoding): SectionSink {
  let directory = -1
  let left = 0
  const next = (): void => {
    while (left === 0 && directory < inodes.length) {
      directory++
      if (directory < inodes.length && state.inodes.isDirectory(directory)) {
        left = counts[directory]!
        state.inodes.setEntryCount(directory, left)
      }
    }
  }
  const { entries } = state.names
  const sink = itemSink('entries', (buffer) => {
    let at = 0
    while (at < buffer.length) {
      const nameEnd = at + 1 + buffer[at]!
      if (nameEnd + 6 > buffer.length) break
      if (left === 0) next()
      if (directory >= inodes.length) throw badSection('entries', 'more than the directories have')
      const inode = getU48(buffer, nameEnd) as InodeId
      const parent = inodes[directory]!
      const row = state.inodes.row(inode)
      if (row < 0 || state.inodes.parent(row) !== parent)
        throw badSection('entries', `inode ${inode} is not in directory ${parent}`)
      if (!entries.append(parent, buffer, at + 1, nameEnd, inode)) {
        throw badSection('entries', `directory ${parent}: names out of order`)
      }
      left--
      at = nameEnd + 6
    }
    return at
  })
  return {
    push: sink.push,
    end() {
      sink.end()
      next()
      if (directory < inodes.length) throw badSection('entries', 'fewer than the directories have')
    },
  }
}
