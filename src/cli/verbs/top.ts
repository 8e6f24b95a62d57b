// admin top: what the cluster does just now, made of two looks at its counters; on a terminal again and again.

import { formatBytes, formatDuration, SECOND_MS } from '../../base/units.ts'
import { defineDfsVerb } from '../context.ts'
import { table } from './table.ts'

/** Rows of each table told to people; --json has all. */
const rowsShownMax = 12
const clearScreen = '\x1b[H\x1b[2J'

/** Counters of a moment (master/requests/operators.ts). */
interface Look {
  readonly atMs: number
  readonly requests: Readonly<Record<string, number>>
  readonly servers: readonly ServerLook[]
  readonly repair: {
    readonly waiting: number
    readonly inFlight: number
    readonly bytesPerSecond: number
    readonly etaMs: number | null
  }
  readonly balance: { readonly inFlight: number; readonly bytesPerSecond: number }
  readonly files: number
  readonly chunks: number
  readonly sessions: number
  readonly pendingChanges: number
  readonly logIndex: number
}

interface ServerLook {
  readonly id: string
  readonly address: string
  readonly state: string
  readonly streams: number
  readonly queuedBytes: number
  readonly readBytes: number
  readonly writtenBytes: number
}

export const adminTop = defineDfsVerb({
  usage: '[--interval 1s] [--count N]',
  words: [0, 0],
  options: {
    interval: { kind: 'duration', default: '1s', describe: 'over which rates are taken, and between two looks' },
    count: {
      kind: 'number',
      min: 1,
      describe: 'looks before it ends; on a terminal it goes on until interrupted, else there is one',
    },
  },
  examples: [
    ['dfs admin top', 'on a terminal: fresh every second, until Ctrl-C'],
    ['dfs admin top --json --interval 10s', 'one document, rates over ten seconds'],
  ],
  async run({ context, values }) {
    const client = await context.client()
    const { signal, out, io } = context
    const isLive = process.stdout.isTTY === true && !out.json
    const count = values.count ?? (isLive ? Number.POSITIVE_INFINITY : 1)
    const intervalMs = Math.max(values.interval, SECOND_MS / 10)
    let before = (await client.top({ signal })) as Look
    for (let shown = 0; shown < count; shown++) {
      await io.clock.sleep(intervalMs, signal)
      const now = (await client.top({ signal })) as Look
      const rates = ratesOf(before, now)
      await out.document(rates, () => `${isLive ? clearScreen : ''}${textOf(rates)}`)
      await out.flush()
      before = now
    }
    return undefined
  },
})

/** A master that restarted between the looks begins at 0: what it has counted since is what is known. */
function ratesOf(before: Look, now: Look) {
  const isSame = now.atMs >= before.atMs && now.logIndex >= before.logIndex
  const seconds = Math.max(1, isSame ? now.atMs - before.atMs : now.atMs) / SECOND_MS
  const perSecond = (late: number, early = 0) => Math.round((10 * (late >= early ? late - early : late)) / seconds) / 10
  const { repair, balance, files, chunks, sessions, pendingChanges } = now
  const requests = Object.entries(now.requests)
    .map(([name, count]) => ({ name, perSecond: perSecond(count, before.requests[name]), total: count }))
    .sort((a, b) => b.perSecond - a.perSecond || b.total - a.total)
  const earlier = new Map(before.servers.map((server) => [server.id, server]))
  const servers = now.servers
    .map(({ readBytes, writtenBytes, ...server }) => ({
      ...server,
      readBytesPerSecond: Math.round(perSecond(readBytes, earlier.get(server.id)?.readBytes)),
      writtenBytesPerSecond: Math.round(perSecond(writtenBytes, earlier.get(server.id)?.writtenBytes)),
    }))
    .sort((a, b) => busy(b) - busy(a))
  return { seconds, requests, servers, repair, balance, files, chunks, sessions, pendingChanges }
}

type Rates = ReturnType<typeof ratesOf>

function busy({ readBytesPerSecond, writtenBytesPerSecond, streams }: Rates['servers'][number]): number {
  return readBytesPerSecond + writtenBytesPerSecond + streams
}

function textOf({ requests, servers, repair, balance, files, chunks, sessions, pendingChanges }: Rates): string {
  const total = requests.reduce((sum, { perSecond }) => sum + perSecond, 0)
  const eta = repair.waiting + repair.inFlight > 0 && repair.etaMs ? `, ${formatDuration(repair.etaMs)} to go` : ''
  return [
    `${files} files, ${chunks} chunks, ${sessions} sessions; ${total.toFixed(0)} requests/s, ${pendingChanges} changes wait for the log`,
    `repair: ${repair.waiting} chunks wait, ${repair.inFlight} copies under way, ${formatBytes(repair.bytesPerSecond)}/s${eta}; balance: ${balance.inFlight} moves, ${formatBytes(balance.bytesPerSecond)}/s`,
    '',
    table(
      ['request', 'a second', 'in all'],
      requests.slice(0, rowsShownMax).map(({ name, perSecond, total }) => [name, perSecond.toFixed(1), String(total)]),
    ),
    '',
    table(
      ['server', 'address', 'state', 'read/s', 'written/s', 'streams', 'queued'],
      servers
        .slice(0, rowsShownMax)
        .map((server) => [
          server.id,
          server.address,
          server.state,
          formatBytes(server.readBytesPerSecond),
          formatBytes(server.writtenBytesPerSecond),
          String(server.streams),
          formatBytes(server.queuedBytes),
        ]),
    ),
  ].join('\n')
}
