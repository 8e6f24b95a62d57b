// Compaction in whole clusters: dead space comes back, files in many pieces become whole, and whoever reads, writes,
// renames, removes or copies meanwhile notices nothing; a crash at any step loses nothing and leaves nothing (DESIGN §3
// "Client library", §4 "Small files").

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { HOUR_MS, KiB, MINUTE_MS } from '../../src/base/units.ts'
import type { Client } from '../../src/client/client.ts'
import type { MasterOptions } from '../../src/master/node.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

const FILES = 40

interface Filled {
  readonly cluster: SimCluster
  readonly client: Client
  /** What must be readable. */
  readonly files: Map<string, Buffer>
}

interface CompactionFacts {
  readonly waitingChunks: number
  readonly waitingBytes: number
  readonly madeChunks: number
  readonly movedBytes: number
  readonly failures: number
}

interface Info {
  readonly extents: readonly unknown[]
  readonly chunks: readonly {
    readonly handle: number
    readonly length: number
    readonly replicas: readonly unknown[]
  }[]
}

/** Whether a chunkserver is writing a chunk that has no name yet: here only gatherings do. */
function isGathering(cluster: SimCluster): boolean {
  return cluster.chunkservers.some(({ machine }) => machine.disk.paths().some((path) => path.endsWith('.new')))
}

function dataBytes(cluster: SimCluster): number {
  return cluster.chunkservers.reduce((sum, { machine }) => {
    const names = machine.disk.paths().filter((path) => path.endsWith('.data') || path.endsWith('.new'))
    return sum + names.reduce((bytes, path) => bytes + machine.disk.readFile(path).length, 0)
  }, 0)
}

async function compactionOf(client: Client): Promise<CompactionFacts> {
  return ((await client.report()) as { compaction: CompactionFacts }).compaction
}

async function infoOf(client: Client, path: string): Promise<Info> {
  return (await client.info(path)) as Info
}

async function readAll({ client, files }: Filled): Promise<void> {
  for (const [path, bytes] of files) assert.is(Buffer.compare(await client.readFile(path), bytes), 0, path)
}

/** Small files in a few shared chunks, of which all but every fourth are gone for good. */
async function fill(world: SimWorld, servers: number, options: Partial<MasterOptions> = {}): Promise<Filled> {
  const cluster = new SimCluster(world, servers, { retentionMs: HOUR_MS, ...options })
  await cluster.start()
  const client = await cluster.client({ timeoutMs: 20_000 })
  const files = new Map<string, Buffer>()
  for (let at = 0; at < FILES; at++) {
    const bytes = world.random.bytes(5 * KiB + world.random.below(20 * KiB))
    await client.writeFile(`/f${at}`, bytes)
    if (at % 4 === 0) files.set(`/f${at}`, bytes)
  }
  for (let at = 0; at < FILES; at++) if (at % 4 !== 0) await client.remove(`/f${at}`, { now: true })
  return { cluster, client, files }
}

/** Waits until nothing is left to compact. */
async function compacted(world: SimWorld, client: Client): Promise<CompactionFacts> {
  for (let waited = 0; waited < 10; waited++) {
    await client.compact()
    await world.sleep(MINUTE_MS)
    const facts = await compactionOf(client)
    if (facts.waitingChunks === 0) return facts
  }
  throw new Error(`still not compact: ${JSON.stringify(await compactionOf(client))}`)
}

test('chunks that are mostly dead give their space back, and every byte stays readable all the while', async () => {
  const world = new SimWorld(1)
  await world.run(async () => {
    const filled = await fill(world, 4)
    const { cluster, client, files } = filled
    const before = dataBytes(cluster)
    const live = [...files.values()].reduce((sum, bytes) => sum + bytes.length, 0)
    const reader = await client.openReader('/f0')
    const stat = await client.stat('/f8')
    const facts = await compacted(world, client)
    assert.ok(facts.madeChunks > 0 && facts.movedBytes > 0)
    assert.equal(await client.stat('/f8'), stat, 'nothing that can be seen of a file has changed')
    await readAll(filled)
    assert.ok(dataBytes(cluster) > before, 'the old chunks are still there for those who opened before')
    assert.is(Buffer.compare(await reader.read(0, reader.size), files.get('/f0')!), 0)
    await world.sleep(12 * MINUTE_MS)
    const after = dataBytes(cluster)
    assert.ok(after < before / 2, `${before} bytes before, ${after} after`)
    assert.ok(after <= 3 * (live + 64 * KiB), `${after} bytes for ${live} live ones`)
    await readAll(filled)
    assert.is(
      Buffer.compare(await reader.read(0, reader.size), files.get('/f0')!),
      0,
      'the old extents are asked for again',
    )
    const check = await client.fsck('/')
    assert.is(check.status, 'HEALTHY')
    client.close()
  })
})

