// What simulated disks keep and forget.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import type { DiskFile } from '../../src/io/disk.ts'
import type { SimMachine } from './machine.ts'
import { simSeeds, swarmOptions } from './options.ts'
import { SimFailure, SimWorld } from './world.ts'

const SEEDS = simSeeds(100)

async function content(file: DiskFile): Promise<Buffer> {
  const bytes = Buffer.alloc(await file.size())
  await file.read(bytes, 0)
  return bytes
}

async function write(machine: SimMachine, path: string, bytes: Buffer): Promise<DiskFile> {
  const file = await machine.io.disk.open(path, 'create')
  await file.write([bytes], 0)
  return file
}

test('power loss keeps synced bytes and names, and sometimes loses, keeps and tears the others', async () => {
  // Goal: over the seeds every fate of an unsynced write and name is seen, and never a change of what was synced.
  const fates = new Set<string>()
  for (const seed of SEEDS) {
    const world = new SimWorld({ seed })
    const machine = world.machine('m')
    const synced = world.random.bytes(5000)
    const later = world.random.bytes(5000)
    await world.run(async () => {
      await machine.io.disk.makeDirectory('/d')
      await machine.io.disk.syncDirectory('/')
      const file = await write(machine, '/d/kept', synced)
      await file.sync()
      await machine.io.disk.syncDirectory('/d')
      await file.write([later], 5000)
      await write(machine, '/d/unsynced-name', later)
      await machine.io.disk.rename('/d/kept', '/d/renamed')
      machine.crash({ power: true })

      const { disk } = machine.restart()
      const names = (await disk.list('/d')).map(({ name }) => name)
      assert.is(names.filter((name) => name === 'kept' || name === 'renamed').length, 1, 'a rename is old or new')
      fates.add(names.includes('renamed') ? 'rename kept' : 'rename lost')
      fates.add(names.includes('unsynced-name') ? 'name kept' : 'name lost')
      const after = await content(await disk.open(names.includes('kept') ? '/d/kept' : '/d/renamed', 'read'))
      assert.is(Buffer.compare(after.subarray(0, 5000), synced), 0, 'synced bytes')
      const rest = after.subarray(5000)
      if (rest.length === 0) fates.add('write lost')
      else if (Buffer.compare(rest, later) === 0) fates.add('write kept')
      else if (rest.equals(later.subarray(0, rest.length))) fates.add('write torn to a prefix')
      else if (rest.every((byte) => byte === 0)) fates.add('length without bytes')
      else fates.add('write torn elsewhere')
    })
  }
  assert.equal([...fates].sort(), [
    'length without bytes',
    'name kept',
    'name lost',
    'rename kept',
    'rename lost',
    'write kept',
    'write lost',
    'write torn elsewhere',
    'write torn to a prefix',
  ])
})

test('an unsynced overwrite never touches bytes outside its own range', async () => {
  for (const seed of SEEDS) {
    const world = new SimWorld(swarmOptions(seed))
    const machine = world.machine('m')
    machine.disk.writeFile('/f', Buffer.alloc(8192, 1))
    await world.run(async () => {
      const file = await machine.io.disk.open('/f', 'write')
      await file.write([Buffer.alloc(1500, 2)], 1000)
      machine.crash({ power: true })
    })
    const after = machine.disk.readFile('/f')
    assert.is(after.length, 8192)
    assert.ok(after.subarray(0, 1000).every((byte) => byte === 1))
    assert.ok(after.subarray(2500).every((byte) => byte === 1))
    assert.ok(after.subarray(1000, 2500).every((byte) => byte === 1 || byte === 2))
  }
})

