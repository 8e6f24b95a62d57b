// Requests of chunkservers: joining, heartbeats, reports, leaving.

import { DfsError } from '../../base/errors.ts'
import type { ServerId } from '../../base/ids.ts'
import { ORDER_VALID_MS } from '../../base/limits.ts'
import type { RequestOf } from '../../wire/messages.ts'
import type { ServerView } from '../cluster/servers.ts'
import { type Asker, change, type Handlers, type MasterContext, replyNumber } from '../context.ts'
import { historyOf, isRolledBack, newerServer } from '../history.ts'
import type { Repairer } from '../repairer.ts'
import type { Replicas } from '../replicas.ts'

export function chunkserverHandlers(replicas: Replicas, repairer: Repairer) {
  return {
    join: async (context, request, asker) => {
      await refuseTwins(context, request)
      // Before anything is logged for this join: a record more must not make a shorter log look long enough.
      const logIndex = context.state.lastIndex
      const id = await register(context, request)
      const server = context.servers.join(id, request, asker.connection, context.clock.nowMs())
      server.seenLogIndex = request.seenLogIndex
      server.joinLogIndex = logIndex
      const history = historyOf(context)
      if (isRolledBack(context, server)) {
        context.logger.error(
          { event: 'rolled-back', server: id, seen: request.seenLogIndex, logIndex: history.logIndex },
          'a chunkserver has seen more history than this log has: restore the log, or run `dfs admin accept-rollback`',
        )
      }
      context.logger.info({ event: 'join', server: id, address: request.address }, 'chunkserver joined')
      return { server: id, heartbeatMs: context.servers.heartbeatMs, history }
    },

    heartbeat(context, request, asker) {
      const { sequence, directories, hasDirectories, streams, queuedBytes, changes, replicaSum } = request
      const server = serverOf(context, asker)
      for (const { directory } of directories) context.servers.checkOwner(server, directory)
      server.readBytes += request.readBytes
      server.writtenBytes += request.writtenBytes
      context.servers.beat(
        server,
        hasDirectories ? directories : server.directories,
        streams,
        queuedBytes,
        context.clock.nowMs(),
      )
      if (sequence > server.sequence) {
        server.sequence = sequence
        for (const facts of changes) replicas.note(server, facts)
        replicas.compare(server, replicaSum)
      }
      const history = historyOf(context)
      return {
        heartbeatMs: context.servers.heartbeatMs,
        history,
        validMs: ORDER_VALID_MS,
        // Also for a server that can't know it: a chunk that this log gives up may have been wanted in the history it lost.
        orders: newerServer(context) ? [] : [...replicas.takeOrders(server.id), ...repairer.takeTrims(server.id)],
        wantReport: replicas.wantsReport(server.id),
      }
    },

    chunkReport(context, { sequence, isFirst, isLast, replicas: reported }, asker) {
      const server = serverOf(context, asker)
      if (isFirst) replicas.beginReport(server)
      if (sequence >= server.sequence) {
        server.sequence = sequence
        for (const facts of reported) replicas.note(server, facts)
      }
      if (isLast) replicas.endReport(server)
      return {}
    },

    leave(context, _request, asker) {
      const server = serverOf(context, asker)
      server.leftMs = context.clock.nowMs()
      context.logger.info({ event: 'leave', server: server.id }, 'chunkserver announced maintenance')
      return {}
    },
  } satisfies Handlers
}

function serverOf(context: MasterContext, asker: Asker): ServerView {
  const server = context.servers.all().find((candidate) => candidate.connection === asker.connection)
  if (server) return server
  throw new DfsError('NOT_READY', 'this connection has not joined: join first', { remote: asker.remote })
}

/**
 * A second live server with the same identity, or with a directory of another, is a copied disk and always refused. A server
 * that comes back while its old connection still looks alive is let in when that stays silent for longer than its
 * heartbeats allow: who is refused has a twin that was heard while it waited here.
 */
async function refuseTwins(context: MasterContext, request: RequestOf<'join'>): Promise<void> {
  const { servers, clock } = context
  const twins = servers.all().flatMap((server) => {
    if (server.connection === undefined || isSameProcess(server, request)) return []
    const shared = request.directories.find(({ directory }) => servers.serverOfDirectory(directory) === server)
    if (server.identity !== request.identity && shared === undefined) return []
    return [{ server, shared, sequence: server.sequence }]
  })
  if (twins.length === 0) return
  await clock.sleep(2 * servers.heartbeatMs + 250)
  for (const { server, shared, sequence } of twins) {
    // Its own connection broke and it asked twice: the first of these joins has let it in.
    if (isSameProcess(server, request)) continue
    // Not the time of the last contact, which is put forward when the master itself stood still.
    if (server.connection === undefined || server.sequence === sequence) continue
    const { id, identity, address } = server
    const claim =
      identity === request.identity || shared === undefined
        ? `${request.address} shows the identity of cs-${id}, which is live at ${address}`
        : `${shared.path} at ${request.address} is data directory ${shared.directory}, which cs-${id}, live at ${address}, has`
    const directory = shared === undefined ? {} : { directory: shared.directory }
    throw new DfsError('DUPLICATE_IDENTITY', claim, { server: id, address, ...directory })
  }
}

function isSameProcess(server: ServerView, request: RequestOf<'join'>): boolean {
  if (server.identity !== request.identity) return false
  const lives = new Set(server.directories.map((directory) => directory.life))
  return request.directories.some((directory) => lives.has(directory.life))
}

/** The id of the server, logged when it or a fact about it is new. */
async function register(context: MasterContext, request: RequestOf<'join'>): Promise<ServerId> {
  const known = [...context.state.servers()].find((server) => server.identity === request.identity)
  const directories = request.directories.map(({ directory }) => directory)
  const { address, zone, rack, identity } = request
  if (
    known &&
    known.address === address &&
    known.zone === zone &&
    known.rack === rack &&
    known.directories.length === directories.length &&
    known.directories.every((directory, index) => directory === directories[index])
  )
    return known.id
  const reply = await change(context, {
    kind: 'registerServer',
    server: known?.id ?? 0,
    identity,
    directories,
    address,
    zone,
    rack,
  })
  return replyNumber(reply, 0) as ServerId
}
