// A bad disk takes out itself and nothing else: its server goes on with the others, what it held is made anew elsewhere,
// and nothing on it is deleted (DESIGN §3: a bad disk is not a dead server).

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Client } from '../../src/client/client.ts'
import type { SimDisk } from '../sim/disk.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

const KIB = 1024
const MIB = 1024 * KIB
const BAD = '/bad'
const GOOD = '/good'

interface ReportFacts {
  readonly servers: readonly {
    readonly id: string
    readonly state: string
    readonly disks: readonly { readonly path: string; readonly state: string; readonly chunks: number }[]
  }[]
  readonly repair: { readonly missing: number; readonly underReplicated: number; readonly corrupt: number }
}

const always = Number.POSITIVE_INFINITY
const changes = ['write', 'sync', 'syncDirectory', 'open', 'rename', 'remove'] as const

/** What becomes of the disk, and what makes its server touch it. */
const faults: readonly { readonly name: string; readonly strike: (disk: SimDisk) => void }[] = [
  {
    name: 'gives EIO for each read',
    strike: (disk) => {
      disk.options.readErrorChance = 1
    },
  },
  {
    name: 'turns read-only',
    strike: (disk) => {
      for (const operation of changes) disk.fail(operation, /./, always)
    },
  },
  {
    name: 'is gone',
    strike: (disk) => {
      for (const operation of [...changes, 'read'] as const) disk.fail(operation, /./, always)
    },
  },
]

async function reportOf(client: Client): Promise<ReportFacts> {
  return (await client.report()) as ReportFacts
}

for (const { name, strike } of faults) {
  test(`one of two disks ${name}: the other serves on, and redundancy comes back`, async () => {
    const world = new SimWorld(7)
    await world.run(async () => {
      const cluster = new SimCluster(world, 4, { chunkBytes: 64 * KIB }, { directories: [GOOD, BAD] })
      const [victim] = cluster.chunkservers
      // A little larger, so that it is chosen until both have the same room.
      const capacityBytes = world.options.disk.capacityBytes + 3 * MIB
      const disk = victim!.machine.addDisk(BAD, { capacityBytes })
      await cluster.start()
      const client = await cluster.client({ timeoutMs: 30_000 })
      const files = new Map<string, Buffer>()
      const write = async (path: string): Promise<void> => {
        files.set(path, world.random.bytes(300 * KIB))
        await client.writeFile(path, files.get(path)!)
      }
      for (let file = 0; file < 20; file++) {
        await write(`/f${file}`)
        await world.sleep(600)
      }
      await world.sleep(20_000)
      const before = disk.paths().filter((path) => path.endsWith('.data'))
      const kept = victim!.machine.disk.paths().filter((path) => path.endsWith('.data')).length
      assert.ok(before.length > 8 && kept > 8, `${before.length} and ${kept} replicas on the two disks`)

      strike(disk)
      for (let file = 20; file < 30; file++) await write(`/f${file}`)
      await world.sleep(1000)
      await client.scrub()
      await world.sleep(40_000)

      const { servers, repair } = await reportOf(client)
      const server = servers.find(({ id }) => id === `cs-${victim!.node!.status().server}`)!
      assert.is(server.state, 'live')
      assert.equal(
        server.disks.map(({ path, state }) => [path, state]),
        [
          [GOOD, 'ok'],
          [BAD, 'failed'],
        ],
      )
      assert.equal([repair.missing, repair.underReplicated, repair.corrupt], [0, 0, 0])
      for (const [path, bytes] of files) assert.is(Buffer.compare(await client.readFile(path), bytes), 0, path)
      const after = victim!.machine.disk.paths().filter((path) => path.endsWith('.data')).length
      assert.ok(after >= kept, 'what the other disk held is there')
      assert.equal(
        before.filter((path) => !disk.has(path)),
        [],
        'nothing was deleted from the bad one',
      )
      client.close()
    })
  })
}

test.run()
