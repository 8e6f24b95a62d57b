// A simulated machine: its disks, its place in the network, and the processes that run on it.
//
// A process is what `io` belongs to. When it dies, everything it waited for stays silent for ever: no timer, socket or
// disk operation of a dead process calls back, its locks are free, its sockets break. Power loss kills all processes
// and makes every disk forget what was not synced.

import { assert } from '../../src/base/assert.ts'
import type { Random } from '../../src/base/random.ts'
import type { Clock } from '../../src/io/clock.ts'
import type { Disk } from '../../src/io/disk.ts'
import type { Entropy } from '../../src/io/entropy.ts'
import type { Io } from '../../src/io/io.ts'
import type { Network } from '../../src/io/network.ts'
import { simClock } from './clock.ts'
import { SimDisk } from './disk.ts'
import { simDiskPort } from './disk-port.ts'
import { SimLog } from './log.ts'
import type { SimDiskOptions } from './options.ts'
import type { ReceivedOwner } from './received.ts'
import type { EventOwner, SimEvent } from './scheduler.ts'
import type { SimWorld } from './world.ts'

export class SimProcess implements EventOwner, ReceivedOwner, Io {
  readonly machine: SimMachine
  /** `cs-1#2`: the second process that was started on cs-1. */
  readonly label: string
  readonly clock: Clock
  readonly disk: Disk
  readonly network: Network
  readonly entropy: Entropy
  /** Paths of files opened and not closed, each as often as it is open. */
  readonly openPaths: string[] = []
  /** Received buffers kept and not released, and their bytes. */
  retainedBuffers = 0
  retainedBytes = 0
  #isAlive = true
  readonly #onDeath = new Set<() => void>()

  constructor(machine: SimMachine, number: number, random: Random) {
    this.machine = machine
    this.label = `${machine.name}#${number}`
    this.clock = simClock(this, random)
    this.disk = simDiskPort(this)
    this.network = machine.world.network.portOf(this)
    this.entropy = { below: (bound) => random.below(bound), bytes: (count) => random.bytes(count) }
  }

  get world(): SimWorld {
    return this.machine.world
  }

  /** Files opened and not closed. */
  get openFileCount(): number {
    return this.openPaths.length
  }

  get isAlive(): boolean {
    return this.#isAlive
  }

  get isPaused(): boolean {
    return this.machine.isPaused
  }

  hold(event: SimEvent): void {
    this.machine.hold(event)
  }

  /** Runs `run` later, unless the process has died by then. */
  schedule(delayMs: number, kind: string, detail: string, run: () => void): SimEvent {
    return this.world.scheduler.schedule(delayMs, kind, detail, this, run)
  }

  /** Calls back when the process dies. @returns forgets it */
  onDeath(callback: () => void): () => void {
    this.#onDeath.add(callback)
    return () => this.#onDeath.delete(callback)
  }

  /** A received buffer is kept (1) or given back (-1). */
  countRetained(count: 1 | -1, bytes: number): void {
    this.retainedBuffers += count
    this.retainedBytes += count * bytes
  }

  /** A rule of the ports was broken. */
  fail(reason: string): void {
    this.world.fail(`${this.label}: ${reason}`)
  }

  /** `kill -9`. Nothing when it is dead. */
  kill(): void {
    if (!this.#isAlive) return
    this.#isAlive = false
    this.world.processDied()
    this.world.scheduler.record('kill', this.label, '')
    for (const callback of [...this.#onDeath]) callback()
    this.#onDeath.clear()
  }
}

export class SimMachine {
  readonly world: SimWorld
  readonly name: string
  /** The disk at `/`. */
  readonly disk: SimDisk
  readonly log: SimLog
  /** Added to this machine's wall clock. */
  wallOffsetMs = 0
  /** How fast this machine's clocks run: 1.001 gains a millisecond a second. */
  clockRate = 1
  readonly #random: Random
  readonly #disks: { mount: string; disk: SimDisk }[] = []
  #processes: SimProcess[] = []
  #processCount = 0
  #held: SimEvent[] = []
  #isPaused = false
  #isPowered = true
  #main: SimProcess

  constructor(world: SimWorld, name: string, random: Random) {
    this.world = world
    this.name = name
    this.#random = random
    this.log = new SimLog(world, name, world.options.logLinesMax)
    this.disk = new SimDisk(world, `${name}:/`, world.options.disk, random.fork())
    this.#disks.push({ mount: '/', disk: this.disk })
    this.#main = this.spawn()
  }

  get host(): string {
    return this.name
  }

  /** The ports of the main process; of the dead one between `crash` and `restart`. */
  get io(): Io {
    return this.#main
  }

  /** The main process. */
  get process(): SimProcess {
    return this.#main
  }

  /** The living processes. */
  get processes(): readonly SimProcess[] {
    return this.#processes.filter((process) => process.isAlive)
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  /** False from power loss to restart: nothing answers, not even with a refusal. */
  get isPowered(): boolean {
    return this.#isPowered
  }

  get disks(): readonly SimDisk[] {
    return this.#disks.map((entry) => entry.disk)
  }

  /** Puts a new disk (or one from another machine) at `mount`, an absolute path without a slash at its end. */
  addDisk(mount: string, options: Partial<SimDiskOptions> | SimDisk = {}): SimDisk {
    const disk =
      options instanceof SimDisk
        ? options
        : new SimDisk(
            this.world,
            `${this.name}:${mount}`,
            { ...this.world.options.disk, ...options },
            this.#random.fork(),
          )
    this.#disks.push({ mount, disk })
    this.#disks.sort((a, b) => b.mount.length - a.mount.length)
    return disk
  }

  /** The disk that holds `path`, and the path on it. */
  diskOf(path: string): { disk: SimDisk; path: string } {
    const absolute = path.startsWith('/') ? path : `/${path}`
    for (const { mount, disk } of this.#disks) {
      if (mount === '/' || absolute === mount) return { disk, path: mount === '/' ? absolute : '/' }
      if (absolute.startsWith(`${mount}/`)) return { disk, path: absolute.slice(mount.length) }
    }
    return { disk: this.disk, path: absolute }
  }

  /** One more process on this machine, with ports of its own; `crash` ends it too. */
  spawn(): SimProcess {
    assert(this.#isPowered, `${this.name} has no power`)
    const process = new SimProcess(this, ++this.#processCount, this.#random.fork())
    this.#processes = this.#processes.filter((other) => other.isAlive)
    this.#processes.push(process)
    return process
  }

  /**
   * Kills every process. With `power` the machine is gone from the network without a word and its disks forget or
   * tear what was not synced; without it the page cache stays and peers see their connections break.
   */
  crash(how: { readonly power: boolean }): void {
    if (how.power) this.#isPowered = false
    this.#isPaused = false
    this.#held = []
    for (const process of this.#processes) process.kill()
    this.#processes = []
    if (how.power) for (const { disk } of this.#disks) disk.losePower()
  }

  /** Starts a new main process (after a crash, or killing the running one) and returns its ports. */
  restart(): Io {
    this.#main.kill()
    this.#isPowered = true
    this.#main = this.spawn()
    this.world.network.wakeUp()
    return this.#main
  }

  /** SIGSTOP: nothing of this machine's processes runs until `resume`; its kernel goes on. */
  pauseMachine(): void {
    this.#isPaused = true
  }

  /** SIGCONT. */
  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    const held = this.#held
    this.#held = []
    for (const event of held) this.world.scheduler.putBack(event)
  }

  /** Keeps an event of a stopped process until `resume`. */
  hold(event: SimEvent): void {
    this.#held.push(event)
  }
}
