// Whether anything grows without bound: a steady mixed load, and the resident memory of every process while it lasts.
//
//   node --import tsx bench/soak.ts [--minutes 10] [--dir .]
//
// The load: files of several chunks and small ones written over and over, records appended to a log that is replaced,
// renames, removals, listings and reads, so that what is stored stays about the same. While it warms up caches and heaps
// find their size: two minutes, half of a short run. Then
// each process gets a line by least squares: MiB an hour, and its error. It is level when its growth over the rest is less
// than twice the scatter around the line, or 4 MiB. The same for open files and sockets: level within 8.
//
// Prints one line of JSON; the code is 1 when a process is not level.

import fs from 'node:fs'
import { parseArgs } from 'node:util'
import { Client } from '../src/client/client.ts'
import { nodeIo } from '../src/io/node/io.ts'
import { root, startCluster } from './cluster.ts'
import { fitLine } from './line.ts'

const MIB = 2 ** 20
const SAMPLE_MS = 2000
const WARM_MS = 120_000
const WORKERS = 4
const FILES = 12
const GROWTH_BYTES = 4 * MIB
const GROWTH_FILES = 8
/** Samples between two lines on stderr. */
const TELL_EVERY = 10
/** Records of a log before it is replaced. */
const LOG_RECORDS = 2000

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '10' }, dir: { type: 'string', default: root } },
})
const lastsMs = Number(values.minutes) * 60_000

interface Sample {
  readonly atMs: number
  readonly bytes: number
  readonly files: number
}

const cluster = await startCluster({
  chunkservers: 3,
  masterDirectory: values.dir,
  masterArguments: ['--retention', '1s', '--chunk-size', '4MiB', '--checkpoint-every', '1MiB'],
})
const client = await Client.connect(nodeIo(), { masters: cluster.master })
const processes = [...cluster.daemons.map(({ id, pid }) => ({ id, pid })), { id: 'client', pid: process.pid }]
interface Report {
  readonly totals: { readonly files: number; readonly chunks: number; readonly bytes: number }
  readonly repair: { readonly overReplicated: number }
}

const stored: Report['totals'][] = []
const samples = new Map<string, Sample[]>(processes.map(({ id }) => [id, []]))
const startMs = performance.now()
let isOver = false
let operations = 0
const work = Promise.all(Array.from({ length: WORKERS }, (_, worker) => load(worker)))
while (performance.now() - startMs < lastsMs) {
  // A fault of the load ends it at once.
  await Promise.race([work, new Promise((resolve) => setTimeout(resolve, SAMPLE_MS))])
  const atMs = performance.now() - startMs
  for (const { id, pid } of processes) samples.get(id)!.push({ atMs, ...sizeOf(pid) })
  const { totals, repair } = (await client.report()) as Report
  stored.push(totals)
  if (stored.length % TELL_EVERY === 0) {
    const sizes = processes.map(({ id }) => `${id} ${tenths(samples.get(id)!.at(-1)!.bytes / MIB)}`)
    const { files, chunks } = totals
    console.error(
      `  ${Math.round(atMs / 1000)} s: ${sizes.join(', ')} MiB; ${files} files, ${chunks} chunks, ${repair.overReplicated} with too many replicas`,
    )
  }
}
isOver = true
await work
client.close()
await cluster.stop()

const results = processes.map(({ id }) => judge(id, samples.get(id)!))
const isLevel = results.every((result) => result.isLevel)
const minutes = Number(values.minutes)
console.log(JSON.stringify({ bench: 'soak', minutes, operations, isLevel, stored: stored.at(-1), results }))
process.exitCode = isLevel ? 0 : 1

/** Until it is over. */
async function load(worker: number): Promise<void> {
  const directory = `/w${worker}`
  await client.makeDirectory(directory)
  let appender = await client.openAppender(`${directory}/log`, { create: true })
  let records = 0
  for (let i = 0; !isOver; i++) {
    const path = `${directory}/f${i % FILES}`
    const bytes = Buffer.alloc(i % 4 === 0 ? 6 * MIB : 20_000 + (i % 7) * 1000, String(i))
    await client.writeFile(path, bytes, { overwrite: true })
    const found = await client.readFile(path)
    if (Buffer.compare(found, bytes) !== 0) throw new Error(`${path}: ${found.length} bytes read are other bytes`)
    await Promise.all(Array.from({ length: 20 }, () => appender.append(bytes.subarray(0, 100))))
    records += 20
    await client.rename(path, `${path}.moved`, { overwrite: true })
    if (i % FILES === FILES - 1)
      for await (const { name } of client.listAll(directory)) await client.stat(`${directory}/${name}`)
    if (records >= LOG_RECORDS) {
      await appender.close()
      await client.remove(`${directory}/log`, { now: true })
      appender = await client.openAppender(`${directory}/log`, { create: true })
      records = 0
    }
    operations += 24
  }
  await appender.close()
}

/** What a process has now. @throws when it is gone: none may end */
function sizeOf(pid: number): { bytes: number; files: number } {
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8')
  const kiB = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN)
  return { bytes: kiB * 1024, files: fs.readdirSync(`/proc/${pid}/fd`).length }
}

function judge(id: string, all: readonly Sample[]) {
  const warm = all.filter(({ atMs }) => atMs >= Math.min(WARM_MS, lastsMs / 2))
  const hours = warm.map(({ atMs }) => atMs / 3_600_000)
  const spanHours = hours.at(-1)! - hours[0]!
  const memory = fitLine(
    hours,
    warm.map(({ bytes }) => bytes),
  )
  const files = fitLine(
    hours,
    warm.map((sample) => sample.files),
  )
  const growth = memory.slope * spanHours
  return {
    process: id,
    meanMiB: tenths(memory.mean / MIB),
    mibPerHour: tenths(memory.slope / MIB),
    errorMibPerHour: tenths(memory.slopeError / MIB),
    growthMiB: tenths(growth / MIB),
    scatterMiB: tenths(memory.scatter / MIB),
    openFiles: { mean: tenths(files.mean), growth: tenths(files.slope * spanHours) },
    isLevel: growth <= Math.max(GROWTH_BYTES, 2 * memory.scatter) && files.slope * spanHours <= GROWTH_FILES,
  }
}

function tenths(value: number): number {
  return Math.round(value * 10) / 10
}
