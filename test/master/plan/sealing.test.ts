import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { DirectoryId, Life, ServerId } from '../../../src/base/ids.ts'
import type { Member } from '../../../src/master/operations.ts'
import { decideSeal, type FenceAnswer } from '../../../src/master/plan/sealing.ts'

const GRACE_MS = 1000
const PATIENCE_MS = 60_000

function member(number: number): Member {
  return { server: number as ServerId, directory: (100 + number) as DirectoryId, life: (200 + number) as Life }
}

function held(length: number, inLife = true): FenceAnswer {
  return { exists: true, inLife, length, digest: length * 7, indexDigest: 0 }
}

function decide(answers: readonly (FenceAnswer | undefined)[], elapsedMs: number, namedBytes = 0) {
  const members = answers.map((answer, index) => ({ member: member(index), answer }))
  return decideSeal(members, namedBytes, elapsedMs, GRACE_MS, PATIENCE_MS)
}

const cases: readonly [
  claim: string,
  answers: readonly (FenceAnswer | undefined)[],
  elapsedMs: number,
  length: number | 'wait',
][] = [
  ['nobody has answered: wait', [undefined, undefined, undefined], 0, 'wait'],
  [
    'nobody ever answers: there is nothing to seal with, however long',
    [undefined, undefined, undefined],
    10 * PATIENCE_MS,
    'wait',
  ],
  ['all in life: the shortest', [held(30), held(20), held(40)], 0, 20],
  ['one in life, others not heard: a moment of grace', [held(30), undefined, undefined], 0, 'wait'],
  ['one in life after the grace: it alone decides', [held(30), undefined, undefined], GRACE_MS, 30],
  ['a restarted one never shortens what one in life has', [held(30), held(10, false), held(0, false)], 0, 30],
  ['a restarted one never lengthens it either', [held(30), held(50, false), undefined], GRACE_MS, 30],
  [
    'in life, and the chunk never came: nothing was acknowledged',
    [{ exists: false, inLife: true, length: 0, digest: 0, indexDigest: 0 }, held(9), held(9)],
    0,
    0,
  ],
  ['only restarted ones, one missing: wait', [held(10, false), held(30, false), undefined], PATIENCE_MS - 1, 'wait'],
  ['only restarted ones, all there: the longest proof', [held(10, false), held(30, false), held(20, false)], 0, 30],
  [
    'only restarted ones, patience over: the longest proof of those',
    [held(10, false), undefined, held(20, false)],
    PATIENCE_MS,
    20,
  ],
]

for (const [claim, answers, elapsedMs, expected] of cases) {
  test(`DESIGN §2, length of a seal: ${claim}`, () => {
    const decision = decide(answers, elapsedMs)
    assert.is(decision.kind === 'seal' ? decision.length : 'wait', expected)
    if (decision.kind === 'seal') assert.is(decision.digest, decision.length * 7, 'digest is of the same answer')
  })
}

test('proofs shorter than what files name are not believed before patience is over', () => {
  const short = [held(10, false), held(12, false), held(0, false)]
  assert.is(decide(short, PATIENCE_MS - 1, 20).kind, 'wait')
  const decision = decide(short, PATIENCE_MS, 20)
  assert.ok(decision.kind === 'seal')
  assert.is(decision.length, 12)
  assert.is(decision.givenUp.length, 3, 'and the loss is said')
})

test('a member in its life that holds less than files name is damaged, and does not shorten the others', () => {
  const none = { exists: false, inLife: true, length: 0, digest: 0, indexDigest: 0 }
  const decision = decide([none, held(25), held(22)], 0, 20)
  assert.is(decision.kind === 'seal' && decision.length, 22)
  assert.is(decide([none, undefined, undefined], GRACE_MS, 20).kind, 'wait', 'it alone decides nothing')
})

test('members given up on are named', () => {
  const decision = decide([held(10, false), undefined, held(20, false)], PATIENCE_MS)
  assert.ok(decision.kind === 'seal')
  assert.equal(
    decision.givenUp.map(({ server }) => server),
    [1],
  )
})

test.run()
