// Rebalancing: which whole replicas go elsewhere, so that no disk fills up while others are empty, and no two replicas of
// a chunk share a host, rack or zone while another could take one (GFS §4.3).
//
// Pure and level-triggered: it looks at what is. A move is a copy to the target, never anything else: the chunk then has
// one replica too many, and the trims of repair (worstReplica) take the one that was to go. So a chunk is below its goal
// at no moment, whatever fails on the way.
//
// Invariants:
//   - a levelling move leaves its target no fuller than its source: each makes the disks more alike, so that they end
//   - no move gives a replica more company in its failure domains
//   - trims would give up the replica that the move is for

import type { ChunkHandle, DirectoryId, ServerId } from '../../base/ids.ts'
import { companyOf, fullness } from './placement.ts'
import { type CopyPlan, type RepairServer, type ReplicaView, sourcesOf, worstReplica } from './repair.ts'

/** Levelling begins when a disk's fullness is further than this from the mean of all … */
export const BEGIN_SPREAD = 0.1
/** … and ends when none is further than this. */
export const END_SPREAD = 0.04

export interface BalanceDisk {
  readonly server: ServerId
  readonly directory: DirectoryId
  /** Names what the directories of a server share that lie on one device; '': it shares with none. */
  readonly device: string
  /** Of its own chunks. */
  readonly usedBytes: number
  /** Of the device. */
  readonly freeBytes: number
  readonly mayGive: boolean
  readonly mayTake: boolean
}

/**
 * How full the disks are, and would be after the moves that are planned. Directories of a server on one device are one
 * disk: its room is counted once, and what is moved from one of them is room for all.
 */
export class Levels {
  /** Of all chunks' room on all disks, the part that is taken: what every disk should be at. */
  readonly mean: number
  readonly #disks: ReadonlyMap<DirectoryId, Level>
  readonly #rooms: readonly Room[]
  /** Those that may take more, emptiest first. */
  readonly #takers: Level[]

  constructor(disks: Iterable<BalanceDisk>) {
    const rooms = new Map<string, Room>()
    const levels = [...disks].map((disk) => {
      const key = disk.device === '' ? `directory ${disk.directory}` : `${disk.server} ${disk.device}`
      const room = rooms.get(key) ?? { usedBytes: 0, freeBytes: disk.freeBytes }
      rooms.set(key, room)
      room.usedBytes += disk.usedBytes
      // Told one after the other while others write: the least is the latest, or the safest.
      room.freeBytes = Math.min(room.freeBytes, disk.freeBytes)
      return new Level(disk, room)
    })
    this.#disks = new Map(levels.map((level) => [level.directory, level]))
    this.#takers = levels.filter(({ mayTake }) => mayTake)
    this.#sort()
    this.#rooms = [...rooms.values()]
    this.mean = fullness({
      usedBytes: this.#rooms.reduce((total, { usedBytes }) => total + usedBytes, 0),
      freeBytes: this.#rooms.reduce((total, { freeBytes }) => total + freeBytes, 0),
    })
  }

  /** How far the disk that is furthest from the mean is from it, 0 .. 1. */
  get spread(): number {
    let spread = 0
    for (const room of this.#rooms) spread = Math.max(spread, Math.abs(fullness(room) - this.mean))
    return spread
  }

  /** Bytes above the mean, over all disks: what a perfect balance would have to move. */
  get bytesToMove(): number {
    let bytes = 0
    for (const { usedBytes, freeBytes } of this.#rooms)
      bytes += Math.max(0, usedBytes - this.mean * (usedBytes + freeBytes))
    return Math.round(bytes)
  }

  /** Undefined: the disk takes no part. */
  of(directory: DirectoryId): BalanceDisk | undefined {
    return this.#disks.get(directory)
  }

  /** 0 .. 1; undefined: the disk takes no part. */
  readonly fullnessOf = (directory: DirectoryId): number | undefined => {
    const level = this.#disks.get(directory)
    return level && fullness(level)
  }

  takers(): readonly BalanceDisk[] {
    return this.#takers
  }

  /** @param to  undefined: it has them already */
  move(from: DirectoryId, to: DirectoryId | undefined, bytes: number): void {
    this.#add(from, -bytes)
    if (to !== undefined) this.#add(to, bytes)
    this.#sort()
  }

  #add(directory: DirectoryId, bytes: number): void {
    const room = this.#disks.get(directory)?.room
    if (!room) return
    room.usedBytes = Math.max(0, room.usedBytes + bytes)
    room.freeBytes = Math.max(0, room.freeBytes - bytes)
  }

  #sort(): void {
    this.#takers.sort((a, b) => fullness(a) - fullness(b))
  }
}

/** What the directories on one device have together. */
interface Room {
  usedBytes: number
  freeBytes: number
}

/** A directory, as full as its device is. */
class Level implements BalanceDisk {
  readonly server: ServerId
  readonly directory: DirectoryId
  readonly device: string
  readonly mayGive: boolean
  readonly mayTake: boolean
  readonly room: Room

  constructor({ server, directory, device, mayGive, mayTake }: BalanceDisk, room: Room) {
    this.server = server
    this.directory = directory
    this.device = device
    this.mayGive = mayGive
    this.mayTake = mayTake
    this.room = room
  }

  get usedBytes(): number {
    return this.room.usedBytes
  }

  get freeBytes(): number {
    return this.room.freeBytes
  }
}

/** Whether levelling goes on, or begins. Two thresholds: what was just made level is left alone for long. */
export function mustLevel(spread: number, isLevelling: boolean): boolean {
  return spread > (isLevelling ? END_SPREAD : BEGIN_SPREAD)
}

/** A chunk at its goal, all of its replicas whole and on live servers. */
export interface MoveWant {
  readonly handle: ChunkHandle
  readonly length: number
  readonly replicas: readonly ReplicaView[]
}

