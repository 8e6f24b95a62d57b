import Table from 'cli-table3'

/** A table for people: no lines but one under the heading. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const made = new Table({
    head: [...head],
    style: { head: ['bold'], 'padding-left': 0, 'padding-right': 2, compact: true },
    chars: plainLines,
    ...(process.stdout.isTTY ? {} : { style: { head: [], 'padding-left': 0, 'padding-right': 2, compact: true } }),
  })
  for (const row of rows) made.push([...row])
  return made
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}

const sides = ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right']
const inner = ['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid', 'middle']
const plainLines = Object.fromEntries([...sides, ...inner].map((name) => [name, '']))
