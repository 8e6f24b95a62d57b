// The recovery table, walked through in full: every combination of facts has exactly the row that the rule demands.

import { readFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { decideRecovery, recoveryRules, type SegmentFacts } from '../../src/oplog/recover.ts'

const parts = ['closed', 'last'] as const
const headers = ['whole', 'foreign', 'misplaced', 'newer', 'damaged'] as const
const rests = ['nothing', 'unwritten', 'zeros', 'bytes', 'impossible', 'newer'] as const
const proofs = ['none', 'beyond', 'misplaced'] as const

function* everyCombination(): Generator<SegmentFacts> {
  for (const part of parts)
    for (const header of headers)
      for (const reachesNext of [false, true])
        for (const rest of rests) for (const proof of proofs) yield { part, header, reachesNext, rest, proof }
}

/** The rule in words, written a second time and in another shape. */
function expected({ part, header, reachesNext, rest, proof }: SegmentFacts): string {
  if (header === 'newer') return 'refuse BAD_FORMAT'
  if (header !== 'whole') return 'refuse LOG_DAMAGED'
  if (part === 'closed' && reachesNext) return 'open'
  if (rest === 'newer') return 'refuse BAD_FORMAT'
  if (part === 'closed' || rest === 'impossible' || proof !== 'none') return 'refuse LOG_DAMAGED'
  return rest === 'nothing' || rest === 'unwritten' ? 'open' : 'cut'
}

test('every combination of facts has the outcome that the rule demands, and every row is needed', () => {
  const used = new Set<number>()
  let count = 0
  for (const facts of everyCombination()) {
    const { row, action, code } = decideRecovery(facts)
    used.add(row)
    count++
    assert.is(code ? `${action} ${code}` : action, expected(facts), JSON.stringify(facts))
  }
  assert.is(count, 360)
  assert.equal(
    [...used].sort((a, b) => a - b),
    recoveryRules.map((rule) => rule.row),
  )
})

test('nothing is cut when anything proves that it was synced', () => {
  for (const facts of everyCombination()) {
    if (decideRecovery(facts).action !== 'cut') continue
    assert.is(facts.part, 'last')
    assert.is(facts.proof, 'none')
  }
})

test('the table in oplog-format.md is the table in the code', () => {
  const document = readFileSync(new URL('../../oplog-format.md', import.meta.url), 'utf8')
  const rows = [...document.matchAll(/^\| (\d+) \| [^|]+ \| (open|cut|refuse)(?:, `([A-Z_]+)`)? \| ([^|]+) \|$/gm)]
  assert.equal(
    rows.map(([, row, action, code, says]) => [Number(row), action, code, says]),
    recoveryRules.map(({ row, action, code, says }) => [row, action, code, says]),
  )
})

test.run()
