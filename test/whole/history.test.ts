// Masters that are older than the chunkservers' memory, empty, or of another cluster: no chunk is ever deleted for that.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { HOUR_MS } from '../../src/base/units.ts'
import type { Client } from '../../src/client/client.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimMaster } from '../sim/sim-master.ts'
import { SimWorld } from '../sim/world.ts'

/** Chunk files on all chunkservers, with where they lie. */
function chunkFiles(cluster: SimCluster): string[] {
  return cluster.chunkservers
    .flatMap(({ machine }) =>
      machine.disk
        .paths()
        .filter((path) => path.endsWith('.data') || path.endsWith('.meta'))
        .map((path) => `${machine.name}:${path.slice(path.lastIndexOf('/') + 1)}`),
    )
    .sort()
}

interface Report {
  readonly servers: readonly { readonly state: string; readonly seesMoreHistory: boolean }[]
  readonly repair: { readonly quarantined: number }
}

async function reportOf(client: Client): Promise<Report> {
  return (await client.report()) as Report
}

test('a master restored from an older copy deletes nothing, takes no new chunks, and says what to do', async () => {
  const world = new SimWorld(1)
  await world.run(async () => {
    const cluster = new SimCluster(world, 3)
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 3000 })
    await client.writeFile('/old', Buffer.from('old'))
    await client.writeFile('/old-big', world.random.bytes(400_000))
    await cluster.master.node?.close()
    cluster.master.crash(false)
    const backup = cluster.master.machine.disk.saveFiles()
    await cluster.master.restart()
    await world.sleep(1000)
    for (let i = 0; i < 5; i++) await client.writeFile(`/new-${i}`, world.random.bytes(400_000))
    await world.sleep(2000)
    const before = chunkFiles(cluster)

    cluster.master.crash(false)
    cluster.master.machine.disk.restoreFiles(backup)
    await cluster.master.restart()
    await world.sleep(30_000)
    assert.equal(chunkFiles(cluster), before, 'no chunk file is gone')
    const second = await cluster.client({ timeoutMs: 3000 })
    assert.is((await second.readFile('/old')).toString(), 'old', 'what it knows is served')
    assert.ok(
      (await reportOf(second)).servers.every((server) => server.seesMoreHistory),
      'the report says so',
    )
    const refused = await second.writeFile('/after', world.random.bytes(400_000)).catch((error: unknown) => error)
    assert.ok(isDfsError(refused), 'no new chunk is taken')
    const told = cluster.master.machine.log.lines.some((line) => line.includes('accept-rollback'))
    assert.ok(told, 'the log names the next command')

    await second.acceptRollback()
    await world.sleep(30_000)
    await second.writeFile('/after', Buffer.from('after'))
    assert.is((await second.readFile('/after')).toString(), 'after')
    const kept = new Set(chunkFiles(cluster))
    assert.equal(
      before.filter((file) => !kept.has(file)),
      [],
      'what the log lost is set aside, not deleted',
    )
    assert.ok((await reportOf(second)).repair.quarantined > 0, 'and named in the report')
    client.close()
    second.close()
  })
})

// Goal: DESIGN §3, "deletes nothing", also where the loss doesn't show. Method: one server has no chunk of the lost history,
// and was started again since, so that it has seen no more than the older log has; what that log is about to delete was
// restored from the trash in the lost history.
test('a server that has not seen the lost history is given no order to delete either, as long as another has', async () => {
  const world = new SimWorld(3)
  await world.run(async () => {
    const cluster = new SimCluster(world, 3, { retentionMs: HOUR_MS })
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 3000 })
    await client.writeFile('/old', world.random.bytes(400_000))
    await world.sleep(2000)
    await client.remove('/old')
    await cluster.master.node?.close()
    cluster.master.crash(false)
    const backup = cluster.master.machine.disk.saveFiles()
    await cluster.master.restart()
    await world.sleep(1000)
    const [first, second, blind] = cluster.chunkservers
    blind!.crash(false)
    const [removed] = (await client.trashList()).entries
    await client.trashRestore(removed!.id)
    await client.writeFile('/new', world.random.bytes(400_000))
    const before = chunkFiles(cluster)

    for (const server of [first!, second!]) server.crash(false)
    cluster.master.crash(false)
    cluster.master.machine.disk.restoreFiles(backup)
    await cluster.master.restart()
    await Promise.all([first!.restart(), second!.restart(), blind!.restart()])
    await world.sleep(2 * HOUR_MS)
    const { servers } = await reportOf(await cluster.client({ timeoutMs: 3000 }))
    assert.is(servers.filter((server) => server.seesMoreHistory).length, 2)
    assert.equal(chunkFiles(cluster), before, 'no chunk file is gone')
    client.close()
  })
})

test('an empty master in the place of the old one is refused by the chunkservers', async () => {
  const world = new SimWorld(2)
  await world.run(async () => {
    const cluster = new SimCluster(world, 3)
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 3000 })
    await client.writeFile('/a', world.random.bytes(400_000))
    await world.sleep(1000)
    const before = chunkFiles(cluster)
    cluster.master.crash(false)
    const empty = new SimMaster(world, { data: '/other' }, 'master')
    await empty.restart()
    await world.sleep(30_000)
    assert.equal(chunkFiles(cluster), before)
    const report = await reportOf(await cluster.client({ timeoutMs: 3000 }))
    assert.is(report.servers.length, 0, 'nobody joined')
    for (const { machine } of cluster.chunkservers)
      assert.ok(
        machine.log.lines.some((line) => line.includes('WRONG_CLUSTER') || line.includes('another cluster')),
        `${machine.name} says why`,
      )
    client.close()
  })
})

test.run()
