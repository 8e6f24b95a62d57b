// setrep, chmod, chown, setfattr, getfattr.

import { DfsError } from '../../base/errors.ts'
import { REPLICAS_MAX } from '../../base/limits.ts'
import type { Client } from '../../client/index.ts'
import { type DfsContext, defineDfsVerb } from '../context.ts'
import { UsageError } from '../failure.ts'
import { trimSlashes } from './rows.ts'
import { walk } from './walk.ts'

const many = [2, Number.POSITIVE_INFINITY] as const
const goalLookMs = 500
const recursive = { kind: 'flag', alias: 'R', describe: 'with all below' } as const

export const setrep = defineDfsVerb({
  usage: '[-w] [-R] N PATH…',
  words: many,
  options: { recursive, wait: { kind: 'flag', alias: 'w', describe: 'until there are so many' } },
  examples: [
    ['dfs setrep -R 2 /scratch', 'two replicas of each chunk are enough'],
    [
      'dfs --deadline 10m setrep -w 3 /data/a',
      'returns when three whole replicas are there, at most ten minutes later',
    ],
  ],
  async run({ context, values, words: [count = '', ...paths] }) {
    const goal = /^[0-9]{1,2}$/.test(count) ? Number(count) : 0
    if (goal < 1 || goal > REPLICAS_MAX) throw new UsageError(`${count}: 1 to ${REPLICAS_MAX} replicas are possible`)
    await each(context, paths, values.recursive, async (client, path, isDirectory) => {
      if (!isDirectory) await client.setAttributes(path, { goal }, { signal: context.signal })
      else if (!values.recursive)
        throw new DfsError('IS_A_DIRECTORY', `${path} is a directory: setrep -R takes all below it`)
    })
    if (values.wait) for (const path of paths) await goalMet(context, trimSlashes(path), goal)
    return undefined
  },
})

/**
 * Resolves when every chunk below `path` has `goal` whole replicas. A chunk may be wanted more often: a snapshot that
 * shares it may have a higher goal of its own, which is not what is waited for.
 */
async function goalMet({ client: connect, out, signal, io }: DfsContext, path: string, goal: number): Promise<void> {
  const client = await connect()
  for (let told = ''; ; ) {
    let lacking = 0
    const { chunks } = await client.fsck(path, {
      signal,
      onPage: (page) => {
        for (const { whole } of page.chunks) if (whole < goal) lacking++
      },
    })
    if (lacking === 0) return
    const left = `${path}: ${lacking} of ${chunks} chunks to go`
    if (out.hasTerminal && left !== told) out.warn(left)
    told = left
    await io.clock.sleep(goalLookMs, signal)
  }
}

export const chmod = defineDfsVerb({
  usage: '[-R] MODE PATH…',
  words: many,
  options: { recursive },
  examples: [['dfs chmod 640 /data/a', 'octal digits']],
  async run({ context, values, words: [text = '', ...paths] }) {
    if (!/^[0-7]{1,4}$/.test(text)) throw new UsageError(`${text}: a mode of octal digits like 644 is wanted`)
    const mode = Number.parseInt(text, 8)
    await each(context, paths, values.recursive, (client, path) =>
      client.setAttributes(path, { mode }, { signal: context.signal }),
    )
    return undefined
  },
})

export const chown = defineDfsVerb({
  usage: '[-R] OWNER[:GROUP] PATH…',
  words: many,
  options: { recursive },
  examples: [['dfs chown ada:research /data/a', ':GROUP alone changes the group']],
  async run({ context, values, words: [who = '', ...paths] }) {
    const [owner, group, ...rest] = who.split(':')
    if (rest.length > 0 || (!owner && !group)) throw new UsageError(`${who}: OWNER, OWNER:GROUP or :GROUP is wanted`)
    const change = { ...(owner ? { owner } : {}), ...(group ? { group } : {}) }
    await each(context, paths, values.recursive, (client, path) =>
      client.setAttributes(path, change, { signal: context.signal }),
    )
    return undefined
  },
})

export const setfattr = defineDfsVerb({
  usage: '-n NAME [-v VALUE] PATH… | -x NAME PATH…',
  words: [1, Number.POSITIVE_INFINITY],
  options: {
    name: { kind: 'text', alias: 'n', describe: 'the attribute to set' },
    value: { kind: 'text', alias: 'v', default: '', describe: 'its value' },
    remove: { kind: 'text', alias: 'x', describe: 'the attribute to remove' },
  },
  examples: [['dfs setfattr -n user.origin -v lab-3 /data/a', 'a value of your own']],
  async run({ context, values: { name, value, remove }, words }) {
    if ((name === undefined) === (remove === undefined)) throw new UsageError('either -n NAME or -x NAME is wanted')
    const attributes = name === undefined ? { [remove ?? '']: null } : { [name]: value }
    await each(context, words, false, (client, path) =>
      client.setAttributes(path, { attributes }, { signal: context.signal }),
    )
    return undefined
  },
})

export const getfattr = defineDfsVerb({
  usage: '[-n NAME] [-d] PATH…',
  words: [1, Number.POSITIVE_INFINITY],
  options: {
    name: { kind: 'text', alias: 'n', describe: 'only this attribute' },
    dump: { kind: 'flag', alias: 'd', describe: 'all of them, which is also what happens without -n' },
  },
  examples: [['dfs getfattr -d /data/a', 'all attributes']],
  async run({ context, values: { name }, words }) {
    const { out, signal } = context
    await each(context, words, false, async (client, path) => {
      const facts = await client.stat(path, { signal })
      const found = facts.attributes.filter((attribute) => name === undefined || attribute.name === name)
      if (name !== undefined && found.length === 0) throw new DfsError('NOT_FOUND', `${path} has no attribute ${name}`)
      const attributes = Object.fromEntries(found.map((attribute) => [attribute.name, attribute.value]))
      await out.document({ path, attributes }, () =>
        [`# file: ${path}`, ...found.map((attribute) => `${attribute.name}=${JSON.stringify(attribute.value)}`)].join(
          '\n',
        ),
      )
    })
    return undefined
  },
})

/** Calls `act` for each path, and with `deep` for all below; goes on after a failure. */
async function each(
  context: DfsContext,
  paths: readonly string[],
  deep: boolean,
  act: (client: Client, path: string, isDirectory: boolean) => Promise<unknown>,
): Promise<void> {
  const client = await context.client()
  for (const path of paths.map(trimSlashes)) {
    try {
      const { isDirectory } = await client.stat(path, { signal: context.signal })
      await act(client, path, isDirectory)
      if (!deep || !isDirectory) continue
      for await (const { row } of walk(client, path, context.signal)) {
        await act(client, row.path, row.type === 'directory').catch(context.complain)
      }
    } catch (error) {
      context.complain(error)
    }
  }
}
