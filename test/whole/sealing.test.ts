// Seals that a member's death begins, on whole clusters: they end at once, and give up nothing that nobody lost.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

interface RepairFacts {
  readonly repair: { readonly sealing: number; readonly givenUp: number; readonly underReplicated: number }
}

test('copies of a small file name its bytes again: the chunk they share is sealed at once, and nothing is given up', async () => {
  for (const isFromCheckpoint of [false, true]) {
    const world = new SimWorld(41)
    await world.run(async () => {
      const cluster = new SimCluster(world, 4)
      await cluster.start()
      const client = await cluster.client()
      const bytes = world.random.bytes(40_000)
      await client.writeFile('/original', bytes)
      for (let i = 0; i < 4; i++) await client.copy('/original', `/copy-${i}`)
      const { chunks } = (await client.info('/original')) as { chunks: { state: string; liveBytes: number }[] }
      assert.equal([chunks[0]!.state, chunks[0]!.liveBytes], ['open', 200_000])
      if (isFromCheckpoint) {
        await client.checkpoint()
        cluster.master.crash(false)
        await cluster.master.restart()
      }
      await world.until('all have joined', () => cluster.chunkservers.every(({ node }) => node?.status().isJoined))
      await world.sleep(2000)
      for (const server of cluster.chunkservers) {
        server.crash(false)
        await server.restart()
      }
      const startMs = world.nowMs
      for (;;) {
        const { sealing, givenUp, underReplicated } = ((await client.report()) as RepairFacts).repair
        assert.is(givenUp, 0, 'a seal gave up on members that had all answered')
        const info = (await client.info('/original')) as { chunks: { state: string }[] }
        if (sealing + underReplicated === 0 && info.chunks[0]!.state === 'sealed') break
        assert.ok(world.nowMs - startMs < 10_000, `not sealed after ${world.nowMs - startMs} ms`)
        await world.sleep(100)
      }
      for (let i = 0; i < 4; i++) assert.is(Buffer.compare(await client.readFile(`/copy-${i}`), bytes), 0)
      client.close()
    })
  }
})

test.run()
