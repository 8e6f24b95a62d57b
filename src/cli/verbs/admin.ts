// admin servers, scrub, safemode: what an operator asks of the cluster's parts.

import { DfsError } from '../../base/errors.ts'
import { parseServer, type ServerId } from '../../base/ids.ts'
import { formatBytes, formatDuration } from '../../base/units.ts'
import { type DfsContext, defineDfsVerb } from '../context.ts'
import { UsageError } from '../failure.ts'
import { asReport, type Report } from './documents.ts'
import { table } from './table.ts'

const waitLookMs = 500
/** Blocking extents told to people; --json has them all. */
const blockersShownMax = 100

const intents = { drain: 'drain', maintain: 'maintain', resume: 'serve' } as const

export const adminServers = defineDfsVerb({
  usage: '[drain|maintain|resume ID] [--explain] [--for 1h]',
  words: [0, 2],
  options: {
    explain: { kind: 'flag', describe: 'which chunks and files keep the server from being switched off, and why' },
    for: { kind: 'duration', describe: 'how long maintenance lasts; until told otherwise when left out' },
  },
  examples: [
    ['dfs admin servers', 'every chunkserver, its disks and what is wanted of it'],
    ['dfs admin servers drain cs-3', 'no new chunks there, and what it holds is made elsewhere'],
    ['dfs admin servers maintain cs-3 --for 30m', 'no new chunks there for half an hour'],
    ['dfs admin servers drain cs-3 --explain', 'what the drain still waits for'],
  ],
  async run({ context, values, words: [action, id] }) {
    const client = await context.client()
    const { signal, out } = context
    if (action === undefined) {
      if (values.explain) return explainAll(context)
      const report = asReport(await client.report({ signal }))
      await out.document(report.servers, () => serverTable(report))
      return undefined
    }
    if (action !== 'drain' && action !== 'maintain' && action !== 'resume') {
      throw new UsageError(`${action}: drain, maintain or resume is wanted`)
    }
    if (id === undefined) throw new UsageError(`which server? dfs admin servers ${action} cs-1`)
    if (values.for !== undefined && action !== 'maintain') throw new UsageError('--for belongs to maintain')
    const server = serverOf(id)
    await client.setServerIntent(server, intents[action], { signal, forMs: values.for })
    if (!values.explain) {
      await out.document({ server: id, intent: intents[action] }, () => `${id}: ${words[action]}`)
      return undefined
    }
    await explain(context, id, server)
    return undefined
  },
})

const words = {
  drain: 'draining: it gets no new chunks, and its replicas no longer count towards goals',
  maintain: 'in maintenance: it gets no new chunks',
  resume: 'serving',
} as const

/** Why each server that is being drained is still needed. */
async function explainAll(context: DfsContext): Promise<undefined> {
  const client = await context.client()
  const { servers } = asReport(await client.report({ signal: context.signal }))
  for (const { id, state } of servers) if (state === 'draining') await explain(context, id, serverOf(id))
}

async function explain(context: DfsContext, id: string, server: ServerId): Promise<void> {
  const client = await context.client()
  const { out, signal } = context
  const blocking: object[] = []
  const lines: string[] = []
  const chunks = new Set<number>()
  let leftOut = 0
  await client.fsck('/', {
    signal,
    without: server,
    onPage: (page, byHandle) => {
      for (const { path, extents } of page.rows) {
        for (const { offset, length, handle } of extents) {
          const chunk = byHandle.get(handle as never)
          const own = chunk?.replicas.find((replica) => replica.server === server)
          if (chunk === undefined || own === undefined || chunk.whole >= chunk.goal) continue
          chunks.add(handle)
          const places = page.placeable
          const reason =
            chunk.whole === 0 && (own.state === 'good' || (own.state === 'open' && !chunk.isSealed))
              ? 'the last whole replica is there'
              : `${chunk.whole} of ${chunk.goal} replicas are elsewhere`
          const hindrance =
            places < chunk.goal ? `only ${places} other servers can take replicas` : 'a copy is still to be made'
          blocking.push({ path, offset, length, handle, reason, hindrance })
          if (lines.length < blockersShownMax)
            lines.push(`${path}: bytes ${offset} +${length}: ${reason}; ${hindrance}`)
          else leftOut++
        }
      }
    },
  })
  await out.document({ server: id, blockingChunks: chunks.size, blocking }, () =>
    [
      ...lines,
      ...(leftOut > 0 ? [`… and ${leftOut} more: see --json`] : []),
      chunks.size === 0
        ? `${id} holds nothing that is not whole elsewhere: it may be switched off`
        : `${id} is still needed for ${chunks.size} chunks`,
    ].join('\n'),
  )
}

