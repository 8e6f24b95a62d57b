// Every checker of the swarm can fire: a violation is planted in a cluster at rest, and the one checker that is there for
// it names it; before that the same checker has nothing to say.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DfsError } from '../../../src/base/errors.ts'
import { HOUR_MS, KiB } from '../../../src/base/units.ts'
import { decodeHeader, encodeHeader } from '../../../src/chunkserver/format.ts'
import type { Client } from '../../../src/client/client.ts'
import type { MetadataState } from '../../../src/master/metadata/state.ts'
import { SimCluster } from '../sim-cluster.ts'
import { SimWorld } from '../world.ts'
import { ABOVE, Bounds, checkAtRest } from './bounds.ts'
import { checkConvergence, checkNothingLeft, checkReplay, checkReplicas } from './checks.ts'
import { replicasOn } from './damage.ts'
import { FileLoad } from './files.ts'
import { type SwarmPlan, swarmPlan } from './plan.ts'
import { checkPrimaries } from './primaries.ts'
import { ReadLoad } from './readers.ts'
import { RecordLoad } from './records.ts'
import { mustBeMisfortune } from './violation.ts'

const PLAN: SwarmPlan = {
  ...swarmPlan(1, 'short', true),
  operations: [
    ['write', 3],
    ['append', 1],
    ['snapshot', 1],
  ],
  recordWriters: 2,
  paceMs: 50,
  fileBytesMax: 40 * KiB,
  isSync: true,
}

interface Stage {
  readonly world: SimWorld
  readonly cluster: SimCluster
  readonly client: Client
}

/** A cluster of three servers that have what goal 3 asks for. */
function onStage(act: (stage: Stage) => Promise<void>, seed = 3): Promise<void> {
  const world = new SimWorld(seed)
  return world.run(async () => {
    const cluster = new SimCluster(world, 3, { chunkBytes: 64 * KiB }, { scrubBytesPerSecond: 0 })
    await cluster.start()
    await act({ world, cluster, client: await cluster.client() })
  })
}

async function violation(check: () => unknown, message: RegExp): Promise<void> {
  try {
    await check()
  } catch (error) {
    if (!(error instanceof Error)) throw error
    assert.match(error.message, message)
    return
  }
  assert.unreachable(`nothing was found that looks like ${message}`)
}

// Files.

/** A load that has run for a while and has nothing under way. */
async function loaded({ world, client }: Stage): Promise<FileLoad> {
  const load = new FileLoad(world, client, '/c0', PLAN)
  const running = load.run()
  await world.until('some files and a snapshot', () => load.done > 20 && load.model.known.length > 2)
  load.isStopped = true
  await running
  assert.ok((await load.check(client)) > 2)
  return load
}

const fileFaults: readonly {
  readonly name: string
  readonly plant: (client: Client, path: string) => Promise<unknown>
  readonly message: RegExp
}[] = [
  {
    name: 'a wrong byte',
    plant: async (client, path) => {
      const bytes = await client.readFile(path)
      return client.writeAt(path, 5, Buffer.from([bytes[5]! ^ 1]))
    },
    message: /others from byte 5 on/,
  },
  { name: 'a byte too many', plant: (client, path) => client.append(path, Buffer.from('x')), message: /it may be/ },
  {
    name: 'a leaked file',
    plant: (client) => client.writeFile('/c0/leaked', Buffer.from('x')),
    message: /should not be/,
  },
  { name: 'a lost file', plant: (client, path) => client.remove(path), message: /acknowledged and is not in/ },
  { name: 'a lost directory', plant: (client) => client.remove('/c0', { recursive: true }), message: /c0 .* is gone/ },
]

for (const { name, plant, message } of fileFaults) {
  test(`files: ${name} is found`, () =>
    onStage(async (stage) => {
      const load = await loaded(stage)
      const path = load.model.known.find((known) => load.model.bytes(known)!.length > 10)!
      await plant(stage.client, path)
      await violation(() => load.check(stage.client), message)
    }))
}

test('files: a snapshot that a later change reached is found', () =>
  onStage(async (stage) => {
    const load = await loaded(stage)
    const { entries } = await stage.client.list('/')
    const snapshot = entries.find(({ name }) => name.startsWith('c0-s'))!.name
    for await (const { name } of stage.client.listAll(`/${snapshot}`))
      await stage.client.writeFile(`/${snapshot}/${name}`, Buffer.from('later'), { overwrite: true })
    await violation(() => load.check(stage.client), new RegExp(`${snapshot}/.* found`))
  }))