test('write beside, sync, rename, sync the directory: old or new, never half, whenever the power goes', async () => {
  for (const seed of SEEDS) {
    const world = new SimWorld(swarmOptions(seed))
    const machine = world.machine('m')
    machine.disk.writeFile('/state', Buffer.alloc(4000, 1))
    let isDone = false
    await world.run(async () => {
      world.afterEvents(world.random.below(8), () => machine.crash({ power: true }))
      const replace = async () => {
        const file = await write(machine, '/state.new', Buffer.alloc(4000, 2))
        await file.sync()
        await machine.io.disk.rename('/state.new', '/state')
        await machine.io.disk.syncDirectory('/')
        isDone = true
      }
      replace()
      await world.sleep(1000)
    })
    const state = machine.disk.readFile('/state')
    assert.is(state.length, 4000)
    assert.ok(state.every((byte) => byte === state[0]))
    if (isDone) assert.is(state[0], 2)
  }
})

test('syncIsNothing loses data that was synced: a test of durability can fail', async () => {
  let lost = 0
  for (const seed of SEEDS) {
    const world = new SimWorld({ seed, disk: { syncIsNothing: true } })
    const machine = world.machine('m')
    await world.run(async () => {
      const file = await write(machine, '/f', Buffer.alloc(100, 1))
      await file.sync()
      await machine.io.disk.syncDirectory('/')
      machine.crash({ power: true })
    })
    if (!machine.disk.has('/f') || !machine.disk.readFile('/f').equals(Buffer.alloc(100, 1))) lost++
  }
  assert.ok(lost > SEEDS.length / 3, `${lost} of ${SEEDS.length}`)
})

test('kill -9 keeps the page cache, and of a write under way all, a part or nothing', async () => {
  const lengths = new Set<string>()
  for (const seed of SEEDS) {
    const world = new SimWorld(seed)
    const machine = world.machine('m')
    await world.run(async () => {
      const file = await write(machine, '/f', Buffer.alloc(100, 1))
      file.write([Buffer.alloc(1000, 2)], 100)
      machine.crash({ power: false })
    })
    const { length } = machine.disk.readFile('/f')
    assert.ok(length >= 100 && length <= 1100)
    lengths.add(length === 100 ? 'nothing' : length === 1100 ? 'all' : 'a part')
  }
  assert.ok(lengths.has('nothing') && lengths.has('a part'), [...lengths].join())
})

test('after a failed sync the bytes are seen, and a later sync that succeeds may not save them', async () => {
  let forgotten = 0
  for (const seed of SEEDS) {
    const world = new SimWorld({ seed, disk: { keepChance: 0, tearChance: 0 } })
    const machine = world.machine('m')
    machine.disk.writeFile('/f', Buffer.alloc(10, 1))
    machine.disk.failSync('/f')
    await world.run(async () => {
      const file = await machine.io.disk.open('/f', 'write')
      await file.write([Buffer.alloc(10, 2)], 0)
      let code = ''
      await file.sync().catch((error: unknown) => {
        code = isDfsError(error) ? error.code : ''
      })
      assert.is(code, 'FSYNC_FAILED')
      assert.ok(
        (await content(file)).every((byte) => byte === 2),
        'seen in the cache',
      )
      await file.sync()
    })
    machine.crash({ power: true })
    if (machine.disk.readFile('/f')[0] === 1) forgotten++
  }
  assert.ok(forgotten > 10 && forgotten < SEEDS.length, `${forgotten} of ${SEEDS.length}`)
})

test('a sync covers the writes that resolved before it began, and those only', async () => {
  let longer = 0
  for (const seed of SEEDS) {
    const world = new SimWorld({ seed, disk: { keepChance: 0, tearChance: 0 } })
    const machine = world.machine('m')
    machine.disk.writeFile('/f', Buffer.alloc(0))
    await world.run(async () => {
      const file = await machine.io.disk.open('/f', 'write')
      await file.write([Buffer.alloc(10, 1)], 0)
      const sync = file.sync()
      await file.write([Buffer.alloc(10, 2)], 10)
      await sync
      machine.crash({ power: true })
    })
    const after = machine.disk.readFile('/f')
    assert.ok(after.subarray(0, 10).equals(Buffer.alloc(10, 1)))
    if (after.subarray(10).some((byte) => byte === 2)) longer++
  }
  assert.is(longer, 0)
})

