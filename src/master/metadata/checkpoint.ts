// The state as the sections of a checkpoint, in a canonical order, so that equal states are equal bytes.
//
// The sections are described in README.md beside this file (the file around them in ../../../oplog-format.md). Row
// numbers, page layouts, the shape of the tree and caches are this process's own and stand in none of them: a state that
// was loaded and one that was replayed write the same bytes and answer the same to every later operation.

import type { ErrorDetail } from '../../base/errors.ts'
import { ErrorCode, errorCodeOf } from '../../base/errors.ts'
import type { ChunkHandle, ClusterId, DirectoryId, InodeId, Life, ServerId, SessionId } from '../../base/ids.ts'
import { CHUNK_BYTES_MAX, NAME_BYTES_MAX, REPLICAS_MAX } from '../../base/limits.ts'
import type { Extent, Member, Outcome } from '../operations.ts'
import type { ByteTree } from './byte-tree.ts'
import { addHold, settle } from './chunk-operations.ts'
import type { ChunkOwner } from './chunk-table.ts'
import { FILE_BYTES_MAX } from './outcome.ts'
import {
  badSection,
  columnBytes,
  columnSink,
  getU32,
  getU48,
  getU64,
  itemSink,
  putU32,
  putU48,
  putU64,
  type RecordFields,
  recordBytes,
  recordSink,
  type Section,
  type SectionSink,
} from './sections.ts'
import { type Job, MetadataState, type Session, type TrashEntry } from './state.ts'

/** Version of the sections' meaning, the first field of section `state`. */
export const SECTIONS_VERSION = 1

/** Sections as a reader of checkpoint files gives them. */
export type LoadedSections = AsyncIterable<{
  readonly name: string
  readonly bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>
}>

/** The sections of the state. The state must not change until the last byte is taken. */
export function* encodeCheckpoint(state: MetadataState): Generator<Section, void, void> {
  const context = new Encoding(state)
  for (const { name, encode } of layout) yield { name, bytes: encode(context) }
}

/**
 * Builds a state from the sections of a checkpoint, in their order.
 *
 * Throws BAD_FORMAT when a section is missing, unknown or of another shape; what the source throws passes through.
 */
export async function loadCheckpointSections(sections: LoadedSections): Promise<MetadataState> {
  const context = new Decoding()
  let at = 0
  for await (const { name, bytes } of sections) {
    const expected = layout[at++]
    if (expected === undefined || expected.name !== name) {
      throw badSection(name, `not known at this place, where ${expected?.name ?? 'the end'} is due`)
    }
    const sink = expected.decode(context)
    for await (const piece of bytes) sink.push(piece)
    sink.end()
  }
  if (at !== layout.length) throw badSection(layout[at]!.name, 'missing')
  return context.finish()
}

interface SectionRow {
  readonly name: string
  /** How its bytes are cut: for the table in README.md, which a test compares. */
  readonly shape: string
  encode(context: Encoding): Iterable<Uint8Array>
  decode(context: Decoding): SectionSink
}

/** What writing needs besides the state: the canonical order of rows. */
class Encoding {
  readonly state: MetadataState
  readonly inodes: Float64Array
  readonly inodeRows: Uint32Array
  readonly chunks: Float64Array
  readonly chunkRows: Uint32Array
  readonly profileOrder: readonly number[]
  /** The canonical number of each profile. */
  readonly profileNumbers: Uint16Array

  constructor(state: MetadataState) {
    this.state = state
    ;[this.inodes, this.inodeRows] = inOrder(state.inodes.index)
    ;[this.chunks, this.chunkRows] = inOrder(state.chunks.index)
    this.profileOrder = state.profiles.inOrder()
    this.profileNumbers = new Uint16Array(65_536)
    this.profileOrder.forEach((number, at) => {
      this.profileNumbers[number] = at
    })
  }
}

function inOrder(index: {
  size: number
  forEach(visit: (id: number, row: number) => void): void
}): [Float64Array, Uint32Array] {
  const ids = new Float64Array(index.size)
  const rows = new Uint32Array(index.size)
  let at = 0
  index.forEach((id, row) => {
    ids[at] = id
    rows[at++] = row
  })
  return [ids, rows]
}

/** What reading remembers between sections. Rows of fresh tables are given as 0, 1, 2, … */
class Decoding {
  readonly state = new MetadataState()
  readonly profiles: number[] = []
  inodes = new Float64Array(0)
  counts = new Uint32Array(0)
  chunks = new Float64Array(0)

