import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FaultDetector } from '../../../src/master/cluster/fault-detector.ts'

/** A detector that has seen `count` heartbeats `everyMs` apart. */
function steady(everyMs: number, count: number): { detector: FaultDetector; lastMs: number } {
  const detector = new FaultDetector(500, 0)
  for (let beat = 1; beat <= count; beat++) detector.beat(500, beat * everyMs)
  return { detector, lastMs: count * everyMs }
}

test('a quick server that falls silent is yellow after 1.25 s and red after 2.5 s', () => {
  const { detector, lastMs } = steady(500, 20)
  assert.is(detector.tardiness(lastMs + 1250), 'green')
  assert.is(detector.tardiness(lastMs + 1251), 'yellow')
  assert.is(detector.tardiness(lastMs + 2500), 'yellow')
  assert.is(detector.tardiness(lastMs + 2501), 'red')
})

test('a server that beats late but steadily stays green at its own pace', () => {
  const { detector, lastMs } = steady(1500, 20)
  assert.is(detector.tardiness(lastMs + 3000), 'green')
  assert.is(detector.tardiness(lastMs + 7000), 'yellow')
  assert.is(detector.tardiness(lastMs + 8000), 'red')
})

test('one late beat is remembered for a while, and forgotten when the usual pace is back', () => {
  const { detector, lastMs } = steady(500, 20)
  detector.beat(500, lastMs + 2400)
  assert.is(detector.tardiness(lastMs + 2400 + 3600), 'green')
  let nowMs = lastMs + 2400
  for (let beat = 0; beat < 100; beat++) {
    nowMs += 500
    detector.beat(500, nowMs)
  }
  assert.is(detector.tardiness(nowMs + 2600), 'red')
})

test('urgent news between two heartbeats do not make the next one late', () => {
  const { detector, lastMs } = steady(20, 500)
  assert.is(detector.tardiness(lastMs + 1200), 'green')
})

test('what the master itself slept through is nobody’s silence', () => {
  const { detector, lastMs } = steady(500, 20)
  detector.excuse(10_000)
  assert.is(detector.tardiness(lastMs + 10_400), 'green')
})

test.run()
