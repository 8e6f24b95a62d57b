// Positioned reads that follow each other are read ahead; what comes is as right as what was asked for.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { KiB, MiB } from '../../src/base/units.ts'
import { type Fixture, rejects, withCluster } from './cluster-fixture.ts'

async function stored({ client, world }: Fixture): Promise<Buffer> {
  const bytes = world.random.bytes(3 * MiB + 777)
  await client.writeFile('/file', bytes)
  return bytes
}

test('short reads one after the other cost one request for many, and give the right bytes to the end', async () => {
  await withCluster(61, async (fixture) => {
    const bytes = await stored(fixture)
    const { client } = fixture
    for (const length of [4 * KiB, 5000, 100 * KiB]) {
      const reader = await client.openReader('/file')
      const before = client.readCounts.reads
      const target = Buffer.alloc(length)
      for (let at = 0; at < bytes.length; at += length) {
        const expected = bytes.subarray(at, at + length)
        if (at % 3 === 0) {
          const found = await reader.read(at, length)
          assert.is(Buffer.compare(found, expected), 0)
          found.fill(0) // it is the caller's: what is read later must not change
        } else {
          assert.is(await reader.readInto(target, at), expected.length)
          assert.is(Buffer.compare(target.subarray(0, expected.length), expected), 0)
        }
      }
      const requests = client.readCounts.reads - before
      assert.ok(requests < 16, `${requests} requests for reads of ${length}`)
    }
  })
})

test('reads at random places are not read ahead', async () => {
  await withCluster(62, async (fixture) => {
    const bytes = await stored(fixture)
    const { client, world } = fixture
    const reader = await client.openReader('/file')
    const before = client.readCounts.reads
    for (let turn = 0; turn < 100; turn++) {
      const at = 4096 * world.random.below(700)
      assert.is(Buffer.compare(await reader.read(at, 4096), bytes.subarray(at, at + 4096)), 0)
    }
    assert.ok(client.readCounts.reads - before <= 101)
  })
})

test('a bad block behind what is asked for disturbs nobody before it is asked for', async () => {
  await withCluster(63, async (fixture) => {
    const bytes = await stored(fixture)
    const { client, servers, world } = fixture
    const [handle] = [...servers[0]!.disk.chunks.keys()]
    for (const server of servers) server.rot(handle!, MiB)
    const reader = await client.openReader('/file')
    const startMs = world.nowMs
    for (let at = 0; at < MiB; at += 64 * KiB) {
      assert.is(Buffer.compare(await reader.read(at, 64 * KiB), bytes.subarray(at, at + 64 * KiB)), 0)
    }
    assert.ok(world.nowMs - startMs < 10_000, `${world.nowMs - startMs} ms`)
    await rejects(reader.read(MiB, 4096), 'DATA_LOST')
    const behind = MiB + 8192
    assert.is(Buffer.compare(await reader.read(behind, 4096), bytes.subarray(behind, behind + 4096)), 0)
  })
})

test('a reader that is closed leaves nothing of what it read ahead', async () => {
  await withCluster(64, async (fixture) => {
    await stored(fixture)
    const { client, world } = fixture
    const reader = await client.openReader('/file')
    for (let at = 0; at < 5; at++) await reader.read(at * 1000, 1000)
    reader.close()
    await world.sleep(500)
    assert.is(world.network.retainedBuffers, 0)
  })
})

test.run()
