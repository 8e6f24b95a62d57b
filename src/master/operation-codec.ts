// The bytes of an operation in the log: one msgpack array, [clusterMs, wallMs, field, field, …], the fields in the order
// of the table below; kind and encoding version stand in the record's header (oplog-format.md).
//
//   requester   session, request, floor               (three fields)
//   new inode   mode, owner, group, goal              (four fields)
//   publish     path, overwrite                       (two fields; where it is optional: nil, nil)
//   extents     [handle, offset, length, …]           (one flat array)
//   seals       [handle, length, digest, …]
//   members     [server, directory, life, …]
//   options     [name, value | nil, …]
//   goals       [handle, from, to, …]
//   switches    [inode, file offset, offset, extents replaced, …], then those extents  (two fields)
//   optional    nil when absent
//
// Fields are only ever added at the end, with a higher encoding version; a reader of an older version gives the missing
// ones their old meaning. This file and operation-fields.ts alone read or write these bytes. Whatever does not have the
// shape is BAD_FORMAT: a record is only read after its checksum held.

import { DfsError } from '../base/errors.ts'
import type { ChunkHandle, ClusterId, DirectoryId, InodeId, ServerId, SessionId } from '../base/ids.ts'
import { pack } from '../base/msgpack.ts'
import { Fields } from './operation-fields.ts'
import type {
  Extent,
  ExtentSwitch,
  Member,
  NewInode,
  Operation,
  OperationKind,
  OperationOf,
  RecordTime,
  Requester,
  SealClaim,
} from './operations.ts'
import { operationTable } from './operations.ts'

/** A decoded record. */
export interface LoggedOperation {
  readonly time: RecordTime
  readonly op: Operation
}

/**
 * Encodes one operation into a new buffer the caller owns.
 *
 * Throws INVALID_ARGUMENT for a number that a record can't carry: what is written must be readable for ever.
 */
export function encodeOperation(time: RecordTime, op: Operation): Buffer {
  const codec = codecs[op.kind] as Codec<OperationKind>
  const fields: unknown[] = [time.clusterMs, time.wallMs]
  codec.write(op, fields)
  checkNumbers(op.kind, fields)
  return pack(fields)
}

function checkNumbers(kind: OperationKind, fields: readonly unknown[]): void {
  for (const field of fields) {
    if (typeof field === 'number') {
      if (Number.isSafeInteger(field) && (field >= 0 || kind === 'collectGarbage')) continue
      throw new DfsError('INVALID_ARGUMENT', `${kind}: ${field} is not a whole number in 0 .. 2^53 - 1`, { kind })
    }
    if (Array.isArray(field)) checkNumbers(kind, field)
  }
}

/**
 * Decodes the payload of a record: bytes `from` .. `to` - 1 of `bytes`. Nothing in the result refers to them.
 *
 * Throws BAD_FORMAT for an unknown kind or version, or another shape.
 */
export function decodeOperation(
  kind: number,
  version: number,
  bytes: Buffer,
  from = 0,
  to = bytes.length,
): LoggedOperation {
  const decoder = decoders[kind]
  if (decoder === undefined) throw new DfsError('BAD_FORMAT', `operation kind ${kind} is not known here`, { kind })
  const { name, known, read } = decoder
  if (version < 1 || version > known) {
    throw new DfsError('BAD_FORMAT', `${name}: encoding version ${version}, known up to ${known}`, { kind, version })
  }
  reader.begin(name, version, bytes, from, to)
  const time = { clusterMs: reader.whole(), wallMs: reader.whole() }
  const op = read(reader)
  reader.end()
  return { time, op }
}

/** Decoding is synchronous: one serves all. */
const reader = new Fields()

/** The kind with this number; undefined for none. */
export function kindOf(number: number): OperationKind | undefined {
  return decoders[number]?.name
}

interface Codec<K extends OperationKind> {
  write(op: OperationOf<K>, to: unknown[]): void
  read(from: Fields): OperationOf<K>
}

