// fsck: every fault of redundancy is found, named with its file and bytes, and called what it is; and nothing else is.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import type { ServerId } from '../../src/base/ids.ts'
import { SECOND_MS } from '../../src/base/units.ts'
import type { Client } from '../../src/client/client.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

async function withCluster(
  seed: number,
  servers: number,
  work: (cluster: SimCluster, client: Client, world: SimWorld) => Promise<void>,
): Promise<void> {
  const world = new SimWorld(seed)
  await world.run(async () => {
    const cluster = new SimCluster(world, servers, { deadAfterMs: 2 * SECOND_MS })
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 4000 })
    await work(cluster, client, world)
    client.close()
  })
}

test('an ordinary seal alarms nobody: neither fsck nor report, at no moment of it', () =>
  withCluster(11, 3, async (cluster, client, world) => {
    // One member hears of each seal late.
    const slow = cluster.chunkservers[1]!.machine.name
    world.network.setLink(cluster.master.machine.name, slow, { latencyMsMin: 700, latencyMsMax: 700 })
    await world.sleep(3000)
    let isOver = false
    let unsealed = 0
    const writing = (async () => {
      for (let at = 0; at < 5; at++) {
        await client.writeFile(`/f${at}`, world.random.bytes(600_000))
        await world.sleep(2500)
      }
      isOver = true
    })()
    while (!isOver) {
      await world.sleep(30)
      const { repair } = (await client.report()) as { repair: { underReplicated: number; missing: number } }
      const { status } = await client.fsck('/')
      assert.equal([repair.underReplicated, repair.missing, status], [0, 0, 'HEALTHY'])
      if (!(await client.exists('/f0'))) continue
      const { chunks } = (await client.info('/f0')) as { chunks: { state: string; replicas: { state: string }[] }[] }
      if (chunks.some((chunk) => chunk.state === 'sealed' && chunk.replicas.some(({ state }) => state === 'open'))) {
        unsealed++
      }
    }
    await writing
    assert.ok(unsealed > 5, `${unsealed} looks while a seal was under way`)
  }))

test('a healthy tree is HEALTHY, and every file, directory, byte and chunk is counted once', () =>
  withCluster(1, 3, async (_cluster, client, world) => {
    let bytes = 0
    for (let d = 0; d < 3; d++) {
      await client.makeDirectory(`/d${d}`)
      for (let f = 0; f < 120; f++) {
        await client.writeFile(`/d${d}/f${f}`, world.random.bytes(10 + f))
        bytes += 10 + f
      }
    }
    await client.writeFile('/d1/big', world.random.bytes(3_000_000))
    await client.copy('/d1/big', '/d2/copy')
    await world.sleep(2000)
    let pages = 0
    const result = await client.fsck('/', { onPage: () => void pages++ })
    assert.is(result.status, 'HEALTHY', JSON.stringify(result.problems[0]))
    assert.is(result.files, 362)
    assert.is(result.directories, 4)
    assert.is(result.bytes, bytes + 6_000_000)
    const report = (await client.report()) as { totals: { chunks: number } }
    assert.ok(result.chunks <= report.totals.chunks && result.chunks >= 12, `${result.chunks} chunks`)
    assert.equal(result.problems, [])
    assert.equal(result.exposure, [])
    const below = await client.fsck('/d2')
    assert.is(below.files, 121)
    assert.is(below.directories, 1)
    const one = await client.fsck('/d1/big')
    assert.is(one.files, 1)
    assert.is(one.directories, 0)
    assert.is(one.bytes, 3_000_000)
    assert.is(one.chunks, 12)
  }))

test('a tree of many pages is walked to its end, and names met once each, also while it changes', () =>
  withCluster(2, 3, async (_cluster, client) => {
    await client.makeDirectory('/a/b/c', { parents: true })
    const names = Array.from({ length: 2000 }, (_, index) => `/a/b/n${index}`)
    await client.putMany(names.map((path) => ({ path, data: new Uint8Array(0) })))
    await client.putMany(names.map((path) => ({ path: path.replace('/a/b/', '/a/b/c/'), data: new Uint8Array(0) })))
    const met = new Map<string, number>()
    let pages = 0
    const result = await client.fsck('/a', {
      detail: 'files',
      onPage: async (page) => {
        pages++
        for (const { path } of page.rows) met.set(path, (met.get(path) ?? 0) + 1)
        if (pages === 2) await client.remove(page.rows.at(-1)!.path)
      },
    })
    assert.is(result.files, 4000)
    assert.ok(pages > 4, `${pages} pages`)
    assert.ok(names.every((path) => met.get(path) === 1))
    assert.is(Math.max(...met.values()), 1)
    assert.is(met.size, 4000)
  }))

