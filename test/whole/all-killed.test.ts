// Every chunkserver gone at the same instant under load, with or without the master, and started again one after the
// other: files and records can be written within 5 s of the last start. What is measured is virtual time, so these are
// the waits that the product chose, without what a machine takes to carry them out.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Client } from '../../src/client/client.ts'
import { simSeeds, swarmOptions } from '../sim/options.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

const WRITABLE_MS_MAX = 5000
/** All kinds of writing that go on when everything dies. */
const LOAD_MS = 1500

/** Writes until `isOver`; what fails is not this test's matter. */
async function load(world: SimWorld, client: Client, name: string, isOver: () => boolean): Promise<void> {
  const appender = await client.openAppender('/records', { sync: true })
  for (let count = 0; !isOver(); count++) {
    const work = [
      client.writeFile(`/${name}-small`, Buffer.alloc(500, count), { overwrite: true }),
      client.writeFile(`/${name}-large`, Buffer.alloc(300_000, count), { overwrite: true }),
      appender.append(Buffer.alloc(200, count)),
    ]
    for (const result of await Promise.allSettled(work)) {
      if (result.status === 'rejected' && result.reason?.name !== 'DfsError') throw result.reason
    }
    await world.sleep(world.random.below(200))
  }
  await appender.close()
}

/** @returns virtual milliseconds from the last start until everything can be written */
function run(seed: number): Promise<number> {
  // Single bytes are what the tests of the connection are for.
  const world = new SimWorld(swarmOptions(seed, { network: { chunking: 'coarse' } }))
  return world.run(async () => {
    const cluster = new SimCluster(world, 4)
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 20_000 })
    await client.writeFile('/records', new Uint8Array(0))
    let isOver = false
    const work = Promise.all(['a', 'b'].map((name) => load(world, client, name, () => isOver)))
    await world.sleep(world.random.below(LOAD_MS))
    const withPower = world.random.chance(0.5)
    for (const chunkserver of cluster.chunkservers) chunkserver.crash(withPower)
    const withMaster = world.random.chance(0.5)
    if (withMaster) {
      cluster.master.crash(withPower)
      await world.sleep(world.random.below(2000))
      await cluster.master.restart()
    }
    // Long enough now and then that the master has taken them for dead.
    const apartMs = world.random.pick([0, 500, 5000])
    await Promise.all(
      cluster.chunkservers.map(async (chunkserver) => {
        await world.sleep(world.random.below(apartMs + 1))
        await chunkserver.restart()
      }),
    )
    const startedMs = world.nowMs
    const fresh = await cluster.client({ timeoutMs: 60_000 })
    await fresh.writeFile('/small', Buffer.from('small'))
    await fresh.writeFile('/large', Buffer.alloc(300_000, 'large'))
    for (const path of ['/fresh', '/records']) {
      const appender = await fresh.openAppender(path, { create: true })
      await appender.append(Buffer.from('record'))
      await appender.close()
    }
    const writableMs = world.nowMs - startedMs
    isOver = true
    await work
    return writableMs
  })
}

test('every chunkserver killed under load and started again: writable within 5 s of the last start', async () => {
  const all: number[] = []
  for (const seed of simSeeds(12)) {
    const writableMs = await run(seed)
    assert.ok(writableMs <= WRITABLE_MS_MAX, `seed ${seed}: writable only after ${Math.round(writableMs)} ms`)
    all.push(writableMs)
  }
  all.sort((a, b) => a - b)
  console.log(`  writable after ${Math.round(all[all.length >> 1]!)} ms, ${Math.round(all.at(-1)!)} ms at most`)
})

test.run()
