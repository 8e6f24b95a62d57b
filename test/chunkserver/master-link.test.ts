import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import type { ClusterId } from '../../src/base/ids.ts'
import { startChunkserver } from '../../src/chunkserver/node.ts'
import type { Order } from '../../src/wire/messages.ts'
import { SimWorld } from '../sim/world.ts'
import { ask, Cluster, codeOf, openChunk, readRange } from './cluster-fixture.ts'
import { bytesAt, handleOf } from './store-fixture.ts'

const LENGTH = 20_000
const DIGEST = crc32(bytesAt(1, 0, LENGTH))
const sealOrder = { handle: handleOf(1), version: 1, length: LENGTH, digest: DIGEST, indexDigest: 0 }
const deleteOrder: Order = { kind: 'delete', ...sealOrder }

/** One chunkserver with chunk 1, committed and synced. */
async function inCluster(
  seed: number,
  main: (cluster: Cluster, world: SimWorld) => Promise<void>,
  isSealed = true,
): Promise<void> {
  const world = new SimWorld(seed)
  const cluster = new Cluster(world)
  await world.run(async () => {
    await cluster.start(1)
    const connection = await cluster.connect(1)
    await openChunk(connection, cluster.allocation(handleOf(1), [1]))
    await ask(connection, 'pushPiece', { handle: handleOf(1), version: 1, offset: 0 }, bytesAt(1, 0, LENGTH))
    await ask(connection, 'commit', { handle: handleOf(1), version: 1, serial: 0, length: LENGTH, sync: true })
    if (isSealed) await cluster.master.ask(1, 'seal', { ...sealOrder, history: cluster.master.history })
    await world.sleep(300)
    await main(cluster, world)
    await cluster.close()
  })
}

test('a join reports every replica, heartbeats what changes, and a graceful stop says so', () =>
  inCluster(1, async (cluster, world) => {
    const { master } = cluster
    assert.is(master.stateOf(1, handleOf(1)), 'sealed')
    const facts = master.replicas.get(`1 ${handleOf(1)}`)!
    assert.is(facts.digest, DIGEST)
    master.replicas.clear()
    const node = cluster.nodes.get(1)!
    await node.close({ maintenance: true })
    assert.equal(master.left, [1])
    await cluster.startNode(1)
    await world.sleep(300)
    assert.equal(master.replicas.get(`1 ${handleOf(1)}`), facts)
    assert.is(master.joined.get(1)!.facts.server, 1, 'it remembers the number it was given')
    assert.ok(master.joined.get(1)!.facts.seenLogIndex >= 50, 'the chunks know the index of their allocation')
  }))

test('a seal ordered in a heartbeat is carried out and reported', () =>
  inCluster(
    2,
    async (cluster, world) => {
      cluster.master.orders = [{ kind: 'seal', ...sealOrder }]
      await world.sleep(500)
      assert.is(cluster.master.stateOf(1, handleOf(1)), 'sealed')
    },
    false,
  ))

test('an order to delete removes both files and reports the chunk gone', () =>
  inCluster(3, async (cluster, world) => {
    cluster.master.orders = [deleteOrder]
    await world.sleep(500)
    assert.is(cluster.master.stateOf(1, handleOf(1)), 'gone')
    assert.equal(world.machine('cs1').disk.paths(), ['/d0/identity', '/d0/lock'])
    assert.is(cluster.nodes.get(1)!.status().directories[0]!.usedBytes, 0)
  }))

test('an order to quarantine moves the files, and deletes nothing', () =>
  inCluster(4, async (cluster, world) => {
    cluster.master.orders = [{ ...deleteOrder, kind: 'quarantine' }]
    await world.sleep(500)
    assert.is(cluster.master.stateOf(1, handleOf(1)), 'gone')
    assert.ok(world.machine('cs1').disk.has('/d0/quarantine/0000e000000001.data'))
  }))

test('an order older than its validity, counted from the sending of the heartbeat, is not carried out', () =>
  inCluster(5, async (cluster, world) => {
    cluster.master.validMs = 200
    cluster.master.heartbeatDelayMs = 300
    cluster.master.orders = [deleteOrder]
    await world.sleep(2000)
    assert.is(cluster.master.stateOf(1, handleOf(1)), 'sealed')
    cluster.master.heartbeatDelayMs = 0
    cluster.master.orders = [deleteOrder]
    await world.sleep(500)
    assert.is(cluster.master.stateOf(1, handleOf(1)), 'gone')
  }))

test('an order for an older version is not carried out', () =>
  inCluster(6, async (cluster, world) => {
    cluster.master.orders = [{ ...deleteOrder, version: 0 }]
    await world.sleep(500)
    assert.is(cluster.master.stateOf(1, handleOf(1)), 'sealed')
  }))

