// What only the real ports have: locks between processes, timers of real processes, errors of the system.

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { withoutFirst } from '../../src/io/node/disk.ts'
import { nodeIo } from '../../src/io/node/io.ts'
import { lockFile } from '../../src/io/node/lock.ts'

const test = suite<{ directory: string }>('node')
const io = nodeIo()
const root = fileURLToPath(new URL('../..', import.meta.url))

test.before.each((context) => {
  context.directory = mkdtempSync(join(tmpdir(), 'dfs-node-'))
})
test.after.each(({ directory }) => rmSync(directory, { recursive: true }))

/** Runs a few lines as a module of a process of its own. */
function script(lines: string) {
  return execa(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', lines], { cwd: root, reject: false })
}

test('a lock is held against another process, and kill -9 frees it', async ({ directory }) => {
  const path = join(directory, 'lock')
  const holder = script(`
    const { nodeIo } = await import('./src/io/node/io.ts')
    await nodeIo().disk.lock(${JSON.stringify(path)})
    console.log('held')
    setInterval(() => {}, 1000)
  `)
  await new Promise((resolve) => holder.stdout?.once('data', resolve))
  await rejects(() => io.disk.lock(path), 'LOCKED')
  holder.kill('SIGKILL')
  await holder
  const lock = await io.disk.lock(path)
  await lock.release()
  await lock.release()
})

test('without flock(1) a pid file keeps others out, and a dead holder’s is taken over', async ({ directory }) => {
  const path = join(directory, 'lock')
  const lock = await lockFile(path, 'no-such-command')
  await rejects(() => lockFile(path, 'no-such-command'), 'LOCKED')
  await lock.release()
  assert.equal(readdirSync(directory), ['lock'])

  writeFileSync(`${path}.pid`, `${process.ppid}\n`)
  await rejects(() => lockFile(path, 'no-such-command'), 'LOCKED')
  const dead = await script('')
  assert.is(dead.exitCode, 0)
  writeFileSync(`${path}.pid`, `${2 ** 22 + 1}\n`)
  await (await lockFile(path, 'no-such-command')).release()
  writeFileSync(`${path}.pid`, `${process.pid}\n`)
  await (await lockFile(path, 'no-such-command')).release()
  assert.equal(readdirSync(directory), ['lock'])
})

test('a timer keeps no process alive, a sleep does', async () => {
  const started = performance.now()
  const { stdout } = await script(`
    const { nodeClock } = await import('./src/io/node/clock.ts')
    nodeClock.after(60_000, () => console.log('timer'))
    await nodeClock.sleep(50)
    console.log('slept')
  `)
  assert.is(stdout, 'slept')
  assert.ok(performance.now() - started < 30_000)
})

test('timers longer than Node’s own do not fire at once', async () => {
  let hasFired = false
  const timer = io.clock.after(2 ** 33, () => {
    hasFired = true
  })
  await io.clock.sleep(20)
  timer.cancel()
  assert.not(hasFired)
})

test('a sleep ends with ABORTED, a timeout signal with TIMEOUT', async () => {
  const keepAlive = setTimeout(() => {}, 10_000)
  const error: unknown = await io.clock.sleep(60_000, io.clock.timeoutSignal(10)).catch((reason: unknown) => reason)
  clearTimeout(keepAlive)
  assert.ok(isDfsError(error, 'ABORTED'))
  assert.ok(isDfsError(error.cause, 'TIMEOUT'))
  const aborted: unknown = await io.clock.sleep(1, AbortSignal.abort()).catch((reason: unknown) => reason)
  assert.ok(isDfsError(aborted, 'ABORTED'))
})

test('chance stays in its range and covers it', () => {
  const seen = new Set<number>()
  for (let index = 0; index < 2000; index++) seen.add(io.entropy.below(7))
  assert.equal([...seen].sort(), [0, 1, 2, 3, 4, 5, 6])
  let largest = 0
  for (let index = 0; index < 2000; index++) largest = Math.max(largest, io.entropy.below(Number.MAX_SAFE_INTEGER))
  assert.ok(largest > 2 ** 52 && largest < Number.MAX_SAFE_INTEGER)
  assert.is(io.entropy.bytes(16).length, 16)
})

test('a full disk is DISK_FULL, and no other code', async () => {
  const file = await io.disk.open('/dev/full', 'write').catch(() => undefined)
  // A device of Linux that always says ENOSPC.
  if (file === undefined) return
  await rejects(() => file.write([Buffer.alloc(10), Buffer.alloc(10)], 0), 'DISK_FULL')
  await file.close()
})

test('after a short write exactly the bytes that are missing remain', () => {
  const slices = [Buffer.from('abc'), Buffer.from('d'), Buffer.from('efgh')]
  for (let count = 0; count <= 8; count++) {
    assert.is(Buffer.concat(withoutFirst(slices, count)).toString(), 'abcdefgh'.slice(count))
  }
})

test('connecting to where nothing answers ends with TIMEOUT', async () => {
  // 192.0.2.0/24 is for documents: nothing is there, though some networks refuse at once.
  const error: unknown = await io.network
    .connect({ host: '192.0.2.1', port: 9 }, 100)
    .catch((reason: unknown) => reason)
  assert.ok(isDfsError(error, 'TIMEOUT') || isDfsError(error, 'UNAVAILABLE'), String(error))
})

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
