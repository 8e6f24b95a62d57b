// What a master refuses, what it does when its disk fails or fills, and what it says.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import type { SessionId } from '../../src/base/ids.ts'
import { MiB } from '../../src/base/units.ts'
import { errorFromBody } from '../../src/wire/error-body.ts'
import { codeOf, RawClient } from '../sim/raw-client.ts'
import { SimMaster } from '../sim/sim-master.ts'
import { SimWorld } from '../sim/world.ts'

const inode = { mode: 0o755, owner: 'ada', group: 'staff', goal: 0 }

function world(seed: number, run: (world: SimWorld, master: SimMaster, client: RawClient) => Promise<void>) {
  const simulated = new SimWorld(seed)
  const master = new SimMaster(simulated)
  return simulated.run(() => run(simulated, master, new RawClient(simulated.machine('client').io, master.address)))
}

function mkdir(client: RawClient, path: string) {
  return client.change('makeDirectory', { path, parents: false, inode })
}

test('a directory made before a restart is there after it, with its attributes', () =>
  world(1, async (_world, master, client) => {
    await master.start()
    await mkdir(client, '/a')
    const clusterId = master.node?.clusterId
    await master.node?.close()
    await master.restart()
    assert.is(master.node?.clusterId, clusterId)
    const { isDirectory, owner, group, mode } = await client.until(() =>
      client.ask('stat', { withChunks: false, path: '/a' }),
    )
    assert.equal({ isDirectory, owner, group, mode }, { isDirectory: true, owner: 'ada', group: 'staff', mode: 0o755 })
  }))

test('two masters on one data directory: the second is refused', () =>
  world(2, async (_world, master) => {
    await master.start()
    const second = new SimMaster(_world, { listen: { host: 'master', port: 7500 } })
    assert.is(await codeOf(second.start()), 'LOCKED')
  }))

test('a directory with something else in it is refused, and nothing is changed', () =>
  world(3, async ({ machine }, master) => {
    const { disk } = master.machine
    disk.writeFile('/data/photos.tar', Buffer.from('precious'))
    assert.is(await codeOf(master.start()), 'WRONG_DISK')
    assert.is(disk.readFile('/data/photos.tar')?.toString(), 'precious')
    assert.equal(
      disk
        .paths()
        .filter((path) => path.startsWith('/data'))
        .sort(),
      ['/data/photos.tar'],
    )
    assert.ok(machine)
  }))

test('a directory that holds only lost+found counts as empty', () =>
  world(4, async (_world, master) => {
    await master.machine.io.disk.makeDirectory('/data/lost+found')
    await master.start()
  }))

test('a master whose log is gone refuses to begin anew', () =>
  world(5, async (_world, master, client) => {
    await master.start()
    await mkdir(client, '/a')
    await master.node?.close()
    const { disk } = master.machine
    for (const path of disk.paths()) if (path.startsWith('/data/log/')) disk.removeFile(path)
    assert.is(await codeOf(master.restart()), 'LOG_DAMAGED')
  }))

test('a damaged identity is refused', () =>
  world(6, async (_world, master) => {
    await master.start()
    await master.node?.close()
    master.machine.disk.flipBit('/data/identity', 20, 1)
    assert.is(await codeOf(master.restart()), 'WRONG_DISK')
  }))

