// trash ls, restore, empty: what `rm` removed, until the retention window ends.

import { DfsError } from '../../base/errors.ts'
import { formatBytes, formatDuration } from '../../base/units.ts'
import type { Client } from '../../client/index.ts'
import { defineDfsVerb } from '../context.ts'
import { formatTime, trimSlashes } from './rows.ts'

export const trashList = defineDfsVerb({
  usage: '',
  words: [0, 0],
  options: {},
  examples: [['dfs trash ls', 'what can be had back, and for how long']],
  async run({ context }) {
    const client = await context.client()
    const { out, signal } = context
    for await (const entry of client.trashAll({ signal })) {
      const { id, path, isDirectory, size, removedMs, expiresInMs } = entry
      const row = { id, path, type: isDirectory ? 'directory' : 'file', size, removedMs, expiresInMs }
      if (out.json) await out.row(row)
      else {
        const left = `${formatDuration(expiresInMs)} left`
        const shown = isDirectory ? '-' : formatBytes(size)
        await out.line(
          `${String(id).padStart(6)} ${formatTime(removedMs)} ${left.padStart(12)} ${shown.padStart(10)} ${path}`,
        )
      }
    }
    return undefined
  },
})

export const trashRestore = defineDfsVerb({
  usage: 'ID|PATH [TO]',
  words: [1, 2],
  options: {},
  examples: [
    ['dfs trash restore /data/a', 'the last thing removed there, back where it was'],
    ['dfs trash restore 12 /data/b', 'by its number, to another place'],
  ],
  async run({ context, words: [what = '', to = ''] }) {
    const client = await context.client()
    const { signal } = context
    const id = await findEntry(client, what, signal)
    await client.trashRestore(id, { to: to === '' ? undefined : trimSlashes(to), signal })
    return undefined
  },
})

export const trashEmpty = defineDfsVerb({
  usage: '[ID|PATH]',
  words: [0, 1],
  options: {},
  examples: [['dfs trash empty', 'all of it, now']],
  async run({ context, words: [what] }) {
    const client = await context.client()
    const { signal } = context
    await client.trashEmpty(what === undefined ? 0 : await findEntry(client, what, signal), { signal })
    return undefined
  },
})

/** The number of an entry, given itself or by the path that it had: then the one removed last. */
async function findEntry(client: Client, what: string, signal: AbortSignal): Promise<number> {
  if (/^[1-9][0-9]{0,15}$/.test(what)) return Number(what)
  const path = trimSlashes(what)
  let found = 0
  for await (const entry of client.trashAll({ signal })) if (entry.path === path && entry.id > found) found = entry.id
  if (found === 0) throw new DfsError('NOT_FOUND', `${path}: nothing in the trash had this path`)
  return found
}
