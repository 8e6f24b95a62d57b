// Directories and names: made, renamed, removed, described. A rename of a tree is one entry, a removal one row.
//
// Source: GFS §4.1, §4.4.

import type { ChunkHandle, InodeId } from '../../base/ids.ts'
import { ROOT_INODE } from '../../base/ids.ts'
import { ATTRIBUTES_BYTES_MAX, NAME_BYTES_MAX, ROWS_PER_RECORD_MAX } from '../../base/limits.ts'
import { splitPath } from '../../base/path.ts'
import type { OperationOf, Outcome } from '../operations.ts'
import { checkInode, newInode } from './files.ts'
import { NO_PARENT } from './inode-table.ts'
import {
  ACCEPTABLE,
  type Context,
  checkGoal,
  checkMode,
  checkOwnerName,
  checkPathShape,
  checkTime,
  no,
  type Refusal,
  yes,
} from './outcome.ts'
import type { MetadataState } from './state.ts'
import { dropInode, moveToTrash } from './trash.ts'

export function makeDirectory(state: MetadataState, op: OperationOf<'makeDirectory'>, context: Context): Outcome {
  const { path } = op
  const refusal = checkInode(state, op.inode)
  if (refusal !== undefined) return refusal
  if (!op.parents) {
    const place = state.locate(path)
    if ('ok' in place) return place
    if (place.inode !== 0) return no('ALREADY_EXISTS', `${path} exists`, { path })
    if (context.dry) return ACCEPTABLE
    return yes(newDirectory(state, place.parent, place.name, op, context))
  }
  const shape = checkPathShape(path)
  if (shape !== undefined) return shape
  const names = splitPath(path)
  let inode = ROOT_INODE
  let known = 0
  for (; known < names.length; known++) {
    const child = state.names.child(inode, names[known]!)
    if (child === 0) break
    inode = child
    if (!state.inodes.isDirectory(state.inodes.row(inode))) {
      const at = `/${names.slice(0, known + 1).join('/')}`
      const code = known + 1 < names.length ? 'NOT_A_DIRECTORY' : 'ALREADY_EXISTS'
      return no(code, `${at} is a file`, { path: at })
    }
  }
  if (context.dry) return ACCEPTABLE
  for (; known < names.length; known++) inode = newDirectory(state, inode, names[known]!, op, context)
  return yes(inode)
}

function newDirectory(
  state: MetadataState,
  parent: InodeId,
  name: string,
  op: OperationOf<'makeDirectory'>,
  context: Context,
): InodeId {
  const inode = newInode(state, true, op.inode, 0, context)
  state.names.link(parent, name, inode, context.time.wallMs)
  return inode
}

export function rename(state: MetadataState, op: OperationOf<'rename'>, context: Context): Outcome {
  const from = state.locate(op.from)
  if ('ok' in from) return from
  if (from.inode === 0) return no('NOT_FOUND', `${op.from}: no such file or directory`, { path: op.from })
  if (from.inode === ROOT_INODE) return no('INVALID_MOVE', 'the root cannot be moved')
  const to = state.locate(op.to)
  if ('ok' in to) return to
  if (to.inode === from.inode) return context.dry ? ACCEPTABLE : yes(from.inode)
  const isDirectory = state.inodes.isDirectory(state.inodes.row(from.inode))
  if (isDirectory && state.names.isWithin(to.parent, from.inode)) {
    return no('INVALID_MOVE', `${op.from} cannot go into itself, to ${op.to}`)
  }
  if (to.inode !== 0) {
    const taken = checkReplaceable(state, to.inode, op.to, isDirectory, op.overwrite)
    if (taken !== undefined) return taken
  }
  if (context.dry) return ACCEPTABLE
  const { wallMs } = context.time
  if (to.inode !== 0) {
    state.names.unlink(to.parent, to.name, NO_PARENT, wallMs)
    moveToTrash(state, to.inode, op.to, false, context)
  }
  state.names.unlink(from.parent, from.name, NO_PARENT, wallMs)
  state.names.link(to.parent, to.name, from.inode, wallMs)
  state.inodes.setCtimeMs(state.inodes.row(from.inode), wallMs)
  return yes(from.inode)
}

/** Why what stands at a target can't give way: only a file can, to a file, and only when asked. */
export function checkReplaceable(
  state: MetadataState,
  target: InodeId,
  path: string,
  byDirectory: boolean,
  overwrite: boolean,
): Refusal | undefined {
  if (state.inodes.isDirectory(state.inodes.row(target))) {
    return no('ALREADY_EXISTS', `${path} is a directory: name the new path in it`, { path })
  }
  if (byDirectory) return no('NOT_A_DIRECTORY', `${path} is a file, and a directory cannot replace it`, { path })
  return overwrite ? undefined : no('ALREADY_EXISTS', `${path} exists`, { path })
}

