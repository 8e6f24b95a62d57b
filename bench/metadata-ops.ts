// How fast names are made and found: one client, one connection, the log on a real disk with fdatasync.
//
//   node --import tsx bench/metadata-ops.ts [creates] [stats] [fdatasync] [--files 1000000] [--runs 5] [--dir .] [--profile DIR]
//
//   creates     durable creates of empty files, 64 in flight, a thousand a directory
//   stats       `stat` of random ones among --files, 64 in flight
//   fdatasync   calls of fdatasync for each batch of the log while files are created, counted by strace: proof that what
//               the first row calls durable was synced. Left out, and said so, where strace is missing

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { type Daemon, memory, startMaster } from './cluster.ts'
import { type Done, type LoadClient, startClient } from './load.ts'
import { Bench, readOptions, spent } from './measure.ts'
import { populateWithCheckpoint } from './population.ts'
import { makeDirectory, removeDirectory, type Usage } from './processes.ts'

const inFlight = 64
const createsPerRun = 50_000
const statsPerRun = 100_000
const createsTraced = 5_000

const bench = new Bench('metadata-ops', readOptions(1_000_000))
const { runs, files, directory, profile } = bench.options

if (bench.wants('creates')) await measureCreates()
if (bench.wants('stats')) await measureStats()
if (bench.wants('fdatasync')) await countSyncs()
bench.print()

async function measureCreates(): Promise<void> {
  const data = makeDirectory(directory, 'master')
  const master = await startMaster(data, { profile })
  const client = await startClient(master.listen, profile)
  // Code that has just been compiled, and has not been optimized yet, is not what a master runs on.
  await client.run({ kind: 'prepare', directory: '/warm', count: createsPerRun })
  await client.run({ kind: 'create', directory: '/warm', count: createsPerRun, inFlight })
  for (let run = 0; run < runs; run++) {
    await bench.limit('fsync')
    await bench.limit('echo')
    const target = `/run-${run}`
    await client.run({ kind: 'prepare', directory: target, count: createsPerRun })
    const before = usage(master)
    const done = await client.run({ kind: 'create', directory: target, count: createsPerRun, inFlight })
    const rate = createsPerRun / done.seconds
    bench.add('creates', '1/s', rate, { of: 'echo', usage: spentBy(before, master, client, done) })
    bench.add('creates by fsync', '1/s', rate, { of: 'fsync' })
  }
  await client.stop()
  await master.stop()
  removeDirectory(data)
}

async function measureStats(): Promise<void> {
  const data = makeDirectory(directory, 'population')
  await populateWithCheckpoint(data, files)
  const master = await startMaster(data, { profile })
  const client = await startClient(master.listen, profile)
  await client.run({ kind: 'statPopulation', files, count: statsPerRun, inFlight })
  for (let run = 0; run < runs; run++) {
    await bench.limit('echo')
    const before = usage(master)
    const done = await client.run({ kind: 'statPopulation', files, count: statsPerRun, inFlight })
    bench.add('stats', '1/s', statsPerRun / done.seconds, {
      of: 'echo',
      usage: spentBy(before, master, client, done),
    })
  }
  await client.stop()
  await master.stop()
  removeDirectory(data)
}

async function countSyncs(): Promise<void> {
  if (spawnSync('strace', ['-V']).error !== undefined) {
    console.error('  fdatasync: there is no strace here to count with')
    return
  }
  const data = makeDirectory(directory, 'traced')
  const counts = path.join(makeDirectory(memory, 'strace'), 'counts')
  const master = await startMaster(data)
  const client = await startClient(master.listen)
  await client.run({ kind: 'prepare', directory: '/traced', count: createsTraced })
  const tracing = ['-f', '-c', '-e', 'trace=fdatasync', '-o', counts, '-p', String(master.pid)]
  const strace = spawn('strace', tracing, { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(strace, 'exit')
  // It says so when it has attached to every thread.
  await Promise.race([once(strace.stderr, 'data'), ended])
  const before = await batchesOf(master)
  await client.run({ kind: 'create', directory: '/traced', count: createsTraced, inFlight })
  const batches = (await batchesOf(master)) - before
  strace.kill('SIGINT')
  await ended
  await client.stop()
  await master.stop()
  const calls = Number(/(\d+)\s+fdatasync/.exec(fs.readFileSync(counts, 'utf8'))?.[1] ?? 0)
  bench.add('fdatasync a batch', 'calls', calls / batches)
  removeDirectory(path.dirname(counts))
  removeDirectory(data)
}

async function batchesOf(master: Daemon): Promise<number> {
  const metrics = await (await fetch(`http://${master.http}/metrics`)).text()
  const batches = /^\S*log_batches\S* (\d+)$/m.exec(metrics)?.[1]
  if (batches === undefined) throw new Error('/metrics has no count of batches')
  return Number(batches)
}

function spentBy(before: Readonly<Record<string, Usage>>, master: Daemon, client: LoadClient, { cpuSeconds }: Done) {
  const residentBytesMax = client.usage()?.residentBytesMax ?? Number.NaN
  return { ...spent(before, usage(master)), client: { cpuSeconds, residentBytesMax } }
}

function usage(master: Daemon): Record<string, Usage> {
  const own = master.usage()
  return own === undefined ? {} : { master: own }
}
