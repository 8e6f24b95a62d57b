// How fast names are made and found: one client, one connection, the log on a real disk with fdatasync.
//
//   node --import tsx bench/metadata-ops.ts [creates] [stats] [--files 100000] [--runs 3] [--dir .] [--profile DIR]
//
//   creates   durable creates of empty files, 64 in flight, a thousand files a directory; --files in all runs together
//   stats     `stat` of random ones among them, 64 in flight, as many as there are

import { startCluster } from './cluster.ts'
import { startClient } from './load.ts'
import { Bench, readOptions, spent } from './measure.ts'
import type { Usage } from './processes.ts'

const inFlight = 64

const bench = new Bench('metadata-ops', readOptions(100_000))
const { runs, files, directory, profile } = bench.options
const cluster = await startCluster({ chunkservers: 0, masterDirectory: directory, profile })
const client = await startClient(cluster.master, profile)
const perRun = Math.max(1, Math.floor(files / runs))
const directories = Array.from({ length: runs }, (_, run) => `/run-${run}`)

for (const target of directories) {
  await bench.limit('fsync')
  await bench.limit('echo')
  await client.run({ kind: 'prepare', directory: target, count: perRun })
  await measured('creates', perRun, () => client.run({ kind: 'create', directory: target, count: perRun, inFlight }))
}
for (let run = 0; run < runs && bench.wants('stats'); run++) {
  await bench.limit('echo')
  const count = perRun * runs
  await measured('stats', count, () => client.run({ kind: 'stat', directories, files: perRun, count, inFlight }))
}
bench.print()
await client.stop()
await cluster.stop()

async function measured(
  name: 'creates' | 'stats',
  count: number,
  run: () => Promise<{ seconds: number; cpuSeconds: number }>,
): Promise<void> {
  const before = masterUsage()
  const { seconds, cpuSeconds } = await run()
  const residentBytesMax = client.usage()?.residentBytesMax ?? Number.NaN
  const usage = { ...spent(before, masterUsage()), client: { cpuSeconds, residentBytesMax } }
  bench.add(name, '1/s', count / seconds, { of: 'echo', usage })
  if (name === 'creates') bench.add('creates by fsync', '1/s', count / seconds, { of: 'fsync' })
}

function masterUsage(): Record<string, Usage> {
  const usage = cluster.daemons[0]?.usage()
  return usage === undefined ? {} : { master: usage }
}
