// Goal: whatever a client sends, the answer is a typed error or right, and the server goes on.
// Method: valid bodies with fields drawn at random (near the bounds, of existing and unknown chunks), and bodies of
// rubbish, to every message; a bug (an assertion) fails the run.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { DfsError, isDfsError } from '../../src/base/errors.ts'
import type { ServerId } from '../../src/base/ids.ts'
import type { Random } from '../../src/base/random.ts'
import type { Connection } from '../../src/rpc/connection.ts'
import { RpcServer } from '../../src/rpc/server.ts'
import { hello } from '../../src/wire/hello.ts'
import { Message } from '../../src/wire/messages.ts'
import { simSeeds } from '../sim/options.ts'
import { SimWorld } from '../sim/world.ts'
import { ask, Cluster, codeOf, openChunk, readRange } from './cluster-fixture.ts'
import { bytesAt, CLUSTER, handleOf } from './store-fixture.ts'

const SEEDS = simSeeds(4)

function number(random: Random): number {
  return random.pick([
    0,
    1,
    2,
    3,
    100,
    4095,
    4096,
    4097,
    10_000,
    20_000,
    2 ** 20,
    2 ** 26 - 1,
    2 ** 26,
    2 ** 26 + 1,
    2 ** 40,
  ])
}

function rubbish(random: Random, depth = 0): unknown {
  const kind = random.below(depth > 3 ? 5 : 7)
  if (kind === 0) return number(random)
  if (kind === 1) return -number(random)
  if (kind === 2) return null
  if (kind === 3) return random.pick(['', 'x', CLUSTER, 'cs2:7000', '\u0000'])
  if (kind === 4) return random.chance(0.5)
  return Array.from({ length: random.below(5) }, () => rubbish(random, depth + 1))
}

test(`random requests of every kind get typed answers, and stored bytes stay right (${SEEDS.length} seeds)`, async () => {
  for (const seed of SEEDS) {
    const world = new SimWorld(seed)
    const cluster = new Cluster(world)
    await world.run(async () => {
      await cluster.start(2)
      const { random } = world
      const good = await cluster.connect(1)
      await openChunk(good, cluster.allocation(handleOf(1), [1, 2]))
      await ask(good, 'pushPiece', { handle: handleOf(1), version: 1, offset: 0 }, bytesAt(1, 0, 20_000))
      await ask(good, 'commit', { handle: handleOf(1), version: 1, serial: 0, length: 20_000, sync: true })
      const answered = new Set<string>()
      let connection: Connection | undefined
      const handle = () => handleOf(1 + random.below(6))
      const entry = () => ({
        writer: 1 + random.below(3),
        sequence: 1 + random.below(4),
        count: 1,
        length: number(random) % 3000,
      })
      const bodies: [number, () => unknown[]][] = [
        [Message.pushPiece.number, () => [handle(), 1, number(random)]],
        [Message.commit.number, () => [handle(), 1, number(random), number(random), random.chance(0.5)]],
        [
          Message.appendShared.number,
          () => [handle(), 1, 1 + random.below(3), 1 + random.below(4), 1, random.chance(0.5)],
        ],
        [
          Message.appendBatch.number,
          () => {
            const entries = Array.from({ length: random.below(3) }, entry)
            const rows = entries.map(({ writer, sequence, count, length }) => [writer, sequence, count, length])
            return [handle(), 1, number(random) % 5, number(random), random.chance(0.5), rows]
          },
        ],
        [Message.read.number, () => [handle(), 1 + random.below(2), number(random), number(random)]],
        [Message.checksum.number, () => [handle(), 1, number(random), number(random)]],
        [Message.tail.number, () => [handle(), 1]],
        [
          Message.openChunk.number,
          () => {
            const servers = random.pick([[1], [2], [1, 2], [2, 1], [1, 1]])
            const shared = random.chance(0.5)
            const allocation = cluster.allocation(handle(), servers, {
              shared,
              chunkBytes: random.pick([1, 5000, 2 ** 26]),
            })
            return Message.openChunk.request.encode({ clusterId: CLUSTER, allocation })
          },
        ],
      ]
      const numbers = Object.values(Message).map((row) => row.number)
      for (let turn = 0; turn < 600; turn++) {
        if (connection === undefined || !connection.isOpen) connection = await cluster.connect(1)
        const [message, body] = random.pick(bodies)
        const isRubbish = random.chance(0.2)
        const data = random.chance(0.6) ? bytesAt(turn, 0, random.pick([1, 100, 5000, 70_000])) : undefined
        const sent = connection.call(
          isRubbish ? random.pick(numbers) : message,
          isRubbish ? Array.from({ length: random.below(8) }, () => rubbish(random)) : body(),
          data === undefined ? {} : { data: [data], dataCrc: random.chance(0.02) ? 1 : crc32(data) },
        )
        const noted = sent.then(
          () => answered.add('OK'),
          (error: unknown) => {
            if (!isDfsError(error) || error.code === 'INTERNAL') throw error
            answered.add(error.code)
          },
        )
        if (random.chance(0.3)) await noted
        else noted.catch((error: unknown) => world.fail(error))
      }
      await world.sleep(30_000)
      for (const code of [
        'OK',
        'BAD_REQUEST',
        'UNKNOWN_MESSAGE',
        'OUT_OF_ORDER',
        'NO_SUCH_REPLICA',
        'BEYOND_COMMITTED',
      ]) {
        assert.ok(answered.has(code), `${code} was never answered: ${[...answered]}`)
      }
      for (const server of [1, 2]) {
        const reader = await cluster.connect(server)
        assert.is(Buffer.compare(await readRange(reader, handleOf(1), 0, 20_000), bytesAt(1, 0, 20_000)), 0)
      }
      for (const node of cluster.nodes.values()) {
        assert.ok(node.status().isJoined)
        assert.is(node.status().queuedBytes, 0, 'bytes are held for nobody')
        assert.is(node.status().streams, 0)
      }
      await cluster.close()
      await world.sleep(2000)
    })
    assert.is(world.network.retainedBuffers, 0)
  }
})

