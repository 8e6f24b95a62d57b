// info, report, admin: where chunks are, how the servers are, what an operator may do.

import { type ChunkHandle, formatHandle, HOLE } from '../../base/ids.ts'
import { formatBytes, formatDuration } from '../../base/units.ts'
import { defineDfsVerb } from '../context.ts'
import { asInfo, asReport } from './documents.ts'
import { trimSlashes } from './rows.ts'
import { table } from './table.ts'

export const info = defineDfsVerb({
  usage: 'PATH',
  words: [1, 1],
  options: {},
  examples: [['dfs info /data/a', 'its extents, and each chunk with its replicas']],
  async run({ context, words: [path = ''] }) {
    const client = await context.client()
    const facts = asInfo(await client.info(trimSlashes(path), { signal: context.signal }))
    await context.out.document(facts, () => {
      const extents = facts.extents.map(({ offset, length, handle, chunkOffset }) => [
        String(offset),
        String(length),
        handle === HOLE ? 'zeros' : formatHandle(handle as ChunkHandle),
        String(chunkOffset),
      ])
      const chunks = facts.chunks.map((chunk) => [
        formatHandle(chunk.handle as ChunkHandle),
        chunk.state,
        String(chunk.version),
        String(chunk.length),
        chunk.digest ?? '-',
        `${chunk.replicas.length}/${chunk.goal}`,
        chunk.replicas.map((replica) => `${replica.server} ${replica.address} ${replica.state}`).join('\n') ||
          'none known',
      ])
      return [
        `${facts.path}: ${facts.size} bytes`,
        table(['offset', 'length', 'chunk', 'at'], extents),
        table(['chunk', 'state', 'version', 'length', 'digest', 'replicas', 'where'], chunks),
      ].join('\n')
    })
    return undefined
  },
})

export const report = defineDfsVerb({
  usage: '',
  words: [0, 0],
  options: {},
  examples: [['dfs report', 'every server, totals, and what repair has to do']],
  async run({ context }) {
    const client = await context.client()
    const facts = asReport(await client.report({ signal: context.signal }))
    await context.out.document(facts, () => {
      const servers = facts.servers.map((server) => [
        server.id,
        server.address,
        server.state,
        [server.zone, server.rack].filter((part) => part !== '').join('/') || '-',
        formatBytes(server.usedBytes),
        formatBytes(server.capacityBytes),
        String(server.chunks),
        server.lastContactMs === null ? 'never' : `${formatDuration(server.lastContactMs)} ago`,
      ])
      const { totals, repair, safeMode } = facts
      const missing = `${repair.missing} missing, ${repair.corrupt} corrupt, ${repair.lastCopy} last copies`
      return [
        `cluster ${facts.clusterId}`,
        ...(safeMode.on ? [`safe mode: ${safeMode.reason ?? 'on'}`] : []),
        table(['server', 'address', 'state', 'zone/rack', 'used', 'capacity', 'chunks', 'last contact'], servers),
        `${totals.files} files, ${totals.directories} directories, ${totals.chunks} chunks, ${formatBytes(totals.bytes)}`,
        `replicas: ${missing}, ${repair.underReplicated} under-replicated, ${repair.overReplicated} over-replicated`,
        ...(repair.retainedEarly === 0
          ? []
          : [`disks are almost full: ${repair.retainedEarly} of what was removed went before its time`]),
      ].join('\n')
    })
    return undefined
  },
})

export const adminCheckpoint = defineDfsVerb({
  usage: '',
  words: [0, 0],
  options: {},
  examples: [['dfs admin checkpoint', 'the log up to now is in a checkpoint when it returns']],
  async run({ context }) {
    const client = await context.client()
    const logIndex = await client.checkpoint({ signal: context.signal })
    await context.out.document({ logIndex }, () => `checkpoint at log index ${logIndex}`)
    return undefined
  },
})

export const adminAcceptRollback = defineDfsVerb({
  usage: '',
  words: [0, 0],
  options: {},
  examples: [['dfs admin accept-rollback', "after a restore of the master's log from a copy"]],
  async run({ context }) {
    const client = await context.client()
    const lostIndex = await client.acceptRollback({ signal: context.signal })
    await context.out.document({ lostIndex }, () => `accepted: log records up to ${lostIndex} may be lost`)
    return undefined
  },
})