export interface MovePlan extends CopyPlan {
  readonly bytes: number
  /** The replica that is too many once the copy is there. */
  readonly from: { readonly server: ServerId; readonly directory: DirectoryId }
  /** `crowded`: it shares a failure domain that the target does not; `full`: its disk is fuller than the mean. */
  readonly reason: 'crowded' | 'full'
}

export interface MoveLimits {
  /** Moves that may begin now. */
  readonly budget: number
  /** Copies to one server, and read from one. */
  readonly perServer: number
  /** False: only replicas that crowd a failure domain are moved. */
  readonly isLevelling: boolean
}

/**
 * The moves to begin now.
 *
 * @param wants   any order; not changed
 * @param levels  changed: as they are once the planned moves are done
 */
export function planMoves(
  wants: readonly MoveWant[],
  levels: Levels,
  servers: ReadonlyMap<ServerId, RepairServer>,
  { budget, perServer, isLevelling }: MoveLimits,
): MovePlan[] {
  const plans: MovePlan[] = []
  const copiesIn = new Map([...servers].map(([id, { copiesIn }]) => [id, copiesIn]))
  const copiesOut = new Map([...servers].map(([id, { copiesOut }]) => [id, copiesOut]))
  for (const want of wants) {
    if (plans.length >= budget) break
    if (want.replicas.some(({ directory }) => levels.of(directory)?.mayGive === undefined)) continue
    const holders = new Set(want.replicas.map(({ server }) => server))
    const mayTake = ({ server, freeBytes }: BalanceDisk) =>
      !holders.has(server) && freeBytes >= want.length && (copiesIn.get(server) ?? 0) < perServer
    const move =
      uncrowd(want, mayTake, levels, servers) ?? (isLevelling ? level(want, mayTake, levels, servers) : undefined)
    const to = move && servers.get(move.to.server)
    if (move === undefined || to === undefined) continue
    const sources = sourcesOf(want.replicas, to, servers, copiesOut, perServer)
    const [first] = sources
    if (first === undefined || (copiesOut.get(first) ?? 0) >= perServer) continue
    copiesIn.set(to.id, (copiesIn.get(to.id) ?? 0) + 1)
    copiesOut.set(first, (copiesOut.get(first) ?? 0) + 1)
    const { from, reason } = move
    levels.move(from.directory, move.to.directory, want.length)
    plans.push({
      handle: want.handle,
      target: to.id,
      directory: move.to.directory,
      sources,
      bytes: want.length,
      from: { server: from.server, directory: from.directory },
      reason,
    })
  }
  return plans
}

interface Move {
  readonly from: ReplicaView
  readonly to: BalanceDisk
  readonly reason: MovePlan['reason']
}

/** Where the replica with the most company would have less; there, to the emptiest disk. */
function uncrowd(
  { replicas }: MoveWant,
  mayTake: (disk: BalanceDisk) => boolean,
  levels: Levels,
  servers: ReadonlyMap<ServerId, RepairServer>,
): Move | undefined {
  const first = worstReplica(replicas, servers, levels.fullnessOf)
  const worst = replicas.find(({ server }) => server === first)
  if (worst === undefined) return undefined
  const rest = othersOf(worst, replicas, servers)
  let least = companyAt(worst.server, rest, servers)
  let to: BalanceDisk | undefined
  for (const taker of least === 0 ? [] : levels.takers()) {
    if (!mayTake(taker)) continue
    const company = companyAt(taker.server, rest, servers)
    if (company >= least) continue
    least = company
    to = taker
    if (least === 0) break
  }
  if (to === undefined) return undefined
  const gone = worstReplica([...replicas, to], servers, levels.fullnessOf)
  const from = replicas.find(({ server }) => server === gone)
  return from && levels.of(from.directory)?.mayGive ? { from, to, reason: 'crowded' } : undefined
}

/** A replica on a disk above the mean, to one below it. */
function level(
  { length, replicas }: MoveWant,
  mayTake: (disk: BalanceDisk) => boolean,
  levels: Levels,
  servers: ReadonlyMap<ServerId, RepairServer>,
): Move | undefined {
  for (const from of replicas) {
    const giver = levels.of(from.directory)
    if (giver?.mayGive !== true || fullness(giver) <= levels.mean) continue
    const rest = othersOf(from, replicas, servers)
    const company = companyAt(from.server, rest, servers)
    for (const to of levels.takers()) {
      if (fullness(to) >= levels.mean) break // the others are fuller still
      if (!mayTake(to) || !isFairer(giver, to, length)) continue
      if (companyAt(to.server, rest, servers) > company) continue
      if (worstReplica([...replicas, to], servers, levels.fullnessOf) === from.server)
        return { from, to, reason: 'full' }
    }
  }
  return undefined
}

/** The giver is still at least as full as the taker when the move is done. */
function isFairer(giver: BalanceDisk, taker: BalanceDisk, bytes: number): boolean {
  const after = (disk: BalanceDisk, more: number) =>
    fullness({ usedBytes: disk.usedBytes + more, freeBytes: disk.freeBytes - more })
  return after(giver, -bytes) >= after(taker, bytes)
}

function othersOf(
  one: ReplicaView,
  replicas: readonly ReplicaView[],
  servers: ReadonlyMap<ServerId, RepairServer>,
): RepairServer[] {
  return replicas.flatMap((replica) => (replica === one ? [] : (servers.get(replica.server) ?? [])))
}

function companyAt(
  server: ServerId,
  others: readonly RepairServer[],
  servers: ReadonlyMap<ServerId, RepairServer>,
): number {
  const view = servers.get(server)
  return view === undefined ? Number.POSITIVE_INFINITY : companyOf(view, others)
}