test('a master that lost history: bytes are read, nothing is allocated, cut or deleted, until the loss is accepted', () =>
  inCluster(7, async (cluster, world) => {
    const { master } = cluster
    await cluster.nodes.get(1)!.close()
    master.logIndex = 40
    await cluster.startNode(1)
    assert.ok(cluster.nodes.get(1)!.status().isMasterRolledBack)
    master.orders = [deleteOrder]
    await world.sleep(500)
    assert.is(master.stateOf(1, handleOf(1)), 'sealed')
    const connection = await cluster.connect(1)
    assert.is(Buffer.compare(await readRange(connection, handleOf(1), 0, LENGTH), bytesAt(1, 0, LENGTH)), 0)
    assert.is(await codeOf(openChunk(connection, cluster.allocation(handleOf(2), [1]))), 'MASTER_ROLLED_BACK')
    assert.is(await codeOf(master.ask(1, 'seal', { ...sealOrder, history: master.history })), 'MASTER_ROLLED_BACK')
    master.rollbackLostIndex = 1000
    await world.sleep(500)
    assert.not(cluster.nodes.get(1)!.status().isMasterRolledBack)
    await openChunk(connection, cluster.allocation(handleOf(2), [1], { logIndex: 41 }))
  }))

test('with the master away writers go on, and the server joins again by itself', () =>
  inCluster(
    8,
    async (cluster, world) => {
      const connection = await cluster.connect(1)
      world.network.partition('cs1', 'master')
      await world.sleep(5000)
      await ask(connection, 'pushPiece', { handle: handleOf(1), version: 1, offset: LENGTH }, bytesAt(1, LENGTH, 5000))
      await ask(connection, 'commit', { handle: handleOf(1), version: 1, serial: 0, length: LENGTH + 5000, sync: true })
      assert.not(cluster.nodes.get(1)!.status().isJoined)
      cluster.master.joined.clear()
      world.network.heal()
      await world.until('it joins again', () => cluster.master.joined.has(1))
      const facts = await cluster.master.fence(1, handleOf(1))
      assert.ok(facts.inLife, 'a lost connection is no new life')
      assert.is(facts.length, LENGTH + 5000)
    },
    false,
  ))

test('a replica found corrupt is told to the master at once', () =>
  inCluster(9, async (cluster, world) => {
    world.machine('cs1').disk.flipBit('/d0/chunks/01/0000e000000001.data', 5000, 1)
    const connection = await cluster.connect(1)
    assert.is(await codeOf(readRange(connection, handleOf(1), 0, LENGTH)), 'CORRUPT_REPLICA')
    await world.sleep(60)
    assert.is(cluster.master.stateOf(1, handleOf(1)), 'corrupt')
  }))

test('only the master fences and seals', () =>
  inCluster(10, async (cluster) => {
    const connection = await cluster.connect(1)
    const order = { ...sealOrder, history: cluster.master.history }
    assert.is(await codeOf(ask(connection, 'seal', order)), 'WRONG_ROLE')
    const { directory, life } = cluster.allocation(handleOf(1), [1]).members[0]!
    const body = { handle: handleOf(1), directory, life, history: cluster.master.history }
    assert.is(await codeOf(ask(connection, 'fence', body)), 'WRONG_ROLE')
  }))

test('the first start waits for a master, and can be given up', async () => {
  const world = new SimWorld(11)
  const machine = world.machine('cs1')
  const stop = new AbortController()
  await world.run(async () => {
    const starting = startChunkserver({
      io: machine.io,
      logger: machine.log,
      onBug: (error) => world.fail(error),
      options: {
        directories: ['/d0'],
        masters: [{ host: 'master', port: 9000 }],
        listen: { host: 'cs1', port: 7000 },
        signal: stop.signal,
      },
    })
    world.machine('master')
    world.after(3000, () => stop.abort())
    assert.is(await codeOf(starting), 'ABORTED')
    assert.equal(machine.disk.paths(), ['/d0/lock'], 'nothing is written before the cluster is known')
  })
})

test("another cluster's master is refused, and the server keeps asking", async () => {
  const world = new SimWorld(12)
  const cluster = new Cluster(world)
  await world.run(async () => {
    await cluster.start(1)
    await cluster.nodes.get(1)!.close()
    await cluster.master.server!.close(0)
    await world.sleep(2000)
    cluster.master.joined.clear()
    await cluster.master.listen('ffffffffffffffffffffffffffffffff' as ClusterId)
    const { io, log } = world.machine('cs1')
    const node = await startChunkserver({
      io,
      logger: log,
      onBug: (error) => world.fail(error),
      options: { directories: ['/d0'], masters: [{ host: 'master', port: 9000 }], listen: { host: 'cs1', port: 7000 } },
    })
    await world.sleep(2000)
    assert.not(node.status().isJoined)
    assert.is(cluster.master.joined.size, 0)
    assert.ok(log.lines.some((line) => line.includes('WRONG_CLUSTER') || line.includes('belongs to cluster')))
    await node.close()
  })
})

test('a failed directory is reported with its replicas, and the server goes on', () =>
  inCluster(
    13,
    async (cluster, world) => {
      world.machine('cs1').disk.failSync(/\.data$/)
      const connection = await cluster.connect(1)
      const commit = { handle: handleOf(1), version: 1, serial: 0, length: LENGTH, sync: true }
      await ask(connection, 'pushPiece', { handle: handleOf(1), version: 1, offset: LENGTH }, Buffer.alloc(10))
      assert.is(await codeOf(ask(connection, 'commit', { ...commit, length: LENGTH + 10 })), 'FSYNC_FAILED')
      await world.sleep(300)
      assert.is(cluster.master.stateOf(1, handleOf(1)), 'gone')
      assert.is(cluster.nodes.get(1)!.status().directories[0]!.state, 'failed')
      assert.ok(cluster.nodes.get(1)!.status().isJoined)
    },
    false,
  ))

test.run()
