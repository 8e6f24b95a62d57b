// The worlds that the contract of the ports is checked in: the real one, and the simulated one for several seeds.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Io } from '../../src/io/io.ts'
import { nodeIo } from '../../src/io/node/io.ts'
import { swarmOptions } from '../sim/options.ts'
import { SimWorld } from '../sim/world.ts'

export interface PortsUnderTest {
  readonly io: Io
  /** Another process's ports, where that can be had in this one. */
  readonly other: Io
  /** An empty directory. */
  readonly directory: string
  readonly host: string
}

export interface WorldUnderTest {
  readonly name: string
  run(body: (ports: PortsUnderTest) => Promise<void>): Promise<void>
}

const real: WorldUnderTest = {
  name: 'real',
  async run(body) {
    const directory = mkdtempSync(join(tmpdir(), 'dfs-ports-'))
    // `after` keeps no process alive: a test that waits for one does.
    const alive = setInterval(() => {}, 1000)
    try {
      await body({ io: nodeIo(), other: nodeIo(), directory, host: '127.0.0.1' })
    } finally {
      clearInterval(alive)
      rmSync(directory, { recursive: true })
    }
  },
}

function simulated(seed: number): WorldUnderTest {
  return {
    name: `simulated, seed ${seed}`,
    async run(body) {
      const world = new SimWorld(swarmOptions(seed))
      const machine = world.machine('here')
      await world.run(async () => {
        await machine.io.disk.makeDirectory('/data/test')
        await body({ io: machine.io, other: machine.spawn(), directory: '/data/test', host: 'here' })
      })
      if (world.network.retainedBuffers !== 0)
        throw new Error(`${world.network.retainedBuffers} buffers are still kept`)
    },
  }
}

export const worldsUnderTest: readonly WorldUnderTest[] = [real, ...[1, 2, 3, 4, 5].map(simulated)]
