// The simulated network: who listens where, which links are cut, slow or blocked, and the faults it is told to have.
//
// A blocked link loses nothing that TCP would send again: bytes wait until it is healed. What it does lose is news: an
// end of the other side that happens meanwhile is noticed only when something is sent to it later (half-open).

import { DfsError } from '../../src/base/errors.ts'
import type { Random } from '../../src/base/random.ts'
import { type Address, formatAddress, type Listener, type Network, type Socket } from '../../src/io/network.ts'
import type { SimMachine, SimProcess } from './machine.ts'
import { SimSocket } from './socket.ts'
import type { SimWorld } from './world.ts'

interface ListenerEntry {
  readonly process: SimProcess
  readonly host: string
  readonly port: number
  readonly onSocket: (socket: Socket) => void
}

export interface LinkOptions {
  latencyMsMin: number
  latencyMsMax: number
  bytesPerMs: number
}

/** One direction between two machines. Sockets keep theirs: it is asked on the way of every frame. */
export interface Link {
  /** Undefined: like all others. */
  options: LinkOptions | undefined
  isBlocked: boolean
  /** Since the world began, arrived or not. */
  sentBytes: number
}

interface CutRule {
  readonly from: string
  readonly to: string
  bytes: number
}

const EVERYWHERE = new Set(['0.0.0.0', '::', ''])
const HERE = new Set(['127.0.0.1', 'localhost', '::1'])

export class SimNetwork {
  readonly world: SimWorld
  readonly random: Random
  readonly #listeners = new Set<ListenerEntry>()
  readonly #sockets = new Set<SimSocket>()
  readonly #links = new Map<string, Link>()
  readonly #refusing = new Set<string>()
  #cuts: CutRule[] = []
  #portCount = 40_000

  constructor(world: SimWorld, random: Random) {
    this.world = world
    this.random = random
  }

  // Faults. Machines are given by name.

  /** Blocks both directions between each of `left` and each of `right`, or only left to right. */
  partition(left: string | readonly string[], right: string | readonly string[], how: { oneWay?: boolean } = {}): void {
    for (const a of listOf(left)) {
      for (const b of listOf(right)) {
        this.link(a, b).isBlocked = true
        if (!how.oneWay) this.link(b, a).isBlocked = true
      }
    }
  }

  /** Ends every partition (or those between two machines). What waited is delivered. */
  heal(a?: string, b?: string): void {
    const healed = a === undefined || b === undefined ? this.#links.values() : [this.link(a, b), this.link(b, a)]
    for (const link of healed) link.isBlocked = false
    this.wakeUp()
  }

