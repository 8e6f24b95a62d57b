// An orderly stop at any moment: whatever a chunk is at, its files are closed after their last use, and a start on the
// same disk has all that was acknowledged.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { KiB } from '../../src/base/units.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

/** A server is stopped `events` events after the bytes were pushed, or (`isWritten`) after they were acknowledged. */
async function run(seed: number, events: number, isWritten: boolean): Promise<void> {
  const world = new SimWorld(seed)
  await world.run(async () => {
    const cluster = new SimCluster(world, 3, { chunkBytes: 64 * KiB })
    await cluster.start()
    const client = await cluster.client()
    const bytes = world.random.bytes(100 * KiB)
    const writer = client.createWriter('/file')
    await writer.write(bytes)
    if (isWritten) await writer.close()
    const [server] = cluster.chunkservers
    const stopped = new Promise<void>((resolve, reject) => {
      world.afterEvents(events, () => server!.node!.close().then(resolve, reject))
    })
    if (!isWritten) await writer.close()
    await stopped
    // A seal that was about to open them itself may still be at it.
    await world.sleep(100)
    const { openPaths } = server!.machine.process
    assert.equal(openPaths, [], `files open after a stop at event ${events}`)
    await server!.restart()
    const found = await client.readFile('/file')
    assert.is(Buffer.compare(found, bytes), 0)
    client.close()
  })
}

test('a chunkserver that is stopped in the middle of a write closes its files after their last use', async () => {
  for (let events = 0; events < 400; events += 25) await run(3, events, false)
})

test('a chunkserver that is stopped in the middle of a seal closes its files after their last use', async () => {
  for (const seed of [3, 4]) for (let events = 0; events < 120; events += 3) await run(seed, events, true)
})

test.run()