export const adminScrub = defineDfsVerb({
  usage: '[ID] [--status]',
  words: [0, 1],
  options: {
    status: { kind: 'flag', describe: 'how far each disk is, and when all of it was checked last; begins nothing' },
  },
  examples: [
    ['dfs admin scrub cs-2', 'every replica of cs-2 is read and checked, starting now'],
    ['dfs admin scrub --status', 'where the scrubs are, disk by disk'],
  ],
  async run({ context, values, words: [id] }) {
    const client = await context.client()
    const server = id === undefined ? undefined : serverOf(id)
    if (values.status) {
      await scrubStatus(context, id)
      return undefined
    }
    const { begun, refused } = await client.scrub(server, { signal: context.signal })
    const name = (number: number) => `cs-${number}`
    const document = { begun: begun.map(name), refused: refused.map(name) }
    await context.out.document(document, () =>
      [
        begun.length === 0
          ? 'no server has begun'
          : `begun: ${document.begun.join(', ')}; see \`dfs admin scrub --status\``,
        ...(refused.length === 0 ? [] : [`not reached: ${document.refused.join(', ')}`]),
      ].join('\n'),
    )
    return refused.length > 0 ? 1 : undefined
  },
})

/** @param id  of one server; undefined: all */
async function scrubStatus(context: DfsContext, id: string | undefined): Promise<void> {
  const client = await context.client()
  const { servers } = asReport(await client.report({ signal: context.signal }))
  const meant = servers.filter((server) => id === undefined || server.id === id)
  if (id !== undefined && meant.length === 0) throw new DfsError('NOT_FOUND', `${id}: no such chunkserver`, { id })
  const disks = meant.flatMap((server) =>
    server.disks.map(({ path, state, scrubPermille, scrubAgeMs }) => ({
      server: server.id,
      path,
      state,
      scrubPermille,
      scrubAgeMs,
    })),
  )
  await context.out.document({ disks }, () =>
    table(
      ['server', 'disk', 'is', 'scrub', 'last full scrub'],
      disks.map(({ server, path, state, ...scrub }) => [server, path, state, ...scrubCells(scrub)]),
    ),
  )
}

type ScrubFacts = Pick<Report['servers'][number]['disks'][number], 'scrubPermille' | 'scrubAgeMs'>

function scrubCells({ scrubPermille, scrubAgeMs }: ScrubFacts): [string, string] {
  const age = scrubAgeMs === null ? 'never' : `${formatDuration(scrubAgeMs)} ago`
  return [`${(scrubPermille / 10).toFixed(1)} %`, age]
}

export const adminSafemode = defineDfsVerb({
  usage: 'get|enter|leave|wait',
  words: [1, 1],
  options: {},
  examples: [
    ['dfs admin safemode wait', 'returns when every known chunkserver has reported'],
    ['dfs admin safemode enter', 'nothing is copied or deleted until leave'],
  ],
  async run({ context, words: [action = ''] }) {
    if (action !== 'get' && action !== 'enter' && action !== 'leave' && action !== 'wait') {
      throw new UsageError(`${action}: get, enter, leave or wait is wanted`)
    }
    const client = await context.client()
    const { signal, out, io } = context
    let state = await client.safeMode(action === 'wait' ? 'get' : action, { signal })
    while (action === 'wait' && state.isOn) {
      await io.clock.sleep(waitLookMs, signal)
      state = await client.safeMode('get', { signal })
    }
    const { isOn, isManual, reason, leftMs } = state
    await out.document({ on: isOn, manual: isManual, reason, leftMs }, () => {
      if (!isOn) return 'safe mode is off'
      return `safe mode is on: ${reason}${isManual ? '' : `; ends by itself in ${formatDuration(leftMs)} at the latest`}`
    })
    return undefined
  },
})

function serverOf(text: string): ServerId {
  const id = parseServer(text)
  if (id === undefined) throw new UsageError(`${text} is no server: cs-1, cs-2 … as in \`dfs report\``)
  return id
}

function serverTable({ servers }: Report): string {
  const rows = servers.flatMap((server) => {
    const disks = server.disks.length === 0 ? [undefined] : server.disks
    return disks.map((disk, index) => [
      index === 0 ? server.id : '',
      index === 0 ? server.address : '',
      index === 0 ? server.state : '',
      disk?.path ?? '-',
      disk?.state ?? '-',
      disk === undefined ? '-' : formatBytes(disk.freeBytes),
      ...(disk === undefined ? ['-', '-'] : scrubCells(disk)),
    ])
  })
  return table(['server', 'address', 'state', 'disk', 'is', 'free', 'scrub', 'last full scrub'], rows)
}