const INTENTS = ['serve', 'maintain', 'drain'] as const
const REMOVALS = ['file', 'emptyDirectory', 'tree'] as const

function putBy(by: Requester, to: unknown[]): void {
  to.push(by.session, by.request, by.floor)
}

function putInode(inode: NewInode, to: unknown[]): void {
  to.push(inode.mode, inode.owner, inode.group, inode.goal)
}

function flatExtents(extents: readonly Extent[]): number[] {
  const flat: number[] = []
  for (const { handle, offset, length } of extents) flat.push(handle, offset, length)
  return flat
}

function flatSeals(seals: readonly SealClaim[]): number[] {
  const flat: number[] = []
  for (const { handle, length, digest } of seals) flat.push(handle, length, digest)
  return flat
}

/** [inode, file offset, offset, extents replaced, …] and all those extents. */
function putSwitches(switches: readonly ExtentSwitch[], to: unknown[]): void {
  const heads: number[] = []
  for (const { inode, fileOffset, offset, from } of switches) heads.push(inode, fileOffset, offset, from.length)
  to.push(heads, flatExtents(switches.flatMap(({ from }) => from)))
}

function flatMembers(members: readonly Member[]): number[] {
  const flat: number[] = []
  for (const { server, directory, life } of members) flat.push(server, directory, life)
  return flat
}

