// Settling: how long a replica that was just told to seal counts without having said that it did.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ChunkHandle } from '../../../src/base/ids.ts'
import { SETTLES_MS, Settling } from '../../../src/master/cluster/settling.ts'

const [a, b] = [1 as ChunkHandle, 2 as ChunkHandle]

test('a chunk settles for a while from its last beginning, and is then taken over once', () => {
  const settling = new Settling()
  settling.begin(a, 0)
  settling.begin(b, 500)
  settling.begin(a, 1000)
  assert.ok(settling.has(a, 1000 + SETTLES_MS - 1))
  assert.not.ok(settling.has(a, 1000 + SETTLES_MS), 'also when nobody took it over')
  assert.equal(settling.takeOver(500 + SETTLES_MS - 1), [])
  assert.equal(settling.takeOver(500 + SETTLES_MS), [b])
  assert.equal(settling.takeOver(1000 + SETTLES_MS), [a])
  assert.equal(settling.takeOver(10_000), [])
})

test('one that has ended settles no more; at the bound the oldest gives way', () => {
  const settling = new Settling()
  settling.begin(a, 0)
  settling.end(a)
  assert.not.ok(settling.has(a, 1))
  for (let handle = 1; handle <= 100_001; handle++) settling.begin(handle as ChunkHandle, 10)
  assert.not.ok(settling.has(a, 10))
  assert.ok(settling.has(b, 10))
  assert.is(settling.takeOver(10 + SETTLES_MS).length, 100_000)
})

test.run()
