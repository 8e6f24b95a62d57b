// Requests of operators: checks, what they want of a chunkserver, safe mode by hand, scrubs, limits of copying, balance.

import { DfsError, isDfsError } from '../../base/errors.ts'
import { formatServer, type ServerId } from '../../base/ids.ts'
import { COPY_LIMITS, type MessageName } from '../../wire/messages.ts'
import { change, type Handlers, type MasterContext } from '../context.ts'
import { fsckPage } from '../fsck.ts'
import type { ClusterOption } from '../operations.ts'
import type { Repairer } from '../repairer.ts'

/** How many of each message have come since the start. */
type Requests = ReadonlyMap<MessageName, { readonly count: number }>

export function operatorHandlers(repairer: Repairer, requests: Requests) {
  const { balancer } = repairer
  return {
    top: (context) => ({ document: top(context, repairer, requests) }),

    fsck: (context, request) => fsckPage(context, request),

    setServerIntent: async (context, { by, server, intent, forMs }) => {
      requireServer(context, server)
      const untilMs = intent === 'maintain' && forMs > 0 ? context.proposer.clusterMs + forMs : 0
      await change(context, { kind: 'setServerIntent', by, server, intent, untilMs })
      context.logger.info({ event: 'intent', server, intent, forMs }, `the operator's wish for cs-${server}: ${intent}`)
      return {}
    },

    safeMode(context, { action }) {
      const { manualSafeMode, logger } = context
      if (action !== 'get') {
        manualSafeMode.wish = action === 'enter' ? 'on' : 'off'
        logger.warn({ event: 'safe-mode', action }, `safe mode: the operator said ${action}`)
      }
      const { isOn, reason, leftMs } = context.safeMode
      return { isOn, isManual: manualSafeMode.wish !== 'auto', reason, leftMs: Math.max(0, Math.ceil(leftMs)) }
    },

    scrub: async (context, { server }) => {
      const { servers, logger } = context
      if (server !== undefined) requireServer(context, server)
      const asked = server === undefined ? servers.all().map(({ id }) => id) : [server]
      const begun: ServerId[] = []
      const refused: ServerId[] = []
      await Promise.all(
        asked.map(async (id) => {
          try {
            await context.ask(id, 'scrubNow', {})
            begun.push(id)
          } catch (error) {
            if (!isDfsError(error)) throw error
            logger.warn({ event: 'scrub', server: id, code: error.code }, `cs-${id} begins no scrub: ${error.message}`)
            refused.push(id)
          }
        }),
      )
      return { begun: begun.sort((a, b) => a - b), refused: refused.sort((a, b) => a - b) }
    },

    copyLimits: async (context, { reset, ...request }) => {
      const { limits, logger } = context
      const before = { ...limits }
      const options: [ClusterOption, number | null][] = []
      for (const name of reset) options.push([name, null])
      for (const name of COPY_LIMITS) if (request[name] !== undefined) options.push([name, Number(request[name])])
      if (options.length > 0) {
        await change(context, { kind: 'setClusterOptions', options })
        const now = { ...limits }
        logger.info({ event: 'copy-limits', before, now }, 'the operator changed what copying may take')
      }
      return { ...limits }
    },

    balance: async (_context, { isPlan }) => ({ document: isPlan ? await balancer.plan() : balancer.facts() }),
  } satisfies Handlers
}

/** Counters of this moment: who asks twice knows what happened between. */
function top(context: MasterContext, repairer: Repairer, requests: Requests): unknown {
  const { clock, servers, state, proposer, sessionsSeen } = context
  const nowMs = clock.nowMs()
  const { queue, inFlight, bytesPerSecond, etaMs } = repairer.facts()
  return {
    atMs: nowMs,
    requests: Object.fromEntries([...requests].flatMap(([name, { count }]) => (count > 0 ? [[name, count]] : []))),
    servers: servers.all().map((server) => ({
      id: formatServer(server.id),
      address: server.address,
      state: servers.liveness(server, nowMs),
      streams: server.streams,
      queuedBytes: server.queuedBytes,
      readBytes: server.readBytes,
      writtenBytes: server.writtenBytes,
    })),
    repair: { waiting: queue.none + queue.one + queue.two + queue.more, inFlight, bytesPerSecond, etaMs },
    balance: repairer.balancer.rates(),
    files: state.fileCount,
    chunks: state.chunkCount,
    sessions: sessionsSeen.size,
    pendingChanges: proposer.pendingCount,
    logIndex: state.lastIndex,
  }
}

/** @throws NOT_FOUND */
function requireServer({ state }: MasterContext, server: ServerId): void {
  if (state.server(server) !== undefined) return
  const next = 'see `dfs report` for the servers there are'
  throw new DfsError('NOT_FOUND', `${formatServer(server)} is not registered`, { server, next })
}
