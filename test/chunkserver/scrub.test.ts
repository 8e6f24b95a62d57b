// The scrubber: what it finds, how fast it goes, and what it remembers (GFS §5.2).

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ChunkHandle } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import { DAY_MS, KiB, MINUTE_MS, MiB, SECOND_MS } from '../../src/base/units.ts'
import {
  decodePosition,
  encodePosition,
  loadPosition,
  NO_POSITION,
  savePosition,
} from '../../src/chunkserver/scrub-position.ts'
import { mustYield, passDueMs, permilleOf, restMs } from '../../src/chunkserver/scrub-schedule.ts'
import { Scrubber } from '../../src/chunkserver/scrubber.ts'
import { seal } from '../../src/chunkserver/sealing.ts'
import type { Io } from '../../src/io/io.ts'
import { SimWorld } from '../sim/world.ts'
import { allocationOf, handleOf, type OpenStore, openStore, pushAndCommit } from './store-fixture.ts'

test('the budget is kept by resting after a step, for the time that the step itself did not take', () => {
  assert.is(restMs({ bytes: MiB, tookMs: 50, endsChunk: false }, MiB, false), 950)
  assert.is(restMs({ bytes: MiB, tookMs: 5000, endsChunk: false }, MiB, false), 0)
  assert.is(restMs({ bytes: MiB, tookMs: 1, endsChunk: false }, MiB, true), 0, 'a pass that was asked for has none')
  assert.is(restMs({ bytes: 10, tookMs: 0, endsChunk: true }, 64 * KiB, false), SECOND_MS, 'tiny chunks cost something')
})

test('other work goes first, but never for ever', () => {
  assert.is(mustYield(0, 0, false), false)
  assert.is(mustYield(3, 0, false), true)
  assert.is(mustYield(3, SECOND_MS, false), false)
  assert.is(mustYield(3, 50, true), false)
})

test('a pass is due some time after the last began, and at once when the clock jumped back', () => {
  assert.is(passDueMs(0, 1_000_000), 0)
  assert.is(passDueMs(1_000_000, 1_004_000), 6000)
  assert.is(passDueMs(1_000_000, 1_010_000), 0)
  assert.is(passDueMs(1_000_000, 900_000), 0)
  assert.is(permilleOf(0, 0), 0)
  assert.is(permilleOf(1, 3), 333)
  assert.is(permilleOf(3, 3), 1000)
})

test('a position survives its bytes, and no damaged byte passes for one', () => {
  const position = {
    cursor: handleOf(77),
    startedWallMs: 1_700_000_000_123,
    finishedWallMs: 1_699_000_000_000,
    isAsked: false,
  }
  const bytes = encodePosition(position)
  assert.is(bytes.length, 64)
  assert.equal(decodePosition(bytes), position)
  const asked = { ...position, isAsked: true }
  assert.equal(decodePosition(encodePosition(asked)), asked)
  for (let i = 0; i < bytes.length; i++) {
    const damaged = Buffer.from(bytes)
    damaged[i]! ^= 1
    assert.is(decodePosition(damaged), undefined, `byte ${i}`)
  }
  for (let length = 0; length < 64; length++) assert.is(decodePosition(bytes.subarray(0, length)), undefined)
})

test('a power cut while a position is saved leaves the old one or the new one', async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const world = new SimWorld(seed)
    await world.run(async () => {
      const machine = world.machine('cs')
      const first = { cursor: handleOf(1), startedWallMs: 1, finishedWallMs: 0, isAsked: false }
      const second = { cursor: handleOf(2), startedWallMs: 1, finishedWallMs: 0, isAsked: true }
      await machine.io.disk.makeDirectory('/d0')
      await machine.io.disk.syncDirectory('/')
      await savePosition(machine.io.disk, '/d0', first)
      world.after(world.random.below(60) / 20, () => machine.crash({ power: true }))
      void savePosition(machine.io.disk, '/d0', second)
      await world.sleep(1000)
      const { disk } = machine.restart()
      const found = await loadPosition(disk, '/d0')
      assert.ok(found.cursor === first.cursor || found.cursor === second.cursor, `cursor ${found.cursor}`)
      await savePosition(disk, '/d0', second)
      assert.equal(await loadPosition(disk, '/d0'), second)
    })
  }
})

/** Chunks 1 .. `count` of `bytes` each, sealed. */
async function filled(io: Io, count: number, bytes: number): Promise<OpenStore> {
  const opened = await openStore(io)
  for (let counter = 1; counter <= count; counter++) await addSealed(opened, counter, bytes)
  return opened
}

