// Client to master, changing: names and extents, each exactly once by (session, request); and the chunks under way.
//
// The table that gives these bodies their numbers is ../messages.ts.

import {
  ATTRIBUTES_BYTES_MAX,
  EXTENTS_PER_REQUEST_MAX,
  FILES_PER_REQUEST_MAX,
  PATH_BYTES_MAX,
  REPLICAS_MAX,
} from '../../base/limits.ts'
import { boolean, document, integer, list, optional, struct, text, word } from '../schema.ts'
import {
  allocation,
  chunkLength,
  crc,
  handle,
  handleOrHole,
  inodeId,
  label,
  nothing,
  path,
  requester,
  serverId,
  session,
  uint,
} from './fields.ts'

export const extent = struct({ handle: handleOrHole, offset: uint, length: integer(1) })
const sealClaim = struct({ handle, length: chunkLength, digest: crc })
const newInode = struct({ mode: integer(0, 0o7777), owner: label, group: label, goal: integer(0, REPLICAS_MAX) })
const publish = struct({ path, overwrite: boolean })
const extents = list(extent, EXTENTS_PER_REQUEST_MAX)
const seals = list(sealClaim, 64)
const changed = struct({ inode: inodeId, size: uint, contentVersion: uint })

export const changes = {
  makeDirectory: {
    means: 'a directory, with its parents if wanted',
    request: struct({ by: requester, path, parents: boolean, inode: newInode }),
    reply: struct({ inode: inodeId }),
  },
  putFile: {
    means: 'a small or empty file in one record',
    request: struct({ by: requester, publish, inode: newInode, extents, mtimeMs: uint }),
    reply: struct({ inode: inodeId }),
  },
  openForWrite: {
    means: 'an unnamed inode to write, or an existing file to append to or splice, with a first chunk if wanted',
    request: struct({
      by: requester,
      path,
      mode: word('create', 'overwrite', 'append'),
      inode: newInode,
      withChunk: boolean,
      avoid: list(serverId, 64),
    }),
    reply: struct({
      inode: inodeId,
      size: uint,
      contentVersion: uint,
      goal: integer(1, REPLICAS_MAX),
      allocation: optional(allocation),
    }),
  },
  allocateChunk: {
    means: 'the next chunk of a writer; seals of full ones ride along',
    request: struct({ by: requester, inode: inodeId, seals, avoid: list(serverId, 64) }),
    reply: struct({ allocation }),
  },
  commitFile: {
    means: "extents appended, the name given, the writer's hold ended",
    request: struct({
      by: requester,
      inode: inodeId,
      extents,
      seals,
      publish: optional(publish),
      close: boolean,
      mtimeMs: uint,
    }),
    reply: changed,
  },
  spliceFile: {
    means: 'extents in place of a range of bytes',
    request: struct({ by: requester, inode: inodeId, offset: uint, extents, seals, mtimeMs: uint }),
    reply: changed,
  },
  truncateFile: {
    means: 'another size',
    request: struct({ by: requester, path, size: uint }),
    reply: changed,
  },
  concatFiles: {
    means: 'files appended to one, and removed',
    request: struct({ by: requester, path, sources: list(path, 1000) }),
    reply: changed,
  },
  copy: {
    means: 'a file or tree that shares its chunks (GFS §3.4)',
    request: struct({ by: requester, from: path, to: path, recursive: boolean, overwrite: boolean }),
    reply: struct({ inode: inodeId }),
  },
  rename: {
    means: 'a new path',
    request: struct({ by: requester, from: path, to: path, overwrite: boolean }),
    reply: struct({ inode: inodeId }),
  },
  remove: {
    means: 'into the trash',
    request: struct({ by: requester, path, what: word('file', 'emptyDirectory', 'tree'), now: boolean }),
    reply: struct({ trash: uint }),
  },
  setAttributes: {
    means: 'mode, owner, goal, times, extended attributes',
    request: struct({
      by: requester,
      path,
      mode: optional(integer(0, 0o7777)),
      owner: optional(label),
      group: optional(label),
      goal: optional(integer(1, REPLICAS_MAX)),
      mtimeMs: optional(uint),
      attributes: optional(list(struct({ name: text(255), value: optional(text(ATTRIBUTES_BYTES_MAX)) }), 1024)),
    }),
    reply: changed,
  },
  restoreTrash: {
    means: 'out of the trash, to where it was or to `path`',
    request: struct({ by: requester, trash: integer(1), path: text(PATH_BYTES_MAX) }),
    reply: struct({ inode: inodeId }),
  },
  emptyTrash: {
    means: 'one entry (or all: 0) due at once',
    request: struct({ by: requester, trash: uint }),
    reply: nothing,
  },
  putFiles: {
    means: 'several of `putFile`, each for itself, as if they had come one by one',
    request: struct({
      session,
      floor: uint,
      files: list(
        struct({ request: integer(1), publish, inode: newInode, extent: optional(extent), mtimeMs: uint }),
        FILES_PER_REQUEST_MAX,
      ),
    }),
    reply: struct({
      /** One a file, in their order. */
      verdicts: list(
        struct({
          /** 0: none was made. */
          inode: uint,
          /** Why not, as in the body of an error frame. Nil beside inode 0: nothing was tried, ask with `putFile`. */
          refusal: optional(document),
        }),
        FILES_PER_REQUEST_MAX,
      ),
    }),
  },
}

export const chunksUnderWay = {
  packingChunk: {
    means: 'an open shared chunk for small files',
    request: struct({
      session,
      goal: integer(0, REPLICAS_MAX),
      avoid: list(serverId, 64),
      notHandle: optional(handle),
    }),
    reply: struct({ allocation }),
  },
  sealChunk: {
    means: 'seal an open chunk, for the reason given; answers what the log says',
    request: struct({ session, handle, suspects: list(serverId, REPLICAS_MAX), reason: text(500) }),
    reply: struct({ length: chunkLength, digest: crc }),
  },
  renewSession: {
    means: 'the session lives',
    request: struct({ session }),
    reply: nothing,
  },
  complain: {
    means: 'a replica gave a wrong or no answer to a reader',
    request: struct({ handle, server: serverId, code: uint, reason: text(500) }),
    reply: nothing,
  },
  fileTail: {
    means: 'the open shared chunk at the end of a file, for records; made when there is none',
    request: struct({
      session,
      /** By number: the file may be renamed. */
      inode: inodeId,
      avoid: list(serverId, 64),
      /** The one that was full or failed. */
      notHandle: optional(handle),
    }),
    reply: struct({
      /** File offset of the chunk's first byte. */
      base: uint,
      allocation,
    }),
  },
}
