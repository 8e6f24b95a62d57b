// What a chunkserver answers: the messages of clients and of the members before it in a chain, and the master's.
//
// Only dispatches: each handler checks the shape, finds the replica, and leaves the work to the file that owns it.

import { crc32 } from '../base/crc32.ts'
import { DfsError } from '../base/errors.ts'
import { formatHandle } from '../base/ids.ts'
import { RECORD_BYTES_MAX } from '../base/limits.ts'
import { MiB } from '../base/units.ts'
import type { Clock } from '../io/clock.ts'
import type { ReceivedBytes } from '../io/network.ts'
import type { Connection } from '../rpc/connection.ts'
import type { IncomingData } from '../rpc/incoming-data.ts'
import { Lanes } from '../rpc/lanes.ts'
import type { ConnectionPool } from '../rpc/pool.ts'
import type { Handler, Handlers, IncomingRequest } from '../rpc/requests.ts'
import { Message, type MessageName, type ReplyOf, type RequestOf } from '../wire/messages.ts'
import { Appender } from './appender.ts'
import { littleEndian } from './block-sums.ts'
import { BufferPool } from './buffer-pool.ts'
import type { ChunkStore } from './chunk-store.ts'
import { type Flow, Flows } from './flow.ts'
import type { Growing } from './growing.ts'
import type { HistoryGuard } from './history-guard.ts'
import { passPiece } from './pieces.ts'
import { checksumOf, readBlocks } from './reader.ts'
import type { RecordEntry } from './record-index.ts'
import type { Replica } from './replica.ts'
import { CHAIN_CALL_MS, Route } from './route.ts'
import { digestAt, fence, seal } from './sealing.ts'

/** Bytes of reads under way at most: then BUSY. */
const READ_BYTES_MAX = 128 * MiB
/** Slices of a record up to this size are copied: a small record must not hold a large receiving buffer. */
const COPY_BYTES_MAX = 16 * 1024

/** Where a growing replica stands in its chain. */
interface Place {
  readonly growing: Growing
  readonly route: Route
  /** At the primary of a shared chunk. */
  readonly appender: Appender | undefined
  /** Settles when this member and all behind it know of the chunk. */
  readonly opened: Promise<void>
}

export interface ServiceOptions {
  readonly store: ChunkStore
  readonly guard: HistoryGuard
  /** Connections to other chunkservers. */
  readonly pool: ConnectionPool
  readonly clock: Clock
}

export class ChunkService {
  readonly handlers: Handlers
  readonly #store: ChunkStore
  readonly #guard: HistoryGuard
  readonly #pool: ConnectionPool
  readonly #clock: Clock
  readonly #flows = new Flows()
  readonly #reads = new BufferPool(READ_BYTES_MAX)
  readonly #places = new WeakMap<Growing, Place>()
  /** Of the shared chunks that this server is the primary of, while they grow. */
  readonly #sharedLanes = new Lanes()
  /** Of the connections that chunks came over, as long as these last. */
  readonly #inboundLanes = new Lanes()
  readonly #laneByConnection = new Map<Connection, number>()
  /** Requests with data under way, for heartbeats. */
  streams = 0

