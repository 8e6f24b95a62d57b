// Copies of files and trees by their extent lists (GFS §3.4): no byte moves, chunks count one reference more.
//
// The copy is built under HIDDEN_INODE and gets its name in the last step, so nobody meets half a tree. What does not
// fit in one record becomes a job: its cursor is part of the state, `continueJob` records take it on, and until its end
// no other change of the namespace is accepted (FILE_BUSY).

import type { InodeId } from '../../base/ids.ts'
import { ROOT_INODE } from '../../base/ids.ts'
import { ROWS_PER_RECORD_MAX } from '../../base/limits.ts'
import type { OperationOf, Outcome } from '../operations.ts'
import { checkReplaceable, putAttributes } from './directories.ts'
import { applyEdit } from './extents.ts'
import { HIDDEN_INODE, NO_PARENT } from './inode-table.ts'
import type { Place } from './namespace.ts'
import { ACCEPTABLE, type Context, DONE, no, PENDING, type Refusal, yes } from './outcome.ts'
import type { Job, MetadataState } from './state.ts'
import { moveToTrash } from './trash.ts'

export function copy(state: MetadataState, op: OperationOf<'copy'>, context: Context): Outcome {
  const from = state.locate(op.from)
  if ('ok' in from) return from
  if (from.inode === 0) return no('NOT_FOUND', `${op.from}: no such file or directory`, { path: op.from })
  const isDirectory = state.inodes.isDirectory(state.inodes.row(from.inode))
  if (isDirectory && !op.recursive) return no('IS_A_DIRECTORY', `${op.from} is a directory`, { path: op.from })
  const to = checkTarget(state, op.to, isDirectory, op.overwrite)
  if ('ok' in to) return to
  if (to.inode === from.inode || (isDirectory && state.names.isWithin(to.parent, from.inode))) {
    return no('INVALID_MOVE', `${op.from} cannot be copied into itself, to ${op.to}`)
  }
  if (context.dry) return ACCEPTABLE
  const root = copyInode(state, from.inode, HIDDEN_INODE, context)
  const job: Job = { by: op.by, from: op.from, to: op.to, overwrite: op.overwrite, root, stack: [], file: undefined }
  if (isDirectory) job.stack.push({ source: from.inode, target: root, after: '' })
  else job.file = { source: from.inode, target: root, next: 0 }
  const outcome = advance(state, job, context)
  if (outcome !== undefined) return outcome
  state.job = job
  return PENDING
}

/** Takes the job on; its last step stores the reply with the session that asked. */
export function continueJob(state: MetadataState, context: Context): Outcome {
  const { job } = state
  if (job === undefined) return no('NOT_FOUND', 'there is no job to continue')
  if (context.dry) return ACCEPTABLE
  const outcome = advance(state, job, context)
  if (outcome === undefined) return DONE
  state.job = undefined
  const { session, request } = job.by
  const asker = state.sessionTable.get(session)
  if (asker !== undefined && request > asker.floor) asker.replies.set(request, outcome)
  if (state.changes.isCollecting) state.changes.jobsEnded.push({ session, request, outcome })
  return DONE
}

function checkTarget(state: MetadataState, path: string, isDirectory: boolean, overwrite: boolean): Place | Refusal {
  const to = state.locate(path)
  if ('ok' in to) return to
  if (to.inode === ROOT_INODE) return no('ALREADY_EXISTS', 'the root exists')
  if (to.inode === 0) return to
  return checkReplaceable(state, to.inode, path, isDirectory, overwrite) ?? to
}

/** Copies rows up to the limit of a record. @returns the outcome when the copy is whole and has its name */
function advance(state: MetadataState, job: Job, context: Context): Outcome | undefined {
  const { entries } = state.names
  let budget = ROWS_PER_RECORD_MAX
  while (budget > 0) {
    if (job.file !== undefined) {
      budget -= copyExtents(state, job, budget)
      continue
    }
    const top = job.stack[job.stack.length - 1]
    if (top === undefined) return finish(state, job, context)
    if (!entries.seek(top.source, top.after)) {
      // Linking touched the copy's times: a copy keeps those of its source.
      copyTimes(state, top.source, top.target)
      job.stack.pop()
      budget--
      continue
    }
    const name = entries.cursorName()
    const source = entries.cursorInode() as InodeId
    top.after = name
    const target = copyInode(state, source, NO_PARENT, context)
    state.names.link(top.target, name, target, context.time.wallMs)
    if (state.inodes.isDirectory(state.inodes.row(source))) job.stack.push({ source, target, after: '' })
    else job.file = { source, target, next: 0 }
    budget -= 2
  }
  return undefined
}

/** A new inode with everything of `source` but its bytes and entries. */
function copyInode(state: MetadataState, source: InodeId, parent: InodeId, context: Context): InodeId {
  const { inodes } = state
  const row = inodes.row(source)
  const id = state.nextInode++ as InodeId
  const profile = state.profiles.useAgain(inodes.profile(row))
  const copied = inodes.create(id, inodes.isDirectory(row), parent, profile, inodes.mtimeMs(row), context.time.wallMs)
  inodes.setContentVersion(copied, inodes.contentVersion(inodes.row(source)))
  const attributes = state.attributes.get(source)
  if (attributes !== undefined) putAttributes(state, id, copied, attributes)
  return id
}

function copyTimes(state: MetadataState, source: InodeId, target: InodeId): void {
  state.inodes.setMtimeMs(state.inodes.row(target), state.inodes.mtimeMs(state.inodes.row(source)))
}

/** Copies extents of the file under way. @returns rows touched, at least 1 */
function copyExtents(state: MetadataState, job: Job, budget: number): number {
  const file = job.file!
  const { inodes } = state
  const row = inodes.row(file.source)
  const count = Math.min(budget, inodes.extentCount(row) - file.next)
  const extents = []
  for (let i = 0; i < count; i++) extents.push(inodes.extent(row, file.next + i))
  applyEdit(
    state,
    inodes.row(file.target),
    { from: file.next, removed: 0, added: extents },
    'abandoned',
    state.clusterMs,
  )
  file.next += count
  if (file.next === inodes.extentCount(row)) job.file = undefined
  return Math.max(1, count)
}

function finish(state: MetadataState, job: Job, context: Context): Outcome {
  const isDirectory = state.inodes.isDirectory(state.inodes.row(job.root))
  const to = checkTarget(state, job.to, isDirectory, job.overwrite)
  if ('ok' in to) {
    moveToTrash(state, job.root, job.to, true, context)
    return to
  }
  const { wallMs } = context.time
  if (to.inode !== 0) {
    state.names.unlink(to.parent, to.name, NO_PARENT, wallMs)
    moveToTrash(state, to.inode, job.to, false, context)
  }
  state.names.link(to.parent, to.name, job.root, wallMs)
  return yes(job.root)
}
