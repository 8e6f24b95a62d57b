// ls, tree, find, stat: looking at names.

import type { Client } from '../../client/index.ts'
import { type DfsContext, defineDfsVerb } from '../context.ts'
import { UsageError } from '../failure.ts'
import { globExpression, sizeFilter } from './filters.ts'
import { baseName, formatMode, formatRow, join, type PathRow, pathRow, printable, trimSlashes } from './rows.ts'
import { walk } from './walk.ts'

export const ls = defineDfsVerb({
  usage: '[-R] [-h] [-t|-S] [-r] [-d] [--limit N --cursor C] [PATH…]',
  words: [0, Number.POSITIVE_INFINITY],
  options: {
    recursive: { kind: 'flag', alias: 'R', describe: 'with all below' },
    human: { kind: 'flag', alias: 'h', describe: 'sizes like 1.5 MiB' },
    long: { kind: 'flag', alias: 'l', describe: 'all about each entry, as always: for fingers that type it' },
    time: { kind: 'flag', alias: 't', describe: 'newest first' },
    size: { kind: 'flag', alias: 'S', describe: 'largest first' },
    reverse: { kind: 'flag', alias: 'r', describe: 'the other way round' },
    directory: { kind: 'flag', alias: 'd', describe: 'the directory itself, not what is in it' },
    limit: { kind: 'number', min: 1, describe: 'rows at most; says where to go on' },
    cursor: { kind: 'text', describe: 'go on after this name' },
  },
  examples: [
    ['dfs ls -h /data', 'the entries of /data'],
    ['dfs ls --limit 1000 --cursor part-0999 /data', 'the next thousand'],
  ],
  async run({ context, values, words }) {
    if (values.recursive && (values.limit !== undefined || values.cursor !== undefined)) {
      throw new UsageError('--limit and --cursor page through one directory: leave out -R')
    }
    const isSorted = values.time || values.size || values.reverse
    if (isSorted && values.cursor !== undefined) {
      throw new UsageError('--cursor goes on by name: leave out -t, -S and -r')
    }
    const client = await context.client()
    const { out } = context
    const print = (row: PathRow) => (out.json ? out.row(row) : out.line(formatRow(row, values.human)))
    for (const word of words.length === 0 ? ['/'] : words) {
      const path = trimSlashes(word)
      try {
        const self = pathRow(path, await client.stat(path, { signal: context.signal }))
        const rows = self.type === 'file' || values.directory ? [self] : entries(client, path, values, context)
        if (!isSorted) for await (const row of rows) await print(row)
        else for (const row of await sorted(rows, values)) await print(row)
      } catch (error) {
        context.complain(error)
      }
    }
    return undefined
  },
})

interface LsValues {
  readonly recursive: boolean
  readonly time: boolean
  readonly size: boolean
  readonly reverse: boolean
  readonly limit: number | undefined
  readonly cursor: string | undefined
}

async function* entries(client: Client, path: string, values: LsValues, context: DfsContext): AsyncGenerator<PathRow> {
  if (values.recursive) {
    for await (const { row } of walk(client, path, context.signal)) yield row
    return
  }
  // What is sorted otherwise is cut when it is: the first by name are not the newest.
  const isSorted = values.time || values.size || values.reverse
  const limit = (isSorted ? undefined : values.limit) ?? Number.POSITIVE_INFINITY
  const after = values.cursor === undefined ? undefined : baseName(values.cursor)
  let count = 0
  let last: string | undefined
  for await (const entry of client.listAll(path, { after, signal: context.signal })) {
    if (count === limit) {
      context.out.warn(`more follow: dfs ls --limit ${limit} --cursor '${last}' ${path}`)
      return
    }
    count++
    last = entry.name
    yield pathRow(join(path, entry.name), entry)
  }
}

async function sorted(rows: AsyncIterable<PathRow> | readonly PathRow[], values: LsValues): Promise<PathRow[]> {
  const all: PathRow[] = []
  for await (const row of rows) all.push(row)
  if (values.time) all.sort((a, b) => b.mtimeMs - a.mtimeMs)
  else if (values.size) all.sort((a, b) => b.size - a.size)
  if (values.reverse) all.reverse()
  return all.slice(0, values.limit)
}

