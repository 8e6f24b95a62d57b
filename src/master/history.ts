// History: whether this master's log has all that its chunkservers have seen of it (DESIGN §3, "Chunkserver").
//
// A log that was restored from an older copy gives handles again that chunks of the lost history have. Until the loss
// is accepted, which begins a new lineage of handles, nothing is allocated, fenced, cut or deleted.

import { DfsError } from '../base/errors.ts'
import type { History } from '../wire/messages.ts'
import type { ServerView } from './cluster/servers.ts'
import type { MasterContext } from './context.ts'

export function historyOf({ state }: MasterContext): History {
  return { logIndex: state.lastIndex, rollbackLostIndex: state.rollbackLostIndex }
}

/** The server has seen history that this log does not have, and nobody has accepted its loss. */
export function isRolledBack(context: MasterContext, server: ServerView): boolean {
  const { logIndex, rollbackLostIndex } = historyOf(context)
  return server.seenLogIndex > logIndexAtJoin(server, logIndex) && server.seenLogIndex > rollbackLostIndex
}

/** A server that has seen more than this log has; undefined when there is none. */
export function newerServer(context: MasterContext): ServerView | undefined {
  return context.servers.all().find((server) => isRolledBack(context, server))
}

/** Throws MASTER_ROLLED_BACK when a chunkserver has seen more history than this log has. */
export function checkHistory(context: MasterContext): void {
  const server = newerServer(context)
  if (!server) return
  throw new DfsError(
    'MASTER_ROLLED_BACK',
    `the master's log ended at ${server.joinLogIndex} when cs-${server.id} joined, which had seen ${server.seenLogIndex}`,
    { server: server.id, logIndex: server.joinLogIndex, seenLogIndex: server.seenLogIndex },
  )
}

/** A lost history does not come back by new records: what counts is where the log ended when the server joined. */
function logIndexAtJoin(server: ServerView, logIndex: number): number {
  return Math.min(server.joinLogIndex, logIndex)
}