  /** Looks at every connection again: a link or a machine has come back. */
  wakeUp(): void {
    for (const socket of this.#sockets) socket.wakeUp()
  }

  isBlocked(from: string, to: string): boolean {
    return this.link(from, to).isBlocked
  }

  /** Blocks both directions between two machines for `durationMs`. */
  stall(a: string, b: string, durationMs: number): void {
    this.partition(a, b)
    this.world.after(durationMs, () => this.heal(a, b))
  }

  /** Breaks every connection between two machines now: both sides get CONNECTION_LOST. @returns connections broken */
  cut(a: string, b: string): number {
    let count = 0
    for (const socket of this.#sockets) {
      if (socket.isClient && socket.isBetween(a, b)) {
        socket.breakConnection()
        count++
      }
    }
    return count
  }

  /** The connection on which the next `bytes`-th byte from `from` to `to` arrives breaks right after it. */
  cutAfter(from: string, to: string, bytes: number): void {
    this.#cuts.push({ from, to, bytes })
  }

  /** Connecting to the machine is refused until `accept`; live connections stay. */
  refuse(name: string): void {
    this.#refusing.add(name)
  }

  accept(name: string): void {
    this.#refusing.delete(name)
  }

  /** Other speed for one direction between two machines. */
  setLink(from: string, to: string, options: Partial<LinkOptions>): void {
    this.link(from, to).options = { ...this.linkOf(from, to), ...options }
  }

  linkOf(from: string, to: string): LinkOptions {
    return this.link(from, to).options ?? this.world.options.network
  }

  /** Ends all told faults and probabilities; the links' speeds too. */
  healFaults(): void {
    this.#cuts = []
    this.#refusing.clear()
    for (const link of this.#links.values()) link.options = undefined
    this.world.options.network.breakChance = 0
    this.heal()
  }

  /** Live connections between machines (all when none is named), each counted once. */
  connectionCount(a?: string, b?: string): number {
    let count = 0
    for (const socket of this.#sockets) {
      if (socket.isClient && (a === undefined || b === undefined || socket.isBetween(a, b))) count++
    }
    return count
  }

  /** Bytes that one machine has sent to another since the world began, arrived or not. */
  sentBytes(from: string, to: string): number {
    return this.link(from, to).sentBytes
  }

  /** Received buffers that living processes keep: 0 when nothing leaks. */
  get retainedBuffers(): number {
    return this.#sum((process) => process.retainedBuffers)
  }

  /** The bytes of those. */
  get retainedBytes(): number {
    return this.#sum((process) => process.retainedBytes)
  }

  /** Each two machines that are connected: how often, and the most bytes that one end still holds in its process. */
  pairs(): Iterable<{ readonly pair: string; readonly connections: number; readonly unsentBytes: number }> {
    const pairs = new Map<string, { pair: string; connections: number; unsentBytes: number }>()
    for (const socket of this.#sockets) {
      const pair = socket.machineNames
      const entry = pairs.get(pair) ?? { pair, connections: 0, unsentBytes: 0 }
      if (socket.isClient) entry.connections++
      entry.unsentBytes = Math.max(entry.unsentBytes, socket.queuedBytes)
      pairs.set(pair, entry)
    }
    return pairs.values()
  }

  // For sockets.

  link(from: string, to: string): Link {
    const name = `${from}>${to}`
    let link = this.#links.get(name)
    if (link === undefined) {
      link = { options: undefined, isBlocked: false, sentBytes: 0 }
      this.#links.set(name, link)
    }
    return link
  }

  latencyMs(from: string, to: string): number {
    return this.latencyMsOf(this.link(from, to))
  }

  latencyMsOf(link: Link): number {
    const { latencyMsMin, latencyMsMax } = link.options ?? this.world.options.network
    return latencyMsMin + (latencyMsMax - latencyMsMin) * this.random.fraction()
  }

  /** How many of `bytes` that arrive may be delivered, and whether the connection breaks after them. */
  takeCut(from: string, to: string, bytes: number): { bytes: number; isCut: boolean } {
    for (const cut of this.#cuts) {
      if (cut.from !== from || cut.to !== to) continue
      if (cut.bytes <= bytes) {
        this.#cuts.splice(this.#cuts.indexOf(cut), 1)
        return { bytes: cut.bytes, isCut: true }
      }
      cut.bytes -= bytes
    }
    if (this.random.chance(this.world.options.network.breakChance)) {
      return { bytes: this.random.below(bytes + 1), isCut: true }
    }
    return { bytes, isCut: false }
  }

  add(socket: SimSocket): void {
    this.#sockets.add(socket)
  }

  remove(socket: SimSocket): void {
    this.#sockets.delete(socket)
  }

  fail(reason: string): void {
    this.world.fail(reason)
  }

  #sum(count: (process: SimProcess) => number): number {
    let sum = 0
    for (const machine of this.world.machines) for (const process of machine.processes) sum += count(process)
    return sum
  }

  // The port.

  portOf(process: SimProcess): Network {
    return {
      connect: (address, timeoutMs) => this.#connect(process, address, timeoutMs),
      listen: (address, onSocket) => this.#listen(process, address, onSocket),
    }
  }

  #connect(process: SimProcess, address: Address, timeoutMs: number): Promise<Socket> {
    const from = process.machine
    const name = formatAddress(address)
    return new Promise((resolve, reject) => {
      let isDecided = false
      const timer = process.schedule(timeoutMs, 'connect-timeout', name, () => {
        isDecided = true
        reject(new DfsError('TIMEOUT', `connecting to ${name} took longer than ${timeoutMs} ms`, { address: name }))
      })
      const refuse = () => {
        if (isDecided) return
        timer.isCancelled = true
        reject(new DfsError('UNAVAILABLE', `${name} refused the connection`, { address: name }))
      }
      const to = HERE.has(address.host) ? from : this.world.machineAt(address.host)
      if (to === undefined) {
        process.schedule(this.latencyMs(from.name, from.name), 'connect-unknown', name, refuse)
        return
      }
      // The request travels, is answered by the kernel there, and the answer travels back.
      const knock = () => {
        if (!process.isAlive || isDecided) return
        if (!to.isPowered || this.isBlocked(from.name, to.name)) return this.#again(() => knock())
        const entry = this.#refusing.has(to.name) ? undefined : this.#listenerAt(to, address.port)
        const answer = (act: () => void): void => {
          process.schedule(this.latencyMs(to.name, from.name), 'connect-answer', name, () => {
            if (isDecided) return
            if (this.isBlocked(to.name, from.name)) return this.#again(() => answer(act))
            act()
          })
        }
        if (entry === undefined) return answer(refuse)
        answer(() => {
          if (!this.#listeners.has(entry)) return refuse()
          timer.isCancelled = true
          isDecided = true
          const localPort = ++this.#portCount
          const client = new SimSocket(this, process, { host: from.name, port: localPort }, address, true)
          const server = new SimSocket(this, entry.process, address, { host: from.name, port: localPort }, false)
          client.join(server)
          entry.process.schedule(0, 'accept', name, () => {
            if (!server.isOpen) return
            // What the system had taken in, and nobody fetched before the listener was closed, is reset.
            if (!this.#listeners.has(entry)) return server.breakConnection()
            entry.onSocket(server)
            if (!server.isStarted) this.fail(`${name}: a socket was accepted and not started in the same turn`)
          })
          resolve(client)
        })
      }
      this.world.scheduler.schedule(this.latencyMs(from.name, to.name), 'connect', name, undefined, knock)
    })
  }

  /** A connection request that was lost is sent again, as TCP does. */
  #again(act: () => void): void {
    this.world.scheduler.schedule(200, 'connect-again', '', undefined, act)
  }

  #listen(process: SimProcess, address: Address, onSocket: (socket: Socket) => void): Promise<Listener> {
    return new Promise((resolve, reject) => {
      process.schedule(0.01, 'listen', formatAddress(address), () => {
        const { machine } = process
        const isOwn = EVERYWHERE.has(address.host) || HERE.has(address.host) || address.host === machine.host
        const port = address.port === 0 ? ++this.#portCount : address.port
        if (!isOwn || this.#listenerAt(machine, port) !== undefined) {
          const why = isOwn ? 'is in use' : `is not an address of ${machine.host}`
          return reject(new DfsError('INVALID_ARGUMENT', `${formatAddress(address)} ${why}`, {}))
        }
        const entry: ListenerEntry = { process, host: address.host, port, onSocket }
        this.#listeners.add(entry)
        const forget = process.onDeath(() => this.#listeners.delete(entry))
        resolve({
          address: { host: address.host, port },
          close: () =>
            new Promise((closed) => {
              forget()
              this.#listeners.delete(entry)
              process.schedule(0, 'unlisten', '', closed)
            }),
        })
      })
    })
  }

  #listenerAt(machine: SimMachine, port: number): ListenerEntry | undefined {
    for (const entry of this.#listeners) if (entry.process.machine === machine && entry.port === port) return entry
    return undefined
  }
}

function listOf(names: string | readonly string[]): readonly string[] {
  return typeof names === 'string' ? [names] : names
}
