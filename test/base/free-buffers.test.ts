// Free buffers: used again, and as many as are needed.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FreeBuffers } from '../../src/base/free-buffers.ts'

/** Takes `count` at once and gives them back. */
function peak(free: FreeBuffers, count: number): void {
  const taken = Array.from({ length: count }, () => free.take())
  for (const buffer of taken) free.give(buffer)
}

test('a buffer is lent again, the latest first, and no more are kept than may be', () => {
  const free = new FreeBuffers(64, 3)
  const taken = [free.take(), free.take(), free.take(), free.take()]
  assert.is(new Set(taken).size, 4)
  for (const buffer of taken) free.give(buffer)
  assert.is(free.count, 3)
  assert.is(free.take(), taken[2])
  assert.is(free.take().length, 64)
})

test('what a rare peak left behind is given up, what is needed all the time is not', () => {
  const free = new FreeBuffers(64, 1000)
  peak(free, 100)
  assert.is(free.count, 100)
  for (let round = 0; round < 1000; round++) peak(free, 5)
  assert.is(free.count, 5)
  const before = new Set(Array.from({ length: 5 }, () => free.take()))
  for (const buffer of before) free.give(buffer)
  for (let round = 0; round < 1000; round++) peak(free, 5)
  for (let index = 0; index < 5; index++) assert.ok(before.has(free.take()), 'the same five, none made anew')
})

test.run()
