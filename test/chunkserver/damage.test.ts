import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { MiB } from '../../src/base/units.ts'
import { BufferPool } from '../../src/chunkserver/buffer-pool.ts'
import { verifyStore } from '../../src/chunkserver/inspect.ts'
import { readBlocks } from '../../src/chunkserver/reader.ts'
import { seal } from '../../src/chunkserver/sealing.ts'
import { SimWorld } from '../sim/world.ts'
import { codeOf } from './cluster-fixture.ts'
import { allocationOf, bytesAt, CLUSTER, handleOf, type OpenStore, openStore, pushAndCommit } from './store-fixture.ts'

const LENGTH = 100_000
const data = '/d0/chunks/01/0000e000000001.data'
const meta = '/d0/chunks/01/0000e000000001.meta'

/** A machine with chunk 1 synced, or sealed, and the server stopped. */
async function stored(seed: number, isSealed: boolean): Promise<SimWorld> {
  const world = new SimWorld(seed)
  const machine = world.machine('cs1')
  await world.run(async () => {
    const { store, close } = await openStore(machine.io)
    const replica = store.create(allocationOf(store, handleOf(1)))
    await pushAndCommit(replica, 1, 60_000, true)
    await pushAndCommit(replica, 1, LENGTH - 60_000, true)
    const order = {
      handle: handleOf(1),
      version: 1,
      length: LENGTH,
      digest: crc32(bytesAt(1, 0, LENGTH)),
      indexDigest: 0,
    }
    if (isSealed) await seal(store, order)
    await close()
  })
  machine.crash({ power: true })
  machine.restart()
  return world
}

/** What a read of each block gives: its right bytes or an error's code. A wrong byte fails the test. */
async function readEach({ store }: OpenStore, length: number): Promise<string[]> {
  const pool = new BufferPool(4 * MiB)
  const codes: string[] = []
  for (let at = 0; at < length; at += 4096) {
    const count = Math.min(4096, length - at)
    const read = Promise.resolve().then(async () => {
      const found = await readBlocks(store, pool, store.get(handleOf(1)), at, count)
      const expected = bytesAt(1, found.offset, found.bytes.length)
      assert.is(Buffer.compare(found.bytes, expected), 0, 'a wrong byte')
      pool.give(found.buffer)
    })
    codes.push(await codeOf(read))
  }
  return codes
}

for (const isSealed of [true, false]) {
  const name = isSealed ? 'a sealed' : 'an open'

  test(`a flipped bit in the data of ${name} chunk: that block is refused, the others are served`, async () => {
    const world = await stored(1, isSealed)
    world.machine('cs1').disk.flipBit(data, 50_000, 3)
    await world.run(async () => {
      const opened = await openStore(world.machine('cs1').io)
      const codes = await readEach(opened, LENGTH)
      const bad = Math.floor(50_000 / 4096)
      codes.forEach((code, block) => {
        assert.is(code, block === bad ? 'CORRUPT_REPLICA' : 'OK')
      })
      const replica = opened.store.get(handleOf(1))
      assert.is(replica.state, 'corrupt')
      assert.is(replica.length, LENGTH, 'a bad block never shortens a replica')
      assert.is(opened.changes.at(-1), replica, 'the master is told')
    })
  })

  test(`the data of ${name} chunk cut short: what is gone is refused, never zeros`, async () => {
    const world = await stored(2, isSealed)
    const { disk } = world.machine('cs1')
    disk.writeFile(data, disk.readFile(data).subarray(0, 70_000))
    await world.run(async () => {
      const opened = await openStore(world.machine('cs1').io)
      assert.is(opened.store.get(handleOf(1)).state, 'corrupt')
      const codes = await readEach(opened, LENGTH)
      codes.forEach((code, block) => {
        assert.is(code, (block + 1) * 4096 > 70_000 ? 'CORRUPT_REPLICA' : 'OK')
      })
    })
  })

  test(`the data of ${name} chunk gone: every read is refused`, async () => {
    const world = await stored(3, isSealed)
    world.machine('cs1').disk.removeFile(data)
    await world.run(async () => {
      const opened = await openStore(world.machine('cs1').io)
      assert.equal(new Set(await readEach(opened, LENGTH)), new Set(['CORRUPT_REPLICA']))
    })
  })

  test(`the meta file of ${name} chunk gone: the data goes to the quarantine, nothing is served`, async () => {
    const world = await stored(4, isSealed)
    const { disk } = world.machine('cs1')
    const bytes = disk.readFile(data)
    disk.removeFile(meta)
    await world.run(async () => {
      const opened = await openStore(world.machine('cs1').io)
      assert.equal(new Set(await readEach(opened, LENGTH)), new Set(['NO_SUCH_REPLICA']))
      assert.is(Buffer.compare(disk.readFile('/d0/quarantine/0000e000000001.data'), bytes), 0)
    })
  })

  test(`any bit of the meta file of ${name} chunk flipped: right bytes or an error`, async () => {
    for (let seed = 0; seed < 25; seed++) {
      const world = await stored(100 + seed, isSealed)
      const { disk } = world.machine('cs1')
      disk.flipBit(meta, world.random.below(disk.readFile(meta).length), world.random.below(8))
      await world.run(async () => {
        const opened = await openStore(world.machine('cs1').io)
        for (const code of await readEach(opened, LENGTH)) {
          assert.ok(['OK', 'CORRUPT_REPLICA', 'NO_SUCH_REPLICA', 'BEYOND_COMMITTED'].includes(code), code)
        }
      })
    }
  })
}

