// How long redundancy is away: from a chunkserver's death until `report` says that nothing lacks a replica.
//
//   node --import tsx bench/repair.ts [kill] [stop] [cut] [two] [reads] [--runs 3] [--dir .]
//
// Five chunkservers on files in memory hold 1 GiB in 64 MiB chunks at three replicas. For each run and each of these a
// fresh cluster (RUNS_MAX has how many of the runs):
//
//   kill: redundancy back    SIGKILL of one, seconds until nothing is under-replicated
//   kill: detection          ... from its last sign of life until the master counts it as dead
//   kill: clone rate         bytes copied between the first order and the last copy, in a second; against copy1, a bare
//                            Node process that copies from another one
//   kill: CPU per GiB        CPU seconds of all chunkservers for each GiB copied
//   kill: file copy          the same bytes, file to file in memory, in one process: for information
//   stop: ...                SIGSTOP: alive, but silent
//   cut: ...                 its network is cut, both ways, and nobody is told; needs network namespaces
//   two: no single replica   SIGKILL of two, one second apart: seconds from the first until no chunk has one replica only
//   reads: p99 before        paced reads of 64 KiB at random offsets before SIGKILL of one, milliseconds
//   reads: p99 during        ... from then until redundancy is back, copies throttled to READS_REPAIR_RATE a server
//   reads: p99 ratio         during / before

import fs from 'node:fs'
import path from 'node:path'
import { Client } from '../src/client/client.ts'
import { nodeIo } from '../src/io/node/io.ts'
import { enterNetwork, Hosts } from '../test/torture/hosts.ts'
import { type Cluster, memory, startCluster } from './cluster.ts'
import { Bench, readOptions } from './measure.ts'
import { makeDirectory, removeDirectory } from './processes.ts'

const MIB = 1024 * 1024
const CHUNKSERVERS = 5
const FILE_BYTES = 1024 * MIB
const PIECE_BYTES = MIB
const POLL_MS = 50
const REPAIR_MS_MAX = 120_000
const READ_BYTES = 64 * 1024
const READS_PER_SECOND = 200
const READS_BEFORE_MS = 4000
const READS_REPAIR_RATE = '32MiB'
/** Of whatever --runs asks for: each is a cluster and a gigabyte of its own, and all of them are to take four minutes. */
const RUNS_MAX = { kill: Number.POSITIVE_INFINITY, stop: 2, cut: 2, two: 2, reads: 3 }

interface ReportFacts {
  readonly servers: readonly { readonly state: string }[]
  readonly repair: {
    readonly underReplicated: number
    readonly missing: number
    readonly lastCopy: number
    readonly inFlight: number
    readonly incidents: readonly {
      readonly servers: readonly string[]
      readonly detectionMs: number
      readonly planMs: number
      readonly cloneMs: number
      readonly copies: number
      readonly bytes: number
    }[]
  }
}

type Incident = ReportFacts['repair']['incidents'][number]
type Loss = 'kill' | 'stop' | 'cut'

const bench = new Bench('repair', readOptions(1))
const { runs } = bench.options
const canCut = bench.wants('cut') && (await enterNetwork())

for (let run = 0; run < runs; run++) {
  for (const how of ['kill', 'stop', 'cut'] as const) {
    if (isDue(how, run) && (how !== 'cut' || canCut)) await measureLoss(how)
  }
  if (isDue('two', run)) await measureTwo()
  if (isDue('reads', run)) await measureReads()
}
bench.print()
// Clients and hosts are closed; a stopped daemon's pipe must not keep this process.
process.exit(0)

function isDue(name: keyof typeof RUNS_MAX, run: number): boolean {
  return bench.wants(name) && run < RUNS_MAX[name]
}

async function measureLoss(how: Loss): Promise<void> {
  if (how === 'kill') await bench.limit('copy1')
  const hosts = how === 'cut' ? await Hosts.make(true, ['victim']) : undefined
  const hostOf = (number: number) => (number === CHUNKSERVERS ? hosts!.get('victim') : hosts!.hub)
  await inCluster(hosts ? { hostOf } : {}, async (cluster, client) => {
    const victim = cluster.daemons.at(-1)!
    const before = cpuOf(cluster)
    const startMs = performance.now()
    if (how === 'cut') await hosts!.isolate('victim')
    else process.kill(victim.pid, how === 'kill' ? 'SIGKILL' : 'SIGSTOP')
    const { detectionMs, cloneMs, bytes } = await nextIncident(client)
    const seconds = (performance.now() - startMs) / 1000
    const cpuSeconds = cpuOf(cluster) - before
    if (how === 'stop') process.kill(victim.pid, 'SIGCONT')
    if (how === 'cut') await hosts!.heal()
    bench.add(`${how}: redundancy back`, 's', seconds)
    bench.add(`${how}: detection`, 's', detectionMs / 1000)
    if (how !== 'kill') return
    bench.add('kill: clone rate', 'MB/s', bytes / 1000 / cloneMs, { of: 'copy1' })
    bench.add('kill: CPU per GiB', 's', cpuSeconds / (bytes / MIB / 1024))
    bench.add('kill: file copy', 'MB/s', fileCopy(bytes))
  })
  await hosts?.close()
}

