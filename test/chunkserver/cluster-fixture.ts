// Chunkservers on simulated machines with a master that only answers, and a client that only asks.

import { crc32 } from '../../src/base/crc32.ts'
import { isDfsError } from '../../src/base/errors.ts'
import type { ChunkHandle, ClusterId, ServerId, SessionId } from '../../src/base/ids.ts'
import { PIECE_BYTES } from '../../src/base/limits.ts'
import { MiB } from '../../src/base/units.ts'
import { type Chunkserver, type ChunkserverOptions, startChunkserver } from '../../src/chunkserver/node.ts'
import type { Io } from '../../src/io/io.ts'
import { type Address, parseAddress } from '../../src/io/network.ts'
import type { Connection } from '../../src/rpc/connection.ts'
import { connect } from '../../src/rpc/pool.ts'
import type { Handler, IncomingRequest } from '../../src/rpc/requests.ts'
import { RpcServer } from '../../src/rpc/server.ts'
import { hello } from '../../src/wire/hello.ts'
import {
  type Allocation,
  Message,
  type MessageName,
  type Order,
  type ReplicaFacts,
  type ReplyOf,
  type RequestOf,
} from '../../src/wire/messages.ts'
import type { SimWorld } from '../sim/world.ts'
import { CLUSTER } from './store-fixture.ts'

export interface Joined {
  readonly server: ServerId
  readonly connection: Connection
  readonly facts: RequestOf<'join'>
}

/** Answers joins and heartbeats, keeps what it is told, gives the orders it is handed. */
export class FakeMaster {
  readonly joined = new Map<number, Joined>()
  /** Last facts of each replica, by server and handle. */
  readonly replicas = new Map<string, ReplicaFacts>()
  readonly left: number[] = []
  orders: Order[] = []
  validMs = 5000
  logIndex = 100
  rollbackLostIndex = 0
  heartbeats = 0
  heartbeatDelayMs = 0
  readonly #io: Io
  readonly #servers = new Map<number, ServerId>()
  readonly #byConnection = new Map<Connection, ServerId>()
  server: RpcServer | undefined

  constructor(io: Io) {
    this.#io = io
  }

  async listen(cluster: ClusterId = CLUSTER): Promise<void> {
    const handlers = new Map<number, Handler>([
      answer('join', async (body, request) => {
        const server = this.#servers.get(body.identity) ?? ((this.#servers.size + 1) as ServerId)
        this.#servers.set(body.identity, server)
        this.#byConnection.set(request.connection, server)
        this.joined.set(server, { server, connection: request.connection, facts: body })
        return { server, heartbeatMs: 100, history: this.history }
      }),
      answer('heartbeat', async (body, request) => {
        this.heartbeats++
        this.#note(request, body.changes)
        const orders = this.orders
        this.orders = []
        if (this.heartbeatDelayMs > 0) await this.#io.clock.sleep(this.heartbeatDelayMs)
        return { heartbeatMs: 100, history: this.history, validMs: this.validMs, orders, wantReport: false }
      }),
      answer('chunkReport', async (body, request) => {
        this.#note(request, body.replicas)
        return {}
      }),
      answer('leave', async (_body, request) => {
        this.left.push(this.#byConnection.get(request.connection)!)
        return {}
      }),
    ])
    this.server = await RpcServer.listen(
      this.#io.network,
      { host: 'master', port: 9000 },
      {
        clock: this.#io.clock,
        hello: () => hello('master', { cluster }),
        handlers,
        onBug: (error) => {
          throw error
        },
      },
    )
  }

  get history() {
    return { logIndex: this.logIndex, rollbackLostIndex: this.rollbackLostIndex }
  }

  stateOf(server: number, handle: ChunkHandle): string | undefined {
    return this.replicas.get(`${server} ${handle}`)?.state
  }

  ask<K extends MessageName>(server: number, name: K, body: RequestOf<K>): Promise<ReplyOf<K>> {
    return ask(this.joined.get(server)!.connection, name, body)
  }

  fence(server: number, handle: ChunkHandle): Promise<ReplyOf<'fence'>> {
    const { directory, life } = this.joined.get(server)!.facts.directories[0]!
    return this.ask(server, 'fence', { handle, directory, life, history: this.history })
  }

  #note(request: IncomingRequest, facts: readonly ReplicaFacts[]): void {
    const server = this.#byConnection.get(request.connection)!
    for (const fact of facts) this.replicas.set(`${server} ${fact.handle}`, fact)
  }
}

function answer<K extends MessageName>(
  name: K,
  action: (body: RequestOf<K>, request: IncomingRequest) => Promise<ReplyOf<K>>,
): [number, Handler] {
  const row = Message[name] as unknown as Row<K>
  return [
    row.number,
    async (request) => request.reply(row.reply.encode(await action(row.request.decode(request.body, name), request))),
  ]
}

