// Whether a busy machine makes the master believe that servers have died: every core is kept busy by others while five
// chunkservers serve a light load. Nobody dies, so every server that counts as dead is one too many.
//
//   node --import tsx bench/false-deaths.ts [--seconds 60] [--busy 2]
//
//   false deaths      servers counted as dead, in all
//   longest silence   of a server, as the master saw it
//   slowest write     of the light load, so that it is seen that the machine was busy
//
// `--busy`: loops for each core. The code is 1 when a server was counted as dead.

import { spawn } from 'node:child_process'
import os from 'node:os'
import { parseArgs } from 'node:util'
import { Client } from '../src/client/client.ts'
import { nodeIo } from '../src/io/node/io.ts'
import { root, startCluster } from './cluster.ts'
import { Bench } from './measure.ts'
import { endWithUs } from './processes.ts'

const LOOP = 'for (;;) for (let i = 0; i < 1e9; i++);'
const PAUSE_MS = 100

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, busy: { type: 'string', default: '2' } },
})
const loops = os.cpus().length * Number(values.busy)

interface Report {
  readonly servers: readonly { readonly id: string; readonly state: string; readonly lastContactMs: number | null }[]
  readonly repair: { readonly incidents: readonly { readonly servers: readonly string[] }[] }
}

const bench = new Bench('false-deaths', { runs: 1, files: 1, directory: root, only: [], profile: undefined })
const cluster = await startCluster({ chunkservers: 5 })
const client = await Client.connect(nodeIo(), { masters: cluster.master })
const busy = Array.from({ length: loops }, () => busyLoop())
const endMs = performance.now() + Number(values.seconds) * 1000
let silenceMs = 0
let slowestMs = 0
const dead = new Set<string>()
let deaths = 0
for (let i = 0; performance.now() < endMs; i++) {
  const startMs = performance.now()
  await client.writeFile(`/f${i % 100}`, Buffer.alloc(100_000, String(i)), { overwrite: true })
  slowestMs = Math.max(slowestMs, performance.now() - startMs)
  for (const { id, state, lastContactMs } of ((await client.report()) as Report).servers) {
    silenceMs = Math.max(silenceMs, lastContactMs ?? 0)
    if (state !== 'dead') dead.delete(id)
    else if (!dead.has(id)) {
      dead.add(id)
      deaths++
    }
  }
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
}
// Those that were dead and back between two looks.
const incidents = ((await client.report()) as Report).repair.incidents
deaths = Math.max(
  deaths,
  incidents.reduce((sum, { servers }) => sum + servers.length, 0),
)
for (const stop of busy) stop()
bench.add('false deaths', 'servers', deaths)
bench.add('longest silence', 's', silenceMs / 1000)
bench.add('slowest write', 's', slowestMs / 1000)
bench.print()
client.close()
await cluster.stop()
process.exitCode = deaths === 0 ? 0 : 1

/** A process that does nothing but that. @returns ends it */
function busyLoop(): () => void {
  const child = spawn(process.execPath, ['-e', LOOP], { stdio: 'ignore' })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  endWithUs(Object.assign(ended, { kill: () => child.kill('SIGKILL') }))
  return () => child.kill('SIGKILL')
}
