// Balancer: asks plan/rebalance.ts which replicas should be elsewhere, and has them copied there; trims do the rest.
//
// Level-triggered: the repairer's sweep over the chunk table shows it the chunks that are well, a slice a tick, and what
// can't be moved now comes round again. Nothing is searched for.
//
// Repair goes first: moves begin only when no repair has been under way, and no server has come or gone, for QUIET_MS,
// and they are cancelled as soon as one is.
//
// Bounds: MOVES_MAX moves are under way or waiting for their trim, one copy to a server at a time, within the rate.

import type { ChunkHandle, DirectoryId, ServerId } from '../base/ids.ts'
import { formatServer } from '../base/ids.ts'
import { SECOND_MS } from '../base/units.ts'
import type { MasterContext } from './context.ts'
import type { Copies } from './copies.ts'
import {
  type BalanceDisk,
  BEGIN_SPREAD,
  END_SPREAD,
  Levels,
  type MovePlan,
  type MoveWant,
  mustLevel,
  planMoves,
} from './plan/rebalance.ts'
import { intentNow, presenceOf } from './plan/standing.ts'
import { RateMeter } from './rate-meter.ts'

/** How often the disks are looked at while nothing is going on. */
const CALM_TICK_MS = SECOND_MS
const QUIET_MS = 10 * SECOND_MS
/** The sweep doesn't rest for levelling that finds nothing to move for so long. */
const EAGER_MS = 15 * SECOND_MS
const MOVES_MAX = 1024
const MOVES_PER_SERVER = 1
/** A move whose surplus was not trimmed where it was meant to be is no longer counted on after this. */
const TRIM_MS_MAX = 30 * SECOND_MS
/** Moves that a plan on request lists; the totals count all of them. */
const LISTED_MAX = 1000
/** Moves that a plan on request goes through at most. */
const PLANNED_MAX = 100_000
const SLICE_CHUNKS = 500

interface HeldMove {
  readonly plan: MovePlan
  /** When the copy was there; undefined: it is under way. */
  copiedMs: number | undefined
}

/** What could be moved of a chunk; undefined when it is not well, or being moved. */
export type Movable = (handle: ChunkHandle) => MoveWant | undefined

export class Balancer {
  readonly #context: MasterContext
  readonly #copies: Copies
  readonly #movable: Movable
  readonly #moves = new Map<ChunkHandle, HeldMove>()
  readonly #rate: RateMeter
  #isLevelling = false
  #busyMs: number
  /** When a move last began, or could have. */
  #begunMs: number
  #tickMs = Number.NEGATIVE_INFINITY
  #moved = { copies: 0, bytes: 0 }

  constructor(context: MasterContext, copies: Copies, movable: Movable) {
    this.#context = context
    this.#copies = copies
    this.#movable = movable
    this.#rate = new RateMeter(context.clock)
    this.#busyMs = context.clock.nowMs()
    this.#begunMs = this.#busyMs
  }

  /** There is levelling to be done, and of late there was something that could be moved. */
  isEager(nowMs: number): boolean {
    return this.#isLevelling && this.#context.limits.isBalancing && nowMs - this.#begunMs < EAGER_MS
  }

  /** A repair is due or under way, or a server came or went: no moves now. */
  disturb(): void {
    this.#busyMs = this.#context.clock.nowMs()
    this.#begunMs = this.#busyMs + QUIET_MS
    this.#copies.cancelAll('balance')
  }

