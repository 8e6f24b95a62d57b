// Small files written at the same time: they travel together, and each lives and fails for itself.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { KiB, MiB } from '../../src/base/units.ts'
import { rejects, withCluster } from './cluster-fixture.ts'
import type { FakeChunkserver } from './fake-chunkserver.ts'

const total = (servers: readonly FakeChunkserver[], name: 'appendShared'): number =>
  servers.reduce((sum, server) => sum + (server.counts.get(name) ?? 0), 0)

test('files written at the same time share appends, and each is read back as it was', async () => {
  await withCluster(90, async ({ client, world, servers }) => {
    const files = Array.from({ length: 300 }, (_, i) => ({
      path: `/f${i}`,
      data: world.random.bytes(1 + ((i * 97) % 9000)),
    }))
    await Promise.all(files.map(({ path, data }) => client.writeFile(path, data)))
    for (const { path, data } of files) assert.is(Buffer.compare(await client.readFile(path), data), 0, path)
    assert.ok(total(servers, 'appendShared') <= 12, `${total(servers, 'appendShared')} appends`)
    // One alone waits for nobody.
    const startMs = world.nowMs
    await client.writeFile('/alone', Buffer.from('x'))
    assert.ok(world.nowMs - startMs < 50, `${world.nowMs - startMs} ms`)
  })
})

test('the primary dies with an append of many files: they are all stored elsewhere, once', async () => {
  for (const moment of ['before it stores them', 'before it answers'] as const) {
    await withCluster(
      91,
      async ({ client, world, servers }) => {
        const files = Array.from({ length: 60 }, (_, i) => ({ path: `/f${i}`, data: world.random.bytes(20 * KiB + i) }))
        let killed: FakeChunkserver | undefined
        for (const server of servers) {
          server.interfere = async (name) => {
            if (killed !== undefined) return
            if (moment === 'before it stores them' && name === 'appendShared') {
              killed = server
              server.kill()
              await new Promise(() => {}) // dead: it never goes on
            }
            if (moment === 'before it answers' && name === 'appendBatch') {
              // A secondary has them; the primary is gone before it can say so.
              killed = servers.find((other) => (other.counts.get('appendShared') ?? 0) > 0)!
              killed.kill()
            }
          }
        }
        await Promise.all(files.map(({ path, data }) => client.writeFile(path, data)))
        assert.ok(killed !== undefined)
        for (const { path, data } of files) assert.is(Buffer.compare(await client.readFile(path), data), 0, path)
        assert.is((await client.list('/')).entries.length, files.length)
      },
      { servers: 4 },
    )
  }
})

test('one that gives up, and one whose name is taken, leave those beside them alone', async () => {
  await withCluster(92, async ({ client, world, servers }) => {
    await client.writeFile('/taken', Buffer.from('old'))
    for (const server of servers) {
      server.interfere = async (name) => {
        if (name === 'appendShared') await world.sleep(300)
      }
    }
    const controller = new AbortController()
    const given = client.writeFile('/given-up', Buffer.alloc(1000, 1), { signal: controller.signal })
    const taken = client.writeFile('/taken', Buffer.alloc(1000, 2))
    const lower = client.writeFile('/nowhere/file', Buffer.alloc(1000, 3))
    const others = Array.from({ length: 20 }, (_, i) => client.writeFile(`/f${i}`, Buffer.alloc(1000 + i, i)))
    const failures = Promise.all([
      rejects(given, 'ABORTED'),
      rejects(taken, 'ALREADY_EXISTS'),
      rejects(lower, 'NOT_FOUND'),
    ])
    await world.sleep(100)
    controller.abort()
    const [, exists, missing] = await failures
    assert.match(exists.message, /\/taken/)
    assert.match(missing.message, /\/nowhere/)
    await Promise.all(others)
    for (let i = 0; i < 20; i++) {
      assert.is(Buffer.compare(await client.readFile(`/f${i}`), Buffer.alloc(1000 + i, i)), 0)
    }
    assert.is((await client.readFile('/taken')).toString(), 'old')
    assert.is(await client.exists('/given-up'), false)
  })
})

test('many at once stay within the bytes that may be under way, and fill one small chunk after the other', async () => {
  await withCluster(
    93,
    async ({ client, world }) => {
      const files = Array.from({ length: 90 }, (_, i) => ({ path: `/f${i}`, data: world.random.bytes(240 * KiB + i) }))
      await Promise.all(files.map(({ path, data }) => client.writeFile(path, data)))
      for (const { path, data } of files) assert.is(Buffer.compare(await client.readFile(path), data), 0, path)
    },
    { master: { chunkBytes: 2 * MiB } },
  )
})

test.run()
