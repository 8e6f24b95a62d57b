// What the operator chose for the cluster lasts: in the log, in checkpoints, across crashes of the master.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import type { Client } from '../../src/client/client.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

const REPAIR = 256 * MiB
const AS_STARTED = {
  repairBytesPerSecond: REPAIR,
  balanceBytesPerSecond: REPAIR / 4,
  copiesPerServer: 3,
  isBalancing: true,
}

async function inCluster(
  seed: number,
  main: (cluster: SimCluster, client: Client, world: SimWorld) => Promise<void>,
): Promise<void> {
  const world = new SimWorld(seed)
  await world.run(async () => {
    const cluster = new SimCluster(world, 1)
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 20_000 })
    await main(cluster, client, world)
    client.close()
  })
}

test('limits of repair, of balance, and its switch are what the operator chose after a power loss of the master', () =>
  inCluster(1, async (cluster, client) => {
    assert.equal(await client.copyLimits(), AS_STARTED)
    await client.copyLimits({ repairBytesPerSecond: 50 * MiB, copiesPerServer: 7 })
    await client.copyLimits({ isBalancing: false, balanceBytesPerSecond: 0 })
    const chosen = { repairBytesPerSecond: 50 * MiB, balanceBytesPerSecond: 0, copiesPerServer: 7, isBalancing: false }
    cluster.master.crash(true)
    await cluster.master.restart()
    assert.equal(await client.copyLimits(), chosen)
    await client.checkpoint()
    cluster.master.crash(true)
    await cluster.master.restart()
    assert.equal(await client.copyLimits(), chosen, 'from a checkpoint as well')
    assert.is(((await client.balance()) as { state: string }).state, 'off')
  }))

test('what was chosen is taken back one by one; the rest stays, also across a restart', () =>
  inCluster(2, async (cluster, client) => {
    await client.copyLimits({
      repairBytesPerSecond: 1,
      balanceBytesPerSecond: 2,
      copiesPerServer: 1,
      isBalancing: false,
    })
    const now = await client.copyLimits({ reset: ['repairBytesPerSecond', 'isBalancing'] })
    assert.equal(now, { ...AS_STARTED, balanceBytesPerSecond: 2, copiesPerServer: 1 })
    cluster.master.crash(false)
    await cluster.master.restart()
    assert.equal(await client.copyLimits(), now)
    assert.equal(
      await client.copyLimits({ reset: ['repairBytesPerSecond'], repairBytesPerSecond: 64 * KiB }),
      { ...now, repairBytesPerSecond: 64 * KiB },
      'what is given besides counts',
    )
  }))

test('asking what the limits are writes nothing, and values out of range are refused', () =>
  inCluster(3, async (_cluster, client) => {
    const before = ((await client.top()) as { logIndex: number }).logIndex
    await client.copyLimits()
    assert.is(((await client.top()) as { logIndex: number }).logIndex, before)
    for (const copiesPerServer of [0, 1000]) {
      try {
        await client.copyLimits({ copiesPerServer })
        assert.unreachable(`${copiesPerServer} was taken`)
      } catch (error) {
        assert.ok(isDfsError(error), String(error))
      }
    }
    assert.equal(await client.copyLimits(), AS_STARTED)
  }))

test.run()
