import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import type { ClusterId } from '../../src/base/ids.ts'
import type { Connection } from '../../src/rpc/connection.ts'
import { type Allocation, Message } from '../../src/wire/messages.ts'
import { simSeeds, swarmOptions } from '../sim/options.ts'
import { SimWorld } from '../sim/world.ts'
import { ask, Cluster, codeOf, openChunk, readRange, WRITER } from './cluster-fixture.ts'
import { bytesAt, handleOf } from './store-fixture.ts'

const SEEDS = simSeeds(4)

async function inCluster(input: number, main: (cluster: Cluster, world: SimWorld) => Promise<void>): Promise<void> {
  const world = new SimWorld(swarmOptions(input))
  const cluster = new Cluster(world)
  await world.run(async () => {
    await cluster.start(3)
    await main(cluster, world)
    await cluster.close()
    await world.sleep(2000)
  })
  assert.is(world.network.retainedBuffers, 0, 'a received buffer was not given back')
}

function pushPieces(
  connection: Connection,
  allocation: Allocation,
  counts: readonly number[],
  from = 0,
): Promise<unknown>[] {
  let offset = from
  return counts.map((count) => {
    const data = bytesAt(1, offset, count)
    const pushed = ask(connection, 'pushPiece', { handle: allocation.handle, version: 1, offset }, data)
    offset += count
    return pushed
  })
}

test(`pieces go down the chain, all in flight, and every member has the committed bytes (${SEEDS.length} seeds)`, async () => {
  for (const seed of SEEDS) {
    await inCluster(seed, async (cluster) => {
      const allocation = cluster.allocation(handleOf(1), [2, 3, 1])
      const connection = await cluster.connect(2)
      const opened = openChunk(connection, allocation)
      const pushed = pushPieces(connection, allocation, [100_000, 5000, 4096, 77, 300_000])
      await Promise.all([opened, ...pushed])
      const { handle } = allocation
      const length = 409_173
      const commit = { handle, version: 1, serial: 0, length, sync: true }
      assert.equal(await ask(connection, 'commit', commit), { length })
      assert.equal(await ask(connection, 'tail', { handle, version: 1 }), { length, isSealed: false })
      for (const server of [1, 2, 3]) {
        const reader = await cluster.connect(server)
        assert.is(Buffer.compare(await readRange(reader, handle, 3, length - 3), bytesAt(1, 3, length - 3)), 0)
        const { digest } = await ask(reader, 'checksum', { handle, version: 1, offset: 10, length: 90_000 })
        assert.is(digest, crc32(bytesAt(1, 10, 90_000)))
        const facts = await cluster.master.fence(server, handle)
        assert.equal(facts, {
          exists: true,
          inLife: true,
          length,
          digest: crc32(bytesAt(1, 0, length)),
          syncedLength: length,
          indexDigest: 0,
        })
      }
      const order = {
        handle,
        version: 1,
        length,
        digest: crc32(bytesAt(1, 0, length)),
        indexDigest: 0,
        history: cluster.master.history,
      }
      for (const server of [1, 2, 3]) {
        assert.is((await cluster.master.ask(server, 'seal', order)).facts.state, 'sealed')
      }
      assert.is(await codeOf(pushPieces(connection, allocation, [10], length)[0]!), 'CHUNK_SEALED')
      await cluster.world.sleep(500)
      for (const server of [1, 2, 3]) assert.is(cluster.master.stateOf(server, handle), 'sealed')
    })
  }
})

test('commits ride behind the pieces without waiting for their answers', () =>
  inCluster(21, async (cluster) => {
    const allocation = cluster.allocation(handleOf(1), [1, 2, 3])
    const { handle } = allocation
    const connection = await cluster.connect(1)
    const all: Promise<unknown>[] = [openChunk(connection, allocation)]
    let length = 0
    for (let round = 0; round < 10; round++) {
      all.push(...pushPieces(connection, allocation, [50_000, 3001], length))
      length += 53_001
      all.push(ask(connection, 'commit', { handle, version: 1, serial: 0, length, sync: round % 3 === 0 }))
    }
    await Promise.all(all)
    for (const server of [1, 2, 3]) {
      const reader = await cluster.connect(server)
      assert.is(Buffer.compare(await readRange(reader, handle, 0, length), bytesAt(1, 0, length)), 0)
    }
  }))

