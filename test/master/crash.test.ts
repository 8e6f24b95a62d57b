// The master dies under load, at any moment, with and without power.
//
// Method: three sessions make, rename and remove names of their own without pause and keep a plain model of what was
// answered. The master is killed at random events and started again. At the end every answered change is there, no
// half of an unanswered one, and no retry was applied twice (a second `makeDirectory` of the same request would have
// been refused as ALREADY_EXISTS). The same runs on disks for which a sync is nothing must find a loss.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import type { Random } from '../../src/base/random.ts'
import { simSeeds, swarmOptions } from '../sim/options.ts'
import { RawClient } from '../sim/raw-client.ts'
import { SimMaster } from '../sim/sim-master.ts'
import { SimWorld } from '../sim/world.ts'

const CRASHES = 4
const inode = { mode: 0o755, owner: '', group: '', goal: 0 }

class Violation extends Error {}

/** One session's load: a plain set of the names it should have, and how many more changes it may make. */
class Load {
  readonly names = new Set<string>()
  readonly #client: RawClient
  readonly #directory: string
  readonly #random: Random
  #count = 0
  isStopped = false

  constructor(client: RawClient, directory: string, random: Random) {
    this.#client = client
    this.#directory = directory
    this.#random = random
  }

  async run(): Promise<void> {
    await this.#expect(this.#client.change('makeDirectory', { path: this.#directory, parents: false, inode }))
    while (!this.isStopped) await this.#step()
  }

  async #step(): Promise<void> {
    const kind = this.#random.below(4)
    const existing = [...this.names]
    if (kind <= 1 || existing.length === 0) {
      const name = `${this.#directory}/n${this.#count++}`
      const call =
        kind === 0
          ? this.#client.change('makeDirectory', { path: name, parents: false, inode })
          : this.#client.change('putFile', {
              publish: { path: name, overwrite: false },
              inode,
              extents: [],
              mtimeMs: 0,
            })
      await this.#expect(call)
      this.names.add(name)
    } else if (kind === 2) {
      const from = this.#random.pick(existing)
      const to = `${this.#directory}/r${this.#count++}`
      await this.#expect(this.#client.change('rename', { from, to, overwrite: false }))
      this.names.delete(from)
      this.names.add(to)
    } else {
      const path = this.#random.pick(existing)
      await this.#expect(this.#client.change('remove', { path, what: 'tree', now: false }))
      this.names.delete(path)
    }
  }

  /** Every change of this load is valid, so a refusal means that something was lost or done twice. */
  async #expect(call: Promise<unknown>): Promise<void> {
    try {
      await call
    } catch (error) {
      if (isDfsError(error)) throw new Violation(`${error.code}: ${error.message}`)
      throw error
    }
  }

  async check(): Promise<void> {
    const found = new Set<string>()
    for (let after: string | undefined; ; ) {
      const request = { path: this.#directory, after, limit: 1000 }
      const { entries, more } = await this.#client.until(() => this.#client.ask('list', request))
      for (const { name } of entries) found.add(`${this.#directory}/${name}`)
      after = entries.at(-1)?.name
      if (!more) break
    }
    const lost = [...this.names].filter((name) => !found.has(name))
    const extra = [...found].filter((name) => !this.names.has(name))
    if (lost.length > 0 || extra.length > 0) throw new Violation(`lost ${lost}; never acknowledged ${extra}`)
  }
}

interface Kind {
  readonly power: boolean
  readonly syncIsNothing?: boolean
}

async function run(seed: number, { power, syncIsNothing = false }: Kind): Promise<{ checksum: number; names: number }> {
  const options = swarmOptions(seed)
  const world = new SimWorld({ ...options, disk: { ...options.disk, syncIsNothing } })
  return world.run(async () => {
    // Checkpoints every few records, so that crashes fall into them as well.
    const master = new SimMaster(world, { checkpointEveryBytes: 4096 })
    await master.start()
    const loads = [1, 2, 3].map((number) => {
      const client = new RawClient(world.machine(`client-${number}`).io, master.address)
      return new Load(client, `/s${number}`, world.random.fork())
    })
    const running = Promise.all(loads.map((load) => load.run()))
    running.catch(() => {
      // Awaited below; a violation may come before.
    })
    for (let crash = 0; crash < CRASHES; crash++) {
      await new Promise<void>((resolve) => world.afterEvents(50 + world.random.below(1500), resolve))
      master.crash(power)
      await world.sleep(world.random.below(200))
      await master.restart()
    }
    for (const load of loads) load.isStopped = true
    await running
    for (const load of loads) await load.check()
    await master.node?.close()
    return { checksum: world.traceChecksum, names: loads.reduce((sum, load) => sum + load.names.size, 0) }
  })
}

const seeds = simSeeds(200)

test(`kill -9 under load, ${seeds.length} seeds: every acknowledged change is there, retries happen once`, async () => {
  let names = 0
  for (const seed of seeds) names += (await run(seed, { power: seed % 2 === 0 })).names
  assert.ok(names > seeds.length, 'the load did something')
})

test('a master whose disk forgets everything in spite of its syncs is found out', async () => {
  let found = 0
  for (let seed = 1; seed <= 10; seed++) {
    try {
      await run(seed, { power: true, syncIsNothing: true })
    } catch {
      found++
    }
  }
  assert.ok(found >= 9, `${found} of 10 runs without any sync lost something that was noticed`)
})

test('two runs of a seed have the same trace', async () => {
  for (const seed of [3, 4]) {
    const [one, two] = [await run(seed, { power: true }), await run(seed, { power: true })]
    assert.is(one.checksum, two.checksum)
  }
})

test.run()
