// One run of the swarm: a cluster of its own kind under load and faults, healed, checked and stopped.
//
// Two phases, as often as asked: safety, where faults strike under load and every answer is held against the model;
// then everything is mended and must come back to full redundancy within a bound, with every acknowledged byte.

import type { Client } from '../../../src/client/client.ts'
import { type SimOptionsInput, swarmOptions } from '../options.ts'
import { SimCluster } from '../sim-cluster.ts'
import { SimWorld } from '../world.ts'
import { Atlas } from './atlas.ts'
import { Bounds, checkAtRest, LOOK_EVERY_MS } from './bounds.ts'
import { checkConvergence, checkNothingLeft, checkReplay, checkReplicas } from './checks.ts'
import { FileLoad } from './files.ts'
import { NearReadLoad } from './near-readers.ts'
import { type SwarmPlan, swarmPlan } from './plan.ts'
import { checkPrimaries } from './primaries.ts'
import { ReadLoad } from './readers.ts'
import { RecordLoad } from './records.ts'

export interface SwarmInput {
  readonly seed: number
  readonly scale: 'short' | 'long'
  /** Virtual time in all, at least; with more than a round's there are several, with quiet times between them. */
  readonly durationMs?: number
  /** Quiet time between rounds, at most. */
  readonly quietMsMax?: number
  /** As seeds were drawn before plan.ts had anything later. */
  readonly isPlain?: boolean
  /** Instead of what the seed draws: to narrow a failure down. */
  readonly plan?: Partial<SwarmPlan>
  /** Gets every event and every line of a log. */
  readonly onLine?: ((line: string) => void) | undefined
  /** After each round. */
  readonly onRound?: (world: SimWorld, result: SwarmResult) => void
}

export interface SwarmResult {
  rounds: number
  done: number
  failed: number
  reads: number
  records: number
  /** Files and records compared after the rounds. */
  checked: number
  replicas: number
  /** The longest way back to full redundancy. */
  convergenceMsMax: number
  events: number
  virtualMs: number
  checksum: number
  faults: Record<string, number>
  /** The most that was ever seen of what bounds.ts looks at. */
  highs: Record<string, number>
}

const EVENTS_MAX = { short: 1_500_000, long: Number.MAX_SAFE_INTEGER }

export function planOf({ seed, scale, plan, isPlain }: SwarmInput): SwarmPlan {
  return { ...swarmPlan(seed, scale, isPlain), ...plan }
}

export async function runSwarm(input: SwarmInput): Promise<SwarmResult> {
  const plan = planOf(input)
  const world = new SimWorld(worldOptions(input))
  world.scheduler.onLine = input.onLine
  return world.run(async () => {
    const swarm = await Swarm.start(world, plan)
    const { result } = swarm
    swarm.bounds.watch(LOOK_EVERY_MS[input.scale])
    const endMs = (input.durationMs ?? 0) + world.nowMs
    for (;;) {
      await swarm.round()
      input.onRound?.(world, result)
      if (world.nowMs >= endMs) break
      await world.sleep(Math.min(endMs - world.nowMs, world.random.below(input.quietMsMax ?? 0) + 1))
    }
    await swarm.end()
    return { ...result, events: world.eventCount, virtualMs: world.nowMs, checksum: world.traceChecksum }
  })
}

function worldOptions({ seed, scale }: SwarmInput): SimOptionsInput {
  const options = swarmOptions(seed, { eventsMax: EVENTS_MAX[scale] })
  // Single bytes are what the tests of the connection are for: here they would be most of what happens.
  const chunking = options.network?.chunking === 'fine' && scale === 'long' ? 'mixed' : options.network?.chunking
  return { ...options, network: { ...options.network, ...(chunking && { chunking }) } }
}

/** Every clock that there is gains or loses: up to 3 %, far more than any real one. */
function setClocksWrong(world: SimWorld): void {
  for (const machine of world.machines) machine.clockRate = 0.97 + 0.06 * world.random.fraction()
}

class Swarm {
  readonly result: SwarmResult = {
    rounds: 0,
    done: 0,
    failed: 0,
    reads: 0,
    records: 0,
    checked: 0,
    replicas: 0,
    convergenceMsMax: 0,
    events: 0,
    virtualMs: 0,
    checksum: 0,
    faults: {},
    highs: {},
  }
  readonly #world: SimWorld
  readonly #plan: SwarmPlan
  readonly #cluster: SimCluster
  readonly #clients: readonly Client[]
  readonly #operator: Client
  readonly #files: readonly FileLoad[]
  readonly #readers: readonly (ReadLoad | NearReadLoad)[]
  readonly #atlas: Atlas
  readonly bounds: Bounds

