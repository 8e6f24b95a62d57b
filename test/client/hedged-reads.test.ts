// Reads that don't wait: a replica that takes long is not waited for, at a bounded price; and which one is asked first.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ServerId } from '../../src/base/ids.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { Client } from '../../src/client/client.ts'
import { Latency } from '../../src/client/latency.ts'
import { Peers, type Source } from '../../src/client/peers.ts'
import type { Reader } from '../../src/client/reader.ts'
import { SimWorld } from '../sim/world.ts'
import { type Fixture, withCluster } from './cluster-fixture.ts'

async function stored({ client, world }: Fixture): Promise<Buffer> {
  const bytes = world.random.bytes(4 * MiB)
  await client.writeFile('/file', bytes)
  return bytes
}

/** `count` reads of 4 KiB, four at a time, each compared. @returns the longest, in ms */
async function readMany({ world }: Fixture, reader: Reader, bytes: Buffer, count: number): Promise<number> {
  let longestMs = 0
  let left = count
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const offset = world.random.below(bytes.length - 4 * KiB)
      const startMs = world.nowMs
      const found = await reader.read(offset, 4 * KiB)
      longestMs = Math.max(longestMs, world.nowMs - startMs)
      assert.is(Buffer.compare(found, bytes.subarray(offset, offset + 4 * KiB)), 0)
    }
  }
  await Promise.all([one(), one(), one(), one()])
  return longestMs
}

function readsOf({ servers }: Fixture): number[] {
  return servers.map((server) => server.counts.get('read') ?? 0)
}

test('a server that stands still is overtaken at once, not after its stall of two seconds, for 5 % more requests', async () => {
  for (const index of [0, 1, 2]) {
    await withCluster(31 + index, async (fixture) => {
      const { client, servers, world } = fixture
      const bytes = await stored(fixture)
      const reader = await client.openReader('/file')
      await readMany(fixture, reader, bytes, 200)
      assert.is(client.readCounts.hedges, 0)
      servers[index]!.machine.pauseMachine()
      const longestMs = await readMany(fixture, reader, bytes, 400)
      assert.ok(longestMs < 300, `${longestMs} ms`)
      const { reads, hedges } = client.readCounts
      assert.ok(hedges <= 1 + 0.05 * reads, `${hedges} extra requests for ${reads} reads`)
      servers[index]!.machine.resume()
      await world.sleep(100)
      await readMany(fixture, reader, bytes, 50)
      assert.is(world.network.retainedBuffers, 0)
    })
  }
})

test('when every server is slow now and then, extra requests stay within their share', async () => {
  await withCluster(35, async (fixture) => {
    const { client, servers, world } = fixture
    const bytes = await stored(fixture)
    const reader = await client.openReader('/file')
    for (const server of servers) {
      server.interfere = async (name) => {
        if (name === 'read' && world.random.below(25) === 0) await world.sleep(400)
      }
    }
    const longestMs = await readMany(fixture, reader, bytes, 1000)
    assert.ok(longestMs < 850, `${longestMs} ms`)
    assert.ok(client.readCounts.hedges > 10, `${client.readCounts.hedges} extra requests`)
    // And then all at once, with more reads under way than could be asked twice.
    for (const server of servers) server.interfere = (name) => (name === 'read' ? world.sleep(400) : undefined)
    await Promise.all(Array.from({ length: 100 }, () => reader.read(0, 4 * KiB)))
    const { reads, hedges } = client.readCounts
    assert.is(reads, 1100)
    assert.ok(hedges <= 1 + 0.05 * reads, `${hedges} extra requests for ${reads} reads`)
    const asked = readsOf(fixture).reduce((sum, count) => sum + count, 0)
    assert.ok(asked <= reads + hedges, `${asked} requests`)
  })
})

test('the bytes of a request that was overtaken in the middle never get into the buffer of the reader', async () => {
  await withCluster(36, async (fixture) => {
    const { client, servers, world } = fixture
    const bytes = await stored(fixture)
    const reader = await client.openReader('/file')
    // Whoever is asked first sends half of it, and the other half, which is no longer what was stored, much later.
    let isFirst = true
    for (const server of servers) {
      server.interfere = (name) => {
        if (name !== 'read' || !isFirst) return
        isFirst = false
        world.network.setLink(server.machine.name, 'client', { latencyMsMin: 1, latencyMsMax: 1, bytesPerMs: 500 })
        for (const chunk of server.disk.chunks.values()) chunk.bytes = Buffer.alloc(chunk.bytes.length, 0xee)
      }
    }
    const startMs = world.nowMs
    const first = await reader.read(0, MiB)
    assert.ok(world.nowMs - startMs < 1000, `${world.nowMs - startMs} ms`)
    assert.is(client.readCounts.hedges, 1)
    const second = await reader.read(MiB, MiB)
    for (let waited = 0; waited < 5; waited++) {
      assert.is(Buffer.compare(first, bytes.subarray(0, MiB)), 0)
      assert.is(Buffer.compare(second, bytes.subarray(MiB, 2 * MiB)), 0)
      await world.sleep(1000)
    }
    assert.is(world.network.retainedBuffers, 0)
  })
})

