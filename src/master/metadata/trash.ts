// The trash: removed trees, kept whole under TRASH_INODE until their time is over, then dropped row by row.
//
// Removing moves one row. Purging walks the tree from its first leaf, at most ROWS_PER_RECORD_MAX rows a record; what is
// left of the tree is itself the cursor.
//
// Source: GFS §4.4 (lazy garbage collection of hidden names).

import type { InodeId } from '../../base/ids.ts'
import { ROWS_PER_RECORD_MAX } from '../../base/limits.ts'
import { directoryPart } from '../../base/path.ts'
import type { OperationOf, Outcome } from '../operations.ts'
import { forget, nextDueChunk, releaseAllHolds } from './chunk-operations.ts'
import type { DueHeap } from './due-heap.ts'
import { dropTail } from './extents.ts'
import { TRASH_INODE } from './inode-table.ts'
import { ACCEPTABLE, type Context, DONE, no, yes } from './outcome.ts'
import type { MetadataState, TrashEntry } from './state.ts'

/** Moves an inode that has just lost its name into the trash. @returns the trash id */
export function moveToTrash(
  state: MetadataState,
  inode: InodeId,
  path: string,
  dueNow: boolean,
  context: Context,
): number {
  const row = state.inodes.row(inode)
  const isDirectory = state.inodes.isDirectory(row)
  state.inodes.setParent(row, TRASH_INODE)
  const id = state.nextTrash++
  const entry: TrashEntry = {
    id,
    inode,
    path,
    type: isDirectory ? 'directory' : 'file',
    size: isDirectory ? 0 : state.inodes.size(row),
    removedAtMs: state.clusterMs,
    removedWallMs: context.time.wallMs,
    dueNow: false,
    isPurging: false,
  }
  state.trashTable.set(id, entry)
  state.trashOf.set(inode, id)
  if (dueNow) makeDue(state, entry)
  if (state.changes.isCollecting) state.changes.removed.push(inode)
  return id
}

function makeDue(state: MetadataState, entry: TrashEntry): void {
  if (entry.dueNow) return
  entry.dueNow = true
  state.trashDue.push(0, entry.id)
}

export function restoreTrash(state: MetadataState, op: OperationOf<'restoreTrash'>, context: Context): Outcome {
  const entry = state.trashTable.get(op.trash)
  if (entry === undefined) return no('NOT_FOUND', `trash ${op.trash} is not there, or purged already`)
  if (entry.isPurging)
    return no('NOT_FOUND', `trash ${op.trash} (${entry.path}) is being purged, a part is gone already`)
  const path = op.path === '' ? entry.path : op.path
  const place = state.locate(path)
  if ('ok' in place) {
    if (place.code !== 'NOT_FOUND') return place
    return no('NOT_FOUND', `${directoryPart(path)}: the directory to restore into is not there`, { path })
  }
  if (place.inode !== 0) return no('ALREADY_EXISTS', `${path} exists`, { path })
  if (context.dry) return ACCEPTABLE
  state.trashTable.delete(entry.id)
  state.trashOf.delete(entry.inode)
  state.names.link(place.parent, place.name, entry.inode, context.time.wallMs)
  return yes(entry.inode)
}

export function emptyTrash(state: MetadataState, op: OperationOf<'emptyTrash'>, context: Context): Outcome {
  if (op.trash !== 0) {
    const entry = state.trashTable.get(op.trash)
    if (entry === undefined) return no('NOT_FOUND', `trash ${op.trash} is not there, or purged already`)
    if (context.dry) return ACCEPTABLE
    makeDue(state, entry)
    return DONE
  }
  if (context.dry) return ACCEPTABLE
  state.trashDueThrough = state.nextTrash - 1
  return DONE
}

/** Cluster times: what was removed, lost its last reference, or was moved up to then goes. */
export type GarbageTimes = Omit<OperationOf<'collectGarbage'>, 'kind'>

/** Whether `collectGarbage` with these times would do anything. */
export function garbageDue(state: MetadataState, before: GarbageTimes): boolean {
  if (nextTrash(state, before.trashBeforeMs) !== undefined) return true
  const { due, dueMoved } = state.chunks
  if (nextDueChunk(state, due) !== 0 && due.firstTime <= before.chunksBeforeMs) return true
  return nextDueChunk(state, dueMoved) !== 0 && dueMoved.firstTime <= before.movedBeforeMs
}

export function collectGarbage(state: MetadataState, op: OperationOf<'collectGarbage'>, context: Context): Outcome {
  if (context.dry) return ACCEPTABLE
  let budget = ROWS_PER_RECORD_MAX
  while (budget > 0) {
    const entry = nextTrash(state, op.trashBeforeMs)
    if (entry === undefined) break
    if (!entry.isPurging) {
      entry.isPurging = true
      makeDue(state, entry)
    }
    budget = purge(state, entry, budget, context)
  }
  budget = forgetDue(state, state.chunks.due, op.chunksBeforeMs, budget)
  forgetDue(state, state.chunks.dueMoved, op.movedBeforeMs, budget)
  return DONE
}

/** Forgets chunks that waited long enough. @returns what is left of the budget */
function forgetDue(state: MetadataState, heap: DueHeap, beforeMs: number, rows: number): number {
  for (let budget = rows; ; budget--) {
    const handle = nextDueChunk(state, heap)
    if (budget === 0 || handle === 0 || heap.firstTime > beforeMs) return budget
    heap.pop()
    forget(state, handle, state.chunks.row(handle))
  }
}

function nextTrash(state: MetadataState, beforeMs: number): TrashEntry | undefined {
  for (; state.trashDue.size > 0; state.trashDue.pop()) {
    const due = state.trashTable.get(state.trashDue.firstId)
    if (due?.dueNow) return due
  }
  // Entries are in the order of their removal, so the first one is the oldest.
  for (const oldest of state.trashTable.values()) {
    return oldest.id <= state.trashDueThrough || oldest.removedAtMs <= beforeMs ? oldest : undefined
  }
  return undefined
}

/** Drops rows of a removed tree, deepest first. @returns what is left of the budget */
function purge(state: MetadataState, entry: TrashEntry, rows: number, context: Context): number {
  const { inodes, names } = state
  let budget = rows
  let at = entry.inode
  while (budget > 0) {
    const row = inodes.row(at)
    if (inodes.isDirectory(row) && inodes.entryCount(row) > 0) {
      names.entries.seek(at, '')
      at = names.entries.cursorInode() as InodeId
      continue
    }
    if (!inodes.isDirectory(row)) {
      budget -= dropTail(state, at, budget, 'purged', state.clusterMs)
      if (inodes.extentCount(row) > 0) return budget
    }
    if (at === entry.inode) {
      dropInode(state, at)
      state.trashTable.delete(entry.id)
      state.trashOf.delete(at)
      return budget - 1
    }
    const parent = inodes.parent(row)
    names.entries.seek(parent, '')
    names.unlink(parent, names.entries.cursorName(), TRASH_INODE, context.time.wallMs)
    dropInode(state, at)
    at = parent
    budget -= 2
  }
  return budget
}

/** Deletes an inode that has neither extents nor entries nor a name. */
export function dropInode(state: MetadataState, inode: InodeId): void {
  const row = state.inodes.row(inode)
  if (state.inodes.isDirectory(row)) state.names.forgetPaths()
  else releaseAllHolds(state, inode)
  state.profiles.drop(state.inodes.profile(row))
  if (state.inodes.hasAttributes(row)) state.attributes.delete(inode)
  state.inodes.delete(inode, row)
}
