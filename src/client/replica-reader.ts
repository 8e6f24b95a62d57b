// Reads a range of one chunk from whichever replica proves it.
//
// Replicas are tried one after the other (peers.ts has the order), and a second one beside one that takes long
// (hedging.ts). A server that stands still is left after a short while, which grows from round to round so that a
// cluster that is slow as a whole is waited for. When every replica has failed the master is asked again, until the
// caller's patience ends. When every replica has a bad block somewhere in the range, the range is halved: each block
// may come from another replica.
//
// Invariant: nothing leaves here that did not match the checksums (block-check.ts).
//
// Source: GFS §2.4, §5.2; DESIGN §4, §5.

import { DfsError, ErrorCode } from '../base/errors.ts'
import { type ChunkHandle, formatHandle, formatServer } from '../base/ids.ts'
import { BLOCK_BYTES } from '../base/limits.ts'
import { SECOND_MS } from '../base/units.ts'
import type { ChunkLocation } from '../wire/messages.ts'
import type { WantedRange } from './block-check.ts'
import type { Core } from './core.ts'
import { DirectReads } from './direct-reads.ts'
import { Hedging } from './hedging.ts'
import { endOfPatience } from './masters.ts'
import { Patience } from './patience.ts'
import type { Source } from './peers.ts'
import { type Fetched, ReadRace } from './read-race.ts'
import { asFault, backoffMs, dropFault, isPassing } from './retry.ts'

/** What a fault in the range names besides chunk and server. */
export interface ReadContext {
  readonly path: string
  /** File offset of the range's first byte. */
  readonly fileOffset: number
}

export interface ReadCounts {
  /** Sent to chunkservers; and how many of these to a second one because the first took long. */
  readonly reads: number
  readonly hedges: number
  /** Answered from the files of a chunkserver on this host. */
  readonly direct: number
}

const STALL_MS_MIN = 2 * SECOND_MS
const STALL_MS_MAX = 16 * SECOND_MS
/** Every replica proved that it can't serve the range, in so many rounds over so long: the bytes are lost. */
const LOST_ROUNDS = 3
const LOST_MS = 2 * SECOND_MS
const COMPLAINT_MS = 10 * SECOND_MS
const COMPLAINTS_MAX = 1024

export class ReplicaReader {
  readonly #core: Core
  readonly #hedging: Hedging
  readonly #direct: DirectReads
  /** When a complaint about a replica was sent last, by handle and server. */
  readonly #complaints = new Map<string, number>()

  /** @param directReads  whether chunks of a server on this host may be read from its files */
  constructor(core: Core, directReads: boolean) {
    this.#core = core
    this.#hedging = new Hedging(core.io.clock)
    this.#direct = new DirectReads(core, directReads)
  }

  get counts(): ReadCounts {
    return { reads: this.#hedging.reads, hedges: this.#hedging.extras, direct: this.#direct.count }
  }

  /**
   * All of `range`, proven.
   *
   * @param target  takes the bytes, from its start; without it the socket's buffers are lent until `release`
   * Errors: NOT_FOUND (the master knows no such chunk), DATA_LOST (no replica can prove the bytes), UNKNOWN_LOCATION and
   * what the last replica said when patience ends, ABORTED.
   */
  async read(
    handle: ChunkHandle,
    range: WantedRange,
    target: Uint8Array | undefined,
    patience: Patience,
    context: ReadContext,
  ): Promise<Fetched> {
    const core = this.#core
    const hedging = this.#hedging
    const startMs = core.io.clock.nowMs()
    let last: DfsError | undefined
    for (let round = 0; ; round++) {
      const location = await this.#locate(handle, patience, last)
      const stallMs = Math.min(STALL_MS_MAX, STALL_MS_MIN * 2 ** round)
      let provenBad = 0
      let corrupt = 0
      const tried: Source[] = []
      const onFault = (fault: DfsError, source: Source): void => {
        // Who had less time than usual is not to blame.
        if (fault.code === 'TIMEOUT' && patience.leftMs === 0) {
          throw endOfPatience(describe(fault, source, handle, range, context), last)
        }
        last = this.#judge(fault, source, location, range, patience, context)
        if (last.code === 'CORRUPT_REPLICA') corrupt++
        if (!isPassing(last)) provenBad++
      }
      const local = round === 0 ? this.#direct.source(location) : undefined
      if (local !== undefined) {
        patience.check(last)
        try {
          const found = await this.#direct.read(handle, range, target)
          if (found !== undefined) {
            patience.progress()
            return found
          }
        } catch (error) {
          tried.push(local)
          onFault(asFault(error), local)
        }
      }
      const race = { core, hedging, location, tried, range, target, signal: patience.signal, onFault }
      for (;;) {
        const source = core.peers.next(location.replicas, tried, range.length, core.io.clock.nowMs())
        if (source === undefined) break
        tried.push(source)
        const part = await new ReadRace(race).run(source, patience.capMs(stallMs, last))
        if (part === undefined) continue
        patience.progress()
        return await this.#withRest(part, handle, range, target, patience, context)
      }
      const half = Math.ceil(range.length / 2 / BLOCK_BYTES) * BLOCK_BYTES - (range.offset % BLOCK_BYTES)
      if (corrupt > 0 && half > 0 && half < range.length) {
        return await this.#byHalves(half, handle, range, target, patience, context)
      }
      this.#core.locations.forget(handle)
      const count = location.replicas.length
      if (count === 0) last = this.#unknown(handle, context)
      else if (provenBad === count && round + 1 >= LOST_ROUNDS && this.#core.io.clock.nowMs() - startMs >= LOST_MS) {
        throw this.#lost(last!, range, context)
      }
      try {
        await patience.sleep(
          Math.max(backoffMs(round, this.#core.io.entropy), provenBad === count ? LOST_MS / LOST_ROUNDS : 0),
          last,
        )
      } catch (error) {
        throw endOfPatience(error, last)
      }
    }
  }

  /** The chunk's location, from the cache or the master; NOT_FOUND when the master knows no such chunk. */
  async #locate(handle: ChunkHandle, patience: Patience, last: DfsError | undefined): Promise<ChunkLocation> {
    const known = this.#core.locations.get(handle)
    if (known !== undefined) return known
    try {
      const { chunks } = await this.#core.masters.ask('locate', { handles: [handle] }, patience)
      const found = chunks.find((chunk) => chunk.handle === handle)
      if (found === undefined) {
        throw new DfsError('NOT_FOUND', `the master knows no chunk ${formatHandle(handle)}`, {
          handle: formatHandle(handle),
        })
      }
      if (found.replicas.length > 0) this.#core.locations.put(found)
      return found
    } catch (error) {
      throw endOfPatience(error, last)
    }
  }

  /** A server may send less than was asked for: the rest is read like another range. */
  async #withRest(
    part: Fetched,
    handle: ChunkHandle,
    range: WantedRange,
    target: Uint8Array | undefined,
    patience: Patience,
    context: ReadContext,
  ): Promise<Fetched> {
    if (part.length === range.length) return part
    return await this.#join(part, part.length, handle, range, target, patience, context)
  }

  async #byHalves(
    half: number,
    handle: ChunkHandle,
    range: WantedRange,
    target: Uint8Array | undefined,
    patience: Patience,
    context: ReadContext,
  ): Promise<Fetched> {
    const first = await this.read(handle, { offset: range.offset, length: half }, target, patience, context)
    return await this.#join(first, half, handle, range, target, patience, context)
  }