test('files: an answer that can only come of a change that happened twice is found', () =>
  onStage(async ({ client }) => {
    await client.writeFile('/a', Buffer.from('a'))
    await client.rename('/a', '/b')
    const again = await client.rename('/a', '/b', { overwrite: true }).catch((error: unknown) => error)
    await violation(() => mustBeMisfortune('a rename', again), /a rename was refused: NOT_FOUND/)
    mustBeMisfortune('a rename', new DfsError('TIMEOUT', 'the world is like that'))
  }))

test('readers: bytes that the file never had while it was read are found', () =>
  onStage(async (stage) => {
    const load = await loaded(stage)
    const readers = new ReadLoad(stage.world, await stage.cluster.client(), PLAN, [load])
    const running = readers.run()
    const found = violation(() => running, /read by another client/)
    await stage.world.sleep(1000)
    assert.ok(readers.done > 5)
    for (const path of load.model.known) await stage.client.writeFile(path, Buffer.from('?'), { overwrite: true })
    await found
  }))

// Records.

const recordFaults: readonly {
  readonly name: string
  readonly plant: (file: Buffer) => Buffer
  readonly message: RegExp
}[] = [
  {
    name: 'a lost ack',
    plant: (file) => file.subarray(0, file.lastIndexOf('[')),
    message: /was acknowledged at \d+ and is at no place/,
  },
  {
    name: 'a doubled record',
    plant: (file) => Buffer.concat([file, file.subarray(0, file.indexOf('\n') + 1)]),
    message: /is there twice: at 0 and \d+/,
  },
  {
    name: 'a record out of order',
    plant: (file) => {
      const [first = '', ...rest] = file.toString('latin1').split('\n')
      return Buffer.from([...rest.slice(0, -1), first, ''].join('\n'), 'latin1')
    },
    message: /comes after/,
  },
  {
    name: 'a wrong byte in a record',
    plant: (file) => {
      const changed = Buffer.from(file)
      changed[file.length - 3]! ^= 1
      return changed
    },
    message: /is not whole/,
  },
  { name: 'half a record', plant: (file) => file.subarray(0, file.length - 5), message: /is not whole/ },
  { name: 'padding', plant: (file) => Buffer.concat([file, Buffer.alloc(10)]), message: /no record at \d+/ },
]

for (const { name, plant, message } of recordFaults) {
  test(`records: ${name} is found`, () =>
    onStage(async ({ world, client }) => {
      const load = new RecordLoad(world, [client], '/records', PLAN)
      await load.prepare()
      const running = load.run()
      await world.until('some records', () => load.acknowledged > 10)
      load.isStopped = true
      await running
      assert.ok((await load.check(client)) >= load.acknowledged)
      await client.writeFile('/records', plant(await client.readFile('/records')), { overwrite: true })
      await violation(() => load.check(client), message)
    }))
}

// The healed cluster.

test('convergence: a replica too few is found', () =>
  onStage(async ({ world, cluster, client }) => {
    await client.writeFile('/file', world.random.bytes(100 * KiB))
    await checkConvergence(world, client, cluster)
    await client.setAttributes('/file', { goal: 4 })
    await violation(() => checkConvergence(world, client, cluster), /not whole .*"underReplicated":[1-9]/)
  }))

test('convergence: a server that does not come back is found', () =>
  onStage(async ({ world, cluster, client }) => {
    cluster.chunkservers[0]!.crash(false)
    await violation(() => checkConvergence(world, client, cluster), /all chunkservers have joined/)
  }))

test('replicas: bytes that are not those of the logged digest are found', () =>
  onStage(async ({ world, cluster, client }) => {
    await client.writeFile('/file', world.random.bytes(300 * KiB))
    const count = await checkReplicas(world, cluster)
    assert.ok(count >= 12, `${count} replicas`)
    const { disk, path } = replicasOn(cluster.chunkservers[1]!).find(({ node }) => node.length > 1000)!
    disk.flipBit(path, 777, 3)
    await violation(() => checkReplicas(world, cluster), /cs-2:.* bytes that are not the/)
  }))

test('primaries: two of one chunk are found, and a member that the log does not know', () =>
  onStage(async ({ world, cluster, client }) => {
    const writer = client.createWriter('/file')
    await writer.write(world.random.bytes(300 * KiB))
    await writer.flush()
    assert.ok(checkPrimaries(cluster) >= 12)
    for (const { disk, path } of replicasOn(cluster.chunkservers[1]!).slice(-1)) {
      const metaPath = path.replace(/data$/, 'meta')
      const bytes = disk.readFile(metaPath)
      const header = decodeHeader(bytes)
      if ('fault' in header) throw new Error(header.fault)
      encodeHeader({ ...header, members: [...header.members].reverse() }).copy(bytes)
      disk.writeFile(metaPath, bytes)
    }
    await violation(() => checkPrimaries(cluster), /chunk \w+ has the members cs-\d.* and cs-\d/)
    await writer.abort()
  }))

