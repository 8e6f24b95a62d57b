// What every process holds, looked at all the way through a run and not only at its end: a leak, or a queue that grows as
// long as a fault lasts, shows while it grows.
//
// Two kinds of limits. ABOVE no run may be at any moment, whatever strikes: the clusters are small, so these lie far
// below what the product allows itself. AT_REST is what is left when a round is over and nobody asks for anything: what
// creeps up from round to round meets it long before a limit of the first kind.
//
// Looking is no event: it draws no chance and changes nothing, so a run is the same with and without it.

import { MiB, SECOND_MS } from '../../../src/base/units.ts'
import type { SimProcess } from '../machine.ts'
import type { SimCluster } from '../sim-cluster.ts'
import type { SimWorld } from '../world.ts'
import { Violation } from './violation.ts'

/** What is looked at. Counts, or bytes where the name says so; of one process, the network's of one pair of machines. */
export type Gauge =
  | 'openFiles'
  | 'pendingEvents'
  | 'retainedBytes'
  | 'unsentBytes'
  | 'connectionsOfAPair'
  | 'streams'
  | 'queuedBytes'
  | 'growing'
  | 'pendingChanges'
  | 'sealing'
  | 'sessions'
  | 'connectionsOfMaster'
  | 'tableBytes'

export type Limits = Readonly<Record<Gauge, number>>

/** More than this is a broken promise at any moment. Seen in many runs: a third of it or less, but for open files. */
export const ABOVE: Limits = {
  /** A chunkserver keeps 512 open for readers, and opens two for each chunk that grows. */
  openFiles: 600,
  pendingEvents: 400,
  retainedBytes: 4 * MiB,
  unsentBytes: 4 * MiB,
  connectionsOfAPair: 48,
  streams: 64,
  queuedBytes: 8 * MiB,
  growing: 64,
  pendingChanges: 500,
  sealing: 64,
  sessions: 100,
  connectionsOfMaster: 48,
  tableBytes: 4 * MiB,
}

/** More than this is left of nobody's work. */
export const AT_REST: Partial<Limits> = {
  pendingEvents: 100,
  retainedBytes: 0,
  unsentBytes: 0,
  connectionsOfAPair: 16,
  streams: 0,
  queuedBytes: 0,
  growing: 24,
  pendingChanges: 0,
  sealing: 0,
}

export const LOOK_EVERY_MS = { short: SECOND_MS, long: 5 * SECOND_MS }

/** So long what was under way when the last answer came may take to be over. */
const SETTLE_MS = 60 * SECOND_MS

interface Reading {
  readonly gauge: Gauge
  /** Of whom. */
  readonly who: string
  readonly value: number
}

/** Looks as time passes; a violation of ABOVE fails the run. */
export class Bounds {
  /** The most of each that was ever seen. */
  readonly highs = new Map<Gauge, number>()
  readonly #world: SimWorld
  readonly #cluster: SimCluster
  readonly #limits: Limits

  constructor(world: SimWorld, cluster: SimCluster, limits: Limits = ABOVE) {
    this.#world = world
    this.#cluster = cluster
    this.#limits = limits
  }

  /** From now on, until the world ends. */
  watch(everyMs: number): void {
    this.#world.watch(everyMs, () => this.look())
  }

  look(): void {
    for (const { gauge, who, value } of readings(this.#world, this.#cluster)) {
      if (value > (this.highs.get(gauge) ?? 0)) this.highs.set(gauge, value)
      if (value > this.#limits[gauge])
        throw new Violation(`${who} is at ${value} ${gauge}, the bound is ${this.#limits[gauge]}`)
    }
  }
}

/** Once nobody asks for anything, what was under way ends. */
export async function checkAtRest(
  world: SimWorld,
  cluster: SimCluster,
  limits: Partial<Limits> = AT_REST,
): Promise<void> {
  const deadlineMs = world.nowMs + SETTLE_MS
  for (;;) {
    const over = readings(world, cluster).find(
      ({ gauge, value }) => value > (limits[gauge] ?? Number.POSITIVE_INFINITY),
    )
    if (over === undefined) return
    const { who, gauge, value } = over
    if (world.nowMs > deadlineMs)
      throw new Violation(`${who} is still at ${value} ${gauge} with nothing to do, ${limits[gauge]} at most`)
    await world.sleep(SECOND_MS)
  }
}

function readings(world: SimWorld, cluster: SimCluster): Reading[] {
  const found: Reading[] = []
  const pending = world.scheduler.pendingCounts()
  const say = (who: string, gauges: Partial<Record<Gauge, number>>): void => {
    for (const [gauge, value] of Object.entries(gauges)) found.push({ gauge: gauge as Gauge, who, value })
  }
  const ofProcess = (process: SimProcess) => ({
    openFiles: process.openFileCount,
    pendingEvents: pending.get(process) ?? 0,
    retainedBytes: process.retainedBytes,
  })
  for (const machine of world.machines) for (const process of machine.processes) say(process.label, ofProcess(process))
  for (const { pair, connections, unsentBytes } of world.network.pairs())
    say(pair, { connectionsOfAPair: connections, unsentBytes })
  for (const { machine, node } of cluster.chunkservers) {
    if (node === undefined) continue
    const { streams, queuedBytes, growing } = node.status()
    say(machine.name, { streams, queuedBytes, growing })
  }
  const master = cluster.master.node?.metrics()
  if (master !== undefined) {
    const { pendingChanges = 0, sealing = 0, sessions = 0, connections = 0, tableBytes = 0 } = master
    say('master', { pendingChanges, sealing, sessions, connectionsOfMaster: connections, tableBytes })
  }
  return found
}
