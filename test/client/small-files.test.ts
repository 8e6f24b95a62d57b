// Small files written at the same time: they travel together, and each lives and fails for itself.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DfsError, isDfsError } from '../../src/base/errors.ts'
import type { SessionId } from '../../src/base/ids.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { Aborts } from '../../src/client/aborts.ts'
import type { Client } from '../../src/client/client.ts'
import { FileNamer } from '../../src/client/file-namer.ts'
import type { Links } from '../../src/client/links.ts'
import type { Connection } from '../../src/rpc/connection.ts'
import { simSeeds } from '../sim/options.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'
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

test('names given at the same time travel together; each is refused by itself, and one alone goes by itself', async () => {
  await withCluster(94, async ({ client }) => {
    const before = await asked(client)
    const writes = Array.from({ length: 200 }, (_, i) =>
      client.writeFile(`/f${i % 100}`, Buffer.alloc(i < 150 ? 10 : 0, i)),
    )
    const results = await Promise.allSettled(writes)
    assert.is(results.filter(({ status }) => status === 'fulfilled').length, 100, 'one of two wins')
    results.forEach((result, i) => {
      if (result.status === 'rejected') assert.match(String(result.reason), new RegExp(`/f${i % 100}\\b`))
    })
    assert.is((await client.list('/', { limit: 1000 })).entries.length, 100)
    const { putFiles = 0, putFile = 0 } = await asked(client)
    assert.ok(putFiles - (before.putFiles ?? 0) >= 2 && putFiles + putFile <= 12, `${putFiles} and ${putFile} requests`)
    await client.writeFile('/alone', Buffer.from('x'))
    assert.is((await asked(client)).putFile, putFile + 1)
  })
})

test('a master that dies with many names on their way: each file is there once, and none is refused as its own double', async () => {
  for (const seed of simSeeds(6)) {
    await withCluster(seed, async ({ client, world, master }) => {
      let crashes = 0
      const torture = async (): Promise<void> => {
        for (; crashes < 5; crashes++) {
          await world.sleep(5 + world.random.below(60))
          // What arrives is logged; answers don't come out any more.
          if (world.random.chance(0.7)) world.network.partition('master', 'client', { oneWay: true })
          await world.sleep(5 + world.random.below(60))
          master.crash(world.random.chance(0.5))
          world.network.heal()
          await master.restart()
        }
      }
      const torturing = torture()
      const paths: string[] = []
      while (crashes < 5) {
        const round = Array.from({ length: 30 }, (_, i) => `/f${paths.length + i}`)
        paths.push(...round)
        await Promise.all(round.map((path) => client.writeFile(path, Buffer.from(`of ${path}`))))
      }
      await torturing
      for (const path of paths) assert.is((await client.readFile(path)).toString(), `of ${path}`, `seed ${seed}`)
    })
  }
})

test('power fails everywhere while many are stored: each is there whole or not at all, and those acknowledged are there', async () => {
  for (const seed of simSeeds(4)) {
    const world = new SimWorld(seed)
    await world.run(async () => {
      const cluster = new SimCluster(world, 3, { heartbeatMs: 100 })
      await cluster.start()
      const client = await cluster.client({ timeoutMs: 90_000 })
      const acknowledged = new Set<string>()
      const files = new Map<string, Buffer>()
      world.afterEvents(100 + world.random.below(800), () => {
        for (const server of cluster.chunkservers) server.crash(true)
        if (world.random.chance(0.5)) cluster.master.crash(true)
        world.after(500, () => {
          for (const server of cluster.chunkservers) void server.restart()
          if (cluster.master.node === undefined) void cluster.master.restart()
        })
      })
      for (let round = 0; round < 6; round++) {
        const writes = Array.from({ length: 40 }, async (_, i) => {
          const path = `/f${round}-${i}`
          const bytes = world.random.bytes(1 + world.random.below(6 * KiB))
          files.set(path, bytes)
          await client.writeFile(path, bytes)
          acknowledged.add(path)
        })
        for (const { status, ...rest } of await Promise.allSettled(writes)) {
          if (status === 'rejected' && 'reason' in rest && !isDfsError(rest.reason)) throw rest.reason
        }
      }
      for (const [path, bytes] of files) {
        if (!acknowledged.has(path) && !(await client.exists(path))) continue
        assert.is(Buffer.compare(await client.readFile(path), bytes), 0, `seed ${seed}: ${path}`)
      }
      assert.ok(acknowledged.size >= 200, `seed ${seed}: ${acknowledged.size}`)
      client.close()
    })
  }
})

