import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { chunkHandle, type DirectoryId } from '../../src/base/ids.ts'
import { Random } from '../../src/base/random.ts'
import { addMark, conditionOf, removeMark, replicaConditions, replicaMark } from '../../src/wire/replica-sum.ts'

const directory = 0x1234_5678_9abc as DirectoryId

test('a mark is the same for ever: both ends compute it, whatever their versions', () => {
  assert.equal(
    replicaConditions.map((condition) => replicaMark(chunkHandle(3, 77), directory, condition)),
    [206586536658576, 249526161911942, 254630647825010],
  )
})

test('what comes and goes leaves no trace in a sum, in any order', () => {
  const random = new Random(4)
  const marks = Array.from({ length: 500 }, () =>
    replicaMark(chunkHandle(random.below(9), 1 + random.below(1000)), directory, random.pick(replicaConditions)),
  )
  const sum = marks.reduce(addMark, 0)
  assert.is([...marks].reverse().reduce(addMark, 0), sum)
  let gone = sum
  for (const mark of marks.sort((a, b) => a - b)) gone = removeMark(gone, mark)
  assert.is(gone, 0)
})

test('neighbours differ: handles, directories and conditions next to each other have marks far apart', () => {
  const marks = new Set<number>()
  let low = 0
  for (let counter = 1; counter <= 20_000; counter++) {
    for (const condition of replicaConditions) {
      const mark = replicaMark(chunkHandle(1, counter), directory, condition)
      assert.ok(Number.isSafeInteger(mark) && mark >= 0 && mark < 2 ** 48)
      if (mark % 2 === 0) low++
      marks.add(mark)
      marks.add(replicaMark(chunkHandle(1, counter), (directory + 1) as DirectoryId, condition))
    }
  }
  assert.is(marks.size, 120_000)
  assert.ok(Math.abs(low - 30_000) < 1000, `${low} of 60,000 are even`)
})

test('a replica that is set aside or gone is not in the set', () => {
  assert.equal((['open', 'fenced', 'sealed', 'corrupt', 'quarantined', 'gone'] as const).map(conditionOf), [
    'grows',
    'grows',
    'settled',
    'damaged',
    undefined,
    undefined,
  ])
})

test.run()