const codecs: { readonly [K in OperationKind]: Codec<K> } = {
  formatCluster: {
    write: (op, to) => to.push(op.clusterId, op.lineage, op.chunkBytes, op.goal),
    read: (from) => ({
      kind: 'formatCluster',
      clusterId: from.text() as ClusterId,
      lineage: from.whole(),
      chunkBytes: from.whole(),
      goal: from.whole(),
    }),
  },
  acceptRollback: {
    write: (op, to) => to.push(op.lineage, op.lostIndex),
    read: (from) => ({ kind: 'acceptRollback', lineage: from.whole(), lostIndex: from.whole() }),
  },
  advanceTime: { write: () => {}, read: () => ({ kind: 'advanceTime' }) },
  registerServer: {
    write: (op, to) => to.push(op.server, op.identity, op.directories, op.address, op.zone, op.rack),
    read: (from) => ({
      kind: 'registerServer',
      server: from.whole() as ServerId | 0,
      identity: from.whole(),
      directories: from.wholes() as DirectoryId[],
      address: from.text(),
      zone: from.text(),
      rack: from.text(),
    }),
  },
  setServerIntent: {
    write: (op, to) => {
      to.push(op.server, INTENTS.indexOf(op.intent), op.untilMs)
      if (op.by === undefined) to.push(null)
      else putBy(op.by, to)
    },
    read: (from) => {
      const server = from.whole() as ServerId
      const intent = from.oneOf(INTENTS)
      const untilMs = from.whole()
      return from.has()
        ? { kind: 'setServerIntent', by: from.by(), server, intent, untilMs }
        : { kind: 'setServerIntent', server, intent, untilMs }
    },
  },
  setClusterOptions: {
    write: (op, to) => to.push(op.options.flat()),
    read: (from) => ({ kind: 'setClusterOptions', options: from.options() }),
  },
  endSession: {
    write: (op, to) => to.push(op.session),
    read: (from) => ({ kind: 'endSession', session: from.whole() as SessionId }),
  },
  makeDirectory: {
    write: (op, to) => {
      putBy(op.by, to)
      to.push(op.path, op.parents)
      putInode(op.inode, to)
    },
    read: (from) => ({
      kind: 'makeDirectory',
      by: from.by(),
      path: from.text(),
      parents: from.truth(),
      inode: from.inode(),
    }),
  },
  putFile: {
    write: (op, to) => {
      putBy(op.by, to)
      to.push(op.publish.path, op.publish.overwrite)
      putInode(op.inode, to)
      to.push(flatExtents(op.extents), op.mtimeMs)
    },
    read: (from) => ({
      kind: 'putFile',
      by: from.by(),
      publish: from.publish(),
      inode: from.inode(),
      extents: from.extents(),
      mtimeMs: from.whole(),
    }),
  },
  openFile: {
    write: (op, to) => {
      putBy(op.by, to)
      putInode(op.inode, to)
      to.push(flatMembers(op.members))
    },
    read: (from) => ({ kind: 'openFile', by: from.by(), inode: from.inode(), members: from.members() }),
  },
  allocateChunk: {
    write: (op, to) => {
      putBy(op.by, to)
      to.push(op.inode, flatMembers(op.members), flatSeals(op.seals))
    },
    read: (from) => ({
      kind: 'allocateChunk',
      by: from.by(),
      inode: from.whole() as InodeId,
      members: from.members(),
      seals: from.seals(),
    }),
  },
  commitFile: {
    write: (op, to) => {
      putBy(op.by, to)
      to.push(op.inode, flatExtents(op.extents), flatSeals(op.seals), op.close, op.mtimeMs)
      if (op.publish === undefined) to.push(null)
      else to.push(op.publish.path, op.publish.overwrite)
    },
    read: (from) => {
      const by = from.by()
      const inode = from.whole() as InodeId
      const extents = from.extents()
      const seals = from.seals()
      const close = from.truth()
      const mtimeMs = from.whole()
      if (!from.has()) return { kind: 'commitFile', by, inode, extents, seals, close, mtimeMs }
      return { kind: 'commitFile', by, inode, extents, seals, close, mtimeMs, publish: from.publish() }
    },
  },
  spliceFile: {
    write: (op, to) => {
      putBy(op.by, to)
      to.push(op.inode, op.offset, flatExtents(op.extents), flatSeals(op.seals), op.mtimeMs)
    },
    read: (from) => ({
      kind: 'spliceFile',
      by: from.by(),
      inode: from.whole() as InodeId,
      offset: from.whole(),
      extents: from.extents(),
      seals: from.seals(),
      mtimeMs: from.whole(),
    }),
  },
  truncateFile: {
    write: (op, to) => {
      putBy(op.by, to)
      to.push(op.path, op.size)
    },
    read: (from) => ({ kind: 'truncateFile', by: from.by(), path: from.text(), size: from.whole() }),
  },
  concatFiles: {
    write: (op, to) => {
      putBy(op.by, to)
      to.push(op.path, op.sources)
    },
    read: (from) => ({ kind: 'concatFiles', by: from.by(), path: from.text(), sources: from.texts() }),
  },
  copy: {
    write: (op, to) => {
      putBy(op.by, to)
      to.push(op.from, op.to, op.recursive, op.overwrite)
    },
    read: (from) => ({
      kind: 'copy',
      by: from.by(),
      from: from.text(),
      to: from.text(),
      recursive: from.truth(),
      overwrite: from.truth(),
    }),
  },
  rename: {
    write: (op, to) => {
      putBy(op.by, to)
      to.push(op.from, op.to, op.overwrite)
    },
    read: (from) => ({ kind: 'rename', by: from.by(), from: from.text(), to: from.text(), overwrite: from.truth() }),
  },
  remove: {
    write: (op, to) => {
      putBy(op.by, to)
      to.push(op.path, REMOVALS.indexOf(op.what), op.now)
    },
    read: (from) => ({
      kind: 'remove',
      by: from.by(),
      path: from.text(),
      what: from.oneOf(REMOVALS),
      now: from.truth(),
    }),
  },
  setAttributes: {
    write: (op, to) => {
      putBy(op.by, to)
      to.push(op.path, op.mode ?? null, op.owner ?? null, op.group ?? null, op.goal ?? null, op.mtimeMs ?? null)
      to.push(op.attributes === undefined ? null : op.attributes.flat())
    },
    read: (from) => ({
      kind: 'setAttributes',
      by: from.by(),
      path: from.text(),
      ...(from.has() ? { mode: from.whole() } : {}),
      ...(from.has() ? { owner: from.text() } : {}),
      ...(from.has() ? { group: from.text() } : {}),
      ...(from.has() ? { goal: from.whole() } : {}),
      ...(from.has() ? { mtimeMs: from.whole() } : {}),
      ...(from.has() ? { attributes: from.attributes() } : {}),
    }),
  },
  restoreTrash: {
    write: (op, to) => {
      putBy(op.by, to)
      to.push(op.trash, op.path)
    },
    read: (from) => ({ kind: 'restoreTrash', by: from.by(), trash: from.whole(), path: from.text() }),
  },
  emptyTrash: {
    write: (op, to) => {
      putBy(op.by, to)
      to.push(op.trash)
    },
    read: (from) => ({ kind: 'emptyTrash', by: from.by(), trash: from.whole() }),
  },
  openPackingChunk: {
    write: (op, to) => to.push(flatMembers(op.members), op.goal),
    read: (from) => ({ kind: 'openPackingChunk', members: from.members(), goal: from.whole() }),
  },
  sealChunk: {
    write: (op, to) => to.push(op.handle, op.length, op.digest, op.indexDigest),
    read: (from) => ({
      kind: 'sealChunk',
      handle: from.whole() as ChunkHandle,
      length: from.whole(),
      digest: from.whole(),
      indexDigest: from.whole(),
    }),
  },
  raiseVersion: {
    write: (op, to) => to.push(op.handle, op.version),
    read: (from) => ({ kind: 'raiseVersion', handle: from.whole() as ChunkHandle, version: from.whole() }),
  },
  openTail: {
    write: (op, to) => to.push(op.inode, flatMembers(op.members)),
    read: (from) => ({ kind: 'openTail', inode: from.whole() as InodeId, members: from.members() }),
  },
  reserveHandle: { write: () => {}, read: () => ({ kind: 'reserveHandle' }) },
  releaseHandle: {
    write: (op, to) => to.push(op.handle),
    read: (from) => ({ kind: 'releaseHandle', handle: from.whole() as ChunkHandle }),
  },
  switchExtents: {
    write: (op, to) => {
      to.push(op.handle, op.length, op.digest, op.goal)
      putSwitches(op.switches, to)
    },
    read: (from) => ({
      kind: 'switchExtents',
      handle: from.whole() as ChunkHandle,
      length: from.whole(),
      digest: from.whole(),
      goal: from.whole(),
      switches: from.switches(),
    }),
  },
  setChunkGoals: {
    write: (op, to) => to.push(op.goals.flatMap(({ handle, from, to }) => [handle, from, to])),
    read: (from) => ({ kind: 'setChunkGoals', goals: from.goals() }),
  },
  continueJob: { write: () => {}, read: () => ({ kind: 'continueJob' }) },
  collectGarbage: {
    write: (op, to) => to.push(op.trashBeforeMs, op.chunksBeforeMs, op.movedBeforeMs),
    read: (from) => {
      const trashBeforeMs = from.signed()
      const chunksBeforeMs = from.signed()
      // Before version 2 no bytes were ever moved.
      const movedBeforeMs = from.version >= 2 ? from.signed() : chunksBeforeMs
      return { kind: 'collectGarbage', trashBeforeMs, chunksBeforeMs, movedBeforeMs }
    },
  },
}

/** What decoding needs, by the number of the kind. */
interface Decoder {
  readonly name: OperationKind
  /** The highest encoding version that is known. */
  readonly known: number
  readonly read: (from: Fields) => Operation
}

const decoders: (Decoder | undefined)[] = []
for (const name of Object.keys(operationTable) as OperationKind[]) {
  const { number, version } = operationTable[name]
  decoders[number] = { name, known: version, read: codecs[name].read }
}
