// admin repair: what waits for copies, how fast they come, and what it took lately.

import { COPIES_PER_SERVER_MAX } from '../../base/limits.ts'
import { formatBytes, formatDuration } from '../../base/units.ts'
import { defineDfsVerb } from '../context.ts'
import { asReport } from './documents.ts'
import { table } from './table.ts'

export const adminRepair = defineDfsVerb({
  usage: '[--rate R] [--per-server N] [--reset]',
  words: [0, 0],
  options: {
    rate: {
      kind: 'size',
      flagOnly: true,
      describe: 'bytes a second that copies may take of each chunkserver from now on, last copies apart; 0: no limit',
    },
    'per-server': {
      kind: 'number',
      min: 1,
      max: COPIES_PER_SERVER_MAX,
      flagOnly: true,
      describe: 'copies to one chunkserver at a time from now on',
    },
    reset: {
      kind: 'flag',
      flagOnly: true,
      describe: 'both as the master was started again: dfsd master --repair-rate',
    },
  },
  examples: [
    ['dfs admin repair', 'chunks that wait for copies, by the whole replicas left; rate and time to go'],
    ['dfs admin repair --rate 50MiB', 'less for repair from now on, also after a restart of the master'],
  ],
  async run({ context, values }) {
    const client = await context.client()
    const { rate, 'per-server': copiesPerServer } = values
    const changes = {
      repairBytesPerSecond: rate,
      copiesPerServer,
      reset: values.reset ? (['repairBytesPerSecond', 'copiesPerServer'] as const) : [],
    }
    const limits = await client.copyLimits(changes, { signal: context.signal })
    const { repair } = asReport(await client.report({ signal: context.signal }))
    const { repairBytesPerSecond } = limits
    const document = { ...repair, limits: { bytesPerSecond: repairBytesPerSecond, perServer: limits.copiesPerServer } }
    await context.out.document(document, () => {
      const { queue, inFlight, bytesPerSecond, etaMs, copied, incidents } = repair
      const rows = [
        ['none, put together from damaged ones', String(queue.none)],
        ['one', String(queue.one)],
        ['two', String(queue.two)],
        ['more', String(queue.more)],
      ]
      const eta =
        etaMs === null ? 'time to go unknown' : etaMs === 0 ? 'nothing to do' : `${formatDuration(etaMs)} to go`
      const past = incidents.map((incident) => [
        incident.servers.join(' ') || '-',
        String(incident.copies),
        formatBytes(incident.bytes),
        formatDuration(incident.detectionMs),
        formatDuration(incident.planMs),
        formatDuration(incident.cloneMs),
      ])
      return [
        table(['whole replicas left', 'chunks that wait'], rows),
        repairBytesPerSecond === 0
          ? `no limit of bytes a second, ${limits.copiesPerServer} copies to a server`
          : `at most ${formatBytes(repairBytesPerSecond)}/s (last copies apart), ${limits.copiesPerServer} copies to a server`,
        `${inFlight} copies under way, ${formatBytes(bytesPerSecond)}/s, ${eta}`,
        `${copied.copies} copies, ${formatBytes(copied.bytes)} since the master started`,
        ...(past.length === 0 ? [] : [table(['lost', 'copies', 'bytes', 'detection', 'plan', 'copying'], past)]),
      ].join('\n')
    })
    return undefined
  },
})