async function measureTwo(): Promise<void> {
  await inCluster({}, async (cluster, client) => {
    const [first, second] = cluster.daemons.slice(-2)
    const startMs = performance.now()
    process.kill(first!.pid, 'SIGKILL')
    await sleep(1000)
    process.kill(second!.pid, 'SIGKILL')
    await until(async () => {
      const { servers, repair } = await reportOf(client)
      const dead = servers.filter(({ state }) => state === 'dead').length
      return dead === 2 && repair.lastCopy + repair.missing === 0
    })
    bench.add('two: no single replica', 's', (performance.now() - startMs) / 1000)
  })
}

async function measureReads(): Promise<void> {
  await inCluster({ masterArguments: ['--repair-rate', READS_REPAIR_RATE] }, async (cluster, client) => {
    const before = await pacedReads(client, sleep(READS_BEFORE_MS))
    process.kill(cluster.daemons.at(-1)!.pid, 'SIGKILL')
    const during = await pacedReads(client, nextIncident(client))
    bench.add('reads: p99 before', 'ms', before)
    bench.add('reads: p99 during', 'ms', during)
    bench.add('reads: p99 ratio', '×', during / before)
  })
}

/** Reads at a steady pace until `end`; one that is late does not hold up the next. @returns the 99th percentile, ms */
async function pacedReads(client: Client, end: Promise<unknown>): Promise<number> {
  let isOver = false
  const over = end.finally(() => {
    isOver = true
  })
  const reader = await client.openReader('/file')
  const tookMs: number[] = []
  const reads: Promise<void>[] = []
  const startMs = performance.now()
  while (!isOver) {
    const dueMs = startMs + (reads.length * 1000) / READS_PER_SECOND
    const waitMs = dueMs - performance.now()
    if (waitMs > 0) await sleep(waitMs)
    const offset = Math.floor(Math.random() * (FILE_BYTES - READ_BYTES))
    // From when it was due: a loop that is held up must not hide that reads were.
    reads.push(
      reader.read(offset, READ_BYTES).then(() => {
        tookMs.push(performance.now() - dueMs)
      }),
    )
  }
  await Promise.all([over, ...reads])
  tookMs.sort((a, b) => a - b)
  return tookMs[Math.floor(tookMs.length * 0.99)] ?? Number.NaN
}

async function inCluster(
  options: Omit<Parameters<typeof startCluster>[0], 'chunkservers'>,
  main: (cluster: Cluster, client: Client) => Promise<void>,
): Promise<void> {
  const { profile } = bench.options
  const cluster = await startCluster({ chunkservers: CHUNKSERVERS, profile, ...options })
  const client = await Client.connect(nodeIo(), { masters: cluster.master, onBug: fail })
  try {
    await write(client)
    await until(async () => {
      const { repair } = await reportOf(client)
      return repair.underReplicated + repair.missing === 0
    })
    await main(cluster, client)
  } finally {
    client.close()
    await cluster.stop()
  }
}

async function write(client: Client): Promise<void> {
  const writer = client.createWriter('/file')
  const piece = Buffer.alloc(PIECE_BYTES, 'redundancy')
  for (let at = 0; at < FILE_BYTES; at += PIECE_BYTES) await writer.write(piece)
  await writer.close()
}

async function reportOf(client: Client): Promise<ReportFacts> {
  return (await client.report()) as ReportFacts
}

/** CPU seconds of the chunkservers that are still there. */
function cpuOf(cluster: Cluster): number {
  return cluster.daemons.slice(1, -1).reduce((sum, daemon) => sum + (daemon.usage()?.cpuSeconds ?? 0), 0)
}

/** Waits until a server was lost and everything is at its goal again. */
async function nextIncident(client: Client): Promise<Incident> {
  let found: Incident | undefined
  await until(async () => {
    const { underReplicated, missing, inFlight, incidents } = (await reportOf(client)).repair
    found = incidents.find(({ servers }) => servers.length > 0)
    return found !== undefined && underReplicated + missing + inFlight === 0
  })
  return found!
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const startMs = performance.now()
  while (!(await isSo())) {
    if (performance.now() - startMs > REPAIR_MS_MAX) throw new Error(`not repaired after ${REPAIR_MS_MAX} ms`)
    await sleep(POLL_MS)
  }
}

function sleep(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs))
}

/** @returns MB copied in a second, by read and write of files in memory, 1 MiB each */
function fileCopy(bytes: number): number {
  const directory = makeDirectory(memory, 'bare')
  const from = path.join(directory, 'from')
  const to = path.join(directory, 'to')
  const buffer = Buffer.alloc(PIECE_BYTES, 'x')
  const source = fs.openSync(from, 'w+')
  for (let at = 0; at < bytes; at += PIECE_BYTES) fs.writeSync(source, buffer, 0, PIECE_BYTES, at)
  const target = fs.openSync(to, 'w')
  const startMs = performance.now()
  for (let at = 0; at < bytes; at += PIECE_BYTES) {
    fs.readSync(source, buffer, 0, PIECE_BYTES, at)
    fs.writeSync(target, buffer, 0, PIECE_BYTES, at)
  }
  const seconds = (performance.now() - startMs) / 1000
  fs.closeSync(source)
  fs.closeSync(target)
  removeDirectory(directory)
  return bytes / 1e6 / seconds
}

function fail(error: unknown): never {
  throw error
}
