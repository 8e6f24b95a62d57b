// append, write, truncate, concat: bytes of a file that is there.

import { RECORD_BYTES_MAX } from '../../base/limits.ts'
import { parseSize } from '../../base/units.ts'
import type { Appender } from '../../client/appender.ts'
import { defineDfsVerb } from '../context.ts'
import { UsageError } from '../failure.ts'
import { readAll, readLocal } from './local-source.ts'
import { inodeDefaults } from './owner.ts'
import { cutOf, linesOf } from './records.ts'
import { trimSlashes } from './rows.ts'

export const append = defineDfsVerb({
  usage: '[--record [--record-size N]] PATH [LOCAL…]',
  words: [1, Number.POSITIVE_INFINITY],
  options: {
    record: {
      kind: 'flag',
      describe: 'each line with its newline is a record: many may append at once, each exactly once',
    },
    'record-size': { kind: 'size', describe: 'records of so many bytes instead of lines' },
  },
  examples: [
    ['dfs append /logs/today part-1 part-2', 'two files as one stream'],
    ['date | dfs append /logs/today -', 'standard input; the file is made when missing'],
    ['program | dfs append --record /logs/today', 'line by line, beside other writers of the same file'],
  ],
  async run({ context, values: { record, 'record-size': recordSize }, words: [word = '', ...locals] }) {
    const client = await context.client()
    const { signal } = context
    const path = trimSlashes(word)
    const sources = locals.length === 0 ? ['-'] : locals
    if (recordSize !== undefined && (recordSize < 1 || recordSize > RECORD_BYTES_MAX)) {
      throw new UsageError(`--record-size ${recordSize}: 1 to ${RECORD_BYTES_MAX} bytes are taken`)
    }
    if (record || recordSize !== undefined) {
      const bytes = readAll(sources, context)
      const records = recordSize === undefined ? linesOf(bytes) : cutOf(bytes, recordSize)
      await appendRecords(await client.openAppender(path, { create: true, ...inodeDefaults(), signal }), records)
      return undefined
    }
    await client.append(path, readAll(sources, context), { create: true, ...inodeDefaults(), signal })
    return undefined
  },
})

/** Appends as fast as records come; durable when it resolves. The first fault ends it. */
async function appendRecords(appender: Appender, records: AsyncIterable<Buffer[]>): Promise<void> {
  let fault: unknown
  try {
    for await (const record of records) {
      await appender.room()
      if (fault !== undefined) break
      appender.append(record).catch((error: unknown) => {
        fault ??= error
      })
    }
  } catch (error) {
    // What came before the fault is made durable all the same.
    fault ??= error
  }
  try {
    await appender.close()
  } catch (error) {
    fault ??= error
  }
  if (fault !== undefined) throw fault
}

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
