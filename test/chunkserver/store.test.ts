import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import type { DirectoryId, Life } from '../../src/base/ids.ts'
import { MiB } from '../../src/base/units.ts'
import { BufferPool } from '../../src/chunkserver/buffer-pool.ts'
import type { ChunkStore } from '../../src/chunkserver/chunk-store.ts'
import { checksumOf, readBlocks } from '../../src/chunkserver/reader.ts'
import { digestAt, fence, seal } from '../../src/chunkserver/sealing.ts'
import type { Io } from '../../src/io/io.ts'
import { SimWorld } from '../sim/world.ts'
import {
  allocationOf,
  appendBatch,
  bytesAt,
  handleOf,
  type OpenStore,
  openStore,
  push,
  pushAndCommit,
  VERSION,
} from './store-fixture.ts'

const pool = new BufferPool(64 * MiB)

async function readAll(store: ChunkStore, counter: number, length: number): Promise<Buffer> {
  const out = Buffer.alloc(length)
  const replica = store.get(handleOf(counter))
  for (let at = 0; at < length; ) {
    const found = await readBlocks(store, pool, replica, at, length - at)
    assert.is(found.crc, crc32(found.bytes))
    const part = found.bytes.subarray(at - found.offset, length - found.offset)
    part.copy(out, at)
    at += part.length
    pool.give(found.buffer)
  }
  return out
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'OK'
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}

function inWorld(seed: number, main: (io: Io, world: SimWorld, open: () => Promise<OpenStore>) => Promise<void>) {
  const world = new SimWorld(seed)
  const machine = world.machine('cs1')
  return world.run(() => main(machine.io, world, () => openStore(machine.io)))
}

test('what was pushed and committed is read back, block by block', () =>
  inWorld(1, async (io) => {
    const { store } = await openStore(io)
    const replica = store.create(allocationOf(store, handleOf(1)))
    await pushAndCommit(replica, 1, 5000, false)
    await pushAndCommit(replica, 1, 1 * MiB, true)
    await pushAndCommit(replica, 1, 77, false)
    const length = 5000 + MiB + 77
    assert.is(replica.length, length)
    assert.is(Buffer.compare(await readAll(store, 1, length), bytesAt(1, 0, length)), 0)
    assert.is(await checksumOf(store, pool, replica, 3, length - 10), crc32(bytesAt(1, 3, length - 10)))
    assert.is((await digestAt(store, replica, 5001)).digest, crc32(bytesAt(1, 0, 5001)))
    assert.is(await codeOf(readBlocks(store, pool, replica, 0, length + 1)), 'BEYOND_COMMITTED')
    assert.is(pool.usedBytes, 0)
  }))

test('a fence counts what was accepted and refuses everything after it', () =>
  inWorld(2, async (io) => {
    const { store } = await openStore(io)
    const replica = store.create(allocationOf(store, handleOf(1)))
    const accepted = push(replica, 1, 10_000)
    const { directory, growing } = replica
    const answer = fence(store, handleOf(1), directory.id, directory.life)
    assert.throws(() => growing!.beginPiece(10_000, 5), /fenced/)
    await accepted
    assert.equal(await answer, {
      exists: true,
      inLife: true,
      length: 10_000,
      digest: crc32(bytesAt(1, 0, 10_000)),
      syncedLength: 10_000,
      indexDigest: 0,
    })
    assert.is(await codeOf(Promise.resolve().then(() => store.getGrowing(handleOf(1), VERSION))), 'CHUNK_FENCED')
    assert.equal(await fence(store, handleOf(1), directory.id, directory.life), await answer, 'once more, the same')
  }))

test('a piece that is still arriving when the fence comes does not count', () =>
  inWorld(3, async (io) => {
    const { store } = await openStore(io)
    const replica = store.create(allocationOf(store, handleOf(1)))
    await pushAndCommit(replica, 1, 9000, false)
    const piece = replica.growing!.beginPiece(9000, 1000)
    piece.push(bytesAt(1, 9000, 1000), undefined)
    const answer = fence(store, handleOf(1), replica.directory.id, replica.directory.life)
    assert.throws(() => piece.finish(), /fenced/)
    assert.is((await answer).length, 9000)
  }))

test('a fence also holds where the chunk does not exist yet', () =>
  inWorld(4, async (io) => {
    const machine = await openStore(io)
    const { store } = machine
    const directory = store.directories[0]!
    const answer = await fence(store, handleOf(9), directory.id, directory.life)
    assert.equal(answer, { exists: false, inLife: true, length: 0, digest: 0, syncedLength: 0, indexDigest: 0 })
    assert.throws(() => store.create(allocationOf(store, handleOf(9))), /fenced/)
    assert.is(store.growingCount, 0)
  }))

test('fences of chunks that are not here leave nothing behind, in memory or on disk', async () => {
  const world = new SimWorld(14)
  const machine = world.machine('cs1')
  await world.run(async () => {
    const { store, changes, close } = await openStore(machine.io)
    const { id, life } = store.directories[0]!
    const before = machine.disk.paths().length
    for (let counter = 1; counter <= 200; counter++) await fence(store, handleOf(counter), id, life)
    assert.is(store.replicaCount, 0)
    assert.is(changes.length, 0)
    assert.is(machine.disk.paths().length, before)
    assert.throws(() => store.getGrowing(handleOf(200), 1), /fenced/)
    await close()
  })
})

