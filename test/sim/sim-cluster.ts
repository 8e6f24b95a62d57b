// A whole cluster in the simulated world: one master, some chunkservers, clients with the real library.

import { type Chunkserver, type ChunkserverOptions, startChunkserver } from '../../src/chunkserver/node.ts'
import { Client } from '../../src/client/client.ts'
import type { ClientOptions } from '../../src/client/options.ts'
import { formatAddress } from '../../src/io/network.ts'
import type { MasterOptions } from '../../src/master/node.ts'
import type { SimMachine } from './machine.ts'
import { SimMaster } from './sim-master.ts'
import type { SimWorld } from './world.ts'

export const CHUNKSERVER_PORT = 7500

export class SimChunkserver {
  readonly machine: SimMachine
  readonly #world: SimWorld
  readonly #master: SimMaster
  readonly #options: Partial<ChunkserverOptions>
  node: Chunkserver | undefined
  /** '': it has no name. */
  rack = ''
  /** '': it has no name. */
  zone = ''

  constructor(world: SimWorld, name: string, master: SimMaster, options: Partial<ChunkserverOptions> = {}) {
    this.machine = world.machine(name)
    this.#world = world
    this.#master = master
    this.#options = options
  }

  async start(directories: readonly string[] = ['/data']): Promise<Chunkserver> {
    this.node = await startChunkserver({
      io: this.machine.io,
      logger: this.machine.log,
      onBug: (error) => this.#world.fail(error),
      options: {
        directories,
        masters: [this.#master.address],
        listen: { host: this.machine.name, port: CHUNKSERVER_PORT },
        reserveBytes: 0,
        rack: this.rack,
        zone: this.zone,
        ...this.#options,
      },
    })
    return this.node
  }

  crash(power: boolean): void {
    this.node = undefined
    this.machine.crash({ power })
  }

  restart(): Promise<Chunkserver> {
    this.machine.restart()
    return this.start()
  }

  get isRunning(): boolean {
    return this.node !== undefined
  }
}

export class SimCluster {
  readonly world: SimWorld
  readonly master: SimMaster
  readonly chunkservers: readonly SimChunkserver[]
  #clientCount = 0

  constructor(
    world: SimWorld,
    chunkserverCount: number,
    options: Partial<MasterOptions> = {},
    chunkserverOptions: Partial<ChunkserverOptions> = {},
  ) {
    this.world = world
    this.master = new SimMaster(world, { chunkBytes: 256 * 1024, ...options })
    this.chunkservers = Array.from(
      { length: chunkserverCount },
      (_, index) => new SimChunkserver(world, `cs-${index + 1}`, this.master, chunkserverOptions),
    )
  }

  /** Starts everything and waits until each chunkserver has joined. */
  async start(): Promise<void> {
    await this.master.start()
    await Promise.all(this.chunkservers.map((chunkserver) => chunkserver.start()))
    await this.world.until('all chunkservers have joined', () =>
      this.chunkservers.every((chunkserver) => chunkserver.node?.status().isJoined),
    )
  }

  /** A library client on a machine of its own. */
  client(options: Partial<ClientOptions> = {}): Promise<Client> {
    const machine = this.world.machine(`client-${++this.#clientCount}`)
    return Client.connect(machine.io, {
      masters: formatAddress(this.master.address),
      onBug: (error) => this.world.fail(error),
      ...options,
    })
  }
}
