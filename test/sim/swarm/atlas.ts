// The fault atlas: what may befall a cluster, each fault with its way back, all of it survivable.
//
// A server is in the hands of one fault at a time. Whatever a fault began it ends, so when the last one is over only
// chances and settings are left to be reset (`heal`). What takes bytes for good goes through damage.ts; the master's
// disk is kept, though it may lose power, fail and fill up.

import { isDfsError } from '../../../src/base/errors.ts'
import type { ServerId } from '../../../src/base/ids.ts'
import type { Random } from '../../../src/base/random.ts'
import { GiB, HOUR_MS, KiB, SECOND_MS } from '../../../src/base/units.ts'
import type { Client } from '../../../src/client/client.ts'
import type { SimDisk } from '../disk.ts'
import type { SimChunkserver, SimCluster } from '../sim-cluster.ts'
import type { SimWorld } from '../world.ts'
import { Damage } from './damage.ts'
import type { FileLoad } from './files.ts'
import type { Fault, SwarmPlan } from './plan.ts'
import { mustBeMisfortune, Violation } from './violation.ts'

/** Why a start may fail on a disk that is ill, or with nobody there to answer. */
const START_FAULTS = ['DISK_FAILED', 'FSYNC_FAILED', 'DISK_FULL', 'UNAVAILABLE', 'TIMEOUT', 'CONNECTION_LOST']
const CAPACITY_BYTES = 100 * GiB

export class Atlas {
  readonly damage: Damage
  /** How often each fault struck. */
  readonly struck = new Map<Fault, number>()
  readonly #world: SimWorld
  readonly #cluster: SimCluster
  readonly #plan: SwarmPlan
  readonly #operator: Client
  readonly #loads: readonly FileLoad[]
  readonly #random: Random
  /** In the hands of a fault. */
  readonly #busy = new Set<SimChunkserver | 'master' | 'network'>()
  #handsBusy = 0

  constructor(world: SimWorld, cluster: SimCluster, plan: SwarmPlan, operator: Client, loads: readonly FileLoad[]) {
    this.#world = world
    this.#cluster = cluster
    this.#plan = plan
    this.#operator = operator
    this.#loads = loads
    this.#random = world.random.fork()
    this.damage = new Damage(cluster)
    cluster.master.onFailed = () => this.#masterFailed()
  }