test('a killed member in the middle breaks the chain, and the answer names it', () =>
  inCluster(22, async (cluster, world) => {
    const allocation = cluster.allocation(handleOf(1), [1, 2, 3])
    const connection = await cluster.connect(1)
    await Promise.all([openChunk(connection, allocation), ...pushPieces(connection, allocation, [10_000])])
    world.machine('cs2').crash({ power: false })
    cluster.nodes.delete(2)
    const error = await pushPieces(connection, allocation, [10_000], 10_000)[0]!.catch((reason: unknown) => reason)
    const { code, detail } = error as { code: string; detail: { server: string } }
    assert.is(code, 'CHAIN_BROKEN')
    assert.is(detail.server, 'cs-2')
    const facts = await cluster.master.fence(1, handleOf(1))
    assert.ok(facts.length === 20_000 && facts.inLife)
    assert.is((await cluster.master.fence(3, handleOf(1))).length, 10_000)
  }))

test('a killed member at the end of the chain is named through the member before it', () =>
  inCluster(23, async (cluster, world) => {
    const allocation = cluster.allocation(handleOf(1), [1, 2, 3])
    const connection = await cluster.connect(1)
    await Promise.all([openChunk(connection, allocation), ...pushPieces(connection, allocation, [10_000])])
    world.machine('cs3').crash({ power: true })
    cluster.nodes.delete(3)
    const commit = { handle: handleOf(1), version: 1, serial: 0, length: 10_000, sync: true }
    const error = await ask(connection, 'commit', commit).catch((reason: unknown) => reason)
    const { code, detail } = error as { code: string; detail: { server: string } }
    assert.is(code, 'CHAIN_BROKEN')
    assert.is(detail.server, 'cs-3')
  }))

test('a fence at one member is enough: nothing more is acknowledged', () =>
  inCluster(24, async (cluster) => {
    const allocation = cluster.allocation(handleOf(1), [1, 2, 3])
    const connection = await cluster.connect(1)
    await Promise.all([openChunk(connection, allocation), ...pushPieces(connection, allocation, [10_000])])
    await cluster.master.fence(3, handleOf(1))
    assert.is(await codeOf(pushPieces(connection, allocation, [10_000], 10_000)[0]!), 'CHUNK_FENCED')
    const commit = { handle: handleOf(1), version: 1, serial: 0, length: 10_000, sync: false }
    assert.is(await codeOf(ask(connection, 'commit', commit)), 'CHUNK_FENCED')
  }))

test('a member in another life takes no bytes, also after it had some', () =>
  inCluster(25, async (cluster, world) => {
    const allocation = cluster.allocation(handleOf(1), [1, 2, 3])
    const connection = await cluster.connect(1)
    await Promise.all([openChunk(connection, allocation), ...pushPieces(connection, allocation, [10_000])])
    const commit = { handle: handleOf(1), version: 1, serial: 0, length: 10_000, sync: false }
    await ask(connection, 'commit', commit)
    const machine = world.machine('cs3')
    machine.crash({ power: false })
    machine.restart()
    await cluster.startNode(3)
    assert.is(await codeOf(pushPieces(connection, allocation, [10_000], 10_000)[0]!), 'CHAIN_BROKEN')
    const { directory, life } = allocation.members[2]!
    const facts = await cluster.master.ask(3, 'fence', {
      handle: handleOf(1),
      directory,
      life,
      history: cluster.master.history,
    })
    assert.is(facts.inLife, false)
    assert.is(facts.length, 10_000, 'kill -9 keeps flushed bytes')
    const again = cluster.allocation(handleOf(2), [3, 1], { members: [allocation.members[2]!, allocation.members[0]!] })
    assert.is(await codeOf(openChunk(await cluster.connect(3), again)), 'WRONG_LIFE')
  }))

