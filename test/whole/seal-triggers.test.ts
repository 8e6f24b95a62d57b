// What ends an open chunk (DESIGN §2, §5): whatever keeps a member from taking bytes seals it, what was acknowledged stays
// readable, and nothing is acknowledged in it afterwards. Deaths, restarts, full disks, fences and sessions that end have
// their tests beside the writers (test/client/write-faults.test.ts, garbage.test.ts); here are the others.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Client } from '../../src/client/client.ts'
import { SimChunkserver, SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

interface InfoChunk {
  readonly handle: number
  readonly state: string
  readonly length: number
  readonly replicas: readonly { readonly server: string; readonly address: string; readonly state: string }[]
}

async function inCluster(
  seed: number,
  servers: number,
  main: (cluster: SimCluster, client: Client, world: SimWorld) => Promise<void>,
): Promise<void> {
  const world = new SimWorld(seed)
  await world.run(async () => {
    const cluster = new SimCluster(world, servers, { chunkBytes: 4 * 1024 * 1024 })
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 30_000 })
    await main(cluster, client, world)
    client.close()
  })
}

async function chunksOf(client: Client, path: string): Promise<readonly InfoChunk[]> {
  return ((await client.info(path)) as { chunks: InfoChunk[] }).chunks
}

function serverAt(cluster: SimCluster, address: string): SimChunkserver {
  return cluster.chunkservers.find(({ machine }) => address.startsWith(`${machine.name}:`))!
}

function sealsIn(cluster: SimCluster, reason: RegExp): readonly string[] {
  return cluster.master.machine.log.lines.filter((line) => line.includes('event=seal ') && reason.test(line))
}

test('a bad block in an open chunk seals it: its writer goes on in another, and repair makes the replica anew', () =>
  inCluster(1, 4, async (cluster, client, world) => {
    const writer = client.createWriter('/grows')
    const [first, second] = [world.random.bytes(300_000), world.random.bytes(300_000)]
    await writer.write(first)
    await writer.flush()
    const [chunk] = await chunksOf(client, '/grows')
    assert.is(chunk!.state, 'open')
    const { machine } = serverAt(cluster, chunk!.replicas[1]!.address)
    const name = `${chunk!.handle.toString(16).padStart(14, '0')}.data`
    machine.disk.flipBit(machine.disk.paths().find((path) => path.endsWith(name))!, 100_000, 2)
    await client.scrub()
    await world.sleep(8000)
    assert.is(sealsIn(cluster, /bad block/).length, 1)
    const [sealed] = await chunksOf(client, '/grows')
    assert.equal([sealed!.state, sealed!.length], ['sealed', 300_000])
    assert.is(sealed!.replicas.filter(({ state }) => state === 'good').length, 3)
    await writer.write(second)
    await writer.close()
    assert.is(Buffer.compare(await client.readFile('/grows'), Buffer.concat([first, second])), 0)
  }))

// Goal: P2 and the last sentence of DESIGN §5. Method: one appender goes on all the time; the primary of its tail loses
// the master, but neither the client nor the other members. What was acknowledged must be in the file, once.
test('a primary that is cut off from the master acknowledges nothing after the seal, and nothing from before is lost', () =>
  inCluster(2, 5, async (cluster, client, world) => {
    const appender = await client.openAppender('/log', { create: true })
    const acknowledged = new Map<number, number>()
    let isOver = false
    const appending = (async () => {
      for (let number = 0; !isOver; number++) {
        const record = Buffer.alloc(100)
        record.writeUInt32LE(number)
        acknowledged.set(number, await appender.append(record))
        await world.sleep(20)
      }
    })()
    await world.sleep(2000)
    const [open] = await chunksOf(client, '/log')
    const cut = serverAt(cluster, open!.replicas[0]!.address)
    world.network.partition(cut.machine.name, 'master')
    const before = acknowledged.size
    await world.sleep(1500)
    assert.ok(acknowledged.size > before + 40, 'with the master away from one member writing goes on')
    await world.sleep(6000)
    const sealed = (await chunksOf(client, '/log')).find(({ handle }) => handle === open!.handle)
    assert.is(sealed?.state, 'sealed')
    const [line] = sealsIn(cluster, / is dead/)
    assert.ok(line, 'the master sealed it')
    const atSeal = [...acknowledged.values()].filter((offset) => offset < sealed!.length).length
    await world.sleep(5000)
    // The old primary still believes in its lease; every record since has gone to another chunk.
    assert.is([...acknowledged.values()].filter((offset) => offset < sealed!.length).length, atSeal)
    assert.ok(acknowledged.size > atSeal + 100)
    world.network.healFaults()
    await world.sleep(3000)
    isOver = true
    await appending
    await appender.close()
    await world.sleep(3000)
    const bytes = await client.readFile('/log')
    assert.is(bytes.length, 100 * acknowledged.size)
    for (const [number, offset] of acknowledged) assert.is(bytes.readUInt32LE(offset), number, `record ${number}`)
  }))