  finish(): MetadataState {
    const { state } = this
    for (let row = 0; row < this.chunks.length; row++) {
      state.chunks.countLoaded(row)
      const handle = this.chunks[row] as ChunkHandle
      if (state.chunks.isOpen(row) !== state.chunks.members.has(handle))
        throw badSection('members', 'not those of the open chunks')
      if (state.chunks.references(row) === 0) settle(state, handle)
    }
    if (state.chunks.count !== this.chunks.length) throw badSection('chunk.handle', 'a chunk that nothing holds')
    for (const number of this.profiles) state.profiles.drop(number)
    return state
  }
}

function inodeColumn(
  name: string,
  width: number,
  write: (context: Encoding, buffer: Buffer, offset: number, row: number, at: number) => void,
  read: (context: Decoding, buffer: Buffer, offset: number, row: number) => void,
): SectionRow {
  return {
    name,
    shape: `column of ${width}`,
    encode: (context) =>
      columnBytes(context.inodes.length, width, (buffer, offset, at) =>
        write(context, buffer, offset, context.inodeRows[at]!, at),
      ),
    decode: (context) =>
      columnSink(
        name,
        width,
        (buffer, offset, at) => {
          if (at >= context.inodes.length) throw badSection(name, `over ${context.inodes.length} values`)
          read(context, buffer, offset, at)
        },
        (count) => checkCount(name, count, context.inodes.length),
      ),
  }
}

function chunkColumn(
  name: string,
  width: number,
  write: (context: Encoding, buffer: Buffer, offset: number, row: number) => void,
  read: (context: Decoding, buffer: Buffer, offset: number, row: number) => void,
): SectionRow {
  return {
    name,
    shape: `column of ${width}`,
    encode: (context) =>
      columnBytes(context.chunks.length, width, (buffer, offset, at) =>
        write(context, buffer, offset, context.chunkRows[at]!),
      ),
    decode: (context) =>
      columnSink(
        name,
        width,
        (buffer, offset, at) => {
          if (at >= context.chunks.length) throw badSection(name, `over ${context.chunks.length} values`)
          read(context, buffer, offset, at)
        },
        (count) => checkCount(name, count, context.chunks.length),
      ),
  }
}

function records(
  name: string,
  encode: (state: MetadataState, context: Encoding) => Iterable<readonly unknown[]>,
  decode: (context: Decoding, fields: RecordFields) => void,
): SectionRow {
  return {
    name,
    shape: 'records',
    encode: (context) => recordBytes(encode(context.state, context)),
    decode: (context) =>
      recordSink(name, (fields) => {
        decode(context, fields)
        fields.end()
      }),
  }
}

function checkCount(name: string, count: number, expected: number): void {
  if (count !== expected) throw badSection(name, `${count} values, ${expected} are due`)
}

const DIRECTORY = 1