// ATC 2020: after a failed fsync the page cache shows what the disk doesn't have.
test('a failed sync of the log ends the process: nothing more is acknowledged, and a restart has all that was', () =>
  world(7, async (simulated, master, client) => {
    const node = await master.start()
    for (let i = 0; i < 20; i++) await mkdir(client, `/before-${i}`)
    master.machine.disk.failSync(/\/data\/log\//, 1)
    const lost = client.ask('makeDirectory', {
      by: { session: client.session, request: 100, floor: 20 },
      path: '/lost',
      parents: false,
      inode,
    })
    assert.is(await codeOf(lost), 'UNAVAILABLE', 'whoever asked may ask a restarted master again')
    assert.is((await node.failed).code, 'FSYNC_FAILED')
    const after = client.ask('makeDirectory', {
      by: { session: client.session, request: 101, floor: 20 },
      path: '/after',
      parents: false,
      inode,
    })
    assert.is(await codeOf(after), 'UNAVAILABLE', 'no second try')
    master.crash(simulated.random.chance(0.5))
    await master.restart()
    const { entries } = await client.until(() => client.ask('list', { path: '/', after: undefined, limit: 100 }))
    const names = new Set(entries.map(({ name }) => name))
    for (let i = 0; i < 20; i++) assert.ok(names.has(`before-${i}`))
    assert.not.ok(names.has('after'))
  }))

test('a full log disk refuses changes, serves reads, and takes changes again when there is room', () =>
  world(8, async (simulated, master, client) => {
    await master.start()
    await mkdir(client, '/a')
    const { disk } = master.machine
    disk.options.capacityBytes = disk.usedBytes()
    const refused = await codeOf(
      client.ask('makeDirectory', {
        by: { session: client.session, request: 50, floor: 1 },
        path: '/b',
        parents: false,
        inode,
      }),
    )
    assert.ok(refused === 'DISK_FULL' || refused === 'READ_ONLY', `${refused}`)
    assert.ok((await client.ask('stat', { withChunks: false, path: '/a' })).isDirectory)
    await simulated.sleep(3000)
    assert.is(master.node?.status().isReadOnly, true)
    disk.options.capacityBytes = disk.usedBytes() + 1024 * MiB
    await simulated.sleep(3000)
    await mkdir(client, '/c')
    assert.is(
      await codeOf(client.ask('stat', { withChunks: false, path: '/b' })),
      'NOT_FOUND',
      'what was refused did not happen',
    )
    master.crash(true)
    await master.restart()
    assert.ok((await client.until(() => client.ask('stat', { withChunks: false, path: '/c' }))).isDirectory)
  }))

test('a request sent again has the first answer, also after a restart', () =>
  world(9, async (_world, master, client) => {
    await master.start()
    const by = { session: client.session, request: 1, floor: 0 }
    const first = await client.ask('makeDirectory', { by, path: '/once', parents: false, inode })
    assert.equal(await client.ask('makeDirectory', { by, path: '/once', parents: false, inode }), first)
    master.crash(true)
    await master.restart()
    assert.equal(
      await client.until(() => client.ask('makeDirectory', { by, path: '/once', parents: false, inode })),
      first,
    )
  }))

test('several files in one request: a verdict each, the same ones when it is sent again, also after a restart', () =>
  world(14, async (_world, master, client) => {
    await master.start()
    const file = (request: number, path: string) => {
      return { request, publish: { path, overwrite: false }, inode, extent: undefined, mtimeMs: 0 }
    }
    const request = {
      session: client.session,
      floor: 0,
      files: [file(1, '/a'), file(2, '/b'), file(3, '/a'), file(4, '/no/c'), file(5, '/c')],
    }
    const { verdicts } = await client.ask('putFiles', request)
    assert.equal(
      verdicts.map((verdict) => verdict.inode > 0),
      [true, true, false, false, true],
    )
    const refusals = verdicts.flatMap(({ refusal }) => (Array.isArray(refusal) ? errorFromBody(refusal) : []))
    assert.equal(
      refusals.map(({ code }) => code),
      ['ALREADY_EXISTS', 'NOT_FOUND'],
    )
    assert.equal((await client.ask('putFiles', request)).verdicts, verdicts)
    master.crash(true)
    await master.restart()
    // A part of it, and one number by itself: it is the numbers that count.
    const again = await client.until(() => client.ask('putFiles', { ...request, files: request.files.slice(1, 4) }))
    assert.equal(again.verdicts, verdicts.slice(1, 4))
    const by = { session: client.session, request: 5, floor: 0 }
    const one = { by, publish: { path: '/c', overwrite: false }, inode, extents: [], mtimeMs: 0 }
    assert.is((await client.ask('putFile', one)).inode, verdicts[4]?.inode)
    const { entries } = await client.ask('list', { path: '/', after: undefined, limit: 100 })
    assert.equal(
      entries.map(({ name }) => name),
      ['a', 'b', 'c'],
    )
  }))

test('a checkpoint is asked for, written, and the next start begins with it', () =>
  world(10, async (_world, master, client) => {
    await master.start()
    for (let i = 0; i < 50; i++) await mkdir(client, `/d${i}`)
    const { logIndex } = await client.ask('checkpoint', {})
    assert.ok(logIndex >= 51)
    await mkdir(client, '/later')
    master.crash(true)
    await master.restart()
    const recovered = master.machine.log.lines.filter((line) => line.includes('event=recovered')).at(-1)
    assert.match(recovered ?? '', `checkpointIndex=${logIndex}`)
    const { entries } = await client.until(() => client.ask('list', { path: '/', after: undefined, limit: 100 }))
    assert.is(entries.length, 51)
  }))

test('damaged checkpoints are passed over: the one before and the log serve', () =>
  world(11, async (simulated, master, client) => {
    await master.start()
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 10; i++) await mkdir(client, `/r${round}-${i}`)
      await client.ask('checkpoint', {})
    }
    await mkdir(client, '/last')
    await master.node?.close()
    const { disk } = master.machine
    const checkpoints = disk.paths().filter((path) => path.endsWith('.dfs'))
    assert.is(checkpoints.length, 2, 'the two newest are kept')
    for (const kind of ['flip', 'half', 'gone', 'both'] as const) {
      const saved = disk.saveFiles()
      const newest = checkpoints.sort().at(-1)!
      const bytes = disk.readFile(newest)!
      if (kind === 'flip') disk.flipBit(newest, simulated.random.below(bytes.length), 3)
      if (kind === 'half') disk.writeFile(newest, bytes.subarray(0, bytes.length >> 1))
      if (kind === 'gone' || kind === 'both') disk.removeFile(newest)
      if (kind === 'both') disk.flipBit(checkpoints[0]!, 500, 0)
      await master.restart()
      const { entries } = await client.until(() => client.ask('list', { path: '/', after: undefined, limit: 100 }))
      assert.is(entries.length, 31, kind)
      await master.node?.close()
      disk.restoreFiles(saved)
    }
  }))

