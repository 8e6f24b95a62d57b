// The library, the real master and real chunkservers in the simulated world, while machines die and links break.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { isDfsError } from '../../src/base/errors.ts'
import { KiB, MINUTE_MS, MiB } from '../../src/base/units.ts'
import { simSeeds } from '../sim/options.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

test('a write goes on when any chunkserver dies at any moment, and every acknowledged byte is read back', async () => {
  for (const seed of simSeeds(8)) {
    const world = new SimWorld(seed)
    await world.run(async () => {
      const cluster = new SimCluster(world, 4, { heartbeatMs: 100 })
      await cluster.start()
      const client = await cluster.client()
      const victim = world.random.pick(cluster.chunkservers)
      const soon = world.random.below(3000)
      world.afterEvents(soon, () => victim.crash(world.random.chance(0.5)))
      const bytes = world.random.bytes(2 * MiB + world.random.below(100_000))
      const writer = client.createWriter('/file')
      let at = 0
      while (at < bytes.length) {
        const end = at + 1 + world.random.below(200 * KiB)
        await writer.write(bytes.subarray(at, end))
        at = end
        if (world.random.chance(0.2)) await writer.flush()
      }
      await writer.close()
      await client.writeFile('/small', bytes.subarray(0, 5000))
      assert.is(Buffer.compare(await client.readFile('/file'), bytes), 0, `seed ${seed}`)
      assert.is(Buffer.compare(await client.readFile('/small'), bytes.subarray(0, 5000)), 0, `seed ${seed}`)
      assert.is(await client.checksum('/file'), crc32(bytes))
      client.close()
    })
  }
})

test('a stopped chunkserver is found out and left within seconds, whatever its place in the chain', async () => {
  for (const seed of simSeeds(6)) {
    const world = new SimWorld(seed)
    await world.run(async () => {
      const cluster = new SimCluster(world, 4, { heartbeatMs: 100 })
      await cluster.start()
      const client = await cluster.client()
      const { machine } = world.random.pick(cluster.chunkservers)
      const bytes = world.random.bytes(MiB)
      const writer = client.createWriter('/file')
      const startMs = world.nowMs
      for (let at = 0; at < bytes.length; at += 100_000) {
        await writer.write(bytes.subarray(at, at + 100_000))
        if (at === 500_000) machine.pauseMachine()
      }
      await writer.close()
      await client.writeFile('/small', bytes.subarray(0, 5000))
      assert.is(Buffer.compare(await client.readFile('/file'), bytes), 0, `seed ${seed}`)
      assert.is(Buffer.compare(await client.readFile('/small'), bytes.subarray(0, 5000)), 0, `seed ${seed}`)
      assert.ok(world.nowMs - startMs < 20_000, `seed ${seed}: ${world.nowMs - startMs} ms`)
      machine.resume()
      client.close()
    })
  }
})

test('a master that dies after logging and before answering: the change happens once', async () => {
  for (const seed of simSeeds(10)) {
    const world = new SimWorld(seed)
    await world.run(async () => {
      const cluster = new SimCluster(world, 3, { heartbeatMs: 100 })
      await cluster.start()
      const client = await cluster.client()
      await client.writeFile('/log', Buffer.from('0'))
      let model = '0'
      let isOver = false
      const torture = async (): Promise<void> => {
        while (!isOver) {
          await world.sleep(world.random.below(400))
          // Requests arrive and are logged; answers don't come out any more.
          world.network.partition('master', 'client-1', { oneWay: true })
          await world.sleep(world.random.below(150))
          cluster.master.crash(world.random.chance(0.5))
          world.network.heal()
          await cluster.master.restart()
        }
      }
      const torturing = torture()
      for (let i = 1; i <= 12; i++) {
        await client.append('/log', Buffer.from(` ${i}`))
        model += ` ${i}`
        await client.rename('/log', '/renamed')
        await client.rename('/renamed', '/log')
        await client.makeDirectory(`/d${i}`)
        await client.remove(`/d${i}`, { directory: true })
      }
      isOver = true
      await torturing
      assert.is((await client.readFile('/log')).toString(), model, `seed ${seed}`)
      client.close()
    })
  }
})

test('a writer that rests for twenty minutes goes on; a client that rests changes names as before', async () => {
  const world = new SimWorld(5)
  await world.run(async () => {
    const cluster = new SimCluster(world, 3, { heartbeatMs: 2000, deadAfterMs: 20_000 })
    await cluster.start()
    const client = await cluster.client()
    const resting = await cluster.client()
    await resting.makeDirectory('/d')
    const bytes = world.random.bytes(900_000)
    const writer = client.createWriter('/slow')
    await writer.write(bytes.subarray(0, 400_000))
    await world.sleep(20 * MINUTE_MS)
    await writer.write(bytes.subarray(400_000, 800_000))
    await world.sleep(90_000)
    await writer.write(bytes.subarray(800_000))
    await writer.close()
    assert.is(Buffer.compare(await client.readFile('/slow'), bytes), 0)
    await resting.rename('/d', '/e')
    await resting.writeFile('/e/f', bytes.subarray(0, 10))
    client.close()
    resting.close()
  })
})

test('power fails everywhere in the middle: what close acknowledged is there, byte for byte', async () => {
  for (const seed of simSeeds(8)) {
    const world = new SimWorld(seed)
    await world.run(async () => {
      const cluster = new SimCluster(world, 3, { heartbeatMs: 100 })
      await cluster.start()
      const client = await cluster.client({ timeoutMs: 90_000 })
      const acknowledged = new Map<string, Buffer>()
      const write = async (worker: number): Promise<void> => {
        for (let i = 0; i < 6; i++) {
          const bytes = world.random.bytes(world.random.pick([0, 1, 3000, 40_000, 400_000]))
          try {
            await client.writeFile(`/w${worker}-${i}`, bytes)
            acknowledged.set(`/w${worker}-${i}`, bytes)
          } catch (error) {
            if (!isDfsError(error)) throw error
          }
        }
      }
      world.afterEvents(world.random.below(6000), () => {
        for (const server of cluster.chunkservers) server.crash(true)
        world.after(500, () => {
          for (const server of cluster.chunkservers) void server.restart()
        })
      })
      await Promise.all([0, 1, 2].map(write))
      for (const [path, bytes] of acknowledged) {
        assert.is(Buffer.compare(await client.readFile(path), bytes), 0, `seed ${seed}: ${path}`)
      }
      client.close()
    })
  }
})

test.run()
