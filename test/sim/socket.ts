// One end of a simulated connection. Bytes go from the process's queue into the kernel's window, travel, and are
// delivered in pieces that chance cuts; nothing is delivered twice, out of order or after `onClose`.

import { assert } from '../../src/base/assert.ts'
import { crc32 } from '../../src/base/crc32.ts'
import { DfsError } from '../../src/base/errors.ts'
import { KiB } from '../../src/base/units.ts'
import { type Address, formatAddress, type Socket, type SocketHandler } from '../../src/io/network.ts'
import type { SimProcess } from './machine.ts'
import type { Link, SimNetwork } from './network.ts'
import { SimReceived } from './received.ts'
import type { SimEvent } from './scheduler.ts'

interface QueuedWrite {
  readonly slices: readonly Uint8Array[]
  readonly bytes: number
  readonly checksum: number
  readonly onWritten: ((error?: Error) => void) | undefined
  /** All slices in one, made when the kernel takes the first bytes. */
  joined: Buffer | undefined
  /** Bytes that the kernel has taken. */
  taken: number
}

interface Segment {
  readonly bytes: Buffer
  readonly arrivesMs: number
}

export class SimSocket implements Socket {
  readonly local: Address
  readonly remote: Address
  /** True for the end that connected. */
  readonly isClient: boolean
  readonly #network: SimNetwork
  readonly #label: string
  readonly #process: SimProcess
  readonly #forgetDeath: () => void
  #peer: SimSocket | undefined
  /** The way from here to the peer. */
  #link: Link
  #handler: SocketHandler | undefined
  // Sending.
  #queue: QueuedWrite[] = []
  #queuedBytes = 0
  /** Taken by the kernel whole, and not told yet. */
  #written: QueuedWrite[] = []
  #wantsDrain = false
  #hasEnded = false
  #finSent = false
  // What this end has sent and the other has not delivered yet.
  #flight: Segment[] = []
  #flightBytes = 0
  #flightFreeMs = 0
  #finArrivesMs: number | undefined
  // Receiving.
  #isPaused = false
  #gotEnd = false
  #delivery: SimEvent | undefined
  /** Open until it was destroyed, broke, or both sides have ended. */
  isOpen = true
  #isCloseTold = false

  constructor(network: SimNetwork, process: SimProcess, local: Address, remote: Address, isClient: boolean) {
    this.#network = network
    this.#process = process
    this.local = local
    this.remote = remote
    this.isClient = isClient
    this.#link = network.link(process.machine.name, process.machine.name)
    this.#label = `${formatAddress(local)}>${formatAddress(remote)}`
    this.#forgetDeath = process.onDeath(() => this.#processDied())
    network.add(this)
  }

  /** Makes two new ends one connection. */
  join(peer: SimSocket): void {
    this.#peer = peer
    peer.#peer = this
    this.#link = this.#network.link(this.#machineName, peer.#machineName)
    peer.#link = this.#network.link(peer.#machineName, this.#machineName)
  }

  get queuedBytes(): number {
    return this.#queuedBytes
  }

