// Files: made, written, named, spliced, cut and joined, each by one change of an extent list.
//
// Source: DESIGN §2 (files are lists of extents), §4 (the walk of a write).

import type { InodeId, SessionId } from '../../base/ids.ts'
import { ROWS_PER_RECORD_MAX } from '../../base/limits.ts'
import type { NewInode, OperationOf, Outcome, Publish } from '../operations.ts'
import { checkMembers, newChunk, releaseHolds } from './chunk-operations.ts'
import {
  appendEdit,
  applyEdit,
  applySeals,
  bytesOf,
  checkEdit,
  checkExtents,
  dropTail,
  type ExtentEdit,
  editReason,
  spliceEdit,
  truncateEdit,
} from './extents.ts'
import { NO_PARENT } from './inode-table.ts'
import type { Place } from './namespace.ts'
import {
  ACCEPTABLE,
  type Context,
  checkNewInode,
  checkTime,
  FILE_BYTES_MAX,
  isWhole,
  no,
  type Refusal,
  yes,
} from './outcome.ts'
import type { MetadataState } from './state.ts'
import { dropInode, moveToTrash } from './trash.ts'

/** Files without a name that a session may have at a time: one more is LIMIT_EXCEEDED. */
export const SESSION_UNNAMED_MAX = 16_384

export function putFile(state: MetadataState, op: OperationOf<'putFile'>, context: Context): Outcome {
  const { publish, extents } = op
  const place = checkPublish(state, publish)
  if ('ok' in place) return place
  const refusal =
    checkInode(state, op.inode) ?? checkTime(op.mtimeMs) ?? checkExtents(state, op.by.session, -1, extents, [])
  if (refusal !== undefined) return refusal
  if (bytesOf(extents) > FILE_BYTES_MAX) return no('LIMIT_EXCEEDED', `${publish.path}: over ${FILE_BYTES_MAX} bytes`)
  if (context.dry) return ACCEPTABLE
  const inode = newInode(state, false, op.inode, op.mtimeMs, context)
  const row = state.inodes.row(inode)
  if (extents.length > 0) {
    applyEdit(state, row, appendEdit(state, row, extents), 'edited', state.clusterMs)
    state.inodes.setContentVersion(row, 1)
  }
  publishInode(state, inode, publish, place, context)
  return yes(inode)
}

export function openFile(state: MetadataState, op: OperationOf<'openFile'>, context: Context): Outcome {
  const refusal = checkInode(state, op.inode) ?? checkMembers(state, op.members, 0)
  if (refusal !== undefined) return refusal
  if ((state.sessionTable.get(op.by.session)?.unnamed.size ?? 0) >= SESSION_UNNAMED_MAX) {
    return no('LIMIT_EXCEEDED', `the session has ${SESSION_UNNAMED_MAX} files open that have no name yet: close some`)
  }
  if (context.dry) return ACCEPTABLE
  const { session } = op.by
  const inode = newInode(state, false, op.inode, 0, context)
  state.unnamed.set(inode, session)
  state.sessionTable.get(session)!.unnamed.set(inode, true)
  if (op.members.length === 0) return yes(inode, 0, 0)
  const goal = op.inode.goal === 0 ? state.goal : op.inode.goal
  return yes(inode, newChunk(state, op.members, goal, context.index, { session, inode }), 1)
}

export function allocateChunk(state: MetadataState, op: OperationOf<'allocateChunk'>, context: Context): Outcome {
  const { inode } = op
  const { session } = op.by
  const refusal =
    checkWritable(state, inode, session) ??
    checkMembers(state, op.members, 1) ??
    checkExtents(state, session, -1, [], op.seals)
  if (refusal !== undefined) return refusal
  if (context.dry) return ACCEPTABLE
  applySeals(state, op.seals, context)
  const goal = state.profiles.get(state.inodes.profile(state.inodes.row(inode))).goal
  return yes(newChunk(state, op.members, goal === 0 ? state.goal : goal, context.index, { session, inode }), 1)
}

export function commitFile(state: MetadataState, op: OperationOf<'commitFile'>, context: Context): Outcome {
  const { inode, extents, publish } = op
  const { session } = op.by
  const unwritable = checkWritable(state, inode, session)
  if (unwritable !== undefined) return unwritable
  const row = state.inodes.row(inode)
  // A file that has its name keeps it: a rename, perhaps, that does not disturb the writer.
  const isNaming = publish !== undefined && state.unnamed.has(inode)
  const place = isNaming ? checkPublish(state, publish) : undefined
  if (place !== undefined && 'ok' in place) return place
  const edit = appendEdit(state, row, extents)
  const refusal =
    checkTime(op.mtimeMs) ?? checkExtents(state, session, row, extents, op.seals) ?? checkEdit(state, inode, edit)
  if (refusal !== undefined) return refusal
  if (context.dry) return ACCEPTABLE

  changeBytes(state, inode, row, edit, op.mtimeMs, extents.length > 0, context)
  applySeals(state, op.seals, context)
  if (isNaming && place !== undefined) {
    publishInode(state, inode, publish, place, context)
    state.unnamed.delete(inode)
    state.sessionTable.get(session)!.unnamed.delete(inode)
  }
  const reply = yes(inode, state.inodes.size(row), state.inodes.contentVersion(row))
  if (op.close) {
    releaseHolds(state, session, inode)
    if (state.unnamed.has(inode)) abandon(state, inode)
  }
  return reply
}

