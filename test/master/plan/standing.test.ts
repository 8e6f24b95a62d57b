import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { intentNow, isReachable, presenceOf } from '../../../src/master/plan/standing.ts'

test('replicas can be read on live servers and on those that are silent for a moment', () => {
  assert.ok(isReachable('live') && isReachable('suspect'))
  assert.not.ok(isReachable('dead') || isReachable('maintenance'))
})

test('a death beats everything, a graceful stop beats a drain, and nobody is here before it has reported', () => {
  assert.is(presenceOf('live', 'serve', true), 'here')
  assert.is(presenceOf('live', 'maintain', true), 'here')
  assert.is(presenceOf('live', 'serve', false), 'unsure')
  assert.is(presenceOf('suspect', 'serve', true), 'unsure')
  assert.is(presenceOf('suspect', 'drain', true), 'leaving')
  assert.is(presenceOf('maintenance', 'drain', true), 'away')
  assert.is(presenceOf('dead', 'drain', true), 'lost')
})

test('maintenance ends when its time is over; a drain and maintenance without an end do not', () => {
  assert.is(intentNow(undefined, 5), 'serve')
  assert.is(intentNow({ intent: 'maintain', untilMs: 100 }, 99), 'maintain')
  assert.is(intentNow({ intent: 'maintain', untilMs: 100 }, 100), 'serve')
  assert.is(intentNow({ intent: 'maintain', untilMs: 0 }, 1e12), 'maintain')
  assert.is(intentNow({ intent: 'drain', untilMs: 0 }, 1e12), 'drain')
})

test.run()
