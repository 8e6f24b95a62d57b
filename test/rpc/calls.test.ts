// The table of waiting calls: ids, and what becomes of calls that wait long.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DfsError } from '../../src/base/errors.ts'
import { Random } from '../../src/base/random.ts'
import { CallTable, PendingCall } from '../../src/rpc/calls.ts'

function call(id: number, deadlineMs = 1000, reject: (error: DfsError) => void = () => {}): PendingCall {
  return new PendingCall(id, 7, deadlineMs, undefined, () => {}, reject)
}

test('calls come and go in any order, and each is found by its id and by no other', () => {
  const random = new Random(9)
  const table = new CallTable()
  const waiting = new Map<number, PendingCall>()
  for (let step = 0; step < 20_000; step++) {
    if (waiting.size < 300 && random.chance(0.5)) {
      const made = call(table.newId())
      assert.not.ok(waiting.has(made.id))
      table.add(made)
      waiting.set(made.id, made)
    } else if (waiting.size > 0) {
      const ids = [...waiting.keys()]
      const id = ids[random.below(Math.min(ids.length, 40))]!
      assert.is(table.take(id), waiting.get(id))
      assert.is(table.take(id), undefined)
      waiting.delete(id)
    }
    assert.is(table.size, waiting.size)
  }
  for (const [id, one] of waiting) {
    assert.is(table.get(id), one)
    assert.is(table.get(id + 2 ** 20), undefined)
  }
})

test('a call that waits for ever never shares its id or its place', () => {
  const table = new CallTable()
  const patient = call(table.newId())
  table.add(patient)
  for (let round = 0; round < 100_000; round++) {
    const id = table.newId()
    assert.is.not(id, patient.id)
    table.add(call(id))
    table.take(id)
    assert.ok(table.wasIssued(id))
  }
  assert.is(table.get(patient.id), patient)
})

test('thousands wait at once; those whose time is over are found, and the end rejects the oldest first', () => {
  const table = new CallTable()
  const rejected: number[] = []
  for (let index = 0; index < 5000; index++) {
    const id = table.newId()
    table.add(call(id, index % 2 === 0 ? 10 : 20, () => rejected.push(id)))
  }
  assert.is(table.nextDeadlineMs, 10)
  assert.equal(table.expired(9), [])
  const expired = table.expired(10)
  assert.is(expired.length, 2500)
  assert.is(table.nextDeadlineMs, 20)
  for (const { id } of expired) table.take(id)
  table.fail(new DfsError('CONNECTION_LOST', 'gone'))
  assert.is(rejected.length, 2500)
  assert.equal(
    rejected,
    [...rejected].sort((a, b) => a - b),
  )
  assert.is(table.size, 0)
})

test.run()