export function spliceFile(state: MetadataState, op: OperationOf<'spliceFile'>, context: Context): Outcome {
  const { inode, offset, extents } = op
  const unwritable = checkWritable(state, inode, op.by.session)
  if (unwritable !== undefined) return unwritable
  if (!isWhole(offset, FILE_BYTES_MAX))
    return no('INVALID_ARGUMENT', `offset ${offset} is not in 0 .. ${FILE_BYTES_MAX}`)
  const row = state.inodes.row(inode)
  const early = checkTime(op.mtimeMs) ?? checkExtents(state, op.by.session, row, extents, op.seals)
  if (early !== undefined) return early
  const edit = spliceEdit(state, row, offset, extents)
  const refusal = checkEdit(state, inode, edit)
  if (refusal !== undefined) return refusal
  if (context.dry) return ACCEPTABLE
  changeBytes(state, inode, row, edit, op.mtimeMs, true, context)
  applySeals(state, op.seals, context)
  return yes(inode, state.inodes.size(row), state.inodes.contentVersion(row))
}

export function truncateFile(state: MetadataState, op: OperationOf<'truncateFile'>, context: Context): Outcome {
  const inode = existingFile(state, op.path)
  if (typeof inode !== 'number') return inode
  if (!isWhole(op.size, FILE_BYTES_MAX)) {
    return no('INVALID_ARGUMENT', `${op.path}: size ${op.size} is not in 0 .. ${FILE_BYTES_MAX}`)
  }
  const row = state.inodes.row(inode)
  const edit = truncateEdit(state, row, op.size)
  const refusal = checkEdit(state, inode, edit)
  if (refusal !== undefined) return refusal
  if (context.dry) return ACCEPTABLE
  if (op.size !== state.inodes.size(row)) changeBytes(state, inode, row, edit, 0, true, context)
  return yes(inode, state.inodes.size(row), state.inodes.contentVersion(row))
}

export function concatFiles(state: MetadataState, op: OperationOf<'concatFiles'>, context: Context): Outcome {
  const { inodes } = state
  const inode = existingFile(state, op.path)
  if (typeof inode !== 'number') return inode
  const row = inodes.row(inode)
  const seen = new Set<InodeId>([inode])
  let rows = inodes.extentCount(row) > 0 ? 1 : 0
  let size = inodes.size(row)
  for (const path of op.sources) {
    const source = existingFile(state, path)
    if (typeof source !== 'number') return source
    if (seen.has(source)) return no('INVALID_ARGUMENT', `${path} is named twice in one concat`, { path })
    seen.add(source)
    rows += 2 + inodes.extentCount(inodes.row(source))
    size += inodes.size(inodes.row(source))
    if (rows > ROWS_PER_RECORD_MAX) {
      return no(
        'LIMIT_EXCEEDED',
        `${op.path}: the change touches over ${ROWS_PER_RECORD_MAX} rows: join fewer files at a time`,
      )
    }
  }
  if (size > FILE_BYTES_MAX)
    return no('LIMIT_EXCEEDED', `${op.path}: the file would have ${size} bytes, at most ${FILE_BYTES_MAX}`)
  if (context.dry) return ACCEPTABLE
  for (const path of op.sources) {
    const place = state.locate(path) as Place
    const from = inodes.row(place.inode)
    const moved = []
    for (let i = 0; i < inodes.extentCount(from); i++) moved.push(inodes.extent(from, i))
    applyEdit(state, row, appendEdit(state, row, moved), 'edited', state.clusterMs)
    // The bytes live on in the target: what the sources drop needs no retention of its own.
    dropTail(state, place.inode, moved.length, 'abandoned', state.clusterMs)
    state.names.unlink(place.parent, place.name, NO_PARENT, context.time.wallMs)
    dropInode(state, place.inode)
    if (state.changes.isCollecting) state.changes.removed.push(place.inode)
  }
  if (op.sources.length > 0) touch(state, row, 0, true, context)
  return yes(inode, inodes.size(row), inodes.contentVersion(row))
}

// What the operations share.

/** The file at `path`, or why there is none. */
export function existingFile(state: MetadataState, path: string): InodeId | Refusal {
  const place = state.locate(path)
  if ('ok' in place) return place
  if (place.inode === 0) return no('NOT_FOUND', `${path}: no such file`, { path })
  if (state.inodes.isDirectory(state.inodes.row(place.inode)))
    return no('IS_A_DIRECTORY', `${path} is a directory`, { path })
  return place.inode
}