test('one dead server of three: DEGRADED, each file named; two dead: last copies and what their loss would cost', () =>
  withCluster(3, 3, async (cluster, client, world) => {
    const bytes = world.random.bytes(600_000)
    await client.writeFile('/big', bytes)
    await world.sleep(2000)
    cluster.chunkservers[2]!.crash(false)
    await world.sleep(5000)
    const one = await client.fsck('/')
    assert.is(one.status, 'DEGRADED')
    assert.is(one.underReplicated, 3)
    assert.is(one.lastCopy, 0)
    assert.equal(
      one.problems.map(({ path, offset, length, kind }) => [path, offset, length, kind]),
      [
        ['/big', 0, 262_144, 'underReplicated'],
        ['/big', 262_144, 262_144, 'underReplicated'],
        ['/big', 524_288, 75_712, 'underReplicated'],
      ],
    )
    assert.match(one.problems[0]!.why, /2 of 3 replicas .*cs-\d is dead/)
    assert.match(one.problems[0]!.next, /start cs-\d \(/)
    cluster.chunkservers[1]!.crash(false)
    await world.sleep(5000)
    const two = await client.fsck('/')
    assert.is(two.status, 'DEGRADED')
    assert.is(two.lastCopy, 3)
    assert.is(two.exposure.length, 1)
    assert.is(two.exposure[0]!.chunks, 3)
    assert.is(two.exposure[0]!.bytes, 600_000)
    cluster.chunkservers[0]!.crash(false)
    await world.sleep(5000)
    const none = await client.fsck('/big')
    assert.is(none.status, 'DAMAGED')
    assert.is(none.missing, 3)
    assert.is(none.problems[0]!.kind, 'missing')
    assert.match(none.problems[0]!.next, /start cs-/)
    await Promise.all(cluster.chunkservers.map((server) => server.restart()))
    await world.sleep(5000)
    assert.is((await client.fsck('/')).status, 'HEALTHY')
    assert.is(crc32(await client.readFile('/big')), crc32(bytes))
  }))

test('replicas with bad blocks everywhere are DAMAGED as corrupt; files beside them are not', () =>
  withCluster(4, 3, async (cluster, client, world) => {
    await client.writeFile('/bad', world.random.bytes(200_000))
    await client.writeFile('/good', world.random.bytes(200_000))
    await world.sleep(2000)
    const { chunks } = (await client.info('/bad')) as { chunks: { handle: number }[] }
    const name = chunks[0]!.handle.toString(16).padStart(14, '0')
    for (const { machine } of cluster.chunkservers) {
      const path = machine.disk.paths().find((candidate) => candidate.endsWith(`${name}.data`))!
      machine.disk.flipBit(path, 5000, 3)
    }
    await client.scrub()
    await world.sleep(5000)
    const result = await client.fsck('/')
    assert.is(result.status, 'DAMAGED')
    assert.is(result.corrupt, 1)
    assert.equal(
      result.problems.map(({ path, kind }) => [path, kind]),
      [['/bad', 'corrupt']],
    )
  }))

test('a bad block that a scrub finds is reported, and repair makes another replica of it by itself', () =>
  withCluster(10, 4, async (cluster, client, world) => {
    const bytes = world.random.bytes(200_000)
    await client.writeFile('/a', bytes)
    await world.sleep(2000)
    const holder = cluster.chunkservers.find(({ machine }) =>
      machine.disk.paths().some((path) => path.endsWith('.data')),
    )!
    const path = holder.machine.disk.paths().find((candidate) => candidate.endsWith('.data'))!
    holder.machine.disk.flipBit(path, 77_777, 5)
    assert.is((await client.fsck('/')).corrupt, 0, 'nobody has looked')
    await client.scrub()
    const seen = async () => {
      const { chunks } = (await client.info('/a')) as { chunks: { replicas: { state: string }[] }[] }
      return chunks[0]!.replicas.filter(({ state }) => state === 'good').length
    }
    for (let waited = 0; (await seen()) !== 2 && waited < 100; waited++) await world.sleep(10)
    assert.is(await seen(), 2, 'the damaged one does not count')
    await world.sleep(20_000)
    assert.is(await seen(), 3)
    assert.is((await client.fsck('/')).status, 'HEALTHY')
    assert.is(Buffer.compare(await client.readFile('/a'), bytes), 0)
  }))

test('while servers have not reported, what seems missing is no verdict', () =>
  withCluster(5, 3, async (cluster, client, world) => {
    await client.writeFile('/a', world.random.bytes(200_000))
    await world.sleep(2000)
    for (const server of cluster.chunkservers) server.crash(false)
    cluster.master.crash(false)
    await cluster.master.restart()
    await world.sleep(1000)
    const early = await client.fsck('/')
    assert.is(early.status, 'DEGRADED')
    assert.is(early.missing, 0)
    assert.is(early.problems[0]!.kind, 'uncertain')
    await world.sleep(31 * SECOND_MS)
    assert.is((await client.fsck('/')).status, 'DAMAGED')
  }))

test('a drained server takes no new chunks, and a check without it says what its drain waits for', () =>
  withCluster(6, 4, async (_cluster, client, world) => {
    await client.writeFile('/before', world.random.bytes(1_000_000))
    await world.sleep(1000)
    const server = 1 as ServerId
    await client.setServerIntent(server, 'drain')
    await client.writeFile('/after', world.random.bytes(1_000_000))
    await world.sleep(1000)
    const { chunks } = (await client.info('/after')) as { chunks: { replicas: { server: string }[] }[] }
    assert.ok(chunks.every(({ replicas }) => replicas.every((replica) => replica.server !== 'cs-1')))
    assert.is((await client.fsck('/')).status, 'HEALTHY', 'what it holds can be read')
    await client.setServerIntent(server, 'serve')
  }))

test('a drain moves what the server holds elsewhere: then nothing depends on it', () =>
  withCluster(9, 4, async (cluster, client, world) => {
    const files = new Map<string, Buffer>()
    for (let i = 0; i < 4; i++) files.set(`/f${i}`, world.random.bytes(500_000))
    for (const [path, bytes] of files) await client.writeFile(path, bytes)
    await world.sleep(2000)
    const server = 1 as ServerId
    const lacking = async () => {
      const handles = new Set<number>()
      await client.fsck('/', {
        without: server,
        onPage: (_page, chunks) => {
          for (const { handle, whole, goal } of chunks.values()) if (whole < goal) handles.add(handle)
        },
      })
      return handles.size
    }
    assert.ok((await lacking()) > 0, 'it holds something')
    await client.setServerIntent(server, 'drain')
    let statusMeanwhile = ''
    for (let waited = 0; (await lacking()) > 0; waited++) {
      assert.ok(waited < 120, `${await lacking()} chunks still depend on it after a minute`)
      statusMeanwhile = (await client.fsck('/')).status
      assert.is(statusMeanwhile, 'HEALTHY', 'a drain takes nothing away')
      await world.sleep(500)
    }
    const { address } = ((await client.report()) as { servers: { id: string; address: string }[] }).servers.find(
      ({ id }) => id === 'cs-1',
    )!
    cluster.chunkservers.find(({ machine }) => address.startsWith(`${machine.name}:`))!.crash(true)
    await world.sleep(5000)
    assert.is((await client.fsck('/')).status, 'HEALTHY')
    for (const [path, bytes] of files) assert.is(Buffer.compare(await client.readFile(path), bytes), 0, path)
  }))

test('maintenance ends by itself when its time is over', () =>
  withCluster(7, 3, async (_cluster, client, world) => {
    await client.setServerIntent(2 as ServerId, 'maintain', { forMs: 10 * SECOND_MS })
    const stateOf = async () =>
      ((await client.report()) as { servers: { id: string; state: string }[] }).servers.find(({ id }) => id === 'cs-2')
        ?.state
    assert.is(await stateOf(), 'maintenance')
    await world.sleep(11 * SECOND_MS)
    assert.is(await stateOf(), 'live')
  }))

test('safe mode is entered and left by hand', () =>
  withCluster(8, 3, async (_cluster, client) => {
    assert.is((await client.safeMode()).isOn, false)
    const entered = await client.safeMode('enter')
    assert.ok(entered.isOn && entered.isManual)
    assert.match(entered.reason, /operator/)
    assert.is((await client.safeMode('leave')).isOn, false)
  }))

test('scrubs while files are written and sealed, and servers crash, find nothing wrong with what is right', async () => {
  for (let seed = 20; seed < 22; seed++) {
    await withCluster(seed, 4, async (cluster, client, world) => {
      let isOver = false
      const scrubbing = (async () => {
        while (!isOver) {
          await client.scrub()
          await world.sleep(20 + world.random.below(80))
        }
      })()
      world.after(1500, () => cluster.chunkservers[3]!.crash(seed % 2 === 0))
      world.after(4000, () => void cluster.chunkservers[3]!.restart())
      const files = new Map<string, Buffer>()
      for (let i = 0; i < 40; i++) {
        const bytes = world.random.bytes(i % 3 === 0 ? 100_000 + world.random.below(500_000) : world.random.below(9000))
        files.set(`/f${i}`, bytes)
        await client.writeFile(`/f${i}`, bytes)
        await world.sleep(world.random.below(200))
      }
      await world.sleep(5000)
      isOver = true
      await scrubbing
      const { scrubbedChunks } = cluster.chunkservers[0]!.node!.status().scrub
      assert.ok(scrubbedChunks > 100, `only ${scrubbedChunks} checks`)
      const { corrupt, missing } = await client.fsck('/')
      assert.is(corrupt, 0, `seed ${seed}`)
      assert.is(missing, 0, `seed ${seed}`)
      for (const [path, bytes] of files) assert.is(Buffer.compare(await client.readFile(path), bytes), 0, path)
    })
  }
})

test.run()