  get #machineName(): string {
    return this.#process.machine.name
  }

  get #peerName(): string {
    const peer = this.#peer
    return peer === undefined ? this.#machineName : peer.#machineName
  }

  /** `a-b`, the one that connected first. */
  get machineNames(): string {
    return this.isClient ? `${this.#machineName}-${this.#peerName}` : `${this.#peerName}-${this.#machineName}`
  }

  get isStarted(): boolean {
    return this.#handler !== undefined
  }

  isBetween(a: string, b: string): boolean {
    const here = this.#machineName
    const there = this.#peerName
    return (here === a && there === b) || (here === b && there === a)
  }

  start(handler: SocketHandler): void {
    assert(this.#handler === undefined, 'start called twice')
    this.#handler = handler
    this.wakeUp()
  }

  write(slices: readonly Uint8Array[], onWritten?: (error?: Error) => void): boolean {
    assert(!this.#hasEnded || !this.isOpen, 'write after end')
    const bytes = slices.reduce((sum, slice) => sum + slice.length, 0)
    if (!this.isOpen || !this.#process.isAlive) {
      if (onWritten) this.#process.schedule(0, 'write-lost', this.#label, () => onWritten(this.#lost('is closed')))
      return false
    }
    const checksum = checksumOf(slices)
    this.#queue.push({ slices: [...slices], bytes, checksum, onWritten, joined: undefined, taken: 0 })
    this.#queuedBytes += bytes
    const isFull = this.#queuedBytes > this.#network.world.options.network.highWaterBytes
    this.#pump()
    if (isFull) this.#wantsDrain = true
    if (isFull && this.#queuedBytes === 0) this.#drainLater()
    return !isFull
  }

  /** The simulated system takes writes at once. */
  flush(): void {}

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
    this.wakeUp()
  }

  end(): void {
    if (!this.isOpen || this.#hasEnded) return
    this.#hasEnded = true
    this.#pump()
  }

  destroy(error?: Error): void {
    if (!this.isOpen || !this.#process.isAlive) return
    this.#tellPeerItIsOver()
    this.#close(error)
  }

  /** The connection breaks in the middle of the network: both ends learn it. */
  breakConnection(): void {
    const peer = this.#peer
    this.#close(this.#lost('was cut'))
    if (peer !== undefined) peer.#close(peer.#lost('was cut'))
  }

  /** Looks again whether something can be delivered to this end, or sent from it. */
  wakeUp(): void {
    const peer = this.#peer
    if (peer !== undefined) peer.#scheduleDelivery()
    this.#scheduleDelivery()
  }

  // Sending: queue → flight.

  #pump(): void {
    const { windowBytes } = this.#network.world.options.network
    const before = this.#written.length
    for (let head = this.#queue[0]; head !== undefined; head = this.#queue[0]) {
      const room = windowBytes - this.#flightBytes
      const left = head.bytes - head.taken
      // No crumbs (RFC 1122's silly window): the kernel takes the rest, or a good part of a window.
      if (left > room && room < windowBytes / 2) break
      const take = Math.min(room, left)
      head.joined ??= Buffer.concat(head.slices)
      this.#send(head.joined.subarray(head.taken, head.taken + take))
      head.taken += take
      this.#queuedBytes -= take
      if (head.taken < head.bytes) break
      this.#queue.shift()
      this.#written.push(head)
    }
    if (before === 0 && this.#written.length > 0) {
      this.#process.schedule(0, 'written', this.#label, () => this.#tellWritten())
    }
    if (this.#queuedBytes === 0) {
      if (this.#wantsDrain) this.#drainLater()
      if (this.#hasEnded && !this.#finSent) {
        this.#finSent = true
        this.#finArrivesMs = Math.max(this.#flightFreeMs, this.#arrivalMs(0))
        this.#scheduleDelivery()
      }
    }
  }

  #tellWritten(): void {
    const written = this.#written
    this.#written = []
    for (const { slices, checksum, onWritten } of written) {
      if (checksumOf(slices) !== checksum) {
        this.#network.fail(`${this.#label}: slices changed between write and onWritten`)
      }
      onWritten?.()
    }
  }

  #drainLater(): void {
    this.#wantsDrain = false
    this.#process.schedule(0, 'drain', this.#label, () => {
      if (this.isOpen) this.#handler?.onDrain()
    })
  }

  #send(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.#link.sentBytes += bytes.length
    const arrivesMs = this.#arrivalMs(bytes.length)
    this.#flight.push({ bytes, arrivesMs })
    this.#flightBytes += bytes.length
    this.#scheduleDelivery()
  }

  #arrivalMs(bytes: number): number {
    const { bytesPerMs } = this.#link.options ?? this.#network.world.options.network
    const departsMs = this.#network.world.nowMs + bytes / bytesPerMs
    this.#flightFreeMs = Math.max(
      this.#flightFreeMs + bytes / bytesPerMs,
      departsMs + this.#network.latencyMsOf(this.#link),
    )
    return this.#flightFreeMs
  }

  // Travelling: what this end has sent is delivered to the other.

  #scheduleDelivery(): void {
    const peer = this.#peer
    if (this.#delivery !== undefined || peer === undefined) return
    const atMs = this.#flight[0]?.arrivesMs ?? this.#finArrivesMs
    if (atMs === undefined || this.#link.isBlocked) return
    // While the reader wants nothing the bytes wait; an end that is gone must answer, though.
    if (peer.isOpen && (peer.#isPaused || peer.#handler === undefined)) return
    if (!peer.isOpen && !peer.#process.machine.isPowered) return
    const delayMs = Math.max(0, atMs - this.#network.world.nowMs)
    // A living reader's event: it waits while that process is stopped. A dead end's kernel answers by itself.
    const owner = peer.isOpen && peer.#process.isAlive ? peer.#process : undefined
    this.#delivery = this.#network.world.scheduler.schedule(delayMs, 'deliver', this.#label, owner, () => {
      this.#delivery = undefined
      this.#deliver(peer)
    })
  }

  #deliver(peer: SimSocket): void {
    const from = this.#machineName
    const to = peer.#machineName
    if (this.#link.isBlocked) return
    if (!peer.isOpen) {
      if (!peer.#process.machine.isPowered) return
      if (this.#flight.length === 0 && this.#gotEnd) {
        this.#finArrivesMs = undefined
        this.#close(undefined)
        return
      }
      // Bytes for a connection that is gone are answered with a reset.
      this.#flight = []
      this.#flightBytes = 0
      this.#finArrivesMs = undefined
      this.#resetSoon(to, from)
      return
    }
    if (peer.#isPaused || peer.#handler === undefined) return
    if (this.#flight.length === 0) {
      this.#finArrivesMs = undefined
      if (!peer.#gotEnd) {
        peer.#gotEnd = true
        peer.#handler.onEnd()
      }
      this.#closeWhenBothEnded()
      return
    }
    const wanted = this.#network.takeCut(from, to, this.#pieceBytes())
    if (wanted.bytes > 0) peer.#handOver(this.#take(wanted.bytes))
    if (wanted.isCut) {
      this.breakConnection()
      return
    }
    if (this.isOpen) this.#pump()
    this.#scheduleDelivery()
  }

  /** How many bytes of those that have arrived are delivered at once. */
  #pieceBytes(): number {
    const { nowMs, options } = this.#network.world
    let arrived = 0
    for (const segment of this.#flight) {
      if (arrived > 0 && segment.arrivesMs > nowMs) break
      arrived += segment.bytes.length
    }
    const { random } = this.#network
    const { chunking } = options.network
    const fate = chunking === 'coarse' ? 9 : random.below(chunking === 'fine' ? 5 : 10)
    const most = fate < 1 ? 16 : fate < 3 ? 200 : fate < 5 ? 4 * KiB : fate < 7 ? 64 * KiB : 1024 * KiB
    return fate >= 7 ? Math.min(arrived, most) : Math.min(arrived, 1 + random.below(most))
  }

  #take(bytes: number): Buffer {
    const first = this.#flight[0]!
    if (first.bytes.length >= bytes) {
      // Each byte is delivered once, so a part of a buffer that is ours alone can be poisoned for itself.
      this.#flightBytes -= bytes
      if (first.bytes.length === bytes) {
        this.#flight.shift()
        return first.bytes
      }
      this.#flight[0] = { bytes: first.bytes.subarray(bytes), arrivesMs: first.arrivesMs }
      return first.bytes.subarray(0, bytes)
    }
    const result = Buffer.allocUnsafe(bytes)
    let done = 0
    while (done < bytes) {
      const head = this.#flight[0]!
      const part = Math.min(bytes - done, head.bytes.length)
      head.bytes.copy(result, done, 0, part)
      done += part
      if (part === head.bytes.length) this.#flight.shift()
      else this.#flight[0] = { bytes: head.bytes.subarray(part), arrivesMs: head.arrivesMs }
    }
    this.#flightBytes -= bytes
    return result
  }

  #handOver(bytes: Buffer): void {
    const received = new SimReceived(bytes, this.#process)
    try {
      this.#handler?.onBytes(received)
    } finally {
      received.handlerReturned()
    }
  }

  // Ending.

  #closeWhenBothEnded(): void {
    const peer = this.#peer
    if (peer === undefined) return
    for (const end of [this, peer]) if (end.#finSent && end.#gotEnd && end.#queuedBytes === 0) end.#close(undefined)
  }

  /** The other end sees an ordinary end after what is under way, or a reset that overtakes it. */
  #tellPeerItIsOver(): void {
    const peer = this.#peer
    if (peer === undefined) return
    if (this.#network.random.chance(0.5) && !this.#finSent) {
      this.#finSent = true
      this.#finArrivesMs = Math.max(this.#flightFreeMs, this.#arrivalMs(0))
      this.#scheduleDelivery()
    } else {
      this.#flight = []
      this.#flightBytes = 0
      peer.#resetFrom(this.#machineName)
    }
  }

  /** A reset from the machine `from` reaches this end, unless the link is blocked just then. */
  #resetFrom(from: string): void {
    const to = this.#machineName
    const run = () => {
      if (this.isOpen && !this.#network.isBlocked(from, to)) this.#close(this.#lost('was reset by the other side'))
    }
    this.#network.world.scheduler.schedule(this.#network.latencyMs(from, to), 'reset', this.#label, undefined, run)
  }

  #resetSoon(from: string, to: string): void {
    assert(to === this.#machineName, 'a reset goes to this end')
    this.#resetFrom(from)
  }

  #processDied(): void {
    const { machine } = this.#process
    this.#queue = []
    this.#queuedBytes = 0
    // Without power nothing is said; otherwise the kernel ends or resets the connection.
    if (this.isOpen && machine.isPowered) this.#tellPeerItIsOver()
    if (!machine.isPowered) {
      this.#flight = []
      this.#flightBytes = 0
      this.#finArrivesMs = undefined
    }
    this.isOpen = false
    this.#network.remove(this)
    this.#dropDelivery()
  }

  #close(error: Error | undefined): void {
    if (!this.isOpen) return
    this.isOpen = false
    this.#network.remove(this)
    this.#forgetDeath()
    const unsent = this.#queue
    this.#queue = []
    this.#queuedBytes = 0
    this.#dropDelivery()
    this.#process.schedule(0, 'closed', this.#label, () => {
      this.#tellWritten()
      const reason = error ?? this.#lost('was closed')
      for (const { onWritten } of unsent) onWritten?.(reason)
      if (this.#isCloseTold) return
      this.#isCloseTold = true
      this.#handler?.onClose(error)
    })
  }

  /** What was to be delivered to this end meets a dead one instead; the other end may still have to learn that. */
  #dropDelivery(): void {
    const peer = this.#peer
    if (peer === undefined) return
    if (peer.#delivery !== undefined) peer.#delivery.isCancelled = true
    peer.#delivery = undefined
    peer.#scheduleDelivery()
  }

  #lost(what: string): DfsError {
    const address = formatAddress(this.remote)
    return new DfsError('CONNECTION_LOST', `the connection with ${address} ${what}`, { address })
  }
}

function checksumOf(slices: readonly Uint8Array[]): number {
  return slices.reduce((checksum, slice) => crc32(slice, checksum), 0)
}
