// deadline: 240 s
//
// The tortures, in short: the programs of `npm run torture` and `npm run torture:append` as anybody runs them.

import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { networkFault } from './hosts.ts'

/** Runs one of the programs beside this file. @returns the line of JSON it ends with */
async function torture(name: string, ...args: string[]): Promise<Record<string, unknown>> {
  const file = fileURLToPath(new URL(`${name}.ts`, import.meta.url))
  const { exitCode, all } = await execa(process.execPath, ['--import', import.meta.resolve('tsx'), file, ...args], {
    all: true,
    reject: false,
    stdin: 'ignore',
  })
  assert.is(exitCode, 0, all)
  const last = all.split('\n').findLast((line) => line.startsWith('{'))
  assert.ok(last, all)
  return JSON.parse(last)
}

const fault = networkFault()
if (fault !== undefined) console.error(`WITHOUT NETWORK CUTS: ${fault}`)

test('a round of everything at once: healthy afterwards, every acknowledged byte, name and record there once', async () => {
  const { rounds, operations, records, cuts } = await torture('rounds', '--rounds', '1', '--seconds', '5')
  assert.is(rounds, 1)
  assert.is(cuts, fault === undefined)
  assert.ok(Number(operations) > 20, `${operations} operations`)
  assert.ok(Number(records) > 50, `${records} records`)
})

test('records of sixteen writers while primaries die: lost 0, duplicates 0', async () => {
  const { acknowledged, found, kills } = await torture('append', '--records', '10000', '--seconds', '4', '--every', '1')
  assert.ok(Number(acknowledged) >= 10_000, `${acknowledged} acknowledged`)
  assert.ok(Number(found) >= Number(acknowledged))
  assert.ok(Number(kills) >= 1, 'no primary was killed')
})

// Promised are 3 s and 7 s; a machine that runs other tests beside this one gets more.
const DEAD_MS_MAX = 5000
const BACK_MS_MAX = 12_000

if (fault === undefined) {
  test('a server that the network cuts off, also one way only, is known to be dead and made up for in seconds', async () => {
    const { results } = (await torture('cuts', '--mib', '32')) as unknown as {
      results: { way: string; deadMs: number; backMs: number }[]
    }
    assert.equal(
      results.map(({ way }) => way),
      ['both', 'out', 'in'],
    )
    for (const { way, deadMs, backMs } of results) {
      console.log(`  ${way}: dead after ${deadMs} ms, made up for after ${backMs} ms`)
      assert.ok(deadMs < DEAD_MS_MAX, `${way}: known to be dead after ${deadMs} ms`)
      assert.ok(backMs < BACK_MS_MAX, `${way}: at its goal again after ${backMs} ms`)
    }
  })
} else {
  test.skip(`network cuts: ${fault}`, () => {})
}

test.run()