export function remove(state: MetadataState, op: OperationOf<'remove'>, context: Context): Outcome {
  const { path } = op
  const place = state.locate(path)
  if ('ok' in place) return place
  if (place.inode === 0) return no('NOT_FOUND', `${path}: no such file or directory`, { path })
  if (place.inode === ROOT_INODE) return no('INVALID_ARGUMENT', 'the root cannot be removed')
  const row = state.inodes.row(place.inode)
  const isDirectory = state.inodes.isDirectory(row)
  if (isDirectory && op.what === 'file') return no('IS_A_DIRECTORY', `${path} is a directory`, { path })
  if (!isDirectory && op.what === 'emptyDirectory') return no('NOT_A_DIRECTORY', `${path} is a file`, { path })
  if (op.what === 'emptyDirectory' && state.inodes.entryCount(row) > 0) {
    return no('NOT_EMPTY', `${path} has ${state.inodes.entryCount(row)} entries`, { path })
  }
  if (context.dry) return ACCEPTABLE
  state.names.unlink(place.parent, place.name, NO_PARENT, context.time.wallMs)
  if (op.what === 'emptyDirectory') {
    dropInode(state, place.inode)
    return yes(0)
  }
  return yes(moveToTrash(state, place.inode, path, op.now, context))
}

export function setAttributes(state: MetadataState, op: OperationOf<'setAttributes'>, context: Context): Outcome {
  const { path } = op
  const place = state.locate(path)
  if ('ok' in place) return place
  if (place.inode === 0) return no('NOT_FOUND', `${path}: no such file or directory`, { path })
  const row = state.inodes.row(place.inode)
  const present = state.profiles.get(state.inodes.profile(row))
  const profile = {
    mode: op.mode ?? present.mode,
    owner: op.owner ?? present.owner,
    group: op.group ?? present.group,
    goal: op.goal ?? present.goal,
  }
  const refusal =
    checkMode(profile.mode) ??
    checkOwnerName(profile.owner) ??
    checkOwnerName(profile.group) ??
    checkGoal(profile.goal, 0) ??
    checkTime(op.mtimeMs ?? 0) ??
    checkInode(state, profile)
  if (refusal !== undefined) return refusal
  const attributes = changedAttributes(state, place.inode, op.attributes ?? [])
  if ('ok' in attributes) return attributes
  const isDirectory = state.inodes.isDirectory(row)
  const changesGoal = !isDirectory && op.goal !== undefined && op.goal !== present.goal
  if (changesGoal && state.inodes.extentCount(row) > ROWS_PER_RECORD_MAX) {
    return no('LIMIT_EXCEEDED', `${path}: a new goal for over ${ROWS_PER_RECORD_MAX} extents`, { path })
  }
  if (context.dry) return ACCEPTABLE

  if (changesGoal) setGoals(state, row, profile.goal === 0 ? state.goal : profile.goal)
  const number = state.profiles.use(profile)
  state.profiles.drop(state.inodes.profile(row))
  state.inodes.setProfile(row, number)
  if (op.mtimeMs !== undefined) state.inodes.setMtimeMs(row, op.mtimeMs)
  if (op.attributes !== undefined) putAttributes(state, place.inode, row, attributes)
  state.inodes.setCtimeMs(row, context.time.wallMs)
  return yes(place.inode, isDirectory ? 0 : state.inodes.size(row), state.inodes.contentVersion(row))
}

/**
 * Gives a file's chunks its new goal. A chunk that other files name too is only ever raised here: they may need it. That
 * it may be lowered is found out by who knows all files (goal-keeper.ts).
 */
function setGoals(state: MetadataState, row: number, goal: number): void {
  const own = new Map<ChunkHandle, number>()
  for (let i = 0; i < state.inodes.extentCount(row); i++) {
    const { handle } = state.inodes.extent(row, i)
    if (handle !== 0) own.set(handle, (own.get(handle) ?? 0) + 1)
  }
  for (const [handle, extents] of own) {
    const chunk = state.chunks.row(handle)
    if (extents !== state.chunks.references(chunk) && state.chunks.goal(chunk) >= goal) {
      if (state.changes.isCollecting) state.changes.goalUnsure.push(handle)
      continue
    }
    state.chunks.setGoal(chunk, goal)
    if (state.changes.isCollecting) state.changes.goalChanged.push(handle)
  }
}

/** Keeps the attributes of an inode, ordered by name; none takes the row away. */
export function putAttributes(
  state: MetadataState,
  inode: InodeId,
  row: number,
  attributes: ReadonlyMap<string, string>,
): void {
  if (attributes.size === 0) state.attributes.delete(inode)
  else state.attributes.set(inode, new Map([...attributes].sort((a, b) => (a[0] < b[0] ? -1 : 1))))
  state.inodes.setHasAttributes(row, attributes.size > 0)
}

function changedAttributes(
  state: MetadataState,
  inode: InodeId,
  changes: readonly (readonly [name: string, value: string | null])[],
): Map<string, string> | Refusal {
  const attributes = new Map(state.attributes.get(inode) ?? [])
  for (const [name, value] of changes) {
    if (name.length === 0 || Buffer.byteLength(name) > NAME_BYTES_MAX || name.includes('\0')) {
      return no('INVALID_ARGUMENT', `an attribute name has 1 .. ${NAME_BYTES_MAX} bytes, none of them NUL`)
    }
    if (value === null) attributes.delete(name)
    else attributes.set(name, value)
  }
  let bytes = 0
  for (const [name, value] of attributes) bytes += Buffer.byteLength(name) + Buffer.byteLength(value)
  if (bytes <= ATTRIBUTES_BYTES_MAX) return attributes
  return no('LIMIT_EXCEEDED', `attributes of ${bytes} bytes, at most ${ATTRIBUTES_BYTES_MAX} are allowed`)
}
