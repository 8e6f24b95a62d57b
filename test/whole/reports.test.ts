// What the master knows of replicas stays what the servers have: changes ride in heartbeats, each with the sum of all
// there is, and only where that differs is everything said again (GFS §2.6.2; DESIGN §5).

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ChunkHandle, DirectoryId, Life, ServerId } from '../../src/base/ids.ts'
import { Inventory } from '../../src/chunkserver/inventory.ts'
import type { Client } from '../../src/client/client.ts'
import { Replicas } from '../../src/master/replicas.ts'
import { ask } from '../../src/rpc/ask.ts'
import { connect } from '../../src/rpc/pool.ts'
import { hello } from '../../src/wire/hello.ts'
import type { DirectoryFacts, ReplicaFacts } from '../../src/wire/messages.ts'
import { codeOf } from '../sim/raw-client.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

const KIB = 1024

interface InfoChunk {
  readonly handle: number
  readonly replicas: readonly { readonly server: string; readonly state: string }[]
}

/** Four servers with some files, at rest. */
async function atRest(
  seed: number,
  main: (cluster: SimCluster, client: Client, world: SimWorld) => Promise<void>,
): Promise<void> {
  const world = new SimWorld(seed)
  await world.run(async () => {
    const cluster = new SimCluster(world, 4)
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 20_000 })
    for (let file = 0; file < 6; file++) await client.writeFile(`/f${file}`, world.random.bytes(400 * KIB))
    await client.writeFile('/small', world.random.bytes(3000))
    await world.sleep(20_000)
    await main(cluster, client, world)
    client.close()
  })
}

async function chunksOf(client: Client, path: string): Promise<readonly InfoChunk[]> {
  return ((await client.info(path)) as { chunks: InfoChunk[] }).chunks
}

async function goodReplicas(client: Client, path: string): Promise<number[]> {
  const chunks = await chunksOf(client, path)
  return chunks.map(({ replicas }) => replicas.filter(({ state }) => state === 'good').length)
}

/** Lines of the master's log about full reports that a difference made it ask for. */
function asked(cluster: SimCluster): number {
  return cluster.master.machine.log.lines.filter((line) => line.includes('event=replicas-differ')).length
}

test('a heartbeat of a server at rest is under 100 bytes on the wire, and nothing is said twice', () =>
  atRest(1, async (cluster, _client, world) => {
    const before = cluster.chunkservers.map(({ node }) => node!.counters.heartbeats)
    const sent = cluster.chunkservers.map(({ machine }) => world.network.sentBytes(machine.name, 'master'))
    await world.sleep(60_000)
    for (const [index, { machine, node }] of cluster.chunkservers.entries()) {
      const beats = node!.counters.heartbeats - before[index]!
      const bytes = world.network.sentBytes(machine.name, 'master') - sent[index]!
      assert.ok(beats >= 110 && beats <= 125, `${beats} heartbeats in a minute`)
      assert.ok(bytes / beats < 100, `${machine.name}: ${(bytes / beats).toFixed(1)} bytes a heartbeat`)
    }
    assert.is(asked(cluster), 0)
  }))

test('every sum agrees while files come and go, chunks are sealed, copied and deleted, and servers die', () =>
  atRest(2, async (cluster, client, world) => {
    for (let round = 0; round < 6; round++) {
      const victim = cluster.chunkservers[round % 4]!
      victim.crash(round % 2 === 0)
      await client.writeFile(`/r${round}`, world.random.bytes(300 * KIB))
      await world.sleep(4000)
      await victim.restart()
      await client.remove(`/f${round}`)
      await client.trashEmpty()
      await world.sleep(15_000)
    }
    await world.sleep(30_000)
    assert.is(asked(cluster), 0, 'no full report was needed but those of the joins')
  }))

test('a change that never reached the master is found by the sum, and everything is said once', () =>
  atRest(3, async (cluster, client, world) => {
    const { note } = Replicas.prototype
    let lost = 0
    let handle: number | undefined
    Replicas.prototype.note = function (server, facts) {
      // That a replica is sealed is said twice: in the answer to the order, and in the next heartbeat.
      const isVictim = server.id === 1 && facts.state === 'sealed' && (handle ?? facts.handle) === facts.handle
      if (lost === 2 || !isVictim) return note.call(this, server, facts)
      handle = facts.handle
      lost++
    }
    try {
      for (let file = 0; lost === 0; file++) await client.writeFile(`/lost${file}`, world.random.bytes(200 * KIB))
      await world.sleep(1000)
    } finally {
      Replicas.prototype.note = note
    }
    assert.is(lost, 2)
    await world.sleep(5000)
    assert.is(asked(cluster), 1)
    assert.equal(await goodReplicas(client, '/lost0'), [3])
    await world.sleep(60_000)
    assert.is(asked(cluster), 1, 'and then it agrees')
  }))

