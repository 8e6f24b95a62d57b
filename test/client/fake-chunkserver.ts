// A chunkserver that keeps its chunks in memory and does as it is told: for tests of the client against the real
// master. It speaks the whole protocol of a chain, keeps block checksums, and can be made to lie, stall and fail.

import { assert } from '../../src/base/assert.ts'
import { crc32 } from '../../src/base/crc32.ts'
import { DfsError } from '../../src/base/errors.ts'
import {
  type ChunkHandle,
  type DirectoryId,
  formatServer,
  type Life,
  RANDOM_ID_MAX,
  type ServerId,
} from '../../src/base/ids.ts'
import { BLOCK_BYTES, PIECE_BYTES_MAX } from '../../src/base/limits.ts'
import { GiB } from '../../src/base/units.ts'
import type { Io } from '../../src/io/io.ts'
import { type Address, parseAddress } from '../../src/io/network.ts'
import { answering, ask } from '../../src/rpc/ask.ts'
import { ConnectionPool } from '../../src/rpc/pool.ts'
import type { Handler, IncomingRequest } from '../../src/rpc/requests.ts'
import { RpcServer } from '../../src/rpc/server.ts'
import { hello } from '../../src/wire/hello.ts'
import {
  type Allocation,
  Message,
  type MessageName,
  type ReplicaFacts,
  type RequestOf,
  shapeOf,
} from '../../src/wire/messages.ts'
import type { SimMachine } from '../sim/machine.ts'
import type { SimWorld } from '../sim/world.ts'

export interface FakeChunk {
  readonly handle: ChunkHandle
  readonly version: number
  readonly directory: DirectoryId
  bytes: Buffer
  length: number
  /** Checksums as they were when the blocks were written; made when first asked for. */
  allocation: Allocation | undefined
  state: 'open' | 'fenced' | 'sealed' | 'corrupt'
  digest: number
}

/** What outlives a restart. */
export interface FakeDisk {
  readonly identity: number
  readonly directory: DirectoryId
  server: number
  readonly chunks: Map<ChunkHandle, FakeChunk>
  /** Blocks that rotted: `handle block`. */
  readonly rotten: Set<string>
}

/** What the test does to a request before it is handled: throw to refuse it, wait to delay it. */
export type Interfere = (name: MessageName, body: unknown[], server: FakeChunkserver) => void | Promise<void>

const PORT = 7500

export class FakeChunkserver {
  readonly machine: SimMachine
  readonly disk: FakeDisk
  interfere: Interfere = () => {}
  /** The file on its disk that it offers for direct reads, with checksums that fit what is in it. */
  offeredPath: string | undefined
  /** The most that it sends as one answer to a read. */
  readBytesMax = PIECE_BYTES_MAX
  /** What it was asked to read, in bytes, in order. */
  readonly readLengths: number[] = []
  /** How often each message came. */
  readonly counts = new Map<MessageName, number>()
  readonly #master: Address
  #io: Io
  #life = 0 as Life
  #pool: ConnectionPool | undefined
  #sequence = 0
  #changes: ReplicaFacts[] = []
  #incarnation = 0

  constructor(world: SimWorld, name: string, master: Address) {
    this.machine = world.machine(name)
    this.#io = this.machine.io
    this.#master = master
    const random = (): number => 1 + this.#io.entropy.below(RANDOM_ID_MAX)
    this.disk = {
      identity: random(),
      directory: random() as DirectoryId,
      server: 0,
      chunks: new Map(),
      rotten: new Set(),
    }
  }

  get id(): ServerId {
    return this.disk.server as ServerId
  }

  get address(): string {
    return `${this.machine.name}:${PORT}`
  }

