// Tails: the open shared chunk at the end of a file, which many sessions append records to (GFS §3.3), and the seal that
// makes its bytes the file's.
//
// Invariants:
//   - a file has at most one tail; only a file with a name has one
//   - while a file has a tail its extents don't change, so that a record's place in the file is its size plus the offset
//     in the chunk
//
// What needs the length of a tail, or takes the file's name away, is refused with FILE_BUSY while the tail is open: the
// leader seals first and asks again. So no master, and no replay, ever has to guess how long a tail was.
//
// Source: DESIGN §2 (its last sentence), §4 (record append); GFS §3.4.

import type { ChunkHandle, InodeId } from '../../base/ids.ts'
import { formatHandle } from '../../base/ids.ts'
import type { Operation, OperationOf, Outcome } from '../operations.ts'
import { checkMembers, newChunk, seal } from './chunk-operations.ts'
import { appendEdit, applyEdit } from './extents.ts'
import { ACCEPTABLE, type Context, DONE, FILE_BYTES_MAX, isWhole, no, type Refusal, yes } from './outcome.ts'
import type { MetadataState } from './state.ts'

/** Files with an open tail at a time: one more is BUSY. */
export const TAILS_MAX = 16_384

export function openTail(state: MetadataState, op: OperationOf<'openTail'>, context: Context): Outcome {
  const { inode } = op
  const refusal = checkFile(state, inode) ?? checkMembers(state, op.members, 1)
  if (refusal !== undefined) return refusal
  const { chunks, inodes } = state
  const present = chunks.tails.get(inode)
  if (present !== undefined) {
    return no('FILE_BUSY', `inode ${inode} has an open tail already, chunk ${formatHandle(present)}`, { inode })
  }
  if (chunks.tails.size >= TAILS_MAX)
    return no('BUSY', `${TAILS_MAX} files have an open tail, there is room for no more`)
  const row = inodes.row(inode)
  if (inodes.size(row) + state.chunkBytes > FILE_BYTES_MAX) {
    return no('LIMIT_EXCEEDED', `inode ${inode} has ${inodes.size(row)} bytes, at most ${FILE_BYTES_MAX} are allowed`)
  }
  if (context.dry) return ACCEPTABLE
  const handle = newChunk(state, op.members, goalOf(state, row), context.index, undefined)
  chunks.tails.set(inode, handle)
  chunks.tailFiles.set(handle, inode)
  return yes(handle, 1)
}

export function sealChunk(state: MetadataState, op: OperationOf<'sealChunk'>, context: Context): Outcome {
  const { handle, length, digest, indexDigest } = op
  const row = state.chunks.row(handle)
  if (row < 0) return no('NOT_FOUND', `chunk ${formatHandle(handle)} is not in the chunk table`, { handle })
  if (!isWhole(length, state.chunkBytes)) {
    return no(
      'INVALID_ARGUMENT',
      `chunk ${formatHandle(handle)}: a seal at ${length} bytes, at most ${state.chunkBytes}`,
    )
  }
  if (!state.chunks.isOpen(row)) {
    const facts = state.chunks.facts(handle, row)
    if (facts.length === length && facts.digest === digest && facts.indexDigest === indexDigest) return DONE
    return no('CHUNK_SEALED', `chunk ${formatHandle(handle)} is sealed at ${facts.length} bytes, not at ${length}`, {
      handle,
      length: facts.length,
      digest: facts.digest,
    })
  }
  if (context.dry) return ACCEPTABLE
  appendTail(state, handle, row, length, context)
  seal(state, handle, row, length, digest, indexDigest, context)
  return DONE
}

/**
 * The tails that stand in the way of an operation: open ones of files whose length it needs, whose extents it changes, or
 * whose name it takes away. They have to be sealed before it can be applied.
 */