test('a piece that breaks off does not count anywhere, and holds nothing', () =>
  inCluster(26, async (cluster, world) => {
    const allocation = cluster.allocation(handleOf(1), [1, 2, 3])
    const connection = await cluster.connect(1)
    await Promise.all([openChunk(connection, allocation), ...pushPieces(connection, allocation, [10_000])])
    const pushed = pushPieces(connection, allocation, [3_000_000], 10_000)[0]!
    world.network.cutAfter('client', 'cs1', 500_000)
    assert.is(await codeOf(pushed), 'CONNECTION_LOST')
    await world.sleep(1000)
    for (const server of [1, 2, 3]) assert.is((await cluster.master.fence(server, handleOf(1))).length, 10_000)
  }))

test(`appends of many writers are stored once, in one order, on all members (${SEEDS.length} seeds)`, async () => {
  for (const seed of SEEDS) {
    await inCluster(seed + 100, async (cluster) => {
      const allocation = cluster.allocation(handleOf(1), [1, 2, 3], { shared: true })
      const { handle } = allocation
      const connections = [await cluster.connect(1), await cluster.connect(1, 'client2')]
      await openChunk(connections[0]!, allocation)
      const records = Array.from({ length: 60 }, (_, index) => Buffer.alloc(1 + ((index * 997) % 9000), index))
      const append = (index: number, turn = index) =>
        ask(
          connections[turn % 2]!,
          'appendShared',
          { handle, version: 1, writer: WRITER, sequence: index + 1, count: 1, sync: index % 7 === 0 },
          records[index]!,
        )
      const jobs: Promise<{ offset: number }>[] = []
      for (let index = 0; index < records.length; index++) {
        jobs.push(append(index))
        if (index % 10 === 0) await jobs.at(-1)
      }
      const twice = records.map((_, index) => append(index, index + 1))
      const offsets = (await Promise.all(jobs)).map((reply) => reply.offset)
      assert.equal(
        (await Promise.all(twice)).map((reply) => reply.offset),
        offsets,
        'a retry gets the old answer',
      )
      const { length } = await ask(connections[0]!, 'tail', { handle, version: 1 })
      assert.is(
        length,
        records.reduce((sum, record) => sum + record.length, 0),
      )
      const fences = []
      for (const server of [1, 2, 3]) {
        const reader = await cluster.connect(server)
        const all = await readRange(reader, handle, 0, length)
        offsets.forEach((offset, index) => {
          const record = records[index]!
          assert.is(Buffer.compare(all.subarray(offset, offset + record.length), record), 0)
        })
        fences.push(await cluster.master.fence(server, handle))
      }
      assert.is(new Set(fences.map((facts) => `${facts.length} ${facts.digest} ${facts.indexDigest}`)).size, 1)
      const { digest, indexDigest } = fences[0]!
      for (const server of [1, 2, 3]) {
        await cluster.master.ask(server, 'seal', {
          handle,
          version: 1,
          length,
          digest,
          indexDigest,
          history: cluster.master.history,
        })
      }
      assert.is((await append(5)).offset, offsets[5], 'also after the seal')
      const unknown = { handle, version: 1, writer: WRITER, sequence: 999, count: 1, sync: false }
      assert.is(await codeOf(ask(connections[0]!, 'appendShared', unknown, Buffer.from('x'))), 'CHUNK_SEALED')
    })
  }
})

test('a shared chunk is full at its size, and no record is split', () =>
  inCluster(27, async (cluster) => {
    const allocation = cluster.allocation(handleOf(1), [1, 2], { shared: true, chunkBytes: 10_000 })
    const connection = await cluster.connect(1)
    await openChunk(connection, allocation)
    const append = (sequence: number, bytes: number) =>
      ask(
        connection,
        'appendShared',
        { handle: handleOf(1), version: 1, writer: WRITER, sequence, count: 1, sync: false },
        Buffer.alloc(bytes, 1),
      )
    assert.equal(await append(1, 6000), { offset: 0 })
    assert.is(await codeOf(append(2, 4001)), 'CHUNK_FULL')
    assert.equal(await append(3, 4000), { offset: 6000 })
    const other = await cluster.connect(2)
    const body = { handle: handleOf(1), version: 1, writer: WRITER, sequence: 9, count: 1, sync: false }
    assert.is(await codeOf(ask(other, 'appendShared', body, Buffer.from('x'))), 'NOT_PRIMARY')
    assert.is(
      await codeOf(ask(connection, 'appendShared', { ...body, sequence: 1 }, Buffer.from('x'))),
      'INVALID_ARGUMENT',
    )
  }))