test('a replica that is gone, with nobody told, is found by the sum and made again', () =>
  atRest(4, async (cluster, client, world) => {
    const [chunk] = await chunksOf(client, '/f0')
    const { handle, replicas } = chunk!
    const { changed } = Inventory.prototype
    let lost = 0
    Inventory.prototype.changed = function (facts) {
      if (facts.state === 'gone' && facts.handle === handle && lost++ === 0) return
      changed.call(this, facts)
    }
    try {
      // A stray order of a master that went mad: the server obeys, and forgets to say so.
      const { takeOrders } = Replicas.prototype
      let isGiven = false
      Replicas.prototype.takeOrders = function (server) {
        if (isGiven || `cs-${server}` !== replicas[0]!.server) return takeOrders.call(this, server)
        isGiven = true
        return [{ kind: 'delete', handle: handle as never, version: 2 ** 32 - 1, length: 0, digest: 0, indexDigest: 0 }]
      }
      await world.sleep(2000)
      Replicas.prototype.takeOrders = takeOrders
    } finally {
      Inventory.prototype.changed = changed
    }
    assert.is(lost, 1)
    assert.equal(await goodReplicas(client, '/f0'), [3, 3], 'nobody knows yet')
    await world.sleep(180_000)
    assert.equal(await goodReplicas(client, '/f0'), [3, 3])
    const holders = (await chunksOf(client, '/f0'))[0]!.replicas.map(({ server }) => server)
    const name = `${handle.toString(16).padStart(14, '0')}.data`
    for (const server of holders) {
      const { machine } = cluster.chunkservers.find(({ node }) => `cs-${node!.status().server}` === server)!
      assert.ok(
        machine.disk.paths().some((path) => path.endsWith(name)),
        `${server} has it`,
      )
    }
  }))

test('after a restart the master hears everything once, and sums agree from then on', () =>
  atRest(5, async (cluster, client, world) => {
    cluster.master.crash(true)
    await world.sleep(500)
    await cluster.master.restart()
    await world.sleep(20_000)
    assert.equal(await goodReplicas(client, '/f0'), [3, 3])
    assert.is(asked(cluster), 0)
  }))

test('where the network delays everybody heartbeats get rarer, and nobody is taken for dead', () =>
  atRest(6, async (cluster, _client, world) => {
    for (const { machine } of cluster.chunkservers) {
      for (const [from, to] of [
        [machine.name, 'master'],
        ['master', machine.name],
      ] as const)
        world.network.setLink(from, to, { latencyMsMin: 100, latencyMsMax: 200 })
    }
    await world.sleep(60_000)
    const before = cluster.chunkservers[0]!.node!.counters.heartbeats
    await world.sleep(60_000)
    const beats = cluster.chunkservers[0]!.node!.counters.heartbeats - before
    assert.ok(beats > 25 && beats < 60, `${beats} heartbeats in a minute`)
    const dead = cluster.master.machine.log.lines.filter((line) => line.includes('event=server-lost'))
    assert.equal(dead, [])
  }))

test('a server that lost power and is back at once is taken in, while its old connection looks alive still', () =>
  atRest(8, async (cluster, client, world) => {
    for (const server of cluster.chunkservers) {
      server.crash(true)
      const restarted = world.nowMs
      await server.restart()
      await world.until('it has joined', () => server.node!.status().isJoined, 10_000)
      assert.ok(world.nowMs - restarted < 5000)
      assert.not.ok(server.machine.log.lines.some((line) => line.includes('DUPLICATE_IDENTITY')))
    }
    await world.sleep(5000)
    assert.is((await client.fsck('/')).status, 'HEALTHY')
  }))

test('a server that speaks of the disks of others, or comes with one of them, is refused, and nobody loses by it', () =>
  atRest(7, async (cluster, client, world) => {
    const { io } = world.machine('rogue')
    const dial = {
      clock: io.clock,
      network: io.network,
      hello: () => hello('chunkserver', {}),
      onBug: (error: unknown) => world.fail(error),
    }
    const connection = await connect(dial, cluster.master.address, 1000)
    const [own, others] = [directoryOf(77 as DirectoryId), cluster.chunkservers[0]!.node!.status().directories[0]!]
    const joining = { identity: 5, server: 0 as ServerId, address: 'rogue:1', http: '', zone: '', rack: '' }
    const join = (directory: DirectoryFacts) =>
      ask(connection, 'join', { ...joining, directories: [directory], seenLogIndex: 0, version: '', pid: 1 })
    assert.is(await codeOf(join(others)), 'DUPLICATE_IDENTITY')
    await join(own)
    const [chunk] = await chunksOf(client, '/f0')
    const directory = others.directory
    const gone = {
      handle: chunk!.handle as ChunkHandle,
      version: 1,
      directory,
      state: 'gone' as const,
      length: 0,
      digest: 0,
    }
    const report = { sequence: 1, isFirst: true, isLast: true, replicas: [gone] }
    assert.is(await codeOf(ask(connection, 'chunkReport', report)), 'WRONG_DISK')
    const quiet = { streams: 0, queuedBytes: 0, replicaSum: undefined, readBytes: 0, writtenBytes: 0 }
    const beat = (directories: DirectoryFacts[], changes: ReplicaFacts[]) =>
      ask(connection, 'heartbeat', { sequence: 2, directories, hasDirectories: true, changes, ...quiet })
    assert.is(await codeOf(beat([own], [gone])), 'WRONG_DISK')
    assert.is(await codeOf(beat([own, others], [])), 'WRONG_DISK')
    assert.equal(await goodReplicas(client, '/f0'), [3, 3])
    await world.sleep(5000)
    assert.equal(await goodReplicas(client, '/f0'), [3, 3])
    assert.is(asked(cluster), 0, 'those it spoke of need not say everything again')
    connection.close()
  }))

function directoryOf(directory: DirectoryId): DirectoryFacts {
  return {
    directory,
    life: 1 as Life,
    path: '/d',
    state: 'ok',
    capacityBytes: 2 ** 40,
    usedBytes: 0,
    freeBytes: 2 ** 40,
    chunks: 0,
    scrubPermille: 0,
    scrubAgeMs: undefined,
    device: '',
    slowMs: 0,
  }
}

test.run()
