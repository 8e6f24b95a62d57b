// The master's loop: data directory, log, checkpoints and sockets around the machine in master.ts.
//
// Order of a start: lock, identity, newest whole checkpoint, log (recovered, verified), replay; only then is anybody
// served. Order of a change: append, sync, apply, answer (proposer.ts). A failed sync ends the process: `failed`.

import { DfsError } from '../base/errors.ts'
import type { ClusterId } from '../base/ids.ts'
import { LINEAGE_COUNT } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import { MiB, SECOND_MS } from '../base/units.ts'
import type { DiskLock } from '../io/disk.ts'
import { makeDurableDirectory } from '../io/durable-directory.ts'
import type { Io } from '../io/io.ts'
import { type Address, formatAddress } from '../io/network.ts'
import { dropCheckpoints, removeCheckpointLeftovers } from '../oplog/checkpoint-file.ts'
import { listSegments } from '../oplog/log-directory.ts'
import { PREALLOCATE_AFTER_BYTES_DEFAULT } from '../oplog/log-options.ts'
import { OpLog } from '../oplog/oplog.ts'
import { ask } from '../rpc/ask.ts'
import type { Connection } from '../rpc/connection.ts'
import { RpcServer } from '../rpc/server.ts'
import { hello } from '../wire/hello.ts'
import type { MessageName, RequestOf } from '../wire/messages.ts'
import {
  type CheckpointJob,
  type CheckpointResult,
  loadNewestState,
  makeCheckpoint,
  newestCheckpointBytes,
  replay,
} from './checkpointer.ts'
import { type MasterDirectory, markFormed, openMasterDirectory, requireMasterDirectory } from './identity.ts'
import { Master } from './master.ts'
import type { MetadataState } from './metadata/state.ts'
import { defaultSettings, type MasterSettings } from './settings.ts'

export interface MasterOptions extends Partial<MasterSettings> {
  /** The data directory. */
  readonly data: string
  readonly listen: Address
  /** What others are told to connect to; by default the address listened at. */
  readonly advertise?: string
  /** Makes a checkpoint beside the serving loop; by default inline. */
  readonly makeCheckpoint?: (job: CheckpointJob) => Promise<CheckpointResult>
}

export interface MasterStatus {
  readonly clusterId: ClusterId
  readonly isReady: boolean
  /** Why it is not ready, or what to know although it is. */
  readonly reason: string
  readonly isReadOnly: boolean
}

/** Below this much room on the log's disk only removals are taken: enough for those and one checkpoint. */
const READ_ONLY_BELOW_BYTES = 64 * MiB
const SPACE_CHECK_MS = SECOND_MS

/** Opens the data directory and serves. @throws what refuses the start: LOCKED, WRONG_DISK, LOG_DAMAGED, BAD_FORMAT, ... */
export async function startMaster(io: Io, logger: Logger, options: MasterOptions): Promise<MasterNode> {
  const { disk } = io
  await makeDurableDirectory(disk, options.data)
  // Asked again under the lock; in a directory of somebody else's not even that is left behind.
  await requireMasterDirectory(disk, options.data)
  const lock = await disk.lock(`${options.data}/lock`)
  try {
    return await MasterNode.start(io, logger, options, lock)
  } catch (error) {
    await lock.release()
    throw error
  }
}

export class MasterNode {
  readonly clusterId: ClusterId
  /** Resolves with the reason when the process must end: a failed sync. Never rejects. */
  readonly failed: Promise<DfsError>
  readonly #io: Io
  readonly #logger: Logger
  readonly #settings: MasterSettings
  readonly #options: MasterOptions
  readonly #lock: DiskLock
  readonly #log: OpLog
  readonly #master: Master
  readonly #paths: MasterDirectory
  readonly #connections = new Map<Connection, number>()
  readonly #byNumber = new Map<number, Connection>()
  #server: RpcServer | undefined
  #connectionCount = 0
  #isReadOnly = false
  #isClosing = false
  #checkpointing: Promise<number> | undefined
  #checkpointFailedMs = Number.NEGATIVE_INFINITY
  #checkpointBytes = 0
  /** Log bytes at the last checkpoint. */
  #checkpointLogBytes = 0
  #loggedBytes = 0

