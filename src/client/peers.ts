// Peers: what this client knows of the chunkservers it reads from, and which replica is asked first because of it.
//
// In this order: what the master doubts least, who did not fail lately, who is nearest (this host, this rack, this
// zone), and among equals a choice that each client makes once for itself: its requests share system calls, and many
// clients spread over all servers. Who has enough under way already gives way to the next.
//
// Enough is two large reads, since more only push each other out of the caches, and a few small ones at a server that
// works its disk. At one that answers from memory small reads cost little but system calls, and many share one.
//
// Bounds: PEERS_MAX servers are remembered.

import { KiB, SECOND_MS } from '../base/units.ts'
import type { Io } from '../io/io.ts'
import { parseAddress } from '../io/network.ts'
import type { Connection } from '../rpc/connection.ts'
import type { ChunkLocation } from '../wire/messages.ts'

/** A replica as the master names it. */
export type Source = ChunkLocation['replicas'][number]

/** Where a client is, in the words of `dfsd chunk --zone --rack`; empty: not known. */
export interface Place {
  readonly zone: string
  readonly rack: string
}

const LOOPBACK = /^(127\.|::1$|localhost$)/
const PEERS_MAX = 4096
/** A server that failed is asked after others for this long at first. */
const PENALTY_MS = 5 * SECOND_MS
const PENALTY_MS_MAX = 60 * SECOND_MS
/** One that was overtaken by a hedge, for this long. */
const SLOW_MS = 1 * SECOND_MS
/** More than any doubt of the master. */
const PENALTY_DOUBT = 1000
/** At most this: on a live server, and it may only not have said yet that it is sealed. */
export const MILD_DOUBT = 1
const SLOW_DISTANCE = 10

export const SMALL_BYTES = 16 * KiB
export const LARGE_BYTES = 512 * KiB
/** Two large reads are enough for one server, four others, or thirty-two small ones. */
const ENOUGH = 32
const LARGE = 16
const MIDDLE = 8
const SMALL = 1
/** A server that takes longer than this for each small read under way works its disk. */
const QUICK_MS = 1
/** Weight of the latest answer in the running average. */
const SHARE = 1 / 16

export class Peer {
  readonly address: string
  readonly host: string
  /** This client's own order among equals. */
  readonly tie: number
  /** Weight of the reads under way. */
  load = 0
  readsUnderWay = 0
  /** For reads; the pool is asked again at `connectionUntilMs`. */
  connection: Connection | undefined
  connectionUntilMs = 0
  /** On this client's host. */
  isWithinHost: boolean
  penaltyMs = 0
  penaltyUntilMs = 0
  slowUntilMs = 0
  /** How long a small read took, for each one under way; NaN: none yet. */
  #smallReadMs = Number.NaN

  constructor(address: string, tie: number) {
    this.address = address
    this.host = parseAddress(address)?.host ?? address
    this.tie = tie
    this.isWithinHost = LOOPBACK.test(this.host)
  }

  /** How much of ENOUGH one more read is. */
  weightOf(length: number): number {
    if (length >= LARGE_BYTES) return LARGE
    return length <= SMALL_BYTES && this.#smallReadMs < QUICK_MS ? SMALL : MIDDLE
  }

  /** A read was answered well. */
  answered(length: number, tookMs: number, underWay: number): void {
    this.penaltyMs = 0
    this.penaltyUntilMs = 0
    if (length > SMALL_BYTES) return
    const sample = tookMs / Math.max(1, underWay)
    this.#smallReadMs = Number.isNaN(this.#smallReadMs)
      ? sample
      : this.#smallReadMs + SHARE * (sample - this.#smallReadMs)
  }
}

export class Peers {
  readonly #io: Io
  readonly #peers = new Map<string, Peer>()
  readonly #ownHosts: Set<string>
  #place: Place

  /**
   * @param place     of the client; what is left empty is learned from a server on its own host
   * @param ownHosts  addresses of this host, without port; connections add to it
   */
  constructor(io: Io, place: Place, ownHosts = new Set<string>()) {
    this.#io = io
    this.#ownHosts = ownHosts
    this.#place = place
  }

