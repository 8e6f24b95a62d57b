// Goal: whatever was acknowledged by a sync is provable after power loss at any moment, and no wrong byte is.
// Method: a seeded run of pushes, commits and syncs on a disk that forgets; the power goes after a random number of
// events; a restart must hold at least what was acknowledged, and every byte it shows must be the one written.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { isDfsError } from '../../src/base/errors.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { BufferPool } from '../../src/chunkserver/buffer-pool.ts'
import { readBlocks } from '../../src/chunkserver/reader.ts'
import { fence, seal } from '../../src/chunkserver/sealing.ts'
import { simSeeds, swarmOptions } from '../sim/options.ts'
import { SimWorld } from '../sim/world.ts'
import { allocationOf, appendBatch, bytesAt, handleOf, openStore, pushAndCommit } from './store-fixture.ts'

const SEEDS = simSeeds(50)

interface Outcome {
  /** Acknowledged as flushed, and as synced. */
  flushed: number
  synced: number
  fenced: number | undefined
  sealed: boolean
}

/** Writes to chunk 1 until the process dies; notes what was acknowledged. */
async function write(world: SimWorld, outcome: Outcome, isShared: boolean): Promise<void> {
  const { random } = world
  const { store } = await openStore(world.machine('cs1').io)
  const replica = store.create(allocationOf(store, handleOf(1), { shared: isShared }))
  const growing = replica.growing!
  const steps = random.below(12) + 1
  const under: Promise<void>[] = []
  for (let step = 0; step < steps; step++) {
    const count = random.pick([1, 100, 4095, 4096, 4097, 10_000, 70 * KiB])
    const sync = random.chance(0.4)
    const job = isShared
      ? appendBatch(replica, 1, [Math.ceil(count / 2), Math.floor(count / 2)], sync)
      : pushAndCommit(replica, 1, count, sync)
    const end = growing.arrived
    const noted = job.then(() => {
      outcome.flushed = Math.max(outcome.flushed, end)
      if (sync) outcome.synced = Math.max(outcome.synced, end)
    })
    if (random.chance(0.5) || isShared) await noted
    else under.push(noted)
  }
  await Promise.all(under)
  const { directory } = replica
  if (random.chance(0.6)) {
    outcome.fenced = (await fence(store, handleOf(1), directory.id, directory.life)).length
  }
  if (outcome.fenced !== undefined && random.chance(0.7)) {
    const length = isShared ? outcome.fenced : random.below(outcome.fenced + 1)
    const indexDigest = isShared ? growing.index.digest : 0
    const digest = crc32(bytesAt(1, 0, length))
    await seal(store, { handle: handleOf(1), version: 1, length, digest, indexDigest })
    outcome.sealed = true
    outcome.flushed = outcome.synced = length
  }
}

async function check(world: SimWorld, outcome: Outcome, least: number, isShared: boolean): Promise<void> {
  const { store } = await openStore(world.machine('cs1').io)
  const replica = store.find(handleOf(1))
  if (replica === undefined) {
    assert.is(least, 0, 'acknowledged bytes, and no replica')
    return
  }
  assert.is(replica.damage, undefined)
  assert.ok(replica.length >= least, `${replica.length} bytes provable, ${least} acknowledged`)
  if (outcome.sealed) assert.is(replica.length, outcome.synced)
  assert.is(replica.growing, undefined, 'another life takes no bytes')
  const pool = new BufferPool(8 * MiB)
  for (let at = 0; at < replica.length; ) {
    const found = await readBlocks(store, pool, replica, at, replica.length - at)
    assert.is(Buffer.compare(found.bytes, bytesAt(1, found.offset, found.bytes.length)), 0, 'a wrong byte')
    at = found.offset + found.bytes.length
    pool.give(found.buffer)
  }
  if (isShared) assert.is((await store.proofOf(replica)).index.length, replica.length)
  const { directory } = replica
  const answer = await fence(store, handleOf(1), directory.id, directory.life)
  assert.is(answer.inLife, false)
  assert.is(answer.length, replica.length)
  assert.is(answer.digest, crc32(bytesAt(1, 0, replica.length)))
  if (outcome.sealed || world.random.chance(0.5)) return
  // What a restarted replica proves, perhaps from the page cache alone, is sealed: then it must last.
  await seal(store, { handle: handleOf(1), version: 1, ...answer })
  outcome.sealed = true
  outcome.synced = answer.length
}

async function torture(seed: number, power: boolean, isShared: boolean, syncIsNothing = false): Promise<void> {
  const world = new SimWorld(swarmOptions(seed, { disk: { syncIsNothing } }))
  const machine = world.machine('cs1')
  const outcome: Outcome = { flushed: 0, synced: 0, fenced: undefined, sealed: false }
  // The directory is formatted first: its 256 shards would take most of the events.
  await world.run(async () => (await openStore(machine.io)).close())
  await world.run(async () => {
    const writing = write(world, outcome, isShared)
    let isOver = false
    let isDone = false
    world.afterEvents(600 + world.random.below(500), () => {
      if (isDone) return
      isOver = true
      machine.crash({ power })
    })
    await Promise.race([writing, world.until('the crash', () => isOver, 1e9, 5)])
    isDone = true
    if (!isOver) machine.crash({ power })
    machine.restart()
    await check(world, outcome, power ? outcome.synced : outcome.flushed, isShared)
  })
  // And once more: what was proven stays proven, what was written while recovering is understood.
  machine.crash({ power: true })
  machine.restart()
  await world.run(() => check(world, outcome, outcome.synced, isShared))
}

test(`power loss at any moment: synced bytes are provable, and no other byte is shown (${SEEDS.length} seeds)`, async () => {
  for (const seed of SEEDS) await torture(seed, true, seed % 3 === 0)
})

test(`kill -9 at any moment: flushed bytes are provable (${SEEDS.length} seeds)`, async () => {
  for (const seed of SEEDS) await torture(seed, false, seed % 3 === 0)
})

test('the same on a disk whose syncs do nothing fails: the test notices', async () => {
  let failures = 0
  for (const seed of SEEDS.slice(0, 30)) {
    await torture(seed, true, false, true).catch((error: unknown) => {
      if (isDfsError(error) || error instanceof Error) failures++
    })
  }
  assert.ok(failures > 0 || SEEDS.length < 30, 'no acknowledged byte was lost without syncs')
})

test.run()