  async start(): Promise<void> {
    this.#incarnation++
    this.#life = (1 + this.#io.entropy.below(RANDOM_ID_MAX)) as Life
    const { clock, network, entropy } = this.#io
    const say = () => hello('chunkserver', { server: this.disk.server, name: this.machine.name })
    const onBug = (error: unknown): void => {
      throw error
    }
    this.#pool = new ConnectionPool({ clock, network, entropy, hello: say, handlers: this.#masterHandlers(), onBug })
    await RpcServer.listen(
      network,
      { host: this.machine.name, port: PORT },
      { clock, hello: say, handlers: this.#handlers(), onBug, limits: { collectBytesMax: PIECE_BYTES_MAX } },
    )
    await this.#join()
    void this.#beat(this.#incarnation)
  }

  /** The process dies; its chunks stay, as with a page cache. */
  kill(): void {
    this.#incarnation++
    this.machine.crash({ power: false })
  }

  async restart(): Promise<void> {
    this.#io = this.machine.restart()
    await this.start()
  }

  /** Flips a bit of a stored byte behind the server's back: its checksum stays. */
  rot(handle: ChunkHandle, offset: number): void {
    const chunk = this.disk.chunks.get(handle)
    assert(chunk !== undefined && offset < chunk.length, 'nothing to rot there')
    this.disk.rotten.add(`${handle} ${Math.floor(offset / BLOCK_BYTES)}`)
  }

  async #join(): Promise<void> {
    for (;;) {
      try {
        const connection = await this.#pool!.get(this.#master)
        const reply = await ask(connection, 'join', {
          identity: this.disk.identity,
          server: this.disk.server as ServerId,
          address: this.address,
          http: '',
          zone: '',
          rack: '',
          directories: [this.#facts()],
          seenLogIndex: 0,
          version: 'test',
          pid: 1,
        })
        this.disk.server = reply.server
        const replicas = [...this.disk.chunks.values()].map((chunk) => this.#replicaFacts(chunk))
        await ask(connection, 'chunkReport', { sequence: ++this.#sequence, isFirst: true, isLast: true, replicas })
        return
      } catch (error) {
        if (!(error instanceof DfsError)) throw error
        await this.#io.clock.sleep(50)
      }
    }
  }

  async #beat(incarnation: number): Promise<void> {
    while (incarnation === this.#incarnation) {
      const changes = this.#changes.splice(0)
      try {
        const connection = await this.#pool!.get(this.#master)
        const reply = await ask(
          connection,
          'heartbeat',
          {
            sequence: ++this.#sequence,
            directories: [this.#facts()],
            streams: 0,
            queuedBytes: 0,
            changes,
            hasDirectories: true,
            replicaSum: undefined,
            readBytes: 0,
            writtenBytes: 0,
          },
          { timeoutMs: 1000 },
        )
        for (const order of reply.orders) if (order.kind === 'delete') this.disk.chunks.delete(order.handle)
      } catch (error) {
        if (!(error instanceof DfsError)) throw error
        await this.#join()
      }
      await this.#io.clock.sleep(100)
    }
  }

  #facts() {
    return {
      directory: this.disk.directory,
      life: this.#life,
      path: '/data',
      state: 'ok' as const,
      capacityBytes: 100 * GiB,
      usedBytes: 0,
      freeBytes: 100 * GiB,
      chunks: this.disk.chunks.size,
      scrubPermille: 0,
      scrubAgeMs: undefined,
      device: '',
      slowMs: 0,
    }
  }

  #replicaFacts(chunk: FakeChunk): ReplicaFacts {
    const { handle, version, directory, state, length, digest } = chunk
    return { handle, version, directory, state, length, digest: state === 'sealed' || state === 'corrupt' ? digest : 0 }
  }

  /** What the master asks over the connection that this server opened. */
  #masterHandlers(): ReadonlyMap<number, Handler> {
    return new Map([
      answering('fence', async (request) => {
        await this.#enter('fence', [])
        const { handle, directory, life } = request
        let chunk = this.disk.chunks.get(handle)
        const exists = chunk !== undefined
        if (chunk === undefined) {
          chunk = newChunk(handle, 1, directory, undefined)
          this.disk.chunks.set(handle, chunk)
        }
        if (chunk.state === 'open') chunk.state = 'fenced'
        const digest = crc32(chunk.bytes.subarray(0, chunk.length))
        return {
          exists,
          inLife: life === this.#life,
          length: chunk.length,
          digest,
          syncedLength: chunk.length,
          indexDigest: 0,
        }
      }),
      answering('digestAt', ({ handle, length }) => {
        return { digest: crc32(this.#chunk(handle).bytes.subarray(0, length)), indexDigest: 0 }
      }),
      answering('seal', ({ handle, length, digest }) => {
        const chunk = this.#chunk(handle)
        if (chunk.length > length) chunk.length = length
        chunk.state = 'sealed'
        chunk.digest = chunk.length === length ? digest : crc32(chunk.bytes.subarray(0, chunk.length))
        const facts = this.#replicaFacts(chunk)
        this.#changes.push(facts)
        return { facts }
      }),
    ])
  }

  #handlers(): ReadonlyMap<number, Handler> {
    return new Map([
      this.#on('openChunk', async ({ clusterId, allocation }, incoming) => {
        const { handle, version } = allocation
        const mine = allocation.members.find((member) => member.directory === this.disk.directory)
        if (mine === undefined) throw new DfsError('NO_SUCH_REPLICA', 'not a member', { server: formatServer(this.id) })
        if (mine.life !== this.#life) throw new DfsError('WRONG_LIFE', 'restarted', { server: formatServer(this.id) })
        let chunk = this.disk.chunks.get(handle)
        if (chunk === undefined) {
          chunk = newChunk(handle, version, this.disk.directory, allocation)
          this.disk.chunks.set(handle, chunk)
          this.#changes.push(this.#replicaFacts(chunk))
        }
        this.#writable(chunk)
        await this.#forward(chunk, 'openChunk', { clusterId, allocation })
        incoming.reply([])
      }),
      this.#on('pushPiece', async (request, incoming) => {
        const data = await incoming.data!.collect()
        const chunk = this.#chunk(request.handle)
        this.#writable(chunk)
        if (request.offset !== chunk.length)
          throw new DfsError('OUT_OF_ORDER', `piece at ${request.offset}, ${chunk.length} held`)
        put(chunk, data)
        await this.#forward(chunk, 'pushPiece', request, data)
        incoming.reply([])
      }),
      this.#on('commit', async (request, incoming) => {
        const chunk = this.#chunk(request.handle)
        this.#writable(chunk)
        if (request.length > chunk.length) throw new DfsError('BEYOND_COMMITTED', `${chunk.length} held`)
        await this.#forward(chunk, 'commit', request)
        incoming.reply(shapeOf('commit').reply.encode({ length: request.length }))
      }),
      this.#on('appendShared', async (request, incoming) => {
        const data = incoming.data === undefined ? Buffer.alloc(0) : await incoming.data.collect()
        const chunk = this.#chunk(request.handle)
        this.#writable(chunk)
        if (chunk.length + data.length > chunk.allocation!.chunkBytes) throw new DfsError('CHUNK_FULL', 'full')
        const offset = chunk.length
        put(chunk, data)
        const { handle, version } = request
        await this.#forward(chunk, 'appendBatch', { handle, version, serial: 1, offset, sync: true, entries: [] }, data)
        incoming.reply(shapeOf('appendShared').reply.encode({ offset }))
      }),
      this.#on('appendBatch', async (request, incoming) => {
        const data = incoming.data === undefined ? Buffer.alloc(0) : await incoming.data.collect()
        const chunk = this.#chunk(request.handle)
        this.#writable(chunk)
        if (request.offset !== chunk.length)
          throw new DfsError('OUT_OF_ORDER', `batch at ${request.offset}, ${chunk.length} held`)
        put(chunk, data)
        await this.#forward(chunk, 'appendBatch', request, data)
        incoming.reply([])
      }),
      this.#on('read', ({ handle, offset, length }, incoming) => {
        const chunk = this.#chunk(handle)
        if (offset + length > chunk.length) throw new DfsError('BEYOND_COMMITTED', `${chunk.length} held`)
        this.readLengths.push(length)
        const start = Math.floor(offset / BLOCK_BYTES) * BLOCK_BYTES
        const end = Math.min(
          chunk.length,
          start + this.readBytesMax,
          Math.ceil((offset + length) / BLOCK_BYTES) * BLOCK_BYTES,
        )
        const checksums = Buffer.alloc(4 * Math.ceil((end - start) / BLOCK_BYTES))
        for (let at = start; at < end; at += BLOCK_BYTES) {
          if (this.disk.rotten.has(`${handle} ${at / BLOCK_BYTES}`)) {
            throw new DfsError('CORRUPT_REPLICA', `block at ${at}`, { handle, chunkOffset: at })
          }
          checksums.writeUInt32LE(
            crc32(chunk.bytes.subarray(at, Math.min(end, at + BLOCK_BYTES))),
            ((at - start) / BLOCK_BYTES) * 4,
          )
        }
        incoming.reply(shapeOf('read').reply.encode({ offset: start, checksums }), [
          Buffer.from(chunk.bytes.subarray(start, end)),
        ])
      }),
      this.#on('directRead', async ({ handle }, incoming) => {
        const { reply } = shapeOf('directRead')
        const path = this.offeredPath
        const stat = path === undefined ? undefined : await this.#io.disk.stat(path)
        if (path === undefined || stat === undefined) return incoming.reply(reply.encode({ offer: undefined }))
        const bytes = this.machine.disk.readFile(path)!
        const sums = Buffer.alloc(4 * Math.ceil(bytes.length / BLOCK_BYTES))
        for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
          sums.writeUInt32LE(crc32(bytes.subarray(at, at + BLOCK_BYTES)), (4 * at) / BLOCK_BYTES)
        }
        const offer = { path, inode: stat.inode, length: this.#chunk(handle).length, blockBytes: BLOCK_BYTES }
        incoming.reply(reply.encode({ offer }), [sums])
      }),
      this.#on('checksum', ({ handle, offset, length }, incoming) => {
        const chunk = this.#chunk(handle)
        const digest = crc32(chunk.bytes.subarray(offset, offset + length))
        incoming.reply(shapeOf('checksum').reply.encode({ digest }))
      }),
    ])
  }

  #on<K extends MessageName>(
    name: K,
    handle: (request: RequestOf<K>, incoming: IncomingRequest) => void | Promise<void>,
  ): readonly [number, Handler] {
    const shape = shapeOf(name)
    let turn: Promise<void> = Promise.resolve()
    const isOrdered = name !== 'read' && name !== 'checksum'
    const run = async (incoming: IncomingRequest): Promise<void> => {
      try {
        await this.#enter(name, incoming.body)
        await handle(shape.request.decode(incoming.body, name), incoming)
      } catch (error) {
        incoming.data?.skip()
        throw error
      }
    }
    return [
      Message[name].number,
      (incoming) => {
        if (!isOrdered) return run(incoming)
        const mine = turn.then(() => run(incoming))
        turn = mine.catch(() => {})
        return mine
      },
    ]
  }

  async #enter(name: MessageName, body: unknown[]): Promise<void> {
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1)
    const waits = this.interfere(name, body, this)
    if (waits !== undefined) await waits
  }

  async #forward<K extends MessageName>(
    chunk: FakeChunk,
    name: K,
    request: RequestOf<K>,
    data?: Buffer,
  ): Promise<void> {
    const members = chunk.allocation?.members ?? []
    const next = members[members.findIndex((member) => member.directory === this.disk.directory) + 1]
    if (next === undefined) return
    try {
      const connection = await this.#pool!.get(parseAddress(next.address)!, 'chain')
      const shape = shapeOf(name)
      await connection.call(shape.number, shape.request.encode(request), {
        timeoutMs: 2000,
        ...(data && { data: [data] }),
      })
    } catch (error) {
      if (!(error instanceof DfsError)) throw error
      if (error.code === 'CHAIN_BROKEN') throw error
      throw new DfsError('CHAIN_BROKEN', `${formatServer(next.server)}: ${error.message}`, {
        server: formatServer(next.server),
      })
    }
  }

  #chunk(handle: ChunkHandle): FakeChunk {
    const chunk = this.disk.chunks.get(handle)
    if (chunk === undefined)
      throw new DfsError('NO_SUCH_REPLICA', `no chunk ${handle}`, { server: formatServer(this.id) })
    return chunk
  }

  #writable(chunk: FakeChunk): void {
    const life = chunk.allocation?.members.find((member) => member.directory === this.disk.directory)?.life
    if (chunk.state !== 'open') throw new DfsError('CHUNK_FENCED', `chunk ${chunk.handle} is ${chunk.state}`)
    if (life !== this.#life) throw new DfsError('WRONG_LIFE', 'restarted', { server: formatServer(this.id) })
  }
}

function newChunk(
  handle: ChunkHandle,
  version: number,
  directory: DirectoryId,
  allocation: Allocation | undefined,
): FakeChunk {
  return { handle, version, directory, bytes: Buffer.alloc(0), length: 0, allocation, state: 'open', digest: 0 }
}

function put(chunk: FakeChunk, data: Buffer): void {
  if (chunk.length + data.length > chunk.bytes.length) {
    const grown = Buffer.alloc(Math.max(64 * 1024, 2 * (chunk.length + data.length)))
    chunk.bytes.copy(grown, 0, 0, chunk.length)
    chunk.bytes = grown
  }
  data.copy(chunk.bytes, chunk.length)
  chunk.length += data.length
}
