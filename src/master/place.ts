// Placement as the master does it: the pure plan over what is known now, and the error when it finds too few.

import type { ServerId } from '../base/ids.ts'
import { hostOf, type ServerView } from './cluster/servers.ts'
import type { MasterContext } from './context.ts'
import { checkHistory } from './history.ts'
import { tooFewServers } from './packing.ts'
import { type Placement, type PlacementServer, placeReplicas } from './plan/placement.ts'
import { type Intent, intentNow } from './plan/standing.ts'
import { minimumReplicas } from './settings.ts'

/** Members for one new chunk. NO_SERVERS, naming every server that was passed over, when fewer than the minimum can. */
export function placeChunk(context: MasterContext, goal: number, avoid: Iterable<ServerId>): Placement {
  checkHistory(context)
  const { state, settings, random, servers } = context
  const minimum = minimumReplicas(goal, settings)
  const placement = placeReplicas(placementServers(context), goal, minimum, state.chunkBytes, new Set(avoid), random)
  if (placement.members.length < minimum) throw tooFewServers(minimum, placement.members.length, placement.excluded)
  for (const member of placement.members) {
    const server = servers.get(member.server)
    if (server) server.recentPlacements++
  }
  return placement
}

/** How many servers could take a replica of a new chunk now. */
export function placeableCount(context: MasterContext): number {
  const { chunkBytes } = context.state
  return placementServers(context).filter(
    (server) =>
      server.excluded === undefined &&
      server.directories.some((directory) => directory.isWritable && directory.freeBytes >= chunkBytes),
  ).length
}

export function placementServers(context: MasterContext): PlacementServer[] {
  const { servers, state, clock } = context
  const nowMs = clock.nowMs()
  return servers.all().map((server) => ({
    id: server.id,
    host: hostOf(server.address),
    rack: server.rack,
    zone: server.zone,
    excluded: exclusion(
      server,
      servers.liveness(server, nowMs),
      intentNow(state.server(server.id), context.proposer.clusterMs),
    ),
    load: server.streams + server.recentPlacements,
    directories: server.directories.map((directory) => ({
      directory: directory.directory,
      life: directory.life,
      isWritable: directory.state === 'ok',
      capacityBytes: directory.capacityBytes,
      usedBytes: directory.usedBytes,
      freeBytes: directory.freeBytes,
    })),
  }))
}

function exclusion(server: ServerView, liveness: string, intent: Intent): string | undefined {
  if (liveness !== 'live') return `it is ${liveness}`
  if (intent === 'drain') return 'it is being drained'
  if (intent === 'maintain') return 'it is in maintenance'
  if (server.directories.every((directory) => directory.state !== 'ok')) return 'no disk of it takes new chunks'
  return undefined
}
