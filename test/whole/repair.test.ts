// Repair in whole clusters: whatever takes replicas away, redundancy comes back by itself, no byte is wrong, and no
// replica goes before enough proven ones are there (P6; DESIGN §5; GFS §4.3).

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import type { ChunkHandle } from '../../src/base/ids.ts'
import type { Client } from '../../src/client/client.ts'
import { parseAddress } from '../../src/io/network.ts'
import type { MasterOptions } from '../../src/master/node.ts'
import { ask } from '../../src/rpc/ask.ts'
import { connect } from '../../src/rpc/pool.ts'
import { hello } from '../../src/wire/hello.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

const KIB = 1024

interface Stored {
  readonly cluster: SimCluster
  readonly client: Client
  readonly files: Map<string, Buffer>
}

interface InfoChunk {
  readonly handle: number
  readonly version: number
  readonly length: number
  readonly replicas: readonly { readonly address: string }[]
}

interface RepairFacts {
  readonly missing: number
  readonly corrupt: number
  readonly lastCopy: number
  readonly underReplicated: number
  readonly overReplicated: number
  readonly inFlight: number
}

async function store(world: SimWorld, servers: number, options: Partial<MasterOptions> = {}): Promise<Stored> {
  const cluster = new SimCluster(world, servers, options)
  await cluster.start()
  const client = await cluster.client({ timeoutMs: 20_000 })
  const files = new Map<string, Buffer>()
  files.set('/small', world.random.bytes(3000))
  files.set('/big', world.random.bytes(1500 * KIB + 77))
  for (const [path, bytes] of files) await client.writeFile(path, bytes)
  return { cluster, client, files }
}

async function repairOf(client: Client): Promise<RepairFacts> {
  const document = await client.report()
  return (document as { repair: RepairFacts }).repair
}

/** Copies made since the master started. */
async function copiesMade(client: Client): Promise<{ copies: number; bytes: number }> {
  const document = await client.report()
  return (document as { repair: { copied: { copies: number; bytes: number } } }).repair.copied
}

/** Has every server read and prove all of every replica. @returns how many replicas were damaged */
async function verifyEach({ cluster, client, files }: Stored): Promise<number> {
  const { io } = cluster.world.machine('verifier')
  const node = cluster.master.node
  let damaged = 0
  for (const path of files.keys()) {
    const { chunks } = (await client.info(path)) as { chunks: InfoChunk[] }
    for (const { handle, version, length, replicas } of chunks) {
      for (const { address } of replicas) {
        const options = {
          clock: io.clock,
          network: io.network,
          hello: () => hello('client', { cluster: node!.clusterId }),
          onBug: (error: unknown) => cluster.world.fail(error),
        }
        const connection = await connect(options, parseAddress(address)!, 1000)
        try {
          await ask(connection, 'checksum', { handle: handle as ChunkHandle, version, offset: 0, length })
        } catch (error) {
          if (!isDfsError(error, 'CORRUPT_REPLICA')) throw error
          damaged++
        } finally {
          connection.close()
        }
      }
    }
  }
  return damaged
}

/** Waits until nothing is missing, lacking or too many. @returns virtual milliseconds it took */
async function whole(world: SimWorld, client: Client, timeoutMs = 60_000): Promise<number> {
  const startMs = world.nowMs
  for (;;) {
    const facts = await repairOf(client)
    const { missing, corrupt, underReplicated, overReplicated } = facts
    if (missing + corrupt + underReplicated + overReplicated === 0) return world.nowMs - startMs
    if (world.nowMs - startMs > timeoutMs) throw new Error(`not whole after ${timeoutMs} ms: ${JSON.stringify(facts)}`)
    await world.sleep(100)
  }
}

async function readAll({ client, files }: Stored): Promise<void> {
  for (const [path, bytes] of files) assert.is(Buffer.compare(await client.readFile(path), bytes), 0, path)
}

