// Writing while servers and masters die, stand still and run full: the caller notices nothing but time.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { DfsError } from '../../src/base/errors.ts'
import { MiB } from '../../src/base/units.ts'
import { Client } from '../../src/client/client.ts'
import { type Fixture, rejects, withCluster } from './cluster-fixture.ts'
import type { FakeChunkserver } from './fake-chunkserver.ts'

const small = { master: { chunkBytes: 2 * MiB } }

/** Writes 6 MiB in odd cuts, calls `fault` on the way, and reads them back. */
async function writesThrough(fixture: Fixture, fault: () => void, afterBytes = 3 * MiB): Promise<void> {
  const { client, world } = fixture
  const bytes = world.random.bytes(6 * MiB)
  const writer = client.createWriter('/file')
  let isDone = false
  for (let at = 0; at < bytes.length; at += 150_007) {
    await writer.write(bytes.subarray(at, at + 150_007))
    if (at < afterBytes || isDone) continue
    isDone = true
    fault()
  }
  await writer.close()
  const read = await client.readFile('/file')
  assert.is(read.length, bytes.length)
  assert.is(Buffer.compare(read, bytes), 0)
  assert.is(await client.checksum('/file'), crc32(bytes))
}

test('any server of the chain may be killed in the middle of a write', async () => {
  for (const victim of [0, 1, 2]) {
    await withCluster(20 + victim, (fixture) => writesThrough(fixture, () => fixture.servers[victim]!.kill()), small)
  }
})

test('any server of the chain may be stopped in the middle of a write', async () => {
  for (const victim of [0, 1, 2]) {
    await withCluster(
      30 + victim,
      async (fixture) => {
        const { machine } = fixture.servers[victim]!
        await writesThrough(fixture, () => machine.pauseMachine())
        machine.resume()
      },
      small,
    )
  }
})

test('buffers that were released may be filled again at once, also when servers fail later', async () => {
  for (const victim of [undefined, 0, 1, 2]) {
    await withCluster(45, async ({ client, world, servers }) => {
      const free: Buffer[] = []
      let reusedCount = 0
      let releasedAfterFault = 0
      let isFaulty = false
      let crc = 0
      const writer = client.createWriter('/file')
      const bytesMax = 96 * MiB
      for (let at = 0; at < bytesMax; at += MiB) {
        let buffer = free.pop()
        if (buffer !== undefined) reusedCount++
        buffer ??= Buffer.alloc(MiB)
        buffer.fill(world.random.bytes(4096))
        crc = crc32(buffer, crc)
        const mine = buffer
        await writer.write(mine, () => {
          if (isFaulty) releasedAfterFault++
          mine.fill(0xee) // shows at once where it is still needed
          free.push(mine)
        })
        if (at === bytesMax / 2 && victim !== undefined) servers[victim]!.kill()
        if (servers.some((server) => (server.counts.get('fence') ?? 0) > 0)) isFaulty = true
      }
      await writer.close()
      assert.ok(reusedCount > (victim === undefined ? 20 : 0), `${reusedCount} buffers were used again`)
      assert.is(isFaulty, victim !== undefined)
      assert.is(releasedAfterFault, 0)
      assert.is(await client.checksum('/file'), crc)
    })
  }
})

test('a server that restarts in the middle takes no more bytes for its open chunk, and the file is whole', async () => {
  await withCluster(
    41,
    (fixture) =>
      writesThrough(fixture, () => {
        const server = fixture.servers[1]!
        server.kill()
        fixture.world.after(200, () => void server.restart())
      }),
    small,
  )
})

test('a chain that answers quickly gets large pieces, a slow one small ones, and its chunk is not given up', async () => {
  for (const slowMs of [0, 180]) {
    await withCluster(44, async ({ client, world, servers }) => {
      const pieces: number[] = []
      for (const server of servers) {
        server.interfere = async (name, body) => {
          if (name !== 'pushPiece') return
          if (server === servers[0]) pieces.push(body[2] as number)
          await world.sleep(slowMs)
        }
      }
      const bytes = world.random.bytes(60 * MiB)
      const writer = client.createWriter('/file')
      for (let at = 0; at < bytes.length; at += MiB) await writer.write(bytes.subarray(at, at + MiB))
      await writer.close()
      const steps = pieces.slice(1).map((offset, index) => offset - pieces[index]!)
      assert.is(Math.max(...steps), slowMs === 0 ? 4 * MiB : MiB)
      assert.is(servers[0]!.counts.get('openChunk'), 1)
      assert.is(await client.checksum('/file'), crc32(bytes))
    })
  }
})

test('a full disk, a broken chain and a fenced chunk are gone around', async () => {
  for (const code of ['DISK_FULL', 'DISK_FAILED', 'CHUNK_FENCED', 'BUSY', 'OUT_OF_ORDER'] as const) {
    await withCluster(
      42,
      async (fixture) => {
        let left = 2
        const refuse: FakeChunkserver['interfere'] = (name) => {
          if (name === 'pushPiece' && left-- > 0) throw new DfsError(code, 'the test says so')
        }
        await writesThrough(fixture, () => {
          fixture.servers[2]!.interfere = refuse
        })
        assert.ok(left <= 0, 'the fault was met')
      },
      small,
    )
  }
})

test('the master may be killed and come back in the middle of a write', async () => {
  for (const seed of [50, 51, 52]) {
    await withCluster(
      seed,
      (fixture) =>
        writesThrough(
          fixture,
          () => {
            fixture.master.crash(false)
            fixture.world.after(1500, () => void fixture.master.restart())
          },
          fixture.world.random.below(5 * MiB),
        ),
      small,
    )
  }
})

