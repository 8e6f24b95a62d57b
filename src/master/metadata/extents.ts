// Changing a file's extents, and the references of the chunks with them.
//
// Invariants:
//   - neighbours that continue each other in the same chunk are one extent
//   - new references are counted before old ones go, so that a chunk on both sides never looks unreferenced

import type { ChunkHandle, InodeId, SessionId } from '../../base/ids.ts'
import { formatHandle } from '../../base/ids.ts'
import { CHUNK_BYTES_MAX, EXTENTS_PER_REQUEST_MAX, ROWS_PER_RECORD_MAX } from '../../base/limits.ts'
import type { Extent, SealClaim } from '../operations.ts'
import { addReference, dropReference, seal } from './chunk-operations.ts'
import type { DropReason } from './chunk-table.ts'
import { type Context, FILE_BYTES_MAX, isWhole, no, type Refusal } from './outcome.ts'
import type { MetadataState } from './state.ts'

/**
 * Why these extents and seals can't be accepted from `session` for a file (row -1: a new one). The seals count as if
 * they were applied already.
 *
 *   SEALED_SHORT      the chunk ends before the extent or the claim; `length` says where (0: send all of it again)
 *   NOT_FOUND         a handle this log never gave
 *   INVALID_ARGUMENT  a chunk lent to another session, or a field out of its range
 *   LIMIT_EXCEEDED    too many extents in one request
 */
export function checkExtents(
  state: MetadataState,
  session: SessionId,
  row: number,
  extents: readonly Extent[],
  seals: readonly SealClaim[],
): Refusal | undefined {
  if (extents.length + seals.length > EXTENTS_PER_REQUEST_MAX) {
    return no(
      'LIMIT_EXCEEDED',
      `${extents.length} extents in a request, at most ${EXTENTS_PER_REQUEST_MAX} are allowed`,
    )
  }
  for (let i = 0; i < seals.length; i++) {
    const refusal = checkClaim(state, session, seals, i)
    if (refusal !== undefined) return refusal
  }
  let own: Set<ChunkHandle> | undefined
  for (const { handle, offset, length } of extents) {
    if (handle === 0) {
      if (offset !== 0 || !isWhole(length, FILE_BYTES_MAX) || length === 0) {
        return no('INVALID_ARGUMENT', `a hole with offset ${offset} and length ${length}`)
      }
      continue
    }
    if (!isWhole(offset, CHUNK_BYTES_MAX) || !isWhole(length, CHUNK_BYTES_MAX) || length === 0) {
      return no('INVALID_ARGUMENT', `an extent with offset ${offset} and length ${length}`)
    }
    const chunk = state.chunks.row(handle)
    if (chunk < 0) return unknownChunk(state, handle)
    if (!state.chunks.isShared(chunk) && state.chunks.owners.get(handle)?.session !== session) {
      own ??= chunksOf(state, row)
      if (!own.has(handle)) {
        return no('INVALID_ARGUMENT', `chunk ${formatHandle(handle)} is not lent to this session`, { handle })
      }
    }
    const claim = seals.length === 0 ? undefined : seals.find((one) => one.handle === handle)
    const isOpen = state.chunks.isOpen(chunk)
    const end = offset + length
    if (isOpen && claim === undefined) {
      if (end <= state.chunkBytes) continue
      return no(
        'INVALID_ARGUMENT',
        `chunk ${formatHandle(handle)}: an extent up to ${end}, chunks have ${state.chunkBytes} bytes`,
      )
    }
    const sealedAt = isOpen ? claim!.length : state.chunks.length(chunk)
    if (end > sealedAt) return sealedShort(handle, sealedAt, end)
  }
  return undefined
}

