// Goal: what three chunkservers acknowledged survives every mixture of crashes, power losses and fences, when the
// chunk is sealed by the rule of DESIGN §2.
// Method: a writer runs until faults drawn from the seed stop it; dead servers come back; all members are fenced, the
// length is chosen as the rule says, the replicas are sealed, and every one that took part must read back right.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { isDfsError } from '../../src/base/errors.ts'
import type { Connection } from '../../src/rpc/connection.ts'
import type { Allocation, ReplyOf } from '../../src/wire/messages.ts'
import { simSeeds, swarmOptions } from '../sim/options.ts'
import { SimWorld } from '../sim/world.ts'
import { ask, Cluster, openChunk, readRange, WRITER } from './cluster-fixture.ts'
import { bytesAt, handleOf } from './store-fixture.ts'

const SEEDS = simSeeds(8)
const SERVERS = [1, 2, 3]
const HANDLE = handleOf(1)

interface Acknowledged {
  /** Bytes of an unshared chunk that were flushed, and synced. */
  flushed: number
  synced: number
  /** Records of a shared chunk. */
  records: { offset: number; bytes: Buffer; sync: boolean }[]
}

/** Pushes and commits, several in flight, until something fails. */
async function writePieces(world: SimWorld, connection: Connection, acknowledged: Acknowledged): Promise<void> {
  let length = 0
  const jobs: Promise<unknown>[] = []
  const keep = <T>(job: Promise<T>): Promise<T> => {
    jobs.push(job)
    job.catch(() => {}) // all of them are awaited at the end
    return job
  }
  for (let round = 0; round < 25; round++) {
    const count = world.random.pick([700, 4096, 30_000, 150_000])
    keep(ask(connection, 'pushPiece', { handle: HANDLE, version: 1, offset: length }, bytesAt(1, length, count)))
    length += count
    if (world.random.chance(0.5)) {
      const sync = world.random.chance(0.5)
      const commit = { handle: HANDLE, version: 1, serial: 0, length, sync }
      const end = length
      const noted = keep(
        ask(connection, 'commit', commit).then(() => {
          acknowledged.flushed = Math.max(acknowledged.flushed, end)
          if (sync) acknowledged.synced = Math.max(acknowledged.synced, end)
        }),
      )
      if (world.random.chance(0.5)) await noted
    }
  }
  await Promise.all(jobs)
}

/** Many appends in flight, until something fails. */
async function writeRecords(world: SimWorld, connection: Connection, acknowledged: Acknowledged): Promise<void> {
  let sequence = 0
  const run = async () => {
    for (let round = 0; round < 12; round++) {
      const bytes = bytesAt(++sequence, 0, world.random.pick([1, 100, 5000, 20_000]))
      const sync = world.random.chance(0.6)
      const body = { handle: HANDLE, version: 1, writer: WRITER, sequence, count: 1, sync }
      const { offset } = await ask(connection, 'appendShared', body, bytes)
      acknowledged.records.push({ offset, bytes, sync })
    }
  }
  await Promise.all([run(), run(), run(), run()])
}

/** Seals by the rule; returns what the log would say. */
async function sealByRule(
  cluster: Cluster,
  allocation: Allocation,
): Promise<{ length: number; digest: number; indexDigest: number; holders: readonly number[] }> {
  const { history } = cluster.master
  const answers: ReplyOf<'fence'>[] = []
  for (const [index, server] of SERVERS.entries()) {
    const { directory, life } = allocation.members[index]!
    answers.push(await cluster.master.ask(server, 'fence', { handle: HANDLE, directory, life, history }))
  }
  const inLife = answers.filter((answer) => answer.inLife && answer.exists)
  const chosen =
    inLife.length > 0
      ? inLife.reduce((a, b) => (b.length < a.length ? b : a))
      : answers.reduce((a, b) => (b.length > a.length ? b : a))
  return { ...chosen, holders: SERVERS.filter((_, index) => answers[index]!.exists) }
}

