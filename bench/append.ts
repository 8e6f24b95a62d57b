// How fast records get in: appenders of one file, three replicas, chunks in memory, each record acknowledged by all.
//
//   node --import tsx bench/append.ts [sixteen] [one] [single] [--runs 3] [--dir .] [--profile DIR]
//
//   sixteen writers   records of 100 bytes by sixteen appenders of one file, 256 under way for each
//   one writer        the same by one of them alone
//   single records    one appender, one record at a time: how long an append takes

import { startCluster } from './cluster.ts'
import { startClient } from './load.ts'
import { Bench, readOptions, spent } from './measure.ts'
import type { Usage } from './processes.ts'

const length = 100
const rows = [
  { name: 'sixteen writers', writers: 16, count: 400_000, inFlight: 256 },
  { name: 'one writer', writers: 1, count: 400_000, inFlight: 256 },
  { name: 'single records', writers: 1, count: 2000, inFlight: 1 },
]

const bench = new Bench('append', readOptions(1))
const { runs, directory, profile } = bench.options

for (let run = 0; run < runs; run++) {
  for (const { name, ...job } of rows) {
    if (!bench.wants(name)) continue
    await bench.limit('echo')
    const cluster = await startCluster({ chunkservers: 3, masterDirectory: directory, profile })
    const client = await startClient(cluster.master, profile)
    const daemons = (): Record<string, Usage> =>
      Object.fromEntries(
        cluster.daemons.flatMap((daemon) => {
          const usage = daemon.usage()
          return usage === undefined ? [] : [[daemon.id, usage]]
        }),
      )
    const before = daemons()
    const { seconds, cpuSeconds } = await client.run({ kind: 'append', path: '/log', length, ...job })
    const residentBytesMax = client.usage()?.residentBytesMax ?? Number.NaN
    const usage = { ...spent(before, daemons()), client: { cpuSeconds, residentBytesMax } }
    bench.add(name, 'records/s', job.count / seconds, { of: 'echo', usage })
    await client.stop()
    await cluster.stop()
  }
}
bench.print()