export const tree = defineDfsVerb({
  usage: '[-L N] [PATH]',
  words: [0, 1],
  options: { levels: { kind: 'number', alias: 'L', min: 1, describe: 'levels shown at most' } },
  examples: [['dfs tree /data', 'everything below /data']],
  async run({ context, values, words: [word = '/'] }) {
    const client = await context.client()
    const path = trimSlashes(word)
    const { out, signal } = context
    const self = pathRow(path, await client.stat(path, { signal }))
    if (out.json) await out.row(self)
    else await out.line(printable(path))
    if (self.type === 'file') return undefined
    let files = 0
    let directories = 0
    // For each open level: whether more entries follow, which is drawn as a line down.
    const follows: boolean[] = []
    for await (const { row, depth, isLast } of walk(client, path, signal, 0, (values.levels ?? Infinity) - 1)) {
      if (row.type === 'file') files++
      else directories++
      follows.length = depth
      const margin = follows.map((more) => (more ? '│   ' : '    ')).join('')
      if (out.json) await out.row(row)
      else
        await out.line(
          `${margin}${isLast ? '└── ' : '├── '}${printable(baseName(row.path))}${row.type === 'directory' ? '/' : ''}`,
        )
      follows.push(!isLast)
    }
    if (!out.json) await out.line(`\n${directories} directories, ${files} files`)
    return undefined
  },
})

export const find = defineDfsVerb({
  usage: 'PATH… [-name GLOB] [-type f|d] [-size ±N]',
  words: [1, Number.POSITIVE_INFINITY],
  dashed: ['name', 'type', 'size'],
  options: {
    name: { kind: 'text', describe: 'names that match a pattern of * ? [abc]' },
    type: { kind: 'text', choices: ['f', 'd'], describe: 'f: files, d: directories' },
    size: { kind: 'text', describe: 'files of more (+10MiB), less (-10MiB) or exactly (10MiB) so many bytes' },
  },
  examples: [["dfs find /logs -name '*.gz' -size +64MiB", 'large archives below /logs']],
  async run({ context, values, words }) {
    const client = await context.client()
    const { out, signal } = context
    const name = values.name === undefined ? undefined : globExpression(values.name)
    const size = values.size === undefined ? undefined : sizeFilter(values.size)
    const type = values.type === undefined ? undefined : values.type === 'f' ? 'file' : 'directory'
    const take = async (row: PathRow) => {
      if (name && !name.test(baseName(row.path))) return
      if (type && row.type !== type) return
      if (size && !(row.type === 'file' && size(row.size))) return
      if (out.json) await out.row(row)
      else await out.line(printable(row.path))
    }
    for (const word of words) {
      const path = trimSlashes(word)
      try {
        const self = pathRow(path, await client.stat(path, { signal }))
        await take(self)
        if (self.type === 'directory') for await (const { row } of walk(client, path, signal)) await take(row)
      } catch (error) {
        context.complain(error)
      }
    }
    return undefined
  },
})

export const stat = defineDfsVerb({
  usage: 'PATH…',
  words: [1, Number.POSITIVE_INFINITY],
  options: {},
  examples: [['dfs stat --json /data/a', 'one JSON document']],
  async run({ context, words }) {
    const client = await context.client()
    for (const word of words) {
      const path = trimSlashes(word)
      try {
        const facts = await client.stat(path, { signal: context.signal, withChunks: true })
        const chunks = facts.chunks ?? 0
        const attributes = Object.fromEntries(facts.attributes.map(({ name, value }) => [name, value]))
        const { inode, ctimeMs } = facts
        const row = { ...pathRow(path, facts), inode, chunks, ctimeMs, attributes }
        await context.out.document(row, () =>
          [
            `path         ${path}`,
            `type         ${row.type}`,
            `size         ${row.size}`,
            ...(facts.isDirectory
              ? [`entries      ${facts.count}`]
              : [`replication  ${row.replication}`, `chunks       ${chunks}`]),
            `mode         ${(row.mode & 0o7777).toString(8).padStart(4, '0')} ${formatMode(row.mode)}`,
            `owner        ${row.owner}`,
            `group        ${row.group}`,
            `modified     ${new Date(row.mtimeMs).toISOString()}`,
            `changed      ${new Date(ctimeMs).toISOString()}`,
            `inode        ${inode}`,
            ...Object.entries(attributes).map(([name, value]) => `attribute    ${name}=${value}`),
          ].join('\n'),
        )
      } catch (error) {
        context.complain(error)
      }
    }
    return undefined
  },
})
