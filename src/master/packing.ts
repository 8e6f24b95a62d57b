// Packing chunks: the few open, shared chunks that many sessions append small files to (DESIGN §4).
//
// Which ones exist stands in the log (they are open, shared and belong to no file); which of them are lent out now is
// only remembered here. Lending is free of records: `apply` accepts an extent in any shared chunk.

import { DfsError } from '../base/errors.ts'
import type { ChunkHandle, ServerId } from '../base/ids.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Member } from './operations.ts'

/** Open at once for one goal, so that one slow chain does not hold up every small file. */
const LENT_COUNT = 2
/** Begun in one second at most, then BUSY: a client that finds every chunk wanting must not fill the log with them. */
const OPENINGS_PER_SECOND_MAX = 32

interface Lent {
  readonly handle: ChunkHandle
  readonly members: readonly Member[]
}

export interface PackingPorts {
  /** Monotonic. */
  nowMs(): number
  /** Whether the chunk is open still and every member is live in its recorded life. */
  isUsable(handle: ChunkHandle): boolean
  /** Places and logs a new packing chunk. NO_SERVERS when that can't be. */
  open(goal: number, avoid: ReadonlySet<ServerId>): Promise<Lent>
  /** Ends one that nobody is sent to any more. Must not throw. */
  retire(handle: ChunkHandle, reason: string): void
}

export class PackingChunks {
  readonly #ports: PackingPorts
  readonly #lent = new Map<number, Lent[]>()
  readonly #opening = new Map<number, Promise<Lent>>()
  #turn = 0
  #second = 0
  #openings = 0

  constructor(ports: PackingPorts) {
    this.#ports = ports
  }

  /** After a start: an open packing chunk that the log names. */
  adopt(goal: number, lent: Lent): void {
    this.#of(goal).push(lent)
  }

  /**
   * A chunk for the next small files of one client.
   *
   * @param notHandle  one that the client has just seen full or failing: nobody is sent there again
   */
  async lend(goal: number, avoid: ReadonlySet<ServerId>, notHandle: ChunkHandle | undefined): Promise<Lent> {
    if (notHandle !== undefined) this.#drop(goal, notHandle)
    for (const lent of [...this.#of(goal)]) if (!this.#ports.isUsable(lent.handle)) this.#drop(goal, lent.handle)
    const usable = this.#of(goal).filter((lent) => !lent.members.some((member) => avoid.has(member.server)))
    if (usable.length >= LENT_COUNT) return usable[this.#turn++ % usable.length]!
    const opened = this.#open(goal, avoid)
    if (usable.length === 0) return opened
    // One serves meanwhile; that a second can't be had is not this client's trouble.
    opened.catch(() => {})
    return usable[0]!
  }

  #open(goal: number, avoid: ReadonlySet<ServerId>): Promise<Lent> {
    const running = this.#opening.get(goal)
    if (running) return running
    const refusal = this.#countOpening()
    if (refusal) return Promise.reject(refusal)
    const opening = this.#ports
      .open(goal, avoid)
      .then((lent) => {
        this.#of(goal).push(lent)
        return lent
      })
      .finally(() => this.#opening.delete(goal))
    this.#opening.set(goal, opening)
    return opening
  }

  #countOpening(): DfsError | undefined {
    const second = Math.floor(this.#ports.nowMs() / SECOND_MS)
    if (second !== this.#second) {
      this.#second = second
      this.#openings = 0
    }
    if (++this.#openings <= OPENINGS_PER_SECOND_MAX) return undefined
    return new DfsError('BUSY', `${OPENINGS_PER_SECOND_MAX} packing chunks were begun within a second already`)
  }

  #drop(goal: number, handle: ChunkHandle): void {
    const lent = this.#of(goal)
    const index = lent.findIndex((entry) => entry.handle === handle)
    if (index >= 0) lent.splice(index, 1)
    // Also one that this master never lent (it was lent before a restart): full is full.
    this.#ports.retire(handle, index >= 0 ? 'packing chunk is full or failing' : 'packing chunk was given back')
  }

  #of(goal: number): Lent[] {
    let lent = this.#lent.get(goal)
    if (!lent) {
      lent = []
      this.#lent.set(goal, lent)
    }
    return lent
  }
}

/** The error for a write that found too few servers; names every server and why it was passed over. */
export function tooFewServers(
  wanted: number,
  found: number,
  excluded: readonly { readonly server: ServerId; readonly reason: string }[],
): DfsError {
  const why = excluded.map(({ server, reason }) => `cs-${server}: ${reason}`).join('; ')
  return new DfsError(
    'NO_SERVERS',
    `a new chunk needs ${wanted} chunkservers, ${found} can take it${why ? ` (${why})` : '; none has joined'}`,
    { wanted, found },
  )
}
