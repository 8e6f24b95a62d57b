// mv, cp, snapshot: inside the cluster, where no byte moves.

import { DfsError, isDfsError } from '../../base/errors.ts'
import type { Client } from '../../client/index.ts'
import { defineDfsVerb } from '../context.ts'
import { baseName, join, trimSlashes } from './rows.ts'

const many = [2, Number.POSITIVE_INFINITY] as const

export const mv = defineDfsVerb({
  usage: '[-f] SRC… DST',
  words: many,
  options: { force: { kind: 'flag', alias: 'f', describe: 'replace an existing file (it goes to the trash)' } },
  examples: [['dfs mv /in/part-1 /done', 'into /done if that is a directory, else to that name']],
  async run({ context, values: { force }, words }) {
    const client = await context.client()
    const { signal } = context
    for (const [from, to] of await targets(client, words, signal)) {
      await client.rename(from, to, { overwrite: force, signal }).catch(context.complain)
    }
    return undefined
  },
})

export const cp = defineDfsVerb({
  usage: '[-r] [-f] SRC… DST',
  words: many,
  options: {
    recursive: { kind: 'flag', alias: 'r', describe: 'directories with all below them' },
    force: { kind: 'flag', alias: 'f', describe: 'replace an existing file (it goes to the trash)' },
  },
  examples: [['dfs cp -r /data /data-2026', 'a copy that shares all chunks']],
  async run({ context, values: { recursive, force }, words }) {
    const client = await context.client()
    const { signal } = context
    for (const [from, to] of await targets(client, words, signal)) {
      await client.copy(from, to, { recursive, overwrite: force, signal }).catch(context.complain)
    }
    return undefined
  },
})

export const snapshot = defineDfsVerb({
  usage: 'SRC DST',
  words: [2, 2],
  options: {},
  examples: [['dfs snapshot /db /snapshots/db-1', 'DST must not exist']],
  async run({ context, words: [from = '', to = ''] }) {
    const client = await context.client()
    await client.snapshot(trimSlashes(from), trimSlashes(to), { signal: context.signal })
    return undefined
  },
})

/** Source and target of each: into DST if that is a directory, else to DST itself, as `cp` and `mv` mean it. */
async function targets(
  client: Client,
  words: readonly string[],
  signal: AbortSignal,
): Promise<(readonly [from: string, to: string])[]> {
  const sources = words.slice(0, -1).map(trimSlashes)
  const last = words.at(-1) ?? ''
  const target = trimSlashes(last)
  if (sources.includes('/')) throw new DfsError('INVALID_MOVE', 'the root stays where it is: name what is in it')
  const isDirectory = await client.stat(target, { signal }).then(
    (facts) => facts.isDirectory,
    (error: unknown) => {
      if (isDfsError(error, 'NOT_FOUND')) return false
      throw error
    },
  )
  if (isDirectory) return sources.map((source) => [source, join(target, baseName(source))] as const)
  if (sources.length > 1) {
    throw new DfsError(
      'NOT_A_DIRECTORY',
      `${target} is no directory, and ${sources.length} sources can't become one file`,
      { next: `make it with \`dfs mkdir ${target}\`` },
    )
  }
  const [source = ''] = sources
  // A slash at the end says that a directory is meant: a file does not take its name.
  if (last !== target && !(await client.stat(source, { signal })).isDirectory) {
    const next = `make it with \`dfs mkdir ${target}\`, or leave the slash out`
    throw new DfsError('NOT_A_DIRECTORY', `${last}: there is no such directory`, { next })
  }
  return [[source, target]]
}
