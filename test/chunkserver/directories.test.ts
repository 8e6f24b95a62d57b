import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ClusterId, ServerId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import { checkDirectories, openDirectories } from '../../src/chunkserver/open-directories.ts'
import type { Io } from '../../src/io/io.ts'
import { SimWorld } from '../sim/world.ts'
import { codeOf } from './cluster-fixture.ts'
import { CLUSTER, openStore } from './store-fixture.ts'

const OTHER = 'ffffffffffffffffffffffffffffffff' as ClusterId

/** Opens and closes the directories; rejects when they are refused. */
async function open(io: Io, paths: readonly string[], adoptEmpty = false, cluster = CLUSTER): Promise<void> {
  const checked = await checkDirectories(io, { paths, adoptEmpty, logger: silentLogger })
  const directories = await openDirectories(io, checked, checked.clusterId ?? cluster, {
    serverId: 0 as ServerId | 0,
    reserveBytes: 0,
    logger: silentLogger,
    onFailed: () => {},
  })
  for (const directory of directories) await directory.close()
}

function onMachine(seed: number, main: (io: Io, world: SimWorld) => Promise<void>): Promise<void> {
  const world = new SimWorld(seed)
  return world.run(() => main(world.machine('cs1').io, world))
}

test('two servers on one data directory: the second is refused', () =>
  onMachine(1, async (io) => {
    const first = await openStore(io)
    assert.is(await codeOf(openStore(io)), 'LOCKED')
    await first.close()
    await open(io, ['/d0'])
  }))

test('a directory of another cluster, or of another server, is refused and unchanged', () =>
  onMachine(2, async (io, world) => {
    const { disk } = world.machine('cs1')
    await open(io, ['/a'])
    await open(io, ['/b'], false, OTHER)
    await open(io, ['/c'])
    const before = disk.saveFiles()
    assert.is(await codeOf(open(io, ['/a', '/b'])), 'WRONG_DISK')
    assert.is(await codeOf(open(io, ['/a', '/c'])), 'WRONG_DISK')
    assert.is(await codeOf(open(io, ['/a', '/a'])), 'INVALID_ARGUMENT')
    for (const [path, bytes] of before) assert.is(Buffer.compare(disk.readFile(path), bytes), 0, path)
    await open(io, ['/a'])
  }))

test('an empty directory where a known one was is refused until --adopt-empty', () =>
  onMachine(3, async (io) => {
    await open(io, ['/a', '/b'])
    assert.is(await codeOf(open(io, ['/a', '/empty'])), 'WRONG_DISK')
    await open(io, ['/a', '/b'])
    await open(io, ['/a'])
    await open(io, ['/a', '/empty'], true)
    await open(io, ['/a', '/empty'])
    await open(io, ['/a', '/empty', '/third'], false)
  }))

test('a directory that holds foreign files is refused, one with lost+found only is empty', () =>
  onMachine(4, async (io, world) => {
    const { disk } = world.machine('cs1')
    disk.writeFile('/photos/cat.jpg', Buffer.from('miau'))
    assert.is(await codeOf(open(io, ['/photos'])), 'WRONG_DISK')
    assert.is(disk.readFile('/photos/cat.jpg').toString(), 'miau')
    await io.disk.makeDirectory('/mounted/lost+found')
    await open(io, ['/mounted'])
  }))

test('an identity that can not be read is refused, never replaced', () =>
  onMachine(5, async (io, world) => {
    const { disk } = world.machine('cs1')
    await open(io, ['/a'])
    disk.flipBit('/a/identity', 33, 1)
    const before = disk.readFile('/a/identity')
    assert.is(await codeOf(open(io, ['/a'])), 'WRONG_DISK')
    assert.is(Buffer.compare(disk.readFile('/a/identity'), before), 0)
  }))

test('a copy of a directory beside the original is refused', () =>
  onMachine(6, async (io, world) => {
    const { disk } = world.machine('cs1')
    await open(io, ['/a'])
    disk.writeFile('/b/identity', disk.readFile('/a/identity'))
    assert.is(await codeOf(open(io, ['/a', '/b'])), 'WRONG_DISK')
  }))

test('power loss at any moment of the first start leaves directories that start', async () => {
  for (let seed = 1; seed <= 30; seed++) {
    const world = new SimWorld(seed)
    const machine = world.machine('cs1')
    await world.run(async () => {
      let isOver = false
      const opening = open(machine.io, ['/a', '/b']).then(() => {
        isOver = true
      })
      world.afterEvents(10 + world.random.below(1200), () => {
        if (!isOver) machine.crash({ power: true })
        isOver = true
      })
      await Promise.race([opening, world.until('the crash', () => isOver, 1e6, 5)])
    })
    machine.crash({ power: true })
    const io = machine.restart()
    await world.run(() => open(io, ['/a', '/b']))
  }
})

test.run()
