// `npm run sim`: whole clusters under swarms of faults, in virtual time.
//
//   npm run sim -- --seed 17               one run, as it is in the tests; says what it was like
//   npm run sim -- --count 500 --from 1    many of those
//   npm run sim -- --minutes 30            one cluster for so long (virtual), in rounds of load and faults
//   npm run sim -- --hours 24 --seed 3     the same, with long quiet times between the rounds
//   npm run sim -- --seed 17 --trace cs-2  its events and log lines that match a pattern
//
// Ends with code 1 at the first promise that was broken, and says with which seed.

import { parseArgs } from 'node:util'
import { HOUR_MS, MINUTE_MS } from '../../../src/base/units.ts'
import { planOf, runSwarm, type SwarmInput, type SwarmResult } from './run.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    from: { type: 'string' },
    count: { type: 'string' },
    minutes: { type: 'string' },
    hours: { type: 'string' },
    quiet: { type: 'string' },
    plan: { type: 'string' },
    trace: { type: 'string' },
    'keep-going': { type: 'boolean', default: false },
  },
})

const firstSeed = Number(values.seed ?? values.from ?? 1)
const durationMs = Number(values.hours ?? 0) * HOUR_MS + Number(values.minutes ?? 0) * MINUTE_MS
const isLong = durationMs > 0
const quietMsMax = values.quiet === undefined ? durationMs / 12 : Number(values.quiet) * MINUTE_MS
const count = Number(values.count ?? 1)
const traced = values.trace === undefined ? undefined : new RegExp(values.trace)
let failures = 0

for (let seed = firstSeed; seed < firstSeed + count; seed++) {
  const input: SwarmInput = {
    seed,
    scale: isLong ? 'long' : 'short',
    onLine: traced && ((line) => traced.test(line) && console.log(line)),
    ...(isLong && { durationMs, quietMsMax, onRound: tellRound }),
    ...(values.plan !== undefined && { plan: JSON.parse(values.plan) as SwarmInput['plan'] & object }),
  }
  if (count === 1) console.log(JSON.stringify({ seed, ...planOf(input) }))
  const startCpu = process.cpuUsage()
  const startMs = performance.now()
  try {
    const result = await runSwarm(input)
    const { user, system } = process.cpuUsage(startCpu)
    console.log(JSON.stringify({ seed, ...told(result, performance.now() - startMs, (user + system) / 1000) }))
  } catch (error) {
    failures++
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    console.log(`seed ${seed} FAILED: ${values['keep-going'] ? text.slice(0, text.indexOf('\n')) : text}`)
    console.log(`  repeat: npm run sim -- ${repeatArguments(seed)}`)
    if (!values['keep-going']) break
  }
}
if (count > 1) console.log(JSON.stringify({ seeds: count, failures }))
process.exitCode = failures > 0 ? 1 : 0

function told(result: SwarmResult, realMs: number, cpuMs: number): Record<string, unknown> {
  return {
    ...result,
    checksum: result.checksum.toString(16),
    virtualMs: Math.round(result.virtualMs),
    realMs: Math.round(realMs),
    cpuMs: Math.round(cpuMs),
    usPerEvent: Number(((1000 * cpuMs) / result.events).toFixed(1)),
    virtualPerReal: Math.round(result.virtualMs / realMs),
  }
}

function tellRound({ nowMs, eventCount }: { nowMs: number; eventCount: number }, result: SwarmResult): void {
  const { rounds, done, failed, records, convergenceMsMax } = result
  const hours = (nowMs / HOUR_MS).toFixed(2)
  console.error(
    `${hours} h, round ${rounds}: ${JSON.stringify({ done, failed, records, convergenceMsMax, eventCount })}`,
  )
}

function repeatArguments(seed: number): string {
  const given = Object.entries(values).filter(([name]) => ['minutes', 'hours', 'quiet', 'plan'].includes(name))
  return [`--seed ${seed}`, ...given.map(([name, value]) => `--${name} '${value}'`)].join(' ')
}