test('one server lost for good: every chunk is back at its goal within seconds, all bytes right', async () => {
  const world = new SimWorld(1)
  await world.run(async () => {
    const stored = await store(world, 5)
    const { cluster, client } = stored
    await whole(world, client)
    cluster.chunkservers[1]!.crash(false)
    await world.sleep(1200)
    const tookMs = await whole(world, client)
    assert.ok(tookMs < 5000, `${tookMs} ms`)
    for (const index of [0, 2]) cluster.chunkservers[index]!.crash(false)
    await readAll(stored)
    client.close()
  })
})

test('two servers lost one second apart: the last copies come first, and all comes back', async () => {
  const world = new SimWorld(2)
  await world.run(async () => {
    const stored = await store(world, 6)
    const { cluster, client } = stored
    await whole(world, client)
    cluster.chunkservers[0]!.crash(true)
    await world.sleep(1000)
    cluster.chunkservers[3]!.crash(false)
    await world.sleep(1200)
    assert.ok((await whole(world, client)) < 10_000)
    await readAll(stored)
    client.close()
  })
})

test('a server that is silent, but connected, is dead within three seconds; one that stutters is not', async () => {
  const world = new SimWorld(3)
  await world.run(async () => {
    const { cluster, client } = await store(world, 4)
    await whole(world, client)
    const [server, other] = cluster.chunkservers
    other!.machine.pauseMachine()
    await world.sleep(3000)
    const { copies } = await copiesMade(client)
    assert.ok(copies > 0, 'dead within three seconds')
    other!.machine.resume()
    await world.sleep(1000)
    await whole(world, client)
    const before = await copiesMade(client)
    for (let i = 0; i < 10; i++) {
      server!.machine.pauseMachine()
      await world.sleep(1500)
      server!.machine.resume()
      await world.sleep(700)
      assert.is((await copiesMade(client)).copies, before.copies, 'a stutter is no death')
    }
    client.close()
  })
})

test('the lost server comes back: what is too many then is trimmed to the goal, and no chunk falls below it', async () => {
  const world = new SimWorld(4)
  await world.run(async () => {
    const stored = await store(world, 4)
    const { cluster, client } = stored
    await whole(world, client)
    cluster.chunkservers[2]!.crash(false)
    await world.sleep(1200)
    await whole(world, client)
    await cluster.chunkservers[2]!.restart()
    await world.sleep(1500)
    assert.ok((await repairOf(client)).overReplicated > 0, 'its replicas count again')
    for (let i = 0; i < 200; i++) {
      const facts = await repairOf(client)
      assert.is(facts.underReplicated + facts.missing, 0, 'a trim took one that was needed')
      await world.sleep(50)
    }
    await whole(world, client)
    await readAll(stored)
    client.close()
  })
})

test('what comes back to a server that was just trimmed counts: nothing is copied twice', async () => {
  const world = new SimWorld(9)
  await world.run(async () => {
    const stored = await store(world, 5)
    const { cluster, client } = stored
    await whole(world, client)
    const [gone, ...others] = cluster.chunkservers
    gone!.crash(false)
    await world.sleep(1200)
    await whole(world, client)
    await gone!.restart()
    await world.sleep(1500)
    await whole(world, client)
    for (const victim of others.slice(0, 2)) {
      victim.crash(false)
      await world.sleep(1200)
      for (let i = 0; i < 50; i++) {
        assert.is((await repairOf(client)).overReplicated, 0, 'one copy too many was made')
        await world.sleep(50)
      }
    }
    await whole(world, client)
    await readAll(stored)
    client.close()
  })
})

test('every replica of every chunk has another bad block: each chunk is whole again', async () => {
  const world = new SimWorld(5)
  await world.run(async () => {
    const stored = await store(world, 3)
    const { cluster, client } = stored
    await whole(world, client)
    for (const [index, { machine }] of cluster.chunkservers.entries()) {
      for (const path of machine.disk.paths().filter((name) => name.endsWith('.data'))) {
        const bytes = machine.disk.readFile(path)!.length
        const blocks = Math.ceil(bytes / 4096)
        if (blocks >= 3) machine.disk.flipBit(path, 4096 * (index + 3 * world.random.below(Math.floor(blocks / 3))), 3)
      }
    }
    assert.ok((await verifyEach(stored)) >= 3, 'every server finds its own bad blocks')
    await readAll(stored)
    await world.sleep(500) // the damage is told, and counted
    await whole(world, client)
    assert.is(await verifyEach(stored), 0, 'each server alone proves every byte')
    client.close()
  })
})

