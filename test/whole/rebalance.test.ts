// Rebalancing in whole clusters: disks become alike, chunks are never below their goal on the way, repair goes first, and
// what is level stays quiet (DESIGN §5; GFS §4.3).

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ServerId } from '../../src/base/ids.ts'
import { HOUR_MS, KiB, MINUTE_MS, MiB } from '../../src/base/units.ts'
import type { Client } from '../../src/client/client.ts'
import type { MasterOptions } from '../../src/master/node.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

const CHUNK_BYTES = 64 * KiB
const DISK_BYTES = 4 * MiB

interface Balance {
  readonly state: string
  readonly spread: number
  readonly mean: number
  readonly bytesToMove: number
  readonly inFlight: number
  readonly moved: { readonly copies: number; readonly bytes: number }
  readonly disks: readonly { readonly server: string; readonly fullness: number; readonly usedBytes: number }[]
}

interface Repair {
  readonly missing: number
  readonly underReplicated: number
  readonly overReplicated: number
  readonly copied: { readonly copies: number }
}

async function balanceOf(client: Client): Promise<Balance> {
  return (await client.balance()) as Balance
}

async function repairOf(client: Client): Promise<Repair> {
  return ((await client.report()) as { repair: Repair }).repair
}

/** A cluster of small disks whose first `running` servers run and hold so many files of a chunk each. */
async function filled(
  world: SimWorld,
  count: number,
  running: number,
  fileCount: number,
  options?: Partial<MasterOptions>,
) {
  const cluster = new SimCluster(world, count, { chunkBytes: CHUNK_BYTES, ...options })
  for (const { machine } of cluster.chunkservers) machine.disk.options.capacityBytes = DISK_BYTES
  await cluster.master.start()
  for (const chunkserver of cluster.chunkservers.slice(0, running)) await chunkserver.start()
  const client = await cluster.client({ timeoutMs: 20_000 })
  const files = new Map<string, Buffer>()
  for (let index = 0; index < fileCount; index++) {
    const bytes = world.random.bytes(CHUNK_BYTES)
    await client.writeFile(`/f${index}`, bytes)
    files.set(`/f${index}`, bytes)
  }
  return { cluster, client, files }
}

/** Watches the chunks' redundancy until the disks are level and nothing is under way. */
async function untilLevel(world: SimWorld, client: Client, timeoutMs = 20 * MINUTE_MS): Promise<Balance> {
  const startMs = world.nowMs
  for (;;) {
    const { underReplicated, missing, overReplicated } = await repairOf(client)
    assert.is(underReplicated + missing, 0, 'a chunk fell below its goal')
    const balance = await balanceOf(client)
    if (balance.state === 'level' && balance.inFlight === 0 && overReplicated === 0) return balance
    if (world.nowMs - startMs > timeoutMs) throw new Error(`not level: ${JSON.stringify(balance)}`)
    await world.sleep(500)
  }
}

test('a new, empty server fills until the disks are alike; then nothing moves for an hour', async () => {
  const world = new SimWorld(1)
  await world.run(async () => {
    const { cluster, client, files } = await filled(world, 5, 4, 40)
    await world.sleep(5000)
    await cluster.chunkservers[4]!.start()
    await world.sleep(2000)
    const before = await balanceOf(client)
    assert.ok(before.spread > 0.1, `${before.spread}`)
    const after = await untilLevel(world, client)
    assert.ok(after.spread <= 0.04, `${after.spread}`)
    assert.ok(after.disks.every(({ usedBytes }) => usedBytes > 0))
    const { copied } = await repairOf(client)
    // As many bytes as a perfect balance takes, and little more: nothing went to and fro.
    assert.ok(after.moved.bytes <= 1.2 * before.bytesToMove, `${after.moved.bytes} of ${before.bytesToMove}`)
    await world.sleep(HOUR_MS)
    assert.equal((await balanceOf(client)).moved, after.moved, 'an hour of quiet')
    assert.equal((await repairOf(client)).copied, copied, 'moves are not repairs')
    for (const [path, bytes] of files) assert.is(Buffer.compare(await client.readFile(path), bytes), 0, path)
    client.close()
  })
})

