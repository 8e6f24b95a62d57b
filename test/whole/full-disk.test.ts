// Disks that fill up: no success is reported that isn't one, new chunks go where there is room, what is retained yields to
// what is needed, and all of it recovers when space returns (P8; DESIGN §5 "Deleting").

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { HOUR_MS, KiB, MINUTE_MS, MiB } from '../../src/base/units.ts'
import type { Client } from '../../src/client/client.ts'
import type { MasterOptions } from '../../src/master/node.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

interface Small {
  readonly cluster: SimCluster
  readonly client: Client
  readonly files: Map<string, Buffer>
}

/** A cluster whose servers have disks of a few chunks. */
async function small(
  world: SimWorld,
  servers: number,
  capacityBytes: number,
  options: Partial<MasterOptions> = {},
): Promise<Small> {
  const cluster = new SimCluster(world, servers, { retentionMs: 24 * HOUR_MS, ...options })
  for (const { machine } of cluster.chunkservers) machine.disk.options.capacityBytes = capacityBytes
  await cluster.start()
  const client = await cluster.client({ timeoutMs: 30_000 })
  return { cluster, client, files: new Map() }
}

async function put({ client, files }: Small, path: string, bytes: Buffer): Promise<void> {
  await client.writeFile(path, bytes)
  files.set(path, bytes)
}

async function readAll({ client, files }: Small): Promise<void> {
  for (const [path, bytes] of files) assert.is(Buffer.compare(await client.readFile(path), bytes), 0, path)
}

async function earlyCount(client: Client): Promise<number> {
  return ((await client.report()) as { repair: { retainedEarly: number } }).repair.retainedEarly
}

interface Space {
  readonly liveBytes: number
  readonly pendingDeletionBytes: number
  readonly replicaBytes: number
  readonly retainedBytes: number
  readonly trashBytes: number
  readonly usedBytes: number
}

test('what was removed yields to what is written, the oldest first, and no write is refused for it', async () => {
  const world = new SimWorld(1)
  await world.run(async () => {
    const at = await small(world, 3, 8 * MiB)
    const { client, files } = at
    for (let round = 0; round < 30; round++) {
      await put(at, `/f${round}`, world.random.bytes(600 * KiB))
      if (round < 2) continue
      // All but the last two are removed, ten times what the disks hold in all.
      await client.remove(`/f${round - 2}`)
      files.delete(`/f${round - 2}`)
      await world.sleep(5000)
    }
    const early = await earlyCount(client)
    assert.ok(early > 10, `${early} given up early`)
    const { entries } = await client.trashList()
    assert.is(entries.length, 28 - early)
    assert.ok(entries.length > 2, 'only what is needed goes')
    assert.equal(
      entries.map(({ path }) => path),
      Array.from({ length: entries.length }, (_, i) => `/f${28 - entries.length + i}`),
      'the youngest are left',
    )
    await client.trashRestore(entries.at(-1)!.id)
    assert.is((await client.readFile('/f27')).length, 600 * KiB)
    await readAll(at)
    client.close()
  })
})

test('directories that share a disk count its room once', async () => {
  const world = new SimWorld(9)
  await world.run(async () => {
    const cluster = new SimCluster(world, 2)
    await cluster.master.start()
    const [first, second] = cluster.chunkservers
    await first!.start(['/data', '/more'])
    second!.machine.addDisk('/more', { capacityBytes: 7 * MiB })
    await second!.start(['/data', '/more'])
    for (const { machine } of cluster.chunkservers) machine.disk.options.capacityBytes = 100 * MiB
    const client = await cluster.client()
    await world.sleep(MINUTE_MS)
    const { capacityBytes, freeBytes } = (await client.space()) as { capacityBytes: number; freeBytes: number }
    assert.is(capacityBytes, 207 * MiB)
    assert.ok(freeBytes > 206 * MiB && freeBytes <= capacityBytes)
    const { servers } = (await client.report()) as { servers: { capacityBytes: number; disks: unknown[] }[] }
    assert.equal(servers.map((server) => [server.capacityBytes, server.disks.length]).sort(), [
      [100 * MiB, 2],
      [107 * MiB, 2],
    ])
    client.close()
  })
})

