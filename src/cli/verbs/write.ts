// append, write, truncate, concat: bytes of a file that is there.

import { parseSize } from '../../base/units.ts'
import { defineDfsVerb } from '../context.ts'
import { UsageError } from '../failure.ts'
import { readAll, readLocal } from './local-source.ts'
import { inodeDefaults } from './owner.ts'
import { trimSlashes } from './rows.ts'

export const append = defineDfsVerb({
  usage: 'PATH [LOCAL…]',
  words: [1, Number.POSITIVE_INFINITY],
  options: {},
  examples: [
    ['dfs append /logs/today part-1 part-2', 'two files as one stream'],
    ['date | dfs append /logs/today -', 'standard input; the file is made when missing'],
  ],
  async run({ context, words: [word = '', ...locals] }) {
    const client = await context.client()
    const { signal } = context
    const path = trimSlashes(word)
    const sources = locals.length === 0 ? ['-'] : locals
    await client.append(path, readAll(sources, context), { create: true, ...inodeDefaults(), signal })
    return undefined
  },
})

export const write = defineDfsVerb({
  usage: 'PATH --offset N [LOCAL]',
  words: [1, 2],
  options: { offset: { kind: 'size', required: true, describe: 'where the first byte goes; zeros fill a gap' } },
  examples: [['dfs write /db/pages --offset 8KiB page-2', 'overwrite in place, extend at the end']],
  async run({ context, values: { offset }, words: [word = '', local = '-'] }) {
    const client = await context.client()
    const { signal } = context
    const path = trimSlashes(word)
    await client.writeAt(path, offset, readLocal(local, context), { signal })
    return undefined
  },
})

export const truncate = defineDfsVerb({
  usage: 'SIZE PATH…',
  words: [2, Number.POSITIVE_INFINITY],
  options: {},
  examples: [['dfs truncate 1MiB /data/a', 'cut, or extended with zeros']],
  async run({ context, words: [text = '', ...paths] }) {
    const size = parseSize(text)
    if (size === undefined) throw new UsageError(`${text}: a size like 64MiB, 10GB or 4096 is wanted`)
    const client = await context.client()
    for (const path of paths.map(trimSlashes)) {
      await client.truncate(path, size, { signal: context.signal }).catch(context.complain)
    }
    return undefined
  },
})

export const concat = defineDfsVerb({
  usage: 'DST SRC…',
  words: [2, Number.POSITIVE_INFINITY],
  options: {},
  examples: [['dfs concat /data/all /data/part-1 /data/part-2', 'the parts are removed; no byte moves']],
  async run({ context, words: [target = '', ...sources] }) {
    const client = await context.client()
    await client.concat(trimSlashes(target), sources.map(trimSlashes), { signal: context.signal })
    return undefined
  },
})
