import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { TokenBucket } from '../../src/base/token-bucket.ts'

test('a burst passes at once, what is beyond it waits as long as its tokens take to come', () => {
  const bucket = new TokenBucket(1000, 500, 0)
  assert.is(bucket.take(500, 0), 0)
  assert.is(bucket.take(100, 0), 100)
  assert.is(bucket.take(100, 0), 200, 'behind the one before')
  assert.is(bucket.take(100, 300), 0)
})

test('over time the rate holds, however it is taken', () => {
  const bucket = new TokenBucket(1000, 100, 0)
  let nowMs = 0
  for (let i = 0; i < 1000; i++) nowMs += bucket.take(37, nowMs)
  assert.ok(Math.abs(nowMs - (37_000 - 100)) < 1, `${nowMs} ms`)
})

test('tokens gather up to the burst and no further, and another rate counts from now on', () => {
  const bucket = new TokenBucket(1000, 100, 0)
  assert.is(bucket.take(200, 60_000), 100)
  bucket.setRate(100, 100, 60_100)
  assert.is(bucket.take(100, 60_100), 1000)
})

test.run()
