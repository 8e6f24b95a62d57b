// Repair: what a sealed chunk lacks or has too much of, and which copies to make next (GFS §4.3; DESIGN §5).
//
// Pure and level-triggered: it looks at what is, not at what happened. A dead server, a bad block, a server that leaves,
// a new goal are all the same here: replicas that don't count.
//
// Invariant: nothing is given up unless so many whole replicas as the goal wants are proven on live servers without it.

import type { ChunkHandle, DirectoryId, ServerId } from '../../base/ids.ts'
import type { Random } from '../../base/random.ts'
import type { ReplicaState } from '../cluster/locations.ts'
import { type PlacementServer, placeAnother } from './placement.ts'

/**
 * What a replica's server means for it:
 *   here     live and has reported: what is known of its replicas is so
 *   unsure   silent for a moment, or not reported since it joined: counts, but nothing is given up for it
 *   away     stopped for maintenance: counts while enough others are reachable
 *   leaving  drained: read from, doesn't count
 *   lost     dead or a failed disk
 */
export type Presence = 'here' | 'unsure' | 'away' | 'leaving' | 'lost'

export interface ReplicaView {
  readonly server: ServerId
  readonly directory: DirectoryId
  readonly state: ReplicaState
  readonly presence: Presence
  /** An order to delete it is out: it counts as gone. */
  readonly isDoomed: boolean
}

export type Verdict =
  | { readonly kind: 'well' }
  | {
      readonly kind: 'lacking'
      /** Copies to make, 1 upward. */
      readonly missing: number
      /** Whole replicas that can be reached now; 0: the copy is put together from damaged ones. */
      readonly whole: number
    }
  /** Too many, or damaged ones beside enough whole ones: may go, in no order. */
  | { readonly kind: 'surplus'; readonly replicas: readonly ReplicaView[]; readonly count: number }
  /** No reachable replica proves any byte. */
  | { readonly kind: 'unreachable' }

/** Held back copying to a server in maintenance ends here: so few reachable whole replicas are too few to wait. */
const WHOLE_MIN = 2

/** What is to be done about a sealed chunk. */
export function judgeChunk(goal: number, replicas: readonly ReplicaView[]): Verdict {
  let here = 0
  let unsure = 0
  let away = 0
  let leaving = 0
  let damaged = 0
  for (const replica of replicas) {
    if (replica.presence === 'lost' || replica.isDoomed) continue
    // One that stopped before it heard of the seal holds what was sealed, as far as is known.
    if (replica.state === 'open' && replica.presence === 'away') away++
    else if (replica.state !== 'good') {
      if (replica.presence !== 'away' && mayBeRead(replica)) damaged++
    } else if (replica.presence === 'here') here++
    else if (replica.presence === 'unsure') unsure++
    else if (replica.presence === 'away') away++
    else leaving++
  }
  const whole = here + unsure + leaving
  const counted = here + unsure
  const short = goal - counted - away
  const tooFew = away > 0 ? Math.min(goal, WHOLE_MIN) - counted : 0
  const missing = Math.max(short, tooFew)
  if (missing > 0) return whole + damaged > 0 ? { kind: 'lacking', missing, whole } : { kind: 'unreachable' }
  if (here < goal) return { kind: 'well' }
  const useless = replicas.filter(
    (replica) =>
      !replica.isDoomed &&
      (replica.presence === 'leaving' || (replica.presence === 'here' && replica.state !== 'good')) &&
      replica.state !== 'open',
  )
  // The drained server's whole replicas stay: who drains it wants to see them counted, and takes the server away.
  const bad = useless.filter((replica) => replica.state !== 'good')
  if (bad.length > 0) return { kind: 'surplus', replicas: bad, count: bad.length }
  if (here === goal) return { kind: 'well' }
  const good = replicas.filter((replica) => isWholeHere(replica))
  return { kind: 'surplus', replicas: good, count: here - goal }
}

/** The replica to give up first: the one with the most company in its failure domains, then on the fullest disk. */
export function worstReplica(
  replicas: readonly ReplicaView[],
  servers: ReadonlyMap<ServerId, RepairServer>,
): ReplicaView | undefined {
  let worst: ReplicaView | undefined
  let worstCost = Number.NEGATIVE_INFINITY
  for (const replica of replicas) {
    const server = servers.get(replica.server)
    if (!server) continue
    let company = 0
    for (const other of replicas) {
      const neighbour = other === replica ? undefined : servers.get(other.server)
      if (neighbour?.host === server.host) company += 4
      if (neighbour && server.rack !== '' && neighbour.rack === server.rack) company += 2
      if (neighbour && server.zone !== '' && neighbour.zone === server.zone) company += 1
    }
    const disk = server.directories.find(({ directory }) => directory === replica.directory)
    const full = disk ? 1 - disk.freeBytes / Math.max(1, disk.capacityBytes) : 0
    if (company + full <= worstCost) continue
    worst = replica
    worstCost = company + full
  }
  return worst
}

export interface RepairServer extends PlacementServer {
  readonly address: string
  /** Copies under way to it and from it. */
  readonly copiesIn: number
  readonly copiesOut: number
}

