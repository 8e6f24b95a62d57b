// Runs the benchmarks one after the other and prints one table; their JSON lines go to standard output with --json.
//
//   npm run bench [-- write-path read-path append metadata-ops recovery] [--runs 3] [--dir .] [--json]

import path from 'node:path'
import { execa } from 'execa'
import { root } from './cluster.ts'
import type { Report, Result } from './measure.ts'
import { endWithUs } from './processes.ts'

const all = ['write-path', 'read-path', 'append', 'metadata-ops', 'recovery']

const args = process.argv.slice(2)
const isJson = args.includes('--json')
const named = args.filter((word) => all.includes(word))
const options = args.filter((word) => word !== '--json' && !all.includes(word))

for (const name of named.length > 0 ? named : all) {
  const file = path.join(root, 'bench', `${name}.ts`)
  const child = endWithUs(
    execa(process.execPath, ['--import', import.meta.resolve('tsx'), file, ...options], {
      stdin: 'ignore',
      stderr: 'inherit',
    }),
  )
  const line = (await child).stdout
  console.log(isJson ? line : table(JSON.parse(line)))
}

/** In Markdown, as it stands in README.md. */
function table(report: Report): string {
  const { bench, date, commit, node, machine, limits, results } = report
  const yardsticks = Object.entries(limits).map(([name, { median, unit }]) => `${name} ${count(median)} ${unit}`)
  return [
    `### ${bench}`,
    '',
    `${date}, ${commit}, Node ${node}, ${machine}. ${yardsticks.join(', ')}.`,
    '',
    '| | median | min to max | ratio | CPU seconds | resident MiB |',
    '|---|---|---|---|---|---|',
    ...results.map(row),
    '',
  ].join('\n')
}

function row({ name, median, min, max, unit, ratio, of, cpuSeconds, residentMiB }: Result): string {
  const cells = [
    name,
    `${count(median)} ${unit}`,
    `${count(min)} to ${count(max)}`,
    ratio === undefined ? '' : `${ratio} × ${of}`,
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