  /** Lets faults strike until `untilMs`; resolves when the last one is over. */
  async run(untilMs: number): Promise<void> {
    await Promise.all(Array.from({ length: this.#plan.hands }, () => this.#hand(untilMs)))
    await this.#world.until('the last fault is over', () => this.#handsBusy === 0 && this.#busy.size === 0, 120_000)
  }

  /** Ends what faults leave behind: chances, speeds, wishes of operators. */
  async heal(): Promise<void> {
    const { chunkservers, master } = this.#cluster
    this.#world.network.healFaults()
    for (const machine of this.#world.machines) {
      machine.resume()
      for (const disk of machine.disks) {
        disk.healFaults()
        disk.options.capacityBytes = CAPACITY_BYTES
      }
    }
    if (master.node === undefined) await this.#startMaster()
    await Promise.all(chunkservers.map((server) => server.node ?? this.#startServer(server)))
    if (this.#plan.faults.includes('limits'))
      await this.#operator.copyLimits({ reset: ['isBalancing', 'repairBytesPerSecond', 'copiesPerServer'] })
    if (this.#plan.faults.some((fault) => fault === 'drain' || fault === 'maintain'))
      for (const server of await this.#serverIds()) await this.#operator.setServerIntent(server, 'serve')
  }

  async #hand(untilMs: number): Promise<void> {
    const { faultEveryMs, faults } = this.#plan
    for (;;) {
      await this.#world.sleep(this.#random.below(2 * faultEveryMs))
      if (this.#world.nowMs >= untilMs) return
      await this.strike(this.#random.pick(faults))
    }
  }

  /** One fault, from its beginning to its end. */
  async strike(fault: Fault): Promise<void> {
    this.#handsBusy++
    try {
      this.#world.scheduler.record('fault', 'atlas', fault)
      this.struck.set(fault, (this.struck.get(fault) ?? 0) + 1)
      await this.#strike(fault)
    } finally {
      this.#handsBusy--
    }
  }

  #strike(fault: Fault): Promise<void> {
    const { network } = this.#world
    switch (fault) {
      case 'kill':
        return this.#onServer((server) => this.#restart(server, false))
      case 'power':
        return this.#onServer((server) => this.#restart(server, true))
      case 'powerOfAll':
        return this.#powerOfAll()
      case 'freeze':
        return this.#onServer(({ machine }) => this.#freeze(machine))
      case 'stopGracefully':
        return this.#onServer(async (server) => {
          await server.node?.close({ maintenance: this.#random.chance(0.7) })
          await this.#restart(server, false)
        })
      case 'masterKill':
        return this.#onMaster(() => this.#restartMaster(false))
      case 'masterPower':
        return this.#onMaster(() => this.#restartMaster(true))
      case 'masterFreeze':
        return this.#onMaster(() => this.#freeze(this.#cluster.master.machine))
      case 'masterStop':
        return this.#onMaster(async () => {
          await this.#cluster.master.node?.close()
          await this.#restartMaster(false)
        })
      case 'masterDiskError':
        return this.#onMaster(() => this.#masterDiskError())
      case 'masterDiskFull':
        return this.#onMaster(() => this.#fillDisk(this.#cluster.master.machine.disk))
      case 'partition':
        return this.#partition()
      case 'isolate':
        return this.#isolate()
      case 'cut':
        network.cut(this.#anyone(), this.#anyServer().machine.name)
        return Promise.resolve()
      case 'cutMidFrame':
        network.cutAfter(this.#anyone(), this.#anyone(), 1 + this.#random.below(20_000))
        return Promise.resolve()
      case 'flakyNetwork':
        return this.#onNetwork(async () => {
          this.#world.options.network.breakChance = this.#random.pick([0.0005, 0.005])
          await this.#wait()
          this.#world.options.network.breakChance = 0
        })
      case 'slowLink':
        return this.#slowLink()
      case 'slowDisk':
        return this.#onServer(async ({ machine }) => {
          const disk = this.#anyDisk(machine)
          disk.options.slowFactor = this.#random.pick([10, 100, 1000])
          await this.#wait()
          disk.options.slowFactor = 1
        })
      case 'stalledDisk':
        return this.#onServer(async ({ machine }) => {
          const disk = this.#anyDisk(machine)
          disk.stall()
          await this.#wait()
          disk.unstall()
        })
      case 'diskError':
        return this.#onServer((server) => this.#diskError(server))
      case 'diskFull':
        return this.#onServer(({ machine }) => this.#fillDisk(this.#anyDisk(machine)))
      case 'badDirectory':
        return this.#onServer((server) => this.#badDirectory(server))
      case 'killDuringCheckpoint':
        return this.#onMaster(() => this.#killDuringCheckpoint())
      case 'rot':
        return this.#onServer(async (server) => {
          this.damage.rot(server, this.#random)
        })
      case 'lostDisk':
        return this.#onServer(async (server) => {
          server.crash(false)
          await this.#wait()
          this.damage.loseDisk(server)
          await this.#startServer(server)
        })
      case 'clockJump': {
        const machine = this.#random.pick(this.#world.machines)
        machine.wallOffsetMs = (this.#random.below(200) - 100) * HOUR_MS
        return Promise.resolve()
      }
      default:
        return this.#operate(fault)
    }
  }