test('a repair comes first: moves are given up at once, and go on some time after it', async () => {
  const world = new SimWorld(2)
  await world.run(async () => {
    const { cluster, client } = await filled(world, 6, 5, 60)
    await client.copyLimits({ balanceBytesPerSecond: 128 * KiB })
    await cluster.chunkservers[5]!.start()
    let balance = await balanceOf(client)
    for (; balance.moved.copies === 0; balance = await balanceOf(client)) await world.sleep(200)
    cluster.chunkservers[0]!.crash(false)
    while ((await repairOf(client)).underReplicated === 0) await world.sleep(50)
    await world.sleep(200)
    const { moved } = await balanceOf(client)
    while ((await repairOf(client)).underReplicated > 0) {
      const now = await balanceOf(client)
      assert.equal(now.moved, moved, 'a move beside a repair')
      assert.is(now.state, 'waiting')
      await world.sleep(100)
    }
    await client.copyLimits({ balanceBytesPerSecond: 0 })
    const after = await untilLevel(world, client)
    assert.ok(after.moved.copies > moved.copies, JSON.stringify(after))
    assert.ok(after.spread <= 0.1)
    client.close()
  })
})

test('an operator turns it off: what is under way is given up, and nothing begins until it is on again', async () => {
  const world = new SimWorld(3)
  await world.run(async () => {
    const { cluster, client } = await filled(world, 5, 4, 40)
    await client.copyLimits({ isBalancing: false })
    await cluster.chunkservers[4]!.start()
    await world.sleep(2 * MINUTE_MS)
    const off = await balanceOf(client)
    assert.is(off.state, 'off')
    assert.is(off.moved.copies, 0)
    const plan = (await client.balance(true)) as {
      moves: number
      spreadBefore: number
      spreadAfter: number
      listed: []
    }
    assert.ok(plan.moves > 5 && plan.listed.length === plan.moves, 'a plan can be had all the same')
    assert.ok(plan.spreadAfter <= 0.04 && plan.spreadBefore > 0.1)
    assert.is((await balanceOf(client)).moved.copies, 0, 'and moves nothing')
    await client.copyLimits({ isBalancing: true })
    assert.ok((await untilLevel(world, client)).moved.copies >= plan.moves - 2)
    client.close()
  })
})

test('disks that can not be made alike are left alone: three servers of different sizes hold every chunk', async () => {
  const world = new SimWorld(5)
  await world.run(async () => {
    const { cluster, client } = await filled(world, 3, 3, 20)
    cluster.chunkservers[0]!.machine.disk.options.capacityBytes = 8 * DISK_BYTES
    await world.sleep(MINUTE_MS)
    const { state, spread, moved } = await balanceOf(client)
    assert.ok(spread > 0.1, `${spread}`)
    assert.is(state, 'uneven')
    assert.is(moved.copies, 0)
    client.close()
  })
})

test('a drained server gives and takes nothing by balancing; what it holds is made elsewhere by repair', async () => {
  const world = new SimWorld(4)
  await world.run(async () => {
    const { cluster, client } = await filled(world, 6, 5, 40)
    await world.sleep(3000)
    await client.setServerIntent(5 as ServerId, 'drain')
    await world.sleep(20_000)
    await cluster.chunkservers[5]!.start()
    await world.sleep(3000)
    await client.setServerIntent(6 as ServerId, 'drain')
    await world.sleep(3 * MINUTE_MS)
    const balance = await balanceOf(client)
    assert.is(balance.spread <= 0.1 && balance.state, 'level')
    assert.equal(
      balance.disks.map(({ server }) => server),
      ['cs-1', 'cs-2', 'cs-3', 'cs-4'],
    )
    assert.is(cluster.chunkservers[5]!.node!.status().replicas, 0, 'a drained server got replicas')
    await client.setServerIntent(6 as ServerId, 'serve')
    await world.sleep(2000)
    await untilLevel(world, client)
    assert.ok(cluster.chunkservers[5]!.node!.status().replicas > 0)
    client.close()
  })
})

