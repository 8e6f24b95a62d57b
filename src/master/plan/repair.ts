// Repair: what a sealed chunk lacks or has too much of, and which copies to make next (GFS §4.3; DESIGN §5).
//
// Pure and level-triggered: it looks at what is, not at what happened. A dead server, a bad block, a server that leaves,
// a new goal are all the same here: replicas that don't count.
//
// Invariant: nothing is given up unless so many whole replicas as the goal wants are proven on live servers without it.

import type { ChunkHandle, DirectoryId, ServerId } from '../../base/ids.ts'
import type { Random } from '../../base/random.ts'
import type { ReplicaState } from '../cluster/locations.ts'
import { companyOf, type Domains, fullness, type PlacementServer, placeAnother } from './placement.ts'
import type { Presence } from './standing.ts'

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

/**
 * The replica to give up first: the one with the most company in its failure domains, then on the fullest disk.
 * Undefined: none is on a known server.
 *
 * @param fullnessOf  what a disk is taken to be at; undefined: what its server says
 */
export function worstReplica(
  replicas: readonly Place[],
  servers: ReadonlyMap<ServerId, RepairServer>,
  fullnessOf: (directory: DirectoryId) => number | undefined = () => undefined,
): ServerId | undefined {
  let worst: ServerId | undefined
  let worstCost = Number.NEGATIVE_INFINITY
  for (const replica of replicas) {
    const server = servers.get(replica.server)
    if (!server) continue
    const others = replicas.flatMap((other) => (other === replica ? [] : (servers.get(other.server) ?? [])))
    const disk = server.directories.find(({ directory }) => directory === replica.directory)
    const cost = companyOf(server, others) + (fullnessOf(replica.directory) ?? (disk ? fullness(disk) : 0))
    if (cost <= worstCost) continue
    worst = replica.server
    worstCost = cost
  }
  return worst
}

/** Where a replica is, or would be. */
export interface Place {
  readonly server: ServerId
  readonly directory: DirectoryId
}

export interface RepairServer extends PlacementServer {
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
  /** Servers that a copy of it is under way to. */
  readonly avoid: ReadonlySet<ServerId>
  /** Servers that a copy of it failed on a moment ago: taken again when there is no other. */
  readonly failedOn: ReadonlySet<ServerId>
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
  /** To one server and from one; one more each for last copies. */
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
    // One slot of each server is for last copies: those that are held back may take minutes.
    const more = want.whole <= 1 ? 1 : 0
    const inMax = limits.inPerServer + more
    const outMax = limits.outPerServer + more
    for (let copy = 0; copy < want.missing; copy++) {
      if (plans.length >= limits.budget) return plans
      if (!hasFreeSource(want, byId, copiesOut, outMax)) break
      const free = servers.filter((server) => !taken.has(server.id) && (copiesIn.get(server.id) ?? 0) < inMax)
      const others = free.filter(({ id }) => !want.failedOn.has(id))
      const target =
        targetOf(want, others, byId, copiesIn, random) ??
        (others.length < free.length ? targetOf(want, free, byId, copiesIn, random) : undefined)
      const to = target && byId.get(target.server)
      if (target === undefined || to === undefined) break
      const sources = sourcesOf(want.replicas, to, byId, copiesOut, outMax)
      const first = sources[0]
      if (first === undefined) break
      // A damaged replica that its copy takes the place of is its last source, for what no other proves.
      const elsewhere = sources.filter((source) => source !== target.server)
      if (elsewhere.length < sources.length) elsewhere.push(target.server)
      plans.push({ handle: want.handle, target: target.server, directory: target.directory, sources: elsewhere })
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

/** Whether one of the best replicas may be copied from now: a damaged one is not asked because whole ones are busy. */
function hasFreeSource(
  { replicas }: CopyWant,
  servers: ReadonlyMap<ServerId, RepairServer>,
  copiesOut: ReadonlyMap<ServerId, number>,
  outMax: number,
): boolean {
  const readable = replicas.filter((replica) => isSource(replica) && servers.has(replica.server))
  const whole = readable.filter(({ state }) => state === 'good')
  return (whole.length > 0 ? whole : readable).some(({ server }) => (copiesOut.get(server) ?? 0) < outMax)
}

/**
 * Where to copy from, best first: whole ones, live ones, near and not busy ones (a copy under way there weighs as much as
 * one step of distance: same host, rack, zone, elsewhere). None: none can be read.
 */
export function sourcesOf(
  replicas: readonly ReplicaView[],
  target: RepairServer,
  servers: ReadonlyMap<ServerId, RepairServer>,
  copiesOut: ReadonlyMap<ServerId, number>,
  outMax: number,
): ServerId[] {
  const ranked: { readonly server: ServerId; readonly rank: number }[] = []
  for (const replica of replicas) {
    const from = servers.get(replica.server)
    if (from === undefined || !isSource(replica)) continue
    const copies = copiesOut.get(from.id) ?? 0
    const damaged = replica.state === 'good' ? 0 : DAMAGED_RANK
    const doubtful = (replica.presence === 'unsure' ? UNSURE_RANK : 0) + (copies >= outMax ? FULL_RANK : 0)
    ranked.push({ server: from.id, rank: damaged + doubtful + distance(from, target) + copies + from.load / 16 })
  }
  return ranked.sort((a, b) => a.rank - b.rank).map(({ server }) => server)
}

const DAMAGED_RANK = 10_000
const FULL_RANK = 2000
const UNSURE_RANK = 1000

function distance(from: Domains, to: Domains): number {
  if (from.host !== '' && from.host === to.host) return 0
  if (from.zone !== to.zone) return 3
  if (from.rack !== '' && from.rack === to.rack) return 1
  return from.zone === '' ? 3 : 2
}

function isSource(replica: ReplicaView): boolean {
  const { presence, isDoomed } = replica
  return presence !== 'lost' && presence !== 'away' && !isDoomed && mayBeRead(replica)
}

function mayBeRead({ state }: ReplicaView): boolean {
  return state !== 'different'
}

function isWholeHere(replica: ReplicaView): boolean {
  return replica.state === 'good' && replica.presence === 'here' && !replica.isDoomed
}
