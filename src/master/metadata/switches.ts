// Switches: bytes of files that were gathered into a new chunk take the place of the same bytes elsewhere (compaction).
//
//   reserveHandle ──▶ chunkservers gather bytes under the handle ──▶ switchExtents: the chunk is in the table, sealed
//        └── another one is reserved, or releaseHandle: never used, what was gathered is garbage
//
// A reserved handle has no row: until the first switch nothing names the chunk, and from then on it is a chunk like any
// other. A switch is taken only where the file still points to exactly the bytes that were copied, so whatever changed
// meanwhile (an overwrite, a truncate, a removal) wins, and what is left behind keeps its old chunk.
//
// Invariants:
//   - at most one handle is reserved; it was given once and is never in the table
//   - a switch changes where bytes lie and nothing else: sizes, times and content versions stay
//
// Source: DESIGN §2 ("copy, verify the digest, switch"), §4 (small files); GFS has no counterpart.

import type { ChunkHandle } from '../../base/ids.ts'
import { chunkHandle, formatHandle, HANDLE_COUNTER_COUNT } from '../../base/ids.ts'
import { CHUNK_BYTES_MAX, ROWS_PER_RECORD_MAX } from '../../base/limits.ts'
import type { ExtentSwitch, OperationOf, Outcome } from '../operations.ts'
import { applyEdit, bytesOf, spliceEdit } from './extents.ts'
import { ACCEPTABLE, type Context, checkGoal, DONE, isWhole, no, type Refusal, yes } from './outcome.ts'
import type { MetadataState } from './state.ts'

/** Rows that a switch may touch besides the extents it replaces: the new one, and its neighbours on both sides. */
export const ROWS_BESIDE_SWITCH = 4

const DIGEST_MAX = 2 ** 32 - 1

export function reserveHandle(state: MetadataState, context: Context): Outcome {
  const counter = state.handleCounter(state.lineage) + 1
  if (counter >= HANDLE_COUNTER_COUNT) return no('LIMIT_EXCEEDED', 'the lineage has no chunk handles left')
  if (context.dry) return ACCEPTABLE
  giveUpReserved(state)
  state.lineages.set(state.lineage, counter)
  const handle = chunkHandle(state.lineage, counter)
  state.reserved = { handle, index: context.index }
  return yes(handle)
}

export function releaseHandle(state: MetadataState, op: OperationOf<'releaseHandle'>, context: Context): Outcome {
  if (context.dry) return ACCEPTABLE
  if (state.reserved?.handle === op.handle) giveUpReserved(state)
  return DONE
}

function giveUpReserved(state: MetadataState): void {
  if (state.reserved === undefined) return
  state.changes.addForgotten(state.reserved.handle, 0)
  state.reserved = undefined
}

export function switchExtents(state: MetadataState, op: OperationOf<'switchExtents'>, context: Context): Outcome {
  const { handle, length, digest, goal, switches } = op
  const refusal = checkChunk(state, op) ?? checkSwitches(op)
  if (refusal !== undefined) return refusal
  if (context.dry) return ACCEPTABLE
  const { chunks, reserved } = state
  if (reserved?.handle === handle) {
    chunks.addSealed(handle, length, digest, goal === 0 ? state.goal : goal, reserved.index)
    state.reserved = undefined
  }
  let count = 0
  let bytes = 0
  for (const one of switches) {
    const switched = switchOne(state, handle, one)
    if (switched > 0) count++
    bytes += switched
  }
  // Every file that had the bytes has changed or gone: nobody wants the copy.
  const row = chunks.row(handle)
  if (chunks.references(row) === 0 && !chunks.isKept(row)) {
    state.changes.addForgotten(handle, chunks.length(row))
    chunks.forget(handle, row)
  }
  return yes(count, bytes)
}