test('a rack for replicas that crowd another: each chunk gets one there, whatever that does to the levels, and keeps it', async () => {
  const world = new SimWorld(6)
  await world.run(async () => {
    const { cluster, client } = await filled(world, 4, 0, 0)
    for (const [index, chunkserver] of cluster.chunkservers.entries()) {
      chunkserver.rack = index === 3 ? 'b' : 'a'
      if (index < 3) await chunkserver.start()
    }
    for (let index = 0; index < 24; index++) await client.writeFile(`/f${index}`, world.random.bytes(CHUNK_BYTES))
    await cluster.chunkservers[3]!.start()
    await world.sleep(2 * MINUTE_MS)
    const { moved } = await balanceOf(client)
    assert.ok(moved.copies >= 24, `${moved.copies} moves`)
    await world.sleep(10 * MINUTE_MS)
    assert.equal((await balanceOf(client)).moved, moved)
    for (let index = 0; index < 24; index++) {
      const { chunks } = (await client.info(`/f${index}`)) as {
        chunks: { state: string; replicas: { server: string }[] }[]
      }
      for (const { state, replicas } of chunks) {
        assert.is(replicas.length, 3)
        if (state === 'sealed')
          assert.ok(
            replicas.some(({ server }) => server === 'cs-4'),
            'none in rack b',
          )
      }
    }
    client.close()
  })
})

test('servers die and come back while the disks are being levelled: never below the goal by a move, every byte right', async () => {
  for (let seed = 10; seed < 14; seed++) {
    const world = new SimWorld(seed)
    await world.run(async () => {
      const { cluster, client, files } = await filled(world, 6, 4, 30)
      for (const chunkserver of cluster.chunkservers.slice(4)) await chunkserver.start()
      await world.sleep(11_000)
      for (let round = 0; round < 4; round++) {
        const victim = cluster.chunkservers[world.random.below(6)]!
        world.afterEvents(world.random.below(4000), () => victim.crash(world.random.below(2) === 0))
        await world.until('one died', () => !victim.isRunning)
        await world.sleep(world.random.below(15_000))
        await victim.restart()
        await world.sleep(world.random.below(20_000))
      }
      await world.sleep(10_000)
      await untilLevel(world, client)
      for (const [path, bytes] of files) assert.is(Buffer.compare(await client.readFile(path), bytes), 0, path)
      client.close()
    })
  }
})

test('a server whose two directories lie on one disk is no emptier than it is: neither placement nor moves fill it up', async () => {
  const world = new SimWorld(9)
  await world.run(async () => {
    const cluster = new SimCluster(world, 4, { chunkBytes: CHUNK_BYTES })
    for (const { machine } of cluster.chunkservers) machine.disk.options.capacityBytes = DISK_BYTES
    await cluster.master.start()
    const [first, ...others] = cluster.chunkservers
    await first!.start(['/disk/a', '/disk/b', '/disk/c'])
    for (const chunkserver of others) await chunkserver.start()
    const client = await cluster.client({ timeoutMs: 20_000 })
    // One replica each: the choice is placement's alone.
    for (let index = 0; index < 120; index++) {
      await client.writeFile(`/f${index}`, world.random.bytes(CHUNK_BYTES), { goal: 1 })
      await world.sleep(200)
    }
    await world.sleep(5 * MINUTE_MS)
    const bytes = cluster.chunkservers.map(({ machine }) => machine.disk.usedBytes())
    const mean = bytes.reduce((sum, one) => sum + one, 0) / bytes.length
    assert.ok(bytes[0]! <= mean + 0.06 * DISK_BYTES, `${bytes[0]} bytes on the shared disk, ${mean} on the mean one`)
    const { disks, spread } = await balanceOf(client)
    assert.ok(spread <= 0.1, `${spread}`)
    assert.is(new Set(disks.filter(({ server }) => server === 'cs-1').map(({ fullness }) => fullness)).size, 1)
    client.close()
  })
})

test.run()