  /** The chunk is no longer well: its move is over. */
  drop(handle: ChunkHandle): void {
    if (this.#moves.get(handle)?.copiedMs === undefined) this.#copies.cancel(handle, 'balance')
  }

  /** @param seen  chunks that the sweep has just met and found well */
  tick(nowMs: number, seen: readonly MoveWant[]): void {
    const isCalm = !this.#isLevelling && this.#moves.size === 0 && seen.length === 0
    if (isCalm && nowMs - this.#tickMs < CALM_TICK_MS) return
    this.#tickMs = nowMs
    for (const [handle, move] of this.#moves) if (this.#isOver(move, nowMs)) this.#moves.delete(handle)
    const { limits } = this.#context
    if (!limits.isBalancing) this.#copies.cancelAll('balance')
    const levels = this.#levels(nowMs)
    const isLevelling = mustLevel(levels.spread, this.#isLevelling)
    if (isLevelling && !this.#isLevelling) this.#begunMs = nowMs
    this.#isLevelling = isLevelling
    const budget = MOVES_MAX - this.#moves.size
    if (!limits.isBalancing || nowMs - this.#busyMs < QUIET_MS || budget <= 0) return
    const wants = seen.filter(({ handle }) => !this.#moves.has(handle))
    if (wants.length === 0) return
    const plans = planMoves(wants, levels, this.#copies.servers(), {
      budget,
      perServer: MOVES_PER_SERVER,
      isLevelling: this.#isLevelling,
    })
    for (const plan of plans) this.#begin(plan)
    if (plans.length > 0) this.#begunMs = nowMs
  }

  /** Moves under way, their rate of late, and all since the start. */
  rates() {
    const { copies: moves, bytes } = this.#moved
    return { inFlight: this.#copies.countFor('balance'), bytesPerSecond: this.#rate.perSecond, moves, bytes }
  }

  /** For the operator. `fullness` and what is compared with it: parts of the room for chunks, 0 .. 1. */
  facts() {
    const nowMs = this.#context.clock.nowMs()
    const levels = this.#levels(nowMs)
    const { inFlight, bytesPerSecond } = this.rates()
    const { bytesToMove } = levels
    const state = this.#state(nowMs)
    const isMoving = state === 'levelling' && bytesPerSecond > 0
    return {
      on: this.#context.limits.isBalancing,
      state,
      mean: levels.mean,
      spread: levels.spread,
      beginSpread: BEGIN_SPREAD,
      endSpread: END_SPREAD,
      bytesToMove,
      inFlight,
      bytesPerSecond,
      rateLimit: this.#context.limits.balanceBytesPerSecond,
      /** Null: nothing is being levelled, or nothing was moved of late. */
      etaMs: isMoving ? Math.round((SECOND_MS * bytesToMove) / bytesPerSecond) : null,
      moved: { ...this.#moved },
      disks: [...this.#disks(nowMs)].map((disk) => ({
        server: formatServer(disk.server),
        path: this.#pathOf(disk.server, disk.directory),
        usedBytes: disk.usedBytes,
        freeBytes: disk.freeBytes,
        fullness: levels.fullnessOf(disk.directory) ?? 0,
        gives: disk.mayGive,
        takes: disk.mayTake,
      })),
    }
  }

  /** What would be moved from now on, with nobody writing, until there is nothing to do. Moves nothing. */
  async plan() {
    const { state, clock } = this.#context
    const levels = this.#levels(clock.nowMs())
    const before = levels.spread
    const isLevelling = mustLevel(before, this.#isLevelling)
    const listed: object[] = []
    const totals = { moves: 0, bytes: 0, crowded: 0 }
    let after = 0 as ChunkHandle
    while (totals.moves < PLANNED_MAX) {
      const chunks = state.nextChunks(after, SLICE_CHUNKS)
      const last = chunks.at(-1)
      if (last === undefined) break
      after = last.handle
      const wants = chunks.flatMap(({ handle }) => this.#movable(handle) ?? [])
      const limits = { budget: PLANNED_MAX, perServer: PLANNED_MAX, isLevelling }
      // Enough is enough: what would go on within the band is left out, as it would be.
      const plans = planMoves(wants, levels, this.#copies.servers(), {
        ...limits,
        isLevelling: isLevelling && levels.spread > END_SPREAD,
      })
      for (const plan of plans) {
        totals.moves++
        totals.bytes += plan.bytes
        if (plan.reason === 'crowded') totals.crowded++
        if (listed.length < LISTED_MAX) listed.push(this.#told(plan))
      }
      await new Promise<void>((resolve) => clock.defer(resolve))
    }
    return { spreadBefore: before, spreadAfter: levels.spread, ...totals, listed }
  }

  /** `waiting`: for repair, or for servers to stay as they are; `uneven`: nothing can be moved without harm. */
  #state(nowMs: number): 'off' | 'waiting' | 'levelling' | 'uneven' | 'level' {
    if (!this.#context.limits.isBalancing) return 'off'
    if (nowMs - this.#busyMs < QUIET_MS || this.#context.safeMode.isOn) return 'waiting'
    if (!this.#isLevelling) return 'level'
    return this.isEager(nowMs) || this.#moves.size > 0 ? 'levelling' : 'uneven'
  }

  #begin(plan: MovePlan): void {
    const { handle } = plan
    const { limits, clock, attention } = this.#context
    const move: HeldMove = { plan, copiedMs: undefined }
    this.#moves.set(handle, move)
    const copied = this.#copies.begin(plan, 'balance', limits.balanceBytesPerSecond)
    // Rejects for a bug alone, and the process ends with it.
    void copied.then((bytes) => {
      attention.add(handle)
      if (bytes === undefined) {
        this.#moves.delete(handle)
        return
      }
      move.copiedMs = clock.nowMs()
      this.#moved.copies++
      this.#moved.bytes += bytes
      this.#rate.add(bytes)
    })
  }

  /** Every disk that takes part, as it is. */
  *#disks(nowMs: number): Generator<BalanceDisk> {
    const { servers, state, proposer } = this.#context
    for (const server of servers.all()) {
      const intent = intentNow(state.server(server.id), proposer.clusterMs)
      const presence = presenceOf(servers.liveness(server, nowMs), intent, server.hasReported)
      if (presence !== 'here' || intent !== 'serve') continue
      for (const { directory, device, usedBytes, freeBytes, state: diskState } of server.directories) {
        if (diskState === 'failed') continue
        yield { server: server.id, directory, device, usedBytes, freeBytes, mayGive: true, mayTake: diskState === 'ok' }
      }
    }
  }

  /** As the disks will be when what is under way is done; one that takes doesn't give meanwhile, and the other way round. */
  #levels(nowMs: number): Levels {
    const given = new Set<DirectoryId>()
    const taken = new Set<DirectoryId>()
    for (const { plan } of this.#moves.values()) {
      given.add(plan.from.directory)
      taken.add(plan.directory)
    }
    const disks = [...this.#disks(nowMs)].map((disk) => ({
      ...disk,
      mayGive: disk.mayGive && !taken.has(disk.directory),
      mayTake: disk.mayTake && !given.has(disk.directory),
    }))
    const levels = new Levels(disks)
    for (const move of this.#moves.values()) {
      const { bytes, directory, from } = move.plan
      levels.move(from.directory, this.#hasTold(move) ? undefined : directory, bytes)
    }
    return levels
  }

  /** The target has said how full it is since the copy came. */
  #hasTold({ plan, copiedMs }: HeldMove): boolean {
    return copiedMs !== undefined && (this.#context.servers.get(plan.target)?.lastContactMs ?? 0) > copiedMs
  }

  /** The replica that was to go is gone, and both servers have said how full they are since. */
  #isOver(move: HeldMove, nowMs: number): boolean {
    const { plan, copiedMs } = move
    if (copiedMs === undefined || !this.#hasTold(move)) return false
    const isGone = this.#context.locations.of(plan.handle).every(({ directory }) => directory !== plan.from.directory)
    return isGone || nowMs - copiedMs >= TRIM_MS_MAX
  }

  #told({ handle, bytes, from, target, directory, reason }: MovePlan): object {
    return {
      handle,
      bytes,
      from: { server: formatServer(from.server), disk: this.#pathOf(from.server, from.directory) },
      to: { server: formatServer(target), disk: this.#pathOf(target, directory) },
      reason,
    }
  }

  #pathOf(server: ServerId, directory: DirectoryId): string {
    const facts = this.#context.servers.get(server)?.directories.find((one) => one.directory === directory)
    return facts?.path ?? ''
  }
}
