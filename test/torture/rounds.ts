// npm run torture: rounds of everything at once, and after each of them everything must be right again.
//
//   npm run torture -- [--rounds 100] [--seed N] [--seconds 6] [--clients 8] [--servers 5] [--dir DIR] [--keep DIR]
//
// A round: clients write, overwrite, append, append records, cut, copy, rename, remove and read while servers are
// killed, stopped and cut off and their files damaged. Then all is healed, every replica is scrubbed, and
//
//   - fsck says HEALTHY, within --whole seconds
//   - every acknowledged byte, name and record is there, exactly once; no other name, no record twice
//
// The cluster, its files and its old record files stay for the next round. The seed draws what is done; processes are no
// simulator, so a seed repeats the load and the faults, not their interleaving. `--keep` saves all logs.

import { parseArgs } from 'node:util'
import { Random } from '../../src/base/random.ts'
import type { Client } from '../../src/client/client.ts'
import { type Report, reportOf, TortureCluster, until, whole } from './cluster.ts'
import { Faults } from './faults.ts'
import { FileLoad, Violation } from './file-load.ts'
import { enterNetwork } from './hosts.ts'
import { checkRecords, RecordWriter } from './record-load.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    seconds: { type: 'string', default: '6' },
    clients: { type: 'string', default: '8' },
    servers: { type: 'string', default: '5' },
    whole: { type: 'string', default: '60' },
    dir: { type: 'string' },
    keep: { type: 'string' },
  },
})
const rounds = Number(values.rounds)
const seed = Number(values.seed)
const chunkservers = Number(values.servers)
const wholeMsMax = Number(values.whole) * 1000
/** Record files that stay to be read again. */
const OLD_FILES = 3

const canCut = await enterNetwork()
const again = `npm run torture -- --seed ${seed} --rounds ${rounds} --seconds ${values.seconds} --clients ${values.clients} --servers ${values.servers}`
console.log(`seed ${seed}; to repeat: ${again}`)

const random = new Random(seed)
const startMs = performance.now()
const cluster = await TortureCluster.start({
  chunkservers,
  canCut,
  parent: values.dir,
  master: ['--chunk-size', '1MiB', '--checkpoint-every', '256KiB', '--retention', '1s'],
  chunk: ['--scrub-rate', '0'],
})
try {
  const clients = await Promise.all(
    Array.from({ length: Number(values.clients) }, (_, index) => cluster.client({ name: `client-${index}` })),
  )
  const watcher = await cluster.client({ name: 'watcher', timeoutMs: 120_000 })
  const loads = clients.map((client, index) => new FileLoad(client, `/c${index}`, random.fork()))
  for (const load of loads) await load.prepare()
  const old: { path: string; writers: readonly RecordWriter[] }[] = []
  const total = { operations: 0, records: 0, slowestMs: 0 }

  for (let round = 1; round <= rounds; round++) {
    const path = `/records-${round}`
    await watcher.writeFile(path, new Uint8Array(0))
    const writers = clients.map(
      (client, writer) =>
        new RecordWriter(client, random.fork(), {
          path,
          writer,
          inFlight: 8,
          pauseMsMax: 60,
          bytesMax: 300,
          sync: writer % 2 === 0,
        }),
    )
    old.push({ path, writers })
    const faults = new Faults(cluster, random.fork())
    const before = loads.reduce((sum, load) => sum + load.done, 0)
    const work = Promise.all([...loads, ...writers].map((one) => one.run()))
    // A violation ends the round at once.
    await Promise.race([work, faults.run(performance.now() + Number(values.seconds) * 1000)])
    await cluster.heal()
    for (const one of [...loads, ...writers]) one.stop()
    const healMs = performance.now()
    await work
    const doneMs = performance.now()
    await scrubbed(watcher)
    const scrubbedMs = performance.now()
    const { waitedFor } = await whole(watcher, wholeMsMax)
    // The report counts what was so a moment ago; fsck looks now.
    const isHealthy = ({ status }: { readonly status: string }) => status === 'HEALTHY'
    await until('HEALTHY', () => watcher.fsck('/'), isHealthy, { timeoutMs: wholeMsMax, everyMs: 200 })
    const wholeMs = performance.now() - healMs
    faults.healed()

    let bytes = 0
    for (const load of loads) bytes += await load.check()
    let records = 0
    for (const one of old) records = checkRecords(one.path, await watcher.readFile(one.path), one.writers)
    if (old.length > OLD_FILES) await watcher.remove(old.shift()!.path, { now: true })

    const operations = loads.reduce((sum, load) => sum + load.done, 0) - before
    total.operations += operations
    total.records += records
    total.slowestMs = Math.max(total.slowestMs, wholeMs)
    const excused = new Map<string, number>()
    for (const { failed } of [...loads, ...writers]) {
      for (const [code, count] of failed) excused.set(code, (excused.get(code) ?? 0) + count)
      failed.clear()
    }
    const failures = excused.size === 0 ? 'none' : [...excused].map(([code, count]) => `${code} ${count}`).join(', ')
    console.log(
      `round ${round}: ${operations} operations, ${records} records, ${(bytes / 2 ** 20).toFixed(0)} MiB; ${faults.describe()}; failed: ${failures}; healed in ${seconds(wholeMs)} (last operation ${seconds(doneMs - healMs)}, scrub ${seconds(scrubbedMs - doneMs)}, waited last for ${waitedFor || 'nothing'})`,
    )
  }
  console.log(
    JSON.stringify({
      torture: 'rounds',
      seed,
      rounds,
      cuts: canCut,
      ...total,
      slowestMs: Math.round(total.slowestMs),
      seconds: Math.round((performance.now() - startMs) / 1000),
    }),
  )
} catch (error) {
  console.error(`FAILED, seed ${seed}; to repeat: ${again}`)
  console.error(error)
  process.exitCode = 1
} finally {
  if (values.keep !== undefined) cluster.saveLogs(values.keep)
  await cluster.close()
}
process.exit()

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}

/** Every replica on every server is checked, from its first block to its last. */
async function scrubbed(client: Client): Promise<void> {
  const allLive = ({ servers }: Report) => servers.every(({ state }) => state === 'live')
  await until('joined by every server', () => reportOf(client), allLive)
  const passes = () => cluster.chunkservers.map((name) => cluster.eventCount(name, 'scrubbed'))
  const before = passes()
  const { begun } = await client.scrub()
  if (begun.length < chunkservers) throw new Violation(`${begun.length} of ${chunkservers} servers began a scrub`)
  await until(
    'scrubbed',
    async () => passes(),
    (now) => now.every((count, index) => count > before[index]!),
  )
}