  static async start(io: Io, logger: Logger, options: MasterOptions, lock: DiskLock): Promise<MasterNode> {
    const { disk, clock, entropy } = io
    const settings: MasterSettings = { ...defaultSettings, ...withoutUndefined(options) }
    const paths = await openMasterDirectory(disk, entropy, options.data)
    const { clusterId, logDirectory, checkpointDirectory } = paths
    await makeDurableDirectory(disk, checkpointDirectory)
    await removeCheckpointLeftovers(disk, checkpointDirectory)
    const startMs = clock.nowMs()
    const state = await loadNewestState(disk, logger, checkpointDirectory, clusterId)
    const checkpointIndex = state.lastIndex
    const events = new LogEvents()
    // Short logs between checkpoints want little room made ahead.
    const preallocateAfterBytes = Math.min(PREALLOCATE_AFTER_BYTES_DEFAULT, settings.checkpointEveryBytes / 64)
    const place = { directory: logDirectory, clusterId }
    const logOptions = { disk, clock, entropy, logger, ...place, events, preallocateAfterBytes }
    await formatLogOnce(logOptions, paths.isFormed, checkpointIndex)
    await disk.syncDirectory(options.data)
    const log = await OpLog.open({ ...logOptions, fromIndex: checkpointIndex + 1, reachIndex: checkpointIndex })
    const replayed = await replay(disk, state, logDirectory, clusterId, log.syncedIndex)
    state.changes.isCollecting = true
    const tookMs = Math.round(clock.nowMs() - startMs)
    logger.info(
      { event: 'recovered', checkpointIndex, replayed, logIndex: state.lastIndex, tookMs },
      'metadata recovered',
    )
    const node = new MasterNode({
      io,
      logger,
      options,
      settings,
      clusterId,
      lock,
      log,
      state,
      events,
      paths,
    })
    try {
      await node.#serve()
    } catch (error) {
      await node.close()
      throw error
    }
    return node
  }

