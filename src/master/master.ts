// The master: joins what it knows (metadata, cluster), what it plans, and who asks. Decides nothing itself.
//
// `node.ts` gives it a log and connections; it gives back handlers for messages, and is told what the log made
// durable.

import { DfsError, isDfsError } from '../base/errors.ts'
import type { ChunkHandle, ServerId, SessionId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import { Random } from '../base/random.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Clock } from '../io/clock.ts'
import type { Entropy } from '../io/entropy.ts'
import { answering } from '../rpc/ask.ts'
import type { Connection } from '../rpc/connection.ts'
import type { Handlers as RpcHandlers } from '../rpc/requests.ts'
import type { MessageName } from '../wire/messages.ts'
import { CensusTaker } from './census.ts'
import { Attention } from './cluster/attention.ts'
import { Locations } from './cluster/locations.ts'
import { Servers } from './cluster/servers.ts'
import { Settling } from './cluster/settling.ts'
import { Compactor } from './compactor.ts'
import { change, type Handler, type MasterContext, replyNumber } from './context.ts'
import { FileTails } from './file-tails.ts'
import { GoalKeeper } from './goal-keeper.ts'
import { checkHistory, historyOf } from './history.ts'
import type { MetadataState } from './metadata/state.ts'
import { PackingChunks } from './packing.ts'
import { placeChunk } from './place.ts'
import { type ProposalLog, Proposer } from './proposer.ts'
import { Reclaimer } from './reclaimer.ts'
import { Repairer } from './repairer.ts'
import { Replicas } from './replicas.ts'
import { chunkserverHandlers } from './requests/chunkservers.ts'
import { compactionHandlers } from './requests/compaction.ts'
import { fileHandlers } from './requests/files.ts'
import { namespaceHandlers } from './requests/namespace.ts'
import { operatorHandlers } from './requests/operators.ts'
import { reportHandlers } from './requests/reports.ts'
import { Sealer } from './sealer.ts'
import { copyLimits, type MasterSettings } from './settings.ts'
import { TrashSizes } from './trash-sizes.ts'
import { Upkeep } from './upkeep.ts'

/** Safe mode ends at the latest after this, whoever is missing. */
const SAFE_MODE_MS = 30 * SECOND_MS
const SAFE_MODE_OFF: MasterContext['safeMode'] = { isOn: false, reason: '', leftMs: 0 }

export interface MasterPorts {
  readonly clock: Clock
  readonly entropy: Entropy
  readonly logger: Logger
  readonly log: ProposalLog
  /** The term of every record that this master writes. */
  readonly term: number
  readonly isReadOnly: () => boolean
  readonly checkpoint: () => Promise<number>
  /** Sends a request over a live connection, named by its number; rejects when it is gone. */
  readonly ask: (connection: number, ...rest: AskRest) => ReturnType<MasterContext['ask']>
}

type AskRest = Parameters<MasterContext['ask']> extends [ServerId, ...infer Rest] ? Rest : never

export class Master {
  readonly proposer: Proposer
  readonly context: MasterContext
  readonly repairer: Repairer
  readonly compactor: Compactor
  readonly reclaimer: Reclaimer
  readonly #goals: GoalKeeper
  readonly #replicas: Replicas
  readonly #startMs: number
  readonly #state: MetadataState
  #upkeep: Upkeep | undefined

  constructor(state: MetadataState, settings: MasterSettings, ports: MasterPorts) {
    const { clock, logger, entropy, log, term } = ports
    this.#state = state
    this.#startMs = clock.nowMs()
    this.proposer = new Proposer({ state, log, clock, term, onApplied: () => this.#tell() })
    const servers = new Servers(settings)
    const givenUp = { count: 0 }
    const ask: MasterContext['ask'] = (id, name, request, options) => {
      const connection = servers.get(id)?.connection
      if (connection === undefined) return Promise.reject(unreachable(id))
      return ports.ask(connection, name, request, options) as ReturnType<typeof ask<typeof name>>
    }
    const sealer = new Sealer({
      clock,
      logger,
      members: (handle) => state.chunkMembers(handle),
      namedBytes: (handle) => state.chunks.namedBytes(handle),
      sealed: (handle) => {
        const chunk = state.chunk(handle)
        return chunk?.state === 'sealed' ? { length: chunk.length, digest: chunk.digest } : undefined
      },
      fence: async (handle, { server, directory, life }) => {
        checkHistory(this.context)
        return ask(server, 'fence', { handle, directory, life, history: historyOf(this.context) })
      },
      propose: (operation) => this.proposer.propose(operation),
      gaveUp: (handle, members) => {
        givenUp.count++
        const names = members.map(({ server }) => `cs-${server}`)
        logger.error({ event: 'given-up', handle, members: names }, 'a seal gave up on members that did not answer')
      },
    })
    const packing = new PackingChunks({
      nowMs: () => clock.nowMs(),
      isUsable: (handle) => this.#isUsable(handle),
      open: (goal, avoid) => this.#openPacking(goal, avoid),
      retire: (handle, reason) => {
        if (state.chunkMembers(handle)) this.#unwatched(sealer.seal(handle, reason))
      },
    })
    const tails = new FileTails({
      state,
      nowMs: () => clock.nowMs(),
      isUsable: (handle) => this.#isUsable(handle),
      isAwaited: (handle) =>
        this.#safeMode().isOn &&
        !sealer.isSealing(handle) &&
        (state.chunkMembers(handle) ?? []).some(({ server }) => servers.get(server) === undefined),
      seal: (handle, reason) => sealer.seal(handle, reason),
      open: async (inode, avoid) => {
        const { members } = placeChunk(this.context, state.stat(inode)?.goal || state.goal, avoid)
        await change(this.context, { kind: 'openTail', inode, members })
      },
    })
    const safeMode = (): MasterContext['safeMode'] => this.#safeMode()
    this.context = {
      clock,
      random: new Random(entropy.below(Number.MAX_SAFE_INTEGER)),
      logger,
      settings,
      limits: copyLimits(settings, state.options),
      state,
      servers,
      locations: new Locations(),
      attention: new Attention(),
      settling: new Settling(),
      proposer: this.proposer,
      sealer,
      packing,
      tails,
      get safeMode() {
        return safeMode()
      },
      manualSafeMode: { wish: 'auto' },
      sessionsSeen: new Map<SessionId, number>(),
      openedMs: new Map<ChunkHandle, number>(),
      givenUp,
      isReadOnly: ports.isReadOnly,
      ask,
      checkpoint: ports.checkpoint,
    }
    this.#replicas = new Replicas(this.context)
    this.repairer = new Repairer(this.context, this.#replicas)
    this.reclaimer = new Reclaimer(this.context, this.#replicas)
    this.#goals = new GoalKeeper(this.context)
    this.compactor = new Compactor(this.context, this.#replicas, () => this.repairer.facts().inFlight)
  }

  /** The state is whole and the log takes records: what was begun is ended, what was open is known, upkeep runs. */
  async start(): Promise<void> {
    await this.proposer.finishJob()
    const { packing, locations, openedMs, clock } = this.context
    this.#limitsChanged()
    for (const handle of this.#state.openChunks()) {
      const chunk = this.#state.chunk(handle)
      const members = this.#state.chunkMembers(handle) ?? []
      openedMs.set(handle, clock.nowMs())
      for (const { directory } of members) locations.set(handle, directory, 'open')
      if (chunk?.shared && chunk.inode === 0) packing.adopt(chunk.goal || this.#state.goal, { handle, members })
    }
    this.#upkeep = new Upkeep(this.context, this.#replicas)
    this.compactor.start()
    this.#goals.start()
    this.reclaimer.start()
  }

  stop(error: DfsError): void {
    this.#upkeep?.stop()
    this.repairer.stop()
    this.compactor.stop()
    this.#goals.stop()
    this.reclaimer.stop()
    this.context.sealer.stop()
    this.proposer.failed(error)
  }

  /** A connection broke, whoever's it was. */
  disconnected(connection: number): void {
    const server = this.context.servers.disconnect(connection, this.context.clock.nowMs())
    if (server) this.context.logger.warn({ event: 'disconnect', server: server.id }, "a chunkserver's connection broke")
  }

  /** The handlers of every message that a master takes. */
  handlers(numberOf: (connection: Connection) => number): RpcHandlers {
    const census = new CensusTaker(this.context)
    const requests = new Map<MessageName, { count: number }>()
    const all = {
      ...namespaceHandlers,
      ...fileHandlers,
      ...operatorHandlers(this.repairer, requests),
      ...compactionHandlers(this.compactor),
      ...chunkserverHandlers(this.#replicas, this.repairer),
      ...reportHandlers({
        census,
        trashSizes: new TrashSizes(this.#state, this.context.clock),
        replicas: this.#replicas,
        repairer: this.repairer,
        compactor: this.compactor,
        reclaimer: this.reclaimer,
      }),
    }
    return new Map(
      Object.entries(all).map(([name, handler]) => {
        const asked = { count: 0 }
        requests.set(name as MessageName, asked)
        return answering(name as MessageName, (request, connection) => {
          asked.count++
          const asker = { connection: numberOf(connection), remote: connection.remote.host }
          return (handler as Handler<MessageName>)(this.context, request as never, asker)
        })
      }),
    )
  }

  /** What was applied becomes known to those it concerns. */
  #tell(): void {
    const { changes } = this.#state
    const { allocated, sealed, forgotten, goalChanged, goalUnsure } = changes
    const { openedMs, clock, locations } = this.context
    for (const { handle, members } of allocated) {
      openedMs.set(handle, clock.nowMs())
      for (const { directory } of members) locations.set(handle, directory, 'open')
    }
    for (const { handle, version, length, digest, indexDigest, members } of sealed) {
      openedMs.delete(handle)
      this.context.settling.begin(handle, clock.nowMs())
      this.context.tails.forget(handle)
      const request = { handle, version, length, digest, indexDigest, history: historyOf(this.context) }
      for (const { server } of members) {
        this.#unwatched(
          this.context.ask(server, 'seal', request).then(({ facts }) => {
            const view = this.context.servers.get(server)
            if (view) this.#replicas.note(view, facts)
          }),
        )
      }
    }
    for (const [at, handle] of forgotten.entries()) this.#replicas.forgotten(handle, changes.forgottenBytes[at] ?? 0)
    for (const handle of goalChanged) {
      this.context.attention.add(handle)
      this.#goals.changed(handle, false)
    }
    for (const handle of goalUnsure) this.#goals.changed(handle, true)
    if (changes.haveOptionsChanged) this.#limitsChanged()
    changes.clear()
  }

  #limitsChanged(): void {
    const { limits, settings } = this.context
    Object.assign(limits, copyLimits(settings, this.#state.options))
    this.repairer.limitsChanged()
  }

  /** For work that upkeep or the next report does again if it fails now. */
  #unwatched(work: Promise<unknown>): void {
    work.catch((error: unknown) => {
      if (!isDfsError(error)) throw error
      this.context.logger.debug({ event: 'later', code: error.code }, error.message)
    })
  }

  #isUsable(handle: ChunkHandle): boolean {
    const { servers, clock, sealer } = this.context
    const members = this.#state.chunkMembers(handle)
    if (!members || sealer.isSealing(handle)) return false
    return members.every(({ server, directory, life }) => {
      const view = servers.get(server)
      return view && servers.liveness(view, clock.nowMs()) === 'live' && servers.lifeOf(directory) === life
    })
  }

  async #openPacking(goal: number, avoid: ReadonlySet<ServerId>) {
    const { members } = placeChunk(this.context, goal, avoid)
    const reply = await change(this.context, { kind: 'openPackingChunk', members, goal })
    return { handle: replyNumber(reply, 0) as ChunkHandle, members }
  }

  #safeMode(): MasterContext['safeMode'] {
    const { servers, clock, manualSafeMode } = this.context
    if (manualSafeMode.wish === 'on') return { isOn: true, reason: 'the operator entered it', leftMs: 0 }
    if (manualSafeMode.wish === 'off') return SAFE_MODE_OFF
    const leftMs = this.#startMs + SAFE_MODE_MS - clock.nowMs()
    if (leftMs <= 0) return SAFE_MODE_OFF
    const known = [...this.#state.servers()]
    const missing = known.filter(({ id }) => !servers.get(id)?.hasReported)
    if (missing.length === 0) return SAFE_MODE_OFF
    const reason = `${missing.length} of ${known.length} known chunkservers have not reported yet`
    return { isOn: true, reason, leftMs }
  }
}

function unreachable(server: ServerId): DfsError {
  return new DfsError('UNAVAILABLE', `cs-${server} has no connection to the master`, { server })
}