test('the primary of a tail does not answer a reader: the tail is sealed, and every acknowledged byte is counted and read', () =>
  inCluster(3, 4, async (cluster, client, world) => {
    const appender = await client.openAppender('/log', { create: true })
    const records = Array.from({ length: 30 }, () => world.random.bytes(500))
    for (const record of records) await appender.append(record)
    const [open] = await chunksOf(client, '/log')
    const reader = await cluster.client({ timeoutMs: 30_000 })
    await reader.stat('/')
    // The master still hears it, so that nobody but the reader can tell.
    world.network.partition(serverAt(cluster, open!.replicas[0]!.address).machine.name, 'client-2')
    const startMs = world.nowMs
    assert.is((await reader.stat('/log')).size, 15_000)
    assert.ok(world.nowMs - startMs < 5000, `${world.nowMs - startMs} ms`)
    assert.is(sealsIn(cluster, /its length was asked for/).length, 1)
    assert.is(Buffer.compare(await reader.readFile('/log'), Buffer.concat(records)), 0)
    const more = world.random.bytes(500)
    assert.is(await appender.append(more), 15_000, 'its writer goes on in the next')
    await appender.close()
    reader.close()
  }))

/** Writes a file piece by piece, each flushed. @returns how long each took */
async function flushes(client: Client, world: SimWorld, count: number): Promise<number[]> {
  const writer = client.createWriter('/file')
  const parts: Buffer[] = []
  const tookMs: number[] = []
  for (let part = 0; part < count; part++) {
    parts.push(world.random.bytes(300_000))
    const startMs = world.nowMs
    await writer.write(parts[part]!)
    await writer.flush()
    tookMs.push(world.nowMs - startMs)
  }
  await writer.close()
  assert.is(Buffer.compare(await client.readFile('/file'), Buffer.concat(parts)), 0)
  return tookMs
}

for (const victim of [0, 1, 2]) {
  test(`a disk that takes 2 s for each request: writers leave member ${victim} of the chain, and are as fast as before`, () =>
    inCluster(10 + victim, 4, async (cluster, client, world) => {
      const writer = client.createWriter('/first')
      await writer.write(world.random.bytes(300_000))
      await writer.flush()
      const [chunk] = await chunksOf(client, '/first')
      const { disk } = serverAt(cluster, chunk!.replicas[victim]!.address).machine
      disk.options.latencyMsMin = 2000
      disk.options.latencyMsMax = 2000
      const startMs = world.nowMs
      await writer.write(world.random.bytes(300_000))
      await writer.flush()
      const tookMs = world.nowMs - startMs
      assert.ok(tookMs < 6000, `${tookMs} ms until the writer had gone on elsewhere`)
      assert.ok(sealsIn(cluster, /no answer from cs-/).length > 0)
      await writer.close()
      const slow = (await flushes(client, world, 20)).filter((ms) => ms > 1000)
      assert.ok(slow.length <= 1, `${slow.length} of 20 flushes were slow`)
    }))
}

// Seals of these can't end before the server is back; upkeep runs 64 at once.
test('open chunks whose only server is gone do not keep others from being sealed', async () => {
  const world = new SimWorld(41)
  await world.run(async () => {
    const cluster = new SimCluster(world, 1, { chunkBytes: 64 * 1024, goal: 1 })
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 20_000 })
    const begin = async (path: string): Promise<void> => {
      const writer = client.createWriter(path, { goal: 1 })
      await writer.write(world.random.bytes(30_000))
      await writer.flush()
    }
    for (let file = 0; file < 70; file++) await begin(`/gone-${file}`)
    cluster.chunkservers[0]!.crash(true)
    const other = new SimChunkserver(world, 'other', cluster.master)
    await other.start()
    await world.sleep(3000)
    await begin('/other')
    other.crash(false)
    await other.restart()
    await world.sleep(10_000)
    assert.is((await chunksOf(client, '/other'))[0]!.state, 'sealed')
    assert.is((await chunksOf(client, '/gone-3'))[0]!.state, 'open')
    await cluster.chunkservers[0]!.restart()
    await world.sleep(5000)
    for (let file = 0; file < 70; file++)
      assert.is((await chunksOf(client, `/gone-${file}`))[0]!.state, 'sealed', `/gone-${file}`)
    client.close()
  })
})

test('small files stored while a server was away have all replicas within 5 s of its return', () =>
  inCluster(42, 3, async (cluster, client, world) => {
    cluster.chunkservers[0]!.crash(false)
    await world.sleep(5000)
    await client.writeFile('/small', Buffer.alloc(1000, 1))
    const [packing] = await chunksOf(client, '/small')
    assert.equal([packing!.state, packing!.replicas.length], ['open', 2])
    await cluster.chunkservers[0]!.restart()
    await world.sleep(5000)
    const [whole] = await chunksOf(client, '/small')
    assert.equal([whole!.state, whole!.replicas.filter(({ state }) => state === 'good').length], ['sealed', 3])
    assert.is(sealsIn(cluster, /full placement/).length, 1)
    assert.is((await client.fsck('/')).status, 'HEALTHY')
  }))

test('when all disks are slow the writer waits: overload does not turn into seals', () =>
  inCluster(20, 4, async (cluster, client, world) => {
    for (const { machine } of cluster.chunkservers) {
      machine.disk.options.latencyMsMin = 2000
      machine.disk.options.latencyMsMax = 2000
    }
    const tookMs = await flushes(client, world, 3)
    assert.ok(Math.min(...tookMs) > 2000)
    assert.equal(sealsIn(cluster, /a client asked/), [])
  }))

test.run()
