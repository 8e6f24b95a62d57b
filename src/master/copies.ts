// Copies of sealed chunks that are under way from server to server, whoever wants them: repair, or rebalancing.
//
// Decides nothing: who plans a copy begins it here, and learns how it ended. What all of them share is here, so that the
// limits of a server hold for all its copies together: how many go to it and from it, and where a copy of a chunk failed
// a moment ago.
//
// Bounds: who plans keeps to COPIES_MAX and to the limits of each server; FAILURES_MAX failed copies are remembered.

import { DfsError, isDfsError } from '../base/errors.ts'
import { type ChunkHandle, formatHandle, formatServer, type ServerId } from '../base/ids.ts'
import { MiB, SECOND_MS } from '../base/units.ts'
import type { MasterContext } from './context.ts'
import { historyOf } from './history.ts'
import { placementServers } from './place.ts'
import type { CopyPlan, RepairServer } from './plan/repair.ts'
import type { Replicas } from './replicas.ts'

/** Under way over the whole cluster. */
export const COPIES_MAX = 256
const FAILURES_MAX = 10_000
const RETRY_MS_MIN = SECOND_MS / 2
const RETRY_MS_MAX = 60 * SECOND_MS
/** A copy may take this long besides what its rate makes of its length. */
const COPY_MS = 60 * SECOND_MS
/** Slower than this is given up, whatever the rate. */
const COPY_BYTES_PER_SECOND_MIN = MiB

export type Purpose = 'repair' | 'balance'

interface Copy {
  readonly plan: CopyPlan
  readonly purpose: Purpose
  /** 0: not held back. */
  readonly bytesPerSecond: number
  readonly cancel: AbortController
}

export interface Failure {
  readonly count: number
  /** Not to be tried again before. */
  readonly retryAtMs: number
  /** Where it failed. */
  readonly servers: ReadonlySet<ServerId>
}

export class Copies {
  readonly #context: MasterContext
  readonly #replicas: Replicas
  readonly #byHandle = new Map<ChunkHandle, Copy[]>()
  readonly #counts = { repair: 0, balance: 0 }
  readonly #failures = new Map<ChunkHandle, Failure>()
  #isStopped = false

  constructor(context: MasterContext, replicas: Replicas) {
    this.#context = context
    this.#replicas = replicas
  }

  get count(): number {
    return this.#counts.repair + this.#counts.balance
  }

  countFor(purpose: Purpose): number {
    return this.#counts[purpose]
  }

