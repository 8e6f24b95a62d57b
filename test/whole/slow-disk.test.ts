// One server whose disk takes two seconds for every request: the others are as quick as before, and writes move away
// from it. When every disk is slow nobody is blamed: writers wait.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Client } from '../../src/client/client.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

const SLOW_MS = 2000
const KIB = 1024
/** From the first slow request on, so long until everything goes as before: noticed, told, sealed, placed elsewhere. */
const SETTLED_MS = 12_000

interface Report {
  readonly servers: readonly {
    readonly id: string
    readonly chunks: number
    readonly disks: readonly { slow: boolean }[]
  }[]
  readonly repair: { readonly givenUp: number }
}

/** Writers of files, small files and records; what their calls took, by when they began. */
class Work {
  readonly #world: SimWorld
  readonly #calls: { readonly startMs: number; readonly tookMs: number }[] = []
  isStopped = false

  constructor(world: SimWorld) {
    this.#world = world
  }

  async run(client: Client, index: number): Promise<void> {
    const large = this.#world.random.bytes(300 * KIB)
    const small = this.#world.random.bytes(3000)
    const appender = await client.openAppender('/log')
    const records = this.#repeat(async () => void (await appender.append(small)))
    const files = this.#repeat(async (i) => void (await client.writeFile(`/small-${index}-${i}`, small)))
    const streams = this.#repeat(async (i) => void (await client.writeFile(`/large-${index}-${i}`, large)))
    await Promise.all([records, files, streams])
    await appender.close()
  }

  async #repeat(call: (i: number) => Promise<void>): Promise<void> {
    for (let i = 0; !this.isStopped; i++) {
      const startMs = this.#world.nowMs
      await call(i)
      this.#calls.push({ startMs, tookMs: this.#world.nowMs - startMs })
      await this.#world.sleep(200)
    }
  }

  /** @returns calls begun in a span of time, and the longest of them in ms */
  between(fromMs: number, toMs: number): { readonly count: number; readonly longestMs: number } {
    const calls = this.#calls.filter(({ startMs }) => startMs >= fromMs && startMs < toMs)
    return { count: calls.length, longestMs: Math.max(0, ...calls.map(({ tookMs }) => tookMs)) }
  }
}

async function reportOf(client: Client): Promise<Report> {
  return (await client.report()) as Report
}

test('one disk takes 2 s for every request: after seconds all goes as before, and nothing is placed there', async () => {
  const world = new SimWorld({ seed: 51, eventsMax: 5_000_000 })
  await world.run(async () => {
    const cluster = new SimCluster(world, 5)
    await cluster.start()
    const client = await cluster.client()
    await client.writeFile('/log', new Uint8Array(0))
    const work = new Work(world)
    const clients = [await cluster.client(), await cluster.client()]
    const working = Promise.all(clients.map((one, index) => work.run(one, index)))
    working.catch((error: unknown) => world.fail(error))
    await world.sleep(5000)
    const { disk } = cluster.chunkservers[1]!.machine
    const id = `cs-${cluster.chunkservers[1]!.node!.status().server}`
    Object.assign(disk.options, { latencyMsMin: SLOW_MS, latencyMsMax: SLOW_MS })
    const slowMs = world.nowMs
    await world.sleep(SETTLED_MS)
    const chunksThen = (await reportOf(client)).servers.find((server) => server.id === id)!.chunks
    await world.sleep(15_000)
    const { servers, repair } = await reportOf(client)
    const before = work.between(slowMs - 4000, slowMs)
    const after = work.between(slowMs + SETTLED_MS, world.nowMs)
    assert.ok(after.longestMs < 1000, `a call took ${after.longestMs} ms; before at most ${before.longestMs} ms`)
    assert.ok(
      after.count / 15 > (0.8 * before.count) / 4,
      `${after.count} calls in 15 s, ${before.count} in 4 s before`,
    )
    const slow = servers.find((server) => server.id === id)!
    assert.equal(
      servers.map((server) => server.disks[0]!.slow),
      servers.map((server) => server.id === id),
    )
    assert.ok(slow.chunks <= chunksThen + 1, `${slow.chunks - chunksThen} chunks were placed there meanwhile`)
    assert.is(repair.givenUp, 0)
    work.isStopped = true
    Object.assign(disk.options, { latencyMsMin: 0.1, latencyMsMax: 0.2 })
    await working
    client.close()
  })
})

