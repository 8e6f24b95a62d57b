// The log on disks that forget: crashes at any moment, failing syncs, disks that fill, many lives of one log.
//
// Method: a writer appends in bursts; the machine is killed, with or without power, at a random event; the next life opens
// the log and compares. What was acknowledged, or was once read after a start, must be there with its payload; what else
// is there must be something that was appended; nothing has a hole. Payloads tell the life they were appended in.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { Random } from '../../src/base/random.ts'
import { GiB, KiB } from '../../src/base/units.ts'
import { verifyLog } from '../../src/oplog/inspect.ts'
import { OpLog, type OpLogEvents, type OpLogOptions } from '../../src/oplog/oplog.ts'
import type { SimMachine } from '../sim/machine.ts'
import { simSeeds, swarmOptions } from '../sim/options.ts'
import { SimWorld } from '../sim/world.ts'
import { clusterId } from './log-fixture.ts'

const directory = '/data/log'
const LIVES = 4

class Model {
  /** What may never change again: acknowledged, or read after a start. */
  readonly certain = new Map<number, string>()
  /** Everything ever appended at an index whose fate is open. */
  readonly appended = new Map<number, Set<string>>()
  firstIndex = 1

  append(index: number, text: string): void {
    const texts = this.appended.get(index) ?? new Set()
    this.appended.set(index, texts.add(text))
  }

  /** From `fromIndex` on nothing may ever be found that was appended so far. */
  refuse(fromIndex: number): void {
    for (const index of this.appended.keys()) if (index >= fromIndex) this.appended.delete(index)
  }

  acknowledge(index: number, text: string): void {
    this.certain.set(index, text)
  }

  /** Compares what a life found, and makes it certain. */
  meet(index: number, text: string): void {
    const certain = this.certain.get(index)
    assert.is(text, certain ?? text, `index ${index} changed`)
    assert.ok(
      certain !== undefined || this.appended.get(index)?.has(text),
      `index ${index} was never appended: ${text}`,
    )
    this.certain.set(index, text)
  }
}

type Sizes = Required<Pick<OpLogOptions, 'segmentBytes' | 'preallocateAfterBytes'>>

interface Life {
  readonly log: OpLog
  isOver: boolean
}

/** Opens the log and compares everything in it. */
async function live(machine: SimMachine, model: Model, sizes: Sizes): Promise<Life> {
  const { disk, clock, entropy } = machine.io
  const texts = new Map<number, string>()
  let syncedIndex = 0
  const events: OpLogEvents = {
    onSynced: (index) => {
      for (let at = syncedIndex + 1; at <= index; at++) model.acknowledge(at, texts.get(at)!)
      syncedIndex = index
    },
    onRefused: (fromIndex) => model.refuse(fromIndex),
    onFailed: () => {
      life.isOver = true
    },
  }
  const options = { disk, clock, entropy, directory, clusterId, logger: machine.log, events, ...sizes }
  const log = await OpLog.open({ ...options, fromIndex: model.firstIndex })
  syncedIndex = log.lastIndex
  let next = model.firstIndex
  for await (const records of log.read(model.firstIndex)) {
    for (const { index, payload } of records) {
      assert.is(index, next++, 'no hole')
      model.meet(index, payload.toString().trimEnd())
    }
  }
  const lost = [...model.certain.keys()].filter((index) => index >= next)
  assert.equal(lost, [], `the log ends with ${next - 1}`)
  const append = log.append.bind(log)
  log.append = (record) => {
    const index = append(record)
    const text = Buffer.from(record.payload).toString().trimEnd()
    texts.set(index, text)
    model.append(index, text)
    return index
  }
  const life: Life = { log, isOver: false }
  return life
}

interface Faults {
  readonly syncFails?: boolean
  readonly diskFills?: boolean
}

/** Appends bursts until the life is over or so many records are in. */
async function write(world: SimWorld, random: Random, life: Life, name: string, recordCount: number): Promise<void> {
  for (let count = 0; count < recordCount && !life.isOver; ) {
    const burst = 1 + random.below(random.below(4) === 0 ? 60 : 4)
    for (let one = 0; one < burst && !life.isOver; one++, count++) {
      const text = `${name} ${count}`
      const payload = Buffer.from(text.padEnd(random.below(20) === 0 ? 9 * KiB : 20 + random.below(200)))
      try {
        life.log.append({ term: 1, kind: 1, version: 1, payload })
      } catch (error) {
        if (!isDfsError(error)) throw error
        if (error.code !== 'BUSY') return
      }
    }
    await world.sleep(random.below(6) === 0 ? 60 : random.below(3))
  }
}

