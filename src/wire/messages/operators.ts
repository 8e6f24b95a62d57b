// Operators to master: checks, safe mode, limits of what goes on in the background.
//
// The table that gives these bodies their numbers is ../messages.ts.

import { COPIES_PER_SERVER_MAX, EXTENTS_PER_REQUEST_MAX, REPLICAS_MAX } from '../../base/limits.ts'
import { added, boolean, document, integer, list, optional, struct, text, word } from '../schema.ts'
import { address, chunkLength, handle, handleOrHole, nothing, path, requester, serverId, uint } from './fields.ts'

/** What may be reset of `copyLimits`, in the order of their numbers on the wire. */
export const COPY_LIMITS = ['repairBytesPerSecond', 'balanceBytesPerSecond', 'copiesPerServer', 'isBalancing'] as const

/** Where a check of a tree goes on: after this path, or in the file that it names from byte `offset` (when not 0) on. */
export const fsckCursor = struct({ path, offset: uint })

/** A chunk that a file of a checked page names. */
export const fsckChunk = struct({
  handle,
  goal: integer(1, REPLICAS_MAX),
  /** Logged length; 0 while open. */
  length: chunkLength,
  isSealed: boolean,
  /** Whole replicas on servers that answer. */
  whole: uint,
  /** Replicas on servers that answer, of which some blocks failed. */
  corrupt: uint,
  /** Not every server has said yet what it holds: absence is no verdict. */
  isUncertain: boolean,
  /** All whole replicas, two or more, are on one host. */
  isOnOneHost: boolean,
  /** Those known of, on servers that answer or not; empty for a chunk in order, unless they were asked for. */
  replicas: list(
    struct({
      server: serverId,
      address,
      state: word('open', 'good', 'short', 'corrupt', 'different'),
      serverState: word('live', 'suspect', 'dead', 'maintenance', 'draining'),
      disk: path,
    }),
    64,
  ),
})

/** A file of a checked page, with the extents that are not in order (or all, when asked for). */
export const fsckFile = struct({
  path,
  size: uint,
  extents: list(struct({ offset: uint, length: uint, handle: handleOrHole }), EXTENTS_PER_REQUEST_MAX),
})

export const operators = {
  checkpoint: {
    means: 'write a checkpoint now',
    request: nothing,
    reply: struct({ logIndex: uint }),
  },
  acceptRollback: {
    means: 'go on although chunkservers have seen more history',
    request: nothing,
    reply: struct({ lostIndex: uint }),
  },
  fsck: {
    means: 'a page of the check of a file or tree: its chunks held against their replicas',
    request: struct({
      path,
      after: optional(fsckCursor),
      /** Which files, extents and replicas are told: only what is not in order, or more. */
      detail: word('problems', 'files', 'chunks', 'locations'),
      /** Judge as if this server were gone: what its drain waits for. */
      without: optional(serverId),
    }),
    reply: struct({
      /** Files and directories that begin in this page, and the files' bytes. */
      files: uint,
      directories: uint,
      bytes: uint,
      rows: list(fsckFile, 4096),
      /** Every chunk that files of this page name, once. */
      chunks: list(fsckChunk, EXTENTS_PER_REQUEST_MAX),
      /** Servers that could take a replica now. */
      placeable: uint,
      /** Ask again from here; nothing: the check has ended. */
      next: optional(fsckCursor),
    }),
  },
  setServerIntent: {
    means: 'what the operator wants of a chunkserver',
    request: struct({
      by: requester,
      server: serverId,
      intent: word('serve', 'maintain', 'drain'),
      /** How long `maintain` lasts; 0: until told otherwise. */
      forMs: uint,
    }),
    reply: nothing,
  },
  safeMode: {
    means: 'whether safe mode is on; enter it, or leave it, by hand',
    request: struct({ action: word('get', 'enter', 'leave') }),
    reply: struct({ isOn: boolean, isManual: boolean, reason: text(500), leftMs: uint }),
  },
  scrub: {
    means: 'one server (or all) checks every replica now; answers which have begun',
    request: struct({ server: optional(serverId) }),
    reply: struct({ begun: list(serverId, 65_536), refused: list(serverId, 65_536) }),
  },
  copyLimits: {
    means: 'what repair and rebalancing may take from now on; left out: as it is',
    request: struct({
      /** Of each chunkserver, last copies apart; 0: no limit. */
      repairBytesPerSecond: optional(uint),
      balanceBytesPerSecond: optional(uint),
      copiesPerServer: optional(integer(1, COPIES_PER_SERVER_MAX)),
      isBalancing: optional(boolean),
      /** Back to what masters are started with; what is given besides comes after. */
      reset: added(list(word(...COPY_LIMITS), COPY_LIMITS.length), []),
    }),
    reply: struct({
      repairBytesPerSecond: uint,
      balanceBytesPerSecond: uint,
      copiesPerServer: uint,
      isBalancing: boolean,
    }),
  },
  balance: {
    means: 'how evenly the disks are filled, as `dfs admin balance --json` prints it; `isPlan`: what would be moved',
    request: struct({ isPlan: boolean }),
    reply: struct({ document }),
  },
  top: {
    means: 'counters of this moment, for who asks again and again',
    request: nothing,
    reply: struct({ document }),
  },
  compact: {
    means: 'look for dead space and files in many pieces now, and bring together what is live; answers at once',
    request: nothing,
    reply: nothing,
  },
}
