// What is removed can be had back for the retention window; then its chunks go, by orders that follow the record
// (GFS §4.4, DESIGN §5 "Deleting"). What writers leave behind when they die goes as well.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { HOUR_MS, MINUTE_MS } from '../../src/base/units.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

function dataFileCount(cluster: SimCluster): number {
  return cluster.chunkservers.reduce(
    (sum, { machine }) => sum + machine.disk.paths().filter((path) => path.endsWith('.data')).length,
    0,
  )
}

test('a removed file can be restored within the retention window, and is read as it was', async () => {
  const world = new SimWorld(1)
  await world.run(async () => {
    const cluster = new SimCluster(world, 3, { retentionMs: HOUR_MS })
    await cluster.start()
    const client = await cluster.client()
    const bytes = world.random.bytes(600_000)
    await client.makeDirectory('/d')
    await client.writeFile('/d/big', bytes)
    await client.remove('/d', { recursive: true })
    assert.not.ok(await client.exists('/d'))
    await world.sleep(30 * MINUTE_MS)
    const [entry] = (await client.trashList()).entries
    assert.is(entry?.path, '/d')
    await client.trashRestore(entry!.id)
    assert.is(Buffer.compare(await client.readFile('/d/big'), bytes), 0)
    client.close()
  })
})

test('after the window, or when the trash is emptied, the chunks leave the table and then the disks', async () => {
  for (const emptied of [true, false]) {
    const world = new SimWorld(emptied ? 2 : 3)
    await world.run(async () => {
      const cluster = new SimCluster(world, 3, { retentionMs: HOUR_MS })
      await cluster.start()
      const client = await cluster.client()
      await client.writeFile('/big', world.random.bytes(600_000))
      await client.writeFile('/kept', world.random.bytes(600_000))
      await world.sleep(2000)
      assert.is(dataFileCount(cluster), 18)
      await client.remove('/big')
      await world.sleep(MINUTE_MS)
      assert.is(dataFileCount(cluster), 18, 'nothing goes before the window ends')
      assert.is((await client.trashList()).entries.length, 1)
      if (emptied) {
        await client.trashEmpty()
        assert.is((await client.trashList()).entries.length, 0, 'at once, not when it is collected')
      } else await world.sleep(HOUR_MS)
      await world.sleep(30_000)
      assert.is(dataFileCount(cluster), 9)
      assert.is((await client.readFile('/kept')).length, 600_000)
      assert.is((await client.trashList()).entries.length, 0)
      client.close()
    })
  }
})

test('chunks that a file shares with its copy stay until the last of them goes', async () => {
  const world = new SimWorld(4)
  await world.run(async () => {
    const cluster = new SimCluster(world, 3, { retentionMs: MINUTE_MS })
    await cluster.start()
    const client = await cluster.client()
    const bytes = world.random.bytes(600_000)
    await client.writeFile('/a', bytes)
    await client.copy('/a', '/b')
    await client.remove('/a')
    await world.sleep(3 * MINUTE_MS)
    assert.is(Buffer.compare(await client.readFile('/b'), bytes), 0)
    await client.remove('/b')
    await world.sleep(3 * MINUTE_MS)
    assert.is(dataFileCount(cluster), 0)
    client.close()
  })
})

test('a writer that dies leaves nothing: its session ends, its chunk is sealed, its bytes go', async () => {
  const world = new SimWorld(5)
  await world.run(async () => {
    const cluster = new SimCluster(world, 3, { retentionMs: MINUTE_MS })
    await cluster.start()
    const machine = world.machine('client-1')
    const dying = await cluster.client()
    const writer = dying.createWriter('/never')
    await writer.write(world.random.bytes(3_000_000))
    await world.sleep(1000)
    assert.ok(dataFileCount(cluster) > 0)
    machine.crash({ power: false })
    await world.sleep(15 * MINUTE_MS)
    const client = await cluster.client()
    assert.not.ok(await client.exists('/never'))
    assert.is(dataFileCount(cluster), 0)
    client.close()
  })
})

test('a restarted chunkserver deletes what went while it was away, once it is told so', async () => {
  const world = new SimWorld(6)
  await world.run(async () => {
    const cluster = new SimCluster(world, 3, { retentionMs: MINUTE_MS })
    await cluster.start()
    const client = await cluster.client()
    await client.writeFile('/a', world.random.bytes(600_000))
    await world.sleep(2000)
    cluster.chunkservers[0]!.crash(true)
    await client.remove('/a', { now: true })
    await world.sleep(3 * MINUTE_MS)
    assert.is(dataFileCount(cluster), 3, 'only what the dead server has is left')
    await cluster.chunkservers[0]!.restart()
    await world.sleep(MINUTE_MS)
    assert.is(dataFileCount(cluster), 0)
    client.close()
  })
})

test('who opened a file while it had a tail, and reads on when its chunks are gone, hears that it has changed', async () => {
  const world = new SimWorld(11)
  await world.run(async () => {
    const cluster = new SimCluster(world, 3, { retentionMs: HOUR_MS })
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 5000 })
    const appender = await client.openAppender('/log', { create: true, sync: true })
    await appender.append(world.random.bytes(10_000))
    const reader = await client.openReader('/log')
    assert.is((await reader.read(0, 100)).length, 100)
    await appender.close()
    await client.remove('/log', { now: true })
    await world.sleep(30_000)
    try {
      await reader.read(5000, 100)
      assert.unreachable('the bytes are gone')
    } catch (error) {
      assert.ok(isDfsError(error, 'FILE_CHANGED'), String(error))
    }
    client.close()
  })
})

test.run()
