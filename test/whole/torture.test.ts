// deadline: 300 s
//
// Whole clusters under everything at once: clients write, append, overwrite, cut, join, copy, rename, remove and read
// files of their own while chunkservers and the master die (with and without power), machines freeze, and connections
// break, stall and are partitioned. No disk is lost, so nothing that was acknowledged may be.
//
// Method: each client keeps the plain bytes of its files (byte-model.ts); an operation whose outcome is unknown leaves
// two possible contents. After the faults everything is healed, every file is read and compared, and the cluster must
// take a write again. `SIM_SEED=N` repeats one run.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import type { Random } from '../../src/base/random.ts'
import type { Client } from '../../src/client/client.ts'
import { ByteModel } from '../sim/byte-model.ts'
import { simSeeds, swarmOptions } from '../sim/options.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

const FAULTY_MS = 15_000

class Violation extends Error {}

/** One client's load over files of its own. */
class Load {
  readonly model = new ByteModel()
  readonly #client: Client
  readonly #directory: string
  readonly #random: Random
  readonly #pause: () => Promise<void>
  #count = 0
  isStopped = false
  done = 0
  failed = 0

  /** @param pause  between two operations, so that the faults fall among not too many */
  constructor(client: Client, directory: string, random: Random, pause: () => Promise<void>) {
    this.#pause = pause
    this.#client = client
    this.#directory = directory
    this.#random = random
  }

  async run(): Promise<void> {
    await this.#client.makeDirectory(this.#directory, { parents: true })
    while (!this.isStopped) {
      try {
        await this.#step()
        this.done++
      } catch (error) {
        if (!isDfsError(error)) throw error
        this.failed++
        this.#trace(`failed ${error.code} ${error.message}`)
      }
      await this.#pause()
    }
  }