  /** Where copies of the chunk are on their way to, for whatever purpose. */
  targetsOf(handle: ChunkHandle): ServerId[] {
    return (this.#byHandle.get(handle) ?? []).map(({ plan }) => plan.target)
  }

  /** What is remembered of copies of the chunk that failed; undefined: nothing, or the last one succeeded. */
  failureOf(handle: ChunkHandle): Failure | undefined {
    return this.#failures.get(handle)
  }

  /**
   * Has the target make the copy. Never rejects for a fault of the world: that is logged, remembered, and tried again by
   * whoever still wants the copy.
   *
   * @param bytesPerSecond  what all copies with a rate may take of the target together; 0: this one is not held back
   * @returns bytes copied, 0 when the target had it already; undefined: it failed or was cancelled
   */
  async begin(plan: CopyPlan, purpose: Purpose, bytesPerSecond: number): Promise<number | undefined> {
    const { handle } = plan
    const copy: Copy = { plan, purpose, bytesPerSecond, cancel: new AbortController() }
    const copies = this.#byHandle.get(handle)
    if (copies) copies.push(copy)
    else this.#byHandle.set(handle, [copy])
    this.#counts[purpose]++
    try {
      return await this.#copy(copy)
    } catch (error) {
      if (!isDfsError(error)) throw error
      this.#failed(plan, error)
      return undefined
    } finally {
      this.#counts[purpose]--
      const left = (this.#byHandle.get(handle) ?? []).filter((other) => other !== copy)
      if (left.length > 0) this.#byHandle.set(handle, left)
      else this.#byHandle.delete(handle)
    }
  }

  /** Ends copies of one chunk. */
  cancel(handle: ChunkHandle, purpose: Purpose): void {
    for (const copy of this.#byHandle.get(handle) ?? []) {
      if (copy.purpose !== purpose) continue
      const message = `chunk ${formatHandle(handle)}: the copy is no longer needed`
      copy.cancel.abort(new DfsError('ABORTED', message, { handle }))
    }
  }

  /** Ends copies on their way to a server that is dead: its silence alone would hold them for as long as their time lasts. */
  cancelTo(target: ServerId): void {
    for (const copies of this.#byHandle.values()) {
      for (const { plan, cancel } of copies) {
        if (plan.target === target) cancel.abort(new DfsError('ABORTED', `${formatServer(target)} is dead`, { target }))
      }
    }
  }

  /** Ends all copies for a purpose. */
  cancelAll(purpose: Purpose): void {
    if (this.#counts[purpose] === 0) return
    for (const handle of this.#byHandle.keys()) this.cancel(handle, purpose)
  }

  /** Ends what was begun at another rate: it is begun again at this one, rather than last for hours. */
  changeRate(purpose: Purpose, bytesPerSecond: number): void {
    const reason = new DfsError('ABORTED', 'the operator wants another rate')
    for (const copies of this.#byHandle.values()) {
      for (const copy of copies) {
        const isOther = copy.bytesPerSecond !== 0 && copy.bytesPerSecond !== bytesPerSecond
        if (copy.purpose === purpose && isOther) copy.cancel.abort(reason)
      }
    }
  }

  stop(): void {
    this.#isStopped = true
    const reason = new DfsError('UNAVAILABLE', 'the master is stopping')
    for (const copies of this.#byHandle.values()) for (const { cancel } of copies) cancel.abort(reason)
  }

  /** Every server that has joined, with the copies that are on their way to it and from it. */
  servers(): Map<ServerId, RepairServer> {
    const copiesIn = new Map<ServerId, number>()
    const copiesOut = new Map<ServerId, number>()
    for (const copies of this.#byHandle.values()) {
      for (const { plan } of copies) {
        copiesIn.set(plan.target, (copiesIn.get(plan.target) ?? 0) + 1)
        const [source] = plan.sources
        if (source !== undefined) copiesOut.set(source, (copiesOut.get(source) ?? 0) + 1)
      }
    }
    return new Map(
      placementServers(this.#context).map((server) => [
        server.id,
        { ...server, copiesIn: copiesIn.get(server.id) ?? 0, copiesOut: copiesOut.get(server.id) ?? 0 },
      ]),
    )
  }

  async #copy({ plan, bytesPerSecond, cancel }: Copy): Promise<number | undefined> {
    const { state, servers, limits, ask } = this.#context
    const { handle, target, directory } = plan
    const chunk = state.chunk(handle)
    if (!chunk) return undefined
    const { version, length, digest, indexDigest, shared, allocationIndex: logIndex } = chunk
    const sources = plan.sources.flatMap((server) => {
      const address = servers.get(server)?.address
      return address === undefined ? [] : [{ server, address }]
    })
    const order = { handle, version, length, digest, indexDigest, shared, logIndex, directory, sources, bytesPerSecond }
    const slowest = Math.min(bytesPerSecond || COPY_BYTES_PER_SECOND_MIN, COPY_BYTES_PER_SECOND_MIN)
    const timeoutMs = COPY_MS + (limits.copiesPerServer * length * SECOND_MS) / slowest
    const view = servers.get(target)
    const history = historyOf(this.#context)
    const { facts, bytes } = await ask(target, 'clone', { ...order, history }, { timeoutMs, signal: cancel.signal })
    // Said over another connection since, it says it again in that one's report.
    if (view && servers.get(target) === view) this.#replicas.note(view, facts)
    this.#failures.delete(handle)
    return bytes
  }

  #failed(plan: CopyPlan, error: DfsError): void {
    const { handle, target } = plan
    if (error.code === 'ABORTED' || this.#isStopped) return
    const before = this.#failures.get(handle)
    const count = (before?.count ?? 0) + 1
    // Where it failed is avoided for some tries, then tried again: it may be the only place left.
    const servers = new Set(count % 4 === 0 ? [] : [...(before?.servers ?? []), target])
    const waitMs = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(count - 1, 10))
    this.#failures.set(handle, { count, retryAtMs: this.#context.clock.nowMs() + waitMs, servers })
    if (this.#failures.size > FAILURES_MAX) {
      for (const oldest of this.#failures.keys()) {
        this.#failures.delete(oldest)
        break
      }
    }
    this.#context.logger.warn(
      { event: 'copy-failed', handle, server: target, code: error.code, tries: count },
      `chunk ${formatHandle(handle)} could not be copied to ${formatServer(target)}: ${error.message}`,
    )
  }
}