test('a bad block in an open chunk seals it, and the chunk is whole again', async () => {
  const world = new SimWorld(9)
  await world.run(async () => {
    const { cluster, client } = await store(world, 4)
    const appender = await client.openAppender('/log', { create: true, sync: true })
    await appender.append(world.random.bytes(20 * KIB))
    const { tail } = (await client.info('/log')) as { tail: number }
    const name = `${tail.toString(16).padStart(14, '0')}.data`
    const holders = cluster.chunkservers.filter(({ machine }) =>
      machine.disk.paths().some((path) => path.endsWith(name)),
    )
    assert.is(holders.length, 3)
    const { disk } = holders[1]!.machine
    disk.flipBit(disk.paths().find((path) => path.endsWith(name))!, 5000, 1)
    await client.scrub()
    await world.sleep(2000) // it is found, and told
    assert.is(((await client.info('/log')) as { tail: number | null }).tail, null)
    await whole(world, client)
    assert.is((await client.fsck('/')).corrupt, 0)
    assert.is(await appender.append(world.random.bytes(100)), 20 * KIB, 'who appends goes on in another')
    await appender.close()
    client.close()
  })
})

test('a graceful stop is maintenance: nothing is copied while two other replicas can be reached, then what must be', async () => {
  const world = new SimWorld(6)
  await world.run(async () => {
    const stored = await store(world, 5)
    const { cluster, client } = stored
    await whole(world, client)
    const before = await copiesMade(client)
    await cluster.chunkservers[0]!.node!.close({ maintenance: true })
    await world.sleep(20_000)
    assert.is((await copiesMade(client)).copies, before.copies, 'a copying storm on a graceful stop')
    for (const index of [1, 2]) {
      cluster.chunkservers[index]!.crash(false)
      await world.sleep(5000)
      assert.is((await repairOf(client)).lastCopy, 0, 'last copies are never left to themselves')
    }
    await readAll(stored)
    client.close()
  })
})

test('the throttle holds, but not for last copies', async () => {
  const world = new SimWorld(7)
  await world.run(async () => {
    const { cluster, client } = await store(world, 5, { repairBytesPerSecond: 64 * KIB })
    await whole(world, client)
    cluster.chunkservers[0]!.crash(false)
    await world.sleep(3000)
    const slow = await copiesMade(client)
    assert.ok(slow.bytes < 5 * 64 * KIB * 4 + 4 * 4096 * KIB, `${slow.bytes} bytes in 3 s`)
    client.close()
  })
})

test('nothing is copied in safe mode', async () => {
  const world = new SimWorld(8)
  await world.run(async () => {
    const stored = await store(world, 4)
    const { cluster, client } = stored
    await whole(world, client)
    cluster.chunkservers[3]!.crash(false)
    cluster.master.crash(false)
    await cluster.master.restart()
    await world.sleep(20_000)
    assert.is((await copiesMade(client)).copies, 0)
    await world.sleep(15_000)
    await whole(world, client)
    await readAll(stored)
    client.close()
  })
})

test('a target that loses power at any step of a copy leaves a whole replica or none', async () => {
  for (let seed = 100; seed < 108; seed++) {
    const world = new SimWorld(seed)
    await world.run(async () => {
      const stored = await store(world, 4)
      const { cluster, client } = stored
      await whole(world, client)
      cluster.chunkservers[0]!.crash(false)
      await world.sleep(700)
      const victim = cluster.chunkservers[1 + world.random.below(3)]!
      let crashed = false
      world.afterEvents(world.random.below(3000), () => {
        crashed = true
        victim.crash(true)
      })
      await world.until('the victim lost power', () => crashed)
      await world.sleep(world.random.below(2000))
      await victim.restart()
      await whole(world, client)
      for (const { machine } of cluster.chunkservers.slice(1)) {
        assert.equal(
          machine.disk.paths().filter((path) => path.endsWith('.new')),
          [],
          'a copy left its files',
        )
      }
      await readAll(stored)
      client.close()
    })
  }
})

test.run()
