// What the parts of one client share.

import { isDfsError } from '../base/errors.ts'
import type { Io } from '../io/io.ts'
import type { Lanes } from '../rpc/lanes.ts'
import type { MessageName, ReplyOf, RequestOf } from '../wire/messages.ts'
import type { Aborts } from './aborts.ts'
import type { FileNamer } from './file-namer.ts'
import type { Links } from './links.ts'
import type { LocationCache } from './location-cache.ts'
import type { By, Masters, Send } from './masters.ts'
import type { Patience } from './patience.ts'
import type { Peers } from './peers.ts'
import type { Sessions } from './session.ts'

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