function swarm(seed: number, isShared: boolean, powerOnAll: boolean): Promise<void> {
  const world = new SimWorld(swarmOptions(seed))
  const cluster = new Cluster(world)
  const acknowledged: Acknowledged = { flushed: 0, synced: 0, records: [] }
  return world.run(async () => {
    await cluster.start(3)
    const allocation = cluster.allocation(HANDLE, SERVERS, { shared: isShared })
    const connection = await cluster.connect(1)
    await openChunk(connection, allocation)
    const lostPower = new Set<number>()
    const dead = new Set<number>()
    let isOver = false
    const strike = () => {
      if (isOver) return
      const victims = powerOnAll ? SERVERS : SERVERS.filter(() => world.random.chance(0.4))
      for (const server of victims) {
        const power = powerOnAll || world.random.chance(0.5)
        if (power) lostPower.add(server)
        dead.add(server)
        world.machine(`cs${server}`).crash({ power })
      }
      if (victims.length === 0) cluster.master.fence(world.random.pick(SERVERS), HANDLE).catch(() => {})
    }
    world.afterEvents(world.random.below(1500), strike)
    const writing = (isShared ? writeRecords : writePieces)(world, connection, acknowledged)
    await Promise.race([writing, world.sleep(20_000)]).catch((error: unknown) => {
      if (!isDfsError(error)) throw error
    })
    isOver = true
    for (const server of dead) {
      world.machine(`cs${server}`).restart()
      await cluster.startNode(server)
    }
    const chosen = await sealByRule(cluster, allocation)
    const { length, digest, indexDigest, holders } = chosen
    // Promise P2: flushed bytes need one member that took part and kept its power; synced ones need only to live.
    const keepsFlushed = SERVERS.some((server) => !lostPower.has(server))
    const least =
      keepsFlushed && SERVERS.every((server) => !dead.has(server)) ? acknowledged.flushed : acknowledged.synced
    if (!isShared) {
      assert.ok(length >= least, `sealed at ${length}, ${least} were acknowledged`)
      assert.is(digest, crc32(bytesAt(1, 0, length)))
    }
    let complete = 0
    // One that lost its power before anything was synced has nothing to seal.
    for (const server of holders) {
      const order = { handle: HANDLE, version: 1, length, digest, indexDigest, history: cluster.master.history }
      const { facts } = await cluster.master.ask(server, 'seal', order)
      if (facts.state === 'sealed') complete++
      else assert.ok(facts.length < length, 'only a shorter one is not sealed')
      const reader = await cluster.connect(server)
      const held = Math.min(facts.length, length)
      if (held === 0) continue
      const bytes = await readRange(reader, HANDLE, 0, held)
      if (!isShared) assert.is(Buffer.compare(bytes, bytesAt(1, 0, held)), 0)
      for (const record of acknowledged.records) {
        if (record.offset + record.bytes.length > held) continue
        const found = bytes.subarray(record.offset, record.offset + record.bytes.length)
        assert.is(Buffer.compare(found, record.bytes), 0, 'a wrong byte in a record')
      }
    }
    assert.ok(complete > 0, 'the member that was believed can prove it')
    for (const { offset, bytes, sync } of acknowledged.records) {
      if (sync) assert.ok(offset + bytes.length <= length, 'a synced record lies beyond the seal')
    }
    await cluster.close()
  })
}

test(`one writer: acknowledged bytes survive crashes, power losses and fences (${SEEDS.length} seeds)`, async () => {
  for (const seed of SEEDS) await swarm(seed, false, false)
})

test(`many writers: acknowledged records survive crashes, power losses and fences (${SEEDS.length} seeds)`, async () => {
  for (const seed of SEEDS) await swarm(seed + 1000, true, false)
})

test(`power loss on all three at once in the middle of appends: every synced byte is there (${SEEDS.length} seeds)`, async () => {
  for (const seed of SEEDS) await swarm(seed + 2000, seed % 2 === 0, true)
})

test.run()