/** Why the chunk can't be what the bytes lie in now: it is reserved, or an earlier switch has put it into the table. */
function checkChunk(state: MetadataState, op: OperationOf<'switchExtents'>): Refusal | undefined {
  const { handle, length, digest, goal } = op
  const refusal = checkGoal(goal, 0)
  if (refusal !== undefined) return refusal
  if (length === 0 || !isWhole(length, state.chunkBytes) || !isWhole(digest, DIGEST_MAX)) {
    return no(
      'INVALID_ARGUMENT',
      `chunk ${formatHandle(handle)}: length ${length}, 1 .. ${state.chunkBytes} is allowed`,
    )
  }
  if (state.reserved?.handle === handle) return undefined
  const row = state.chunks.row(handle)
  if (row < 0) return no('NOT_FOUND', `chunk ${formatHandle(handle)} is neither reserved nor in the table`, { handle })
  const { chunks } = state
  if (!chunks.isOpen(row) && chunks.length(row) === length && chunks.digest(row) === digest) return undefined
  const message = `chunk ${formatHandle(handle)} has ${chunks.length(row)} bytes and digest ${chunks.digest(row)}, not ${length} and ${digest}`
  return no('INVALID_ARGUMENT', message, { handle })
}

function checkSwitches({ handle, length, switches }: OperationOf<'switchExtents'>): Refusal | undefined {
  let rows = 0
  for (const { inode, fileOffset, offset, from } of switches) {
    rows += from.length + ROWS_BESIDE_SWITCH
    const isFitting = from.length > 0 && isWhole(offset, length) && offset + bytesOf(from) <= length
    const isSound = from.every((extent) => extent.length > 0 && extent.handle !== 0 && extent.handle !== handle)
    if (isFitting && isSound && from.every((extent) => extent.offset + extent.length <= CHUNK_BYTES_MAX)) continue
    const message = `a switch of inode ${inode} at ${fileOffset} does not lie in chunk ${formatHandle(handle)}`
    return no('INVALID_ARGUMENT', message, { handle, inode })
  }
  if (rows <= ROWS_PER_RECORD_MAX) return undefined
  return no('LIMIT_EXCEEDED', `the switches touch ${rows} rows, at most ${ROWS_PER_RECORD_MAX} are allowed`)
}

/** @returns the bytes switched; 0 when the file doesn't point to all of `from` any more */
function switchOne(state: MetadataState, handle: ChunkHandle, one: ExtentSwitch): number {
  const row = state.inodes.row(one.inode)
  if (row < 0 || state.inodes.isDirectory(row) || !pointsTo(state, row, one)) return 0
  const length = bytesOf(one.from)
  for (const extent of one.from) keepGoal(state, handle, extent.handle)
  const edit = spliceEdit(state, row, one.fileOffset, [{ handle, offset: one.offset, length }])
  applyEdit(state, row, edit, 'moved', state.clusterMs)
  return length
}

/** A goal that was raised while the bytes were copied holds for them in their new place too. */
function keepGoal({ chunks, changes }: MetadataState, handle: ChunkHandle, old: ChunkHandle): void {
  const row = chunks.row(handle)
  const goal = chunks.goal(chunks.row(old))
  if (goal <= chunks.goal(row)) return
  chunks.setGoal(row, goal)
  if (changes.isCollecting) changes.goalChanged.push(handle)
}

/** Whether the file has, from `fileOffset` on, exactly the bytes `from`; its extents may begin before and end behind. */
function pointsTo(state: MetadataState, row: number, { fileOffset, from }: ExtentSwitch): boolean {
  const { inodes } = state
  const count = inodes.extentCount(row)
  let at = inodes.extentAt(row, fileOffset)
  let position = fileOffset
  for (const wanted of from) {
    if (at >= count) return false
    const present = inodes.extent(row, at)
    const skip = position - inodes.fileOffset(row, at)
    const isSame = present.handle === wanted.handle && present.offset + skip === wanted.offset
    if (!isSame || present.length - skip < wanted.length) return false
    position += wanted.length
    if (skip + wanted.length === present.length) at++
  }
  return true
}