/** All sections, in the order of the file. */
const layout: readonly SectionRow[] = [
  records(
    'state',
    (state) => [
      [
        SECTIONS_VERSION,
        state.clusterId,
        state.lineage,
        [...state.lineages].sort((a, b) => a[0] - b[0]).flat(),
        state.chunkBytes,
        state.goal,
        state.clusterMs,
        state.wallMs,
        state.lastIndex,
        state.lastTerm,
        state.rollbackLostIndex,
        state.nextInode,
        state.nextTrash,
        state.nextServer,
        state.trashDueThrough,
      ],
    ],
    ({ state }, fields) => {
      const version = fields.whole()
      if (version !== SECTIONS_VERSION) throw badSection('state', `version ${version}, known is ${SECTIONS_VERSION}`)
      state.clusterId = fields.text() as ClusterId
      state.lineage = fields.whole()
      const lineages = fields.wholes(2)
      for (let i = 0; i < lineages.length; i += 2) state.lineages.set(lineages[i]!, lineages[i + 1]!)
      state.chunkBytes = fields.whole()
      state.goal = fields.whole()
      state.clusterMs = fields.whole()
      state.wallMs = fields.whole()
      state.lastIndex = fields.whole()
      state.lastTerm = fields.whole()
      state.rollbackLostIndex = fields.whole()
      state.nextInode = fields.whole()
      state.nextTrash = fields.whole()
      state.nextServer = fields.whole()
      state.trashDueThrough = fields.whole()
    },
  ),
  records(
    'profiles',
    (state, { profileOrder }) =>
      profileOrder.map((number) => {
        const { mode, owner, group, goal } = state.profiles.get(number)
        return [mode, owner, group, goal]
      }),
    ({ state, profiles }, fields) => {
      const profile = { mode: fields.whole(), owner: fields.text(), group: fields.text(), goal: fields.whole() }
      if (!state.profiles.hasRoomFor(profile)) throw badSection('profiles', 'too many')
      profiles.push(state.profiles.use(profile))
    },
  ),
  {
    name: 'inode.number',
    shape: 'column of 6',
    encode: ({ inodes }) => columnBytes(inodes.length, 6, (buffer, offset, at) => putU48(buffer, offset, inodes[at]!)),
    decode: (context) =>
      idSink('inode.number', 6, getU48, (ids) => {
        context.inodes = ids
        context.counts = new Uint32Array(ids.length)
      }),
  },
  inodeColumn(
    'inode.flags',
    1,
    ({ state }, buffer, offset, row) => buffer.writeUInt8(state.inodes.isDirectory(row) ? DIRECTORY : 0, offset),
    ({ state, inodes }, buffer, offset, row) => {
      const flags = buffer[offset]!
      if (flags > DIRECTORY) throw badSection('inode.flags', `flags ${flags}`)
      state.inodes.create(inodes[row] as InodeId, flags === DIRECTORY, 0 as InodeId, 0, 0, 0)
    },
  ),
  inodeColumn(
    'inode.parent',
    6,
    ({ state }, buffer, offset, row) => putU48(buffer, offset, state.inodes.parent(row)),
    ({ state }, buffer, offset, row) => state.inodes.setParent(row, getU48(buffer, offset) as InodeId),
  ),
  inodeColumn(
    'inode.mtime',
    6,
    ({ state }, buffer, offset, row) => putU48(buffer, offset, state.inodes.mtimeMs(row)),
    ({ state }, buffer, offset, row) => state.inodes.setMtimeMs(row, getU48(buffer, offset)),
  ),
  inodeColumn(
    'inode.ctime',
    6,
    ({ state }, buffer, offset, row) => putU48(buffer, offset, state.inodes.ctimeMs(row)),
    ({ state }, buffer, offset, row) => state.inodes.setCtimeMs(row, getU48(buffer, offset)),
  ),
  inodeColumn(
    'inode.version',
    6,
    ({ state }, buffer, offset, row) => putU48(buffer, offset, state.inodes.contentVersion(row)),
    ({ state }, buffer, offset, row) => {
      if (getU48(buffer, offset) >= 2 ** 37) throw badSection('inode.version', 'out of range')
      state.inodes.setContentVersion(row, getU48(buffer, offset))
    },
  ),
  inodeColumn(
    'inode.profile',
    2,
    ({ state, profileNumbers }, buffer, offset, row) =>
      buffer.writeUInt16LE(profileNumbers[state.inodes.profile(row)]!, offset),
    ({ state, profiles }, buffer, offset, row) => {
      const profile = profiles[buffer.readUInt16LE(offset)]
      if (profile === undefined) throw badSection('inode.profile', 'no such profile')
      state.inodes.setProfile(row, state.profiles.useAgain(profile))
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
    ({ counts }, buffer, offset, row) => {
      counts[row] = getU32(buffer, offset)
    },
  ),
  { name: 'extents', shape: 'rows of 20', encode: encodeExtents, decode: decodeExtents },
  { name: 'entries', shape: 'name length (1), name, inode (6)', encode: encodeEntries, decode: decodeEntries },
  {
    name: 'chunk.handle',
    shape: 'column of 8',
    encode: ({ chunks }) => columnBytes(chunks.length, 8, (buffer, offset, at) => putU64(buffer, offset, chunks[at]!)),
    decode: (context) =>
      idSink('chunk.handle', 8, getU64, (ids) => {
        context.chunks = ids
        for (const handle of ids) context.state.chunks.load(handle as ChunkHandle)
      }),
  },
  chunkColumn(
    'chunk.version',
    2,
    ({ state }, buffer, offset, row) => buffer.writeUInt16LE(state.chunks.version(row), offset),
    ({ state }, buffer, offset, row) => state.chunks.setVersion(row, buffer.readUInt16LE(offset)),
  ),
  chunkColumn(
    'chunk.layout',
    1,
    (_context, buffer, offset) => buffer.writeUInt8(0, offset),
    (_context, buffer, offset) => {
      if (buffer[offset]! !== 0) throw badSection('chunk.layout', 'a layout that is not known here')
    },
  ),
  chunkColumn(
    'chunk.flags',
    1,
    ({ state }, buffer, offset, row) => buffer.writeUInt8(state.chunks.flags(row), offset),
    ({ state }, buffer, offset, row) => {
      if (buffer[offset]! > 7) throw badSection('chunk.flags', 'flags that are not known here')
      state.chunks.setFlags(row, buffer[offset]!)
    },
  ),
  chunkColumn(
    'chunk.length',
    4,
    ({ state }, buffer, offset, row) => putU32(buffer, offset, state.chunks.length(row)),
    ({ state }, buffer, offset, row) => {
      if (getU32(buffer, offset) > state.chunkBytes) throw badSection('chunk.length', 'over the size of a chunk')
      state.chunks.setLength(row, getU32(buffer, offset))
    },
  ),
  chunkColumn(
    'chunk.digest',
    4,
    ({ state }, buffer, offset, row) => putU32(buffer, offset, state.chunks.digest(row)),
    ({ state }, buffer, offset, row) => state.chunks.setDigest(row, getU32(buffer, offset)),
  ),
  chunkColumn(
    'chunk.references',
    4,
    ({ state }, buffer, offset, row) => putU32(buffer, offset, state.chunks.references(row)),
    ({ state }, buffer, offset, row) => state.chunks.setReferences(row, getU32(buffer, offset)),
  ),
  chunkColumn(
    'chunk.live',
    6,
    ({ state }, buffer, offset, row) => putU48(buffer, offset, state.chunks.dual(row)),
    ({ state }, buffer, offset, row) => state.chunks.setDual(row, getU48(buffer, offset)),
  ),
  chunkColumn(
    'chunk.allocation',
    6,
    ({ state }, buffer, offset, row) => putU48(buffer, offset, state.chunks.allocationIndex(row)),
    ({ state }, buffer, offset, row) => state.chunks.setAllocationIndex(row, getU48(buffer, offset)),
  ),
  chunkColumn(
    'chunk.goal',
    1,
    ({ state }, buffer, offset, row) => buffer.writeUInt8(state.chunks.goal(row), offset),
    ({ state }, buffer, offset, row) => {
      if (buffer[offset]! > REPLICAS_MAX) throw badSection('chunk.goal', 'out of range')
      state.chunks.setGoal(row, buffer[offset]!)
    },
  ),
  records(
    'indexes',
    (state) => sorted(state.chunks.indexDigests),
    ({ state }, fields) => state.chunks.indexDigests.set(fields.whole() as ChunkHandle, fields.whole()),
  ),
  records(
    'members',
    (state) => sorted(state.chunks.members).map(([handle, members]) => [handle, flatMembers(members)]),
    ({ state }, fields) => state.chunks.members.set(fields.whole() as ChunkHandle, membersOf(fields.wholes(3))),
  ),
  records(
    'sessions',
    (state) => sorted(state.sessionTable).map(([, session]) => sessionRecord(session)),
    ({ state }, fields) => {
      const session = readSession(fields)
      state.sessionTable.set(session.id, session)
    },
  ),
  records(
    'sessionsEnded',
    (state) => state.sessionsEnded,
    ({ state }, fields) => state.sessionsEnded.set(fields.whole() as SessionId, fields.whole()),
  ),
  records(
    'owners',
    (state) => sorted(state.chunks.owners).map(([handle, one]) => [handle, one.session, one.inode, one.closed]),
    ({ state }, fields) => {
      const handle = fields.whole() as ChunkHandle
      const owner: ChunkOwner = {
        session: fields.whole() as SessionId,
        inode: fields.whole() as InodeId,
        closed: fields.truth(),
      }
      if (!state.sessionTable.has(owner.session)) throw badSection('owners', 'a session that is not there')
      state.chunks.owners.set(handle, owner)
      addHold(state, owner.session, owner.inode, handle)
    },
  ),
  records(
    'unnamed',
    (state) => sorted(state.unnamed),
    ({ state }, fields) => {
      const inode = fields.whole() as InodeId
      const session = state.sessionTable.get(fields.whole() as SessionId)
      if (session === undefined) throw badSection('unnamed', 'a session that is not there')
      state.unnamed.set(inode, session.id)
      session.unnamed.add(inode)
    },
  ),
  records(
    'attributes',
    (state) => sorted(state.attributes).map(([inode, attributes]) => [inode, [...attributes].flat()]),
    ({ state }, fields) => {
      const inode = fields.whole() as InodeId
      const list = fields.list()
      const attributes = new Map<string, string>()
      while (list.left > 0) attributes.set(list.text(), list.text())
      const row = state.inodes.row(inode)
      if (row < 0) throw badSection('attributes', `inode ${inode} is not there`)
      state.attributes.set(inode, attributes)
      state.inodes.setHasAttributes(row, true)
    },
  ),
  records(
    'servers',
    (state) =>
      sorted(state.serverTable).map(([, one]) => [
        one.id,
        one.identity,
        one.directories,
        one.address,
        one.zone,
        one.rack,
        INTENTS.indexOf(one.intent),
        one.untilMs,
      ]),
    ({ state }, fields) => {
      const id = fields.whole() as ServerId
      state.serverTable.set(id, {
        id,
        identity: fields.whole(),
        directories: fields.wholes(1) as DirectoryId[],
        address: fields.text(),
        zone: fields.text(),
        rack: fields.text(),
        intent: INTENTS[fields.whole()] ?? fields.fail('no such intent'),
        untilMs: fields.whole(),
      })
    },
  ),
  records(
    'trash',
    (state) =>
      [...state.trashTable.values()].map((one) => [
        one.id,
        one.inode,
        one.path,
        one.type === 'directory',
        one.size,
        one.removedAtMs,
        one.removedWallMs,
        one.dueNow,
        one.isPurging,
      ]),
    ({ state }, fields) => {
      const entry: TrashEntry = {
        id: fields.whole(),
        inode: fields.whole() as InodeId,
        path: fields.text(),
        type: fields.truth() ? 'directory' : 'file',
        size: fields.whole(),
        removedAtMs: fields.whole(),
        removedWallMs: fields.whole(),
        dueNow: fields.truth(),
        isPurging: fields.truth(),
      }
      state.trashTable.set(entry.id, entry)
      state.trashOf.set(entry.inode, entry.id)
      if (entry.dueNow) state.trashDue.push(0, entry.id)
    },
  ),
  records(
    'job',
    (state) => (state.job === undefined ? [] : [jobRecord(state.job)]),
    ({ state }, fields) => {
      state.job = readJob(fields)
    },
  ),
]

/** Names and shapes of all sections, in the order of the file. */
export const sectionTable: readonly { readonly name: string; readonly shape: string }[] = layout.map(
  ({ name, shape }) => ({ name, shape }),
)

const INTENTS = ['serve', 'maintain', 'drain'] as const

function sorted<K extends number, V>(map: ReadonlyMap<K, V>): [K, V][] {
  return [...map].sort((a, b) => a[0] - b[0])
}

/** Collects a column of ascending ids. */
function idSink(
  name: string,
  width: number,
  get: (buffer: Buffer, at: number) => number,
  finished: (ids: Float64Array<ArrayBuffer>) => void,
): SectionSink {
  let ids = new Float64Array(4096)
  return columnSink(
    name,
    width,
    (buffer, offset, at) => {
      if (at === ids.length) {
        const grown = new Float64Array(ids.length * 2)
        grown.set(ids)
        ids = grown
      }
      ids[at] = get(buffer, offset)
      const before = at === 0 ? 0 : ids[at - 1]!
      if (ids[at]! <= before || !Number.isSafeInteger(ids[at])) throw badSection(name, `${ids[at]} after ${before}`)
    },
    (count) => finished(ids.slice(0, count)),
  )
}

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
    (buffer, offset) => {
      if (extents.length === 0) skip()
      if (row >= inodes.length) throw badSection('extents', 'more than the files have')
      const extent = {
        handle: getU64(buffer, offset) as ChunkHandle,
        offset: getU32(buffer, offset + 8),
        length: getU64(buffer, offset + 12),
      }
      const lengthMax = extent.handle === 0 ? FILE_BYTES_MAX : CHUNK_BYTES_MAX
      if (extent.length === 0 || extent.length > lengthMax || extent.offset > CHUNK_BYTES_MAX) {
        throw badSection('extents', `offset ${extent.offset}, length ${extent.length}: out of range`)
      }
      if (!Number.isSafeInteger(extent.handle)) throw badSection('extents', 'a handle out of range')
      extents.push(extent)
      if (extents.length < counts[row]!) return
      state.inodes.replaceExtents(row, 0, 0, extents)
      state.fileBytes += state.inodes.size(row)
      extents = []
      row++
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
  const sink = itemSink(
    'entries',
    (buffer, at) => 7 + buffer[at]!,
    (buffer, at, bytes) => {
      next()
      if (directory >= inodes.length) throw badSection('entries', 'more than the directories have')
      const inode = getU48(buffer, at + bytes - 6) as InodeId
      const parent = inodes[directory]!
      const row = state.inodes.row(inode)
      if (row < 0 || state.inodes.parent(row) !== parent)
        throw badSection('entries', `inode ${inode} is not in directory ${parent}`)
      if (!state.names.entries.append(parent, buffer, at + 1, at + bytes - 6, inode)) {
        throw badSection('entries', `directory ${parent}: names out of order`)
      }
      left--
    },
  )
  return {
    push: sink.push,
    end() {
      sink.end()
      next()
      if (directory < inodes.length) throw badSection('entries', 'fewer than the directories have')
    },
  }
}

function flatMembers(members: readonly Member[]): number[] {
  return members.flatMap(({ server, directory, life }) => [server, directory, life])
}

function membersOf(flat: readonly number[]): Member[] {
  const members: Member[] = []
  for (let i = 0; i < flat.length; i += 3) {
    members.push({ server: flat[i] as ServerId, directory: flat[i + 1] as DirectoryId, life: flat[i + 2] as Life })
  }
  return members
}

function sessionRecord(session: Session): readonly unknown[] {
  const replies = sorted(session.replies).map(([request, outcome]) => [request, ...outcomeFields(outcome)])
  return [session.id, session.openedMs, session.lastActiveMs, session.floor, session.isEnding, replies]
}

function outcomeFields(outcome: Outcome): readonly unknown[] {
  if (outcome.ok) return [true, outcome.reply]
  const detail = Object.entries(outcome.detail ?? {}).filter(([, value]) => value !== undefined)
  return [false, ErrorCode[outcome.code].number, outcome.message, detail.flat()]
}

function readSession(fields: RecordFields): Session {
  const session: Session = {
    id: fields.whole() as SessionId,
    openedMs: fields.whole(),
    lastActiveMs: fields.whole(),
    floor: fields.whole(),
    isEnding: fields.truth(),
    replies: new Map(),
    unnamed: new Set(),
    holds: new Map(),
  }
  const replies = fields.list()
  while (replies.left > 0) {
    const reply = replies.list()
    session.replies.set(reply.whole(), readOutcome(reply))
    reply.end()
  }
  return session
}

function readOutcome(fields: RecordFields): Outcome {
  if (fields.truth()) {
    const list = fields.list()
    const reply: (number | string)[] = []
    while (list.left > 0) {
      const value = list.plain()
      reply.push(typeof value === 'boolean' ? list.fail('a truth value in a reply') : value)
    }
    return { ok: true, reply }
  }
  const code = errorCodeOf(fields.whole())
  const message = fields.text()
  const list = fields.list()
  if (list.left === 0) return { ok: false, code, message }
  const detail: Record<string, string | number | boolean> = {}
  while (list.left > 0) detail[list.text()] = list.plain()
  return { ok: false, code, message, detail: detail satisfies ErrorDetail }
}

function jobRecord(job: Job): readonly unknown[] {
  const { by, file } = job
  return [
    by.session,
    by.request,
    by.floor,
    job.from,
    job.to,
    job.overwrite,
    job.root,
    job.stack.flatMap(({ source, target, after }) => [source, target, after]),
    file === undefined ? [] : [file.source, file.target, file.next],
  ]
}

function readJob(fields: RecordFields): Job {
  const by = { session: fields.whole() as SessionId, request: fields.whole(), floor: fields.whole() }
  const from = fields.text()
  const to = fields.text()
  const overwrite = fields.truth()
  const root = fields.whole() as InodeId
  const job: Job = { by, from, to, overwrite, root, stack: [], file: undefined }
  const stack = fields.list()
  while (stack.left > 0) {
    job.stack.push({ source: stack.whole() as InodeId, target: stack.whole() as InodeId, after: stack.text() })
  }
  const file = fields.list()
  if (file.left > 0) {
    job.file = { source: file.whole() as InodeId, target: file.whole() as InodeId, next: file.whole() }
    file.end()
  }
  return job
}
