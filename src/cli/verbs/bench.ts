// bench: what this cluster gives to the clients of this process, through the library as any program uses it.
//
// Everything is made in a directory of its own at the root, which is removed at the end for good, also after a failure
// or an interrupt. A `client` is a connection and a session of its own with one call under way at a time.

import { formatBytes } from '../../base/units.ts'
import type { Appender } from '../../client/appender.ts'
import type { Client } from '../../client/index.ts'
import type { Clock } from '../../io/clock.ts'
import { type DfsContext, defineDfsVerb } from '../context.ts'
import { UsageError } from '../failure.ts'
import { table } from './table.ts'

/** Bytes that are written again and again: of no pattern, so that nothing on the way can make them fewer. */
const sampleBytes = 4 * 2 ** 20
/** The longest that tidying up takes after an interrupt, ms; what is left then is named. */
const tidyMsMax = 1_500

export const benchThroughput = defineDfsVerb({
  usage: '[--size SIZE] [--files N] [--clients N]',
  words: [0, 0],
  options: {
    size: { kind: 'size', default: '256MiB', describe: 'bytes of each file' },
    files: { kind: 'number', default: '4', min: 1, max: 100_000, describe: 'files' },
    clients: { kind: 'number', default: '1', min: 1, max: 256, describe: 'writers, then readers, at once' },
  },
  examples: [
    ['dfs bench throughput', '1 GiB written and read by one client, one file after the other'],
    ['dfs bench throughput --size 64MiB --files 64 --clients 8', 'by eight at once'],
  ],
  async run({ context, values: { size, files, clients: count } }) {
    const { io, out, signal } = context
    await withDirectory(context, async (directory, client) => {
      const clients = await connectAll(context, count)
      const sample = io.entropy.bytes(Math.min(sampleBytes, Math.max(1, size)))
      const pathOf = (file: number) => `${directory}/${file}`
      const writeMs = await timed(io.clock, clients, files, async (by, file) => {
        await by.writeFile(pathOf(file), repeated(sample, size), { signal })
      })
      const readMs = await timed(io.clock, clients, files, async (by, file) => {
        for await (const _ of by.readStream(pathOf(file), { signal })) signal.throwIfAborted()
      })
      const bytes = size * files
      const result = {
        writeBytesPerSecond: perSecond(bytes, writeMs),
        readBytesPerSecond: perSecond(bytes, readMs),
        bytes,
        replicas: client.cluster.goal,
      }
      await out.document(result, () =>
        table(
          ['', 'bytes', 'seconds', 'per second'],
          [
            [`write, ${result.replicas} replicas`, formatBytes(bytes), seconds(writeMs), rate(bytes, writeMs)],
            ['read, verified', formatBytes(bytes), seconds(readMs), rate(bytes, readMs)],
          ],
        ),
      )
    })
    return undefined
  },
})

export const benchMeta = defineDfsVerb({
  usage: '[--clients N] [--files N]',
  words: [0, 0],
  options: {
    clients: { kind: 'number', default: '32', min: 1, max: 256, describe: 'clients at once, one call under way each' },
    files: { kind: 'number', default: '10000', min: 1, max: 10_000_000, describe: 'empty files, all clients together' },
  },
  examples: [['dfs bench meta --clients 64', 'creates, stats, renames and removes of empty files a second']],
  async run({ context, values: { clients: count, files } }) {
    const { io, out, signal } = context
    await withDirectory(context, async (directory, client) => {
      const clients = await connectAll(context, count)
      const directories = Math.ceil(files / filesPerDirectory)
      for (let index = 0; index < directories; index++) {
        await client.makeDirectory(`${directory}/${index}`, { signal })
      }
      const pathOf = (file: number) => `${directory}/${Math.floor(file / filesPerDirectory)}/${file}`
      const nothing = new Uint8Array(0)
      const createMs = new Float64Array(files)
      const creates = await timed(io.clock, clients, files, async (by, file) => {
        const startMs = io.clock.nowMs()
        await by.writeFile(pathOf(file), nothing, { signal })
        createMs[file] = io.clock.nowMs() - startMs
      })
      const stats = await timed(io.clock, clients, files, async (by) => {
        await by.stat(pathOf(io.entropy.below(files)), { signal })
      })
      const renames = await timed(io.clock, clients, files, async (by, file) => {
        await by.rename(pathOf(file), `${pathOf(file)}.renamed`, { signal })
      })
      const removes = await timed(io.clock, clients, files, async (by, file) => {
        await by.remove(`${pathOf(file)}.renamed`, { now: true, signal })
      })
      createMs.sort()
      const result = {
        createsPerSecond: perSecond(files, creates),
        statsPerSecond: perSecond(files, stats),
        renamesPerSecond: perSecond(files, renames),
        removesPerSecond: perSecond(files, removes),
        p50Ms: quantile(createMs, 0.5),
        p99Ms: quantile(createMs, 0.99),
      }
      await out.document(result, () =>
        table(
          ['', 'a second', 'p50', 'p99'],
          [
            ['creates, durable', String(result.createsPerSecond), `${result.p50Ms} ms`, `${result.p99Ms} ms`],
            ['stats, random', String(result.statsPerSecond), '', ''],
            ['renames', String(result.renamesPerSecond), '', ''],
            ['removes', String(result.removesPerSecond), '', ''],
          ],
        ),
      )
    })
    return undefined
  },
})