  #trace(what: string): void {
    if (process.env.TRACE) console.log(what)
  }

  async #step(): Promise<void> {
    const paths = this.model.paths.filter((path) => this.model.content(path) !== undefined)
    const kind = this.#random.below(10)
    if (kind <= 2 || paths.length === 0) return this.#write()
    const path = this.#random.pick(paths)
    const bytes = this.model.content(path)!
    switch (kind) {
      case 3:
        return this.#append(path, bytes)
      case 4:
        return this.#writeAt(path, bytes)
      case 5: {
        const size = this.#random.below(bytes.length + 5000)
        const after = Buffer.alloc(size)
        bytes.copy(after)
        return this.#change(path, after, () => this.#client.truncate(path, size))
      }
      case 6:
        return this.#copy(path, bytes)
      case 7:
        return this.#move(path, bytes)
      case 8:
        return this.#remove(path)
      default:
        return this.#read(path)
    }
  }

  #bytes(): Buffer {
    const kind = this.#random.below(10)
    const most = kind < 5 ? 2000 : kind < 9 ? 40_000 : 400_000
    return this.#random.bytes(this.#random.below(most))
  }

  #newPath(): string {
    return `${this.#directory}/f${this.#count++}`
  }

  /** A change of one file: the new content when it is answered, either one when its outcome is unknown. */
  async #change(path: string, after: Buffer, call: () => Promise<unknown>): Promise<void> {
    try {
      await call()
      this.#trace(`set ${path} ${after.length}`)
      this.model.set(path, after)
    } catch (error) {
      this.#trace(`maySet ${path} ${after.length} ${error}`)
      this.model.maySet(path, after)
      throw error
    }
  }

  #write(): Promise<void> {
    const path =
      this.#random.chance(0.3) && this.model.paths.length > 0 ? this.#random.pick(this.model.paths) : this.#newPath()
    const bytes = this.#bytes()
    return this.#change(path, bytes, () => this.#client.writeFile(path, bytes, { overwrite: true }))
  }

  #append(path: string, bytes: Buffer): Promise<void> {
    const more = this.#bytes()
    return this.#change(path, Buffer.concat([bytes, more]), () => this.#client.append(path, more))
  }

  #writeAt(path: string, bytes: Buffer): Promise<void> {
    const offset = this.#random.below(bytes.length + 2000)
    const piece = this.#random.bytes(1 + this.#random.below(10_000))
    const after = Buffer.alloc(Math.max(bytes.length, offset + piece.length))
    bytes.copy(after)
    piece.copy(after, offset)
    return this.#change(path, after, () => this.#client.writeAt(path, offset, piece))
  }

  async #copy(path: string, bytes: Buffer): Promise<void> {
    const to = this.#newPath()
    try {
      await this.#client.copy(path, to)
      this.#trace(`copy ${path} ${to}`)
      this.model.set(to, bytes)
    } catch (error) {
      this.#uncertain.add(to)
      throw error
    }
  }

  async #move(path: string, bytes: Buffer): Promise<void> {
    const to = this.#newPath()
    try {
      await this.#client.rename(path, to)
      this.#trace(`rename ${path} ${to}`)
      this.model.delete(path)
      this.model.set(to, bytes)
    } catch (error) {
      // It is here or there.
      this.#forget(path)
      this.#uncertain.add(to)
      throw error
    }
  }

  async #remove(path: string): Promise<void> {
    try {
      await this.#client.remove(path)
      this.#trace(`remove ${path}`)
      this.model.delete(path)
    } catch (error) {
      this.#forget(path)
      throw error
    }
  }

  async #read(path: string): Promise<void> {
    const found = await this.#client.readFile(path)
    const fault = this.model.fault(path, found)
    if (fault) throw new Violation(fault)
  }

  /** Paths that may be there or not, with content that other rules check. */
  readonly #uncertain = new Set<string>()

  #forget(path: string): void {
    this.#uncertain.add(path)
    this.model.delete(path)
  }

  /** Every file that must be there is, with the bytes it must have; no other file is. */
  async check(client: Client): Promise<number> {
    let checked = 0
    const found = new Set<string>()
    for await (const { name } of client.listAll(this.#directory)) found.add(`${this.#directory}/${name}`)
    for (const path of this.model.paths) {
      if (!found.has(path)) {
        if (!this.model.mayBeMissing(path)) throw new Violation(`${path} was acknowledged and is gone`)
        continue
      }
      const fault = this.model.fault(path, await client.readFile(path))
      if (fault) throw new Violation(fault)
      checked++
    }
    for (const path of found)
      if (!this.model.paths.includes(path) && !this.#uncertain.has(path))
        throw new Violation(`${path} should not be there`)
    return checked
  }
}

/** Faults until `untilMs`; whatever is broken is mended by `heal`. */
class Faults {
  readonly #world: SimWorld
  readonly #cluster: SimCluster
  readonly #random: Random

  constructor(world: SimWorld, cluster: SimCluster) {
    this.#world = world
    this.#cluster = cluster
    this.#random = world.random.fork()
  }

  async run(untilMs: number): Promise<void> {
    while (this.#world.nowMs < untilMs) {
      await this.#world.sleep(200 + this.#random.below(2500))
      await this.#one()
    }
  }

  async #one(): Promise<void> {
    const random = this.#random
    const { chunkservers, master } = this.#cluster
    const server = random.pick(chunkservers)
    const peers = [...chunkservers.map(({ machine }) => machine.name), 'master', 'client-1', 'client-2']
    switch (random.below(8)) {
      case 0:
      case 1:
        server.crash(random.chance(0.5))
        await this.#world.sleep(random.below(4000))
        await server.restart()
        return
      case 2:
        master.crash(random.chance(0.5))
        await this.#world.sleep(random.below(2000))
        await master.restart()
        return
      case 3:
        for (const each of chunkservers) each.crash(true)
        await this.#world.sleep(random.below(1000))
        await Promise.all(chunkservers.map((each) => each.restart()))
        return
      case 4:
        server.machine.pauseMachine()
        await this.#world.sleep(random.below(6000))
        server.machine.resume()
        return
      case 5: {
        const [a, b] = [random.pick(peers), random.pick(peers)]
        if (a === b) return
        this.#world.network.partition(a, b, { oneWay: random.chance(0.3) })
        await this.#world.sleep(random.below(4000))
        this.#world.network.heal(a, b)
        return
      }
      case 6:
        this.#world.network.cutAfter(random.pick(peers), server.machine.name, 1 + random.below(200_000))
        return
      default:
        this.#world.network.cut(random.pick(peers), server.machine.name)
    }
  }
}

async function run(seed: number): Promise<{ checked: number; done: number; failed: number; checksum: number }> {
  const world = new SimWorld({ ...swarmOptions(seed), eventsMax: 600_000 })
  return world.run(async () => {
    const cluster = new SimCluster(world, 3 + world.random.below(3), {
      deadAfterMs: 3000,
      checkpointEveryBytes: 20_000,
      chunkBytes: 128 * 1024,
      ...(world.random.chance(0.5) && { minReplicas: 1 + world.random.below(3) }),
    })
    await cluster.start()
    const loads: Load[] = []
    for (let i = 0; i < 3; i++) {
      const client = await cluster.client({ timeoutMs: 8000 })
      loads.push(new Load(client, `/c${i}`, world.random.fork(), () => world.sleep(50)))
    }
    const running = Promise.all(loads.map((load) => load.run()))
    running.catch((error: unknown) => world.fail(error))
    await new Faults(world, cluster).run(world.nowMs + FAULTY_MS)
    world.network.healFaults()
    for (const load of loads) load.isStopped = true
    await running
    const reader = await cluster.client({ timeoutMs: 90_000 })
    let checked = 0
    for (const load of loads) checked += await load.check(reader)
    await reader.writeFile('/still-writable', Buffer.from('yes'), { overwrite: true })
    reader.close()
    const [done, failed] = [
      loads.reduce((sum, load) => sum + load.done, 0),
      loads.reduce((sum, load) => sum + load.failed, 0),
    ]
    return { checked, done, failed, checksum: world.traceChecksum }
  })
}

const seeds = simSeeds(Number(process.env.SIM_COUNT ?? 12))

test(`clusters under everything at once, ${seeds.length} seeds: no acknowledged byte is lost, no wrong one is read`, async () => {
  let done = 0
  for (const seed of seeds) {
    const result = await run(seed)
    done += result.done
    if (process.env.SIM_COUNT) console.log(seed, JSON.stringify(result))
  }
  assert.ok(done > seeds.length * 20, `${done} operations were done`)
})

test('two runs of a seed have the same trace', async () => {
  const [one, two] = [await run(7), await run(7)]
  assert.is(one.checksum, two.checksum)
})

test.run()