  private constructor(parts: {
    readonly io: Io
    readonly logger: Logger
    readonly options: MasterOptions
    readonly settings: MasterSettings
    readonly clusterId: ClusterId
    readonly lock: DiskLock
    readonly log: OpLog
    readonly state: ConstructorParameters<typeof Master>[0]
    readonly events: LogEvents
    readonly paths: MasterDirectory
  }) {
    const { io, logger, options, settings, clusterId, lock, log, state, events } = parts
    this.clusterId = clusterId
    this.#io = io
    this.#logger = logger
    this.#options = options
    this.#settings = settings
    this.#lock = lock
    this.#log = log
    this.#paths = parts.paths
    this.#master = new Master(state, settings, {
      clock: io.clock,
      entropy: io.entropy,
      logger,
      log: {
        append: (record) => {
          if (log.failure !== undefined) throw ending(log.failure)
          this.#loggedBytes += record.payload.length
          return log.append(record)
        },
      },
      term: state.lastTerm + 1,
      isReadOnly: () => this.#isReadOnly,
      checkpoint: () => this.#checkpoint(),
      ask: (connection, name, request, options) => {
        const live = this.#byNumber.get(connection)
        if (!live) return Promise.reject(new DfsError('UNAVAILABLE', 'the connection is gone'))
        return ask(live, name as MessageName, request as RequestOf<MessageName>, options) as never
      },
    })
    this.failed = new Promise((resolve) => {
      events.bind(this.#master.proposer, (error) => {
        this.#master.stop(ending(error))
        logger.error({ event: 'failed', code: error.code, ...error.detail }, `${error.message}; the process ends`)
        resolve(error)
      })
    })
  }

  /** The address in use, with the port the system chose. */
  get address(): Address {
    return this.#server?.address ?? this.#options.listen
  }

  /** What others are told to connect to. */
  get advertised(): string {
    return this.#options.advertise ?? formatAddress(this.address)
  }

  /** The replicated state as it is applied now: to look at, never to change. For checks against a replay. */
  get state(): Readonly<MetadataState> {
    return this.#master.context.state
  }

  status(): MasterStatus {
    const { safeMode } = this.#master.context
    const isReady = this.#server !== undefined && !this.#isClosing && this.#log.state === 'open'
    const reason = !isReady
      ? 'it is starting or stopping'
      : this.#isReadOnly
        ? 'read-only: the log disk is almost full'
        : safeMode.reason
    return { clusterId: this.clusterId, isReady, reason, isReadOnly: this.#isReadOnly }
  }

  /** Plain numbers for metrics. */
  metrics(): Readonly<Record<string, number>> {
    const { state, servers, clock, sealer } = this.#master.context
    const repair = this.#master.repairer.facts()
    const balance = this.#master.repairer.balancer.rates()
    const compaction = this.#master.compactor.facts()
    const waiting = Object.values(repair.queue).reduce((total, chunks) => total + chunks, 0)
    const live = servers.all().filter((server) => servers.liveness(server, clock.nowMs()) === 'live').length
    return {
      logIndex: state.lastIndex,
      logBytes: this.#log.bytes,
      logPreallocatedBytes: this.#log.preallocatedBytes,
      logBatches: this.#log.stats.batches,
      logRecords: this.#log.stats.records,
      logSyncs: this.#log.stats.syncs,
      files: state.fileCount,
      directories: state.directoryCount,
      chunks: state.chunkCount,
      fileBytes: state.fileBytes,
      tableBytes: state.tableBytes,
      sessions: state.sessionTable.size,
      pendingChanges: this.#master.proposer.pendingCount,
      sealing: sealer.count,
      repairWaiting: waiting,
      repairCopying: repair.inFlight,
      repairBytesPerSecond: repair.bytesPerSecond,
      repairCopiesTotal: repair.copied.copies,
      repairBytesTotal: repair.copied.bytes,
      balanceMoving: balance.inFlight,
      balanceBytesPerSecond: balance.bytesPerSecond,
      balanceMovesTotal: balance.moves,
      balanceBytesTotal: balance.bytes,
      compactionWaitingBytes: compaction.waitingBytes,
      compactionChunksTotal: compaction.madeChunks,
      compactionBytesTotal: compaction.movedBytes,
      compactionFailuresTotal: compaction.failures,
      serversLive: live,
      serversKnown: state.serverTable.size,
      connections: this.#connections.size,
      checkpointBytes: this.#checkpointBytes,
      readOnly: this.#isReadOnly ? 1 : 0,
    }
  }

  /** Stops gracefully: no new requests, what is queued is synced, the log gets its marker. */
  async close(): Promise<void> {
    if (this.#isClosing) return
    this.#isClosing = true
    await this.#server?.close(2 * SECOND_MS)
    this.#master.stop(new DfsError('UNAVAILABLE', 'the master is stopping'))
    await this.#checkpointing?.catch(() => {
      // Told already by who asked for it.
    })
    await this.#log.close()
    await this.#lock.release()
  }

  async #serve(): Promise<void> {
    const { clock, entropy, network } = this.#io
    const { state } = this.#master.context
    if (state.clusterId === '') {
      const { chunkBytes, goal } = this.#settings
      const lineage = entropy.below(LINEAGE_COUNT)
      const { clusterId } = this
      const outcome = await this.#master.proposer.propose({
        kind: 'formatCluster',
        clusterId,
        lineage,
        chunkBytes,
        goal,
      })
      if (!outcome.ok) throw new DfsError(outcome.code, outcome.message, outcome.detail)
      this.#logger.info({ event: 'formatted', clusterId, goal, chunkBytes }, 'a new cluster')
    }
    if (!this.#paths.isFormed) await markFormed(this.#io.disk, this.#options.data, this.clusterId)
    await this.#checkSpace()
    await this.#master.start()
    this.#checkpointBytes = await newestCheckpointBytes(this.#io.disk, this.#paths.checkpointDirectory)
    this.#server = await RpcServer.listen(network, this.#options.listen, {
      clock,
      hello: () => hello('master', { cluster: this.clusterId, name: this.#options.advertise ?? 'master' }),
      expect: { roles: ['client', 'chunkserver'] },
      handlers: this.#master.handlers((connection) => this.#numberOf(connection)),
      onBug: (error) => {
        throw error
      },
      onClose: (connection) => this.#closed(connection),
    })
    this.#watch()
  }

  #numberOf(connection: Connection): number {
    let number = this.#connections.get(connection)
    if (number === undefined) {
      number = ++this.#connectionCount
      this.#connections.set(connection, number)
      this.#byNumber.set(number, connection)
    }
    return number
  }

  #closed(connection: Connection): void {
    const number = this.#connections.get(connection)
    if (number === undefined) return
    this.#connections.delete(connection)
    this.#byNumber.delete(number)
    this.#master.disconnected(number)
  }

  /** Room on the disk, and whether a checkpoint is due. */
  #watch(): void {
    this.#io.clock.after(SPACE_CHECK_MS, () => {
      if (this.#isClosing || this.#log.state !== 'open') return
      this.#checkSpace().then(
        () => this.#watch(),
        (error: unknown) => {
          this.#logger.warn({ event: 'space', err: error }, 'the room on the log disk is unknown')
          this.#watch()
        },
      )
      this.#checkpointIfDue()
    })
  }

  async #checkSpace(): Promise<void> {
    const { freeBytes, totalBytes } = await this.#log.space()
    const limit = Math.min(READ_ONLY_BELOW_BYTES + 2 * this.#checkpointBytes, totalBytes / 10)
    const isReadOnly = freeBytes < limit
    if (isReadOnly !== this.#isReadOnly)
      this.#logger.warn(
        { event: 'read-only', on: isReadOnly, freeBytes, limit: Math.round(limit) },
        isReadOnly ? 'the log disk is almost full: only removals are taken' : 'there is room again',
      )
    this.#isReadOnly = isReadOnly
  }

  #checkpointIfDue(): void {
    const { clock } = this.#io
    const dueBytes = Math.max(this.#settings.checkpointEveryBytes, this.#checkpointBytes)
    if (this.#checkpointing || this.#loggedBytes - this.#checkpointLogBytes < dueBytes) return
    if (clock.nowMs() - this.#checkpointFailedMs < 60 * SECOND_MS) return
    this.#checkpoint().catch((error: unknown) => {
      this.#checkpointFailedMs = clock.nowMs()
      this.#logger.error(
        { event: 'checkpoint-failed', err: error },
        'a checkpoint failed; the log serves, and it is tried again',
      )
    })
  }

  /** Writes a checkpoint of all that is in closed segments after closing the one in use. @returns its log index */
  #checkpoint(): Promise<number> {
    this.#checkpointing ??= this.#makeCheckpoint().finally(() => {
      this.#checkpointing = undefined
    })
    return this.#checkpointing
  }

  async #makeCheckpoint(): Promise<number> {
    const { disk } = this.#io
    const startBytes = this.#loggedBytes
    const startMs = this.#io.clock.nowMs()
    const throughIndex = await this.#log.roll()
    const { logDirectory, checkpointDirectory } = this.#paths
    const job = { logDirectory, checkpointDirectory, clusterId: this.clusterId, throughIndex }
    const make = this.#options.makeCheckpoint ?? ((asked) => makeCheckpoint(disk, this.#logger, asked))
    const { index, bytes, checksum } = await make(job)
    this.#checkpointBytes = bytes
    this.#checkpointLogBytes = startBytes
    const tookMs = Math.round(this.#io.clock.nowMs() - startMs)
    this.#logger.info({ event: 'checkpoint', index, bytes, checksum, tookMs }, 'checkpoint written')
    const keptIndex = await dropCheckpoints(disk, checkpointDirectory, 2)
    // The two newest checkpoints and the log from the older one on always serve; history beyond, within the budget.
    if (this.#log.bytes + this.#log.preallocatedBytes > this.#settings.logBudgetBytes)
      await this.#log.dropBefore(keptIndex + 1)
    return index
  }
}

