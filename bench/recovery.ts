// How long a master with many files takes to start, and what a checkpoint costs those who work meanwhile.
//
//   node --import tsx bench/recovery.ts [start] [replay] [checkpoint] [paced] [--files 1000000] [--runs 5] [--dir .] [--profile DIR]
//
//   start of an empty master     process start to ready: what Node and the daemon need anyway
//   replay                       records of a log of two a file (population.ts) applied in a second, as the master says
//   checkpoint, start            process start to ready, from a checkpoint of --files
//   checkpoint, load             of that what the master says it took to have its metadata
//   paced, p99 (p50)             time of a durable create when they come at half the peak rate, steadily
//   paced, p99 (p50) during a checkpoint    the same while all is written to the next checkpoint; both are measured in turn
//   paced, slower by             the second p99 in multiples of the first
//
// Each start follows a SIGKILL.

import { type Daemon, startMaster } from './cluster.ts'
import { type Latency, startClient } from './load.ts'
import { Bench, median, readOptions } from './measure.ts'
import { populate, populateWithCheckpoint } from './population.ts'
import { makeDirectory, removeDirectory } from './processes.ts'

const inFlight = 64
const peakCreates = 50_000
const pacedSeconds = 3

const bench = new Bench('recovery', readOptions(1_000_000))
const { runs, files, directory, profile } = bench.options

if (bench.wants('start')) await measureEmptyStart()
if (bench.wants('replay')) await measureReplay()
if (bench.wants('checkpoint') || bench.wants('paced')) {
  const data = makeDirectory(directory, 'population')
  await populateWithCheckpoint(data, files)
  if (bench.wants('checkpoint')) await measureCheckpointStart(data)
  if (bench.wants('paced')) await measurePaced(data)
  removeDirectory(data)
}
bench.print()

async function measureEmptyStart(): Promise<void> {
  const data = makeDirectory(directory, 'empty')
  for (let run = 0; run <= runs; run++) {
    const master = await startMaster(data)
    await master.kill()
    // The first one formats.
    if (run > 0) bench.add('start of an empty master', 's', master.readyMs / 1000)
  }
  removeDirectory(data)
}

async function measureReplay(): Promise<void> {
  const data = makeDirectory(directory, 'log')
  const records = await populate(data, files)
  for (let run = 0; run < runs; run++) {
    const master = await startMaster(data, { profile })
    const { replayed, tookMs } = recovered(master)
    if (replayed < records) throw new Error(`${replayed} records replayed, ${records} expected`)
    bench.add('replay', '1/s', (replayed * 1000) / tookMs, { usage: usage(master) })
    await master.kill()
  }
  removeDirectory(data)
}

async function measureCheckpointStart(data: string): Promise<void> {
  for (let run = 0; run < runs; run++) {
    const master = await startMaster(data, { profile })
    const { replayed, tookMs } = recovered(master)
    if (replayed >= files) throw new Error(`${replayed} records replayed after a checkpoint`)
    bench.add('checkpoint, start', 's', master.readyMs / 1000, { usage: usage(master) })
    bench.add('checkpoint, load', 's', tookMs / 1000)
    await master.kill()
  }
}

async function measurePaced(data: string): Promise<void> {
  const master = await startMaster(data, { profile })
  const client = await startClient(master.listen, profile)
  const rates: number[] = []
  for (let run = 0; run < 3; run++) {
    const target = `/peak-${run}`
    await client.run({ kind: 'prepare', directory: target, count: peakCreates })
    const { seconds } = await client.run({ kind: 'create', directory: target, count: peakCreates, inFlight })
    rates.push(peakCreates / seconds)
  }
  // The first run is a warm-up: the peak is that of code which has been optimized.
  const perSecond = Math.round(median(rates.slice(1)) / 2)
  bench.add('paced, rate', '1/s', perSecond)
  for (let run = 0; run < runs; run++) {
    const paced = async (checkpoint: boolean): Promise<Latency> => {
      const target = `/paced-${run}-${checkpoint}`
      // Enough for a checkpoint of half a minute.
      await client.run({ kind: 'prepare', directory: target, count: perSecond * 30 })
      const job = { kind: 'createPaced', directory: target, perSecond, seconds: pacedSeconds, checkpoint } as const
      const { latency } = await client.run(job)
      if (latency === undefined || latency.count === 0) throw new Error('nothing was created')
      return latency
    }
    const without = await paced(false)
    const during = await paced(true)
    bench.add('paced, p50', 'ms', without.p50Ms)
    bench.add('paced, p99', 'ms', without.p99Ms)
    bench.add('paced, p50 during a checkpoint', 'ms', during.p50Ms)
    bench.add('paced, p99 during a checkpoint', 'ms', during.p99Ms)
    bench.add('paced, slower by', '×', during.p99Ms / without.p99Ms)
  }
  await client.stop()
  await master.stop()
}

/** What the master says of its start. */
function recovered(daemon: Daemon): { replayed: number; tookMs: number } {
  const line = daemon.startLog.find((fields) => fields.event === 'recovered')
  if (typeof line?.replayed !== 'number' || typeof line.tookMs !== 'number') {
    throw new Error('the master did not say what it recovered')
  }
  return { replayed: line.replayed, tookMs: line.tookMs }
}

function usage(master: Daemon) {
  const own = master.usage()
  return own === undefined ? {} : { master: own }
}