test('a snapshot shares its bytes after compaction as before, and what is in the trash is moved with the rest', async () => {
  const world = new SimWorld(2)
  await world.run(async () => {
    const filled = await fill(world, 3)
    const { cluster, client, files } = filled
    await client.makeDirectory('/live')
    for (const path of files.keys()) await client.rename(path, `/live${path}`)
    await client.copy('/live', '/snapshot', { recursive: true })
    await client.remove('/live/f0')
    for (const [path, bytes] of [...files]) {
      files.delete(path)
      if (path !== '/f0') files.set(`/live${path}`, bytes)
      files.set(`/snapshot${path}`, bytes)
    }
    // Names count twice now: more has to die before the chunks are mostly dead.
    for (const path of ['/f8', '/f12', '/f20', '/f24', '/f32', '/f36']) {
      await client.remove(`/live${path}`, { now: true })
      await client.remove(`/snapshot${path}`, { now: true })
      files.delete(`/live${path}`)
      files.delete(`/snapshot${path}`)
    }
    const live = [...files].reduce((sum, [path, bytes]) => sum + (path.startsWith('/snapshot') ? bytes.length : 0), 0)
    const facts = await compacted(world, client)
    assert.ok(facts.madeChunks > 0)
    await world.sleep(12 * MINUTE_MS)
    await readAll(filled)
    const after = dataBytes(cluster)
    assert.ok(after <= 3 * (live + 64 * KiB), `${after} bytes for ${live} shared ones: they were copied twice`)
    const [entry] = (await client.trashList()).entries
    await client.trashRestore(entry!.id)
    assert.is(Buffer.compare(await client.readFile('/live/f0'), files.get('/snapshot/f0')!), 0)
    client.close()
  })
})

test('a file in many small pieces is rewritten once nobody changes it, and open readers go on', async () => {
  const world = new SimWorld(3)
  await world.run(async () => {
    const cluster = new SimCluster(world, 4)
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 20_000 })
    const bytes = world.random.bytes(100 * KiB)
    await client.writeFile('/f', bytes)
    for (let round = 0; round < 40; round++) {
      const piece = world.random.bytes(1 + world.random.below(900))
      const offset = world.random.below(bytes.length - piece.length)
      await client.writeAt('/f', offset, piece)
      piece.copy(bytes, offset)
    }
    const before = await infoOf(client, '/f')
    assert.ok(before.extents.length > 40, `${before.extents.length} extents`)
    const stat = await client.stat('/f')
    const reader = await client.openReader('/f')
    // Two passes find it unchanged; the open packing chunk that holds its pieces is sealed on the way.
    await world.sleep(10 * MINUTE_MS)
    const after = await infoOf(client, '/f')
    assert.is(after.extents.length, 1)
    assert.is((await client.stat('/f')).contentVersion, stat.contentVersion)
    assert.is((await client.stat('/f')).mtimeMs, stat.mtimeMs)
    assert.is(Buffer.compare(await client.readFile('/f'), bytes), 0)
    await world.sleep(12 * MINUTE_MS)
    assert.is(Buffer.compare(await reader.read(0, bytes.length), bytes), 0)
    const handles = after.chunks.map(({ handle }) => handle)
    const later = (await infoOf(client, '/f')).chunks.map(({ handle }) => handle)
    assert.equal(later, handles, 'it is rewritten once, not again and again')
    client.close()
  })
})

test('nothing is compacted in safe mode, and repair goes first', async () => {
  const world = new SimWorld(4)
  await world.run(async () => {
    const filled = await fill(world, 4)
    const { client, cluster } = filled
    await client.safeMode('enter')
    await client.compact()
    await world.sleep(5 * MINUTE_MS)
    assert.is((await compactionOf(client)).madeChunks, 0)
    await client.safeMode('leave')
    cluster.chunkservers[3]!.crash(true)
    assert.ok((await compacted(world, client)).madeChunks > 0)
    assert.is((await client.fsck('/')).status, 'HEALTHY')
    await readAll(filled)
    client.close()
  })
})

test('readers and writers beside compaction never meet an error or a wrong byte, whatever they do to the files', async () => {
  for (let seed = 10; seed < 12; seed++) {
    const world = new SimWorld(seed)
    await world.run(async () => {
      const filled = await fill(world, 4)
      const { cluster, client, files } = filled
      const { random } = world
      let isOver = false
      const reading = (async () => {
        const other = await cluster.client({ timeoutMs: 20_000 })
        while (!isOver) {
          const [path, bytes] = random.pick([...files])
          try {
            const found = await other.readFile(path)
            // Changed between our look and its open: compared when it is still what we looked at.
            if (files.get(path) === bytes) assert.is(Buffer.compare(found, bytes), 0, path)
          } catch (error) {
            const hasChanged = files.get(path) !== bytes
            if (!hasChanged || !(isDfsError(error, 'NOT_FOUND') || isDfsError(error, 'FILE_CHANGED'))) throw error
          }
          await world.sleep(20)
        }
        other.close()
      })()
      for (let step = 0; step < 60; step++) {
        if (step % 10 === 0) await client.compact()
        const [path, bytes] = random.pick([...files])
        files.delete(path)
        switch (random.below(5)) {
          case 0: {
            const piece = random.bytes(100)
            const offset = random.below(bytes.length - 100)
            await client.writeAt(path, offset, piece)
            const changed = Buffer.from(bytes)
            piece.copy(changed, offset)
            files.set(path, changed)
            break
          }
          case 1:
            await client.rename(path, `${path}r`)
            files.set(`${path}r`, bytes)
            break
          case 2:
            await client.copy(path, `${path}c${step}`)
            files.set(path, bytes)
            files.set(`${path}c${step}`, bytes)
            break
          case 3: {
            const fresh = random.bytes(10 * KiB)
            await client.writeFile(path, fresh, { overwrite: true })
            files.set(path, fresh)
            break
          }
          default:
            if (files.size > 4) await client.remove(path, { now: true })
            else files.set(path, bytes)
        }
        await world.sleep(random.below(60))
      }
      isOver = true
      await reading
      const facts = await compacted(world, client)
      assert.ok(facts.madeChunks > 0)
      await world.sleep(15 * MINUTE_MS)
      await readAll(filled)
      assert.is((await client.fsck('/')).status, 'HEALTHY')
      client.close()
    })
  }
})