test('EIO, ENOSPC, bit rot and a stalled disk come where they are told', async () => {
  const world = new SimWorld({ seed: 7, disk: { capacityBytes: 10_000 } })
  const machine = world.machine('m')
  const { disk } = machine
  await world.run(async () => {
    const file = await write(machine, '/f', Buffer.alloc(1000, 1))
    disk.failRead(/f$/, 2)
    for (let time = 0; time < 2; time++) await fails(() => file.read(Buffer.alloc(10), 0), 'DISK_FAILED')
    assert.is(await file.read(Buffer.alloc(10), 0), 10)
    disk.failWrite('/f')
    await fails(() => file.write([Buffer.alloc(10)], 0), 'DISK_FAILED')
    await fails(() => file.write([Buffer.alloc(20_000)], 0), 'DISK_FULL')
    assert.ok((await machine.io.disk.space('/')).freeBytes <= 9000)
    disk.fail('syncDirectory', '/')
    await fails(() => machine.io.disk.syncDirectory('/'), 'FSYNC_FAILED')
    await machine.io.disk.syncDirectory('/')
    disk.writeFile('/g', Buffer.alloc(10, 0))
    disk.flipBit('/g', 3, 7)
    assert.is(disk.readFile('/g')[3], 128)
    disk.stall()
    let isRead = false
    const reading = file.read(Buffer.alloc(10), 0).then(() => {
      isRead = true
    })
    await world.sleep(10_000)
    assert.not(isRead)
    disk.unstall()
    await reading
    assert.ok(isRead)
  })
})

test('slices that change before their write resolves fail the run', async () => {
  const world = new SimWorld(3)
  const machine = world.machine('m')
  try {
    await world.run(async () => {
      const file = await machine.io.disk.open('/f', 'create')
      const bytes = Buffer.alloc(10)
      const writing = file.write([bytes], 0)
      bytes[0] = 1
      await writing
      await world.sleep(1)
    })
  } catch (error) {
    assert.ok(error instanceof SimFailure)
    assert.match(error.message, /changed before it resolved[\s\S]*SIM_SEED=3 npx tsx/)
    return
  }
  assert.unreachable('it was not noticed')
})

test('disks are mounted by path, and can move to another machine with what they hold', async () => {
  const world = new SimWorld(5)
  const one = world.machine('one')
  const two = world.machine('two')
  const data = one.addDisk('/data')
  await world.run(async () => {
    await (await write(one, '/data/f', Buffer.from('bytes'))).close()
    assert.equal(data.paths(), ['/f'])
    assert.equal(one.disk.paths(), [])
    await fails(() => one.io.disk.rename('/data/f', '/f'), 'DISK_FAILED')
    two.addDisk('/mnt', data)
    assert.is((await content(await two.io.disk.open('/mnt/f', 'read'))).toString(), 'bytes')
  })
})

test('locks are free when their process dies', async () => {
  const world = new SimWorld(5)
  const machine = world.machine('m')
  await world.run(async () => {
    const other = machine.spawn()
    await other.disk.lock('/lock')
    await fails(() => machine.io.disk.lock('/lock'), 'LOCKED')
    other.kill()
    await (await machine.io.disk.lock('/lock')).release()
  })
})

test('saved files come back as they were', async () => {
  const { disk } = new SimWorld(1).machine('m')
  disk.writeFile('/a/b', Buffer.from('1'))
  const saved = disk.saveFiles()
  disk.writeFile('/a/b', Buffer.from('22'))
  disk.writeFile('/a/c', Buffer.from('3'))
  disk.restoreFiles(saved)
  assert.equal(disk.paths(), ['/a/b'])
  assert.is(disk.readFile('/a/b').toString(), '1')
})

async function fails(act: () => Promise<unknown>, code: string): Promise<void> {
  try {
    await act()
  } catch (error) {
    assert.ok(isDfsError(error), String(error))
    assert.is(error.code, code)
    return
  }
  assert.unreachable(`expected ${code}`)
}

test.run()
