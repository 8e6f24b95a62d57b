// Servers: what the chunkservers are now, from their joins, heartbeats and silences.
//
// Nothing here is ever logged; a restarted master learns it again within a heartbeat (GFS §2.6.2). Time comes in as
// an argument.
//
// Invariants:
//   - a directory (disk) belongs to one server; its life is the one of the last join
//   - what a message with a lower sequence than the last one says is ignored

import { DfsError } from '../../base/errors.ts'
import type { DirectoryId, Life, ServerId } from '../../base/ids.ts'
import { MINUTE_MS, SECOND_MS } from '../../base/units.ts'
import type { DirectoryFacts } from '../../wire/messages.ts'
import { FaultDetector } from './fault-detector.ts'
import { SlowDisks } from './slow-disks.ts'

export type Liveness = 'live' | 'suspect' | 'dead' | 'maintenance'

export interface ServerView {
  readonly id: ServerId
  identity: number
  address: string
  http: string
  zone: string
  rack: string
  version: string
  pid: number
  directories: readonly DirectoryFacts[]
  /** Names the live connection; undefined while there is none. */
  connection: number | undefined
  /** Monotonic ms of the last message. */
  lastContactMs: number
  /** When the connection broke; undefined while connected. */
  disconnectedMs: number | undefined
  /** When it announced a graceful stop; undefined: it did not, or has joined since. */
  leftMs: number | undefined
  readonly detector: FaultDetector
  /** Sequence of the last message about chunks that was taken. */
  sequence: number
  /** A full report has been taken since the last join. */
  hasReported: boolean
  /** Pushes and reads under way, as it last said. */
  streams: number
  queuedBytes: number
  /** Chunk bytes read from and written to its disks since it joined. */
  readBytes: number
  writtenBytes: number
  /** The highest log index that a master has ever shown it, as it said when it joined. */
  seenLogIndex: number
  /** Where this master's log ended when it joined. */
  joinLogIndex: number
  /** New chunks placed here since its last heartbeat: load that it can't have told yet. */
  recentPlacements: number
}

export interface JoinFacts {
  readonly identity: number
  readonly address: string
  readonly http: string
  readonly zone: string
  readonly rack: string
  readonly version: string
  readonly pid: number
  readonly directories: readonly DirectoryFacts[]
}

export interface LivenessSettings {
  /** Between heartbeats; undefined: by the size of the cluster. */
  readonly heartbeatMs?: number | undefined
  /** Silence, with or without a connection, after which a server is dead; undefined: what fault-detector.ts says. */
  readonly deadAfterMs?: number | undefined
}

/** With a fixed time to death: silent for so many intervals is late. */
const SUSPECT_INTERVALS = 1.5
/** A server whose connection broke and doesn't come back in this time is dead. */
const RETURN_MS = 700
/** A graceful stop is maintenance for so long; then the server is dead. */
const MAINTENANCE_MS = 15 * MINUTE_MS
const HEARTBEAT_MS_MIN = 500
const HEARTBEAT_MS_MAX = 2000
/** Heartbeats a second that the master takes before it asks for fewer. */
const HEARTBEATS_PER_MS = 0.4
/** Nobody heard in so many intervals is the silence of all; it is nobody's death for so long. */
const COMMON_INTERVALS = 3
const COMMON_SILENCE_MS_MAX = 10 * SECOND_MS
/** An interval is at least so many of the delays that heartbeats usually have. */
const DELAYS_PER_INTERVAL = 4

export class Servers {
  readonly #servers = new Map<ServerId, ServerView>()
  /** By id; undefined once a server has joined. */
  #sorted: readonly ServerView[] | undefined
  readonly #directories = new Map<DirectoryId, ServerId>()
  readonly #settings: LivenessSettings
  readonly slowDisks = new SlowDisks()
  /** Median over the connected servers, looked at once for each round of heartbeats. */
  #usualLateMs = 0
  #beatsSeen = 0
  /** When anybody was last heard. */
  #heardMs = 0

  constructor(settings: LivenessSettings) {
    this.#settings = settings
  }

