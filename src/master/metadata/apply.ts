// Applies operations: the one way in which the state changes.
//
// Total and deterministic: same state and operation, same verdict, on every master, today and on replay. It answers yes
// or no and never throws for what a client did; a throw here is a bug and stops the process. A refused operation changes
// nothing but the session that hears of it.
//
// Source: GFS §2.6.3; Schneider, state machine approach (1990).

import { unreachable } from '../../base/assert.ts'
import type { Operation, Outcome, RecordTime, Requester } from '../operations.ts'
import { openPackingChunk, raiseVersion, setChunkGoals } from './chunk-operations.ts'
import { acceptRollback, formatCluster, registerServer, setClusterOptions, setServerIntent } from './cluster.ts'
import { continueJob, copy } from './copy.ts'
import { makeDirectory, remove, rename, setAttributes } from './directories.ts'
import { allocateChunk, commitFile, concatFiles, openFile, putFile, spliceFile, truncateFile } from './files.ts'
import { ACCEPTABLE, type Context, DONE, no, PENDING } from './outcome.ts'
import { answerOfTable, endSession, enterSession } from './sessions.ts'
import type { MetadataState } from './state.ts'
import { releaseHandle, reserveHandle, switchExtents } from './switches.ts'
import { checkTails, openTail, sealChunk } from './tails.ts'
import { collectGarbage, emptyTrash, restoreTrash } from './trash.ts'

/**
 * Applies one committed operation.
 *
 * @param index  its log index, above `state.lastIndex`
 * @param term   the term of its record
 * @returns      the verdict; the stored reply for a request that was applied before; `PENDING` for a copy that became a
 *               job (its outcome comes with `state.changes.jobsEnded` and `state.sessionReply`)
 */
export function apply(state: MetadataState, op: Operation, time: RecordTime, index: number, term: number): Outcome {
  state.clusterMs = Math.max(state.clusterMs, time.clusterMs)
  state.wallMs = time.wallMs
  state.lastIndex = index
  state.lastTerm = term
  const context: Context = { time, index, dry: false }
  const by = requesterOf(op)
  if (by === undefined) return checkState(state, op) ?? dispatch(state, op, context)
  const known = answerOfTable(state, by)
  if (known !== undefined) return known
  const session = enterSession(state, by)
  const outcome = checkState(state, op) ?? dispatch(state, op, context)
  // FILE_BUSY says "try the same again": it is not the request's last word.
  if (outcome !== PENDING && (outcome.ok || outcome.code !== 'FILE_BUSY')) session.replies.set(by.request, outcome)
  return outcome
}

/**
 * The answer that the present state gives without a record: a stored reply, or a refusal. Changes nothing.
 *
 * @returns undefined when the operation would be accepted, and so needs a record
 */
export function refusal(state: MetadataState, op: Operation): Outcome | undefined {
  const by = requesterOf(op)
  const known = by === undefined ? undefined : answerOfTable(state, by)
  const outcome = known ?? checkState(state, op) ?? dispatch(state, op, DRY)
  return outcome === ACCEPTABLE || (outcome === DONE && known === undefined) ? undefined : outcome
}

const DRY: Context = { time: { clusterMs: 0, wallMs: 0 }, index: 0, dry: true }

function requesterOf(op: Operation): Requester | undefined {
  return 'by' in op ? op.by : undefined
}

/** What the state as a whole refuses: everything before the format, changes of names during a job, of files with a tail. */
function checkState(state: MetadataState, op: Operation): Outcome | undefined {
  if (state.clusterId === '' && op.kind !== 'formatCluster') return no('NOT_READY', 'the cluster is not formatted yet')
  if (state.job === undefined || !waitsForJob(op)) return checkTails(state, op)
  return no('FILE_BUSY', `${state.job.from} is being copied to ${state.job.to}`, { path: state.job.to })
}

function waitsForJob(op: Operation): boolean {
  switch (op.kind) {
    case 'formatCluster':
    case 'acceptRollback':
    case 'advanceTime':
    case 'registerServer':
    case 'setServerIntent':
    case 'setClusterOptions':
    case 'endSession':
    case 'openFile':
    case 'allocateChunk':
    case 'openPackingChunk':
    case 'sealChunk':
    case 'raiseVersion':
    case 'setChunkGoals':
    case 'continueJob':
      return false
    default:
      return true
  }
}

function dispatch(state: MetadataState, op: Operation, context: Context): Outcome {
  switch (op.kind) {
    case 'formatCluster':
      return formatCluster(state, op, context)
    case 'acceptRollback':
      return acceptRollback(state, op, context)
    case 'advanceTime':
      return DONE
    case 'registerServer':
      return registerServer(state, op, context)
    case 'setServerIntent':
      return setServerIntent(state, op, context)
    case 'setClusterOptions':
      return setClusterOptions(state, op, context)
    case 'endSession':
      return endSession(state, op, context)
    case 'makeDirectory':
      return makeDirectory(state, op, context)
    case 'putFile':
      return putFile(state, op, context)
    case 'openFile':
      return openFile(state, op, context)
    case 'allocateChunk':
      return allocateChunk(state, op, context)
    case 'commitFile':
      return commitFile(state, op, context)
    case 'spliceFile':
      return spliceFile(state, op, context)
    case 'truncateFile':
      return truncateFile(state, op, context)
    case 'concatFiles':
      return concatFiles(state, op, context)
    case 'copy':
      return copy(state, op, context)
    case 'rename':
      return rename(state, op, context)
    case 'remove':
      return remove(state, op, context)
    case 'setAttributes':
      return setAttributes(state, op, context)
    case 'restoreTrash':
      return restoreTrash(state, op, context)
    case 'emptyTrash':
      return emptyTrash(state, op, context)
    case 'openPackingChunk':
      return openPackingChunk(state, op, context)
    case 'sealChunk':
      return sealChunk(state, op, context)
    case 'raiseVersion':
      return raiseVersion(state, op, context)
    case 'openTail':
      return openTail(state, op, context)
    case 'reserveHandle':
      return reserveHandle(state, context)
    case 'releaseHandle':
      return releaseHandle(state, op, context)
    case 'switchExtents':
      return switchExtents(state, op, context)
    case 'setChunkGoals':
      return setChunkGoals(state, op, context)
    case 'continueJob':
      return continueJob(state, context)
    case 'collectGarbage':
      return collectGarbage(state, op, context)
    default:
      return unreachable(op)
  }
}
