// A chunkserver: joins the parts and starts and stops them in order. No logic of its own.
//
//   check directories → learn the cluster (first start) → open directories → load chunks → listen → join

import { assert } from '../base/assert.ts'
import { DfsError, isDfsError } from '../base/errors.ts'
import { type ClusterId, formatServer, RANDOM_ID_MAX, type ServerId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import { GiB, SECOND_MS } from '../base/units.ts'
import type { Io } from '../io/io.ts'
import { type Address, formatAddress } from '../io/network.ts'
import { ConnectionPool } from '../rpc/pool.ts'
import { RpcServer } from '../rpc/server.ts'
import { type Hello, hello } from '../wire/hello.ts'
import type { DirectoryFacts } from '../wire/messages.ts'
import { ChunkStore } from './chunk-store.ts'
import { Cloner, cloneHandlers } from './cloner.ts'
import { type Counters, newCounters } from './counters.ts'
import type { DataDirectory } from './data-directory.ts'
import { directHandlers } from './direct.ts'
import { Gatherer, gatherHandlers } from './gatherer.ts'
import { HistoryGuard } from './history-guard.ts'
import { Inventory } from './inventory.ts'
import { learnCluster, MasterLink } from './master-link.ts'
import { type CheckedDirectories, checkDirectories, noteServerId, openDirectories } from './open-directories.ts'
import { Orders } from './orders.ts'
import { Scrubber, type ScrubCounters, scrubHandlers } from './scrubber.ts'
import { ChunkService } from './service.ts'
import { settled } from './settled.ts'

export interface ChunkserverOptions {
  /** Data directories, one a disk. */
  readonly directories: readonly string[]
  /** Every master of the cluster; at least one. */
  readonly masters: readonly Address[]
  readonly listen: Address
  /** `host:port` that others reach this server at; the listening address when left out. */
  readonly advertise?: string
  /** `host:port` of /healthz and /metrics, for the report; '' without. */
  readonly http?: string
  readonly zone?: string
  readonly rack?: string
  /** Kept free on each disk; 1 GiB when left out. */
  readonly reserveBytes?: number
  /** Bytes a second that the scrubber checks in each directory; 0 or left out: only when asked. */
  readonly scrubBytesPerSecond?: number
  readonly adoptEmpty?: boolean
  /** Whether clients on this host may read sealed chunks from the files themselves. True when left out. */
  readonly directReads?: boolean
  /** This program's version, and its process id, for people. */
  readonly version?: string
  readonly pid?: number
  /** Gives up a start that waits for a master. */
  readonly signal?: AbortSignal
}

export interface ChunkserverStatus {
  readonly clusterId: ClusterId
  /** 0 until the master has given one. */
  readonly server: ServerId | 0
  readonly address: string
  readonly isJoined: boolean
  readonly master: string | undefined
  readonly isMasterRolledBack: boolean
  readonly directories: readonly DirectoryFacts[]
  readonly replicas: number
  readonly growing: number
  readonly streams: number
  readonly queuedBytes: number
  /** What the scrubber has done since the start. */
  readonly scrub: ScrubCounters
}

export interface Chunkserver {
  /** Where it listens. */
  readonly address: Address
  readonly counters: Counters
  status(): ChunkserverStatus
  /**
   * Ends: tells the master (with `maintenance`), lets requests under way finish for a bounded time, makes what was
   * journalled durable, releases the directories.
   */
  close(how?: { readonly maintenance?: boolean }): Promise<void>
}

const EVERY_ADDRESS: ReadonlySet<string> = new Set(['0.0.0.0', '::', ''])
const LEARN_WAIT_MS = 500
const GRACE_MS = 5 * SECOND_MS
const FINAL_SYNC_MS = 10 * SECOND_MS

/**
 * Starts a chunkserver; resolves when it serves, which on the very first start needs a master. `onBug` gets what is no
 * fault of the world: the process should end. Throws LOCKED, WRONG_DISK, INVALID_ARGUMENT, DISK_FAILED, ABORTED.
 */
export async function startChunkserver(start: {
  readonly io: Io
  readonly logger: Logger
  readonly options: ChunkserverOptions
  readonly onBug: (error: unknown) => void
}): Promise<Chunkserver> {
  const { io, logger, options, onBug } = start
  if (options.masters.length === 0)
    throw new DfsError('INVALID_ARGUMENT', 'a chunkserver needs the address of a master')
  if (options.advertise === undefined && EVERY_ADDRESS.has(options.listen.host)) {
    const message = `listening at every address (${options.listen.host}): say with --advertise which one others use`
    throw new DfsError('INVALID_ARGUMENT', message)
  }
  const checked = await checkDirectories(io, {
    paths: options.directories,
    adoptEmpty: options.adoptEmpty ?? false,
    logger,
  })
  let directories: DataDirectory[] | undefined
  try {
    const clusterId = checked.clusterId ?? (await waitForCluster(start, checked))
    const node = new Node(start, checked, clusterId)
    directories = await openDirectories(io, checked, clusterId, {
      serverId: checked.serverId,
      reserveBytes: options.reserveBytes ?? GiB,
      logger,
      onFailed: (directory) => node.directoryFailed(directory),
    })
    await node.begin(directories)
    return node
  } catch (error) {
    for (const { lock } of checked.places) await lock.release()
    if (!isDfsError(error)) onBug(error)
    throw error
  }
}

async function waitForCluster(
  start: Parameters<typeof startChunkserver>[0],
  checked: CheckedDirectories,
): Promise<ClusterId> {
  const { io, logger, options, onBug } = start
  let told = ''
  for (;;) {
    try {
      const name = options.directories[0] ?? ''
      const id = await learnCluster({
        io,
        masters: options.masters,
        onBug,
        hello: () => hello('chunkserver', { name }),
      })
      return id as ClusterId
    } catch (error) {
      if (!isDfsError(error)) throw error
      if (error.code !== told) {
        logger.warn(
          { code: error.code, server: checked.server },
          `waiting for a master before the first start: ${error.message}`,
        )
      }
      told = error.code
    }
    await io.clock.sleep(LEARN_WAIT_MS, options.signal)
  }
}

class Node implements Chunkserver {
  readonly counters: Counters = newCounters()
  readonly #io: Io
  readonly #logger: Logger
  readonly #options: ChunkserverOptions
  readonly #checked: CheckedDirectories
  readonly #clusterId: ClusterId
  readonly #instance: number
  readonly #onBug: (error: unknown) => void
  readonly #inventory = new Inventory()
  readonly #store: ChunkStore
  readonly #pool: ConnectionPool
  #directories: readonly DataDirectory[] = []
  #serverId: ServerId | 0
  #service: ChunkService | undefined
  #guard: HistoryGuard | undefined
  #server: RpcServer | undefined
  #link: MasterLink | undefined
  #scrubber: Scrubber | undefined
  #closing: Promise<void> | undefined
  #measuring = false

  constructor(start: Parameters<typeof startChunkserver>[0], checked: CheckedDirectories, clusterId: ClusterId) {
    this.#io = start.io
    this.#logger = start.logger
    this.#options = start.options
    this.#onBug = start.onBug
    this.#checked = checked
    this.#clusterId = clusterId
    this.#serverId = checked.serverId
    this.#instance = 1 + start.io.entropy.below(RANDOM_ID_MAX)
    this.#store = new ChunkStore({
      io: start.io,
      clusterId,
      logger: start.logger,
      counters: this.counters,
      onChange: (replica) => {
        this.#inventory.changed(replica.facts())
        if (replica.state === 'corrupt') this.#link?.urgent()
      },
    })
    this.#pool = new ConnectionPool({
      clock: start.io.clock,
      network: start.io.network,
      entropy: start.io.entropy,
      hello: () => this.#hello(),
      expect: { roles: ['chunkserver'] },
      onBug: start.onBug,
    })
  }

  get address(): Address {
    return this.#server!.address
  }

  /** Loads, listens, and begins to talk to the master. */
  async begin(directories: readonly DataDirectory[]): Promise<void> {
    const { clock, network } = this.#io
    this.#directories = directories
    for (const directory of directories) await this.#load(directory)
    const guard = new HistoryGuard(this.#store.allocationIndexMax)
    const service = new ChunkService({ store: this.#store, guard, pool: this.#pool, clock })
    const cloner = new Cloner({ store: this.#store, pool: this.#pool, clock, logger: this.#logger })
    const gatherer = new Gatherer({ store: this.#store, pool: this.#pool, clock, logger: this.#logger })
    const check: typeof service.checkMaster = (request, history) => service.checkMaster(request, history)
    const scrubber = new Scrubber(
      {
        clock,
        store: this.#store,
        logger: this.#logger,
        bytesPerSecond: this.#options.scrubBytesPerSecond ?? 0,
        streams: () => service.streams,
        onBug: this.#onBug,
      },
      directories,
    )
    const handlers = new Map([
      ...service.handlers,
      ...cloneHandlers(cloner, this.#store, check),
      ...gatherHandlers(gatherer, check),
      ...scrubHandlers(scrubber),
      ...directHandlers(this.#store, this.#options.directReads ?? true),
    ])
    this.#scrubber = scrubber
    this.#guard = guard
    this.#service = service
    this.#server = await RpcServer.listen(network, this.#options.listen, {
      clock,
      hello: () => this.#hello(),
      expect: { roles: ['client', 'chunkserver'] },
      handlers,
      onBug: this.#onBug,
      onClose: (connection) => service.closed(connection),
    })
    this.#link = new MasterLink({
      io: this.#io,
      logger: this.#logger,
      masters: this.#options.masters,
      hello: () => this.#hello(),
      handlers,
      onBug: this.#onBug,
      inventory: this.#inventory,
      orders: new Orders(this.#store, guard, this.#logger),
      guard,
      counters: this.counters,
      joinFacts: () => this.#joinFacts(),
      directories: () => this.#facts(),
      load: () => ({ streams: service.streams, queuedBytes: service.queuedBytes }),
      replicas: () => this.#store.replicas,
      onJoined: (server) => this.#joined(server),
    })
    this.#link.start()
    scrubber.start()
  }

  status(): ChunkserverStatus {
    const master = this.#link!.master
    return {
      clusterId: this.#clusterId,
      server: this.#serverId,
      address: this.#advertised(),
      isJoined: this.#link!.isJoined,
      master: master && formatAddress(master),
      isMasterRolledBack: this.#guard!.isRolledBack,
      directories: this.#directories.map((directory) => directory.facts()),
      replicas: this.#store.replicaCount,
      growing: this.#store.growingCount,
      streams: this.#service!.streams,
      queuedBytes: this.#service!.queuedBytes,
      scrub: this.#scrubber!.counters,
    }
  }

  close(how: { readonly maintenance?: boolean } = {}): Promise<void> {
    this.#closing ??= this.#close(how.maintenance ?? false)
    return this.#closing
  }

  /** Its replicas are gone for the master; the server goes on with the others. */
  directoryFailed(directory: DataDirectory): void {
    for (const replica of this.#store.replicas) {
      if (replica.directory === directory) this.#inventory.changed(replica.facts())
    }
    this.#link?.urgent()
  }

  async #close(maintenance: boolean): Promise<void> {
    const { clock } = this.#io
    await this.#link?.close(maintenance)
    await this.#server?.close(GRACE_MS)
    await this.#scrubber?.close()
    const ends = [...this.#store.replicas].map((replica) => replica.growing && settled(replica.growing.end()))
    await Promise.race([Promise.all(ends), clock.sleep(FINAL_SYNC_MS)])
    this.#pool.close()
    this.#store.files.close()
    for (const directory of this.#directories) await directory.close()
  }

  /** A directory that can't be listed has failed; the others serve. */
  async #load(directory: DataDirectory): Promise<void> {
    try {
      await this.#store.load(directory)
      this.#logger.info(
        { path: directory.path, chunks: directory.chunkCount, bytes: directory.usedBytes },
        `${directory.path}: ${directory.chunkCount} chunks`,
      )
    } catch (error) {
      if (!isDfsError(error)) throw error
      directory.onDiskError(error)
      if (directory.failure === undefined) throw error
    }
  }

  async #joined(server: ServerId): Promise<void> {
    if (server === this.#serverId) return
    if (this.#serverId !== 0) {
      this.#logger.warn({ server, before: this.#serverId }, `the master calls this server ${formatServer(server)} now`)
    }
    this.#serverId = server
    const directories = this.#directories.filter((directory) => directory.failure === undefined)
    try {
      await noteServerId(this.#io, directories, server)
    } catch (error) {
      if (!isDfsError(error)) throw error
      // A full disk must not keep the server out: the master knows it by its identity.
      const message = `the number ${formatServer(server)} could not be noted: ${error.message}`
      this.#logger.warn({ code: error.code, server }, message)
    }
  }

  #hello(): Hello {
    return hello('chunkserver', {
      cluster: this.#clusterId,
      server: this.#serverId,
      instance: this.#instance,
      name: this.#serverId === 0 ? (this.#options.directories[0] ?? '') : formatServer(this.#serverId),
    })
  }

  /** The directories as they are; the room is asked for in the background: a hanging disk must not hold up heartbeats. */
  #facts(): readonly DirectoryFacts[] {
    if (!this.#measuring) {
      this.#measuring = true
      Promise.all(this.#directories.map((directory) => directory.measure())).then(
        () => {
          this.#measuring = false
        },
        (error: unknown) => this.#onBug(error),
      )
    }
    return this.#directories.map((directory) => directory.facts())
  }

  #joinFacts() {
    const { http, zone, rack, version, pid } = this.#options
    return {
      identity: this.#checked.server,
      server: this.#serverId,
      address: this.#advertised(),
      http: http ?? '',
      zone: zone ?? '',
      rack: rack ?? '',
      directories: this.#facts(),
      version: version ?? '',
      pid: pid ?? 0,
    }
  }

  #advertised(): string {
    const { advertise } = this.#options
    if (advertise !== undefined) return advertise
    assert(this.#server !== undefined, 'the address is known once it listens')
    return formatAddress(this.#server.address)
  }
}
