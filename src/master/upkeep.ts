// Upkeep: what the master looks after by itself, asked every tick. Level-triggered: each rule looks at what is, not at
// what happened, so that a lost message or a restart needs no special case.

import { isDfsError } from '../base/errors.ts'
import type { ChunkHandle, SessionId } from '../base/ids.ts'
import { SESSION_SILENCE_MS } from '../base/limits.ts'
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../base/units.ts'
import type { Timer } from '../io/clock.ts'
import type { MasterContext } from './context.ts'
import { TAIL_IDLE_MS } from './file-tails.ts'
import { newerServer } from './history.ts'
import { garbageDue } from './metadata/trash.ts'
import { placeableCount } from './place.ts'
import { garbageDueBefore } from './plan/garbage.ts'
import type { Replicas } from './replicas.ts'
import { minimumReplicas } from './settings.ts'

const TICK_MS = 200
/**
 * Seals that upkeep runs at once; what is over waits for the next tick. Those that only wait for members which nobody can
 * reach don't count: chunks that a dead server alone had would keep all others from being sealed.
 */
const SEALS_MAX = 64
/** Sessions ended in one tick. */
const ENDINGS_MAX = 64
/**
 * A chunk with fewer members than its goal is left alone for so long, although more could be had: its writer may have
 * good reason to avoid some, and would only begin another like it.
 */
const UNDERPLACED_MS = 15 * SECOND_MS
/** The same of a chunk that many share: nobody's reason counts for all, and what is in it lacks a replica until it is sealed. */
const UNDERPLACED_SHARED_MS = 3 * SECOND_MS
/**
 * A packing chunk is sealed at this age, full or not: what is dead in it comes back only then, and what lives in it is
 * repaired only then.
 */
const PACKING_MS = HOUR_MS
const FULL_REPORT_EVERY_MS = 10 * MINUTE_MS
/** A cluster where nothing moves still writes its time down, so that expiries survive restarts. */
const TIME_RECORD_EVERY_MS = 10 * MINUTE_MS

export class Upkeep {
  readonly #context: MasterContext
  readonly #replicas: Replicas
  readonly #ending = new Set<SessionId>()
  #timer: Timer | undefined
  #isCollecting = false
  #isRecordingTime = false
  #reportsAskedMs: number
  #isStopped = false