function checkClaim(
  state: MetadataState,
  session: SessionId,
  seals: readonly SealClaim[],
  at: number,
): Refusal | undefined {
  const { handle, length, digest } = seals[at]!
  const row = state.chunks.row(handle)
  if (row < 0) return unknownChunk(state, handle)
  if (!isWhole(length, state.chunkBytes)) {
    return no(
      'INVALID_ARGUMENT',
      `chunk ${formatHandle(handle)}: a seal at ${length} bytes, at most ${state.chunkBytes}`,
    )
  }
  for (let i = 0; i < at; i++) {
    if (seals[i]!.handle === handle)
      return no('INVALID_ARGUMENT', `chunk ${formatHandle(handle)} is sealed twice`, { handle })
  }
  if (!state.chunks.isOpen(row)) {
    const sealedAt = state.chunks.length(row)
    if (sealedAt < length) return sealedShort(handle, sealedAt, length)
    // The replicas hold other bytes than the writer sent: it has to send all of them again.
    if (sealedAt === length && state.chunks.digest(row) !== digest) return sealedShort(handle, 0, length)
    return undefined
  }
  if (state.chunks.owners.get(handle)?.session === session) return undefined
  return no('INVALID_ARGUMENT', `chunk ${formatHandle(handle)} is not this session's to seal`, { handle })
}

function unknownChunk(state: MetadataState, handle: ChunkHandle): Refusal {
  if (state.wasKnown(handle)) return sealedShort(handle, 0, 0)
  return no('NOT_FOUND', `chunk ${formatHandle(handle)} was never given by this cluster`, { handle })
}

function sealedShort(handle: ChunkHandle, length: number, wanted: number): Refusal {
  const message = `chunk ${formatHandle(handle)} counts up to ${length} bytes, ${wanted} were claimed`
  return no('SEALED_SHORT', message, { handle, length })
}

function chunksOf(state: MetadataState, row: number): Set<ChunkHandle> {
  const handles = new Set<ChunkHandle>()
  if (row < 0) return handles
  for (let i = 0; i < state.inodes.extentCount(row); i++) handles.add(state.inodes.extent(row, i).handle)
  return handles
}

/** Applies checked claims. */
export function applySeals(state: MetadataState, seals: readonly SealClaim[], context: Context): void {
  for (const { handle, length, digest } of seals) {
    const row = state.chunks.row(handle)
    // A claim for a chunk that the master sealed first was found to agree. The row may be gone: sealed and unreferenced.
    if (row >= 0 && state.chunks.isOpen(row)) seal(state, handle, row, length, digest, 0, context)
  }
}

/** What a change of extents comes down to. */
export interface ExtentEdit {
  readonly from: number
  readonly removed: number
  readonly added: readonly Extent[]
}

/** Appending `extents` to a file. */
export function appendEdit(state: MetadataState, row: number, extents: readonly Extent[]): ExtentEdit {
  const count = state.inodes.extentCount(row)
  if (extents.length === 0) return { from: count, removed: 0, added: [] }
  if (count === 0) return { from: 0, removed: 0, added: merged(extents) }
  const last = state.inodes.extent(row, count - 1)
  return { from: count - 1, removed: 1, added: merged([last, ...extents]) }
}

/** Putting `extents` in place of the bytes from `offset` on; a gap before them becomes a hole. */
export function spliceEdit(state: MetadataState, row: number, offset: number, extents: readonly Extent[]): ExtentEdit {
  const { inodes } = state
  const size = inodes.size(row)
  if (offset >= size) {
    const hole = offset > size ? [{ handle: 0 as ChunkHandle, offset: 0, length: offset - size }] : []
    return appendEdit(state, row, [...hole, ...extents])
  }
  const count = inodes.extentCount(row)
  const end = offset + bytesOf(extents)
  let from = inodes.extentAt(row, offset)
  let to =
    end >= size ? count : inodes.extentAt(row, end) + (inodes.fileOffset(row, inodes.extentAt(row, end)) < end ? 1 : 0)
  const before = cut(inodes.extent(row, from), 0, offset - inodes.fileOffset(row, from))
  const added: Extent[] = []
  if (before.length > 0) added.push(before)
  added.push(...extents)
  if (to > 0 && end < inodes.fileOffset(row, to)) {
    const last = inodes.extent(row, to - 1)
    added.push(cut(last, end - inodes.fileOffset(row, to - 1), last.length))
  }
  // The neighbours outside may continue what is put between them.
  if (before.length === 0 && from > 0) {
    from--
    added.unshift(inodes.extent(row, from))
  }
  if (to < count) {
    added.push(inodes.extent(row, to))
    to++
  }
  return { from, removed: to - from, added: merged(added) }
}

