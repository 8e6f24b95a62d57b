// How long a master is away: from `kill -9` to ready, by its log alone and from a checkpoint.
//
//   node --import tsx bench/recovery.ts [--files 200000] [--runs 3] [--dir .] [--profile DIR]
//
//   empty start        process start to ready, with nothing stored: what Node and the daemon need anyway
//   kill to ready      SIGKILL to ready, the log of --files creates to be replayed
//   replay             records of that log applied in a second, as the master says
//   kill to ready, checkpoint   the same after a checkpoint of everything

import path from 'node:path'
import { execa } from 'execa'
import { type Daemon, dist, startMaster } from './cluster.ts'
import { startClient } from './load.ts'
import { Bench, readOptions } from './measure.ts'
import { makeDirectory, removeDirectory } from './processes.ts'

const createsInFlight = 512

const bench = new Bench('recovery', readOptions(200_000))
const { runs, files, directory, profile } = bench.options

for (let run = 0; run < runs; run++) {
  const data = makeDirectory(directory, 'empty')
  const master = await startMaster(data)
  await master.kill()
  bench.add('empty start', 's', master.readyMs / 1000)
  removeDirectory(data)
}

const data = makeDirectory(directory, 'master')
let master = await startMaster(data)
const client = await startClient(master.listen)
await client.run({ kind: 'prepare', directory: '/files', count: files })
await client.run({ kind: 'create', directory: '/files', count: files, inFlight: createsInFlight })
await client.stop()

for (let run = 0; run < runs; run++) {
  const seconds = await killAndStart()
  bench.add('kill to ready', 's', seconds, { usage: usage() })
  const { replayed, tookMs } = recovered(master)
  if (replayed < files) throw new Error(`${replayed} records replayed, at least ${files} expected`)
  bench.add('replay', 'records/s', (replayed * 1000) / tookMs)
}

await execa(process.execPath, [path.join(dist, 'dfs.js'), 'admin', 'checkpoint', '--master', master.listen])
for (let run = 0; run < runs; run++) {
  const seconds = await killAndStart()
  bench.add('kill to ready, checkpoint', 's', seconds, { usage: usage() })
  const { replayed } = recovered(master)
  if (replayed >= files) throw new Error(`${replayed} records replayed after a checkpoint`)
}
await master.kill()
removeDirectory(data)
bench.print()

/** @returns seconds from the kill to ready */
async function killAndStart(): Promise<number> {
  const startMs = performance.now()
  await master.kill()
  master = await startMaster(data, { profile })
  return (performance.now() - startMs) / 1000
}

/** What the master says of its start. */
function recovered(daemon: Daemon): { replayed: number; tookMs: number } {
  const line = daemon.startLog.find((fields) => fields.event === 'recovered')
  if (typeof line?.replayed !== 'number' || typeof line.tookMs !== 'number') {
    throw new Error('the master did not say what it recovered')
  }
  return { replayed: line.replayed, tookMs: line.tookMs }
}

function usage() {
  const own = master.usage()
  return own === undefined ? {} : { master: own }
}