test('a client reads from the chunkserver on its own host', async () => {
  await withCluster(37, async (fixture) => {
    const { servers, world } = fixture
    const bytes = await stored(fixture)
    for (const server of servers) {
      const io = server.machine.spawn()
      const client = await Client.connect(io, { masters: 'master:7400', onBug: (error) => world.fail(error) })
      const reader = await client.openReader('/file')
      // Who is on the own host is known by the first connection to it.
      await readMany(fixture, reader, bytes, 60)
      for (const one of servers) one.counts.clear()
      await readMany(fixture, reader, bytes, 60)
      assert.equal(
        readsOf(fixture),
        servers.map((one) => (one === server ? 60 : 0)),
      )
      client.close()
    }
  })
})

function source(number: number, facts: Partial<Source> = {}): Source {
  return { server: number as ServerId, address: `cs${number}:1`, zone: '', rack: '', doubt: 0, ...facts }
}

test('the nearest is asked first, whatever the order; who is doubtful or failed comes after all others', () => {
  const world = new SimWorld(1)
  const peers = new Peers(world.machine('client').io, { zone: 'a', rack: '1' })
  const far = source(1, { zone: 'b', rack: '1' })
  const zone = source(2, { zone: 'a', rack: '2' })
  const rack = source(3, { zone: 'a', rack: '1' })
  const doubtful = source(4, { zone: 'a', rack: '1', doubt: 10 })
  const order = (replicas: readonly Source[]): number[] => {
    const tried: Source[] = []
    for (;;) {
      const next = peers.next(replicas, tried, MiB, 0)
      if (next === undefined) return tried.map(({ server }) => server)
      tried.push(next)
    }
  }
  assert.equal(order([doubtful, far, zone, rack]), [3, 2, 1, 4])
  assert.equal(order([rack, zone, far, doubtful]), [3, 2, 1, 4])
  peers.penalize('cs3:1')
  assert.equal(order([rack, zone, far, doubtful]), [2, 1, 4, 3])
  peers.overtaken('cs2:1')
  assert.equal(order([rack, zone, far, doubtful]), [1, 2, 4, 3])
})

test('among equals each client has its own order, and one that has enough to do gives way to the next', () => {
  const replicas = [source(1), source(2), source(3)]
  const world = new SimWorld(2)
  const counts = new Map<number, number>()
  for (let client = 0; client < 300; client++) {
    const peers = new Peers(world.machine('client').io, { zone: '', rack: '' })
    const first = peers.next(replicas, [], MiB, 0)!
    assert.is(peers.next([...replicas].reverse(), [], 4 * KiB, 0), first)
    counts.set(first.server, (counts.get(first.server) ?? 0) + 1)
    const peer = peers.of(first.address)
    peer.load = 2 * peer.weightOf(MiB)
    const second = peers.next(replicas, [], MiB, 0)!
    assert.is.not(second, first)
    for (const one of replicas) peers.of(one.address).load = one === second ? 33 : 40
    assert.is(peers.next(replicas, [], MiB, 0), second)
  }
  for (const [server, count] of counts) assert.ok(count > 60, `server ${server}: ${count} of 300 clients`)
})

test('many small reads go to one server that answers from memory, few to one that works its disk', () => {
  const peers = new Peers(new SimWorld(3).machine('client').io, { zone: '', rack: '' })
  const peer = peers.of('cs1:1')
  const few = peer.weightOf(4 * KiB)
  for (let count = 0; count < 100; count++) peer.answered(4 * KiB, 4, 16)
  assert.ok(peer.weightOf(4 * KiB) * 8 <= few)
  for (let count = 0; count < 100; count++) peer.answered(4 * KiB, 80, 16)
  assert.is(peer.weightOf(4 * KiB), few)
})

test('the usual time follows the latest answers', () => {
  const latency = new Latency()
  assert.is(latency.quantile(0.95), 0)
  for (let count = 0; count < 1000; count++) latency.add(count % 10 === 0 ? 40 : 2)
  const before = latency.quantile(0.95)
  assert.ok(before >= 40 && before <= 50, `${before} ms`)
  assert.ok(latency.quantile(0.5) >= 2 && latency.quantile(0.5) <= 2.5)
  for (let count = 0; count < 20_000; count++) latency.add(1)
  assert.ok(latency.quantile(0.95) <= 1.3)
  latency.add(1e9)
  assert.ok(latency.quantile(1) > 30_000)
})

test.run()