test('a source that says that its disk has failed, or is full, says nothing of the disk of who copies from it', async () => {
  for (const code of ['DISK_FAILED', 'FSYNC_FAILED', 'DISK_FULL'] as const) {
    const world = new SimWorld(81)
    const cluster = new Cluster(world)
    await world.run(async () => {
      await cluster.start(1)
      const { io } = world.machine('source')
      await RpcServer.listen(
        io.network,
        { host: 'source', port: 7000 },
        {
          clock: io.clock,
          hello: () => hello('chunkserver', { cluster: CLUSTER }),
          handlers: new Map([
            [
              Message.read.number,
              () => {
                throw new DfsError(code, 'the disk of the source')
              },
            ],
          ]),
          onBug: (error) => world.fail(error),
        },
      )
      const { history, joined } = cluster.master
      const { directory } = joined.get(1)!.facts.directories[0]!
      const servers = [{ server: 2 as ServerId, address: 'source:7000' }]
      const clone = { handle: handleOf(5), version: 1, length: 10_000, digest: 7, indexDigest: 0, shared: false }
      const order = { logIndex: 3, directory, bytesPerSecond: 0, history }
      assert.is(await codeOf(cluster.master.ask(1, 'clone', { ...clone, ...order, sources: servers })), code)
      const sources = [{ handle: handleOf(5), version: 1, length: 10_000, servers }]
      const ranges = [{ source: 0, offset: 0, length: 100 }]
      assert.is(await codeOf(cluster.master.ask(1, 'gather', { handle: handleOf(6), sources, ranges, ...order })), code)
      assert.is(cluster.nodes.get(1)!.status().directories[0]!.state, 'ok')

      world.machine('cs1').disk.failWrite(/\.new$/, 1)
      world.network.refuse('source')
      const empty = { ...clone, length: 0, digest: 0, sources: servers }
      assert.is(await codeOf(cluster.master.ask(1, 'clone', { ...empty, ...order })), 'DISK_FAILED')
      assert.is(cluster.nodes.get(1)!.status().directories[0]!.state, 'failed', 'its own disk does count')
      await cluster.close()
    })
  }
})

test.run()
