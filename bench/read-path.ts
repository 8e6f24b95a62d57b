// How fast bytes get out: chunks in memory, three replicas, every block checked at the server and at the client.
//
//   node --import tsx bench/read-path.ts [sequential] [stream] [get] [four] [random] [--runs 3] [--profile DIR]
//
//   sequential      1 GiB through one reader of the library, which lends its buffers
//   stream          the same as a stream of buffers that the reader gives away
//   get             the same by `dfs get` into a file in memory, the command's start-up included
//   four readers    four clients at once, each the same as the one of `sequential`: 1 GiB, in four files, in another order
//   random 4 KiB    at random places, 32 in flight
//   random 64 KiB   the same with 64 KiB
//   sequential direct, four readers direct, random 4 KiB direct, random 64 KiB direct
//                   the same by clients that read the files of the chunkservers, which are all on their host:
//                   the other rows go over the network

import path from 'node:path'
import { execa } from 'execa'
import { dist, memory, nodeArguments, startCluster } from './cluster.ts'
import type { LimitName } from './limits.ts'
import { type Done, type Job, type LoadClient, startClient } from './load.ts'
import { Bench, readOptions, spent } from './measure.ts'
import { endWithUs, makeDirectory, removeDirectory, type Usage, watchUsage } from './processes.ts'

const GiB = 2 ** 30
const KiB = 1024
const inFlight = 32

const bench = new Bench('read-path', readOptions(1))
const { runs, directory, profile } = bench.options
const cluster = await startCluster({ chunkservers: 3, masterDirectory: directory, profile })

const writer = await startClient(cluster.master)
await writer.run({ kind: 'write', path: '/file', bytes: GiB })
for (const quarter of [0, 1, 2, 3]) await writer.run({ kind: 'write', path: `/file-${quarter}`, bytes: GiB / 4 })
await writer.stop()

for (let run = 0; run < runs; run++) {
  await byOne('sequential', 'read1', { kind: 'read', path: '/file', bytes: GiB }, megabytes)
  await byOne('stream', 'read1', { kind: 'stream', path: '/file', bytes: GiB }, megabytes)
  await get('get')
  await fourReaders('four readers')
  const random = { kind: 'readRandom', path: '/file', bytes: GiB, inFlight } as const
  const random4: Job = { ...random, length: 4 * KiB, count: 100_000 }
  const perSecond = (seconds: number): [number, string] => [100_000 / seconds, '1/s']
  await byOne('random 4 KiB', 'echo', random4, perSecond)
  const random64: Job = { ...random, length: 64 * KiB, count: GiB / (64 * KiB) }
  await byOne('random 64 KiB', 'read1', random64, megabytes)
  await byOne('sequential direct', 'read1', { kind: 'read', path: '/file', bytes: GiB }, megabytes, true)
  await fourReaders('four readers direct', true)
  await byOne('random 4 KiB direct', 'echo', random4, perSecond, true)
  await byOne('random 64 KiB direct', 'read1', random64, megabytes, true)
}
bench.print()
await cluster.stop()

function megabytes(seconds: number): [value: number, unit: string] {
  return [GiB / seconds / 1e6, 'MB/s']
}

async function byOne(
  name: string,
  of: LimitName,
  job: Job,
  rate: (seconds: number) => [value: number, unit: string],
  directReads = false,
): Promise<void> {
  if (!bench.wants(name)) return
  await bench.limit(of)
  const client = await startClient(cluster.master, profile, directReads)
  const before = usage()
  const { seconds, cpuSeconds } = await client.run(job)
  const residentBytesMax = client.usage()?.residentBytesMax ?? Number.NaN
  const [value, unit] = rate(seconds)
  bench.add(name, unit, value, { of, usage: { ...spent(before, usage()), client: { cpuSeconds, residentBytesMax } } })
  await client.stop()
}

async function fourReaders(name: string, directReads = false): Promise<void> {
  if (!bench.wants(name)) return
  await bench.limit('read1')
  const clients = await Promise.all([0, 1, 2, 3].map(() => startClient(cluster.master, profile, directReads)))
  const before = usage()
  const startMs = performance.now()
  const done = await Promise.all(clients.map((client, index) => readQuarters(client, index)))
  const seconds = (performance.now() - startMs) / 1000
  const cpuSeconds = done.flat().reduce((sum, one) => sum + one.cpuSeconds, 0)
  const residentBytesMax = clients[0]?.usage()?.residentBytesMax ?? Number.NaN
  const all = { ...spent(before, usage()), client: { cpuSeconds, residentBytesMax } }
  bench.add(name, 'MB/s', (4 * GiB) / seconds / 1e6, { of: 'read1', usage: all })
  await Promise.all(clients.map((client) => client.stop()))
}

async function readQuarters(client: LoadClient, first: number): Promise<Done[]> {
  const done: Done[] = []
  for (const quarter of [0, 1, 2, 3]) {
    done.push(await client.run({ kind: 'read', path: `/file-${(first + quarter) % 4}`, bytes: GiB / 4 }))
  }
  return done
}

async function get(name: string): Promise<void> {
  if (!bench.wants(name)) return
  await bench.limit('copy1')
  const local = makeDirectory(memory, 'copy')
  const before = usage()
  const startMs = performance.now()
  const args = ['get', '/file', path.join(local, 'file'), '--master', cluster.master, '--no-direct-reads']
  const child = endWithUs(
    execa(process.execPath, [...nodeArguments(profile), path.join(dist, 'dfs.js'), ...args], {
      stdin: 'ignore',
      stdout: 'ignore',
      stderr: 'inherit',
    }),
  )
  const watch = watchUsage(child.pid ?? 0)
  await child
  const seconds = (performance.now() - startMs) / 1000
  const own = watch.stop()
  const all = { ...spent(before, usage()), ...(own === undefined ? {} : { client: own }) }
  bench.add(name, 'MB/s', GiB / seconds / 1e6, { of: 'copy1', usage: all })
  removeDirectory(local)
}

function usage(): Record<string, Usage> {
  const found = cluster.daemons.map((daemon) => [daemon.id, daemon.usage()] as const)
  return Object.fromEntries(found.flatMap(([id, usage]) => (usage === undefined ? [] : [[id, usage]])))
}
