// A master on a machine of the simulated world, started again after each crash.

import type { Address } from '../../src/io/network.ts'
import { type MasterNode, type MasterOptions, startMaster } from '../../src/master/node.ts'
import type { SimMachine } from './machine.ts'
import type { SimWorld } from './world.ts'

export const MASTER_PORT = 7400

export class SimMaster {
  readonly machine: SimMachine
  readonly address: Address
  readonly #options: Partial<MasterOptions>
  node: MasterNode | undefined
  /** Called when the running master had to give up: a failed sync. */
  onFailed: () => void = () => {}

  constructor(world: SimWorld, options: Partial<MasterOptions> = {}, name = 'master') {
    this.machine = world.machine(name)
    this.address = { host: name, port: MASTER_PORT }
    this.#options = options
  }

  async start(): Promise<MasterNode> {
    const node = await startMaster(this.machine.io, this.machine.log, {
      data: '/data',
      listen: this.address,
      ...this.#options,
    })
    this.node = node
    node.failed.then(() => {
      if (this.node === node) this.onFailed()
    })
    return node
  }

  /** Ends the process at once; `power`: the disk forgets what was not synced. */
  crash(power: boolean): void {
    this.node = undefined
    this.machine.crash({ power })
  }

  restart(): Promise<MasterNode> {
    this.machine.restart()
    return this.start()
  }
}