export interface CopyWant {
  readonly handle: ChunkHandle
  readonly length: number
  readonly missing: number
  readonly whole: number
  readonly replicas: readonly ReplicaView[]
  /** A reader has met a bad replica of it. */
  readonly isAwaited: boolean
  /** Servers that this copy failed on a moment ago, and those that one is under way to. */
  readonly avoid: ReadonlySet<ServerId>
}

export interface CopyPlan {
  readonly handle: ChunkHandle
  readonly target: ServerId
  readonly directory: DirectoryId
  /** Best first. */
  readonly sources: readonly ServerId[]
}

export interface CopyLimits {
  /** Copies that may begin now, over the whole cluster. */
  readonly budget: number
  readonly inPerServer: number
  readonly outPerServer: number
}

/**
 * The copies to begin now: most endangered chunks first, within the limits.
 *
 * @param wants    any order; not changed
 * @param servers  all that are known; copies that begin count against their limits at once
 */
export function planCopies(
  wants: readonly CopyWant[],
  servers: readonly RepairServer[],
  limits: CopyLimits,
  random: Random,
): CopyPlan[] {
  const plans: CopyPlan[] = []
  const byId = new Map(servers.map((server) => [server.id, server]))
  const copiesIn = new Map(servers.map((server) => [server.id, server.copiesIn]))
  const copiesOut = new Map(servers.map((server) => [server.id, server.copiesOut]))
  for (const want of [...wants].sort(byUrgency)) {
    const taken = new Set(want.avoid)
    for (let copy = 0; copy < want.missing; copy++) {
      if (plans.length >= limits.budget) return plans
      const sources = sourcesOf(want, byId, copiesOut, limits.outPerServer)
      const first = sources[0]
      if (first === undefined) break
      const free = servers.filter(
        (server) => !taken.has(server.id) && (copiesIn.get(server.id) ?? 0) < limits.inPerServer,
      )
      const target = targetOf(want, free, byId, copiesIn, random)
      if (target === undefined) break
      // A damaged replica that its copy takes the place of is its last source, for what no other proves.
      const others = sources.filter((source) => source !== target.server)
      if (others.length < sources.length) others.push(target.server)
      plans.push({ handle: want.handle, target: target.server, directory: target.directory, sources: others })
      taken.add(target.server)
      copiesIn.set(target.server, (copiesIn.get(target.server) ?? 0) + 1)
      copiesOut.set(first, (copiesOut.get(first) ?? 0) + 1)
    }
  }
  return plans
}

/** Fewest whole replicas first, then who is waited for, then the furthest from the goal (GFS §4.3). */
function byUrgency(a: CopyWant, b: CopyWant): number {
  return a.whole - b.whole || Number(b.isAwaited) - Number(a.isAwaited) || b.missing - a.missing
}

/** A server without the chunk, spread over the domains of those that have it; if there is none, one whose replica is bad. */
function targetOf(
  want: CopyWant,
  free: readonly RepairServer[],
  byId: ReadonlyMap<ServerId, RepairServer>,
  copiesIn: ReadonlyMap<ServerId, number>,
  random: Random,
): { readonly server: ServerId; readonly directory: DirectoryId } | undefined {
  const holders = new Set(want.replicas.filter(({ presence }) => presence !== 'lost').map(({ server }) => server))
  const company = [...holders].flatMap((id) => byId.get(id) ?? [])
  const busy = (server: RepairServer) => ({ ...server, load: server.load + 4 * (copiesIn.get(server.id) ?? 0) })
  const fresh = free.filter((server) => !holders.has(server.id)).map(busy)
  const placed = placeAnother(fresh, company, want.length, random)
  if (placed) return placed
  for (const { server, directory, state, presence, isDoomed } of want.replicas) {
    const view = free.find(({ id }) => id === server)
    if (state === 'good' || presence !== 'here' || isDoomed || view?.excluded !== undefined) continue
    if (view?.directories.some((disk) => disk.directory === directory && disk.isWritable)) return { server, directory }
  }
  return undefined
}

const sourceOrder: Readonly<Record<ReplicaState, number>> = {
  good: 0,
  corrupt: 100,
  short: 101,
  open: 102,
  different: 0,
}

/** Whole ones first, live ones first, the least busy first. None: all of them are at their limit. */
function sourcesOf(
  want: CopyWant,
  byId: ReadonlyMap<ServerId, RepairServer>,
  copiesOut: ReadonlyMap<ServerId, number>,
  outMax: number,
): ServerId[] {
  const ranked: { readonly server: ServerId; readonly rank: number }[] = []
  for (const replica of want.replicas) {
    const { server, presence, state, isDoomed } = replica
    if (presence === 'lost' || presence === 'away' || isDoomed || !mayBeRead(replica) || !byId.has(server)) continue
    const unsure = presence === 'unsure' ? 50 : 0
    ranked.push({ server, rank: sourceOrder[state] + unsure + (copiesOut.get(server) ?? 0) })
  }
  ranked.sort((a, b) => a.rank - b.rank)
  const first = ranked[0]
  if (first === undefined || (copiesOut.get(first.server) ?? 0) >= outMax) return []
  return ranked.map(({ server }) => server)
}

function mayBeRead({ state }: ReplicaView): boolean {
  return state !== 'different'
}

function isWholeHere(replica: ReplicaView): boolean {
  return replica.state === 'good' && replica.presence === 'here' && !replica.isDoomed
}
