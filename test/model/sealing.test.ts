// deadline: 240 s
// Goal: the sealing rule loses nothing, and no sentence of it can be spared.
//
// Method: every state that the world of README.md can reach is looked at, once with the whole rule, then with each
// sentence left out until something is lost. `npx tsx test/model/sealing.test.ts` prints the stories.

import { readFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { sealingWorld } from './sealing.ts'
import { search, type Words } from './search.ts'
import { ruleWithout, sentences } from './sentences.ts'
import { acknowledged, durable, flushed, get, givenUp, lengthOf, members, restarted, rotten, sealed } from './state.ts'

const statesMax = 4_000_000
const readme = readFileSync(new URL('./README.md', import.meta.url), 'utf8')

test('with the whole rule, no state that can be reached breaks a promise', () => {
  const result = search(sealingWorld(ruleWithout()), statesMax)
  assert.is(result.fault, undefined, result.trace.join('\n'))
  console.log(`\nthe whole rule: ${result.states} states, no fault`)
  assert.match(readme, `${result.states.toLocaleString('en')} states`, 'README.md tells another number of states')
})

for (const { id, text, without } of sentences) {
  test(`without “${text}” something is lost: ${without}`, () => {
    const result = search(sealingWorld(ruleWithout(id)), statesMax)
    assert.ok(result.fault, 'nothing was lost')
    const steps = result.trace.map((step, i) => `  ${i + 1}. ${step}`)
    console.log(`\n${text}\n  without: ${without}\n${steps.join('\n')}\n  => ${result.fault}`)
    const row = `| \`${id}\` | ${result.trace.length} |`
    assert.ok(readme.includes(row), `README.md has no row beginning ${row}`)
  })
}

// A model in which nothing can happen loses nothing either: what must be possible is found, by the same search.

canHappen('both pieces are acknowledged, and the chunk is sealed at 2', ([, , , rest]) => {
  return get(rest, acknowledged[0]) === durable && get(rest, acknowledged[1]) === flushed && get(rest, sealed) === 3
})

canHappen('a chunk in which nothing was acknowledged is sealed at 0, and a replica is longer', ([m0, , , rest]) => {
  return get(rest, acknowledged[0]) === 0 && get(rest, sealed) === 1 && lengthOf(m0) > 0
})

canHappen('a seal gives up on a member that holds an acknowledged piece', ([m0, m1, , rest]) => {
  const isReported = get(m0, givenUp) === 1 || get(m1, givenUp) === 1
  return get(rest, acknowledged[0]) === flushed && get(rest, sealed) === 1 && isReported
})

canHappen('all three members restart, and the piece acknowledged by flush survives in the longest', (words) => {
  const lengths = members.map((i) => lengthOf(words[i]!))
  const allRestarted = members.every((i) => get(words[i]!, restarted) === 1)
  const isSealed = get(words[3], acknowledged[0]) === flushed && get(words[3], sealed) === 2
  return allRestarted && isSealed && lengths.includes(0)
})

canHappen('a sealed replica rots where an acknowledged piece lies', ([m0, , , rest]) => {
  return get(m0, rotten[0]) === 1 && get(rest, acknowledged[0]) !== 0 && get(rest, sealed) === 2
})

function canHappen(what: string, isIt: (words: Words) => boolean): void {
  test(`it can happen that ${what}`, () => {
    // Nothing is folded here: what is looked for may be what folding forgets.
    const canonical = (words: Words) => words
    const world = {
      ...sealingWorld(ruleWithout()),
      canonical,
      fault: (words: Words) => (isIt(words) ? what : undefined),
    }
    assert.is(search(world, statesMax).fault, what)
  })
}

test.run()