  constructor(options: ServiceOptions) {
    this.#store = options.store
    this.#guard = options.guard
    this.#pool = options.pool
    this.#clock = options.clock
    this.handlers = new Map<number, Handler>([
      handler('openChunk', (body, request) => this.#openChunk(body, request)),
      handler('pushPiece', (body, request) => this.#pushPiece(body, request)),
      handler('commit', (body) => this.#commit(body)),
      handler('appendShared', (body, request) => this.#appendShared(body, request)),
      handler('appendBatch', (body, request) => this.#appendBatch(body, request)),
      handler('findRecords', (body) => this.#findRecords(body)),
      handler('tail', (body) => this.#tail(body)),
      handler('pulse', async ({ handle }) => {
        const { waitingMs, recentMs } = this.#store.get(handle).directory.disk
        return { waitingMs: Math.floor(waitingMs), recentMs: Math.floor(recentMs) }
      }),
      handler('checksum', (body) => this.#checksum(body)),
      [Message.read.number, (request) => this.#read(request)],
      handler('fence', (body, request) => this.#fence(body, request)),
      handler('digestAt', (body, request) => this.#digestAt(body, request)),
      handler('seal', (body, request) => this.#seal(body, request)),
    ])
  }

  /** Arriving bytes held, and bytes of reads under way. */
  get queuedBytes(): number {
    return this.#flows.bytes + this.#reads.usedBytes
  }

  async #openChunk(body: RequestOf<'openChunk'>, request: IncomingRequest): Promise<ReplyOf<'openChunk'>> {
    const { clusterId, allocation } = body
    if (clusterId !== this.#store.clusterId) {
      const message = `chunk ${formatHandle(allocation.handle)} belongs to cluster ${clusterId}, this server to ${this.#store.clusterId}`
      throw new DfsError('WRONG_CLUSTER', message)
    }
    this.#guard.check()
    const replica = this.#store.create(allocation)
    const growing = replica.growing!
    let place = this.#places.get(growing)
    if (place === undefined) {
      place = this.#placeOf(replica, growing, body, request.connection)
      this.#places.set(growing, place)
    }
    await place.opened
    return {}
  }

  /** Takes the replica's place in its chain and tells the next member, once however often the chunk is opened. */
  #placeOf(replica: Replica, growing: Growing, body: RequestOf<'openChunk'>, from: Connection): Place {
    const { allocation } = body
    const position = allocation.members.findIndex((member) => member.directory === replica.directory.id)
    const isAppender = allocation.shared && position === 0
    // Appends come to the primary over many connections; all other bytes of a chunk over one.
    const lane = isAppender ? this.#sharedLaneOf(growing) : this.#laneOf(from)
    const route = new Route(allocation, position, lane, this.#pool, this.#clock)
    const behind =
      route.next === undefined
        ? undefined
        : route.forward((connection) => {
            const encoded = Message.openChunk.request.encode(body)
            return connection.call(Message.openChunk.number, encoded, { timeoutMs: CHAIN_CALL_MS })
          })
    const opened = route.join(growing.files, behind, false)
    const appender = isAppender ? new Appender(growing, route, this.#store.counters) : undefined
    return { growing, route, appender, opened }
  }

  #sharedLaneOf(growing: Growing): string {
    const lane = this.#sharedLanes.take()
    growing.closed.then(() => this.#sharedLanes.give(lane))
    return `shared ${lane}`
  }

  #laneOf(connection: Connection): string {
    let lane = this.#laneByConnection.get(connection)
    if (lane === undefined) {
      lane = this.#inboundLanes.take()
      this.#laneByConnection.set(connection, lane)
    }
    return `inbound ${lane}`
  }

  /** A connection that others had made is gone: its lane is for the next. */
  closed(connection: Connection): void {
    const lane = this.#laneByConnection.get(connection)
    if (lane === undefined) return
    this.#laneByConnection.delete(connection)
    this.#inboundLanes.give(lane)
  }

  /** Throws what `ChunkStore.getGrowing` does. */
  #place(handle: RequestOf<'pushPiece'>['handle'], version: number): Place {
    const place = this.#places.get(this.#store.getGrowing(handle, version))
    if (place !== undefined) return place
    throw new DfsError('CHUNK_FENCED', `chunk ${formatHandle(handle)} was fenced before it was opened here`, { handle })
  }

  async #pushPiece(body: RequestOf<'pushPiece'>, request: IncomingRequest): Promise<ReplyOf<'pushPiece'>> {
    const { growing, route } = this.#place(body.handle, body.version)
    const { data } = request
    if (growing.header.shared || data === undefined) {
      const what = data === undefined ? 'a piece without bytes' : 'a piece for a shared chunk, which takes appends'
      throw new DfsError('INVALID_ARGUMENT', `chunk ${formatHandle(body.handle)}: ${what}`, { handle: body.handle })
    }
    const encoded = Message.pushPiece.request.encode(body)
    const arrived = () => Promise.resolve()
    await this.#pass(growing, route, data, request, body.offset, Message.pushPiece.number, encoded, false, arrived)
    this.#store.counters.piecesReceived++
    return {}
  }

  /** Takes a piece and sends it on; resolves when it is received here and by all members behind. */
  async #pass(
    growing: Growing,
    route: Route,
    data: IncomingData,
    request: IncomingRequest,
    offset: number,
    message: number,
    body: unknown[],
    sync: boolean,
    onArrived: () => Promise<void>,
  ): Promise<void> {
    this.#flows.check(data.bytes)
    const piece = growing.beginPiece(offset, data.bytes)
    const flow: Flow = this.#flows.of(request.connection)
    this.streams++
    try {
      const { own, behind } = passPiece(data, piece, flow, route, message, body, onArrived)
      await route.join(own, behind, sync)
    } finally {
      this.streams--
    }
  }

  async #commit(body: RequestOf<'commit'>): Promise<ReplyOf<'commit'>> {
    const { growing, route } = this.#place(body.handle, body.version)
    growing.checkCommit(body.length)
    const serial = takeSerial(growing, route, body.serial)
    const own = growing.commit(serial, body.length, body.sync)
    const behind =
      route.next === undefined
        ? undefined
        : route.forward((connection) => {
            const encoded = Message.commit.request.encode({ ...body, serial })
            return connection.call(Message.commit.number, encoded, { timeoutMs: CHAIN_CALL_MS })
          })
    await route.join(own, behind, body.sync)
    growing.committed = Math.max(growing.committed, body.length)
    this.#store.counters.commits++
    return { length: growing.committed }
  }

  async #appendShared(body: RequestOf<'appendShared'>, request: IncomingRequest): Promise<ReplyOf<'appendShared'>> {
    const { handle, version, writer, sequence, count, sync } = body
    const bytes = request.data?.bytes ?? 0
    // One without bytes would lie on both sides of a seal at its offset.
    if (request.data === undefined || bytes === 0 || bytes > RECORD_BYTES_MAX) {
      throw new DfsError('INVALID_ARGUMENT', `records of ${bytes} bytes, 1 to ${RECORD_BYTES_MAX} are taken`, {
        bytes,
      })
    }
    const replica = this.#store.get(handle)
    if (replica.form.kind === 'sealed') return { offset: await this.#storedOffset(replica, body) }
    const { growing, route, appender } = this.#place(handle, version)
    if (appender === undefined) {
      const isShared = growing.header.shared
      const message = `chunk ${formatHandle(handle)}: ${isShared ? 'this is not its primary' : 'it is not shared'}`
      throw new DfsError(isShared && !route.isPrimary ? 'NOT_PRIMARY' : 'INVALID_ARGUMENT', message, { handle })
    }
    growing.check()
    this.streams++
    try {
      const record = await gather(request.data, this.#flows)
      return { offset: await appender.append({ writer, sequence, count, sync, bytes, ...record }) }
    } finally {
      this.streams--
    }
  }

  /** The old answer for a retry that comes after the seal; CHUNK_SEALED when the index doesn't know it. */
  async #storedOffset(replica: Replica, body: RequestOf<'appendShared'>): Promise<number> {
    const entry = (await this.#store.proofOf(replica)).index.find(body.writer, body.sequence)
    if (entry !== undefined) return entry.offset
    const message = `chunk ${formatHandle(body.handle)} is sealed at ${replica.length} without sequence ${body.sequence} of this writer`
    throw new DfsError('CHUNK_SEALED', message, { handle: body.handle, length: replica.length })
  }

  async #appendBatch(body: RequestOf<'appendBatch'>, request: IncomingRequest): Promise<ReplyOf<'appendBatch'>> {
    const { handle, version, serial, offset, sync } = body
    const { growing, route } = this.#place(handle, version)
    const { data } = request
    const bytes = data?.bytes ?? 0
    const entries: RecordEntry[] = []
    let end = offset
    for (const { writer, sequence, count, length } of body.entries) {
      entries.push({ writer, sequence, count, offset: end, length })
      end += length
    }
    if (!growing.header.shared || route.isPrimary || entries.length === 0 || end - offset !== bytes) {
      const message = `chunk ${formatHandle(handle)}: a batch of ${entries.length} entries for ${end - offset} bytes, ${bytes} came`
      throw new DfsError('INVALID_ARGUMENT', message, { handle })
    }
    const commit = () => {
      takeSerial(growing, route, serial)
      return growing.commit(serial, end, sync, entries)
    }
    const encoded = Message.appendBatch.request.encode(body)
    if (data !== undefined) {
      await this.#pass(growing, route, data, request, offset, Message.appendBatch.number, encoded, sync, commit)
    } else {
      const behind =
        route.next === undefined
          ? undefined
          : route.forward((connection) => {
              return connection.call(Message.appendBatch.number, encoded, { timeoutMs: CHAIN_CALL_MS })
            })
      await route.join(commit(), behind, sync)
    }
    growing.committed = Math.max(growing.committed, end)
    return {}
  }

  async #tail(body: RequestOf<'tail'>): Promise<ReplyOf<'tail'>> {
    const replica = this.#store.get(body.handle)
    if (replica.form.kind === 'sealed') return { length: replica.length, isSealed: true }
    const { growing, route } = this.#place(body.handle, body.version)
    if (!route.isPrimary) {
      throw new DfsError('NOT_PRIMARY', `chunk ${formatHandle(body.handle)}: this is not its primary`, {
        handle: body.handle,
      })
    }
    return { length: growing.committed, isSealed: false }
  }

  async #findRecords(body: RequestOf<'findRecords'>): Promise<ReplyOf<'findRecords'>> {
    const { handle, version, writer, sequences } = body
    const replica = this.#store.get(handle)
    replica.checkVersion(version)
    // Only what the log's seal has decided is an answer for ever.
    if (replica.form.kind !== 'sealed') return { isSealed: false, found: [] }
    const { index } = await this.#store.proofOf(replica)
    const found = sequences.flatMap((sequence) => {
      const entry = index.find(writer, sequence)
      return entry === undefined ? [] : { sequence, offset: entry.offset, length: entry.length }
    })
    return { isSealed: true, found }
  }

  async #read(request: IncomingRequest): Promise<void> {
    const body = Message.read.request.decode(request.body, 'read')
    const replica = this.#store.get(body.handle)
    replica.checkVersion(body.version)
    const found = await readBlocks(this.#store, this.#reads, replica, body.offset, body.length)
    const reply = Message.read.reply.encode({ offset: found.offset, checksums: littleEndian(found.sums) })
    request.reply(reply, [found.bytes], found.crc, () => this.#reads.give(found.buffer))
  }

  async #checksum(body: RequestOf<'checksum'>): Promise<ReplyOf<'checksum'>> {
    const replica = this.#store.get(body.handle)
    replica.checkVersion(body.version)
    return { digest: await checksumOf(this.#store, this.#reads, replica, body.offset, body.length) }
  }

  #fence(body: RequestOf<'fence'>, request: IncomingRequest): Promise<ReplyOf<'fence'>> {
    this.checkMaster(request, body.history)
    return fence(this.#store, body.handle, body.directory, body.life)
  }

  async #digestAt(body: RequestOf<'digestAt'>, request: IncomingRequest): Promise<ReplyOf<'digestAt'>> {
    requireMaster(request)
    return digestAt(this.#store, this.#store.get(body.handle), body.length)
  }

  async #seal(body: RequestOf<'seal'>, request: IncomingRequest): Promise<ReplyOf<'seal'>> {
    this.checkMaster(request, body.history)
    return { facts: await seal(this.#store, body) }
  }

  /** Throws WRONG_ROLE, MASTER_ROLLED_BACK. */
  checkMaster(request: IncomingRequest, history: RequestOf<'seal'>['history']): void {
    requireMaster(request)
    this.#guard.show(history)
    this.#guard.check()
  }
}

/** A handler that checks the body's shape and encodes what `action` answers. */
function handler<K extends MessageName>(
  name: K,
  action: (body: RequestOf<K>, request: IncomingRequest) => Promise<ReplyOf<K>>,
): [number, Handler] {
  const {
    number,
    request: shape,
    reply,
  } = Message[name] as unknown as {
    number: number
    request: { decode(value: unknown, where: string): RequestOf<K> }
    reply: { encode(value: ReplyOf<K>): unknown[] }
  }
  return [
    number,
    (request) =>
      action(shape.decode(request.body, name), request).then((answer) => request.reply(reply.encode(answer))),
  ]
}

/** The serial number of a mutation: given by the primary, taken in order by the others. */
function takeSerial(growing: Growing, route: Route, serial: number): number {
  const { handle } = growing.header
  if (route.isPrimary && serial === 0) return growing.order.issue()
  if (!route.isPrimary && serial === 0) {
    throw new DfsError('NOT_PRIMARY', `chunk ${formatHandle(handle)}: this is not its primary`, { handle })
  }
  if (!route.isPrimary && growing.order.take(serial)) return serial
  const message = `chunk ${formatHandle(handle)}: mutation ${serial} after ${growing.order.last}`
  throw new DfsError('OUT_OF_ORDER', message, { handle, serial, last: growing.order.last })
}

function requireMaster(request: IncomingRequest): void {
  const role = request.connection.peer?.role
  if (role === 'master') return
  throw new DfsError('WRONG_ROLE', `message ${request.message} is the master's, a ${role ?? 'stranger'} sent it`)
}

interface Gathered {
  readonly slices: readonly Buffer[]
  readonly crc: number
  readonly release: () => void
}

/** All of a record, in the slices it came in; proven when it resolves. Room for all of it is taken first: BUSY without. */
function gather(data: IncomingData, flows: Flows): Promise<Gathered> {
  flows.reserve(data.bytes)
  const slices: Buffer[] = []
  const retained: ReceivedBytes[] = []
  let crc = 0
  const release = () => {
    flows.bytes -= data.bytes
    for (const received of retained) received.release()
  }
  return new Promise((resolve, reject) => {
    data.receive({
      onData: (bytes, received) => {
        crc = crc32(bytes, crc)
        if (bytes.length > COPY_BYTES_MAX) {
          received.retain()
          retained.push(received)
        }
        slices.push(bytes.length > COPY_BYTES_MAX ? bytes : Buffer.from(bytes))
      },
      onEnd: (error) => {
        if (error === undefined) return resolve({ slices, crc, release })
        release()
        reject(error)
      },
      crc: () => crc,
    })
  })
}