test("a chunk of another cluster, under another chunk's name, or nameless, goes to the quarantine", async () => {
  const world = await stored(5, true)
  const { disk } = world.machine('cs1')
  disk.writeFile('/d0/chunks/02/0000e000000002.data', disk.readFile(data))
  disk.writeFile('/d0/chunks/02/0000e000000002.meta', disk.readFile(meta))
  disk.writeFile('/d0/chunks/03/0000e000000002.meta', disk.readFile(meta))
  disk.writeFile('/d0/chunks/03/notes.txt', Buffer.from('x'))
  const other = `${CLUSTER.slice(0, 31)}0`
  const foreign = disk.readFile(meta)
  foreign.write(other, 16, 16, 'hex')
  foreign.writeUInt32LE(crc32(foreign.subarray(0, 4092)), 4092)
  foreign.writeUInt32LE(4, 32) // handle …04
  foreign.writeUInt32LE(crc32(foreign.subarray(0, 4092)), 4092)
  disk.writeFile('/d0/chunks/04/0000e000000004.meta', foreign)
  await world.run(async () => {
    const { store } = await openStore(world.machine('cs1').io)
    assert.equal(
      [...store.replicas].map((replica) => replica.handle),
      [handleOf(1)],
    )
  })
  const names = disk.paths().filter((path) => path.startsWith('/d0/quarantine/'))
  assert.equal(names, [
    '/d0/quarantine/0000e000000002.data',
    '/d0/quarantine/0000e000000002.meta',
    '/d0/quarantine/0000e000000002.meta.1',
    '/d0/quarantine/0000e000000004.meta',
    '/d0/quarantine/notes.txt',
  ])
})

test('verify names the bad block, and changes no byte', async () => {
  const world = await stored(6, true)
  const { disk } = world.machine('cs1')
  disk.flipBit(data, 9000, 0)
  const before = disk.saveFiles()
  await world.run(async () => {
    const walk = verifyStore(world.machine('cs1').io.disk, '/d0')
    const row = (await walk.next()).value
    assert.ok(row && 'badBlocks' in row)
    assert.equal(row.badBlocks, [8192])
    assert.is(row.state, 'damaged')
    const end = await walk.next()
    assert.ok(end.done)
    const { isSound, chunks, bytes, damaged, strays } = end.value
    assert.equal(
      { isSound, chunks, bytes, damaged, strays },
      { isSound: false, chunks: 1, bytes: LENGTH, damaged: 1, strays: 0 },
    )
  })
  const after = disk.saveFiles()
  assert.equal([...after.keys()], [...before.keys()])
  for (const [path, bytes] of before) assert.is(Buffer.compare(after.get(path)!, bytes), 0, path)
})

test('a full disk refuses the piece, keeps what was proven, and takes no new chunks', async () => {
  const world = new SimWorld({ seed: 7, disk: { capacityBytes: 300_000 } })
  await world.run(async () => {
    const opened = await openStore(world.machine('cs1').io)
    const { store } = opened
    const replica = store.create(allocationOf(store, handleOf(1), { chunkBytes: 200_000 }))
    await pushAndCommit(replica, 1, 100_000, true)
    const disk = world.machine('cs1').disk
    disk.options.capacityBytes = disk.usedBytes() + 5000
    assert.is(await codeOf(pushAndCommit(replica, 1, 50_000, true)), 'DISK_FULL')
    assert.is(replica.directory.state, 'full')
    assert.equal(new Set(await readEach(opened, 100_000)), new Set(['OK']))
    assert.throws(() => store.create(allocationOf(store, handleOf(2))), /is full/)
    const order = {
      handle: handleOf(1),
      version: 1,
      length: 100_000,
      digest: crc32(bytesAt(1, 0, 100_000)),
      indexDigest: 0,
    }
    assert.is((await seal(store, order)).state, 'sealed')
  })
})

test('a failed sync fails its directory alone, and is not tried again', async () => {
  const world = new SimWorld(8)
  await world.run(async () => {
    const machine = world.machine('cs1')
    const { store } = await openStore(machine.io, ['/d0', '/d1'])
    const [first, second] = store.directories
    const on = (directory = first!) => [
      { ...allocationOf(store, handleOf(1)).members[0]!, directory: directory.id, life: directory.life },
    ]
    const replica = store.create(allocationOf(store, handleOf(1), { members: on() }))
    const other = store.create(allocationOf(store, handleOf(2), { members: on(second) }))
    machine.disk.failSync(/^\/d0\/.*\.data$/)
    assert.is(await codeOf(pushAndCommit(replica, 1, 5000, true)), 'FSYNC_FAILED')
    assert.is(first!.state, 'failed')
    assert.is(replica.state, 'gone')
    const { syncCount } = machine.disk
    assert.is(await codeOf(Promise.resolve().then(() => pushAndCommit(replica, 1, 5000, true))), 'FSYNC_FAILED')
    assert.is(machine.disk.syncCount, syncCount)
    assert.is(store.find(handleOf(1)), undefined)
    await pushAndCommit(other, 1, 5000, true)
    assert.is(other.state, 'open')
    assert.throws(() => store.create(allocationOf(store, handleOf(3), { members: on() })), /has failed/)
  })
})

test.run()
