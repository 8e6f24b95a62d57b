// What the request handlers of the master share. No logic: names, and who owns what.

import { assert } from '../base/assert.ts'
import type { ErrorDetail } from '../base/errors.ts'
import { DfsError } from '../base/errors.ts'
import type { ChunkHandle, ServerId, SessionId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Clock } from '../io/clock.ts'
import type { MessageName, ReplyOf, RequestOf } from '../wire/messages.ts'
import type { Attention } from './cluster/attention.ts'
import type { Locations } from './cluster/locations.ts'
import type { Servers } from './cluster/servers.ts'
import type { Settling } from './cluster/settling.ts'
import type { FileTails } from './file-tails.ts'
import type { MetadataState } from './metadata/state.ts'
import type { Operation, Outcome, Reply } from './operations.ts'
import type { PackingChunks } from './packing.ts'
import type { Proposer } from './proposer.ts'
import type { Sealer } from './sealer.ts'
import type { CopyLimits, MasterSettings } from './settings.ts'

export interface MasterContext {
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly settings: MasterSettings
  readonly limits: CopyLimits
  readonly state: MetadataState
  readonly servers: Servers
  readonly locations: Locations
  readonly attention: Attention
  readonly settling: Settling
  readonly proposer: Proposer
  readonly sealer: Sealer
  readonly packing: PackingChunks
  readonly tails: FileTails
  readonly safeMode: { readonly isOn: boolean; readonly reason: string; readonly leftMs: number }
  /** What the operator said of safe mode since this master started; `auto`: nothing. */
  readonly manualSafeMode: { wish: 'auto' | 'on' | 'off' }
  /** When each session that the log knows was last heard of, monotonic ms. */
  readonly sessionsSeen: Map<SessionId, number>
  /** When each open chunk was begun or found at the start, monotonic ms. */
  readonly openedMs: Map<ChunkHandle, number>
  /** Seals that gave up on members since the start: `report` says so. */
  readonly givenUp: { count: number }
  /** The log disk is close to full: only removals enter. */
  isReadOnly(): boolean
  /** Sends a request over the connection that the chunkserver opened; UNAVAILABLE when there is none. */
  ask<K extends 'fence' | 'digestAt' | 'seal' | 'scrubNow' | 'clone' | 'gather'>(
    server: ServerId,
    name: K,
    request: RequestOf<K>,
    options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ): Promise<ReplyOf<K>>
  /** Writes a checkpoint of everything logged so far; resolves with its log index. */
  checkpoint(): Promise<number>
}

/** Who asks: one connection. */
export interface Asker {
  /** Names the connection. */
  readonly connection: number
  readonly remote: string
}

export type Handler<K extends MessageName> = (
  context: MasterContext,
  request: RequestOf<K>,
  asker: Asker,
) => ReplyOf<K> | Promise<ReplyOf<K>>

export type Handlers = { readonly [K in MessageName]?: Handler<K> }

/** What may enter while the log disk is close to full: it frees room, or nothing else can. */
const allowedReadOnly: ReadonlySet<Operation['kind']> = new Set([
  'remove',
  'emptyTrash',
  'truncateFile',
  'sealChunk',
  'collectGarbage',
  'endSession',
  'continueJob',
])

/** A change that meets a new tail again and again is given back to its requester after so many. */
const TAIL_ROUNDS_MAX = 4

/**
 * Proposes a change and turns a refusal into the error that the requester gets. Tails that stand in its way are sealed
 * first, also those that are opened before the change is in the log.
 */
export async function change(context: MasterContext, operation: Operation): Promise<Reply> {
  if (context.isReadOnly() && !allowedReadOnly.has(operation.kind))
    throw new DfsError('READ_ONLY', 'the log disk is almost full: only removals are taken')
  if ('by' in operation && operation.by) touchSession(context, operation.by.session)
  const { tails, proposer } = context
  // Nearly always the first try is all: nothing but it stands between the request and the log.
  let outcome = tails.isInTheWay(operation) ? undefined : await proposer.propose(operation)
  for (let round = 0; round < TAIL_ROUNDS_MAX; round++) {
    const isBlocked = outcome === undefined || (!outcome.ok && outcome.code === 'FILE_BUSY')
    if (!isBlocked || (outcome !== undefined && !tails.isInTheWay(operation))) break
    const release = await tails.makeWay(operation)
    let proposed: Promise<Outcome>
    try {
      proposed = proposer.propose(operation)
    } finally {
      release()
    }
    outcome = await proposed
  }
  assert(outcome !== undefined, 'a change that nobody proposed')
  if (!outcome.ok) throw new DfsError(outcome.code, outcome.message, outcome.detail)
  return outcome.reply
}

/** A sign of life. One that the log doesn't know has nothing that could end, and whoever likes can name a million of them. */
export function touchSession({ sessionsSeen, state, clock }: MasterContext, session: SessionId): void {
  if (state.sessionKnown(session)) sessionsSeen.set(session, clock.nowMs())
}

/** The number at `index` of a reply that `apply` made. */
export function replyNumber(reply: Reply, index: number): number {
  const value = reply[index]
  if (typeof value !== 'number') throw new DfsError('INTERNAL', `reply field ${index} is not a number`)
  return value
}

export function notFound(what: string, detail: ErrorDetail): DfsError {
  return new DfsError('NOT_FOUND', `${what}: no such path`, detail)
}
