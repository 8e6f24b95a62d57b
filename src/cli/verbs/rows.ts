// The row of a path: what `ls`, `find`, `tree` and `stat` print, for scripts and for people.

import { formatBytes } from '../../base/units.ts'
import { withoutControls } from '../failure.ts'

/** The `--json` row of the contract. */
export interface PathRow {
  readonly path: string
  readonly type: 'file' | 'directory'
  readonly size: number
  readonly replication: number
  readonly mtimeMs: number
  /** Permission bits. */
  readonly mode: number
  readonly owner: string
  readonly group: string
}

/** What the library says of an entry or an inode. */
export interface PathFacts {
  readonly isDirectory: boolean
  readonly size: number
  readonly goal: number
  readonly mtimeMs: number
  readonly mode: number
  readonly owner: string
  readonly group: string
}

export function pathRow(path: string, facts: PathFacts): PathRow {
  const { isDirectory, size, goal, mtimeMs, mode, owner, group } = facts
  const type = isDirectory ? 'directory' : 'file'
  return { path, type, size, replication: goal, mtimeMs, mode, owner, group }
}

/** `-rw-r--r--  3 ada staff      1234 2026-11-22 09:30 /a/b` */
export function formatRow(row: PathRow, humanSizes: boolean): string {
  const kind = row.type === 'directory' ? 'd' : '-'
  const replicas = row.type === 'directory' ? '-' : String(row.replication)
  const size = humanSizes ? formatBytes(row.size) : String(row.size)
  return [
    kind + formatMode(row.mode),
    replicas.padStart(2),
    (row.owner || '-').padEnd(8),
    (row.group || '-').padEnd(8),
    size.padStart(12),
    formatTime(row.mtimeMs),
    printable(row.path),
  ].join(' ')
}

/** A path for people: on a terminal without what would steer it, `\u{a}` for a line's end; as it is for programs. */
export function printable(path: string): string {
  return process.stdout.isTTY ? withoutControls(path) : path
}

/** `rw-r--r--`; set-id and sticky bits are not shown. */
export function formatMode(mode: number): string {
  let text = ''
  for (let bit = 8; bit >= 0; bit--) text += mode & (1 << bit) ? 'xwr'[bit % 3] : '-'
  return text
}

/** `2026-11-22 09:30`, local time. */
export function formatTime(ms: number): string {
  const date = new Date(ms)
  const two = (value: number) => String(value).padStart(2, '0')
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`
}

/** `/a` and `b` make `/a/b`. */
export function join(directory: string, name: string): string {
  return directory.endsWith('/') ? directory + name : `${directory}/${name}`
}

/** The last name of a path; '' for the root. Slashes at the end don't count. */
export function baseName(path: string): string {
  return path.replace(/\/+$/, '').split('/').at(-1) ?? ''
}

/** Without slashes at the end, which people type and shells complete; the root stays. */
export function trimSlashes(path: string): string {
  return path.replace(/(?<=.)\/+$/, '')
}
