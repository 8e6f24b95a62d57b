// One benchmark's figures: samples by name beside yardsticks of the same minutes, printed as one line of JSON.
//
// A yardstick is measured before each run of what it is compared with, because a machine's speed drifts: ratios are
// those of the medians.

import { execFileSync } from 'node:child_process'
import os from 'node:os'
import { parseArgs } from 'node:util'
import { root } from './cluster.ts'
import { type LimitName, measureLimits } from './limits.ts'
import type { Usage } from './processes.ts'

export interface BenchOptions {
  /** How often each is measured, 1 and up; odd numbers have a true median. */
  readonly runs: number
  /** On the disk that is to carry the master's log. */
  readonly directory: string
  /** Files of the benchmarks of metadata. */
  readonly files: number
  /** What to measure, by the first word of its name; everything when empty. */
  readonly only: readonly string[]
  /** Directory for CPU profiles of every process under test. */
  readonly profile: string | undefined
}

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** One row. */
export interface Result extends Spread {
  readonly name: string
  readonly unit: string
  readonly runs: number
  /** `median` in multiples of the median of the yardstick `of`. */
  readonly of?: string
  readonly ratio?: number
  /** Medians, by process. */
  readonly cpuSeconds?: Readonly<Record<string, number>>
  readonly residentMiB?: Readonly<Record<string, number>>
}

/** The one line. */
export interface Report {
  readonly bench: string
  readonly date: string
  readonly commit: string
  readonly node: string
  readonly machine: string
  readonly limits: Readonly<Record<string, Spread & { readonly unit: string }>>
  readonly results: readonly Result[]
}

export function readOptions(filesDefault: number): BenchOptions {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      runs: { type: 'string', default: '5' },
      dir: { type: 'string', default: root },
      files: { type: 'string', default: String(filesDefault) },
      profile: { type: 'string' },
    },
  })
  const runs = Number(values.runs)
  const files = Number(values.files)
  if (!Number.isSafeInteger(runs) || runs < 1)
    throw new Error(`--runs ${values.runs}: expected a whole number, 1 upward`)
  if (!Number.isSafeInteger(files) || files < 1)
    throw new Error(`--files ${values.files}: expected a whole number, 1 upward`)
  return { runs, files, directory: values.dir, only: positionals, profile: values.profile }
}

interface Samples {
  readonly unit: string
  readonly of: string | undefined
  readonly values: number[]
  readonly usage: Map<string, Usage[]>
}

export class Bench {
  readonly options: BenchOptions
  readonly #name: string
  readonly #limits = new Map<LimitName, { unit: string; values: number[] }>()
  readonly #samples = new Map<string, Samples>()

  constructor(name: string, options: BenchOptions) {
    this.#name = name
    this.options = options
  }

  /** Whether the row is asked for. */
  wants(name: string): boolean {
    const { only } = this.options
    return only.length === 0 || only.some((word) => name.startsWith(word))
  }

  /** Measures a yardstick once more. */
  async limit(name: LimitName): Promise<void> {
    const [limit] = await measureLimits([name], { runs: 1, directory: this.options.directory })
    const known = this.#limits.get(name) ?? { unit: limit!.unit, values: [] }
    known.values.push(limit!.median)
    this.#limits.set(name, known)
  }

  /** @param usage  what each process spent on it */
  add(
    name: string,
    unit: string,
    value: number,
    options: { readonly of?: LimitName; readonly usage?: Readonly<Record<string, Usage>> } = {},
  ): void {
    const samples = this.#samples.get(name) ?? { unit, of: options.of, values: [], usage: new Map<string, Usage[]>() }
    samples.values.push(value)
    for (const [process, usage] of Object.entries(options.usage ?? {})) {
      const list = samples.usage.get(process) ?? []
      list.push(usage)
      samples.usage.set(process, list)
    }
    this.#samples.set(name, samples)
    console.error(`  ${name}: ${rounded(value)} ${unit}`)
  }

  report(): Report {
    const results = [...this.#samples].map(([name, { unit, of, values, usage }]): Result => {
      const limit = [...this.#limits].find(([known]) => known === of)?.[1]
      const own = spread(values)
      return {
        name,
        unit,
        ...own,
        runs: values.length,
        ...(of === undefined || limit === undefined
          ? {}
          : { of, ratio: hundredths(median(values) / median(limit.values)) }),
        ...(usage.size === 0
          ? {}
          : {
              cpuSeconds: each(usage, (list) => hundredths(median(list.map((one) => one.cpuSeconds)))),
              residentMiB: each(usage, (list) => Math.round(median(list.map((one) => one.residentBytesMax)) / 2 ** 20)),
            }),
      }
    })
    const limits = each(this.#limits, ({ unit, values }) => ({ unit, ...spread(values) }))
    return { bench: this.#name, ...circumstances(), limits, results }
  }

  print(): void {
    console.log(JSON.stringify(this.report()))
  }
}

/** What the processes of a run spent between two looks; the peak of memory is that of their whole life. */
export function spent(
  before: Readonly<Record<string, Usage>>,
  after: Readonly<Record<string, Usage>>,
): Record<string, Usage> {
  return each(Object.entries(after), (usage, name) => ({
    ...usage,
    cpuSeconds: usage.cpuSeconds - (before[name]?.cpuSeconds ?? 0),
  }))
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2
}

function spread(values: readonly number[]): Spread {
  return { median: rounded(median(values)), min: rounded(Math.min(...values)), max: rounded(Math.max(...values)) }
}

/** Three digits are more than such a figure is worth. */
function rounded(value: number): number {
  return value >= 100 ? Math.round(value) : Number(value.toPrecision(3))
}

function hundredths(value: number): number {
  return Math.round(value * 100) / 100
}

function each<T, R>(entries: Iterable<readonly [string, T]>, give: (value: T, name: string) => R): Record<string, R> {
  return Object.fromEntries([...entries].map(([name, value]) => [name, give(value, name)]))
}

function circumstances(): Pick<Report, 'date' | 'commit' | 'node' | 'machine'> {
  const cpus = os.cpus()
  return {
    date: new Date().toISOString().slice(0, 16),
    commit: commit(),
    node: process.version,
    machine: `${cpus.length} × ${cpus[0]?.model ?? 'unknown'}, ${Math.round(os.totalmem() / 2 ** 30)} GiB`,
  }
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim()
  } catch {
    return 'unknown' // an unpacked release has no history
  }
}
