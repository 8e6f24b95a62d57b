// What is kept of an incident while it lasts.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ServerId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import type { Clock } from '../../src/io/clock.ts'
import { RepairLog } from '../../src/master/repair-log.ts'

test('an incident that a goal without enough servers keeps open names each server once, however often it comes and goes', () => {
  const log = new RepairLog({ nowMs: () => 1000 } as unknown as Clock, silentLogger)
  for (let death = 0; death < 1000; death++) {
    log.lost((1 + (death % 3)) as ServerId, 5, 700)
    log.tick(true)
  }
  log.tick(false)
  assert.equal(log.incidents[0]!.servers, ['cs-1', 'cs-2', 'cs-3'])
  log.lost(2 as ServerId, 5, 700)
  log.tick(false)
  assert.equal(log.incidents[1]!.servers, ['cs-2'], 'the next one begins anew')
})

test.run()
