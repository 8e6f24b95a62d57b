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

test.run()
