// Direct reads: what a client on a chunkserver's host reads from its files is as right as what comes over the network,
// and every doubt leads back to the network.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { KiB } from '../../src/base/units.ts'
import type { ChunkserverOptions } from '../../src/chunkserver/node.ts'
import { Client } from '../../src/client/client.ts'
import type { ClientOptions } from '../../src/client/options.ts'
import type { Io } from '../../src/io/io.ts'
import { formatAddress } from '../../src/io/network.ts'
import type { SimProcess } from '../sim/machine.ts'
import { type SimChunkserver, SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'
import { withCluster } from './cluster-fixture.ts'

const CHUNK_BYTES = 256 * KiB
const FILE_BYTES = 3 * CHUNK_BYTES + 12_345

interface Fixture {
  readonly world: SimWorld
  readonly cluster: SimCluster
  /** The chunkserver on the client's host. */
  readonly near: SimChunkserver
  readonly process: SimProcess
  readonly client: Client
  readonly bytes: Buffer
  connect(io: Io, options?: Partial<ClientOptions>): Promise<Client>
}

/** A cluster of three with one file of four chunks, and a client on the host of the first chunkserver. */
async function withNear(
  seed: number,
  run: (fixture: Fixture) => Promise<void>,
  options: Partial<ChunkserverOptions> = {},
): Promise<void> {
  const world = new SimWorld(seed)
  await world.run(async () => {
    const cluster = new SimCluster(world, 3, {}, options)
    await cluster.start()
    const bytes = world.random.bytes(FILE_BYTES)
    const writer = await cluster.client()
    await writer.writeFile('/file', bytes)
    writer.close()
    await world.sleep(2000) // until every server has sealed its replicas
    const near = cluster.chunkservers[0]!
    const connect = (io: Io, options: Partial<ClientOptions> = {}): Promise<Client> =>
      Client.connect(io, {
        masters: formatAddress(cluster.master.address),
        onBug: (error) => world.fail(error),
        ...options,
      })
    const process = near.machine.spawn()
    const client = await connect(process)
    await run({ world, cluster, near, process, client, bytes, connect })
    client.close()
    await world.sleep(2000)
    assert.is(process.openFileCount, 0)
    assert.is(world.network.retainedBuffers, 0)
  })
}

/** Reads all of the file again and again in odd ranges, each compared. */
async function readAround({ world, bytes }: Fixture, client: Client, count = 24): Promise<void> {
  const reader = await client.openReader('/file')
  for (let turn = 0; turn < count; turn++) {
    const offset = world.random.below(FILE_BYTES)
    const length = 1 + world.random.below(turn % 2 === 0 ? 5000 : 100_000)
    const expected = bytes.subarray(offset, offset + length)
    if (turn % 3 === 0) {
      const target = Buffer.alloc(length, 0xaa)
      assert.is(await reader.readInto(target, offset), expected.length)
      assert.is(Buffer.compare(target.subarray(0, expected.length), expected), 0)
    } else assert.is(Buffer.compare(await reader.read(offset, length), expected), 0)
  }
  const parts: Buffer[] = []
  for await (const part of reader.stream()) parts.push(part)
  assert.is(Buffer.compare(Buffer.concat(parts), bytes), 0)
}

function readsOf(server: SimChunkserver): number {
  return server.node!.counters.reads
}

test('a client beside a chunkserver reads sealed chunks from its files, and asks it only for the first of each', async () => {
  await withNear(1, async (fixture) => {
    const { client, near, cluster, world } = fixture
    await readAround(fixture, client)
    await readAround(fixture, client)
    await world.sleep(100)
    assert.is(near.node!.counters.directOffers, 4)
    const before = cluster.chunkservers.map(readsOf)
    const { direct } = client.readCounts
    await readAround(fixture, client)
    assert.equal(cluster.chunkservers.map(readsOf), before)
    assert.ok(client.readCounts.direct >= direct + 24)
  })
})

test('a client elsewhere, and one that does not want to, read by the network', async () => {
  await withNear(2, async (fixture) => {
    const { near, cluster, connect } = fixture
    for (const client of [await cluster.client(), await connect(near.machine.spawn(), { directReads: false })]) {
      await readAround(fixture, client)
      await readAround(fixture, client)
      assert.is(client.readCounts.direct, 0)
      assert.is(near.node!.counters.directOffers, 0)
      client.close()
    }
  })
})

test('a server that is told to lets nobody read its files', async () => {
  await withNear(
    3,
    async (fixture) => {
      await readAround(fixture, fixture.client)
      await fixture.world.sleep(10_000)
      await readAround(fixture, fixture.client)
      assert.is(fixture.client.readCounts.direct, 0)
      assert.is(fixture.near.node!.counters.directOffers, 0)
    },
    { directReads: false },
  )
})

test('a rotten block in the file is another replica’s to answer, and the master hears of it', async () => {
  await withNear(3, async (fixture) => {
    const { world, client, near, cluster } = fixture
    await readAround(fixture, client)
    await world.sleep(100)
    assert.ok(client.readCounts.direct > 0)
    for (const path of near.machine.disk.paths().filter((name) => name.endsWith('.data'))) {
      for (let block = 0; block < 3; block++) near.machine.disk.flipBit(path, 4096 * block + 17, 3)
    }
    const complaints = cluster.master.machine.log.lines.length
    await readAround(fixture, client)
    await world.sleep(1000)
    const said = cluster.master.machine.log.lines.slice(complaints).join('\n')
    assert.match(said, /complain|corrupt/i)
  })
})

test('a file cut short, made empty or gone behind the server’s back is no answer', async () => {
  for (const damage of ['cut', 'empty', 'gone'] as const) {
    await withNear(4, async (fixture) => {
      const { world, client, near } = fixture
      await readAround(fixture, client, 10)
      await world.sleep(100)
      const { disk } = near.machine
      for (const path of disk.paths().filter((name) => name.endsWith('.data'))) {
        if (damage === 'gone') disk.removeFile(path)
        else disk.writeFile(path, disk.readFile(path)!.subarray(0, damage === 'cut' ? 9000 : 0))
      }
      await readAround(fixture, client)
    })
  }
})

test('another server’s directory at the same path, as in a container, is refused', async () => {
  await withNear(5, async (fixture) => {
    const { cluster, near, connect } = fixture
    // On the network it is on the first server's host; its files are the second one's, of the very same chunks.
    const other = cluster.chunkservers[1]!
    const inside = near.machine.spawn()
    const client = await connect({ ...inside, disk: other.machine.spawn().disk, network: inside.network })
    await readAround(fixture, client)
    await readAround(fixture, client)
    assert.ok(near.node!.counters.directOffers > 0)
    assert.is(client.readCounts.direct, 0)
    const nothing = near.machine.spawn()
    const bare = fixture.world.machine('bare')
    const without = await connect({ ...nothing, disk: bare.io.disk, network: nothing.network })
    await readAround(fixture, without)
    assert.is(without.readCounts.direct, 0)
    client.close()
    without.close()
  })
})

test('a chunk deleted while it is read keeps its bytes for whoever has it open, and is let go a while later', async () => {
  await withNear(6, async (fixture) => {
    const { world, client, near, process, bytes, cluster } = fixture
    await readAround(fixture, client)
    await readAround(fixture, client)
    await world.sleep(100)
    const reader = await client.openReader('/file')
    const dataFiles = (): number => near.machine.disk.paths().filter((path) => path.endsWith('.data')).length
    const files = dataFiles()
    await client.remove('/file', { now: true })
    await world.until('the server has deleted its replicas', () => dataFiles() === files - 4, 60_000)
    assert.is(Buffer.compare(await reader.read(1000, 500_000), bytes.subarray(1000, 501_000)), 0)
    assert.is(process.openFileCount, 4)
    await world.sleep(120_000)
    assert.is(process.openFileCount, 0)
    assert.ok(cluster.chunkservers.every((server) => server.isRunning))
  })
})

test('a server that offers other bytes, with checksums that fit them, is found out by the digest in the log', async () => {
  for (const isLying of [true, false]) {
    await withCluster(8, async ({ client: writer, servers, world, connect }) => {
      const bytes = world.random.bytes(300_000)
      await writer.writeFile('/file', bytes)
      await world.sleep(1000)
      const near = servers[0]!
      near.machine.disk.writeFile('/chunk', isLying ? world.random.bytes(300_000) : bytes)
      near.offeredPath = '/chunk'
      const client = await connect({}, near.machine.spawn())
      const reader = await client.openReader('/file')
      for (let turn = 0; turn < 20; turn++) {
        const at = world.random.below(200_000)
        assert.is(Buffer.compare(await reader.read(at, 50_000), bytes.subarray(at, at + 50_000)), 0)
      }
      if (isLying) assert.is(client.readCounts.direct, 0)
      else assert.ok(client.readCounts.direct > 10)
      client.close()
    })
  }
})

test('a disk that hangs is left after a moment: another replica answers', async () => {
  await withNear(7, async (fixture) => {
    const { world, client, near, bytes } = fixture
    await readAround(fixture, client)
    await world.sleep(100)
    const reader = await client.openReader('/file')
    near.machine.disk.stall()
    const startMs = world.nowMs
    const found = await reader.read(1000, 5000)
    assert.is(Buffer.compare(found, bytes.subarray(1000, 6000)), 0)
    assert.ok(world.nowMs - startMs < 800, `${world.nowMs - startMs} ms`)
    near.machine.disk.unstall()
    await world.sleep(1000)
    assert.is(Buffer.compare(found, bytes.subarray(1000, 6000)), 0)
  })
})

test.run()