  /** `first` has the first `done` bytes; reads the others behind it. */
  async #join(
    first: Fetched,
    done: number,
    handle: ChunkHandle,
    range: WantedRange,
    target: Uint8Array | undefined,
    patience: Patience,
    context: ReadContext,
  ): Promise<Fetched> {
    try {
      const rest = { offset: range.offset + done, length: range.length - done }
      const restContext = { path: context.path, fileOffset: context.fileOffset + done }
      const second = await this.read(handle, rest, target?.subarray(done), patience, restContext)
      return {
        length: range.length,
        slices: [...first.slices, ...second.slices],
        release: () => {
          first.release()
          second.release()
        },
      }
    } catch (error) {
      first.release()
      throw error
    }
  }

  /** Names everything, remembers and reports the server; throws on when the caller gave up or the fault is no replica's. */
  #judge(
    fault: DfsError,
    source: Source,
    location: ChunkLocation,
    range: WantedRange,
    patience: Patience,
    context: ReadContext,
  ): DfsError {
    if (fault.code === 'ABORTED' && (patience.signal?.aborted || this.#core.links.isClosed)) throw fault
    const named = describe(fault, source, location.handle, range, context)
    // BUSY is an honest answer of a live server; what it lacks of a growing chunk it may get.
    if (fault.code !== 'BUSY' && fault.code !== 'BEYOND_COMMITTED') {
      this.#core.peers.penalize(source.address)
      this.#complain(location.handle, source, fault)
    }
    return named
  }

  /** Tells the master, at most every ten seconds for one replica; the answer changes nothing here. */
  #complain(handle: ChunkHandle, source: Source, fault: DfsError): void {
    const { io, masters, closing } = this.#core
    const key = `${handle} ${source.server}`
    const nowMs = io.clock.nowMs()
    const lastMs = this.#complaints.get(key)
    if (lastMs !== undefined && nowMs - lastMs < COMPLAINT_MS) return
    if (this.#complaints.size >= COMPLAINTS_MAX) this.#complaints.clear()
    this.#complaints.set(key, nowMs)
    const reason = fault.message.slice(0, 500)
    const code = ErrorCode[fault.code].number
    const patience = new Patience(io.clock, { signal: closing, timeoutMs: COMPLAINT_MS })
    masters.ask('complain', { handle, server: source.server, code, reason }, patience).catch(dropFault)
  }

  #unknown(handle: ChunkHandle, context: ReadContext): DfsError {
    const words = `${context.path}, offset ${context.fileOffset}: no live server holds chunk ${formatHandle(handle)}`
    return new DfsError('UNKNOWN_LOCATION', words, {
      path: context.path,
      offset: context.fileOffset,
      handle: formatHandle(handle),
    })
  }

  #lost(last: DfsError, range: WantedRange, context: ReadContext): DfsError {
    const words = `${context.path}, offset ${context.fileOffset}: no replica can prove these ${range.length} bytes; last: ${last.message}`
    return new DfsError('DATA_LOST', words, last.detail, last)
  }
}

function describe(
  fault: DfsError,
  source: Source,
  handle: ChunkHandle,
  range: WantedRange,
  context: ReadContext,
): DfsError {
  const server = formatServer(source.server)
  const chunk = formatHandle(handle)
  const words = `${context.path}, offset ${context.fileOffset}: chunk ${chunk} at ${range.offset} on ${server} (${source.address}): ${fault.message}`
  const detail = {
    path: context.path,
    offset: context.fileOffset,
    handle: chunk,
    chunkOffset: range.offset,
    server,
    address: source.address,
  }
  return new DfsError(fault.code, words, { ...fault.detail, ...detail }, fault)
}
