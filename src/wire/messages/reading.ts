// Client to master, reading: what there is, and where a file's bytes are. Needs no session.
//
// The table that gives these bodies their numbers is ../messages.ts.

import type { ClusterId } from '../../base/ids.ts'
import { ATTRIBUTES_BYTES_MAX, CHUNK_BYTES_MAX, EXTENTS_PER_REQUEST_MAX, REPLICAS_MAX } from '../../base/limits.ts'
import { added, boolean, document, integer, list, optional, struct, text } from '../schema.ts'
import { chunkLocation, fileTail, handle, handleOrHole, inodeId, label, name, nothing, path, uint } from './fields.ts'

export const fileStat = struct({
  inode: inodeId,
  isDirectory: boolean,
  size: uint,
  /** Replicas wanted; 0 for directories. */
  goal: integer(0, REPLICAS_MAX),
  mode: integer(0, 0o7777),
  owner: label,
  group: label,
  mtimeMs: uint,
  ctimeMs: uint,
  /** Grows with each change of the bytes; repair does not change it. */
  contentVersion: uint,
  /** Extents of a file, entries of a directory. */
  count: uint,
  attributes: list(struct({ name: text(255), value: text(ATTRIBUTES_BYTES_MAX) }), 1024),
  /** Records are being appended; of an answer of the library: they are counted in `size`. */
  tail: optional(fileTail),
  /** Chunks that a file's extents and tail name, each once; only in an answer to who asked for them. */
  chunks: optional(uint),
})

export const directoryEntry = struct({
  name,
  inode: inodeId,
  isDirectory: boolean,
  size: uint,
  goal: integer(0, REPLICAS_MAX),
  mode: integer(0, 0o7777),
  owner: label,
  group: label,
  mtimeMs: uint,
})

/** An extent with its place in the file. */
export const placedExtent = struct({ fileOffset: uint, handle: handleOrHole, offset: uint, length: integer(1) })

const filePage = {
  stat: fileStat,
  extents: list(placedExtent, EXTENTS_PER_REQUEST_MAX),
  /** Every chunk that `extents` names, and with the last of them the open tail. */
  chunks: list(chunkLocation, EXTENTS_PER_REQUEST_MAX + 1),
  /** Extents after these exist: ask again from the end of the last. */
  more: boolean,
}

export const reading = {
  clusterInfo: {
    means: 'what this cluster is',
    request: nothing,
    reply: struct({
      clusterId: text<ClusterId>(32),
      chunkBytes: integer(1, CHUNK_BYTES_MAX),
      goal: integer(1, REPLICAS_MAX),
      version: label,
      /** The master's wall clock, ms since 1970; 0: an earlier version, which doesn't say. */
      wallMs: added(uint, 0),
    }),
  },
  stat: {
    means: 'one inode by path',
    request: struct({
      path,
      /** Count the chunks of a file, too: a walk over its extents. */
      withChunks: added(boolean, false),
    }),
    reply: fileStat,
  },
  list: {
    means: "a page of a directory, in order of the names' bytes",
    request: struct({ path, after: optional(name), limit: integer(1, 5000) }),
    reply: struct({
      entries: list(directoryEntry, 5000),
      more: boolean,
      /** Places of files in `entries` that records are being appended to: their sizes are without the open tail. */
      withTail: added(list(uint, 5000), []),
    }),
  },
  openForRead: {
    means: 'a file with its first extents and their locations',
    request: struct({ path, fromOffset: uint, limit: integer(1, EXTENTS_PER_REQUEST_MAX) }),
    reply: struct(filePage),
  },
  extents: {
    means: 'further extents of an open file; FILE_CHANGED when its content version is another',
    request: struct({
      inode: inodeId,
      contentVersion: uint,
      fromOffset: uint,
      limit: integer(1, EXTENTS_PER_REQUEST_MAX),
    }),
    reply: struct(filePage),
  },
  locate: {
    means: 'where chunks are now; unknown handles are left out',
    request: struct({ handles: list(handle, 1024) }),
    reply: struct({ chunks: list(chunkLocation, 1024) }),
  },
  trashList: {
    means: 'what was removed and can be restored',
    request: struct({ after: uint, limit: integer(1, 5000) }),
    reply: struct({
      entries: list(
        struct({ id: integer(1), path, isDirectory: boolean, size: uint, removedMs: uint, expiresInMs: uint }),
        5000,
      ),
      more: boolean,
    }),
  },
  report: {
    means: 'servers, totals and repair, as `dfs report --json` prints them',
    request: nothing,
    reply: struct({ document }),
  },
  info: {
    means: 'extents and chunks of a file, as `dfs info --json` prints them',
    request: struct({ path }),
    reply: struct({ document }),
  },
  space: {
    means: 'capacity and what it holds, as `dfs df --json` prints it',
    request: nothing,
    reply: struct({ document }),
  },
}
