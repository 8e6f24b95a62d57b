// admin repair: what waits for copies, how fast they come, and what it took lately.

import { formatBytes, formatDuration } from '../../base/units.ts'
import { defineDfsVerb } from '../context.ts'
import { asReport } from './documents.ts'
import { table } from './table.ts'

export const adminRepair = defineDfsVerb({
  usage: '',
  words: [0, 0],
  options: {},
  examples: [['dfs admin repair', 'chunks that wait for copies, by the whole replicas left; rate and time to go']],
  async run({ context }) {
    const client = await context.client()
    const { repair } = asReport(await client.report({ signal: context.signal }))
    await context.out.document(repair, () => {
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
        `${inFlight} copies under way, ${formatBytes(bytesPerSecond)}/s, ${eta}`,
        `${copied.copies} copies, ${formatBytes(copied.bytes)} since the master started`,
        ...(past.length === 0 ? [] : [table(['lost', 'copies', 'bytes', 'detection', 'plan', 'copying'], past)]),
      ].join('\n')
    })
    return undefined
  },
})