test('bytes that no replica proves hold up nothing else, and are not tried again and again', async () => {
  const world = new SimWorld(5)
  await world.run(async () => {
    const filled = await fill(world, 3)
    const { cluster, client, files } = filled
    await client.makeDirectory('/bad')
    await client.compact()
    await world.sleep(20_000)
    // The first file's chunk loses the same block everywhere, behind the back of all.
    const { chunks, extents } = await infoOf(client, '/f0')
    const [extent] = extents as { chunkOffset: number }[]
    for (const { machine } of cluster.chunkservers) {
      const stem = chunks[0]!.handle.toString(16).padStart(14, '0')
      const path = machine.disk.paths().find((name) => name.endsWith(`${stem}.data`))
      machine.disk.flipBit(path!, extent!.chunkOffset + 100, 1)
    }
    files.delete('/f0')
    // Enough of its neighbours go to make it mostly dead again; other chunks get dead space too.
    for (let at = 0; at < 30; at++) await client.writeFile(`/bad/${at}`, world.random.bytes(20 * KiB))
    for (let at = 0; at < 30; at++) if (at % 5 !== 0) await client.remove(`/bad/${at}`, { now: true })
    for (const [path] of [...files].slice(0, 6)) {
      await client.remove(path, { now: true })
      files.delete(path)
    }
    await client.compact()
    await world.sleep(40 * MINUTE_MS)
    const { failures, madeChunks } = await compactionOf(client)
    assert.ok(failures > 0 && failures < 8, `${failures} failures`)
    assert.ok(madeChunks > 1)
    await readAll(filled)
    client.close()
  })
})

test('the master and its servers die at any moment of a compaction: nothing is lost, nothing stays behind', async () => {
  const interrupted = { master: 0, server: 0 }
  for (let seed = 20; seed < 27; seed++) {
    const world = new SimWorld(seed)
    await world.run(async () => {
      const filled = await fill(world, 4)
      const { cluster, client, files } = filled
      const { random } = world
      await world.sleep(3000)
      const victim = seed % 2 === 0 ? undefined : random.pick(cluster.chunkservers)
      const power = random.chance(0.5)
      for (const { machine } of cluster.chunkservers) machine.disk.options.slowFactor = 4
      await client.compact()
      await world.until('a gathering is at work', () => isGathering(cluster), MINUTE_MS, 1)
      let isDead = false
      world.afterEvents(random.below(40), () => {
        isDead = true
        if (victim === undefined && isGathering(cluster)) interrupted.master++
        if (victim === undefined) cluster.master.crash(power)
        else victim.crash(power)
      })
      await world.until('something dies', () => isDead)
      await world.sleep(2000)
      if (victim !== undefined && (await compactionOf(client)).failures > 0) interrupted.server++
      if (victim === undefined) await cluster.master.restart()
      else await victim.restart()
      await world.sleep(MINUTE_MS)
      await readAll(filled)
      await compacted(world, client)
      await world.sleep(15 * MINUTE_MS)
      await readAll(filled)
      assert.is((await client.fsck('/')).status, 'HEALTHY')
      const live = [...files.values()].reduce((sum, bytes) => sum + bytes.length, 0)
      const after = dataBytes(cluster)
      assert.ok(after <= 3 * (live + 64 * KiB), `seed ${seed}: ${after} bytes are left for ${live} live ones`)
      client.close()
    })
  }
  assert.ok(interrupted.master > 1 && interrupted.server > 1, `interrupted: ${JSON.stringify(interrupted)}`)
})

test('a server that gathers more slowly than the others makes nobody say everything again', async () => {
  const world = new SimWorld(71)
  await world.run(async () => {
    const filled = await fill(world, 3)
    const { cluster, client } = filled
    await world.sleep(15_000)
    cluster.chunkservers[0]!.machine.disk.options.bytesPerMs = 20
    await compacted(world, client)
    const { lines } = cluster.master.machine.log
    assert.equal(
      lines.filter((line) => line.includes('event=replicas-differ')),
      [],
    )
    await readAll(filled)
    client.close()
  })
})

test.run()
