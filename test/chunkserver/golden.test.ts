// A data directory as version 1 of the format wrote it must open for ever: test/golden/chunk-v1.
//
// The files were made by `GOLDEN=write npx tsx test/chunkserver/golden.test.ts`; they are never made again for a
// format that was released.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { MiB } from '../../src/base/units.ts'
import { BufferPool } from '../../src/chunkserver/buffer-pool.ts'
import { encodeHeader } from '../../src/chunkserver/format.ts'
import { dumpStore } from '../../src/chunkserver/inspect.ts'
import { readBlocks } from '../../src/chunkserver/reader.ts'
import { digestAt, fence, seal } from '../../src/chunkserver/sealing.ts'
import { SimWorld } from '../sim/world.ts'
import { allocationOf, appendBatch, bytesAt, handleOf, openStore, push, pushAndCommit } from './store-fixture.ts'

const golden = fileURLToPath(new URL('../golden/chunk-v1', import.meta.url))

/** 1 sealed, 2 shared and sealed, 3 open with an unsynced commit, 4 fenced, 5 a tombstone, which programs of today no longer write. */
async function make(): Promise<void> {
  const world = new SimWorld(1)
  const machine = world.machine('cs1')
  await world.run(async () => {
    const { store, close } = await openStore(machine.io)
    const begin = (counter: number, shared = false) => store.create(allocationOf(store, handleOf(counter), { shared }))
    await pushAndCommit(begin(1), 1, 9000, true)
    const order = { handle: handleOf(1), version: 2, length: 8500, digest: crc32(bytesAt(1, 0, 8500)), indexDigest: 0 }
    await seal(store, order)
    const shared = begin(2, true)
    await appendBatch(shared, 2, [10, 5000], true)
    await appendBatch(shared, 2, [300], false)
    await seal(store, { ...order, handle: handleOf(2), length: 5310, ...(await digestAt(store, shared, 5310)) })
    const open = begin(3)
    await pushAndCommit(open, 3, 5000, true)
    await pushAndCommit(open, 3, 1000, false)
    await push(open, 3, 50)
    const fenced = begin(4)
    await pushAndCommit(fenced, 4, 4096, false)
    const { id, life } = store.directories[0]!
    await fence(store, handleOf(4), id, life)
    const { header } = store.get(handleOf(4))
    await close()
    const tombstone = encodeHeader({ ...header, handle: handleOf(5), isTombstone: true, members: [] })
    machine.disk.writeFile('/d0/chunks/05/0000e000000005.data', Buffer.alloc(0))
    machine.disk.writeFile('/d0/chunks/05/0000e000000005.meta', tombstone)
  })
  rmSync(golden, { recursive: true, force: true })
  for (const [path, bytes] of machine.disk.saveFiles()) {
    if (path.endsWith('/lock')) continue
    const target = join(golden, path.slice('/d0/'.length))
    mkdirSync(dirname(target), { recursive: true })
    writeFileSync(target, bytes)
  }
}

function load(world: SimWorld): void {
  for (const entry of readdirSync(golden, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    world.machine('cs1').disk.writeFile(`/d0/${path.slice(golden.length + 1)}`, readFileSync(path))
  }
}

if (process.env.GOLDEN === 'write') await make()

test('a data directory of format version 1 opens, and every chunk is what it was', async () => {
  const world = new SimWorld(2)
  load(world)
  await world.run(async () => {
    const { store } = await openStore(world.machine('cs1').io)
    const pool = new BufferPool(4 * MiB)
    const facts = [...store.replicas]
      .sort((a, b) => a.handle - b.handle)
      .map(({ state, version, length, syncedLength }) => ({ state, version, length, syncedLength }))
    assert.equal(facts, [
      { state: 'sealed', version: 2, length: 8500, syncedLength: 8500 },
      { state: 'sealed', version: 2, length: 5310, syncedLength: 5310 },
      { state: 'open', version: 1, length: 6000, syncedLength: 5000 },
      { state: 'fenced', version: 1, length: 4096, syncedLength: 4096 },
    ])
    assert.not(world.machine('cs1').disk.has('/d0/chunks/05/0000e000000005.meta'), 'a tombstone of an earlier life')
    for (const counter of [1, 2, 3, 4]) {
      const replica = store.get(handleOf(counter))
      const { bytes } = await readBlocks(store, pool, replica, 0, replica.length)
      const expected = bytesAt(counter, 0, bytes.length)
      assert.is(Buffer.compare(bytes, expected), 0)
    }
    const { index } = await store.proofOf(store.get(handleOf(2)))
    assert.equal(
      index.entries.map(({ sequence, offset, length }) => [sequence, offset, length]),
      [
        [1, 0, 10],
        [2, 10, 5000],
        [1 + 2, 5010, 300],
      ],
    )
  })
})

test('the offline dump tells the same of it', async () => {
  const world = new SimWorld(3)
  load(world)
  await world.run(async () => {
    const rows = []
    for await (const { handle, state, length, damage } of dumpStore(world.machine('cs1').io.disk, '/d0')) {
      rows.push({ handle, state, length, damage })
    }
    assert.equal(rows, [
      { handle: '0000e000000001', state: 'sealed', length: 8500, damage: undefined },
      { handle: '0000e000000002', state: 'sealed', length: 5310, damage: undefined },
      { handle: '0000e000000003', state: 'open', length: 6000, damage: undefined },
      { handle: '0000e000000004', state: 'fenced', length: 4096, damage: undefined },
      { handle: '0000e000000005', state: 'tombstone', length: 0, damage: undefined },
    ])
  })
})

test.run()
