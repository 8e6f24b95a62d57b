// What a walk of many files rests on: a queue that holds the walker back, and buffers that are used again.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { LocalPace } from '../../../src/cli/verbs/local-pace.ts'
import { BufferShelf, readFully, readSmallFile } from '../../../src/cli/verbs/local-source.ts'
import { WorkQueue } from '../../../src/cli/verbs/transfer.ts'

/** Lets everything run that doesn't wait for a gate. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve))

test('a walker waits while 1,024 items wait, and goes on with each that begins', async () => {
  const gates: (() => void)[] = []
  const queue = new WorkQueue<number>(2, () => new Promise<void>((resolve) => gates.push(resolve)))
  let added = 0
  const walkers = [0, 1, 2].map(async () => {
    for (let index = 0; index < 500; index++) {
      await queue.add(index)
      added++
    }
  })
  await settle()
  assert.is(gates.length, 2)
  assert.is(added, 1026)
  gates.shift()!()
  await settle()
  assert.is(added, 1027)
  let done = 1
  while (done < 1500) {
    for (const open of gates.splice(0)) {
      open()
      done++
    }
    await settle()
  }
  await Promise.all(walkers)
  await queue.done()
  assert.is(added, 1500)
})

test('an error of the work ends the queue, also for walkers who wait', async () => {
  const gates: ((error?: Error) => void)[] = []
  const queue = new WorkQueue<number>(1, () => {
    return new Promise<void>((resolve, reject) => gates.push((error) => (error ? reject(error) : resolve())))
  })
  const walk = async () => {
    for (let index = 0; index < 2000; index++) await queue.add(index)
  }
  const ends = [walk(), walk()].map((walker) =>
    walker.then(
      () => 'added',
      (error: Error) => error.message,
    ),
  )
  await settle()
  gates[0]!(new Error('no cluster'))
  assert.equal(await Promise.all(ends), ['no cluster', 'no cluster'])
  const end = await queue.done().then(
    () => 'done',
    (error: Error) => error.message,
  )
  assert.is(end, 'no cluster')
  assert.is(gates.length, 1)
})

test('buffers are large enough and used again', () => {
  const shelf = new BufferShelf(256 * 1024)
  for (const bytes of [1, 4095, 4096, 4097, 65_536, 65_537, 262_143, 262_144]) {
    const buffer = shelf.take(bytes)
    assert.ok(buffer.length >= bytes, `${buffer.length} for ${bytes}`)
    assert.ok(buffer.length <= Math.max(4096, 2 * bytes), `${buffer.length} for ${bytes}`)
    assert.is.not(shelf.take(bytes), buffer)
    shelf.give(buffer)
    assert.is(shelf.take(bytes), buffer)
  }
})

test('what a file has less than its size said is not read', async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'dfs-read-'))
  const file = path.join(directory, 'file')
  fs.writeFileSync(file, 'twelve bytes')
  const descriptor = fs.openSync(file, 'r')
  assert.is((await readFully(descriptor, Buffer.alloc(5))).toString(), 'twelv')
  assert.is((await readFully(descriptor, Buffer.alloc(100))).toString(), 'e bytes')
  assert.is((await readFully(descriptor, Buffer.alloc(100))).length, 0)
  fs.closeSync(descriptor)
  fs.rmSync(directory, { recursive: true })
})

test('a small file is read whole, by this thread or by others', async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'dfs-read-'))
  const at = (name: string): string => path.join(directory, name)
  fs.writeFileSync(at('empty'), '')
  fs.writeFileSync(at('small'), 'twelve bytes')
  fs.writeFileSync(at('large'), 'thirteen byte')
  for (const stepMs of [0, 5]) {
    let nowMs = 0
    const pace = new LocalPace({ nowMs: () => (nowMs += stepMs) })
    const read = (name: string) => readSmallFile(at(name), 12, new BufferShelf(4096), pace)
    for (let i = 0; i < 3; i++) {
      const small = await read('small')
      assert.is(small.bytes?.toString(), 'twelve bytes')
      assert.is(small.bytes?.buffer, small.buffer?.buffer)
      for (const name of ['empty', 'large']) {
        const { stats, bytes, buffer } = await read(name)
        assert.is(stats.size, fs.statSync(at(name)).size)
        assert.equal([bytes, buffer], [undefined, undefined])
      }
      assert.match(String(await read('missing').catch((fault: Error) => fault)), /ENOENT.*missing/)
    }
  }
  fs.rmSync(directory, { recursive: true })
})

test('local work is done here while it is quick, elsewhere for a while when it was not, and when descriptors are short', async () => {
  let nowMs = 0
  let ms = 0.1
  const pace = new LocalPace({ nowMs: () => (nowMs += ms) })
  const where = () =>
    pace.run(
      () => 'here',
      async () => 'there',
    )
  for (let i = 0; i < 20; i++) assert.is(await where(), 'here')
  ms = 3
  assert.is(await where(), 'here')
  for (let i = 0; i < 16; i++) assert.is(await where(), 'there')
  ms = 0.1
  assert.is(await where(), 'here')
  const failing = (code: string) =>
    pace.run(
      () => {
        throw Object.assign(new Error(code), { code })
      },
      async () => 'there',
    )
  assert.is(await failing('EMFILE'), 'there')
  assert.is(await failing('ENOENT').catch((error: Error) => error.message), 'ENOENT')
})

test.run()
