// Servers: what the chunkservers are now, from their joins, heartbeats and silences.
//
// Nothing here is ever logged; a restarted master learns it again within a heartbeat (GFS §2.6.2). Time comes in as
// an argument.
//
// Invariants:
//   - a directory (disk) belongs to one server; its life is the one of the last join
//   - what a message with a lower sequence than the last one says is ignored

import type { DirectoryId, Life, ServerId } from '../../base/ids.ts'
import type { DirectoryFacts } from '../../wire/messages.ts'

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
  /** Announced a graceful stop; ends with the next join. */
  isLeaving: boolean
  /** Sequence of the last message about chunks that was taken. */
  sequence: number
  /** A full report has been taken since the last join. */
  hasReported: boolean
  /** Pushes and reads under way, as it last said. */
  streams: number
  queuedBytes: number
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

export class Servers {
  readonly #servers = new Map<ServerId, ServerView>()
  readonly #directories = new Map<DirectoryId, ServerId>()
  readonly #deadAfterMs: number

  /** @param deadAfterMs  silence after which a server counts as dead */
  constructor(deadAfterMs: number) {
    this.#deadAfterMs = deadAfterMs
  }

  get(id: ServerId): ServerView | undefined {
    return this.#servers.get(id)
  }

  /** All that have joined since this master started, by id. */
  all(): ServerView[] {
    return [...this.#servers.values()].sort((a, b) => a.id - b.id)
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
      isLeaving: false,
      sequence: -1,
      hasReported: false,
      streams: 0,
      queuedBytes: 0,
      seenLogIndex: 0,
      joinLogIndex: 0,
      recentPlacements: 0,
    }
    this.#servers.set(id, server)
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
    server.recentPlacements = 0
    for (const directory of directories) this.#directories.set(directory.directory, server.id)
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

  /** The life a directory is in now; undefined when its server has not joined. */
  lifeOf(directory: DirectoryId): Life | undefined {
    return this.serverOfDirectory(directory)?.directories.find((facts) => facts.directory === directory)?.life
  }

  /**
   * `live`: connected and heard from lately. `suspect`: the connection broke or is silent, not long enough to give up.
   * `dead`: silent longer than the limit. `maintenance`: said that it stops for a while.
   */
  liveness(server: ServerView, nowMs: number): Liveness {
    if (server.isLeaving) return 'maintenance'
    const silentMs = nowMs - server.lastContactMs
    if (silentMs > this.#deadAfterMs) return 'dead'
    if (server.connection === undefined || silentMs > this.#deadAfterMs / 2) return 'suspect'
    return 'live'
  }
}

/** The host part of `host:port`: what counts as one machine for placement. */
export function hostOf(address: string): string {
  return address.slice(0, Math.max(0, address.lastIndexOf(':')))
}