/** Cutting a file down, or making it longer by a hole. */
export function truncateEdit(state: MetadataState, row: number, size: number): ExtentEdit {
  const { inodes } = state
  const present = inodes.size(row)
  if (size >= present) return spliceEdit(state, row, size, [])
  const from = inodes.extentAt(row, size)
  const rest = cut(inodes.extent(row, from), 0, size - inodes.fileOffset(row, from))
  return { from, removed: inodes.extentCount(row) - from, added: rest.length > 0 ? [rest] : [] }
}

/** LIMIT_EXCEEDED for an edit that one record may not make. */
export function checkEdit(state: MetadataState, inode: InodeId, edit: ExtentEdit): Refusal | undefined {
  const rows = edit.removed + edit.added.length
  if (rows > ROWS_PER_RECORD_MAX) {
    const message = `the change touches ${rows} extents, at most ${ROWS_PER_RECORD_MAX} are allowed`
    return no('LIMIT_EXCEEDED', `${state.pathOf(inode) ?? `inode ${inode}`}: ${message}`)
  }
  const size = state.inodes.fileOffset(state.inodes.row(inode), edit.from) + bytesOf(edit.added)
  if (size <= FILE_BYTES_MAX) return undefined
  const message = `the file would have ${size} bytes, at most ${FILE_BYTES_MAX} are allowed`
  return no('LIMIT_EXCEEDED', `${state.pathOf(inode) ?? `inode ${inode}`}: ${message}`)
}

/** Makes an edit, with the references it adds and drops. */
export function applyEdit(
  state: MetadataState,
  row: number,
  edit: ExtentEdit,
  reason: DropReason,
  clusterMs: number,
): void {
  const { inodes } = state
  const gone: Extent[] = []
  for (let i = 0; i < edit.removed; i++) gone.push(inodes.extent(row, edit.from + i))
  for (const extent of edit.added) addReference(state, extent)
  if (state.changes.isCollecting) noteGoals(state, row, edit.added)
  const before = inodes.size(row)
  inodes.replaceExtents(row, edit.from, edit.removed, edit.added)
  state.fileBytes += inodes.size(row) - before
  for (const extent of gone) dropReference(state, extent.handle, extent.length, reason, clusterMs)
}

/** Notes chunks that a file names from now on and that have, or are about to get, a lower goal than it wants. */
function noteGoals(state: MetadataState, row: number, added: readonly Extent[]): void {
  const { inodes, profiles, chunks, changes } = state
  const goal = profiles.get(inodes.profile(row)).goal || state.goal
  for (const { handle } of added) {
    if (handle === 0) continue
    const present = chunks.goal(chunks.row(handle)) || state.goal
    if (goal > present || goal > (changes.comingGoals.get(handle) ?? goal)) changes.goalUnsure.push(handle)
  }
}

/** Drops up to `budget` extents from a file's end. @returns how many */
export function dropTail(
  state: MetadataState,
  inode: InodeId,
  budget: number,
  reason: DropReason,
  clusterMs: number,
): number {
  const row = state.inodes.row(inode)
  const count = state.inodes.extentCount(row)
  const removed = Math.min(budget, count)
  applyEdit(state, row, { from: count - removed, removed, added: [] }, reason, clusterMs)
  return removed
}

/** How a named or unnamed file's references go when its bytes are changed. */
export function editReason(state: MetadataState, inode: InodeId): DropReason {
  return state.unnamed.has(inode) ? 'abandoned' : 'edited'
}

export function bytesOf(extents: readonly Extent[]): number {
  let bytes = 0
  for (const extent of extents) bytes += extent.length
  return bytes
}

/** The list with neighbours joined that continue each other. */
function merged(extents: readonly Extent[]): readonly Extent[] {
  if (extents.length === 1) return extents
  const joined: Extent[] = []
  let last: Extent | undefined
  for (const { handle, offset, length } of extents) {
    if (last !== undefined && last.handle === handle && (handle === 0 || last.offset + last.length === offset)) {
      last = { handle, offset: last.offset, length: last.length + length }
      joined[joined.length - 1] = last
    } else {
      last = { handle, offset, length }
      joined.push(last)
    }
  }
  return joined
}

/** Bytes `from` .. `to` - 1 of an extent. */
function cut(extent: Extent, from: number, to: number): Extent {
  return { handle: extent.handle, offset: extent.handle === 0 ? 0 : extent.offset + from, length: to - from }
}