  static async start(world: SimWorld, plan: SwarmPlan): Promise<Swarm> {
    const { heartbeatMs, deadAfterMs, goal, minReplicas, chunkBytes, checkpointEveryBytes, retentionMs } = plan
    const { scrubBytesPerSecond } = plan
    const settings = { heartbeatMs, deadAfterMs, goal, minReplicas, chunkBytes, checkpointEveryBytes, retentionMs }
    const mounts = Array.from({ length: plan.directories }, (_, index) => (index === 0 ? '/data' : `/disk-${index}`))
    const cluster = new SimCluster(world, plan.servers, settings, { scrubBytesPerSecond, directories: mounts })
    cluster.chunkservers.forEach((server, index) => {
      for (const mount of mounts.slice(1)) server.machine.addDisk(mount)
      if (plan.racks > 0) server.rack = `rack-${index % plan.racks}`
      if (plan.zones > 0) server.zone = `zone-${index % plan.zones}`
    })
    if (plan.clocks !== 'right') setClocksWrong(world)
    await cluster.start()
    const clients: Client[] = []
    for (let index = 0; index < plan.fileClients + plan.readers + (plan.recordWriters > 0 ? 2 : 0); index++)
      clients.push(await cluster.client({ timeoutMs: plan.clientTimeoutMs }))
    const operator = await cluster.client({ timeoutMs: 120_000 })
    if (plan.clocks === 'allWrong') setClocksWrong(world)
    return new Swarm(world, plan, cluster, clients, operator)
  }

  private constructor(
    world: SimWorld,
    plan: SwarmPlan,
    cluster: SimCluster,
    clients: readonly Client[],
    operator: Client,
  ) {
    this.#world = world
    this.#plan = plan
    this.#cluster = cluster
    this.#clients = clients
    this.#operator = operator
    const [fileClients, readClients] = [clients.slice(0, plan.fileClients), clients.slice(plan.fileClients)]
    this.#files = fileClients.map((client, index) => new FileLoad(world, client, `/c${index}`, plan))
    this.#readers = [
      ...readClients.slice(0, plan.readers).map((client) => new ReadLoad(world, client, plan, this.#files)),
      ...cluster.chunkservers
        .slice(0, plan.nearReaders)
        .map((server) => new NearReadLoad(world, cluster, server, plan, this.#files)),
    ]
    this.bounds = new Bounds(world, cluster)
    this.#atlas = new Atlas(world, cluster, plan, operator, this.#files)
  }

  /** Load and faults, then mending and all checks. */
  async round(): Promise<void> {
    const { faultyMs, recordWriters } = this.#plan
    const records: RecordLoad[] = []
    if (recordWriters > 0) {
      const path = `/records-${this.result.rounds}`
      records.push(new RecordLoad(this.#world, this.#clients.slice(-2), path, this.#plan))
    }
    for (const load of records) await load.prepare()
    const loads = [...this.#files, ...this.#readers, ...records]
    const running = Promise.all(loads.map((load) => load.run()))
    running.catch((error: unknown) => this.#world.fail(error))
    await this.#atlas.run(this.#world.nowMs + faultyMs)
    checkPrimaries(this.#cluster)
    await this.#atlas.heal()
    for (const load of loads) load.isStopped = true
    await running
    await this.#check(records)
    for (const { path } of records) await this.#operator.remove(path, { now: true })
  }

  async #check(records: readonly RecordLoad[]): Promise<void> {
    const { result } = this
    const reader = await this.#cluster.client({ timeoutMs: 90_000 })
    const tookMs = await checkConvergence(this.#world, reader, this.#cluster)
    for (const load of this.#files) result.checked += await load.check(reader)
    for (const load of records) {
      result.checked += await load.check(reader)
      result.records += load.acknowledged
    }
    await reader.writeFile('/still-writable', Buffer.from('yes'), { overwrite: true })
    reader.close()
    result.replicas += await checkReplicas(this.#world, this.#cluster)
    await checkReplay(this.#cluster)
    await checkAtRest(this.#world, this.#cluster)
    result.rounds++
    result.convergenceMsMax = Math.max(result.convergenceMsMax, tookMs)
    result.done = this.#files.reduce((sum, load) => sum + load.done, 0)
    result.failed = this.#files.reduce((sum, load) => sum + load.failed, 0)
    result.reads = this.#readers.reduce((sum, load) => sum + load.done, 0)
    result.highs = Object.fromEntries(this.bounds.highs)
    result.faults = Object.fromEntries(this.#atlas.struck)
  }

  /** An orderly end, after which nothing is left. */
  async end(): Promise<void> {
    for (const client of [...this.#clients, this.#operator]) client.close()
    await checkNothingLeft(this.#world, this.#cluster)
  }
}
