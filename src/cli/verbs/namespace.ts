// mkdir, rmdir, rm, touch: names come and go.

import { isDfsError } from '../../base/errors.ts'
import { defineDfsVerb } from '../context.ts'
import { inodeDefaults } from './owner.ts'
import { trimSlashes } from './rows.ts'

const many = [1, Number.POSITIVE_INFINITY] as const

export const mkdir = defineDfsVerb({
  usage: '[-p] PATH…',
  words: many,
  options: {
    parents: { kind: 'flag', alias: 'p', describe: 'with missing parents; no error when it is there' },
  },
  examples: [['dfs mkdir -p /data/2026/11', 'a directory and its parents']],
  async run({ context, values: { parents }, words }) {
    const client = await context.client()
    for (const path of words.map(trimSlashes)) {
      try {
        await client.makeDirectory(path, { parents, ...inodeDefaults(), mode: 0o755, signal: context.signal })
      } catch (error) {
        context.complain(error)
      }
    }
    return undefined
  },
})

export const rmdir = defineDfsVerb({
  usage: 'PATH…',
  words: many,
  options: {},
  examples: [['dfs rmdir /data/old', 'remove it if it is empty']],
  async run({ context, words }) {
    const client = await context.client()
    for (const path of words.map(trimSlashes)) {
      try {
        await client.remove(path, { directory: true, signal: context.signal })
      } catch (error) {
        context.complain(error)
      }
    }
    return undefined
  },
})

export const rm = defineDfsVerb({
  usage: '[-r] [-f] [--now] PATH…',
  words: many,
  options: {
    recursive: { kind: 'flag', alias: 'r', describe: 'directories with all below them' },
    force: { kind: 'flag', alias: 'f', describe: 'no error for what does not exist' },
    now: { kind: 'flag', describe: 'not into the trash: its space is free at once, and it is gone' },
  },
  examples: [
    ['dfs rm -r /data/old', 'see `dfs trash ls` to have it back'],
    ['dfs rm --now /data/huge', 'gone for good'],
  ],
  async run({ context, values: { recursive, force, now }, words }) {
    const client = await context.client()
    for (const path of words.map(trimSlashes)) {
      try {
        await client.remove(path, { recursive, now, signal: context.signal })
      } catch (error) {
        if (!(force && isDfsError(error, 'NOT_FOUND'))) context.complain(error)
      }
    }
    return undefined
  },
})

export const touch = defineDfsVerb({
  usage: 'PATH…',
  words: many,
  options: {},
  examples: [['dfs touch /data/done', 'an empty file, or the time of an old one']],
  async run({ context, words }) {
    const client = await context.client()
    const { io, signal } = context
    for (const path of words.map(trimSlashes)) {
      try {
        await client.writeFile(path, Buffer.alloc(0), { ...inodeDefaults(), signal })
      } catch (error) {
        if (!isDfsError(error, 'ALREADY_EXISTS') && !isDfsError(error, 'IS_A_DIRECTORY')) context.complain(error)
        else await client.setAttributes(path, { mtimeMs: io.clock.wallMs() }, { signal }).catch(context.complain)
      }
    }
    return undefined
  },
})
