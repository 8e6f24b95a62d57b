// What each row is to reach at least, and what it aims at: of the median, or of its ratio to a yardstick.

import type { Result } from './measure.ts'

interface Target {
  readonly of: 'ratio' | 'median'
  /** Is the figure to be large (at least) or small (at most)? */
  readonly want: 'large' | 'small'
  readonly limit: number
  readonly aim: number
  /** Another row of the same benchmark that is enough by itself: the lower of two limits counts. */
  readonly orRow?: string
}

const large = (of: Target['of'], limit: number, aim: number, orRow?: string): Target => ({
  of,
  want: 'large',
  limit,
  aim,
  ...(orRow !== undefined && { orRow }),
})
const small = (limit: number, aim: number): Target => ({ of: 'median', want: 'small', limit, aim })

/** By benchmark and row. */
const targets: Readonly<Record<string, Readonly<Record<string, Target>>>> = {
  'write-path': {
    sequential: large('ratio', 1, 1.4),
    put: large('ratio', 0.8, 1.2),
    'small files': large('median', 3000, 6000),
  },
  'read-path': {
    sequential: large('ratio', 0.9, 1.3),
    'random 4 KiB': large('ratio', 0.25, 0.4),
    'random 64 KiB': large('ratio', 0.6, 0.8),
    'sequential direct': large('ratio', 0.9, 1.3),
    'random 4 KiB direct': large('ratio', 0.25, 0.4),
    'random 64 KiB direct': large('ratio', 0.6, 0.8),
  },
  'metadata-ops': {
    creates: large('ratio', 0.25, 0.35, 'creates by fsync'),
    'creates by fsync': large('ratio', 8, 12, 'creates'),
    stats: large('ratio', 0.5, 0.8),
  },
  recovery: {
    replay: large('median', 300_000, 600_000),
    'checkpoint, start': small(1.5, 0.8),
    'paced, slower by': small(2, 1.3),
  },
  repair: {
    'kill: redundancy back': small(5, 3),
    'kill: detection': small(1, 0.8),
    'kill: clone rate': large('ratio', 0.6, 0.8),
    'stop: redundancy back': small(7, 5),
    'stop: detection': small(3, 2.5),
    'cut: redundancy back': small(7, 5),
    'cut: detection': small(3, 2.5),
    'two: no single replica': small(5, 3),
    'reads: p99 ratio': small(2, 1.5),
  },
  append: { 'sixteen writers': large('median', 20_000, 40_000) },
  command: { 'over node': small(150, 70) },
  'metadata-memory': { 'memory a file': small(150, 110) },
}

/** What became of a row's target, as a table says it; '' for a row without one. */
export function verdictOn(bench: string, row: Result, rows: readonly Result[]): string {
  const target = targets[bench]?.[row.name]
  if (target === undefined) return ''
  const sign = target.want === 'large' ? '≥' : '≤'
  const unit = target.of === 'ratio' ? ' ×' : ''
  const said = `${sign} ${target.limit.toLocaleString('en')}${unit}, aim ${target.aim.toLocaleString('en')}${unit}`
  const other = rows.find(({ name }) => name === target.orRow)
  const otherTarget = target.orRow === undefined ? undefined : targets[bench]?.[target.orRow]
  const meets = (level: 'limit' | 'aim'): boolean =>
    reaches(row, target, level) ||
    (other !== undefined && otherTarget !== undefined && reaches(other, otherTarget, level))
  return `${meets('aim') ? 'aim met' : meets('limit') ? 'met' : '**missed**'} (${said})`
}

function reaches(row: Result, target: Target, level: 'limit' | 'aim'): boolean {
  const figure = target.of === 'ratio' ? (row.ratio ?? Number.NaN) : row.median
  return target.want === 'large' ? figure >= target[level] : figure <= target[level]
}