test('a seal cuts only what the log does not name, survives a restart, and is answered the same again', async () => {
  const world = new SimWorld(5)
  const machine = world.machine('cs1')
  const length = 100_001
  await world.run(async () => {
    const { store } = await openStore(machine.io)
    const replica = store.create(allocationOf(store, handleOf(1)))
    await pushAndCommit(replica, 1, 100_000, true)
    await pushAndCommit(replica, 1, 50_000, false)
    const order = { handle: handleOf(1), version: 2, length, digest: crc32(bytesAt(1, 0, length)), indexDigest: 0 }
    const facts = await seal(store, order)
    assert.is(facts.state, 'sealed')
    assert.is(facts.length, length)
    assert.equal(await seal(store, order), facts)
    assert.is(await codeOf(seal(store, { ...order, version: 1 })), 'STALE_VERSION')
    assert.is(await codeOf(readBlocks(store, pool, replica, length, 1)), 'BEYOND_COMMITTED')
    assert.is(replica.directory.usedBytes, length)
  })
  machine.crash({ power: true })
  machine.restart()
  await world.run(async () => {
    const { store } = await openStore(machine.io)
    const replica = store.get(handleOf(1))
    assert.is(replica.state, 'sealed')
    assert.is(replica.version, 2)
    assert.is(Buffer.compare(await readAll(store, 1, length), bytesAt(1, 0, length)), 0)
    assert.is(replica.directory.usedBytes, length)
  })
})

test('a seal that names another digest is refused, and the replica is kept and reported', () =>
  inWorld(6, async (io) => {
    const { store, changes } = await openStore(io)
    const replica = store.create(allocationOf(store, handleOf(1)))
    await pushAndCommit(replica, 1, 5000, true)
    const order = { handle: handleOf(1), version: 1, length: 4000, digest: 1, indexDigest: 0 }
    assert.is(await codeOf(seal(store, order)), 'CORRUPT_REPLICA')
    assert.is(replica.state, 'corrupt')
    assert.is(changes.at(-1), replica)
    assert.is(Buffer.compare(await readAll(store, 1, 5000), bytesAt(1, 0, 5000)), 0, 'its good blocks are still served')
  }))

test('a replica shorter than the seal stays a true prefix and says its length', () =>
  inWorld(7, async (io) => {
    const { store } = await openStore(io)
    const replica = store.create(allocationOf(store, handleOf(1)))
    await pushAndCommit(replica, 1, 5000, true)
    const facts = await seal(store, { handle: handleOf(1), version: 1, length: 6000, digest: 1, indexDigest: 0 })
    assert.is(facts.state, 'fenced')
    assert.is(facts.length, 5000)
    assert.is(Buffer.compare(await readAll(store, 1, 5000), bytesAt(1, 0, 5000)), 0)
  }))

test('the record index of a shared chunk is sealed with it and found again', async () => {
  const world = new SimWorld(8)
  const machine = world.machine('cs1')
  let indexDigest = 0
  await world.run(async () => {
    const { store } = await openStore(machine.io)
    const replica = store.create(allocationOf(store, handleOf(1), { shared: true }))
    await appendBatch(replica, 1, [100, 5000, 3], true)
    await appendBatch(replica, 1, [10], false)
    const { directory } = replica
    const answer = await fence(store, handleOf(1), directory.id, directory.life)
    assert.is(answer.length, 5113)
    const at = await digestAt(store, replica, 5103)
    indexDigest = at.indexDigest
    assert.is.not(indexDigest, answer.indexDigest)
    const facts = await seal(store, { handle: handleOf(1), version: 1, length: 5103, ...at })
    assert.is(facts.state, 'sealed')
  })
  machine.crash({ power: true })
  machine.restart()
  await world.run(async () => {
    const { store } = await openStore(machine.io)
    const proof = await store.proofOf(store.get(handleOf(1)))
    assert.is(proof.index.digest, indexDigest)
    assert.is(proof.index.find(proof.index.entries[1]!.writer, 2)!.offset, 100)
    assert.is(proof.index.entries.length, 3)
  })
})

test('orders for a directory or life that is not here are told apart', () =>
  inWorld(9, async (io) => {
    const { store } = await openStore(io)
    const directory = store.directories[0]!
    assert.is(await codeOf(fence(store, handleOf(1), 12345 as DirectoryId, directory.life)), 'WRONG_DISK')
    const other = (directory.life + 1) as Life
    assert.is((await fence(store, handleOf(1), directory.id, other)).inLife, false)
    const member = { ...allocationOf(store, handleOf(2)).members[0]!, life: other }
    assert.throws(() => store.create(allocationOf(store, handleOf(2), { members: [member] })), /in life/)
  }))

test('a piece that does not go on where the bytes end, or does not fit, is refused', () =>
  inWorld(10, async (io) => {
    const { store } = await openStore(io)
    const growing = store.create(allocationOf(store, handleOf(1), { chunkBytes: 8192 })).growing!
    assert.throws(() => growing.beginPiece(1, 10), /goes on at 0/)
    assert.throws(() => growing.beginPiece(0, 8193), /full/)
    const piece = growing.beginPiece(0, 10)
    assert.throws(() => growing.beginPiece(0, 10), /goes on at 0/, 'one at a time')
    piece.push(bytesAt(1, 0, 5), undefined)
    piece.abandon()
    assert.is(growing.arrived, 0)
    const next = growing.beginPiece(0, 8192)
    next.push(bytesAt(1, 0, 8192), undefined)
    await next.finish()
    assert.is(await codeOf(Promise.resolve().then(() => growing.commit(1, 8193, false))), 'BEYOND_COMMITTED')
  }))

test.run()
