// Damaged, cut and missing chunk files: a read is right, from another replica, or an error that names file, offset,
// chunk and server; never a wrong byte, never zeros in place of data (P3).

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import type { Random } from '../../src/base/random.ts'
import type { Client } from '../../src/client/client.ts'
import { type SimChunkserver, SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

const BIG = 700_000

type Damage = (server: SimChunkserver, random: Random) => void

/** Every data file of a chunkserver's chunks. */
function dataFiles(server: SimChunkserver): string[] {
  return server.machine.disk.paths().filter((path) => path.endsWith('.data'))
}

const damages: Readonly<Record<string, Damage>> = {
  'one bit flipped in every chunk file': (server, random) => {
    for (const path of dataFiles(server)) {
      const bytes = server.machine.disk.readFile(path)!.length
      if (bytes > 0) server.machine.disk.flipBit(path, random.below(bytes), random.below(8))
    }
  },
  'every chunk file cut short': (server, random) => {
    for (const path of dataFiles(server)) {
      const bytes = server.machine.disk.readFile(path)!
      server.machine.disk.writeFile(path, bytes.subarray(0, random.below(Math.max(1, bytes.length))))
    }
  },
  'every chunk file filled with zeros': (server) => {
    for (const path of dataFiles(server))
      server.machine.disk.writeFile(path, Buffer.alloc(server.machine.disk.readFile(path)!.length))
  },
  'every chunk file gone': (server) => {
    for (const path of dataFiles(server)) server.machine.disk.removeFile(path)
  },
  'one bit flipped in every checksum file': (server, random) => {
    for (const path of server.machine.disk.paths().filter((name) => name.endsWith('.meta'))) {
      const bytes = server.machine.disk.readFile(path)!.length
      server.machine.disk.flipBit(path, random.below(bytes), random.below(8))
    }
  },
  'every chunk and checksum file gone': (server) => {
    for (const path of server.machine.disk.paths())
      if (path.endsWith('.data') || path.endsWith('.meta')) server.machine.disk.removeFile(path)
  },
}

interface Stored {
  readonly cluster: SimCluster
  readonly client: Client
  readonly files: Map<string, Buffer>
}

async function store(world: SimWorld): Promise<Stored> {
  const cluster = new SimCluster(world, 3)
  await cluster.start()
  const client = await cluster.client({ timeoutMs: 4000 })
  const files = new Map<string, Buffer>()
  for (let i = 0; i < 4; i++) files.set(`/small-${i}`, world.random.bytes(100 + world.random.below(5000)))
  files.set('/big', world.random.bytes(BIG))
  for (const [path, bytes] of files) await client.writeFile(path, bytes)
  return { cluster, client, files }
}

/** Damages a stopped chunkserver's files, or a running one's under its feet. */
async function damage(server: SimChunkserver, how: Damage, random: Random, restart: boolean): Promise<void> {
  if (restart) server.crash(false)
  how(server, random)
  if (restart) await server.restart()
}

for (const [name, how] of Object.entries(damages)) {
  for (const restart of [false, true]) {
    const when = restart ? 'while it was down' : 'under a running server'
    test(`${name} of one server, ${when}: every byte is read right`, async () => {
      const world = new SimWorld(name.length + (restart ? 1 : 0))
      await world.run(async () => {
        const { cluster, client, files } = await store(world)
        await damage(cluster.chunkservers[world.random.below(3)]!, how, world.random, restart)
        for (const [path, bytes] of files) assert.is(Buffer.compare(await client.readFile(path), bytes), 0, path)
        client.close()
      })
    })

    test(`${name} of all servers, ${when}: right bytes or an error that names what is lost`, async () => {
      const world = new SimWorld(100 + name.length + (restart ? 1 : 0))
      await world.run(async () => {
        const { cluster, client, files } = await store(world)
        await Promise.all(cluster.chunkservers.map((server) => damage(server, how, world.random, restart)))
        let failures = 0
        for (const [path, bytes] of files) {
          try {
            assert.is(Buffer.compare(await client.readFile(path), bytes), 0, `${path}: a wrong byte`)
          } catch (error) {
            if (!isDfsError(error)) throw error
            failures++
            const { message, detail } = error
            assert.match(message, path, 'the error names the file')
            assert.ok(/offset|byte/.test(message) || detail.offset !== undefined, `no offset: ${message}`)
            assert.ok(/chunk/.test(message) || detail.handle !== undefined, `no chunk: ${message}`)
            assert.ok(/cs-\d|no live server/.test(message) || detail.server !== undefined, `no server: ${message}`)
          }
        }
        if (name.includes('gone')) assert.is(failures, files.size)
        client.close()
      })
    })
  }
}

/** Whether both files of every chunk of every server are there, `count` chunks in all. */
function filesOf(cluster: SimCluster): string[] {
  return cluster.chunkservers.flatMap(({ machine }) =>
    machine.disk
      .paths()
      .filter((path) => path.endsWith('.data') || path.endsWith('.meta'))
      .map((path) => `${machine.name} ${path}`),
  )
}

/** Seals everything, and reads all of it from every server, so that each has all files open. */
async function settledAndOpen(world: SimWorld, cluster: SimCluster, client: Client): Promise<void> {
  await client.compact()
  await world.sleep(10_000)
  await client.scrub()
  await world.sleep(10_000)
  assert.is((await client.fsck('/')).status, 'HEALTHY')
  assert.ok(filesOf(cluster).length > 0)
}

for (const files of [['.data'], ['.meta'], ['.data', '.meta']]) {
  const what = files.join(' and ')
  test(`${what} files removed under a running server that has them open: a scrub finds it, says it, and repair brings them back`, async () => {
    const world = new SimWorld(200 + files.length)
    await world.run(async () => {
      const { cluster, client, files: stored } = await store(world)
      await settledAndOpen(world, cluster, client)
      const before = filesOf(cluster).length
      const { machine } = cluster.chunkservers[1]!
      const { disk } = machine
      const gone = disk.paths().filter((path) => files.some((end) => path.endsWith(end)))
      for (const path of gone) disk.removeFile(path)
      await client.scrub()
      await world.sleep(30_000)
      assert.is((await client.fsck('/')).status, 'HEALTHY')
      assert.is(filesOf(cluster).length, before, 'all files are there again')
      assert.ok(
        machine.log.lines.some((line) => line.includes('is damaged')),
        'the server says what it has lost',
      )
      // What is there now outlives the others.
      for (const server of cluster.chunkservers) if (server.machine !== machine) server.crash(false)
      for (const [path, bytes] of stored) assert.is(Buffer.compare(await client.readFile(path), bytes), 0, path)
      client.close()
    })
  })
}

test('files removed under a running server are found by reads as well, and by a restart', async () => {
  for (const how of ['read', 'restart'] as const) {
    const world = new SimWorld(how === 'read' ? 210 : 211)
    await world.run(async () => {
      const { cluster, client, files } = await store(world)
      await settledAndOpen(world, cluster, client)
      const before = filesOf(cluster).length
      const server = cluster.chunkservers[2]!
      server.crash(false)
      await server.restart() // nothing is open
      await world.sleep(5000)
      for (const path of filesOf(cluster)) {
        const [name, file = ''] = path.split(' ')
        if (name === server.machine.name) server.machine.disk.removeFile(file)
      }
      if (how === 'restart') {
        server.crash(false)
        await server.restart()
      } else {
        for (let round = 0; round < 20; round++) {
          const reader = await cluster.client({ timeoutMs: 4000 })
          for (const [path, bytes] of files) assert.is(Buffer.compare(await reader.readFile(path), bytes), 0, path)
          reader.close()
        }
      }
      await world.sleep(30_000)
      assert.is((await client.fsck('/')).status, 'HEALTHY')
      assert.is(filesOf(cluster).length, before, how)
      client.close()
    })
  }
})

test.run()