test('replay: a state that its log does not make is found, also when only the checkpoint differs', () =>
  onStage(async ({ world, cluster, client }) => {
    await client.writeFile('/file', world.random.bytes(10 * KiB))
    await checkReplay(cluster)
    await client.checkpoint()
    await checkReplay(cluster)
    const state = cluster.master.node!.state as MetadataState
    state.rollbackLostIndex++
    await violation(() => checkReplay(cluster), /section '.*' of the state at \d+ is not what a replay from/)
    // The live state is right again; a checkpoint of the wrong one is what the next start would begin with.
    await client.writeFile('/other', world.random.bytes(10))
    state.rollbackLostIndex--
    await checkReplay(cluster)
  }))

// What is left, and how much there is meanwhile.

const leaks: readonly {
  readonly name: string
  readonly plant: (stage: Stage) => Promise<unknown>
  readonly message: RegExp
}[] = [
  {
    name: 'an open file',
    plant: ({ cluster }) => cluster.chunkservers[0]!.machine.io.disk.open('/data/identity', 'read'),
    message: /1 open files of cs-1#1 \(\/data\/identity\)/,
  },
  {
    name: 'a timer',
    plant: async ({ cluster }) => cluster.master.machine.io.clock.after(HOUR_MS, () => {}),
    message: /1 pending events of master#1 \(timer\)/,
  },
  {
    name: 'a connection',
    plant: async ({ world }) => {
      const silent = { onBytes() {}, onDrain() {}, onEnd() {}, onClose() {} }
      const [here, there] = [world.machine('client-1'), world.machine('elsewhere')]
      const address = { host: 'elsewhere', port: 1 }
      await there.io.network.listen(address, (socket) => socket.start(silent))
      const socket = await here.io.network.connect(address, 1000)
      socket.start(silent)
    },
    message: /1 connections/,
  },
  {
    name: 'a received buffer',
    plant: async ({ world }) => {
      const silent = { onBytes() {}, onDrain() {}, onEnd() {}, onClose() {} }
      const [here, there] = [world.machine('client-1'), world.machine('elsewhere')]
      const address = { host: 'elsewhere', port: 1 }
      await there.io.network.listen(address, (socket) =>
        socket.start({ ...silent, onBytes: (received) => received.retain() }),
      )
      const socket = await here.io.network.connect(address, 1000)
      socket.start(silent)
      socket.write([Buffer.from('kept')])
    },
    message: /1 received buffers \(4 bytes\)/,
  },
]

for (const { name, plant, message } of leaks) {
  test(`after an orderly stop: ${name} that is left is found`, () =>
    onStage(async (stage) => {
      await plant(stage)
      stage.client.close()
      await violation(() => checkNothingLeft(stage.world, stage.cluster), message)
    }))
}

test('after an orderly stop: nothing is found where nothing is left', () =>
  onStage(async ({ world, cluster, client }) => {
    await client.writeFile('/file', world.random.bytes(100 * KiB))
    client.close()
    await checkNothingLeft(world, cluster)
  }))

test('bounds: what piles up in the middle of a run fails it', async () => {
  await violation(
    () =>
      onStage(async ({ world, cluster, client }) => {
        new Bounds(world, cluster).watch(1000)
        await client.writeFile('/file', world.random.bytes(100 * KiB))
        await world.sleep(5000)
        const { io } = cluster.chunkservers[0]!.machine
        for (let count = 0; count <= ABOVE.openFiles; count++) await io.disk.open('/data/identity', 'read')
        await world.sleep(2000)
        assert.unreachable('the run went on')
      }),
    /cs-1#1 is at 60\d openFiles, the bound is 600/,
  )
})

test('bounds: what is still under way with nothing to do is found', () =>
  onStage(async ({ world, cluster, client }) => {
    await client.writeFile('/file', world.random.bytes(100 * KiB))
    await checkAtRest(world, cluster)
    const { clock } = cluster.master.machine.io
    for (let count = 0; count < 200; count++) clock.after(HOUR_MS, () => {})
    await violation(() => checkAtRest(world, cluster), /master#1 is still at 2\d\d pendingEvents .* 100 at most/)
  }))

test.run()
