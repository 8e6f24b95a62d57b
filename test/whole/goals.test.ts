// Goals of small files, which share chunks: what was raised comes down again when no file wants it any more.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../../src/base/units.ts'
import type { Client } from '../../src/client/client.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

async function inCluster(
  seed: number,
  servers: number,
  main: (cluster: SimCluster, client: Client, world: SimWorld) => Promise<void>,
): Promise<void> {
  const world = new SimWorld(seed)
  await world.run(async () => {
    const cluster = new SimCluster(world, servers, { retentionMs: HOUR_MS })
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 20_000 })
    for (const path of ['/a', '/b', '/c']) await client.writeFile(path, world.random.bytes(5000))
    // An open chunk has its goal from its beginning on.
    await client.compact()
    await world.sleep(5 * SECOND_MS)
    await main(cluster, client, world)
    client.close()
  })
}

async function statusOf(client: Client): Promise<string> {
  return (await client.fsck('/')).status
}

/** Waits until fsck says so. @returns how long it took, ms */
async function becomes(client: Client, world: SimWorld, status: string, withinMs: number): Promise<number> {
  const startMs = world.nowMs
  while ((await statusOf(client)) !== status) {
    if (world.nowMs - startMs > withinMs) throw new Error(`not ${status} within ${withinMs} ms`)
    await world.sleep(500)
  }
  return world.nowMs - startMs
}

async function replicasOf(client: Client, path: string): Promise<number> {
  const { chunks } = (await client.info(path)) as { chunks: readonly { replicas: readonly unknown[] }[] }
  return chunks[0]!.replicas.length
}

test('setrep 5 and then 3 on a small file of three servers: DEGRADED, and HEALTHY again within seconds', () =>
  inCluster(1, 3, async (cluster, client, world) => {
    await client.setAttributes('/a', { goal: 5 })
    await becomes(client, world, 'DEGRADED', 10_000)
    await client.setAttributes('/a', { goal: 3 })
    await becomes(client, world, 'HEALTHY', 10_000)
    // And it lasts: a master that replays the log says the same.
    cluster.master.crash(true)
    await cluster.master.restart()
    await becomes(client, world, 'HEALTHY', 30_000)
    assert.is((await client.stat('/a')).goal, 3)
  }))

test('replicas that were made for a file that wanted more go, once the highest goal of its neighbours is met', () =>
  inCluster(2, 5, async (_cluster, client, world) => {
    await client.setAttributes('/b', { goal: 5 })
    while ((await replicasOf(client, '/b')) !== 5) await world.sleep(500)
    await client.setAttributes('/b', { goal: 1 })
    while ((await replicasOf(client, '/b')) !== 3) await world.sleep(500)
    await world.sleep(30_000)
    assert.is(await replicasOf(client, '/a'), 3, 'the others want three')
    assert.is(await statusOf(client), 'HEALTHY')
  }))

test('small files in a chunk that is still open: DEGRADED with setrep 5, HEALTHY again within seconds of setrep 3', async () => {
  const world = new SimWorld(5)
  await world.run(async () => {
    const cluster = new SimCluster(world, 3)
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 20_000 })
    await world.sleep(5 * SECOND_MS)
    for (const path of ['/a', '/b']) await client.writeFile(path, world.random.bytes(5000))
    await client.setAttributes('/a', { goal: 5 })
    await becomes(client, world, 'DEGRADED', 3000)
    await client.setAttributes('/a', { goal: 3 })
    await becomes(client, world, 'HEALTHY', 3000)
    const { chunks } = (await client.info('/a')) as { chunks: { replicas: { state: string }[] }[] }
    assert.equal(
      chunks[0]!.replicas.map(({ state }) => state),
      ['open', 'open', 'open'],
      'nothing was sealed for it',
    )
    client.close()
  })
})

test('a file that wants five comes to an open chunk that was lowered to three: the chunk wants five again', async () => {
  const world = new SimWorld(6)
  await world.run(async () => {
    const cluster = new SimCluster(world, 3)
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 20_000 })
    await world.sleep(5 * SECOND_MS)
    const goal = 5
    for (const path of ['/a', '/b']) await client.writeFile(path, world.random.bytes(5000), { goal })
    await becomes(client, world, 'DEGRADED', 3000)
    for (const path of ['/a', '/b']) await client.setAttributes(path, { goal: 3 })
    await becomes(client, world, 'HEALTHY', 3000)
    const chunkOf = async (path: string) => {
      const { chunks } = (await client.info(path)) as { chunks: { handle: string; goal: number }[] }
      return chunks[0]!
    }
    const lowered = (await chunkOf('/a')).handle
    // The client may be sent to another; one of a few is the one.
    for (let at = 0; at < 8; at++) {
      await client.writeFile(`/c${at}`, world.random.bytes(5000), { goal })
      if ((await chunkOf(`/c${at}`)).handle === lowered) break
      assert.ok(at < 7, 'they share a chunk')
    }
    await world.sleep(3000)
    assert.is((await chunkOf('/a')).goal, 5)
    client.close()
  })
})

test('a snapshot that wants five keeps the chunk at five, until it is removed for good', () =>
  inCluster(3, 3, async (_cluster, client, world) => {
    await client.setAttributes('/a', { goal: 5 })
    await client.copy('/a', '/snapshot')
    await client.setAttributes('/a', { goal: 3 })
    await world.sleep(20_000)
    assert.is(await statusOf(client), 'DEGRADED')
    await client.remove('/snapshot', { now: true })
    await becomes(client, world, 'HEALTHY', 15 * MINUTE_MS)
  }))

test('a master that dies right after the change of a goal finds out by itself what is to be done', () =>
  inCluster(4, 3, async (cluster, client, world) => {
    await client.setAttributes('/a', { goal: 5 })
    await client.setAttributes('/a', { goal: 3 })
    cluster.master.crash(false)
    await cluster.master.restart()
    await becomes(client, world, 'HEALTHY', 3 * MINUTE_MS)
  }))

test.run()
