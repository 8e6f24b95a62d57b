// Gathering: live bytes of sealed chunks become a new one, on several servers alike (compaction).

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { formatHandle, type ServerId } from '../../src/base/ids.ts'
import { Random } from '../../src/base/random.ts'
import { cutRanges, type GatherRange, spansOf } from '../../src/chunkserver/gather-plan.ts'
import type { GatherOrder } from '../../src/chunkserver/gatherer.ts'
import { SimWorld } from '../sim/world.ts'
import { ask, Cluster, codeOf, openChunk, readRange } from './cluster-fixture.ts'
import { bytesAt, handleOf } from './store-fixture.ts'

const LENGTHS = [300_001, 70_000] as const
const NEW = handleOf(9)

/** Two sealed chunks on servers 1 and 2. */
async function withSources(world: SimWorld, main: (cluster: Cluster) => Promise<void>): Promise<void> {
  const cluster = new Cluster(world)
  await world.run(async () => {
    await cluster.start(4)
    for (const [at, length] of LENGTHS.entries()) {
      const allocation = cluster.allocation(handleOf(at + 1), [1, 2])
      const connection = await cluster.connect(1)
      await openChunk(connection, allocation)
      const { handle } = allocation
      await ask(connection, 'pushPiece', { handle, version: 1, offset: 0 }, bytesAt(at, 0, length))
      await ask(connection, 'commit', { handle, version: 1, serial: 0, length, sync: true })
      const digest = crc32(bytesAt(at, 0, length))
      const seal = { handle, version: 1, length, digest, indexDigest: 0, history: cluster.master.history }
      for (const server of [1, 2]) await cluster.master.ask(server, 'seal', seal)
    }
    await main(cluster)
    await cluster.close()
    await world.sleep(2000)
  })
  assert.is(world.network.retainedBuffers, 0, 'a received buffer was not given back')
}

function orderFor(cluster: Cluster, target: number, ranges: readonly GatherRange[]): GatherOrder {
  const servers = [1, 2].map((server) => ({ server: server as ServerId, address: `cs${server}:7000` }))
  return {
    handle: NEW,
    logIndex: 60,
    directory: cluster.master.joined.get(target)!.facts.directories[0]!.directory,
    sources: LENGTHS.map((length, at) => ({ handle: handleOf(at + 1), version: 1, length, servers })),
    ranges: [...ranges],
    bytesPerSecond: 0,
    history: cluster.master.history,
  }
}

function bytesOf(ranges: readonly GatherRange[]): Buffer {
  return Buffer.concat(ranges.map(({ source, offset, length }) => bytesAt(source, offset, length)))
}

function randomRanges(random: Random, count: number): GatherRange[] {
  return Array.from({ length: count }, () => {
    const source = random.below(2)
    const offset = random.below(LENGTHS[source]! - 1)
    const most = random.chance(0.5) ? 20_000 : 50
    return { source, offset, length: 1 + random.below(Math.min(most, LENGTHS[source]! - offset)) }
  })
}

test('reads hold whole blocks of at most a piece, near cuts share one, and every byte is in its place', () => {
  const random = new Random(1)
  for (let round = 0; round < 200; round++) {
    const sources = [0, 1].map((at) => ({ handle: handleOf(at + 1), length: 1 + random.below(8_000_000) }))
    const ranges = Array.from({ length: 1 + random.below(20) }, () => {
      const source = random.below(2)
      const offset = random.below(sources[source]!.length)
      return { source, offset, length: 1 + random.below(Math.min(3_000_000, sources[source]!.length - offset)) }
    })
    const cuts = cutRanges(ranges, sources)
    const spans = spansOf(cuts)
    assert.equal(
      spans.flatMap((span) => span.cuts),
      cuts,
    )
    for (const { source, offset, length, cuts } of spans) {
      const end = offset + length
      assert.ok(offset % 4096 === 0 && length > 0 && length <= 1024 * 1024)
      assert.ok(end % 4096 === 0 || end === sources[source]!.length)
      for (const cut of cuts) {
        assert.ok(cut.source === source && cut.offset >= offset && cut.offset + cut.length <= end)
      }
    }
    const total = ranges.reduce((sum, { length }) => sum + length, 0)
    assert.is(
      cuts.reduce((sum, { length }) => sum + length, 0),
      total,
    )
  }
  const dense = Array.from({ length: 100 }, (_, at) => ({ source: 0, offset: at * 8000, length: 100 }))
  assert.is(spansOf(cutRanges(dense, [{ handle: handleOf(1), length: 800_000 }])).length, 1)
})