/** What the log tells, bound to who listens once both exist. */
class LogEvents {
  #proposer: Master['proposer'] | undefined
  #onFailed: ((error: DfsError) => void) | undefined

  bind(proposer: Master['proposer'], onFailed: (error: DfsError) => void): void {
    this.#proposer = proposer
    this.#onFailed = onFailed
  }

  onSynced(index: number): void {
    this.#proposer?.synced(index)
  }

  onRefused(fromIndex: number, error: DfsError): void {
    this.#proposer?.refused(fromIndex, error)
  }

  onFailed(error: DfsError): void {
    this.#onFailed?.(error)
  }
}

/**
 * Makes the log of a new master. One that had records and is gone is damage: nothing is begun anew over it.
 */
async function formatLogOnce(
  options: Pick<Parameters<typeof OpLog.open>[0], 'disk' | 'entropy' | 'directory' | 'clusterId'>,
  isFormed: boolean,
  checkpointIndex: number,
): Promise<void> {
  const { disk, directory } = options
  const hasLog = (await disk.stat(directory)) !== undefined && (await listSegments(disk, directory)).segments.length > 0
  if (hasLog) return
  if (isFormed || checkpointIndex > 0)
    throw new DfsError(
      'LOG_DAMAGED',
      `${directory} has no log, but this master has had one; restore it (checkpoints reach index ${checkpointIndex})`,
      { path: directory },
    )
  await OpLog.format(options)
}

/**
 * What requesters are told when the log has failed: another master, or this one started again, may be asked the same, and
 * knows by the session whether it has happened.
 */
function ending(failure: DfsError): DfsError {
  return new DfsError('UNAVAILABLE', `the master ends: ${failure.message}`, failure.detail, failure)
}

function withoutUndefined(options: MasterOptions): Partial<MasterSettings> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}
