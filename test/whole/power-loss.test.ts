// Power loss on all chunkservers at once, in the middle of writes and appends: every byte acknowledged by `sync` or
// `close` is there (P2), and nothing else is handed out in its place (P3).
//
// Method: writers append pieces to files of their own and sync at random; what a sync acknowledged is remembered. The
// power of all three chunkservers (sometimes the master's as well) goes at a random event; everything is started
// again; the files are read and compared.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Client } from '../../src/client/client.ts'
import { simSeeds, swarmOptions } from '../sim/options.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

interface Written {
  readonly path: string
  bytes: Buffer
  /** Bytes that a sync or close has acknowledged. */
  syncedBytes: number
  isClosed: boolean
}

async function write(world: SimWorld, client: Client, file: Written): Promise<void> {
  const writer = client.createWriter(file.path, { overwrite: true })
  const pieces = 3 + world.random.below(12)
  for (let i = 0; i < pieces; i++) {
    const piece = world.random.bytes(1 + world.random.below(world.random.chance(0.3) ? 200_000 : 5000))
    file.bytes = Buffer.concat([file.bytes, piece])
    await writer.write(piece)
    if (!world.random.chance(0.4)) continue
    const length = file.bytes.length
    await writer.sync()
    file.syncedBytes = length
  }
  await writer.close()
  file.syncedBytes = file.bytes.length
  file.isClosed = true
}

async function run(seed: number, syncIsNothing = false): Promise<number> {
  const options = swarmOptions(seed)
  const world = new SimWorld({ ...options, disk: { ...options.disk, syncIsNothing } })
  return world.run(async () => {
    const cluster = new SimCluster(world, 3)
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 5000 })
    const files: Written[] = Array.from({ length: 6 }, (_, index) => ({
      path: `/f${index}`,
      bytes: Buffer.alloc(0),
      syncedBytes: 0,
      isClosed: false,
    }))
    const small = new Map<string, Buffer>()
    const packing = (async () => {
      for (let i = 0; i < 40; i++) {
        const bytes = world.random.bytes(world.random.below(3000))
        await client.writeFile(`/small-${i}`, bytes)
        small.set(`/small-${i}`, bytes)
      }
    })()
    const work = Promise.allSettled([...files.map((file) => write(world, client, file)), packing])
    await new Promise<void>((resolve) => world.afterEvents(200 + world.random.below(4000), resolve))
    for (const chunkserver of cluster.chunkservers) chunkserver.crash(true)
    const withMaster = world.random.chance(0.3)
    if (withMaster) cluster.master.crash(true)
    // What was acknowledged by now; what comes after belongs to the cluster that goes on.
    const acknowledged = files.map(({ path, bytes, syncedBytes }) => ({ path, bytes: bytes.subarray(0, syncedBytes) }))
    for (const [path, bytes] of small) acknowledged.push({ path, bytes })
    await world.sleep(world.random.below(3000))
    if (withMaster) await cluster.master.restart()
    await Promise.all(cluster.chunkservers.map((chunkserver) => chunkserver.restart()))
    await work
    const reader = await cluster.client({ timeoutMs: 90_000 })
    let checked = 0
    for (const { path, bytes } of acknowledged) {
      if (bytes.length === 0 && !small.has(path)) continue
      const found = await reader.readFile(path)
      const same = Buffer.compare(found.subarray(0, bytes.length), bytes) === 0
      if (!same) throw new Error(`${path}: ${bytes.length} bytes were synced, ${found.length} found, and they differ`)
      checked++
    }
    // What was written in spite of the crash is right to the last byte.
    for (const { path, bytes, isClosed } of files)
      if (isClosed) assert.is(Buffer.compare(await reader.readFile(path), bytes), 0, `${path} was closed`)
    client.close()
    reader.close()
    return checked
  })
}

const seeds = simSeeds(40)

test(`power loss on all chunkservers in the middle of writes, ${seeds.length} seeds: every synced byte is there`, async () => {
  let checked = 0
  for (const seed of seeds) checked += await run(seed)
  assert.ok(checked > seeds.length, `${checked} files were checked`)
})

test('chunkservers whose disks forget in spite of their syncs are found out', async () => {
  let found = 0
  for (let seed = 1; seed <= 6; seed++) await run(seed, true).catch(() => found++)
  assert.ok(found >= 5, `${found} of 6 runs without any sync lost something that was noticed`)
})

test.run()