export const benchAppend = defineDfsVerb({
  usage: '[--clients N] [--records N] [--size SIZE]',
  words: [0, 0],
  options: {
    clients: { kind: 'number', default: '4', min: 1, max: 256, describe: 'writers of one file at once' },
    records: {
      kind: 'number',
      default: '200000',
      min: 1,
      max: 1_000_000_000,
      describe: 'records, all clients together',
    },
    size: { kind: 'size', default: '100', describe: 'bytes of each record, at least 1' },
  },
  examples: [
    ['dfs bench append --clients 16', 'records a second that many writers add to one file, synced at the end'],
  ],
  async run({ context, values: { clients: count, records, size } }) {
    if (size < 1) throw new UsageError('--size 0: a record has at least one byte')
    const { io, out, signal } = context
    await withDirectory(context, async (directory, client) => {
      const path = `${directory}/records`
      await client.writeFile(path, new Uint8Array(0), { signal })
      const clients = await connectAll(context, count)
      const record = io.entropy.bytes(size)
      // Each client's share is one thing to do: opened, appended, synced.
      const ms = await timed(io.clock, clients, count, async (by, index) => {
        const share = Math.floor(records / count) + (index < records % count ? 1 : 0)
        await appendAll(await by.openAppender(path, { signal }), record, share)
      })
      const bytes = records * size
      const result = { recordsPerSecond: perSecond(records, ms), bytesPerSecond: perSecond(bytes, ms) }
      await out.document(result, () =>
        table(
          ['', 'records', 'seconds', 'records a second', 'bytes a second'],
          [['appends, synced', String(records), seconds(ms), String(result.recordsPerSecond), rate(bytes, ms)]],
        ),
      )
    })
    return undefined
  },
})

const filesPerDirectory = 1000

/** Appends a record `count` times, as fast as there is room, and closes. */
async function appendAll(appender: Appender, record: Uint8Array, count: number): Promise<void> {
  let failure: { readonly error: unknown } | undefined
  for (let index = 0; index < count && failure === undefined; index++) {
    if (!appender.hasRoom) await appender.room()
    appender.append(record).catch((error: unknown) => {
      failure ??= { error }
    })
  }
  await appender.close()
  if (failure !== undefined) throw failure.error
}

/** Runs `work` with a fresh directory and removes that with all that is in it, whatever happened. */
async function withDirectory(
  context: DfsContext,
  work: (directory: string, client: Client) => Promise<void>,
): Promise<void> {
  const { io, out, signal } = context
  const client = await context.client()
  const directory = `/dfs-bench-${io.entropy.bytes(6).toString('hex')}`
  await client.makeDirectory(directory, { signal })
  try {
    await work(directory, client)
  } finally {
    const patience = signal.aborted ? { deadlineMs: tidyMsMax } : { signal }
    await client.remove(directory, { recursive: true, now: true, ...patience }).catch((error: unknown) => {
      out.warn(`${directory} is left: ${error instanceof Error ? error.message : error}`)
    })
  }
}

function connectAll(context: DfsContext, count: number): Promise<readonly Client[]> {
  return Promise.all(Array.from({ length: count }, () => context.anotherClient()))
}

/** Does `count` things, each client one at a time, whoever is free the next. @returns ms until the last was done */
async function timed(
  clock: Clock,
  clients: readonly Client[],
  count: number,
  work: (client: Client, index: number) => Promise<void>,
): Promise<number> {
  const startMs = clock.nowMs()
  let next = 0
  let isFailed = false
  const ended = await Promise.allSettled(
    clients.map(async (client) => {
      try {
        while (next < count && !isFailed) await work(client, next++)
      } catch (error) {
        isFailed = true
        throw error
      }
    }),
  )
  const failed = ended.find((one) => one.status === 'rejected')
  if (failed) throw failed.reason
  return clock.nowMs() - startMs
}

function* repeated(sample: Uint8Array, bytes: number): Generator<Uint8Array, void, undefined> {
  for (let left = bytes; left > 0; left -= sample.length) {
    yield left < sample.length ? sample.subarray(0, left) : sample
  }
}

function perSecond(amount: number, ms: number): number {
  return Math.round((amount * 1000) / Math.max(ms, 0.001))
}

function rate(bytes: number, ms: number): string {
  return `${formatBytes(perSecond(bytes, ms))}/s`
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(2)
}

/** @param sorted  ascending, at least one; @param share  0 .. 1 */
function quantile(sorted: Float64Array, share: number): number {
  const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!
  return Math.round(value * 100) / 100
}
