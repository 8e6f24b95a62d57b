// Repair in whole clusters: whatever takes replicas away, redundancy comes back by itself, no byte is wrong, and no
// replica goes before enough proven ones are there (P6; DESIGN §5; GFS §4.3).

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { isDfsError } from '../../src/base/errors.ts'
import type { ChunkHandle } from '../../src/base/ids.ts'
import type { Client } from '../../src/client/client.ts'
import { parseAddress } from '../../src/io/network.ts'
import type { MasterOptions } from '../../src/master/node.ts'
import { ask } from '../../src/rpc/ask.ts'
import { connect } from '../../src/rpc/pool.ts'
import { hello } from '../../src/wire/hello.ts'
import { FakeChunkserver } from '../client/fake-chunkserver.ts'
import type { SimMachine } from '../sim/machine.ts'
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
  readonly state: string
  readonly replicas: readonly { readonly address: string; readonly serverState: string }[]
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
      for (const { address, serverState } of replicas) {
        if (serverState === 'dead') continue
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

test('two servers lost one second apart: five seconds later no chunk has a single replica, then all comes back', async () => {
  for (const [seed, power] of [
    [2, true],
    [20, false],
  ] as const) {
    const world = new SimWorld(seed)
    await world.run(async () => {
      const stored = await store(world, 6)
      const { cluster, client } = stored
      await whole(world, client)
      cluster.chunkservers[0]!.crash(power)
      await world.sleep(1000)
      cluster.chunkservers[3]!.crash(false)
      await world.sleep(5000)
      const { lastCopy, missing } = await repairOf(client)
      assert.is(lastCopy + missing, 0)
      await whole(world, client)
      await readAll(stored)
      client.close()
    })
  }
})

test('all servers silent at once is the network, not their death; one of them silent is dead', async () => {
  const world = new SimWorld(21)
  await world.run(async () => {
    const stored = await store(world, 4)
    const { cluster, client } = stored
    await whole(world, client)
    const { copies } = await copiesMade(client)
    const deaths = () => cluster.master.machine.log.lines.filter((line) => line.includes('event=server-lost')).length
    // Bytes are kept and come late: everything the servers say is delayed alike.
    for (const ms of [1500, 3000, 6000]) {
      for (const { machine } of cluster.chunkservers) world.network.stall(machine.name, 'master', ms)
      await world.sleep(ms + 4000)
    }
    assert.is(deaths(), 0)
    assert.is((await copiesMade(client)).copies, copies)
    cluster.chunkservers[2]!.machine.pauseMachine()
    await world.sleep(4000)
    assert.is(deaths(), 1)
    cluster.chunkservers[2]!.machine.resume()
    await whole(world, client)
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

// Goal: within any time no server takes more than its rate, a burst apart; and yet the last copies of chunks come at once.
test('the throttle holds to the byte, but not for last copies', async () => {
  const rate = 16 * KIB
  const world = new SimWorld(7)
  await world.run(async () => {
    const stored = await store(world, 6, { chunkBytes: 64 * KIB, repairBytesPerSecond: rate })
    const { cluster, client, files } = stored
    files.set('/more', world.random.bytes(6000 * KIB))
    await client.writeFile('/more', files.get('/more')!)
    await whole(world, client)
    cluster.chunkservers[0]!.crash(false)
    await world.sleep(1000)
    const copied = () => cluster.chunkservers.map(({ node }) => node?.counters.bytesCloned ?? 0)
    const before = copied()
    for (const seconds of [10, 20]) {
      await world.sleep(10_000)
      const now = copied()
      const most = Math.max(...now.map((bytes, index) => bytes - before[index]!))
      assert.ok(most <= seconds * rate + 64 * KIB, `${most} bytes in ${seconds} s`)
      assert.ok(most >= (seconds * rate) / 4, `${most} bytes in ${seconds} s are too few`)
    }
    assert.ok((await repairOf(client)).underReplicated > 0, 'the throttle bites')
    const { name } = cluster.chunkservers[1]!.machine
    const { chunks } = (await client.info('/more')) as { chunks: InfoChunk[] }
    const onlyThere = chunks.filter(({ replicas }) => {
      const live = replicas.filter(({ serverState }) => serverState === 'live')
      return live.length === 2 && live.some(({ address }) => address.startsWith(`${name}:`))
    })
    assert.ok(onlyThere.length > 0, 'its death leaves last copies')
    await client.copyLimits({ repairBytesPerSecond: 4 * KIB })
    cluster.chunkservers[1]!.crash(false)
    await world.sleep(5000)
    const { lastCopy, underReplicated } = await repairOf(client)
    assert.is(lastCopy, 0, 'last copies are not held back')
    assert.ok(underReplicated > 0, 'others still are')
    await client.copyLimits({ repairBytesPerSecond: 0 })
    await whole(world, client)
    await readAll(stored)
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

test('a target that dies at any step of a copy, with or without its power, leaves a whole replica or none', async () => {
  for (let step = 0; step < 24; step++) {
    const world = new SimWorld(100 + step)
    await world.run(async () => {
      const stored = await store(world, 4)
      const { cluster, client } = stored
      await whole(world, client)
      cluster.chunkservers[0]!.crash(false)
      const target = () => cluster.chunkservers.slice(1).find(({ machine }) => halfMade(machine).length > 0)
      // From the first file of the first copy on, a step further in every round, over all that a copy does.
      while (target() === undefined) await world.sleep(0.5)
      const victim = target()!
      let crashed = false
      world.afterEvents(1 + 12 * step, () => {
        crashed = true
        victim.crash(step % 2 === 0)
      })
      await world.until('the victim died', () => crashed)
      await world.sleep(world.random.below(2000))
      await victim.restart()
      await whole(world, client)
      for (const { machine } of cluster.chunkservers.slice(1))
        assert.equal(halfMade(machine), [], 'a copy left its files')
      assert.is(await verifyEach(stored), 0)
      await readAll(stored)
      client.close()
    })
  }
})

test('a target that falls silent in the middle of a copy is waited for no longer than until it counts as dead', async () => {
  const world = new SimWorld(31)
  await world.run(async () => {
    const stored = await store(world, 5)
    const { cluster, client } = stored
    await whole(world, client)
    cluster.chunkservers[0]!.crash(false)
    const target = () => cluster.chunkservers.slice(1).find(({ machine }) => halfMade(machine).length > 0)
    while (target() === undefined) await world.sleep(0.5)
    target()!.machine.pauseMachine()
    const tookMs = await whole(world, client)
    assert.ok(tookMs < 6000, `${tookMs} ms`)
    await readAll(stored)
    client.close()
  })
})

function halfMade(machine: SimMachine): string[] {
  return machine.disk.paths().filter((path) => path.endsWith('.new') && path.includes('/chunks/'))
}

test('a server whose disk is an old copy: what it lacks nobody misses, and its replicas are made anew', async () => {
  const world = new SimWorld(22)
  await world.run(async () => {
    const stored = await store(world, 4)
    const { cluster, client, files } = stored
    const old = cluster.chunkservers[1]!
    await world.sleep(500)
    const { disk } = old.machine
    old.crash(true)
    const copy = disk.saveFiles()
    await old.restart()
    // The shared chunk grows, others are made and removed: the old copy knows nothing of it.
    for (let index = 0; index < 8; index++) {
      files.set(`/later-${index}`, world.random.bytes(2000 + index))
      await client.writeFile(`/later-${index}`, files.get(`/later-${index}`)!)
    }
    files.set('/big', world.random.bytes(900 * KIB))
    await client.writeFile('/big', files.get('/big')!, { overwrite: true })
    await whole(world, client)
    old.crash(true)
    disk.restoreFiles(copy)
    await old.restart()
    for (const index of [0, 2]) cluster.chunkservers[index]!.machine.pauseMachine()
    await readAll(stored)
    for (const index of [0, 2]) cluster.chunkservers[index]!.machine.resume()
    await whole(world, client)
    assert.is(await verifyEach(stored), 0)
    await readAll(stored)
    client.close()
  })
})

// Goal: whatever a server claims to hold, only what agrees with the log is read or copied from. The rogue answers reads
// with bytes of its own whose checksums are right.
for (const [what, change] of [
  ['a longer tail', { extraBytes: 100 }],
  ['other content of the same length', { extraBytes: 0 }],
] as const) {
  test(`a server comes with ${what}: nobody reads it, nothing is copied from it, and it goes`, async () => {
    const world = new SimWorld(23 + change.extraBytes)
    await world.run(async () => {
      const stored = await store(world, 4)
      const { cluster, client } = stored
      await whole(world, client)
      const rogue = new FakeChunkserver(world, 'rogue', cluster.master.address)
      for (const path of stored.files.keys()) {
        const { chunks } = (await client.info(path)) as { chunks: InfoChunk[] }
        for (const { handle, version, length, state } of chunks) {
          if (state === 'open') continue
          const bytes = world.random.bytes(length + change.extraBytes)
          const { directory } = rogue.disk
          const content = { bytes, length: bytes.length, digest: crc32(bytes), state: 'sealed' as const }
          const chunk = { handle: handle as ChunkHandle, version, directory, allocation: undefined, ...content }
          rogue.disk.chunks.set(chunk.handle, chunk)
        }
      }
      const count = rogue.disk.chunks.size
      await rogue.start()
      await world.sleep(300)
      const names = await cluster.client({ timeoutMs: 20_000 })
      await readAll({ ...stored, client: names })
      cluster.chunkservers[0]!.crash(false)
      await whole(world, client, 120_000)
      await readAll({ ...stored, client: names })
      for (const message of ['read', 'checksum', 'recordIndex'] as const) {
        assert.is(rogue.counts.get(message) ?? 0, 0, `${message} was asked of it`)
      }
      await world.sleep(20_000)
      assert.is(rogue.disk.chunks.size, 0, `${rogue.disk.chunks.size} of ${count} replicas, none of them right`)
      client.close()
    })
  })
}

test('other content in which a block has failed as well is still other content: nobody reads it, not even alone', async () => {
  const world = new SimWorld(24)
  await world.run(async () => {
    const { cluster, client } = await store(world, 3)
    await whole(world, client)
    const rogue = new FakeChunkserver(world, 'rogue', cluster.master.address)
    const { chunks } = (await client.info('/big')) as { chunks: InfoChunk[] }
    for (const { handle, version, length } of chunks) {
      const bytes = world.random.bytes(length)
      const { directory } = rogue.disk
      const content = { bytes, length, digest: crc32(bytes), state: 'corrupt' as const }
      const chunk = { handle: handle as ChunkHandle, version, directory, allocation: undefined, ...content }
      rogue.disk.chunks.set(chunk.handle, chunk)
    }
    await rogue.start()
    await world.sleep(300)
    for (const { machine } of cluster.chunkservers) machine.pauseMachine()
    const other = await cluster.client({ timeoutMs: 5000 })
    const answer = await other.readFile('/big').catch((error: unknown) => error)
    assert.ok(isDfsError(answer), 'an error, never a wrong byte')
    assert.is(rogue.counts.get('read') ?? 0, 0)
    for (const { machine } of cluster.chunkservers) machine.resume()
    client.close()
    other.close()
  })
})

test.run()