async function addSealed({ store }: OpenStore, counter: number, bytes: number): Promise<void> {
  const handle = handleOf(counter)
  const replica = store.create(allocationOf(store, handle))
  await pushAndCommit(replica, counter, bytes, true)
  const digest = replica.growing!.sums.digest()
  const order = {
    handle,
    version: 1,
    length: bytes,
    digest,
    indexDigest: 0,
    history: { logIndex: 50, rollbackLostIndex: 0 },
  }
  await seal(store, order)
}

function scrubberOf(io: Io, { store }: OpenStore, bytesPerSecond: number, streams = () => 0): Scrubber {
  const onBug = (error: unknown) => {
    throw error
  }
  const options = { clock: io.clock, store, logger: silentLogger, bytesPerSecond, streams, onBug }
  return new Scrubber(options, store.directories)
}

test('a flipped bit is found within the time that the budget needs for all bytes, and told', async () => {
  const world = new SimWorld(1)
  await world.run(async () => {
    const { io, disk } = world.machine('cs')
    const opened = await filled(io, 8, MiB)
    const scrubber = scrubberOf(io, opened, MiB)
    const path = opened.store.get(handleOf(6)).dataPath
    disk.flipBit(path, 700_001, 2)
    opened.changes.length = 0
    scrubber.start()
    await world.sleep(4000)
    assert.is(opened.store.get(handleOf(6)).damage, undefined)
    const { scrubbedBytes } = scrubber.counters
    assert.ok(scrubbedBytes >= 3 * MiB && scrubbedBytes <= 5 * MiB, `${scrubbedBytes} bytes in four seconds`)
    await world.sleep(5000)
    assert.match(opened.store.get(handleOf(6)).damage ?? '', /block 170 has checksum/)
    assert.equal(
      opened.changes.map(({ handle, state }) => [handle, state]),
      [[handleOf(6), 'corrupt']],
    )
    assert.is(scrubber.counters.scrubDamaged, 1)
    await scrubber.close()
    await opened.close()
  })
})

test('a damaged checksum file is found although readers have its sums in memory', async () => {
  const world = new SimWorld(2)
  await world.run(async () => {
    const { io, disk } = world.machine('cs')
    const opened = await filled(io, 3, 200_000)
    const replica = opened.store.get(handleOf(2))
    await opened.store.proofOf(replica)
    const { form } = replica
    if (form.kind !== 'sealed') throw new Error('not sealed')
    disk.flipBit(replica.metaPath, form.sealed.recordOffset + 60, 1)
    const scrubber = scrubberOf(io, opened, 0)
    scrubber.start()
    await world.sleep(60 * SECOND_MS)
    assert.is(scrubber.counters.scrubbedChunks, 0, 'without a budget nothing happens unasked')
    scrubber.scrubNow()
    await world.sleep(SECOND_MS)
    assert.match(replica.damage ?? '', /block sums/)
    assert.is(scrubber.counters.scrubPasses, 1)
    assert.is(opened.store.get(handleOf(1)).damage, undefined)
    await scrubber.close()
    await opened.close()
  })
})

test('after a restart it goes on where it was, and an asked pass begins anew', async () => {
  const world = new SimWorld(3)
  await world.run(async () => {
    const machine = world.machine('cs')
    const opened = await filled(machine.io, 10, MiB)
    const scrubber = scrubberOf(machine.io, opened, MiB)
    scrubber.start()
    await world.sleep(6500)
    await scrubber.close()
    await opened.close()
    const before = scrubber.counters.scrubbedChunks
    assert.ok(before >= 5 && before <= 7, `${before} chunks`)

    machine.crash({ power: true })
    const io = machine.restart()
    const again = await openStore(io)
    const second = scrubberOf(io, again, MiB)
    second.start()
    await world.sleep(100)
    assert.ok(again.store.directories[0]!.scrub.permille >= 500, 'progress is shown at once')
    await world.until('the pass ends', () => second.counters.scrubPasses === 1)
    const { scrubbedChunks } = second.counters
    // The chunk at which it was stopped is looked at once more.
    assert.ok(scrubbedChunks >= 10 - before && scrubbedChunks <= 11 - before, `${scrubbedChunks} after ${before}`)
    const age = again.store.directories[0]!.scrub.ageMs
    assert.ok(age !== undefined && age < 6000, `age ${age}`)
    second.scrubNow()
    await world.sleep(1000)
    assert.is(second.counters.scrubPasses, 2, 'without a budget')
    assert.ok(second.counters.scrubbedChunks >= scrubbedChunks + 10)
    await second.close()
    await again.close()
  })
})

