import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { countsTowardsGoal, intentNow, isReachable } from '../../../src/master/plan/standing.ts'

test('replicas on a draining server are read from, but leave: they do not count', () => {
  assert.ok(isReachable('live') && isReachable('suspect'))
  assert.not.ok(isReachable('dead') || isReachable('maintenance'))
  assert.ok(countsTowardsGoal({ liveness: 'live', intent: 'serve' }))
  assert.ok(countsTowardsGoal({ liveness: 'suspect', intent: 'maintain' }))
  assert.not.ok(countsTowardsGoal({ liveness: 'live', intent: 'drain' }))
  assert.not.ok(countsTowardsGoal({ liveness: 'dead', intent: 'serve' }))
})

test('maintenance ends when its time is over; a drain and maintenance without an end do not', () => {
  assert.is(intentNow(undefined, 5), 'serve')
  assert.is(intentNow({ intent: 'maintain', untilMs: 100 }, 99), 'maintain')
  assert.is(intentNow({ intent: 'maintain', untilMs: 100 }, 100), 'serve')
  assert.is(intentNow({ intent: 'maintain', untilMs: 0 }, 1e12), 'maintain')
  assert.is(intentNow({ intent: 'drain', untilMs: 0 }, 1e12), 'drain')
})

test.run()
