// How fast bytes get in: chunks in memory, three replicas, everything checked and durable on return.
//
//   node --import tsx bench/write-path.ts [sequential] [put] [four] [small] [--runs 3] [--dir .] [--profile DIR]
//
//   sequential    1 GiB through one writer of the library
//   put           the same by `dfs put` of a local file, the command's start-up included
//   four writers  four clients at once, a quarter of it each
//   small files   `dfs put -r` of 10,000 files of 1 to 64 KiB, the command's start-up included

import fs from 'node:fs'
import path from 'node:path'
import { execa } from 'execa'
import { type Cluster, dist, memory, nodeArguments, startCluster } from './cluster.ts'
import type { LimitName } from './limits.ts'
import { type LoadClient, startClient } from './load.ts'
import { Bench, readOptions, spent } from './measure.ts'
import { endWithUs, makeDirectory, removeDirectory, type Usage, watchUsage } from './processes.ts'

const GiB = 2 ** 30
const smallFiles = 10_000
const smallFilesPerDirectory = 100

const bench = new Bench('write-path', readOptions(smallFiles))
const { runs, directory, files, profile } = bench.options

const rows = { sequential, put, 'four writers': fourWriters, 'small files': smallTree }
for (let run = 0; run < runs; run++) {
  for (const [name, measure] of Object.entries(rows)) if (bench.wants(name)) await measure(name)
}
bench.print()

async function sequential(name: string): Promise<void> {
  await bench.limit('relay3')
  await withCluster(async (cluster) => {
    const client = await startClient(cluster.master, profile)
    const before = usageOf(cluster)
    const { seconds, cpuSeconds } = await client.run({ kind: 'write', path: '/file', bytes: GiB })
    const usage = { ...spent(before, usageOf(cluster)), ...clientUsage(client, cpuSeconds) }
    bench.add(name, 'MB/s', GiB / seconds / 1e6, { of: 'relay3', usage })
    await client.stop()
  })
}

async function put(name: string): Promise<void> {
  const local = makeDirectory(memory, 'source')
  const file = path.join(local, 'file')
  fs.writeFileSync(file, '')
  const piece = Buffer.alloc(2 ** 20, 7)
  for (let written = 0; written < GiB; written += piece.length) fs.appendFileSync(file, piece)
  await bench.limit('relay3')
  await command(name, ['put', file, '/file'], (seconds) => [GiB / seconds / 1e6, 'MB/s', 'relay3'])
  removeDirectory(local)
}

async function fourWriters(name: string): Promise<void> {
  await bench.limit('relay3')
  await withCluster(async (cluster) => {
    const clients = await Promise.all([1, 2, 3, 4].map(() => startClient(cluster.master, profile)))
    const before = usageOf(cluster)
    const startMs = performance.now()
    const done = await Promise.all(
      clients.map((client, index) => client.run({ kind: 'write', path: `/file-${index}`, bytes: GiB / 4 })),
    )
    const seconds = (performance.now() - startMs) / 1000
    const cpuSeconds = done.reduce((sum, one) => sum + one.cpuSeconds, 0)
    const usage = { ...spent(before, usageOf(cluster)), ...clientUsage(clients[0]!, cpuSeconds) }
    bench.add(name, 'MB/s', GiB / seconds / 1e6, { of: 'relay3', usage })
    await Promise.all(clients.map((client) => client.stop()))
  })
}

async function smallTree(name: string): Promise<void> {
  const local = makeDirectory(memory, 'source')
  const bytes = makeTree(path.join(local, 'tree'))
  console.error(`  ${files} files, ${Math.round(bytes / 1e6)} MB`)
  await bench.limit('fsync')
  await command(name, ['put', '-r', path.join(local, 'tree'), '/tree'], (seconds) => [
    files / seconds,
    'files/s',
    'fsync',
  ])
  removeDirectory(local)
}

async function command(
  name: string,
  args: readonly string[],
  rate: (seconds: number) => [value: number, unit: string, of: LimitName],
): Promise<void> {
  await withCluster(async (cluster) => {
    const before = usageOf(cluster)
    const startMs = performance.now()
    const child = endWithUs(
      execa(
        process.execPath,
        [...nodeArguments(profile), path.join(dist, 'dfs.js'), ...args, '--master', cluster.master],
        {
          stdin: 'ignore',
          stdout: 'ignore',
          stderr: 'inherit',
        },
      ),
    )
    const watch = watchUsage(child.pid ?? 0)
    await child
    const seconds = (performance.now() - startMs) / 1000
    const own = watch.stop()
    const usage = { ...spent(before, usageOf(cluster)), ...(own === undefined ? {} : { client: own }) }
    const [value, unit, of] = rate(seconds)
    bench.add(name, unit, value, { of, usage })
  })
}

/** Sizes from 1 to 64 KiB, evenly spread, the same each time. @returns bytes in all */
function makeTree(target: string): number {
  let total = 0
  for (let index = 0; index < files; index++) {
    const parent = path.join(target, String(Math.floor(index / smallFilesPerDirectory)))
    if (index % smallFilesPerDirectory === 0) fs.mkdirSync(parent, { recursive: true })
    // 40,503 shares no factor with 64,513: every size comes once before one comes twice.
    const bytes = 1024 + ((index * 40_503) % (64 * 1024 - 1023))
    fs.writeFileSync(path.join(parent, `file-${index}`), Buffer.alloc(bytes, index))
    total += bytes
  }
  return total
}

async function withCluster(work: (cluster: Cluster) => Promise<void>): Promise<void> {
  const cluster = await startCluster({ chunkservers: 3, masterDirectory: directory, profile })
  try {
    await work(cluster)
  } finally {
    await cluster.stop()
  }
}

function usageOf(cluster: Cluster): Record<string, Usage> {
  return Object.fromEntries(
    cluster.daemons.flatMap((daemon) => {
      const usage = daemon.usage()
      return usage === undefined ? [] : [[daemon.id, usage]]
    }),
  )
}

function clientUsage(client: LoadClient, cpuSeconds: number): Record<string, Usage> {
  return { client: { cpuSeconds, residentBytesMax: client.usage()?.residentBytesMax ?? Number.NaN } }
}