test('a pass that was asked for is ended after a power loss, without a budget, and then forgotten', async () => {
  const world = new SimWorld(5)
  await world.run(async () => {
    const machine = world.machine('cs')
    const opened = await filled(machine.io, 40, MiB)
    // Without a budget a scrubber works only when it is asked.
    const first = scrubberOf(machine.io, opened, 0)
    first.start()
    await world.sleep(1000)
    assert.is(first.counters.scrubbedChunks, 0)
    first.scrubNow()
    await world.until('it is under way', () => first.counters.scrubbedChunks >= 5)
    assert.is(first.counters.scrubPasses, 0)

    machine.crash({ power: true })
    const again = await openStore(machine.restart())
    const second = scrubberOf(machine.io, again, 0)
    second.start()
    await world.until('the pass ends', () => second.counters.scrubPasses === 1)
    await second.close()
    await again.close()

    machine.crash({ power: true })
    const last = await openStore(machine.restart())
    const third = scrubberOf(machine.io, last, 0)
    third.start()
    await world.sleep(20_000)
    assert.is(third.counters.scrubbedChunks, 0, 'once is enough')
    await third.close()
    await last.close()
  })
})

test('kill -9 loses at most the last moments of what was passed', async () => {
  const world = new SimWorld(4)
  await world.run(async () => {
    const machine = world.machine('cs')
    const opened = await filled(machine.io, 120, 64 * KiB)
    scrubberOf(machine.io, opened, 64 * KiB).start()
    await world.sleep(100 * SECOND_MS)
    machine.crash({ power: true })
    const { disk } = machine.restart()
    const { cursor } = await loadPosition(disk, '/d0')
    assert.ok(cursor >= handleOf(60) && cursor <= handleOf(101), `cursor ${cursor - handleOf(0 + 1) + 1}`)
  })
})

test('a chunk that grows while it is scrubbed is never called damaged', async () => {
  for (let seed = 10; seed < 20; seed++) {
    const world = new SimWorld(seed)
    await world.run(async () => {
      const { io } = world.machine('cs')
      const opened = await openStore(io)
      const handle = handleOf(1) as ChunkHandle
      const replica = opened.store.create(allocationOf(opened.store, handle))
      const scrubber = scrubberOf(io, opened, 0)
      scrubber.start()
      for (let i = 0; i < 60; i++) {
        await pushAndCommit(replica, 1, 1 + world.random.below(9000), world.random.below(4) === 0)
        scrubber.scrubNow()
        if (world.random.below(3) === 0) await world.sleep(world.random.below(5))
      }
      await world.sleep(1000)
      assert.is(replica.damage, undefined)
      assert.ok(scrubber.counters.scrubbedBytes > 0)
      await scrubber.close()
      await opened.close()
    })
  }
})

test('under constant load it is slow, not dead', async () => {
  const world = new SimWorld(5)
  await world.run(async () => {
    const { io } = world.machine('cs')
    const opened = await filled(io, 4, MiB)
    const scrubber = scrubberOf(io, opened, 100 * MiB, () => 8)
    scrubber.start()
    await world.sleep(2500)
    const { scrubbedChunks } = scrubber.counters
    assert.ok(scrubbedChunks >= 1 && scrubbedChunks <= 3, `${scrubbedChunks} chunks`)
    await scrubber.close()
    await opened.close()
  })
})

test('a replica that is removed under it is left alone', async () => {
  const world = new SimWorld(6)
  await world.run(async () => {
    const { io } = world.machine('cs')
    const opened = await filled(io, 3, 3 * MiB)
    const scrubber = scrubberOf(io, opened, MiB)
    scrubber.start()
    await world.sleep(1500)
    await opened.store.remove(opened.store.get(handleOf(1)), () => true)
    await opened.store.remove(opened.store.get(handleOf(2)), () => true)
    await world.sleep(MINUTE_MS)
    assert.is(scrubber.counters.scrubDamaged, 0)
    assert.ok(scrubber.counters.scrubPasses >= 1)
    await scrubber.close()
    await opened.close()
  })
})

test('no position is one, and a day is not lost on a clock that jumped', () => {
  assert.equal(decodePosition(encodePosition(NO_POSITION)), NO_POSITION)
  assert.is(passDueMs(DAY_MS, 2 * DAY_MS), 0)
})

test.run()