test('a member that stops answering is named, the last one before those in front of it, within seconds', () =>
  inCluster(28, async (cluster, world) => {
    const allocation = cluster.allocation(handleOf(1), [1, 2, 3])
    const connection = await cluster.connect(1)
    await Promise.all([openChunk(connection, allocation), ...pushPieces(connection, allocation, [10_000])])
    world.machine('cs3').pauseMachine()
    const startMs = world.nowMs
    const errors = await Promise.all(
      pushPieces(connection, allocation, [10_000, 10_000], 10_000).map((pushed) =>
        pushed.catch((error: unknown) => error),
      ),
    )
    for (const error of errors) {
      const { code, detail } = error as { code: string; detail: { server: string } }
      assert.is(code, 'CHAIN_BROKEN')
      assert.is(detail.server, 'cs-3')
    }
    assert.ok(world.nowMs - startMs < 9000, `${world.nowMs - startMs} ms`)
    world.machine('cs3').resume()
    await world.sleep(500)
  }))

test('when every disk is slow the writer waits, and no chain breaks', () =>
  inCluster(29, async (cluster, world) => {
    const allocation = cluster.allocation(handleOf(1), [1, 2, 3])
    const connection = await cluster.connect(1)
    await openChunk(connection, allocation)
    for (const name of ['cs1', 'cs2', 'cs3']) {
      const { options } = world.machine(name).disk
      options.slowFactor = 8000 / options.latencyMsMax
    }
    await Promise.all(pushPieces(connection, allocation, [10_000, 10_000, 10_000]))
    for (const name of ['cs1', 'cs2', 'cs3']) world.machine(name).disk.options.slowFactor = 1
  }))

test('bytes that do not match their checksum count nowhere and end the connection', () =>
  inCluster(30, async (cluster) => {
    const allocation = cluster.allocation(handleOf(1), [1, 2, 3])
    const { handle } = allocation
    const connection = await cluster.connect(1)
    await Promise.all([openChunk(connection, allocation), ...pushPieces(connection, allocation, [10_000])])
    const body = Message.pushPiece.request.encode({ handle, version: 1, offset: 10_000 })
    const options = { data: [bytesAt(1, 10_000, 50_000)], dataCrc: 12345 }
    const code = await codeOf(connection.call(Message.pushPiece.number, body, options))
    assert.ok(['BAD_FRAME', 'CONNECTION_LOST'].includes(code), code)
    assert.not(connection.isOpen)
    const again = await cluster.connect(1)
    await cluster.world.sleep(100)
    await ask(again, 'pushPiece', { handle, version: 1, offset: 10_000 }, bytesAt(1, 10_000, 100))
    for (const server of [1, 2, 3]) {
      const facts = await cluster.master.fence(server, handle)
      assert.is(facts.length, 10_100)
      assert.is(facts.digest, crc32(bytesAt(1, 0, 10_100)))
    }
  }))

test('a request for a chunk of another cluster, or by no member, is refused', () =>
  inCluster(31, async (cluster) => {
    const connection = await cluster.connect(1)
    const allocation = cluster.allocation(handleOf(1), [2, 3])
    assert.is(await codeOf(openChunk(connection, allocation)), 'WRONG_DISK')
    const clusterId = 'ffffffffffffffffffffffffffffffff' as ClusterId
    assert.is(await codeOf(ask(connection, 'openChunk', { clusterId, allocation })), 'WRONG_CLUSTER')
    const push = { handle: handleOf(5), version: 1, offset: 0 }
    assert.is(await codeOf(ask(connection, 'pushPiece', push, Buffer.alloc(10))), 'NO_SUCH_REPLICA')
  }))

test.run()
