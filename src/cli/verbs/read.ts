// cat, head, tail, checksum: bytes out of the cluster, each one verified.

import { DfsError, isDfsError } from '../../base/errors.ts'
import type { Client } from '../../client/index.ts'
import { type DfsContext, defineDfsVerb } from '../context.ts'
import { trimSlashes } from './rows.ts'

const many = [1, Number.POSITIVE_INFINITY] as const
const followEveryMs = 500

export const cat = defineDfsVerb({
  usage: '[--offset N] [--length N] PATH…',
  words: many,
  options: {
    offset: { kind: 'size', default: '0', describe: 'first byte' },
    length: { kind: 'size', describe: 'bytes at most' },
  },
  examples: [['dfs cat --offset 1MiB --length 4KiB /data/a', 'a part of it']],
  async run({ context, values: { offset, length }, words }) {
    const client = await context.client()
    for (const path of words.map(trimSlashes)) {
      await copyOut(context, client, path, () => ({ offset, length })).catch(context.complain)
    }
    return undefined
  },
})

export const head = defineDfsVerb({
  usage: '[-c N] PATH…',
  words: many,
  options: { bytes: { kind: 'size', alias: 'c', default: '1KiB', describe: 'so many bytes' } },
  examples: [['dfs head -c 4KiB /data/a', 'the first 4096 bytes']],
  async run({ context, values: { bytes }, words }) {
    const client = await context.client()
    for (const path of words.map(trimSlashes)) {
      await copyOut(context, client, path, () => ({ offset: 0, length: bytes })).catch(context.complain)
    }
    return undefined
  },
})

export const tail = defineDfsVerb({
  usage: '[-c N] [-f] PATH',
  words: [1, 1],
  options: {
    bytes: { kind: 'size', alias: 'c', default: '1KiB', describe: 'so many bytes' },
    follow: { kind: 'flag', alias: 'f', describe: 'go on with what is appended, until interrupted' },
  },
  examples: [['dfs tail -f /logs/today', 'and what comes']],
  async run({ context, values: { bytes, follow }, words: [word = ''] }) {
    const client = await context.client()
    const path = trimSlashes(word)
    const { io, signal, out } = context
    let end = await copyOut(context, client, path, (size) => ({ offset: Math.max(0, size - bytes), length: bytes }))
    let inode = follow ? (await client.stat(path, { signal })).inode : 0
    while (follow) {
      await out.flush()
      await io.clock.sleep(followEveryMs, signal)
      const facts = await statAgain(client, path, signal)
      if (!facts) continue
      if (facts.inode !== inode || facts.size < end) {
        out.warn(`dfs tail: ${path} was ${facts.inode === inode ? 'cut' : 'replaced'}: going on from its start`)
        inode = facts.inode
        end = 0
      }
      if (facts.size > end) end = await copyOut(context, client, path, () => ({ offset: end, length: undefined }))
    }
    return undefined
  },
})

/** What is there now; undefined while nothing can be had: who follows waits. */
async function statAgain(client: Client, path: string, signal: AbortSignal) {
  try {
    return await client.stat(path, { signal })
  } catch (error) {
    if (isDfsError(error) && error.retriable) return undefined
    throw error
  }
}

interface Range {
  readonly offset: number
  /** Undefined: to the end. */
  readonly length: number | undefined
}

/** Writes a range to stdout. @returns the offset behind the last byte written */
async function copyOut(
  context: DfsContext,
  client: Client,
  path: string,
  rangeOf: (size: number) => Range,
): Promise<number> {
  const { out, signal } = context
  const reader = await client.openReader(path, { signal })
  try {
    const { offset, length } = rangeOf(reader.size)
    let end = Math.min(offset, reader.size)
    const print = async (slices: readonly Uint8Array[]) => {
      for (const slice of slices) await out.bytes(slice)
    }
    end += await reader.copyTo(print, { offset: end, length, signal })
    return end
  } finally {
    reader.close()
  }
}

export const checksum = defineDfsVerb({
  usage: 'PATH…',
  words: many,
  options: {},
  examples: [['dfs checksum /data/a', 'the same digits for the same bytes, however they are stored']],
  async run({ context, words }) {
    const client = await context.client()
    const { out, signal } = context
    for (const path of words.map(trimSlashes)) {
      try {
        const facts = await client.stat(path, { signal })
        if (facts.isDirectory) throw new DfsError('IS_A_DIRECTORY', `${path} is a directory`)
        const value = (await client.checksum(path, { signal })).toString(16).padStart(8, '0')
        await out.document({ path, checksum: value, size: facts.size }, () => `${value}  ${path}`)
      } catch (error) {
        context.complain(error)
      }
    }
    return undefined
  },
})