async function run(seed: number, faults: Faults = {}, syncIsNothing = false): Promise<SimWorld> {
  const world = new SimWorld(swarmOptions(seed, { disk: { syncIsNothing } }))
  const random = new Random(seed)
  const machine = world.machine('master')
  const model = new Model()
  const segmentBytes = random.pick([8 * KiB, 32 * KiB, 1024 * KiB])
  // Half of the logs write into zeros most of the time, the others grow.
  const sizes = { segmentBytes, preallocateAfterBytes: seed % 2 === 0 ? 8 * KiB : 1024 * KiB }
  await world.run(async () => {
    const { disk, entropy } = machine.io
    await disk.makeDirectory('/data')
    await OpLog.format({ disk, entropy, directory, clusterId })
    await disk.syncDirectory('/data')
    await disk.syncDirectory('/')
    for (let number = 0; number < LIVES; number++) {
      await oneLife(number)
      machine.crash({ power: random.below(3) > 0 })
      machine.disk.healFaults()
      machine.disk.options.capacityBytes = 100 * GiB
      machine.restart()
    }
    await live(machine, model, sizes)
    const verdict = await verifyLog(machine.io.disk, directory)
    assert.ok(verdict.isSound, JSON.stringify(verdict))
  })
  return world

  /** From opening to death, which may come at any event, or to a failure, or to a clean stop. */
  async function oneLife(number: number): Promise<void> {
    const recordCount = 40 + random.below(150)
    let isOver = false
    if (faults.syncFails) machine.disk.failSync(/segment/, random.below(2))
    const work = async (): Promise<void> => {
      const life = await live(machine, model, sizes)
      if (random.below(3) === 0) await dropSome(life.log, model, random)
      if (faults.syncFails) world.after(random.below(60), () => !isOver && machine.disk.failSync(/segment/))
      if (faults.diskFills) fillForAWhile(world, machine, random, () => isOver)
      await write(world, random, life, `life ${number}:`, recordCount)
      await life.log.close()
    }
    const death = new Promise<void>((resolve) => {
      if (random.below(4) === 0) return
      world.afterEvents(random.below(600), () => {
        if (isOver) return
        machine.crash({ power: random.below(3) > 0 })
        world.after(0, resolve)
      })
    })
    const failure = (error: unknown): void => {
      // A start whose own sync failed, or that has no room for the unproven tail: the next life tries again.
      if (!isDfsError(error, 'FSYNC_FAILED') && !isDfsError(error, 'DISK_FULL')) throw error
    }
    await Promise.race([death, work().catch(failure)])
    isOver = true
  }
}

async function dropSome(log: OpLog, model: Model, random: Random): Promise<void> {
  model.firstIndex = log.firstIndex + random.below(log.lastIndex - log.firstIndex + 2)
  await log.dropBefore(model.firstIndex)
}

function fillForAWhile(world: SimWorld, machine: SimMachine, random: Random, isOver: () => boolean): void {
  const { options } = machine.disk
  world.after(random.below(40), () => {
    if (isOver()) return
    options.capacityBytes = machine.disk.usedBytes() + random.below(12 * KiB)
    world.after(random.below(60), () => {
      options.capacityBytes = 100 * GiB
    })
  })
}

test('200 seeds: four lives each, killed at any moment: what was acknowledged or once read is there, nothing else', async () => {
  for (const seed of simSeeds(200)) await run(seed)
})

test('100 seeds: a sync that fails once acknowledges nothing more, and the next life has everything acknowledged', async () => {
  for (const seed of simSeeds(100, 1000)) await run(seed, { syncFails: true })
})

test('100 seeds: a disk that fills and empties: refused records are never found', async () => {
  for (const seed of simSeeds(100, 2000)) await run(seed, { diskFills: true })
})

test('two runs of a seed are the same, event for event', async () => {
  const faults = { syncFails: true, diskFills: true }
  assert.is((await run(7, faults)).traceChecksum, (await run(7, faults)).traceChecksum)
})

test('with every sync turned into nothing, acknowledged records are lost, and this test notices', async () => {
  let noticed = 0
  for (const seed of simSeeds(20)) await run(seed, {}, true).catch(() => noticed++)
  assert.ok(noticed > 10, `${noticed} of 20`)
})

test.run()