test('pages of a listing join up in the order of the names', () =>
  world(12, async (_world, master, client) => {
    await master.start()
    const names = ['b', 'a', 'ä', 'aa', 'Z', '~', '0']
    for (const name of names) await mkdir(client, `/${name}`)
    const found: string[] = []
    for (let after: string | undefined, more = true; more; ) {
      const page = await client.ask('list', { path: '/', after, limit: 2 })
      found.push(...page.entries.map(({ name }) => name))
      after = page.entries.at(-1)?.name
      more = page.more
    }
    assert.equal(
      found,
      [...names].sort((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y))),
    )
  }))

test('a writer without chunkservers is told how many are missing and why', () =>
  world(13, async (_world, master, client) => {
    await master.start()
    const request = { path: '/f', mode: 'create' as const, inode, withChunk: true, avoid: [] }
    try {
      await client.change('openForWrite', request)
      assert.unreachable()
    } catch (error) {
      assert.ok(isDfsError(error, 'NO_SERVERS'))
      assert.match(error.message, 'needs 2 chunkservers, 0 can take it; none has joined')
    }
  }))

test('sessions that nobody opened by a change take no memory, however many are named', () =>
  world(14, async (simulated, master, client) => {
    await master.start()
    await mkdir(client, '/a')
    for (let count = 0; count < 500; count++) {
      await client.ask('renewSession', { session: (1 + simulated.random.below(2 ** 47)) as SessionId })
    }
    const { document } = await client.ask('top', {})
    assert.ok((document as { sessions: number }).sessions <= 1)
  }))

test.run()