for (const [servers, sync, place] of [
  [5, false, 0],
  [5, true, 1],
  [3, true, 2],
] as const) {
  const what = `records alone on ${servers} servers, ${sync ? 'each durable' : 'not synced'}; member ${place} of the tail has a slow disk`
  test(`${what}: they move away from it, and are as quick as before`, async () => {
    const world = new SimWorld({ seed: 60 + place, eventsMax: 5_000_000 })
    await world.run(async () => {
      const cluster = new SimCluster(world, servers)
      await cluster.start()
      const client = await cluster.client()
      await client.writeFile('/log', new Uint8Array(0))
      const appender = await client.openAppender('/log', { sync })
      const calls: { startMs: number; tookMs: number }[] = []
      const records: Buffer[] = []
      let isStopped = false
      const work = async () => {
        while (!isStopped) {
          const record = world.random.bytes(3000)
          const startMs = world.nowMs
          await appender.append(record)
          records.push(record)
          calls.push({ startMs, tookMs: world.nowMs - startMs })
          await world.sleep(100)
        }
      }
      const working = work()
      working.catch((error: unknown) => world.fail(error))
      await world.sleep(3000)
      const { tail, chunks } = (await client.info('/log')) as {
        tail: number
        chunks: { handle: number; replicas: { server: string }[] }[]
      }
      const { server: id } = chunks.find(({ handle }) => handle === tail)!.replicas[place]!
      const slow = cluster.chunkservers.find(({ node }) => `cs-${node!.status().server}` === id)!
      Object.assign(slow.machine.disk.options, { latencyMsMin: SLOW_MS, latencyMsMax: SLOW_MS })
      const slowMs = world.nowMs
      await world.sleep(SETTLED_MS + 15_000)
      const after = calls.filter(({ startMs }) => startMs >= slowMs + SETTLED_MS)
      const longestMs = Math.max(...after.map(({ tookMs }) => tookMs))
      assert.ok(after.length > 100, `${after.length} records in 15 s`)
      assert.ok(longestMs < 500, `a record took ${longestMs} ms`)
      isStopped = true
      Object.assign(slow.machine.disk.options, { latencyMsMin: 0.1, latencyMsMax: 0.2 })
      await working
      await appender.close()
      assert.is(Buffer.compare(await client.readFile('/log'), Buffer.concat(records)), 0, 'each once, in order')
      client.close()
    })
  })
}

test('every disk takes 2 s for every request: nobody is blamed, and what is written is written', async () => {
  const world = new SimWorld({ seed: 52, eventsMax: 5_000_000 })
  await world.run(async () => {
    const cluster = new SimCluster(world, 4)
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 120_000 })
    for (const { machine } of cluster.chunkservers)
      Object.assign(machine.disk.options, { latencyMsMin: SLOW_MS, latencyMsMax: SLOW_MS })
    const bytes = world.random.bytes(3000)
    const appender = await client.openAppender('/log', { create: true })
    for (let i = 0; i < 5; i++) await appender.append(bytes)
    await client.writeFile('/small', bytes)
    const { servers } = await reportOf(client)
    assert.ok(
      servers.every(({ disks }) => !disks[0]!.slow),
      'all are slow, so none is',
    )
    assert.is(Buffer.compare(await client.readFile('/small'), bytes), 0)
    const { tail, extents } = (await client.info('/log')) as { tail: number | null; extents: readonly object[] }
    assert.ok(tail !== null && extents.length === 0, 'the tail was left although no other is better')
    await appender.close()
    client.close()
  })
})

test.run()