test('a file whose open tail has to be sealed first is waited for alone', async () => {
  await withCluster(95, async ({ client, world, servers }) => {
    const appender = await client.openAppender('/log', { create: true })
    await appender.append(Buffer.from('record'))
    // Its tail can't be sealed as long as nobody who holds it answers a fence.
    for (const server of servers) {
      server.interfere = async (name) => {
        if (name === 'fence') await world.sleep(4000)
      }
    }
    const startMs = world.nowMs
    let replacedMs = 0
    const replaced = client.writeFile('/log', Buffer.from('new'), { overwrite: true }).then(() => {
      replacedMs = world.nowMs - startMs
    })
    await Promise.all(Array.from({ length: 30 }, (_, i) => client.writeFile(`/f${i}`, Buffer.from(`${i}`))))
    assert.ok(world.nowMs - startMs < 1000, `${world.nowMs - startMs} ms`)
    await replaced
    assert.ok(replacedMs >= 4000, `${replacedMs} ms`)
    assert.is((await client.readFile('/log')).toString(), 'new')
    await appender.close()
  })
})

test('a master that does not know putFiles is asked for each file, and not tried again', async () => {
  const world = new SimWorld(96)
  await world.run(async () => {
    const calls: string[] = []
    let answer: () => unknown = () => {
      throw new DfsError('UNKNOWN_MESSAGE', 'message 124 is not known here')
    }
    // Only what the namer uses of it.
    const links = {
      call: async (_: unknown, name: string) => {
        calls.push(name)
        await world.sleep(5)
        return name === 'putFile' ? { inode: 7 } : answer()
      },
    } as unknown as Links
    const connection = {} as unknown as Connection
    const name = (namer: FileNamer, sent: number[], request: number) =>
      namer.name(
        connection,
        {
          by: { session: 1 as SessionId, request, floor: request - 1 },
          publish: { path: `/f${request}`, overwrite: false },
          inode: { mode: 0o644, owner: '', group: '', goal: 0 },
          extents: [],
          mtimeMs: 0,
        },
        { timeoutMs: 1000, signal: undefined, onSend: () => sent.push(request) },
      )
    const { clock } = world.machine('a').io
    const sent: number[] = []
    const old = new FileNamer(clock, new Aborts(), links)
    assert.equal(await Promise.all([1, 2, 3].map((request) => name(old, sent, request))), Array(3).fill({ inode: 7 }))
    assert.equal(calls.splice(0), ['putFiles', 'putFile', 'putFile', 'putFile'])
    await Promise.all([4, 5].map((request) => name(old, sent, request)))
    assert.equal(calls.splice(0), ['putFile', 'putFile'])
    // Answers that can't be believed.
    const sane = new FileNamer(clock, new Aborts(), links)
    answer = () => ({ verdicts: [{ inode: 1, refusal: undefined }] })
    const ends = await Promise.allSettled([6, 7].map((request) => name(sane, sent, request)))
    for (const end of ends) assert.match(String(end.status === 'rejected' && end.reason), /1 verdicts on 2 files/)
    answer = () => ({
      verdicts: [
        { inode: 0, refusal: 'no' },
        { inode: 9, refusal: undefined },
      ],
    })
    const [refused, named] = await Promise.allSettled([8, 9].map((request) => name(sane, sent, request)))
    assert.is(refused?.status, 'rejected')
    assert.equal(named, { status: 'fulfilled', value: { inode: 9 } })
    assert.equal(new Set(sent), new Set([1, 2, 3, 4, 5, 6, 7, 8, 9]))
  })
})

/** How often the master was asked for what. */
async function asked(client: Client): Promise<Record<string, number>> {
  const document = (await client.top()) as { requests: Record<string, number> }
  return document.requests
}

test.run()
