// What the parts of one client share, and how it is put together.

import { DfsError, isDfsError } from '../base/errors.ts'
import type { Io } from '../io/io.ts'
import { type Address, parseAddress } from '../io/network.ts'
import { Lanes } from '../rpc/lanes.ts'
import type { MessageName, ReplyOf, RequestOf } from '../wire/messages.ts'
import { Aborts } from './aborts.ts'
import { FileNamer } from './file-namer.ts'
import { Links } from './links.ts'
import { LocationCache } from './location-cache.ts'
import { type By, Masters, type Send } from './masters.ts'
import type { ClientOptions } from './options.ts'
import { Patience } from './patience.ts'
import { Peers } from './peers.ts'
import { dropFault } from './retry.ts'
import { Sessions } from './session.ts'

export interface Core {
  readonly io: Io
  readonly links: Links
  readonly masters: Masters
  readonly sessions: Sessions
  readonly locations: LocationCache
  readonly peers: Peers
  /** Reads of chunkservers by what ends them. */
  readonly aborts: Aborts
  readonly lanes: Lanes
  readonly namer: FileNamer
  /** Fires when the client is closed: what goes on in the background ends by it. */
  readonly closing: AbortSignal
}

/**
 * The parts of a new client; nothing is sent yet. Errors: INVALID_ARGUMENT for a master's address that can't be read.
 *
 * @param timeoutMs  of what goes on in the background
 * @param closing    fires when the client is closed
 */
export function makeCore(io: Io, options: ClientOptions, timeoutMs: number, closing: AbortSignal): Core {
  const links = new Links(io, options.name ?? 'client', options.onBug ?? throwLater)
  const masters = new Masters(links, io.entropy, addressesOf(options.masters))
  const sessions = new Sessions(io.clock, io.entropy, (session) => {
    const patience = new Patience(io.clock, { signal: closing }, timeoutMs)
    // One that fails is followed by another; ten minutes of failures are what ends a session anyway.
    masters.ask('renewSession', { session: session.id }, patience).catch(dropFault)
  })
  const locations = new LocationCache()
  const peers = new Peers(io, { zone: options.zone ?? '', rack: options.rack ?? '' }, links.ownHosts)
  const aborts = new Aborts()
  const namer = new FileNamer(io.clock, aborts, links)
  return { io, links, masters, sessions, locations, peers, aborts, lanes: new Lanes(), namer, closing }
}

/**
 * A change that depends on nothing this session did before: when the session turns out to have been ended and the
 * change certainly was not applied, it is asked for under a new one. Errors: as Masters.change.
 */
export async function change<K extends MessageName>(
  core: Core,
  name: K,
  makeRequest: (by: By) => RequestOf<K>,
  patience: Patience,
  send?: Send<K>,
): Promise<ReplyOf<K>> {
  for (;;) {
    const session = core.sessions.current()
    try {
      return await core.masters.change(name, makeRequest, session, patience, send)
    } catch (error) {
      if (!session.isEnded || !isDfsError(error, 'SESSION_ENDED')) throw error
    }
  }
}

function addressesOf(masters: string | readonly string[]): Address[] {
  const texts = (typeof masters === 'string' ? [masters] : masters).flatMap((text) => text.split(','))
  return texts.map((text) => {
    const address = parseAddress(text.trim())
    if (address !== undefined && address.port > 0) return address
    throw new DfsError('INVALID_ARGUMENT', `a master's address is host:port, not '${text}'`, { address: text })
  })
}

function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}