test('df tells files, their replicas, and what is retained apart', async () => {
  const world = new SimWorld(2)
  await world.run(async () => {
    const at = await small(world, 3, 64 * MiB)
    const { client } = at
    const space = async () => (await client.space()) as Space
    await put(at, '/a', world.random.bytes(600 * KiB))
    await client.makeDirectory('/d')
    await put(at, '/d/b', world.random.bytes(400 * KiB))
    await put(at, '/d/c', world.random.bytes(200 * KiB))
    await world.sleep(15_000)
    let found = await space()
    assert.is(found.liveBytes, 1200 * KiB)
    assert.is(found.replicaBytes, 3 * 1200 * KiB)
    assert.is(found.usedBytes, 3 * 1200 * KiB)
    assert.equal([found.retainedBytes, found.trashBytes], [0, 0])
    await client.copy('/d', '/snapshot', { recursive: true })
    found = await space()
    assert.is(found.liveBytes, 1200 * KiB, 'a snapshot takes no space')
    assert.is(found.replicaBytes, 3 * 1200 * KiB)
    await client.remove('/snapshot', { recursive: true, now: true })
    await world.sleep(1000)
    await client.remove('/d', { recursive: true })
    found = await space()
    assert.equal([found.liveBytes, found.trashBytes, found.retainedBytes], [600 * KiB, 600 * KiB, 600 * KiB])
    await client.truncate('/a', 100)
    await world.sleep(1000)
    found = await space()
    assert.is(found.liveBytes, 100)
    assert.is(found.retainedBytes, 600 * KiB + (600 - 256) * KiB, 'chunks that /a gave up are retained')
    await client.trashEmpty()
    let pendingMost = 0
    for (let look = 0; look < 1500; look++) {
      await world.sleep(20)
      pendingMost = Math.max(pendingMost, (await space()).pendingDeletionBytes)
    }
    assert.ok(pendingMost >= 200 * KiB && pendingMost <= 3 * 600 * KiB, `${pendingMost} bytes waited to be deleted`)
    found = await space()
    assert.equal([found.trashBytes, found.pendingDeletionBytes], [0, 0])
    assert.is(found.usedBytes, 3 * 600 * KiB)
    client.close()
  })
})

test('a full cluster refuses what it can not keep, keeps all that it took, and takes more when there is room', async () => {
  const world = new SimWorld(3)
  await world.run(async () => {
    const at = await small(world, 3, 3 * MiB)
    const { client, files, cluster } = at
    let refused = 0
    for (let round = 0; round < 12; round++) {
      try {
        await put(at, `/f${round}`, world.random.bytes(700 * KiB))
      } catch (error) {
        if (!isDfsError(error)) throw error
        assert.ok(['NO_SERVERS', 'DISK_FULL', 'TIMEOUT'].includes(error.code), error.code)
        assert.match(error.message, /room|full|free/)
        refused++
        assert.not.ok(await client.exists(`/f${round}`), 'what was refused has no name')
      }
    }
    assert.ok(refused > 4 && files.size > 1, `${refused} refused, ${files.size} taken`)
    await readAll(at)
    // Room by removing.
    const [first] = files.keys()
    await client.remove(first!, { now: true })
    files.delete(first!)
    await world.sleep(MINUTE_MS)
    await put(at, '/after-removal', world.random.bytes(300 * KiB))
    // Room by larger disks.
    for (const { machine } of cluster.chunkservers) machine.disk.options.capacityBytes = 64 * MiB
    await world.sleep(MINUTE_MS)
    await put(at, '/after-growth', world.random.bytes(5 * MiB))
    await readAll(at)
    assert.is((await client.fsck('/')).status, 'HEALTHY')
    client.close()
  })
})

