// The packer: bytes of small files into shared chunks, where many clients append and the primary gives the offsets.
//
// One packing chunk a goal is in use at a time, for all files of this client. Files that come at about the same time are
// one append (groups.ts): a message, a batch and a sync cost each server the same for one file as for fifty. An append
// that fails is simply made again in another chunk: bytes that no file names are dead space, and the record that names a
// file is what happens exactly once.
//
// Bounds: at most FILES_MAX files and IN_FLIGHT_BYTES_MAX bytes under way, others wait their turn; GROUPS_MAX appends a
// goal at once, of PIECE_BYTES each, PIECE_BYTES_MAX while the chains answer quickly.
//
// Source: DESIGN §4, "Small files".

import { crc32 } from '../base/crc32.ts'
import { DfsError } from '../base/errors.ts'
import type { ChunkHandle, ClusterId, ServerId } from '../base/ids.ts'
import { formatHandle } from '../base/ids.ts'
import { PIECE_BYTES, PIECE_BYTES_MAX, SMALL_FILE_BYTES_MAX } from '../base/limits.ts'
import { MiB, SECOND_MS } from '../base/units.ts'
import type { Connection } from '../rpc/connection.ts'
import type { Allocation } from '../wire/messages.ts'
import type { Core } from './core.ts'
import { addPatiently, Groups, type Member } from './groups.ts'
import { endOfPatience } from './masters.ts'
import { Patience, Waiters } from './patience.ts'
import type { Extent } from './placed.ts'
import { isOnlyBusy, silentMembers } from './probe.ts'
import { asFault, backoffMs, dropFault, isPassing, serverNamed } from './retry.ts'
import type { Session } from './session.ts'

const FILES_MAX = 1024
const IN_FLIGHT_BYTES_MAX = 16 * MiB
const GROUPS_MAX = 4
/** An append that takes longer is not made large. */
const QUICK_MS = 500
/** One append: then another chunk is tried; at most a fifth of the caller's patience. */
const APPEND_MS_MAX = 6 * SECOND_MS
/** Appends in a row that a chain which is only busy may answer too late; each has longer than the one before. */
const OVERDUE_MAX = 2
const AVOID_MS = 15 * SECOND_MS
/** One request for a chunk, made for whoever waits; they ask again as long as their own patience lasts. */
const LEND_MS = 1 * SECOND_MS
const LANE = 'pack'

interface Lent {
  readonly allocation: Allocation
  /** Where its chain was told of the chunk. */
  told: Connection | undefined
  /** It has failed somebody: resolves when who is to blame is known and another one was asked for. */
  left: Promise<void> | undefined
}

/** The bytes of one file. */
interface Parcel {
  readonly slices: readonly Uint8Array[]
  readonly length: number
  /** How long its caller bears no progress: those in one append agree on when it is given up. */
  readonly timeoutMs: number
}

export class Packer {
  readonly #core: Core
  readonly #waiters: Waiters
  readonly #lent = new Map<number, Promise<Lent>>()
  /** By goal. */
  readonly #groups = new Map<number, Groups<Parcel, Extent>>()
  readonly #avoid = new Map<ServerId, number>()
  #files = 0
  #bytes = 0
  #bytesMax = SMALL_FILE_BYTES_MAX
  #groupBytes = PIECE_BYTES
  #groupBytesMax = PIECE_BYTES_MAX

  constructor(core: Core) {
    this.#core = core
    this.#waiters = new Waiters(core.io.clock)
  }

  /** Bytes of one file at most: several must fit into a chunk, also where chunks are small. Larger ones have their own. */
  get bytesMax(): number {
    return this.#bytesMax
  }

  /** @param chunkBytes  what the cluster's chunks grow to */
  fitTo(chunkBytes: number): void {
    this.#bytesMax = Math.min(SMALL_FILE_BYTES_MAX, Math.floor(chunkBytes / 4))
    this.#groupBytesMax = Math.min(PIECE_BYTES_MAX, Math.floor(chunkBytes / 4))
  }