test('lost answers: the network is cut again and again, and the file is whole', async () => {
  for (const seed of [60, 61, 62]) {
    await withCluster(
      seed,
      async (fixture) => {
        const { world } = fixture
        let isOver = false
        const cut = (): void => {
          if (isOver) return
          world.network.cut('client', world.random.pick(['cs1', 'cs2', 'cs3', 'master']))
          world.after(50 + world.random.below(400), cut)
        }
        await writesThrough(fixture, cut, 0)
        isOver = true
      },
      small,
    )
  }
})

test('fewer servers than the minimum: the write waits for its patience and names every server', async () => {
  await withCluster(
    70,
    async (fixture) => {
      for (const server of fixture.servers.slice(0, 2)) server.kill()
      await fixture.world.sleep(3000)
      const startMs = fixture.world.nowMs
      const error = await rejects(fixture.client.writeFile('/f', Buffer.alloc(MiB), { timeoutMs: 2000 }), 'NO_SERVERS')
      assert.match(error.message, /cs-1|cs-2/)
      assert.ok(fixture.world.nowMs - startMs < 2600, `${fixture.world.nowMs - startMs} ms`)
      assert.is(error.detail.timedOut, true)
      const small = await rejects(fixture.client.writeFile('/s', Buffer.alloc(10), { timeoutMs: 2000 }), 'NO_SERVERS')
      assert.match(small.message, /cs-1|cs-2/)
      assert.ok(fixture.world.nowMs - startMs < 5200, `${fixture.world.nowMs - startMs} ms`)
    },
    { master: { deadAfterMs: 1000 } },
  )
})

test('chunkservers that this client alone cannot reach: the write ends by saying what it met, not only that time passed', async () => {
  for (const timeoutMs of [2000, 3000, 4000, 5000]) {
    await withCluster(140 + timeoutMs / 1000, async ({ client, world, servers }) => {
      await client.makeDirectory('/d')
      for (const { machine } of servers) world.network.partition('client', machine.name)
      const bytes = Buffer.alloc(MiB, 7)
      const error = await rejects(client.writeFile('/d/file', bytes, { timeoutMs }), 'TIMEOUT', 'UNAVAILABLE')
      assert.match(error.message, /last: .*(chunk|connect)|connect.*no progress/)
      assert.is(await client.exists('/d/file'), false)
    })
  }
})

test('small files survive a killed primary and a full packing chunk', async () => {
  await withCluster(
    71,
    async (fixture) => {
      const { client, world, servers } = fixture
      const files = Array.from({ length: 120 }, (_, i) => ({
        path: `/s${i}`,
        data: world.random.bytes(1 + world.random.below(60_000)),
      }))
      let done = 0
      await client.putMany(files, {
        parallel: 8,
        onDone: () => {
          if (++done === 40) servers[0]!.kill()
        },
      })
      for (const { path, data } of files) assert.is(Buffer.compare(await client.readFile(path), data), 0)
    },
    { master: { chunkBytes: MiB } },
  )
})

test('what the log finds shorter than every server had promised is sent again, as long as it is kept', async () => {
  // All servers sync the bytes, then lose their end and restart before the master hears of the file.
  await withCluster(74, async ({ client, world, servers, master }) => {
    const bytes = world.random.bytes(3 * MiB + 5)
    const writer = client.createWriter('/file')
    await writer.write(bytes)
    await world.sleep(100)
    const before = servers.map((server) => server.counts.get('commit') ?? 0)
    world.network.partition('client', 'master')
    const closing = writer.close()
    await world.until('all have synced', () =>
      servers.every((server, i) => (server.counts.get('commit') ?? 0) > before[i]!),
    )
    await world.sleep(50)
    for (const server of servers) {
      server.kill()
      for (const chunk of server.disk.chunks.values()) chunk.length = Math.min(chunk.length, MiB + 77)
      await server.restart()
    }
    const other = await Client.connect(world.machine('other').io, { masters: 'master:7400' })
    await world.sleep(3000)
    world.network.heal()
    await closing
    const read = await other.readFile('/file')
    assert.is(Buffer.compare(read, bytes), 0)
    assert.ok(master.node !== undefined)
    other.close()
  })
})

test('a signal, a deadline and close end a write; no half of a file is seen', async () => {
  await withCluster(72, async (fixture) => {
    const { client, world, servers } = fixture
    for (const server of servers) server.machine.pauseMachine()
    const controller = new AbortController()
    world.after(300, () => controller.abort())
    const startMs = world.nowMs
    await rejects(client.writeFile('/a', Buffer.alloc(2 * MiB), { signal: controller.signal }), 'ABORTED')
    assert.ok(world.nowMs - startMs < 400, `${world.nowMs - startMs} ms`)
    await rejects(client.writeFile('/b', Buffer.alloc(2 * MiB), { deadlineMs: 500 }), 'TIMEOUT')
    await rejects(client.writeFile('/c', Buffer.alloc(2000), { deadlineMs: 500 }), 'TIMEOUT')
    assert.ok(world.nowMs - startMs < 2000, `${world.nowMs - startMs} ms`)
    for (const server of servers) server.machine.resume()
    for (const path of ['/a', '/b', '/c']) assert.is(await client.exists(path), false)
  })
})

test('a removed file ends its writer with FILE_REMOVED', async () => {
  await withCluster(73, async ({ client }) => {
    const writer = client.createWriter('/gone')
    await writer.write(Buffer.alloc(MiB))
    await writer.flush()
    await client.remove('/gone')
    await writer.write(Buffer.alloc(MiB))
    await rejects(writer.close(), 'FILE_REMOVED')
  })
})

test.run()
