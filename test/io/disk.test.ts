// The contract of src/io/disk.ts, checked on the real disk and on simulated ones.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { type PortsUnderTest, worldsUnderTest } from './ports.ts'

for (const world of worldsUnderTest) {
  const check = (claim: string, body: (ports: PortsUnderTest) => Promise<void>) =>
    test(`${world.name}: ${claim}`, () => world.run(body))

  check('what is written is read back, at any place and in any number of slices', async ({ io, directory }) => {
    const file = await io.disk.open(`${directory}/a`, 'create')
    const slices = Array.from({ length: 3000 }, (_, index) => Buffer.alloc(index % 7, index))
    const whole = Buffer.concat(slices)
    await file.write(slices, 10)
    await file.write([Buffer.from('head')], 0)
    assert.is(await file.size(), 10 + whole.length)
    const into = Buffer.alloc(whole.length + 100, 0xee)
    assert.is(await file.read(into, 10), whole.length)
    assert.is(Buffer.compare(into.subarray(0, whole.length), whole), 0)
    assert.is(into[whole.length], 0xee)
    const head = Buffer.alloc(10)
    assert.is(await file.read(head, 0), 10)
    assert.is(head.toString('latin1'), 'head\0\0\0\0\0\0')
    assert.is(await file.read(head, 10 + whole.length), 0)
    await file.write([], 0)
    await file.sync()
    await file.close()
  })

  check('a large write is whole', async ({ io, directory }) => {
    const file = await io.disk.open(`${directory}/large`, 'create')
    const piece = io.entropy.bytes(MiB)
    await file.write([piece.subarray(0, 5), piece.subarray(5)], 3)
    const into = Buffer.alloc(MiB)
    assert.is(await file.read(into, 3), MiB)
    assert.is(Buffer.compare(into, piece), 0)
    await file.close()
  })

  check('truncate cuts, and extends with zeros', async ({ io, directory }) => {
    const file = await io.disk.open(`${directory}/t`, 'create')
    await file.write([Buffer.alloc(100, 1)], 0)
    await file.truncate(10)
    assert.is(await file.size(), 10)
    await file.truncate(20)
    const into = Buffer.alloc(20)
    assert.is(await file.read(into, 0), 20)
    assert.is(into.toString('hex'), `${'01'.repeat(10)}${'00'.repeat(10)}`)
    await file.allocate(64 * KiB)
    assert.is(await file.read(into, 0), 20)
    await file.close()
  })

  check('open knows missing, existing and read-only', async ({ io, directory }) => {
    const path = `${directory}/o`
    await rejects(() => io.disk.open(path, 'read'), 'NOT_FOUND')
    await rejects(() => io.disk.open(path, 'write'), 'NOT_FOUND')
    await (await io.disk.open(path, 'create')).close()
    await rejects(() => io.disk.open(path, 'create'), 'ALREADY_EXISTS')
    await rejects(() => io.disk.open(`${path}/below`, 'create'), 'NOT_FOUND')
    await rejects(() => io.disk.open(`${directory}/none/below`, 'create'), 'NOT_FOUND')
    const file = await io.disk.open(path, 'write')
    await file.write([Buffer.from('x')], 0)
    await file.close()
    const reader = await io.disk.open(path, 'read')
    assert.is(await reader.size(), 1)
    await reader.close()
  })

  check('list is sorted and tells files from directories', async ({ io, directory }) => {
    for (const name of ['b', 'a', 'B', 'é', '10', '9']) {
      await (await io.disk.open(`${directory}/${name}`, 'create')).close()
    }
    await io.disk.makeDirectory(`${directory}/d/deep`)
    await io.disk.makeDirectory(`${directory}/d/deep`)
    assert.equal(
      (await io.disk.list(directory)).map(({ name, kind }) => `${name} ${kind}`),
      ['10 file', '9 file', 'B file', 'a file', 'b file', 'd directory', 'é file'],
    )
    await rejects(() => io.disk.list(`${directory}/none`), 'NOT_FOUND')
    await rejects(() => io.disk.list(`${directory}/a`), 'NOT_FOUND')
    await rejects(() => io.disk.makeDirectory(`${directory}/a/x`), 'ALREADY_EXISTS')
    await rejects(() => io.disk.makeDirectory(`${directory}/a`), 'ALREADY_EXISTS')
  })

  check('stat names the object, not the path', async ({ io, directory }) => {
    assert.is(await io.disk.stat(`${directory}/s`), undefined)
    const file = await io.disk.open(`${directory}/s`, 'create')
    await file.write([Buffer.alloc(77)], 0)
    await file.close()
    const before = await io.disk.stat(`${directory}/s`)
    await io.disk.rename(`${directory}/s`, `${directory}/s2`)
    const after = await io.disk.stat(`${directory}/s2`)
    assert.is(before?.bytes, 77)
    assert.is(before?.kind, 'file')
    assert.is(before?.inode, after?.inode)
    assert.ok(Math.abs((after?.mtimeMs ?? 0) - io.clock.wallMs()) < 60_000)
    assert.is((await io.disk.stat(directory))?.kind, 'directory')
  })

  check('rename replaces a file, and one that is open stays readable', async ({ io, directory }) => {
    const write = async (name: string, text: string) => {
      const file = await io.disk.open(`${directory}/${name}`, 'create')
      await file.write([Buffer.from(text)], 0)
      return file
    }
    const old = await write('target', 'old')
    const fresh = await write('target.new', 'new')
    await io.disk.rename(`${directory}/target.new`, `${directory}/target`)
    await io.disk.syncDirectory(directory)
    const into = Buffer.alloc(3)
    await old.read(into, 0)
    assert.is(into.toString(), 'old')
    const target = await io.disk.open(`${directory}/target`, 'read')
    await target.read(into, 0)
    assert.is(into.toString(), 'new')
    for (const file of [old, fresh, target]) await file.close()
    assert.is((await io.disk.list(directory)).length, 1)
    await rejects(() => io.disk.rename(`${directory}/none`, `${directory}/x`), 'NOT_FOUND')
  })

  check('remove takes files, removeDirectory empty directories', async ({ io, directory }) => {
    await rejects(() => io.disk.remove(`${directory}/r`), 'NOT_FOUND')
    await io.disk.makeDirectory(`${directory}/d`)
    await (await io.disk.open(`${directory}/d/f`, 'create')).close()
    await rejects(() => io.disk.removeDirectory(`${directory}/d`), 'NOT_EMPTY')
    await io.disk.remove(`${directory}/d/f`)
    await io.disk.removeDirectory(`${directory}/d`)
    assert.equal(await io.disk.list(directory), [])
    await rejects(() => io.disk.syncDirectory(`${directory}/d`), 'FSYNC_FAILED')
  })

  check('a lock has one holder, in this process and in others', async ({ io, other, directory }) => {
    const path = `${directory}/lock`
    const lock = await io.disk.lock(path)
    await rejects(() => io.disk.lock(path), 'LOCKED')
    await rejects(() => other.disk.lock(path), 'LOCKED')
    assert.is((await io.disk.stat(path))?.bytes, 0)
    await lock.release()
    const second = await other.disk.lock(path)
    await rejects(() => io.disk.lock(path), 'LOCKED')
    await second.release()
  })

  check('space is positive and no more than the disk', async ({ io, directory }) => {
    const { freeBytes, totalBytes } = await io.disk.space(directory)
    assert.ok(freeBytes > 0 && freeBytes <= totalBytes)
  })
}

async function rejects(act: () => Promise<unknown>, code: Parameters<typeof isDfsError>[1]): Promise<void> {
  try {
    await act()
  } catch (error) {
    assert.ok(isDfsError(error, code), `${error}, expected ${code}`)
    return
  }
  assert.unreachable(`expected ${code}`)
}

test.run()
