// How long redundancy is away: from a chunkserver's death until `report` says that nothing lacks a replica.
//
//   node --import tsx bench/repair.ts [kill] [stop] [--runs 3] [--dir .]
//
// Five chunkservers on files in memory hold 1 GiB in 64 MiB chunks at three replicas. For each run a fresh cluster:
//
//   kill: redundancy back    SIGKILL of one, seconds until nothing is under-replicated
//   kill: detection          ... from its last sign of life until the master counts it as dead
//   kill: clone rate         bytes copied between the first order and the last copy, in a second
//   stop: ...                the same with SIGSTOP: alive, but silent
//   bare copy                the same bytes, memory to memory, by one Node process: what the clone rate is held against

import fs from 'node:fs'
import path from 'node:path'
import { Client } from '../src/client/client.ts'
import { nodeIo } from '../src/io/node/io.ts'
import { memory, startCluster } from './cluster.ts'
import { Bench, readOptions } from './measure.ts'
import { makeDirectory, removeDirectory } from './processes.ts'

const MIB = 1024 * 1024
const FILE_BYTES = 1024 * MIB
const PIECE_BYTES = MIB
const POLL_MS = 50
const REPAIR_MS_MAX = 120_000

interface RepairFacts {
  readonly underReplicated: number
  readonly missing: number
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

const bench = new Bench('repair', readOptions(1))
const { runs } = bench.options

for (const how of ['kill', 'stop'] as const) {
  if (!bench.wants(how)) continue
  for (let run = 0; run < runs; run++) await measure(how)
}
bench.print()

async function measure(how: 'kill' | 'stop'): Promise<void> {
  const cluster = await startCluster({ chunkservers: 5 })
  const client = await Client.connect(nodeIo(), { masters: cluster.master, onBug: fail })
  try {
    await write(client)
    await wholeAgain(client)
    const victim = cluster.daemons.at(-1)
    if (!victim) throw new Error('a cluster without chunkservers')
    const startMs = performance.now()
    process.kill(victim.pid, how === 'kill' ? 'SIGKILL' : 'SIGSTOP')
    const incident = await nextIncident(client)
    const seconds = (performance.now() - startMs) / 1000
    if (how === 'stop') process.kill(victim.pid, 'SIGCONT')
    const { detectionMs, cloneMs, bytes } = incident
    const copied = bareCopy(bytes)
    bench.add(`${how}: redundancy back`, 's', seconds)
    bench.add(`${how}: detection`, 's', detectionMs / 1000)
    bench.add(`${how}: clone rate`, 'MiB/s', bytes / MIB / (cloneMs / 1000))
    bench.add(`${how}: bare copy`, 'MiB/s', copied)
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

async function repairOf(client: Client): Promise<RepairFacts> {
  return ((await client.report()) as { repair: RepairFacts }).repair
}

async function wholeAgain(client: Client): Promise<void> {
  await until(async () => {
    const { underReplicated, missing } = await repairOf(client)
    return underReplicated + missing === 0
  })
}

/** Waits until a server was lost and everything is at its goal again. */
async function nextIncident(client: Client): Promise<RepairFacts['incidents'][number]> {
  let found: RepairFacts['incidents'][number] | undefined
  await until(async () => {
    const { underReplicated, missing, inFlight, incidents } = await repairOf(client)
    found = incidents.find(({ servers }) => servers.length > 0)
    return found !== undefined && underReplicated + missing + inFlight === 0
  })
  return found!
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const startMs = performance.now()
  while (!(await isSo())) {
    if (performance.now() - startMs > REPAIR_MS_MAX) throw new Error(`not repaired after ${REPAIR_MS_MAX} ms`)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

/** @returns MiB copied in a second, by read and write of files in memory, 1 MiB each */
function bareCopy(bytes: number): number {
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
  return bytes / MIB / seconds
}

function fail(error: unknown): never {
  throw error
}
