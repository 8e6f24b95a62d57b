// Runs the benchmarks one after the other and prints one table, with what each figure was to reach; with --json their
// JSON lines instead, each as soon as it is there. One that fails is said, and the others go on.
//
//   npm run bench [-- write-path read-path append metadata-ops recovery metadata-memory repair command] [--runs 5] [--dir .] [--json]

import path from 'node:path'
import { execa } from 'execa'
import { root } from './cluster.ts'
import type { Report, Result } from './measure.ts'
import { endWithUs } from './processes.ts'
import { verdictOn } from './targets.ts'

const all = ['write-path', 'read-path', 'append', 'metadata-ops', 'recovery', 'metadata-memory', 'repair', 'command']

const args = process.argv.slice(2)
const isJson = args.includes('--json')
const named = args.filter((word) => all.includes(word))
const options = args.filter((word) => word !== '--json' && !all.includes(word))

if (!options.includes('--runs')) options.push('--runs', '5')

const reports: Report[] = []
for (const name of named.length > 0 ? named : all) {
  console.error(`${name}:`)
  const file = path.join(root, 'bench', `${name}.ts`)
  // A collection by hand is for metadata-memory; the others don't ask for one.
  const child = endWithUs(
    execa(process.execPath, ['--expose-gc', '--import', import.meta.resolve('tsx'), file, ...options], {
      stdin: 'ignore',
      stderr: 'inherit',
      reject: false,
    }),
  )
  const { stdout: line, failed } = await child
  if (failed) {
    console.error(`${name} failed`)
    process.exitCode = 1
  } else {
    reports.push(JSON.parse(line))
    if (isJson) console.log(line)
  }
}
if (!isJson) console.log(table(reports))

/** In Markdown, as it stands in README.md. */
function table(all: readonly Report[]): string {
  const first = all[0]
  if (first === undefined) return 'nothing was measured'
  const { date, commit, node, machine } = first
  return [
    `${date}, ${commit}, Node ${node}, ${machine}.`,
    '',
    '| | median | min to max | ratio | target | CPU seconds | resident MiB |',
    '|---|---|---|---|---|---|---|',
    ...all.flatMap(rows),
    '',
  ].join('\n')
}

/** A heading with the yardsticks of its own minutes, then the rows. */
function rows({ bench, limits, results }: Report): string[] {
  const yardsticks = Object.entries(limits).map(([name, { median, unit }]) => `${name} ${count(median)} ${unit}`)
  return [
    `| **${bench}** ${yardsticks.join(', ')} | | | | | | |`,
    ...results.map((result) => row(bench, result, results)),
  ]
}

function row(bench: string, result: Result, results: readonly Result[]): string {
  const { name, median, min, max, unit, ratio, of, cpuSeconds, residentMiB } = result
  const cells = [
    name,
    `${count(median)} ${unit}`,
    `${count(min)} to ${count(max)}`,
    ratio === undefined ? '' : `${ratio} × ${of}`,
    verdictOn(bench, result, results),
    byProcess(cpuSeconds),
    byProcess(residentMiB),
  ]
  return `| ${cells.join(' | ')} |`
}

function byProcess(values: Readonly<Record<string, number>> | undefined): string {
  return Object.entries(values ?? {})
    .map(([name, value]) => `${name} ${count(value)}`)
    .join(', ')
}

function count(value: number): string {
  return value.toLocaleString('en')
}