  /**
   * The interval that servers are told to beat at: 500 ms in small clusters, 2 s in large ones; longer, up to 2 s, while
   * the heartbeats of half the servers come late, which is the network's or the master's doing and nobody's death.
   */
  get heartbeatMs(): number {
    const bySize = this.#servers.size / HEARTBEATS_PER_MS
    const wantedMs = Math.max(HEARTBEAT_MS_MIN, bySize, DELAYS_PER_INTERVAL * this.#usualLateMs)
    return this.#settings.heartbeatMs ?? Math.round(Math.min(HEARTBEAT_MS_MAX, wantedMs))
  }

  /** For so long the master itself was not listening: that silence is nobody's. */
  excuse(ms: number): void {
    for (const server of this.#servers.values()) {
      server.lastContactMs += ms
      server.detector.excuse(ms)
    }
  }

  /**
   * Called every `elapsedMs`. While no connected server is heard nobody has died: it is the network, or this
   * master, and there would be nobody to copy to. Their silence stands still, for COMMON_SILENCE_MS_MAX at most.
   */
  excuseCommonSilence(elapsedMs: number, nowMs: number): void {
    if (this.#settings.deadAfterMs !== undefined) return
    const silentMs = nowMs - this.#heardMs - COMMON_INTERVALS * this.heartbeatMs
    if (silentMs < 0 || silentMs > COMMON_SILENCE_MS_MAX) return
    const connected = [...this.#servers.values()].filter(({ connection }) => connection !== undefined)
    if (connected.length > 1) for (const { detector } of connected) detector.excuse(elapsedMs)
  }

  get(id: ServerId): ServerView | undefined {
    return this.#servers.get(id)
  }

  /** All that have joined since this master started, by id. */
  all(): readonly ServerView[] {
    this.#sorted ??= [...this.#servers.values()].sort((a, b) => a.id - b.id)
    return this.#sorted
  }

  /** A server came (again), over the connection of that number. Its chunk facts start anew. */
  join(id: ServerId, facts: JoinFacts, connection: number, nowMs: number): ServerView {
    for (const directory of this.#servers.get(id)?.directories ?? []) this.#directories.delete(directory.directory)
    const server: ServerView = {
      id,
      identity: facts.identity,
      address: facts.address,
      http: facts.http,
      zone: facts.zone,
      rack: facts.rack,
      version: facts.version,
      pid: facts.pid,
      directories: facts.directories,
      connection,
      lastContactMs: nowMs,
      disconnectedMs: undefined,
      leftMs: undefined,
      detector: new FaultDetector(this.heartbeatMs, nowMs),
      sequence: -1,
      hasReported: false,
      streams: 0,
      queuedBytes: 0,
      readBytes: 0,
      writtenBytes: 0,
      seenLogIndex: 0,
      joinLogIndex: 0,
      recentPlacements: 0,
    }
    this.#servers.set(id, server)
    this.#sorted = undefined
    this.#heardMs = nowMs
    for (const directory of facts.directories) this.#directories.set(directory.directory, id)
    return server
  }

  /** A heartbeat: alive, and this is how its disks are. */
  beat(
    server: ServerView,
    directories: readonly DirectoryFacts[],
    streams: number,
    queuedBytes: number,
    nowMs: number,
  ): void {
    server.directories = directories
    server.streams = streams
    server.queuedBytes = queuedBytes
    server.lastContactMs = nowMs
    server.detector.beat(this.heartbeatMs, nowMs)
    this.#heardMs = nowMs
    if (++this.#beatsSeen >= this.#servers.size) this.#lookAtDelays()
    server.recentPlacements = 0
    if (directories.some(({ slowMs }) => slowMs > 0)) this.slowDisks.judge(this.#connected(), nowMs)
  }

  #connected(): ServerView[] {
    return [...this.#servers.values()].filter(({ connection }) => connection !== undefined)
  }

  #lookAtDelays(): void {
    this.#beatsSeen = 0
    const delays: number[] = []
    for (const { connection, detector } of this.#servers.values()) {
      if (connection !== undefined) delays.push(detector.lateMs)
    }
    delays.sort((a, b) => a - b)
    this.#usualLateMs = delays[delays.length >> 1] ?? 0
  }

  /** The connection of that number broke. @returns the server it was the connection of */
  disconnect(connection: number, nowMs: number): ServerView | undefined {
    for (const server of this.#servers.values()) {
      if (server.connection !== connection) continue
      server.connection = undefined
      server.disconnectedMs = nowMs
      return server
    }
    return undefined
  }

  serverOfDirectory(directory: DirectoryId): ServerView | undefined {
    const id = this.#directories.get(directory)
    return id === undefined ? undefined : this.#servers.get(id)
  }

  /** Throws WRONG_DISK unless the directory is one of the server's: what it says of others' disks is worth nothing. */
  checkOwner(server: ServerView, directory: DirectoryId): void {
    const owner = this.#directories.get(directory)
    if (owner === server.id) return
    const whose = owner === undefined ? 'nobody has joined with' : `cs-${owner} has joined with`
    const message = `cs-${server.id} speaks of data directory ${directory}, which ${whose}`
    throw new DfsError('WRONG_DISK', message, { server: server.id, directory })
  }

  /** The life a directory is in now; undefined when its server has not joined. */
  lifeOf(directory: DirectoryId): Life | undefined {
    return this.serverOfDirectory(directory)?.directories.find((facts) => facts.directory === directory)?.life
  }

  /**
   * `live`: connected and heard from lately. `suspect`: the connection broke or is silent, not long enough to give up.
   * `dead`: silent longer than that. `maintenance`: said that it stops, not so long ago that it won't come back.
   */
  liveness(server: ServerView, nowMs: number): Liveness {
    if (server.leftMs !== undefined && nowMs - server.leftMs <= MAINTENANCE_MS) return 'maintenance'
    const { deadAfterMs } = this.#settings
    if (deadAfterMs !== undefined) {
      const silentMs = nowMs - server.lastContactMs
      if (silentMs > deadAfterMs) return 'dead'
      // One that beats on time is no suspect, however close the two settings are.
      const suspectAfterMs = Math.max(deadAfterMs / 2, SUSPECT_INTERVALS * this.heartbeatMs)
      return server.connection === undefined || silentMs > suspectAfterMs ? 'suspect' : 'live'
    }
    if (server.connection === undefined) {
      return nowMs - (server.disconnectedMs ?? nowMs) > RETURN_MS ? 'dead' : 'suspect'
    }
    const tardiness = server.detector.tardiness(nowMs)
    return tardiness === 'green' ? 'live' : tardiness === 'yellow' ? 'suspect' : 'dead'
  }
}

/** The host part of `host:port`: what counts as one machine for placement. */
export function hostOf(address: string): string {
  return address.slice(0, Math.max(0, address.lastIndexOf(':')))
}
