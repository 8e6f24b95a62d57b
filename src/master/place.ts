// Placement as the master does it: the pure plan over what is known now, and the error when it finds too few.

import type { ServerId } from '../base/ids.ts'
import type { DirectoryFacts } from '../wire/messages.ts'
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
  // A slow disk is better than none at all, as is a server that has just failed.
  const shunned = new Set([...avoid, ...slowServers(context)])
  const placement = placeReplicas(placementServers(context), goal, minimum, state.chunkBytes, shunned, random)
  if (placement.members.length < minimum) throw tooFewServers(minimum, placement.members.length, placement.excluded)
  for (const member of placement.members) {
    const server = servers.get(member.server)
    if (server) server.recentPlacements++
  }
  return placement
}

/** How many servers could take a replica of a new chunk now, those with nothing but slow disks left out. */
export function placeableCount(context: MasterContext): number {
  const { chunkBytes } = context.state
  const slow = slowServers(context)
  return placementServers(context).filter(
    (server) =>
      server.excluded === undefined &&
      !slow.has(server.id) &&
      server.directories.some((directory) => directory.isWritable && directory.freeBytes >= chunkBytes),
  ).length
}

export function placementServers(context: MasterContext): PlacementServer[] {
  const { servers, state, clock } = context
  const nowMs = clock.nowMs()
  const isQuick = quickTest(context)
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
      isWritable: directory.state === 'ok' && (isQuick(directory) || !server.directories.some(isQuick)),
      capacityBytes: directory.capacityBytes,
      usedBytes: usedOnDevice(server, directory),
      freeBytes: directory.freeBytes,
    })),
  }))
}

/** Bytes of the chunks of all the server's directories that share a device with this one: its room is theirs together. */
function usedOnDevice({ directories }: ServerView, { device, usedBytes }: DirectoryFacts): number {
  if (device === '') return usedBytes
  return directories.reduce((sum, one) => sum + (one.device === device ? one.usedBytes : 0), 0)
}

/** Servers that have nothing but disks slower than the others'. */
function slowServers(context: MasterContext): Set<ServerId> {
  const isQuick = quickTest(context)
  const slow = context.servers.all().filter(({ directories }) => !directories.some(isQuick))
  return new Set(slow.map(({ id }) => id))
}

function quickTest({ servers, clock }: MasterContext): (facts: DirectoryFacts) => boolean {
  const nowMs = clock.nowMs()
  return ({ directory, state }) => state === 'ok' && !servers.slowDisks.isSlow(directory, nowMs)
}

function exclusion(server: ServerView, liveness: string, intent: Intent): string | undefined {
  if (liveness !== 'live') return `it is ${liveness}`
  if (intent === 'drain') return 'it is being drained'
  if (intent === 'maintain') return 'it is in maintenance'
  if (server.directories.every((directory) => directory.state !== 'ok')) return 'no disk of it takes new chunks'
  return undefined
}
