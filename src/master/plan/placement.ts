// Placement: which servers take the replicas of a new chunk (GFS §4.2).
//
// Pure: what is known of the servers comes in, members come out. Order of wishes: never twice on one server; not twice
// on one host, rack, zone while others exist; then room and little load, with chance among near equals so that a new,
// empty server is not flooded.

import type { DirectoryId, Life, ServerId } from '../../base/ids.ts'
import type { Random } from '../../base/random.ts'
import type { Member } from '../operations.ts'

export interface PlacementDirectory {
  readonly directory: DirectoryId
  readonly life: Life
  readonly isWritable: boolean
  readonly capacityBytes: number
  /** Of chunks, of all directories on the same device; what else lies on the disk is neither used nor free. */
  readonly usedBytes: number
  readonly freeBytes: number
}

export interface PlacementServer {
  readonly id: ServerId
  readonly host: string
  readonly rack: string
  readonly zone: string
  /** Why it may not take new chunks now; undefined: it may. */
  readonly excluded: string | undefined
  readonly directories: readonly PlacementDirectory[]
  /** Streams under way and chunks lately placed there. */
  readonly load: number
}

export interface Placement {
  /** Primary first; fewer than wanted when the cluster is too small. */
  readonly members: readonly Member[]
  /** Every server that could not be taken, with the reason: for the error when there are too few. */
  readonly excluded: readonly { readonly server: ServerId; readonly reason: string }[]
}

/**
 * Chooses members for one new chunk.
 *
 * @param servers  any order; not changed
 * @param count    replicas wanted, 1 .. REPLICAS_MAX
 * @param bytes    room that each must have
 * @param avoid    servers that the writer has just seen fail: taken only when nothing else reaches `minimum`
 */
export function placeReplicas(
  servers: readonly PlacementServer[],
  count: number,
  minimum: number,
  bytes: number,
  avoid: ReadonlySet<ServerId>,
  random: Random,
): Placement {
  const excluded: { server: ServerId; reason: string }[] = []
  const candidates: Candidate[] = []
  for (const server of servers) {
    const directory = roomiest(server, bytes)
    if (server.excluded !== undefined) excluded.push({ server: server.id, reason: server.excluded })
    else if (!directory) excluded.push({ server: server.id, reason: `no disk with ${bytes} bytes of room` })
    else candidates.push({ server, directory, cost: costOf(server, directory, random) })
  }
  const willing = candidates.filter((candidate) => !avoid.has(candidate.server.id))
  const shunned = candidates.filter((candidate) => avoid.has(candidate.server.id))
  const chosen = choose(willing, count, [])
  if (chosen.length < minimum) choose(shunned, minimum, chosen)
  for (const candidate of shunned) {
    if (!chosen.includes(candidate))
      excluded.push({ server: candidate.server.id, reason: 'it failed this writer a moment ago' })
  }
  const members = chosen.map(({ server, directory }) => ({
    server: server.id,
    directory: directory.directory,
    life: directory.life,
  }))
  return { members, excluded }
}

interface Candidate {
  readonly server: PlacementServer
  readonly directory: PlacementDirectory
  readonly cost: number
}

function roomiest(server: PlacementServer, bytes: number): PlacementDirectory | undefined {
  let best: PlacementDirectory | undefined
  for (const directory of server.directories) {
    if (!directory.isWritable || directory.freeBytes < bytes) continue
    if (!best || directory.freeBytes > best.freeBytes) best = directory
  }
  return best
}

/** Lower is better: how full the disk is, how busy the server is, and a little chance. */
function costOf(server: PlacementServer, directory: PlacementDirectory, random: Random): number {
  return fullness(directory) + server.load / 16 + random.fraction() / 8
}

/**
 * How full a disk is of what chunks may take of it, 0 .. 1. Placement, trims and rebalancing go by this one measure:
 * with two of them, one would carry away what the other brings.
 */
export function fullness({ usedBytes, freeBytes }: { readonly usedBytes: number; readonly freeBytes: number }): number {
  return usedBytes / Math.max(1, usedBytes + freeBytes)
}

/** Where a server stands among failure domains. */
export interface Domains {
  readonly host: string
  /** '' when it has no name. */
  readonly rack: string
  readonly zone: string
}

/**
 * How much company a replica on this server has in its failure domains: a shared host weighs more than any number of
 * shared racks, a rack more than any zones. An unnamed rack or zone is shared with nobody.
 */
export function companyOf(server: Domains, others: Iterable<Domains>): number {
  let company = 0
  for (const other of others) {
    if (server.host !== '' && other.host === server.host) company += HOST_WEIGHT
    if (server.rack !== '' && other.rack === server.rack && other.zone === server.zone) company += RACK_WEIGHT
    if (server.zone !== '' && other.zone === server.zone) company += 1
  }
  return company
}

/** More than REPLICAS_MAX of the next smaller ones. */
const RACK_WEIGHT = 64
const HOST_WEIGHT = RACK_WEIGHT * RACK_WEIGHT

/** Adds candidates to `chosen` (which it changes) until there are `count`, the least conflicting and cheapest first. */
function choose(candidates: readonly Candidate[], count: number, chosen: Candidate[]): Candidate[] {
  const left = [...candidates]
  while (chosen.length < count && left.length > 0) {
    let best = 0
    for (let i = 1; i < left.length; i++) if (isBetter(left[i]!, left[best]!, chosen)) best = i
    chosen.push(left.splice(best, 1)[0]!)
  }
  return chosen
}

function isBetter(a: Candidate, b: Candidate, chosen: readonly Candidate[]): boolean {
  const company = chosen.map(({ server }) => server)
  const difference = companyOf(a.server, company) - companyOf(b.server, company)
  return difference === 0 ? a.cost < b.cost : difference < 0
}

/** One more server for a chunk that `company` holds replicas of already; undefined when none has room. */
export function placeAnother(
  servers: readonly PlacementServer[],
  company: readonly PlacementServer[],
  bytes: number,
  random: Random,
): { readonly server: ServerId; readonly directory: DirectoryId } | undefined {
  const candidates: Candidate[] = []
  for (const server of servers) {
    const directory = server.excluded === undefined ? roomiest(server, bytes) : undefined
    if (directory) candidates.push({ server, directory, cost: costOf(server, directory, random) })
  }
  const chosen: Candidate[] = []
  for (const server of company) {
    const [directory] = server.directories
    if (directory) chosen.push({ server, directory, cost: 0 })
  }
  const before = chosen.length
  const found = choose(candidates, before + 1, chosen)[before]
  return found && { server: found.server.id, directory: found.directory.directory }
}