test('a disk that fills up under a writer is left, nothing new goes there, and it is used again when it has room', async () => {
  for (let seed = 4; seed < 8; seed++) {
    const world = new SimWorld(seed)
    await world.run(async () => {
      const at = await small(world, 4, 64 * MiB)
      const { client, cluster } = at
      const { disk } = cluster.chunkservers[seed % 4]!.machine
      const writing = put(at, '/long', world.random.bytes(6 * MiB))
      world.afterEvents(50 + world.random.below(400), () => {
        disk.options.capacityBytes = disk.usedBytes() + world.random.below(20 * KiB)
      })
      await writing
      await world.sleep(15_000)
      const full = disk.usedBytes()
      // What the server gave up there, somebody else has taken: the disk stays full.
      disk.options.capacityBytes = full + world.random.below(20 * KiB)
      await world.sleep(2000)
      await put(at, '/more', world.random.bytes(2 * MiB))
      for (let file = 0; file < 10; file++) await put(at, `/s${file}`, world.random.bytes(5 * KiB))
      await readAll(at)
      assert.ok(
        disk.usedBytes() <= full + 64 * KiB,
        `seed ${seed}: ${disk.usedBytes()} after ${full}, of ${disk.options.capacityBytes}`,
      )
      assert.is((await client.fsck('/')).status, 'HEALTHY')
      disk.options.capacityBytes = 64 * MiB
      await world.sleep(MINUTE_MS)
      const before = disk.usedBytes()
      for (let file = 0; file < 6; file++) await put(at, `/again${file}`, world.random.bytes(MiB))
      await world.sleep(5000)
      assert.ok(disk.usedBytes() > before + 256 * KiB, 'the disk takes chunks again')
      await readAll(at)
      client.close()
    })
  }
})

test('a replica that could not be sealed for want of room is sealed when there is some, and is not left over', async () => {
  const world = new SimWorld(91)
  await world.run(async () => {
    const at = await small(world, 4, 64 * MiB)
    const { client, cluster } = at
    const replicas = async (): Promise<readonly { readonly address: string; readonly state: string }[]> => {
      const { chunks } = (await client.info('/f')) as {
        chunks: { replicas: { address: string; state: string }[] }[]
      }
      return chunks[0]!.replicas
    }
    const writer = client.createWriter('/f')
    await writer.write(world.random.bytes(100_000))
    await writer.flush()
    await world.sleep(1500)
    const member = (await replicas())[1]!
    const { disk } = cluster.chunkservers.find(({ machine }) => member.address.startsWith(`${machine.name}:`))!.machine
    disk.options.capacityBytes = disk.usedBytes()
    await writer.close()
    await world.sleep(10_000)
    assert.is((await replicas()).filter(({ state }) => state === 'good').length, 3, 'a copy was made elsewhere')
    assert.is((await replicas()).length, 4)
    disk.options.capacityBytes = 64 * MiB
    await world.sleep(30_000)
    assert.equal(
      (await replicas()).map(({ state }) => state),
      ['good', 'good', 'good'],
    )
    client.close()
  })
})

test('replicas that a full disk could not seal count for nobody: fsck and report say the same, and why', async () => {
  const world = new SimWorld(92)
  await world.run(async () => {
    const at = await small(world, 2, 64 * MiB)
    const { client, cluster } = at
    const said = async () => {
      const { repair } = (await client.report()) as { repair: { underReplicated: number; lastCopy: number } }
      const checked = await client.fsck('/')
      assert.equal([repair.underReplicated, repair.lastCopy], [checked.underReplicated, checked.lastCopy])
      return checked
    }
    const writers = ['/a', '/b', '/c'].map((path) => client.createWriter(path, { goal: 2 }))
    for (const writer of writers) {
      await writer.write(world.random.bytes(100_000))
      await writer.flush()
    }
    await world.sleep(1500)
    assert.is((await said()).status, 'HEALTHY')
    const { disk } = cluster.chunkservers[1]!.machine
    disk.options.capacityBytes = disk.usedBytes()
    for (const writer of writers) await writer.close()
    await world.sleep(3000)
    const full = await said()
    assert.equal([full.status, full.underReplicated, full.lastCopy], ['DEGRADED', 3, 3])
    assert.match(full.problems[0]!.why, /1 of 2 replicas .*the one of cs-\d could not be sealed \(is its disk full\?\)/)
    assert.equal(
      full.exposure.map(({ chunks }) => chunks),
      [3],
    )
    // Also for a master that hears of these replicas for the first time.
    cluster.master.crash(true)
    await cluster.master.restart()
    await world.sleep(10_000)
    assert.is((await said()).underReplicated, 3)
    disk.options.capacityBytes = 64 * MiB
    await world.sleep(30_000)
    assert.is((await said()).status, 'HEALTHY')
    client.close()
  })
})

test.run()
