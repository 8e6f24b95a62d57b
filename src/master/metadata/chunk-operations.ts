// The life of a chunk in the log: allocated open, sealed once, forgotten when nothing names it any more.
//
//   allocated (open) ──seal──▶ sealed ──last reference goes──▶ retained ──collectGarbage──▶ forgotten
//                                     ├──its bytes were moved──▶ kept a little ──collectGarbage──▶ forgotten
//                                     └──no file with a name ever held it, or its trash was purged──▶ forgotten
//
// A chunk that is open, or lent to a writer, never leaves the table. The operation that seals is in tails.ts,
// those that move bytes are in switches.ts.
//
// Source: GFS §4.4, §4.5; DESIGN §2 (sealing).

import { assert } from '../../base/assert.ts'
import type { ChunkHandle, InodeId, SessionId } from '../../base/ids.ts'
import { chunkHandle, formatHandle, HANDLE_COUNTER_COUNT } from '../../base/ids.ts'
import { REPLICAS_MAX, ROWS_PER_RECORD_MAX } from '../../base/limits.ts'
import type { Extent, Member, OperationOf, Outcome } from '../operations.ts'
import { CHUNK_VERSION_MAX, type DropReason } from './chunk-table.ts'
import type { DueHeap } from './due-heap.ts'
import { ACCEPTABLE, type Context, checkGoal, DONE, isWhole, no, type Refusal, yes } from './outcome.ts'
import type { MetadataState } from './state.ts'

export function openPackingChunk(state: MetadataState, op: OperationOf<'openPackingChunk'>, context: Context): Outcome {
  const refusal = checkGoal(op.goal, 0) ?? checkMembers(state, op.members, 1)
  if (refusal !== undefined) return refusal
  if (context.dry) return ACCEPTABLE
  const handle = newChunk(state, op.members, op.goal === 0 ? state.goal : op.goal, context.index, undefined)
  return yes(handle, 1)
}

export function raiseVersion(state: MetadataState, op: OperationOf<'raiseVersion'>, context: Context): Outcome {
  const { handle, version } = op
  const row = state.chunks.row(handle)
  if (row < 0) return no('NOT_FOUND', `chunk ${formatHandle(handle)} is not in the chunk table`, { handle })
  const present = state.chunks.version(row)
  if (version <= present) {
    return no('STALE_VERSION', `chunk ${formatHandle(handle)}: version ${version} asked, ${present} in the table`, {
      handle,
    })
  }
  if (!isWhole(version, CHUNK_VERSION_MAX)) {
    return no('LIMIT_EXCEEDED', `chunk ${formatHandle(handle)}: version ${version}, at most ${CHUNK_VERSION_MAX}`)
  }
  if (context.dry) return ACCEPTABLE
  state.chunks.setVersion(row, version)
  if (state.changes.isCollecting) state.changes.versionRaised.push({ handle, version })
  return DONE
}

export function setChunkGoals(state: MetadataState, op: OperationOf<'setChunkGoals'>, context: Context): Outcome {
  const { goals } = op
  if (goals.length > ROWS_PER_RECORD_MAX) {
    return no('LIMIT_EXCEEDED', `goals for ${goals.length} chunks, at most ${ROWS_PER_RECORD_MAX} in one record`)
  }
  for (const { to } of goals) {
    const refusal = checkGoal(to, 1)
    if (refusal !== undefined) return refusal
  }
  if (context.dry) return ACCEPTABLE
  const { chunks, changes } = state
  let count = 0
  for (const { handle, from, to } of goals) {
    const row = chunks.row(handle)
    // Changed meanwhile: whoever asked for this saw another state, and looks again.
    if (row < 0 || chunks.goal(row) !== from) continue
    // The file of who holds it may be about to name bytes of it.
    if (chunks.owners.has(handle) && to < (from || state.goal)) continue
    chunks.setGoal(row, to)
    count++
    if (changes.isCollecting) changes.goalChanged.push(handle)
  }
  return yes(count)
}

/** Why these can't be the members of a new chunk, which needs at least `least`. */
export function checkMembers(state: MetadataState, members: readonly Member[], least: number): Refusal | undefined {
  if (members.length < least || members.length > REPLICAS_MAX) {
    return no('INVALID_ARGUMENT', `a chunk with ${members.length} members, ${least} .. ${REPLICAS_MAX} are allowed`)
  }
  for (let i = 0; i < members.length; i++) {
    const member = members[i]!
    if (!state.serverTable.has(member.server)) return no('NOT_FOUND', `server ${member.server} is not registered`)
    for (let j = 0; j < i; j++) {
      if (members[j]!.directory === member.directory) {
        return no('INVALID_ARGUMENT', `the same data directory twice among the members of a chunk`)
      }
    }
  }
  if (members.length > 0 && state.handleCounter(state.lineage) + 1 >= HANDLE_COUNTER_COUNT) {
    return no('LIMIT_EXCEEDED', 'the lineage has no chunk handles left')
  }
  return undefined
}