test('servers that gather the same ranges hold equal chunks, read and proven like any other', async () => {
  await withSources(new SimWorld(1), async (cluster) => {
    const ranges = [...randomRanges(cluster.world.random, 60), { source: 0, offset: 0, length: LENGTHS[0] }]
    const wanted = bytesOf(ranges)
    for (const target of [1, 3, 4]) {
      const { facts } = await cluster.master.ask(target, 'gather', orderFor(cluster, target, ranges))
      assert.equal([facts.state, facts.length, facts.digest], ['sealed', wanted.length, crc32(wanted)])
      const reader = await cluster.connect(target)
      assert.is(Buffer.compare(await readRange(reader, NEW, 0, wanted.length), wanted), 0)
    }
    const again = cluster.master.ask(3, 'gather', orderFor(cluster, 3, ranges))
    assert.is(await codeOf(again), 'BUSY', 'a chunk is gathered once')
    await cluster.nodes.get(3)!.close()
    await cluster.startNode(3)
    const reader = await cluster.connect(3)
    assert.is(Buffer.compare(await readRange(reader, NEW, 0, wanted.length), wanted), 0, 'after a restart')
  })
})

test('each block comes from a replica that proves it; what none proves is never gathered', async () => {
  await withSources(new SimWorld(2), async (cluster) => {
    const { world } = cluster
    const rot = (server: number, block: number) => {
      const { disk } = world.machine(`cs${server}`)
      const path = disk.paths().find((name) => name.endsWith(`${formatHandle(handleOf(1))}.data`))
      disk.flipBit(path!, block * 4096 + 5, 3)
    }
    rot(1, 2)
    rot(2, 7)
    const ranges = [{ source: 0, offset: 5, length: 250_000 }]
    const { facts } = await cluster.master.ask(3, 'gather', orderFor(cluster, 3, ranges))
    assert.is(facts.digest, crc32(bytesOf(ranges)))
    rot(2, 2)
    const refused = cluster.master.ask(4, 'gather', orderFor(cluster, 4, ranges))
    assert.is(await codeOf(refused), 'CORRUPT_REPLICA')
    const { disk } = world.machine('cs4')
    assert.equal(
      disk.paths().filter((path) => path.includes('.data')),
      [],
      'nothing is left of it',
    )
  })
})

test('ranges outside their chunks, an unknown directory and a full disk are refused', async () => {
  await withSources(new SimWorld(3), async (cluster) => {
    const good = { source: 0, offset: 0, length: 1000 }
    const order = orderFor(cluster, 3, [good])
    const cases: [GatherOrder, string][] = [
      [{ ...order, ranges: [{ ...good, source: 2 }] }, 'INVALID_ARGUMENT'],
      [{ ...order, ranges: [{ ...good, offset: LENGTHS[0] - 999 }] }, 'INVALID_ARGUMENT'],
      [{ ...order, ranges: [{ ...good, length: 0 }] }, 'INVALID_ARGUMENT'],
      [{ ...order, ranges: [] }, 'INVALID_ARGUMENT'],
      [orderFor(cluster, 4, [good]), 'WRONG_DISK'],
    ]
    for (const [wrong, code] of cases) assert.is(await codeOf(cluster.master.ask(3, 'gather', wrong)), code)
    const { disk } = cluster.world.machine('cs3')
    disk.options.capacityBytes = disk.usedBytes() + 500
    await cluster.world.sleep(500)
    assert.is(await codeOf(cluster.master.ask(3, 'gather', order)), 'DISK_FULL')
  })
})

test('a server that dies at any moment of a gathering has all of the chunk afterwards, or nothing', async () => {
  let whole = 0
  for (let seed = 1; seed <= 20; seed++) {
    const world = new SimWorld(seed)
    await withSources(world, async (cluster) => {
      const ranges = randomRanges(world.random, 40)
      const asked = codeOf(cluster.master.ask(3, 'gather', orderFor(cluster, 3, ranges)))
      const machine = world.machine('cs3')
      const power = seed % 2 === 0
      world.afterEvents(1 + world.random.below(600), () => {
        cluster.nodes.delete(3)
        machine.crash({ power })
      })
      await world.sleep(3000)
      const isThere = (await Promise.race([asked, world.sleep(10).then(() => 'LOST')])) === 'OK'
      if (cluster.nodes.has(3)) return
      machine.restart()
      const { replicas } = (await cluster.startNode(3)).status()
      assert.ok(
        machine.disk.paths().every((path) => !path.endsWith('.new')),
        'a start tidies up',
      )
      if (isThere) assert.is(replicas, 1, 'what was answered for is there')
      if (replicas === 0) return
      whole++
      const wanted = bytesOf(ranges)
      const reader = await cluster.connect(3)
      assert.is(Buffer.compare(await readRange(reader, NEW, 0, wanted.length), wanted), 0)
    })
  }
  assert.ok(whole > 0 && whole < 20, `${whole} of 20 had the chunk: the crashes all fell on one side`)
})

test.run()