/** A new inode without a name. @param mtimeMs 0: the record's wall time */
export function newInode(
  state: MetadataState,
  isDirectory: boolean,
  inode: NewInode,
  mtimeMs: number,
  context: Context,
): InodeId {
  const id = state.nextInode++ as InodeId
  const { wallMs } = context.time
  state.inodes.create(id, isDirectory, NO_PARENT, state.profiles.use(inode), mtimeMs === 0 ? wallMs : mtimeMs, wallMs)
  return id
}

export function checkInode(state: MetadataState, inode: NewInode): Refusal | undefined {
  const refusal = checkNewInode(inode)
  if (refusal !== undefined || state.profiles.hasRoomFor(inode)) return refusal
  return no('LIMIT_EXCEEDED', 'too many different combinations of mode, owner, group and goal (65535)')
}

/** Where a file may get its name, or why it may not. */
export function checkPublish(state: MetadataState, publish: Publish): Place | Refusal {
  const place = state.locate(publish.path)
  if ('ok' in place || place.inode === 0) return place
  const { path } = publish
  if (state.inodes.isDirectory(state.inodes.row(place.inode)))
    return no('IS_A_DIRECTORY', `${path} is a directory`, { path })
  return publish.overwrite ? place : no('ALREADY_EXISTS', `${path} exists`, { path })
}

/** Gives an inode its name; a file that had it goes to the trash. */
export function publishInode(
  state: MetadataState,
  inode: InodeId,
  publish: Publish,
  place: Place,
  context: Context,
): void {
  if (place.inode !== 0) {
    state.names.unlink(place.parent, place.name, NO_PARENT, context.time.wallMs)
    moveToTrash(state, place.inode, publish.path, false, context)
  }
  state.names.link(place.parent, place.name, inode, context.time.wallMs)
}

/** Why `session` can't write to `inode`. */
function checkWritable(state: MetadataState, inode: InodeId, session: SessionId): Refusal | undefined {
  const row = state.inodes.row(inode)
  if (row < 0) {
    const wasGiven = isWhole(inode, state.nextInode - 1)
    return wasGiven ? no('FILE_REMOVED', `inode ${inode} is gone`) : no('NOT_FOUND', `no inode ${inode}`)
  }
  if (state.inodes.isDirectory(row)) return no('IS_A_DIRECTORY', `inode ${inode} is a directory`)
  const owner = state.unnamed.get(inode)
  if (owner !== undefined) {
    return owner === session
      ? undefined
      : no('NOT_FOUND', `inode ${inode} has no name yet, and another session writes it`)
  }
  const where = state.whereabouts(inode)
  if (where === 'named') return undefined
  return where === 'trash'
    ? no('FILE_REMOVED', `inode ${inode} was removed`)
    : no('NOT_FOUND', `inode ${inode} has no name yet`)
}

function changeBytes(
  state: MetadataState,
  inode: InodeId,
  row: number,
  edit: ExtentEdit,
  mtimeMs: number,
  isChange: boolean,
  context: Context,
): void {
  applyEdit(state, row, edit, editReason(state, inode), state.clusterMs)
  touch(state, row, mtimeMs, isChange, context)
}

/** @param mtimeMs 0: the record's wall time, if the bytes changed */
function touch(state: MetadataState, row: number, mtimeMs: number, isChange: boolean, context: Context): void {
  const { wallMs } = context.time
  if (mtimeMs !== 0) state.inodes.setMtimeMs(row, mtimeMs)
  else if (isChange) state.inodes.setMtimeMs(row, wallMs)
  if (isChange) state.inodes.setContentVersion(row, state.inodes.contentVersion(row) + 1)
  if (isChange || mtimeMs !== 0) state.inodes.setCtimeMs(row, wallMs)
}

/** Drops a file that was closed without ever getting a name; one with very many extents waits for its session's end. */
function abandon(state: MetadataState, inode: InodeId): void {
  if (state.inodes.extentCount(state.inodes.row(inode)) > ROWS_PER_RECORD_MAX) return
  dropUnnamed(state, inode, ROWS_PER_RECORD_MAX)
}

/** Drops rows of a file without a name. @returns rows dropped; the inode is gone when its extents were fewer than `budget` */
export function dropUnnamed(state: MetadataState, inode: InodeId, budget: number): number {
  const dropped = dropTail(state, inode, budget, 'abandoned', state.clusterMs)
  if (dropped === budget && state.inodes.extentCount(state.inodes.row(inode)) > 0) return dropped
  const session = state.unnamed.get(inode)
  state.unnamed.delete(inode)
  if (session !== undefined) state.sessionTable.get(session)?.unnamed.delete(inode)
  dropInode(state, inode)
  if (state.changes.isCollecting) state.changes.removed.push(inode)
  return dropped + 1
}
