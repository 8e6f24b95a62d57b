// du, df: where the bytes are.

import { formatBytes } from '../../base/units.ts'
import type { Client } from '../../client/index.ts'
import { defineDfsVerb } from '../context.ts'
import { asSpace } from './documents.ts'
import { join, type PathRow, pathRow, trimSlashes } from './rows.ts'
import { walk } from './walk.ts'

interface Usage {
  /** Bytes of files. */
  size: number
  /** The same with all replicas that are wanted. */
  sizeWithReplicas: number
}

export const du = defineDfsVerb({
  usage: '[-s] [-h] PATH…',
  words: [1, Number.POSITIVE_INFINITY],
  options: {
    summary: { kind: 'flag', alias: 's', describe: 'one line for each PATH' },
    human: { kind: 'flag', alias: 'h', describe: 'sizes like 1.5 MiB' },
  },
  examples: [['dfs du -h /data', 'each entry of /data: size, size with replicas, path']],
  async run({ context, values: { summary, human }, words }) {
    const client = await context.client()
    const { out, signal } = context
    const show = (bytes: number) => (human ? formatBytes(bytes) : String(bytes)).padStart(12)
    const print = async (path: string, { size, sizeWithReplicas }: Usage) => {
      if (out.json) await out.row({ path, size, sizeWithReplicas })
      else await out.line(`${show(size)} ${show(sizeWithReplicas)}  ${path}`)
    }
    for (const path of words.map(trimSlashes)) {
      try {
        const self = pathRow(path, await client.stat(path, { signal }))
        if (self.type === 'file' || summary) await print(path, await measure(client, self, signal))
        else {
          for await (const entry of client.listAll(path, { signal })) {
            const row = pathRow(join(path, entry.name), entry)
            await print(row.path, await measure(client, row, signal))
          }
        }
      } catch (error) {
        context.complain(error)
      }
    }
    return undefined
  },
})

async function measure(client: Client, row: PathRow, signal: AbortSignal): Promise<Usage> {
  const usage = { size: 0, sizeWithReplicas: 0 }
  const add = (file: PathRow) => {
    if (file.type !== 'file') return
    usage.size += file.size
    usage.sizeWithReplicas += file.size * file.replication
  }
  add(row)
  if (row.type === 'directory') for await (const { row: below } of walk(client, row.path, signal)) add(below)
  return usage
}

export const df = defineDfsVerb({
  usage: '[-h]',
  words: [0, 0],
  options: { human: { kind: 'flag', alias: 'h', describe: 'sizes like 1.5 MiB' } },
  examples: [['dfs df -h', 'capacity, used and free; live, retained and pending bytes']],
  async run({ context, values: { human } }) {
    const client = await context.client()
    const space = asSpace(await client.space({ signal: context.signal }))
    const show = (bytes: number) => (human ? formatBytes(bytes) : String(bytes)).padStart(16)
    await context.out.document(space, () =>
      [
        `capacity           ${show(space.capacityBytes)}`,
        `used by chunks     ${show(space.usedBytes)}`,
        `free               ${show(space.freeBytes)}`,
        `files, once        ${show(space.liveBytes)}`,
        `all replicas       ${show(space.replicaBytes)}`,
        `retained, once     ${show(space.retainedBytes)}  (trash ${show(space.trashBytes).trim()})`,
        `dead in chunks     ${show(space.deadBytes)}`,
        `pending deletion   ${show(space.pendingDeletionBytes)}  (${space.pendingDeletionChunks} replicas)`,
      ].join('\n'),
    )
    return undefined
  },
})