  /**
   * Puts the bytes, synced on every member, into a shared chunk. Errors: NO_SERVERS and other faults that lasted until
   * patience ended, TIMEOUT, ABORTED.
   *
   * @param slices  1 .. bytesMax bytes; must not change until it resolves
   * @param goal    replicas wanted; 0: the cluster's default
   */
  async place(slices: readonly Uint8Array[], length: number, goal: number, patience: Patience): Promise<Extent> {
    while (this.#files >= FILES_MAX || this.#bytes + length > IN_FLIGHT_BYTES_MAX) await this.#waiters.wait(patience)
    this.#files++
    this.#bytes += length
    try {
      const parcel = { slices, length, timeoutMs: patience.timeoutMs }
      const extent = await addPatiently(this.#groupsOf(goal), parcel, length, patience)
      patience.progress()
      return extent
    } finally {
      this.#files--
      this.#bytes -= length
      this.#waiters.wake()
    }
  }

  /** The chunk is of no more use: full, failing, or shorter than it was thought. */
  forget(goal: number, handle: ChunkHandle): void {
    const lending = this.#lent.get(goal)
    // Whoever asked for it gets the fault, if it was one.
    lending?.then((lent) => {
      if (lent.allocation.handle === handle && this.#lent.get(goal) === lending) this.#renew(goal, handle)
    }, dropFault)
  }

  #groupsOf(goal: number): Groups<Parcel, Extent> {
    let groups = this.#groups.get(goal)
    if (groups === undefined) {
      groups = new Groups({
        clock: this.#core.io.clock,
        aborts: this.#core.aborts,
        groupsMax: GROUPS_MAX,
        membersMax: FILES_MAX,
        sizeMax: () => Math.min(this.#groupBytes, this.#groupBytesMax),
        fits: (first, parcel) => first.timeoutMs === parcel.timeoutMs,
        run: (members) => this.#placeAll(members, goal),
      })
      this.#groups.set(goal, groups)
    }
    return groups
  }

  /** Appends a group, in one chunk after the other until one takes it or nobody waits for it any more. */
  async #placeAll(members: readonly Member<Parcel, Extent>[], goal: number): Promise<void> {
    const { timeoutMs } = members[0]!.item
    const patience = new Patience(this.#core.io.clock, { signal: this.#core.closing, timeoutMs })
    let last: DfsError | undefined
    let overdue = 0
    try {
      for (let attempt = 0; ; attempt++) {
        const waiting = members.filter((member) => member.isWaiting)
        if (waiting.length === 0) return
        patience.check(last)
        const session = this.#core.sessions.current()
        let lent: Lent | undefined
        try {
          lent = await this.#borrow(goal, session, patience)
          await this.#append(lent, waiting, session, patience, overdue)
          return
        } catch (error) {
          const fault = asFault(error)
          if (fault.code === 'ABORTED' || (lent === undefined && !fault.retriable)) throw fault
          // That time is up says less than what kept us waiting.
          if (last === undefined || patience.leftMs > 0) last = fault
          for (const member of waiting) member.last = last
          if (lent !== undefined && fault.code === 'TIMEOUT' && ++overdue <= OVERDUE_MAX) {
            // What came too late stays as dead space; another chunk would be no quicker.
            if (await isOnlyBusy(this.#core, lent.allocation, patience)) continue
          }
          if (lent !== undefined) {
            lent.left ??= this.#leave(goal, lent.allocation, fault, session)
            await this.#share(lent.left, patience)
          }
          // The first full chunk is everyday; one after the other is not, and must not become a storm of new ones.
          if (fault.code !== 'CHUNK_FULL' || attempt > 0)
            await patience.sleep(backoffMs(attempt, this.#core.io.entropy), last)
        }
      }
    } catch (error) {
      throw endOfPatience(error, last)
    }
  }

  /** One append of all their bytes, in their order; settles them. */
  async #append(
    lent: Lent,
    members: readonly Member<Parcel, Extent>[],
    session: Session,
    patience: Patience,
    overdue: number,
  ): Promise<void> {
    const { links } = this.#core
    const { allocation } = lent
    const { handle, version } = allocation
    const primary = allocation.members[0]
    if (primary === undefined) throw new DfsError('UNAVAILABLE', `chunk ${formatHandle(handle)} has no members`)
    const firstMs = Math.min(APPEND_MS_MAX, Math.max(1, patience.timeoutMs / 5))
    const timeoutMs = patience.capMs(firstMs * (1 + overdue))
    const { signal } = patience
    const connection = await links.chunkserver(primary.address, LANE, timeoutMs, signal)
    let opening: Promise<unknown> | undefined
    if (lent.told !== connection) {
      lent.told = connection
      opening = links.call(
        connection,
        'openChunk',
        { clusterId: links.clusterId as ClusterId, allocation },
        { timeoutMs },
      )
      // The append behind it fails as well; this one says more.
      opening.catch(dropFault)
    }
    const data: Uint8Array[] = []
    let dataCrc = 0
    for (const { item } of members) {
      for (const slice of item.slices) {
        data.push(slice)
        dataCrc = crc32(slice, dataCrc)
      }
    }
    const request = { handle, version, writer: session.id, sequence: session.nextSequence(), count: 1, sync: true }
    const { clock } = this.#core.io
    const startMs = clock.nowMs()
    try {
      const { offset } = await links.call(connection, 'appendShared', request, { timeoutMs, signal, data, dataCrc })
      let at = offset
      for (const member of members) {
        const { length } = member.item
        member.resolve({ handle, offset: at, length })
        at += length
      }
    } catch (error) {
      if (opening !== undefined && !signal?.aborted) await opening
      throw error
    } finally {
      this.#groupBytes = clock.nowMs() - startMs <= QUICK_MS ? PIECE_BYTES_MAX : PIECE_BYTES
    }
  }

  /** Others of this client must not try it again, and the master must know of the fault. */
  async #leave(goal: number, allocation: Allocation, fault: DfsError, session: Session): Promise<void> {
    const { handle, members } = allocation
    const isOver = fault.code === 'CHUNK_FULL' || fault.code === 'CHUNK_SEALED'
    const suspects = isOver ? [] : await this.#suspects(allocation, fault, members[0]?.server)
    for (const server of suspects) this.#avoid.set(server, this.#core.io.clock.nowMs() + AVOID_MS)
    this.forget(goal, handle)
    if (isOver) return
    const reason = `${fault.code}: ${fault.message}`.slice(0, 500)
    const patience = new Patience(this.#core.io.clock, { signal: this.#core.closing, timeoutMs: AVOID_MS })
    // Nobody here waits for the seal: the bytes go elsewhere.
    this.#core.masters.ask('sealChunk', { session: session.id, handle, suspects, reason }, patience).catch(dropFault)
  }

  async #suspects(allocation: Allocation, fault: DfsError, primary: ServerId | undefined): Promise<ServerId[]> {
    const named = serverNamed(fault)
    if (named !== undefined) return [named]
    if (fault.code === 'TIMEOUT') return await silentMembers(this.#core, allocation, this.#core.closing)
    return isPassing(fault) && primary !== undefined ? [primary] : []
  }

  async #borrow(goal: number, session: Session, patience: Patience): Promise<Lent> {
    const known = this.#lent.get(goal)
    if (known !== undefined) return await this.#share(known, patience)
    return await this.#share(this.#ask(goal, undefined, session), patience)
  }

  /** Many wait for one answer; each no longer than its own patience. */
  async #share<T>(answer: Promise<T>, patience: Patience): Promise<T> {
    let isSettled = false
    const waiters = new Waiters(this.#core.io.clock)
    const settle = (): void => {
      isSettled = true
      waiters.wake()
    }
    answer.then(settle, settle)
    await Promise.resolve()
    while (!isSettled) await waiters.wait(patience)
    return await answer
  }

  #renew(goal: number, notHandle: ChunkHandle): void {
    this.#ask(goal, notHandle, this.#core.sessions.current()).catch(dropFault)
  }

  #ask(goal: number, notHandle: ChunkHandle | undefined, session: Session): Promise<Lent> {
    const patience = new Patience(this.#core.io.clock, { signal: this.#core.closing, timeoutMs: LEND_MS })
    const lending = this.#lend(goal, notHandle, session, patience).catch((error: unknown) => {
      // The next who needs one asks anew.
      if (this.#lent.get(goal) === lending) this.#lent.delete(goal)
      throw error
    })
    this.#lent.set(goal, lending)
    return lending
  }

  async #lend(goal: number, notHandle: ChunkHandle | undefined, session: Session, patience: Patience): Promise<Lent> {
    for (let attempt = 0; ; attempt++) {
      try {
        const { allocation } = await this.#core.masters.askWith(
          'packingChunk',
          // Whom we would rather avoid is better than nobody.
          (tries) => ({ session: session.id, goal, avoid: tries === 0 ? this.#avoided() : [], notHandle }),
          patience,
        )
        return { allocation, told: undefined, left: undefined }
      } catch (error) {
        // It was sealed while the answer was made.
        const fault = asFault(error)
        if (fault.code !== 'CHUNK_SEALED') throw fault
        await patience.sleep(backoffMs(attempt, this.#core.io.entropy), fault)
      }
    }
  }

  #avoided(): ServerId[] {
    const nowMs = this.#core.io.clock.nowMs()
    for (const [server, untilMs] of this.#avoid) if (untilMs <= nowMs) this.#avoid.delete(server)
    return [...this.#avoid.keys()].slice(-64)
  }
}
