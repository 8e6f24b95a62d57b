// Sealer: ends open chunks. Fences the members, decides the length (plan/sealing.ts), logs the seal; what the log says
// is then told to the members by whoever watches the applied changes.
//
// One attempt a chunk at a time; whoever asks meanwhile gets its result. An attempt lasts until the log has a seal,
// the chunk has left the table, or the master stops.
//
// Source: DESIGN §2; GFS §3.4 for who waits on it.

import { DfsError, isDfsError } from '../base/errors.ts'
import type { ChunkHandle } from '../base/ids.ts'
import { SEAL_PATIENCE_MS } from '../base/limits.ts'
import type { Logger } from '../base/log.ts'
import type { Clock } from '../io/clock.ts'
import type { Member, Operation, Outcome } from './operations.ts'
import { decideSeal, type FenceAnswer, type FencedMember } from './plan/sealing.ts'

/** A slow member gets this long to be counted once another has answered. */
const GRACE_MS = 1000
/** Between two rounds of asking members that have not answered; once it only waits, it has time. */
const ROUND_MS = 100
const WAITING_ROUND_MS = 1000
/** From then on an attempt only waits: for members that nobody can reach now. */
const WAITS_AFTER_MS = 5000

export interface SealFacts {
  readonly length: number
  readonly digest: number
}

export interface SealerPorts {
  readonly clock: Clock
  readonly logger: Logger
  /** Members of an open chunk; undefined when it is sealed or not in the table. */
  members(handle: ChunkHandle): readonly Member[] | undefined
  /** Bytes of the chunk that files name. */
  namedBytes(handle: ChunkHandle): number
  /** What the log says of a sealed chunk; undefined: open or unknown. */
  sealed(handle: ChunkHandle): SealFacts | undefined
  /** Sends one fence; rejects when the member can't be reached now. */
  fence(handle: ChunkHandle, member: Member): Promise<FenceAnswer>
  propose(operation: Operation): Promise<Outcome>
  /** Members that were given up on: for the report. */
  gaveUp(handle: ChunkHandle, members: readonly Member[]): void
}

export class Sealer {
  readonly #ports: SealerPorts
  readonly #running = new Map<ChunkHandle, Promise<SealFacts>>()
  readonly #waiting = new Set<ChunkHandle>()
  #isStopped = false

  constructor(ports: SealerPorts) {
    this.#ports = ports
  }

  /** Chunks being sealed now. */
  get count(): number {
    return this.#running.size
  }

  /** Of these, such as only wait for members that have been silent for long: they may do so for ever, and cost little. */
  get waitingCount(): number {
    return this.#waiting.size
  }

  isSealing(handle: ChunkHandle): boolean {
    return this.#running.has(handle)
  }

  /**
   * Seals `handle` and resolves with what the log says, also when it was sealed before.
   * Rejects with NOT_FOUND for a handle that is not in the table, UNAVAILABLE when the master stops.
   */
  seal(handle: ChunkHandle, reason: string): Promise<SealFacts> {
    const running = this.#running.get(handle)
    if (running) return running
    const attempt = this.#attempt(handle, reason).finally(() => {
      this.#running.delete(handle)
      this.#waiting.delete(handle)
    })
    this.#running.set(handle, attempt)
    return attempt
  }

  /** No attempt goes on; each rejects at its next step. */
  stop(): void {
    this.#isStopped = true
  }

  async #attempt(handle: ChunkHandle, reason: string): Promise<SealFacts> {
    const { clock, logger } = this.#ports
    const startMs = clock.nowMs()
    const answers = new Map<Member, FenceAnswer>()
    const asked = new Set<Member>()
    // The same objects all along: members never change while a chunk is open.
    const members = this.#ports.members(handle) ?? []
    for (;;) {
      if (this.#isStopped) throw new DfsError('UNAVAILABLE', `chunk ${handle}: the master stops`, { handle })
      const known = this.#ports.sealed(handle)
      if (known) return known
      if (!this.#ports.members(handle))
        throw new DfsError('NOT_FOUND', `chunk ${handle} is not in the table`, { handle })
      const turn = this.#askRound(handle, members, answers, asked)
      const fenced: FencedMember[] = members.map((member) => ({ member, answer: answers.get(member) }))
      const elapsedMs = clock.nowMs() - startMs
      const decision = decideSeal(fenced, this.#ports.namedBytes(handle), elapsedMs, GRACE_MS, SEAL_PATIENCE_MS)
      if (decision.kind === 'seal') {
        const facts = await this.#log(handle, decision)
        if (decision.givenUp.length > 0) this.#ports.gaveUp(handle, decision.givenUp)
        logger.info(
          {
            event: 'seal',
            handle,
            reason,
            length: facts.length,
            tookMs: clock.nowMs() - startMs,
            answers: answers.size,
            members: members.length,
          },
          'chunk sealed',
        )
        return facts
      }
      if (elapsedMs > WAITS_AFTER_MS && !this.#waiting.has(handle)) {
        this.#waiting.add(handle)
        logger.warn(
          { event: 'seal-waits', handle, reason, answers: answers.size, members: members.length },
          'a seal waits for members',
        )
      }
      await Promise.race([turn, clock.sleep(this.#waiting.has(handle) ? WAITING_ROUND_MS : ROUND_MS)])
    }
  }

  /** Asks every member that neither answered nor is being asked. Resolves with the first new answer. */
  #askRound(
    handle: ChunkHandle,
    members: readonly Member[],
    answers: Map<Member, FenceAnswer>,
    asked: Set<Member>,
  ): Promise<void> {
    return new Promise((resolve) => {
      for (const member of members) {
        if (answers.has(member) || asked.has(member)) continue
        asked.add(member)
        this.#ports.fence(handle, member).then(
          (answer) => {
            answers.set(member, answer)
            resolve()
          },
          (error: unknown) => {
            asked.delete(member)
            if (!isDfsError(error)) this.#ports.logger.error({ err: error, handle }, 'fence failed in an unknown way')
          },
        )
      }
    })
  }

  /** Proposes the seal; the first in the log wins, so another's verdict is as good. */
  async #log(
    handle: ChunkHandle,
    decision: { readonly length: number; readonly digest: number; readonly indexDigest: number },
  ): Promise<SealFacts> {
    const { length, digest, indexDigest } = decision
    const outcome = await this.#ports.propose({ kind: 'sealChunk', handle, length, digest, indexDigest })
    if (outcome.ok) return { length, digest }
    const known = this.#ports.sealed(handle)
    if (known) return known
    throw new DfsError(outcome.code, outcome.message, outcome.detail)
  }
}