  /** What an operator does. */
  async #operate(
    fault: 'drain' | 'maintain' | 'setGoal' | 'checkpoint' | 'scrub' | 'compact' | 'limits' | 'emptyTrash',
  ): Promise<void> {
    try {
      switch (fault) {
        case 'drain':
        case 'maintain': {
          const server = this.#random.pick(await this.#serverIds())
          await this.#operator.setServerIntent(server, fault)
          await this.#wait()
          await this.#operator.setServerIntent(server, 'serve')
          return
        }
        case 'setGoal': {
          const { model } = this.#random.pick(this.#loads)
          if (model.known.length === 0) return
          const goal = 1 + this.#random.below(3)
          // Where bytes are destroyed a file keeps its goal: with one replica nothing survives it.
          if (this.#plan.faults.some((other) => other === 'rot' || other === 'lostDisk')) return
          await this.#operator.setAttributes(this.#random.pick(model.known), { goal })
          return
        }
        case 'checkpoint':
          await this.#operator.checkpoint()
          return
        case 'scrub':
          await this.#operator.scrub()
          return
        case 'compact':
          await this.#operator.compact()
          return
        case 'limits':
          await this.#operator.copyLimits({
            isBalancing: this.#random.chance(0.5),
            repairBytesPerSecond: this.#random.pick([0, 100 * KiB]),
            copiesPerServer: 1 + this.#random.below(4),
          })
          return
        case 'emptyTrash':
          await this.#operator.trashEmpty()
      }
    } catch (error) {
      // The file may have been removed or renamed meanwhile.
      if (fault === 'setGoal' && isDfsError(error, 'NOT_FOUND')) return
      mustBeMisfortune(`the operator's ${fault}`, error)
    }
  }

  async #serverIds(): Promise<ServerId[]> {
    const { servers } = (await this.#operator.report()) as { servers: { id: string }[] }
    return servers.map(({ id }) => Number(id.slice('cs-'.length)) as ServerId)
  }

  // Hands on one thing.

  async #onServer(act: (server: SimChunkserver) => Promise<void>): Promise<void> {
    const free = this.#cluster.chunkservers.filter((server) => !this.#busy.has(server))
    if (free.length === 0) return
    const server = this.#random.pick(free)
    await this.#holding([server], () => act(server))
  }

  #onMaster(act: () => Promise<void>): Promise<void> {
    return this.#busy.has('master') ? Promise.resolve() : this.#holding(['master'], act)
  }

  #onNetwork(act: () => Promise<void>): Promise<void> {
    return this.#busy.has('network') ? Promise.resolve() : this.#holding(['network'], act)
  }

  async #holding(things: readonly (SimChunkserver | 'master' | 'network')[], act: () => Promise<void>): Promise<void> {
    for (const thing of things) this.#busy.add(thing)
    try {
      await act()
    } finally {
      for (const thing of things) this.#busy.delete(thing)
    }
  }

  #wait(): Promise<void> {
    return this.#world.sleep(this.#random.below(this.#plan.faultMsMax))
  }

  #anyServer(): SimChunkserver {
    return this.#random.pick(this.#cluster.chunkservers)
  }

  #anyDisk({ disks, disk }: SimChunkserver['machine']): SimDisk {
    return disks.length === 1 ? disk : this.#random.pick(disks)
  }

  #anyone(): string {
    return this.#random.pick(this.#world.machines).name
  }

  // Servers.

  async #restart(server: SimChunkserver, power: boolean): Promise<void> {
    server.crash(power)
    await this.#wait()
    await this.#startServer(server)
  }

  async #powerOfAll(): Promise<void> {
    const servers = this.#cluster.chunkservers.filter((server) => !this.#busy.has(server))
    await this.#holding(servers, async () => {
      for (const server of servers) server.crash(true)
      await this.#wait()
      await Promise.all(servers.map((server) => this.#startServer(server)))
    })
  }

  /** Starts it again and again until its disk lets it. */
  #startServer(server: SimChunkserver): Promise<void> {
    return this.#persist(`chunkserver ${server.machine.name}`, () => server.restart())
  }

  async #persist(what: string, start: () => Promise<unknown>): Promise<void> {
    for (;;) {
      try {
        await start()
        return
      } catch (error) {
        if (!isDfsError(error)) throw error
        if (!START_FAULTS.includes(error.code))
          throw new Violation(`${what} refuses to start: ${error.code} ${error.message}`, { cause: error })
      }
      await this.#world.sleep(SECOND_MS)
    }
  }

  async #freeze(machine: SimChunkserver['machine']): Promise<void> {
    machine.pauseMachine()
    await this.#wait()
    machine.resume()
  }

  async #diskError(server: SimChunkserver): Promise<void> {
    const disk = this.#anyDisk(server.machine)
    const operation = this.#random.pick(['read', 'write', 'sync'] as const)
    disk.fail(operation, /./, 1 + this.#random.below(3))
    await this.#wait()
    disk.healFaults()
    // Somebody looks after the machine: a directory that failed stays so until the next start.
    await this.#restart(server, this.#random.chance(0.5))
  }

  /** One disk of several fails: for good as far as its server is concerned, until somebody has seen to it. */
  async #badDirectory(server: SimChunkserver): Promise<void> {
    const disk = this.#anyDisk(server.machine)
    const operations = this.#random.pick([
      ['read'],
      ['write', 'sync'],
      ['read', 'write', 'sync', 'open', 'rename'],
    ] as const)
    for (const operation of operations) disk.fail(operation, /chunks/, Number.POSITIVE_INFINITY)
    await this.#wait()
    disk.healFaults()
    await this.#restart(server, false)
  }

  /** The disk has little room for a while. */
  async #fillDisk(disk: SimDisk): Promise<void> {
    disk.options.capacityBytes = disk.usedBytes() + this.#random.below(50 * KiB)
    await this.#wait()
    disk.options.capacityBytes = CAPACITY_BYTES
  }

  // The master.

  async #restartMaster(power: boolean): Promise<void> {
    this.#cluster.master.crash(power)
    await this.#wait()
    await this.#startMaster()
  }

  #startMaster(): Promise<void> {
    return this.#persist('the master', () => this.#cluster.master.restart())
  }

  async #masterDiskError(): Promise<void> {
    const { disk } = this.#cluster.master.machine
    disk.fail(this.#random.pick(['write', 'sync'] as const), /./, 1)
    await this.#wait()
    disk.healFaults()
    await this.#restartMaster(this.#random.chance(0.5))
  }

  /** Killed at any moment from its first byte to a while after its last. */
  async #killDuringCheckpoint(): Promise<void> {
    const made = this.#operator.checkpoint().catch((error: unknown) => mustBeMisfortune('a checkpoint', error))
    await new Promise<void>((resolve) => this.#world.afterEvents(this.#random.below(400), resolve))
    await this.#restartMaster(this.#random.chance(0.5))
    await made
  }

  /** It ended itself, as it must after a failed sync: whoever runs it starts it again, unless a fault has it in hand. */
  #masterFailed(): void {
    if (this.#busy.has('master')) return
    this.#holding(['master'], () => this.#restartMaster(false)).catch((error: unknown) => this.#world.fail(error))
  }

  // The network.

  async #partition(): Promise<void> {
    const { network } = this.#world
    const [a, b] = [this.#anyone(), this.#anyone()]
    if (a === b) return
    network.partition(a, b, { oneWay: this.#random.chance(0.4) })
    await this.#wait()
    network.heal(a, b)
  }

  /** One server, or the master, is cut off from everybody, or hears and isn't heard. */
  async #isolate(): Promise<void> {
    const { network, machines } = this.#world
    const name = this.#random.chance(0.2) ? 'master' : this.#anyServer().machine.name
    const others = machines.map((machine) => machine.name).filter((other) => other !== name)
    const how = this.#random.below(3)
    if (how === 0) network.partition(name, others)
    else if (how === 1) network.partition(name, others, { oneWay: true })
    else network.partition(others, name, { oneWay: true })
    await this.#wait()
    for (const other of others) network.heal(name, other)
  }

  async #slowLink(): Promise<void> {
    const { network } = this.#world
    const [from, to] = [this.#anyone(), this.#anyone()]
    const normal = network.linkOf(from, to)
    const { latencyMsMin, latencyMsMax, bytesPerMs } = normal
    network.setLink(from, to, { latencyMsMin: 20, latencyMsMax: 200 + this.#random.below(1000), bytesPerMs: 100 })
    await this.#wait()
    network.setLink(from, to, { latencyMsMin, latencyMsMax, bytesPerMs })
  }
}