  constructor(context: MasterContext, replicas: Replicas) {
    this.#context = context
    this.#replicas = replicas
    this.#reportsAskedMs = context.clock.nowMs()
    this.#arm()
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  #arm(): void {
    if (this.#isStopped) return
    this.#timer = this.#context.clock.after(TICK_MS, () => {
      this.#tick()
      this.#arm()
    })
  }

  #tick(): void {
    this.#sealOrphans()
    this.#endSilentSessions()
    this.#collectGarbage()
    this.#recordTime()
    this.#watch(this.#context.proposer.finishJob(), 'finishing a longer change')
    const nowMs = this.#context.clock.nowMs()
    if (nowMs - this.#reportsAskedMs < FULL_REPORT_EVERY_MS) return
    this.#reportsAskedMs = nowMs
    this.#replicas.wantReports()
  }

  /**
   * Open chunks that can't go on: a member is lost or restarted or damaged, the writers are gone, or more replicas can
   * be had. What only a writer or reader sees (a full, fenced, slow or unanswering member) they name themselves.
   */
  #sealOrphans(): void {
    if (newerServer(this.#context)) return
    const { state, sealer } = this.#context
    const placeable = placeableCount(this.#context)
    for (const handle of state.openChunks()) {
      if (sealer.count - sealer.waitingCount >= SEALS_MAX) return
      if (sealer.isSealing(handle)) continue
      const reason = this.#reasonToSeal(handle, placeable)
      if (reason !== undefined) this.#watch(sealer.seal(handle, reason), 'sealing an open chunk')
    }
  }

  #reasonToSeal(handle: ChunkHandle, placeable: number): string | undefined {
    const { state, servers, clock, openedMs, tails, locations, settings } = this.#context
    const chunk = state.chunk(handle)
    const members = state.chunkMembers(handle)
    if (!chunk || !members) return undefined
    const nowMs = clock.nowMs()
    for (const { server: id, directory, life } of members) {
      const server = servers.get(id)
      // Right after a start nobody has joined: absence says nothing yet.
      if (!server) {
        if (!this.#context.safeMode.isOn) return `cs-${id} is absent`
        continue
      }
      const liveness = servers.liveness(server, nowMs)
      if (liveness === 'dead' || liveness === 'maintenance') return `cs-${id} is ${liveness}`
      const lifeNow = servers.lifeOf(directory)
      if (liveness === 'live' && lifeNow !== life) return `cs-${id} was restarted`
      if (server.directories.some((facts) => facts.directory === directory && facts.state === 'failed')) {
        return `a disk of cs-${id} failed`
      }
      // Many wait on a shared chunk; the one writer of a chunk of its own judges for itself.
      const isSlow = chunk.shared && servers.slowDisks.isSlow(directory, nowMs)
      if (isSlow && placeable >= minimumReplicas(chunk.goal || state.goal, settings)) {
        return `a disk of cs-${id} is slower than the others'`
      }
    }
    // Repair works on sealed chunks only, and a bad block in this one is served by nobody else until then.
    const damaged = locations.of(handle).find((replica) => replica.state === 'corrupt')
    if (damaged) return `the replica of cs-${servers.serverOfDirectory(damaged.directory)?.id ?? '?'} has a bad block`
    if (!chunk.shared && (chunk.owner === 0 || !state.sessionKnown(chunk.owner)))
      return 'the session of its writer has ended'
    const isTail = chunk.shared && chunk.inode !== 0
    const sinceMs = nowMs - (openedMs.get(handle) ?? nowMs)
    if (isTail && (tails.idleMs(handle) ?? sinceMs) >= TAIL_IDLE_MS) return 'nobody asked for this tail in a long time'
    if (chunk.shared && !isTail && sinceMs >= PACKING_MS && chunk.references > 0) return 'the packing chunk is old'
    const goal = chunk.goal || state.goal
    const underplacedMs = chunk.shared ? UNDERPLACED_SHARED_MS : UNDERPLACED_MS
    if (members.length < goal && placeable >= goal && sinceMs >= underplacedMs) return 'a full placement exists now'
    return undefined
  }

  #endSilentSessions(): void {
    const { state, clock, sessionsSeen, proposer } = this.#context
    const nowMs = clock.nowMs()
    for (const { id: session } of state.sessions()) {
      if (this.#ending.size >= ENDINGS_MAX) return
      const seenMs = sessionsSeen.get(session)
      // One that the log knows and this master has not heard of: its silence begins now.
      if (seenMs === undefined) sessionsSeen.set(session, nowMs)
      if (seenMs === undefined || nowMs - seenMs < SESSION_SILENCE_MS || this.#ending.has(session)) continue
      this.#ending.add(session)
      const ended = proposer.propose({ kind: 'endSession', session }).finally(() => {
        this.#ending.delete(session)
        if (!state.sessionKnown(session)) sessionsSeen.delete(session)
      })
      this.#watch(ended, 'ending a silent session')
    }
    // Those whose end took several records are no longer listed above.
    for (const [session, seenMs] of sessionsSeen) {
      if (nowMs - seenMs >= SESSION_SILENCE_MS && !state.sessionKnown(session)) sessionsSeen.delete(session)
    }
  }

  #collectGarbage(): void {
    const { state, proposer, settings } = this.#context
    const due = garbageDueBefore(proposer.clusterMs, settings.retentionMs)
    if (this.#isCollecting || !garbageDue(state, due)) return
    this.#isCollecting = true
    const collected = proposer.propose({ kind: 'collectGarbage', ...due }).finally(() => {
      this.#isCollecting = false
    })
    this.#watch(collected, 'collecting garbage')
  }

  #recordTime(): void {
    const { state, proposer } = this.#context
    if (this.#isRecordingTime || proposer.clusterMs - state.clusterMs < TIME_RECORD_EVERY_MS) return
    this.#isRecordingTime = true
    const recorded = proposer.propose({ kind: 'advanceTime' }).finally(() => {
      this.#isRecordingTime = false
    })
    this.#watch(recorded, 'recording the time')
  }

  /** Nobody waits for these: the next tick tries again, and the log says what went wrong. */
  #watch(work: Promise<unknown>, what: string): void {
    work.catch((error: unknown) => {
      if (!isDfsError(error)) throw error
      if (!this.#isStopped) this.#context.logger.warn({ event: 'upkeep', code: error.code, what }, error.message)
    })
  }
}