export function tailsInTheWay(state: MetadataState, op: Operation): readonly ChunkHandle[] {
  // Nearly always; this is asked for every change.
  if (state.chunks.tails.size === 0) return NO_TAILS
  const found = new Set<ChunkHandle>()
  const addFile = (inode: InodeId | undefined): void => {
    const handle = inode === undefined ? undefined : state.chunks.tails.get(inode)
    if (handle !== undefined) found.add(handle)
  }
  const addTree = (path: string): void => {
    const top = state.resolve(path)
    if (top === undefined) return
    for (const [inode, handle] of state.chunks.tails) if (state.names.isWithin(inode, top)) found.add(handle)
  }
  switch (op.kind) {
    case 'putFile':
      if (op.publish.overwrite) addFile(state.resolve(op.publish.path))
      break
    case 'commitFile':
      if (op.extents.length > 0) addFile(op.inode)
      if (op.publish?.overwrite) addFile(state.resolve(op.publish.path))
      break
    case 'spliceFile':
      addFile(op.inode)
      break
    case 'truncateFile':
      addFile(state.resolve(op.path))
      break
    case 'concatFiles':
      for (const path of [op.path, ...op.sources]) addFile(state.resolve(path))
      break
    case 'copy':
      addTree(op.from)
      if (op.overwrite) addFile(state.resolve(op.to))
      break
    case 'rename':
      if (op.overwrite && op.from !== op.to) addFile(state.resolve(op.to))
      break
    case 'remove':
      if (op.what === 'tree') addTree(op.path)
      else addFile(state.resolve(op.path))
      break
    default:
  }
  // In the order of their handles: which one an error names must not depend on the order of a Map.
  return [...found].sort((a, b) => a - b)
}

/** FILE_BUSY for an operation that an open tail stands in the way of. */
export function checkTails(state: MetadataState, op: Operation): Refusal | undefined {
  const [handle] = tailsInTheWay(state, op)
  if (handle === undefined) return undefined
  const inode = state.chunks.tailFiles.get(handle)
  return no(
    'FILE_BUSY',
    `records are being appended to inode ${inode}: its tail, chunk ${formatHandle(handle)}, is open`,
  )
}

const NO_TAILS: readonly ChunkHandle[] = []

/** Before its seal a tail's bytes become the end of its file, and the chunk the file's like any other. */
function appendTail(state: MetadataState, handle: ChunkHandle, row: number, length: number, context: Context): void {
  const { chunks, inodes } = state
  const inode = chunks.tailFiles.get(handle)
  if (inode === undefined) return
  chunks.tailFiles.delete(handle)
  chunks.tails.delete(inode)
  const file = inodes.row(inode)
  // Its goal may have been changed meanwhile.
  chunks.setGoal(row, goalOf(state, file))
  if (length === 0) return
  applyEdit(state, file, appendEdit(state, file, [{ handle, offset: 0, length }]), 'edited', state.clusterMs)
  inodes.setMtimeMs(file, context.time.wallMs)
  inodes.setCtimeMs(file, context.time.wallMs)
  inodes.setContentVersion(file, inodes.contentVersion(file) + 1)
}

function goalOf(state: MetadataState, row: number): number {
  const { goal } = state.profiles.get(state.inodes.profile(row))
  return goal === 0 ? state.goal : goal
}

/** Why `inode` can have no tail: only a file with a name can. */
function checkFile(state: MetadataState, inode: InodeId): Refusal | undefined {
  const row = state.inodes.row(inode)
  if (row < 0) {
    const wasGiven = isWhole(inode, state.nextInode - 1)
    return wasGiven ? no('FILE_REMOVED', `inode ${inode} is gone`) : no('NOT_FOUND', `no inode ${inode}`)
  }
  if (state.inodes.isDirectory(row)) return no('IS_A_DIRECTORY', `inode ${inode} is a directory`)
  const where = state.whereabouts(inode)
  if (where === 'named') return undefined
  return where === 'trash'
    ? no('FILE_REMOVED', `inode ${inode} was removed`)
    : no('NOT_FOUND', `inode ${inode} has no name yet`)
}