  of(address: string): Peer {
    const known = this.#peers.get(address)
    if (known !== undefined) return known
    if (this.#peers.size >= PEERS_MAX) this.#forgetIdle()
    const peer = new Peer(address, this.#io.entropy.below(2 ** 30))
    this.#peers.set(address, peer)
    return peer
  }

  /**
   * The replica to ask next; undefined when all were tried.
   *
   * @param replicas  not changed
   * @param tried     those asked already
   * @param length    bytes of the read
   */
  next(replicas: readonly Source[], tried: readonly Source[], length: number, nowMs: number): Source | undefined {
    let best: Source | undefined
    let bestPeer: Peer | undefined
    let bestDoubt = 0
    let bestDistance = 0
    for (let index = 0; index < replicas.length; index++) {
      const source = replicas[index]!
      if (tried.includes(source)) continue
      const peer = this.of(source.address)
      const doubt = source.doubt + (peer.penaltyUntilMs > nowMs ? PENALTY_DOUBT : 0)
      const distance = this.#distance(source, peer) + (peer.slowUntilMs > nowMs ? SLOW_DISTANCE : 0)
      if (bestPeer !== undefined) {
        if (doubt > bestDoubt) continue
        if (doubt === bestDoubt && !isBefore(peer, distance, bestPeer, bestDistance, length)) continue
      }
      best = source
      bestPeer = peer
      bestDoubt = doubt
      bestDistance = distance
    }
    return best
  }

  /** A connection for reads was opened; at `untilMs` the pool is asked again. */
  connected(source: Source, peer: Peer, connection: Connection, untilMs: number): void {
    peer.connection = connection
    peer.connectionUntilMs = untilMs
    this.#ownHosts.add(connection.local.host)
    peer.isWithinHost = connection.isWithinHost
    if (!peer.isWithinHost || this.#place.zone !== '') return
    this.#place = { zone: source.zone, rack: this.#place.rack === '' ? source.rack : this.#place.rack }
  }

  /** The server at `address` gave a wrong, late or no answer: it is asked after others for a while, each time longer. */
  penalize(address: string): void {
    const peer = this.of(address)
    const nowMs = this.#io.clock.nowMs()
    // Several requests that fail together are one failure.
    if (peer.penaltyUntilMs > nowMs) return
    peer.penaltyMs = Math.min(PENALTY_MS_MAX, peer.penaltyMs === 0 ? PENALTY_MS : 2 * peer.penaltyMs)
    peer.penaltyUntilMs = nowMs + peer.penaltyMs
  }

  /** Whether the server at `address` is on this client's host, as far as it is known. */
  isWithinHost(address: string): boolean {
    const peer = this.of(address)
    return peer.isWithinHost || this.#ownHosts.has(peer.host)
  }

  isPenalized(address: string): boolean {
    return this.of(address).penaltyUntilMs > this.#io.clock.nowMs()
  }

  /** Another replica answered first although this one was asked before. */
  overtaken(address: string): void {
    this.of(address).slowUntilMs = this.#io.clock.nowMs() + SLOW_MS
  }

  /** 0 this host, 1 this rack, 2 this zone, 3 elsewhere. */
  #distance({ zone, rack }: Source, peer: Peer): number {
    if (peer.isWithinHost || this.#ownHosts.has(peer.host)) return 0
    const own = this.#place
    if (own.zone !== zone) return 3
    if (own.rack !== '' && own.rack === rack) return 1
    return own.zone !== '' ? 2 : 3
  }

  #forgetIdle(): void {
    for (const [address, peer] of this.#peers) if (peer.load === 0) this.#peers.delete(address)
  }
}

/** Whether `peer` comes before `other` among replicas that the master doubts equally. */
function isBefore(peer: Peer, distance: number, other: Peer, otherDistance: number, length: number): boolean {
  const hasEnough = peer.load + peer.weightOf(length) > ENOUGH
  const otherHasEnough = other.load + other.weightOf(length) > ENOUGH
  if (hasEnough !== otherHasEnough) return otherHasEnough
  if (hasEnough && peer.load !== other.load) return peer.load < other.load
  if (distance !== otherDistance) return distance < otherDistance
  return peer.tie < other.tie
}