/** Allocates the next handle. Without an owner the chunk is shared. */
export function newChunk(
  state: MetadataState,
  members: readonly Member[],
  goal: number,
  index: number,
  owner: { readonly session: SessionId; readonly inode: InodeId } | undefined,
): ChunkHandle {
  const counter = state.handleCounter(state.lineage) + 1
  state.lineages.set(state.lineage, counter)
  const handle = chunkHandle(state.lineage, counter)
  const kept = members.map(({ server, directory, life }) => ({ server, directory, life }))
  const shared = owner === undefined
  // Field by field: an object made by spreading another is slow to make, and slow to use ever after.
  const lent = shared ? undefined : { session: owner.session, inode: owner.inode, closed: false }
  state.chunks.allocate(handle, kept, goal, shared, index, lent)
  if (owner !== undefined) addHold(state, owner.session, owner.inode, handle)
  if (state.changes.isCollecting) state.changes.allocated.push({ handle, version: 1, shared, members: kept })
  return handle
}

/** Notes that `session` holds a chunk for one of its files. */
export function addHold(state: MetadataState, session: SessionId, inode: InodeId, handle: ChunkHandle): void {
  const holds = state.sessionTable.get(session)?.holds
  assert(holds !== undefined, 'a chunk for an unknown session')
  if (holds.add(inode, handle)) state.holders.add(inode, session)
}

/** Seals an open chunk; the owner who closed its file before loses it now. */
export function seal(
  state: MetadataState,
  handle: ChunkHandle,
  row: number,
  length: number,
  digest: number,
  indexDigest: number,
  context: Context,
): void {
  const members = state.chunks.seal(handle, row, length, digest, indexDigest)
  if (state.changes.isCollecting) {
    const version = state.chunks.version(row)
    state.changes.sealed.push({ handle, version, length, digest, indexDigest, members })
  }
  if (state.chunks.owners.get(handle)?.closed) releaseOwner(state, handle)
  // Retention of a chunk that no file names yet counts from here.
  if (state.chunks.references(row) === 0 && state.chunks.isKept(row) && state.chunks.dual(row) === 0) {
    state.chunks.setDual(row, context.time.clusterMs)
  }
  settle(state, handle)
}

/** Ends a writer's hold of its file: its sealed chunks lose their owner now, the open ones when they are sealed. */
export function releaseHolds(state: MetadataState, session: SessionId, inode: InodeId): void {
  const holds = state.sessionTable.get(session)?.holds
  if (holds === undefined) return
  for (const handle of holds.of(inode)) {
    const owner = state.chunks.owners.get(handle)
    assert(owner !== undefined, 'a hold without an owner')
    owner.closed = true
    if (state.chunks.isOpen(state.chunks.row(handle))) continue
    releaseOwner(state, handle)
    settle(state, handle)
  }
}

/** Ends every writer's hold of a file that is no more. */
export function releaseAllHolds(state: MetadataState, inode: InodeId): void {
  for (const session of state.holders.of(inode)) releaseHolds(state, session, inode)
}

/** Takes the owner off a chunk, and the chunk off the session's holds. */
export function releaseOwner(state: MetadataState, handle: ChunkHandle): void {
  const owner = state.chunks.owners.get(handle)
  assert(owner !== undefined, 'a chunk without an owner')
  state.chunks.owners.delete(handle)
  const holds = state.sessionTable.get(owner.session)?.holds
  assert(holds !== undefined, 'an owner without a session')
  assert(holds.hasPair(owner.inode, handle), 'an owner without a hold')
  if (!holds.delete(owner.inode, handle)) return
  assert(state.holders.hasPair(owner.inode, owner.session), 'a hold that its file does not know')
  state.holders.delete(owner.inode, owner.session)
}

export function addReference(state: MetadataState, { handle, offset, length }: Extent): void {
  if (handle === 0) return
  const row = state.chunks.row(handle)
  assert(row >= 0, 'an extent of an unknown chunk')
  state.chunks.addReference(handle, row, offset + length, length)
}

export function dropReference(
  state: MetadataState,
  handle: ChunkHandle,
  length: number,
  reason: DropReason,
  clusterMs: number,
): void {
  if (handle === 0) return
  const row = state.chunks.row(handle)
  assert(row >= 0, 'an extent of an unknown chunk')
  if (state.chunks.dropReference(row, length, reason, clusterMs)) settle(state, handle)
}

/** Once nothing names, holds or writes a chunk: it waits for its retention, or goes. */
export function settle(state: MetadataState, handle: ChunkHandle): void {
  const { chunks } = state
  const row = chunks.row(handle)
  if (chunks.references(row) > 0 || chunks.isOpen(row) || chunks.owners.has(handle)) return
  const since = chunks.unreferencedSinceMs(row)
  if (chunks.isRetained(row)) chunks.due.push(since, handle)
  else if (chunks.isKept(row)) chunks.dueMoved.push(since, handle)
  else forget(state, handle, row)
}

/** The chunk at the top of `due` or `dueMoved` that still waits there; drops pairs that stand for none. 0: there is none. */
export function nextDueChunk(state: MetadataState, heap: DueHeap): ChunkHandle | 0 {
  const { chunks } = state
  for (; heap.size > 0; heap.pop()) {
    const handle = heap.firstId as ChunkHandle
    const row = chunks.row(handle)
    if (row < 0 || chunks.references(row) > 0 || chunks.isOpen(row) || chunks.owners.has(handle)) continue
    if (chunks.isRetained(row) !== (heap === chunks.due)) continue
    if (chunks.unreferencedSinceMs(row) === heap.firstTime) return handle
  }
  return 0
}

export function forget(state: MetadataState, handle: ChunkHandle, row: number): void {
  state.changes.addForgotten(handle, state.chunks.length(row))
  state.chunks.forget(handle, row)
}
