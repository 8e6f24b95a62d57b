// A client on the host of a chunkserver: it reads that server's replicas straight from their files. It dies with its
// machine, and is there again soon after the server is.

import { Client } from '../../../src/client/client.ts'
import { formatAddress } from '../../../src/io/network.ts'
import type { SimProcess } from '../machine.ts'
import type { SimChunkserver, SimCluster } from '../sim-cluster.ts'
import type { SimWorld } from '../world.ts'
import type { FileLoad } from './files.ts'
import type { SwarmPlan } from './plan.ts'
import { ReadLoad } from './readers.ts'
import { mustBeMisfortune } from './violation.ts'

const AWAY_MS = 300

export class NearReadLoad {
  readonly #world: SimWorld
  readonly #cluster: SimCluster
  readonly #server: SimChunkserver
  readonly #plan: SwarmPlan
  readonly #loads: readonly FileLoad[]
  #current: ReadLoad | undefined
  #isStopped = false
  /** Of lives that are over. */
  #done = 0

  constructor(
    world: SimWorld,
    cluster: SimCluster,
    server: SimChunkserver,
    plan: SwarmPlan,
    loads: readonly FileLoad[],
  ) {
    this.#world = world
    this.#cluster = cluster
    this.#server = server
    this.#plan = plan
    this.#loads = loads
  }

  get done(): number {
    return this.#done + (this.#current?.done ?? 0)
  }

  set isStopped(value: boolean) {
    this.#isStopped = value
    if (this.#current !== undefined) this.#current.isStopped = value
  }

  async run(): Promise<void> {
    this.#isStopped = false
    while (!this.#isStopped) {
      if (this.#server.isRunning) {
        const process = this.#server.machine.spawn()
        const died = new Promise<void>((resolve) => process.onDeath(resolve))
        await Promise.race([this.#live(process), died])
        this.#done = this.done
        this.#current = undefined
      }
      await this.#world.sleep(AWAY_MS)
    }
  }

  async #live(process: SimProcess): Promise<void> {
    let client: Client
    try {
      client = await Client.connect(process, {
        masters: formatAddress(this.#cluster.master.address),
        timeoutMs: this.#plan.clientTimeoutMs,
        onBug: (error) => this.#world.fail(error),
      })
    } catch (error) {
      mustBeMisfortune('connecting a near reader', error)
      process.kill()
      return
    }
    if (!this.#isStopped) {
      this.#current = new ReadLoad(this.#world, client, this.#plan, this.#loads)
      await this.#current.run()
    }
    // The process stays, so that what the client left behind is found at the end.
    client.close()
  }
}