interface Row<K extends MessageName> {
  number: number
  request: { encode(value: RequestOf<K>): unknown[]; decode(value: unknown, where: string): RequestOf<K> }
  reply: { encode(value: ReplyOf<K>): unknown[]; decode(value: unknown, where: string): ReplyOf<K> }
}

export async function ask<K extends MessageName>(
  connection: Connection,
  name: K,
  body: RequestOf<K>,
  data?: Buffer,
): Promise<ReplyOf<K>> {
  const row = Message[name] as unknown as Row<K>
  const options = data === undefined ? {} : { data: [data] }
  const reply = await connection.call(row.number, row.request.encode(body), options)
  return row.reply.decode(reply.body, name)
}

export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'OK'
  } catch (error) {
    if (isDfsError(error)) return error.code
    throw error
  }
}

/** Chunkservers cs1 .. csN and the master, all joined. */
export class Cluster {
  readonly world: SimWorld
  readonly master: FakeMaster
  readonly nodes = new Map<number, Chunkserver>()
  readonly #connections: Connection[] = []

  constructor(world: SimWorld) {
    this.world = world
    this.master = new FakeMaster(world.machine('master').io)
  }

  async start(count: number): Promise<void> {
    await this.master.listen()
    for (let number = 1; number <= count; number++) await this.startNode(number)
  }

  /** Starts (again) chunkserver `number` on its machine and waits until it has joined. */
  async startNode(number: number, over: Partial<ChunkserverOptions> = {}): Promise<Chunkserver> {
    const machine = this.world.machine(`cs${number}`)
    const before = this.master.joined.get(number)?.connection
    const node = await startChunkserver({
      io: machine.io,
      logger: machine.log,
      onBug: (error) => this.world.fail(error),
      options: {
        directories: ['/d0'],
        masters: [parseAddress('master:9000')!],
        listen: { host: `cs${number}`, port: 7000 },
        reserveBytes: 0,
        ...over,
      },
    })
    this.nodes.set(number, node)
    await this.world.until(`cs${number} joins`, () => {
      const { connection } = this.master.joined.get(number) ?? {}
      return connection !== undefined && connection !== before && node.status().isJoined
    })
    return node
  }

  /** An allocation on the first directories of these servers, in this order. */
  allocation(handle: ChunkHandle, servers: readonly number[], over: Partial<Allocation> = {}): Allocation {
    return {
      handle,
      version: 1,
      logIndex: 50,
      chunkBytes: 8 * MiB,
      shared: false,
      leaseMs: 10_000,
      members: servers.map((server) => {
        const { facts } = this.master.joined.get(server)!
        const { directory, life } = facts.directories[0]!
        return { server: server as ServerId, directory, life, address: facts.address }
      }),
      ...over,
    }
  }

  /** A client's connection to a chunkserver. */
  async connect(server: number, from = 'client'): Promise<Connection> {
    const { io } = this.world.machine(from)
    const dial = {
      clock: io.clock,
      network: io.network,
      hello: () => hello('client', { cluster: CLUSTER }),
      expect: { roles: ['chunkserver' as const] },
      onBug: (error: unknown) => this.world.fail(error),
    }
    const connection = await connect(dial, { host: `cs${server}`, port: 7000 } satisfies Address, 3000)
    this.#connections.push(connection)
    return connection
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.close()
    for (const node of this.nodes.values()) await node.close()
  }
}

/** Opens a chunk and pushes `pieces` pieces of `bytes`, all in flight; each is what `bytesAt(seed, …)` says. */
export function openChunk(connection: Connection, allocation: Allocation): Promise<unknown> {
  return ask(connection, 'openChunk', { clusterId: CLUSTER, allocation })
}

/** Reads a range and proves it: the blocks' checksums against the bytes. */
export async function readRange(
  connection: Connection,
  handle: ChunkHandle,
  offset: number,
  length: number,
): Promise<Buffer> {
  const parts: Buffer[] = []
  for (let at = offset; at < offset + length; ) {
    const want = { handle, version: 1, offset: at, length: Math.min(PIECE_BYTES, offset + length - at) }
    const reply = await connection.call(Message.read.number, Message.read.request.encode(want))
    const found = Message.read.reply.decode(reply.body, 'read')
    const data = reply.data!
    const sums = Buffer.from(found.checksums)
    for (let block = 0; block * 4096 < data.length; block++) {
      const bytes = data.subarray(block * 4096, Math.min((block + 1) * 4096, data.length))
      if (crc32(bytes) !== sums.readUInt32LE(4 * block)) throw new Error(`block ${block} does not match its checksum`)
    }
    const part = data.subarray(at - found.offset, offset + length - found.offset)
    parts.push(part)
    at += part.length
  }
  return Buffer.concat(parts)
}

export const WRITER = 77 as SessionId
