// Client sessions: each operation of a client is applied at most once, whoever sends it again.
//
// The reply to (session, request) is kept until a later request's floor passes it. An unknown session is opened by its
// first operation; an ended one is remembered for SESSION_MEMORY_MS of cluster time, up to SESSIONS_ENDED_MAX of them,
// and refused. What comes under an old id after that would be taken for a new session, and could happen a second time:
// a client therefore gives up on a request after SESSION_SILENCE_MS and draws a new random session id, so that nothing
// of a session is on its way a day after its end.
//
// Source: Raft dissertation §6.3 (linearizable semantics by client sessions); DESIGN §3.

import { ROWS_PER_RECORD_MAX, SESSION_REPLIES_MAX } from '../../base/limits.ts'
import { DAY_MS } from '../../base/units.ts'
import type { OperationOf, Outcome, Requester } from '../operations.ts'
import { releaseOwner, settle } from './chunk-operations.ts'
import { dropUnnamed } from './files.ts'
import { IdMap, IdSets } from './id-map.ts'
import { ACCEPTABLE, type Context, DONE, isWhole, no } from './outcome.ts'
import type { MetadataState, Session } from './state.ts'

/** How long, in cluster time, an ended session is remembered. */
export const SESSION_MEMORY_MS = DAY_MS
/** Ended sessions remembered at most: the oldest goes first. */
export const SESSIONS_ENDED_MAX = 65_536
/** Sessions at a time: an operation that would open one more is BUSY. */
export const SESSIONS_MAX = 65_536

/** What the session table answers by itself: a stored reply or a refusal. Undefined: the operation is to be applied. */
export function answerOfTable(state: MetadataState, by: Requester): Outcome | undefined {
  const { session, request, floor } = by
  if (!isWhole(session, 2 ** 48 - 1) || session === 0 || !isWhole(request, Number.MAX_SAFE_INTEGER) || request === 0) {
    return no('INVALID_ARGUMENT', `session ${session}, request ${request}: out of range`)
  }
  if (!isWhole(floor, request - 1))
    return no('INVALID_ARGUMENT', `request ${request} with floor ${floor}: it lies below`)
  const known = state.sessionTable.get(session)
  if (known === undefined) {
    if (state.sessionsEnded.has(session)) return ended(session)
    return state.sessionTable.size < SESSIONS_MAX
      ? undefined
      : no('BUSY', `${SESSIONS_MAX} sessions are open, there is no room for more`)
  }
  if (known.isEnding) return ended(session)
  const reply = known.replies.get(request)
  if (reply !== undefined) return reply
  if (request <= known.floor) {
    return no(
      'OUTCOME_UNKNOWN',
      `request ${request} lies below the session's floor ${known.floor}: its reply is forgotten`,
    )
  }
  if (state.job !== undefined && state.job.by.session === session && state.job.by.request === request) {
    return no('FILE_BUSY', `request ${request} is under way: its reply comes when the copy ends`)
  }
  if (known.replies.size >= SESSION_REPLIES_MAX && repliesAbove(known, floor) >= SESSION_REPLIES_MAX) {
    return no('BUSY', `${SESSION_REPLIES_MAX} replies of this session wait for its floor to move`)
  }
  return undefined
}

function ended(session: number): Outcome {
  return no('SESSION_ENDED', `session ${session.toString(16)} has ended`)
}

function repliesAbove(session: Session, floor: number): number {
  let count = 0
  for (const request of session.replies.keys()) if (request > floor) count++
  return count
}

/** Opens the session if it is new, moves its floor up and notes that it lives. */
export function enterSession(state: MetadataState, by: Requester): Session {
  let session = state.sessionTable.get(by.session)
  if (session === undefined) {
    session = {
      id: by.session,
      openedMs: state.clusterMs,
      lastActiveMs: state.clusterMs,
      floor: 0,
      replies: new IdMap(),
      isEnding: false,
      unnamed: new IdMap(),
      holds: new IdSets(),
    }
    state.sessionTable.set(by.session, session)
  }
  session.lastActiveMs = state.clusterMs
  if (by.floor > session.floor) {
    if (by.floor - session.floor <= session.replies.size) {
      for (let request = session.floor + 1; request <= by.floor; request++) session.replies.delete(request)
    } else {
      for (const request of session.replies.keys()) if (request <= by.floor) session.replies.delete(request)
    }
    session.floor = by.floor
  }
  return session
}

/** Ends a session in steps of ROWS_PER_RECORD_MAX; it is known until the last step is done. */
export function endSession(state: MetadataState, op: OperationOf<'endSession'>, context: Context): Outcome {
  const session = state.sessionTable.get(op.session)
  if (session === undefined) {
    return state.sessionsEnded.has(op.session)
      ? DONE
      : no('NOT_FOUND', `session ${op.session.toString(16)} is not known`)
  }
  if (context.dry) return ACCEPTABLE
  session.isEnding = true
  session.replies.clear()
  let budget = ROWS_PER_RECORD_MAX
  // In the order of their numbers: the same on every master.
  for (const inode of session.unnamed.keys().sort((a, b) => a - b)) {
    if (budget <= 0) return DONE
    budget -= dropUnnamed(state, inode, budget)
  }
  const held = session.holds
    .keys()
    .flatMap((inode) => session.holds.of(inode))
    .sort((a, b) => a - b)
  for (const handle of held) {
    if (budget-- <= 0) return DONE
    releaseOwner(state, handle)
    settle(state, handle)
  }
  if (session.unnamed.size > 0) return DONE
  state.sessionTable.delete(op.session)
  rememberEnded(state, op)
  if (state.changes.isCollecting) state.changes.sessionsEnded.push(op.session)
  return DONE
}

function rememberEnded(state: MetadataState, op: OperationOf<'endSession'>): void {
  state.sessionsEnded.set(op.session, state.clusterMs)
  for (const [id, endedMs] of state.sessionsEnded) {
    const isOld = endedMs + SESSION_MEMORY_MS < state.clusterMs
    if (!isOld && state.sessionsEnded.size <= SESSIONS_ENDED_MAX) return
    state.sessionsEnded.delete(id)
  }
}
