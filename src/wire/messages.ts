// Messages: every request of the protocol, its number, who sends it to whom, and the shape of its body and reply.
//
// README.md beside this file has the same table for people; a test compares them. Numbers are never used again;
// fields are only ever added at the end of a body (`added`, `optional` in schema.ts).

import type { ChunkHandle, ClusterId, DirectoryId, InodeId, Life, ServerId, SessionId } from '../base/ids.ts'
import { RANDOM_ID_MAX } from '../base/ids.ts'
import {
  ATTRIBUTES_BYTES_MAX,
  CHUNK_BYTES_MAX,
  COPIES_PER_SERVER_MAX,
  DIRECTORIES_MAX,
  EXTENTS_PER_REQUEST_MAX,
  FILES_PER_REQUEST_MAX,
  GATHER_RANGES_MAX,
  GATHER_SOURCES_MAX,
  PATH_BYTES_MAX,
  RECORD_INDEX_BYTES_MAX,
  REPLICAS_MAX,
} from '../base/limits.ts'
import {
  type AnyStruct,
  added,
  boolean,
  bytes,
  document,
  type Infer,
  integer,
  list,
  optional,
  type Struct,
  struct,
  text,
  word,
} from './schema.ts'

// Fields that many messages share.

const handle = integer<ChunkHandle>(1)
const handleOrHole = integer<ChunkHandle>(0)
const inodeId = integer<InodeId>(1)
const serverId = integer<ServerId>(1, 2 ** 31)
const directoryId = integer<DirectoryId>(1, RANDOM_ID_MAX)
const life = integer<Life>(1, RANDOM_ID_MAX)
const session = integer<SessionId>(1, RANDOM_ID_MAX)
const version = integer(1, 2 ** 32 - 1)
const uint = integer(0)
const crc = integer(0, 2 ** 32 - 1)
const chunkLength = integer(0, CHUNK_BYTES_MAX)
const path = text(PATH_BYTES_MAX)
/** What may be reset of `copyLimits`, in the order of their numbers on the wire. */
export const COPY_LIMITS = ['repairBytesPerSecond', 'balanceBytesPerSecond', 'copiesPerServer', 'isBalancing'] as const
const name = text(255)
const address = text(300)
const label = text(128)

/** Who asks for a change; see Requester in master/operations.ts. */
export const requester = struct({ session, request: integer(1), floor: uint })
export const extent = struct({ handle: handleOrHole, offset: uint, length: integer(1) })
export const sealClaim = struct({ handle, length: chunkLength, digest: crc })
export const newInode = struct({ mode: integer(0, 0o7777), owner: label, group: label, goal: integer(0, REPLICAS_MAX) })
export const publish = struct({ path, overwrite: boolean })
const extents = list(extent, EXTENTS_PER_REQUEST_MAX)
const seals = list(sealClaim, 64)

/** A member of an open chunk, with where to reach it. */
export const chainMember = struct({ server: serverId, directory: directoryId, life, address })

/** All that a writer needs for a new chunk: no second question to anybody. */
export const allocation = struct({
  handle,
  version,
  /** Log index of the allocation record. */
  logIndex: uint,
  /** Bytes the chunk may grow to. */
  chunkBytes: integer(1, CHUNK_BYTES_MAX),
  shared: boolean,
  leaseMs: uint,
  /** Chain order, primary first. */
  members: list(chainMember, REPLICAS_MAX),
})

/** Where a chunk can be read. */
export const chunkLocation = struct({
  handle,
  version,
  isSealed: boolean,
  /** Of a sealed chunk; 0 while open. */
  length: chunkLength,
  digest: crc,
  shared: boolean,
  /** Best guess of the best source first; empty: none is known now. */
  replicas: list(
    struct({
      server: serverId,
      address,
      zone: label,
      rack: label,
      /** 0: whole, on a live server. More: to be asked after all that have less. Among equals the reader chooses. */
      doubt: added(integer(0, 99), 0),
    }),
    REPLICAS_MAX * 4,
  ),
})

/** The open chunk at the end of a file: its committed length, asked of its primary, is not in the file's size yet. */
export const fileTail = struct({ handle, version, server: serverId, address })

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
const changed = struct({ inode: inodeId, size: uint, contentVersion: uint })
const nothing = struct({})

// What chunkservers and the master tell each other.

const directoryState = word('ok', 'full', 'readonly', 'failed')

export const directoryFacts = struct({
  directory: directoryId,
  life,
  /** Path on the server, for people. */
  path,
  state: directoryState,
  capacityBytes: uint,
  /** Bytes of chunks here. */
  usedBytes: uint,
  /** Bytes that new chunks may take: free space less the reserve. */
  freeBytes: uint,
  chunks: uint,
  /** How far the scrubber is with its pass, in thousandths of the replicas here. */
  scrubPermille: added(integer(0, 1000), 0),
  /** Milliseconds since a pass was finished; undefined: none ever was. */
  scrubAgeMs: optional(uint),
  /** Names its file system: directories of one device share their room. '': unknown. */
  device: added(label, ''),
  /** The longest an operation on its files took lately, one under way included, in steps of 500 ms. */
  slowMs: added(uint, 0),
})

/** What a server says of one replica. `sequence` of the carrying message orders these: older is ignored. */
export const replicaFacts = struct({
  handle,
  version,
  directory: directoryId,
  state: word('open', 'fenced', 'sealed', 'corrupt', 'quarantined', 'gone'),
  /** Sealed: its length; open or fenced: bytes it can prove. */
  length: chunkLength,
  /** CRC32 of those bytes for a sealed replica, else 0. */
  digest: crc,
})

/** What the master wants done. Orders to cut or delete die after `validMs` of the reply that carries them. */
export const order = struct({
  kind: word('seal', 'delete', 'quarantine'),
  handle,
  version: integer(0, 2 ** 32 - 1),
  length: chunkLength,
  digest: crc,
  indexDigest: crc,
})

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

/** How far the master's history goes; a chunkserver that has seen more refuses orders (MASTER_ROLLED_BACK). */
export const history = struct({
  logIndex: uint,
  /** The operator accepted the loss of everything up to this index; 0: never. */
  rollbackLostIndex: uint,
})

interface MessageRow {
  readonly number: number
  readonly from: 'client' | 'chunkserver' | 'master'
  readonly to: 'master' | 'chunkserver'
  /** Which bodies are followed by raw data bytes. */
  readonly data: 'none' | 'request' | 'reply'
  readonly means: string
  readonly request: AnyStruct
  readonly reply: AnyStruct
}

export const Message = {
  // Client to master: reading. Needs no session.
  clusterInfo: {
    number: 100,
    from: 'client',
    to: 'master',
    data: 'none',
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
    number: 101,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'one inode by path',
    request: struct({
      path,
      /** Count the chunks of a file, too: a walk over its extents. */
      withChunks: added(boolean, false),
    }),
    reply: fileStat,
  },
  list: {
    number: 102,
    from: 'client',
    to: 'master',
    data: 'none',
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
    number: 103,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'a file with its first extents and their locations',
    request: struct({ path, fromOffset: uint, limit: integer(1, EXTENTS_PER_REQUEST_MAX) }),
    reply: struct(filePage),
  },
  extents: {
    number: 104,
    from: 'client',
    to: 'master',
    data: 'none',
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
    number: 105,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'where chunks are now; unknown handles are left out',
    request: struct({ handles: list(handle, 1024) }),
    reply: struct({ chunks: list(chunkLocation, 1024) }),
  },
  trashList: {
    number: 106,
    from: 'client',
    to: 'master',
    data: 'none',
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
    number: 107,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'servers, totals and repair, as `dfs report --json` prints them',
    request: nothing,
    reply: struct({ document }),
  },
  info: {
    number: 108,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'extents and chunks of a file, as `dfs info --json` prints them',
    request: struct({ path }),
    reply: struct({ document }),
  },
  space: {
    number: 109,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'capacity and what it holds, as `dfs df --json` prints it',
    request: nothing,
    reply: struct({ document }),
  },

  // Client to master: changes, each exactly once by (session, request).
  makeDirectory: {
    number: 110,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'a directory, with its parents if wanted',
    request: struct({ by: requester, path, parents: boolean, inode: newInode }),
    reply: struct({ inode: inodeId }),
  },
  putFile: {
    number: 111,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'a small or empty file in one record',
    request: struct({ by: requester, publish, inode: newInode, extents, mtimeMs: uint }),
    reply: struct({ inode: inodeId }),
  },
  openForWrite: {
    number: 112,
    from: 'client',
    to: 'master',
    data: 'none',
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
    number: 113,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'the next chunk of a writer; seals of full ones ride along',
    request: struct({ by: requester, inode: inodeId, seals, avoid: list(serverId, 64) }),
    reply: struct({ allocation }),
  },
  commitFile: {
    number: 114,
    from: 'client',
    to: 'master',
    data: 'none',
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
    number: 115,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'extents in place of a range of bytes',
    request: struct({ by: requester, inode: inodeId, offset: uint, extents, seals, mtimeMs: uint }),
    reply: changed,
  },
  truncateFile: {
    number: 116,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'another size',
    request: struct({ by: requester, path, size: uint }),
    reply: changed,
  },
  concatFiles: {
    number: 117,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'files appended to one, and removed',
    request: struct({ by: requester, path, sources: list(path, 1000) }),
    reply: changed,
  },
  copy: {
    number: 118,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'a file or tree that shares its chunks (GFS §3.4)',
    request: struct({ by: requester, from: path, to: path, recursive: boolean, overwrite: boolean }),
    reply: struct({ inode: inodeId }),
  },
  rename: {
    number: 119,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'a new path',
    request: struct({ by: requester, from: path, to: path, overwrite: boolean }),
    reply: struct({ inode: inodeId }),
  },
  remove: {
    number: 120,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'into the trash',
    request: struct({ by: requester, path, what: word('file', 'emptyDirectory', 'tree'), now: boolean }),
    reply: struct({ trash: uint }),
  },
  setAttributes: {
    number: 121,
    from: 'client',
    to: 'master',
    data: 'none',
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
    number: 122,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'out of the trash, to where it was or to `path`',
    request: struct({ by: requester, trash: integer(1), path: text(PATH_BYTES_MAX) }),
    reply: struct({ inode: inodeId }),
  },
  emptyTrash: {
    number: 123,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'one entry (or all: 0) due at once',
    request: struct({ by: requester, trash: uint }),
    reply: nothing,
  },
  putFiles: {
    number: 124,
    from: 'client',
    to: 'master',
    data: 'none',
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

  // Client to master: chunks under way.
  packingChunk: {
    number: 130,
    from: 'client',
    to: 'master',
    data: 'none',
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
    number: 131,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'seal an open chunk, for the reason given; answers what the log says',
    request: struct({ session, handle, suspects: list(serverId, REPLICAS_MAX), reason: text(500) }),
    reply: struct({ length: chunkLength, digest: crc }),
  },
  renewSession: {
    number: 132,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'the session lives',
    request: struct({ session }),
    reply: nothing,
  },
  complain: {
    number: 133,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'a replica gave a wrong or no answer to a reader',
    request: struct({ handle, server: serverId, code: uint, reason: text(500) }),
    reply: nothing,
  },
  fileTail: {
    number: 134,
    from: 'client',
    to: 'master',
    data: 'none',
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

  // Operators to master.
  checkpoint: {
    number: 140,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'write a checkpoint now',
    request: nothing,
    reply: struct({ logIndex: uint }),
  },
  acceptRollback: {
    number: 141,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'go on although chunkservers have seen more history',
    request: nothing,
    reply: struct({ lostIndex: uint }),
  },

  fsck: {
    number: 150,
    from: 'client',
    to: 'master',
    data: 'none',
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
    number: 151,
    from: 'client',
    to: 'master',
    data: 'none',
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
    number: 152,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'whether safe mode is on; enter it, or leave it, by hand',
    request: struct({ action: word('get', 'enter', 'leave') }),
    reply: struct({ isOn: boolean, isManual: boolean, reason: text(500), leftMs: uint }),
  },
  scrub: {
    number: 153,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'one server (or all) checks every replica now; answers which have begun',
    request: struct({ server: optional(serverId) }),
    reply: struct({ begun: list(serverId, 65_536), refused: list(serverId, 65_536) }),
  },

  copyLimits: {
    number: 154,
    from: 'client',
    to: 'master',
    data: 'none',
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
    number: 155,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'how evenly the disks are filled, as `dfs admin balance --json` prints it; `isPlan`: what would be moved',
    request: struct({ isPlan: boolean }),
    reply: struct({ document }),
  },
  top: {
    number: 156,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'counters of this moment, for who asks again and again',
    request: nothing,
    reply: struct({ document }),
  },
  compact: {
    number: 158,
    from: 'client',
    to: 'master',
    data: 'none',
    means: 'look for dead space and files in many pieces now, and bring together what is live; answers at once',
    request: nothing,
    reply: nothing,
  },

  // Chunkserver to master.
  join: {
    number: 200,
    from: 'chunkserver',
    to: 'master',
    data: 'none',
    means: 'a chunkserver starts or comes back',
    request: struct({
      identity: integer(1, RANDOM_ID_MAX),
      server: integer(0, 2 ** 31),
      address,
      http: address,
      zone: label,
      rack: label,
      directories: list(directoryFacts, DIRECTORIES_MAX),
      /** The highest log index a master has ever shown it. */
      seenLogIndex: uint,
      version: label,
      pid: uint,
    }),
    reply: struct({ server: serverId, heartbeatMs: integer(1), history }),
  },
  heartbeat: {
    number: 201,
    from: 'chunkserver',
    to: 'master',
    data: 'none',
    means: 'alive, with load and what changed; orders come back',
    request: struct({
      sequence: uint,
      directories: list(directoryFacts, DIRECTORIES_MAX),
      streams: uint,
      queuedBytes: uint,
      changes: list(replicaFacts, 4096),
      /** False: `directories` is empty because nothing worth telling has changed; what was said before holds. */
      hasDirectories: added(boolean, true),
      /** Sum of all replicas here, once the master has `changes` (replica-sum.ts); undefined: more changes wait. */
      replicaSum: optional(integer(0, 2 ** 48 - 1)),
      /** Chunk bytes read from and written to its disks since the heartbeat before. */
      readBytes: added(uint, 0),
      writtenBytes: added(uint, 0),
    }),
    reply: struct({
      heartbeatMs: integer(1),
      history,
      validMs: uint,
      orders: list(order, 4096),
      wantReport: added(boolean, false),
    }),
  },
  chunkReport: {
    number: 202,
    from: 'chunkserver',
    to: 'master',
    data: 'none',
    means: 'all replicas, in parts (GFS §2.6.2)',
    request: struct({ sequence: uint, isFirst: boolean, isLast: boolean, replicas: list(replicaFacts, 10_000) }),
    reply: nothing,
  },
  leave: {
    number: 203,
    from: 'chunkserver',
    to: 'master',
    data: 'none',
    means: 'a graceful stop: maintenance',
    request: nothing,
    reply: nothing,
  },

  // Master to chunkserver, over the connection that the chunkserver opened.
  fence: {
    number: 230,
    from: 'master',
    to: 'chunkserver',
    data: 'none',
    means: 'no more bytes for this chunk, for ever; what is held?',
    request: struct({ handle, directory: directoryId, life, history }),
    reply: struct({
      /** Whether the chunk exists here at all. */
      exists: boolean,
      /** Whether the directory is still in the life asked for. */
      inLife: boolean,
      /** Bytes held (in life) or provable (else), all accepted writes finished. */
      length: chunkLength,
      digest: crc,
      syncedLength: chunkLength,
      /** CRC32 of the record index of a shared chunk at `length`. */
      indexDigest: crc,
    }),
  },
  digestAt: {
    number: 231,
    from: 'master',
    to: 'chunkserver',
    data: 'none',
    means: "CRC32 of a fenced or sealed replica's first bytes",
    request: struct({ handle, length: chunkLength }),
    reply: struct({ digest: crc, indexDigest: crc }),
  },
  seal: {
    number: 232,
    from: 'master',
    to: 'chunkserver',
    data: 'none',
    means: 'the log says: this long, this digest; cut what is longer',
    request: struct({ handle, version, length: chunkLength, digest: crc, indexDigest: crc, history }),
    reply: struct({ facts: replicaFacts }),
  },
  clone: {
    number: 233,
    from: 'master',
    to: 'chunkserver',
    data: 'none',
    means: 'make a replica of a sealed chunk from others; answered when it is durable',
    request: struct({
      handle,
      version,
      /** What the log says of the chunk; the copy is proven against it. */
      length: chunkLength,
      digest: crc,
      indexDigest: crc,
      shared: boolean,
      /** Log index of the allocation record. */
      logIndex: uint,
      /** Where the copy goes, unless the server holds a replica of the chunk already: then there. */
      directory: directoryId,
      /** Best first; each block may come from any of them that proves it. */
      sources: list(struct({ server: serverId, address }), REPLICAS_MAX * 4),
      /** What copies that carry a rate may take of this server's network together; 0: this one is not held back. */
      bytesPerSecond: uint,
      history,
    }),
    reply: struct({
      facts: replicaFacts,
      /** Bytes that were fetched; 0 when the replica was here already. */
      bytes: uint,
    }),
  },

  gather: {
    number: 234,
    from: 'master',
    to: 'chunkserver',
    data: 'none',
    means: 'make a sealed chunk of bytes of others; answered when it is durable',
    request: struct({
      handle,
      /** Log index of the record that reserved the handle. */
      logIndex: uint,
      directory: directoryId,
      sources: list(
        struct({
          handle,
          version,
          /** What the log says. */
          length: chunkLength,
          /** Best first; each block may come from any of them that proves it. */
          servers: list(struct({ server: serverId, address }), REPLICAS_MAX * 4),
        }),
        GATHER_SOURCES_MAX,
      ),
      /** The new chunk's bytes, in their order; `source` counts `sources` from 0. */
      ranges: list(struct({ source: uint, offset: chunkLength, length: chunkLength }), GATHER_RANGES_MAX),
      /** What it may take of this server's network; 0: it is not held back. */
      bytesPerSecond: uint,
      history,
    }),
    /** What its length and digest are: the log is told those that all who gathered it agree on. */
    reply: struct({ facts: replicaFacts }),
  },

  scrubNow: {
    number: 240,
    from: 'master',
    to: 'chunkserver',
    data: 'none',
    means: 'begin a pass of the scrubber, as fast as other work allows',
    request: nothing,
    reply: nothing,
  },

  // To chunkservers along the chain: from the client to the primary, from each member to the next.
  openChunk: {
    number: 300,
    from: 'client',
    to: 'chunkserver',
    data: 'none',
    means: 'the allocation, told to every member of the chain',
    request: struct({ clusterId: text<ClusterId>(32), allocation }),
    reply: nothing,
  },
  pushPiece: {
    number: 301,
    from: 'client',
    to: 'chunkserver',
    data: 'request',
    means: 'bytes that continue an unshared chunk, down the chain',
    request: struct({ handle, version, offset: chunkLength }),
    reply: nothing,
  },
  commit: {
    number: 302,
    from: 'client',
    to: 'chunkserver',
    data: 'none',
    means: 'bytes up to `length` become readable; `sync`: and durable',
    request: struct({
      handle,
      version,
      /** 0 from the client; the primary gives it. */
      serial: uint,
      length: chunkLength,
      sync: boolean,
    }),
    reply: struct({ length: chunkLength }),
  },
  appendShared: {
    number: 303,
    from: 'client',
    to: 'chunkserver',
    data: 'request',
    means: 'bytes for a shared chunk; the primary gives the offset, once for each (writer, sequence)',
    request: struct({ handle, version, writer: session, sequence: integer(1), count: integer(1), sync: boolean }),
    reply: struct({ offset: chunkLength }),
  },
  appendBatch: {
    number: 304,
    from: 'chunkserver',
    to: 'chunkserver',
    data: 'request',
    means: 'what the primary has gathered, down the chain',
    request: struct({
      handle,
      version,
      serial: uint,
      offset: chunkLength,
      sync: boolean,
      entries: list(struct({ writer: session, sequence: integer(1), count: integer(1), length: integer(0) }), 4096),
    }),
    reply: nothing,
  },
  tail: {
    number: 305,
    from: 'client',
    to: 'chunkserver',
    data: 'none',
    means: 'the committed length of an open chunk, from its primary',
    request: struct({ handle, version }),
    reply: struct({ length: chunkLength, isSealed: boolean }),
  },
  read: {
    number: 306,
    from: 'client',
    to: 'chunkserver',
    data: 'reply',
    means: 'whole blocks that hold a range, with their stored checksums',
    request: struct({ handle, version, offset: chunkLength, length: integer(1, CHUNK_BYTES_MAX) }),
    reply: struct({
      /** Chunk offset of the first data byte: a multiple of BLOCK_BYTES. */
      offset: chunkLength,
      /** CRC32 of each block, 4 bytes each, little-endian; the last may cover a part of a block. */
      checksums: bytes(CHUNK_BYTES_MAX / 1024),
    }),
  },
  checksum: {
    number: 307,
    from: 'client',
    to: 'chunkserver',
    data: 'none',
    means: 'CRC32 of a range, verified against the stored checksums',
    request: struct({ handle, version, offset: chunkLength, length: chunkLength }),
    reply: struct({ digest: crc }),
  },
  recordIndex: {
    number: 308,
    from: 'chunkserver',
    to: 'chunkserver',
    data: 'none',
    means: 'a page of the record index of a sealed shared chunk',
    request: struct({ handle, version, from: uint }),
    reply: struct({
      /** Entries as in the chunk's meta file, from entry `from` on (chunkserver/README.md). */
      entries: bytes(RECORD_INDEX_BYTES_MAX / 2),
      /** Entries of the whole index. */
      count: uint,
    }),
  },
  findRecords: {
    number: 309,
    from: 'client',
    to: 'chunkserver',
    data: 'none',
    means: 'where a sealed shared chunk has what a writer appended: what is left out is not in it and never will be',
    request: struct({ handle, version, writer: session, sequences: list(integer(1), 4096) }),
    reply: struct({
      /** Else nothing is known yet: ask again, or another replica. */
      isSealed: boolean,
      found: list(struct({ sequence: integer(1), offset: chunkLength, length: chunkLength }), 4096),
    }),
  },
  directRead: {
    number: 310,
    from: 'client',
    to: 'chunkserver',
    data: 'reply',
    means: 'where on this host the file of a sealed chunk is; the data are the CRC32s of its blocks, as in `read`',
    request: struct({ handle, version }),
    reply: struct({
      /** Nil: not offered. */
      offer: optional(
        struct({
          path,
          /** Of the file, as the server sees it: device and number. */
          inode: label,
          length: chunkLength,
          /** Bytes that each checksum covers. */
          blockBytes: integer(1, CHUNK_BYTES_MAX),
        }),
      ),
    }),
  },
  pulse: {
    number: 311,
    from: 'client',
    to: 'chunkserver',
    data: 'none',
    means: 'whether a member of an open chunk is held up by its disk',
    request: struct({ handle, version }),
    reply: struct({
      /** How long the oldest operation of the replica's disk has been waiting; 0: nothing waits. */
      waitingMs: uint,
      /** The longest that one has taken in the last seconds, those that wait included. */
      recentMs: uint,
    }),
  },
} as const satisfies Record<string, MessageRow>

export type MessageName = keyof typeof Message
export type RequestOf<K extends MessageName> = Infer<(typeof Message)[K]['request']>
export type ReplyOf<K extends MessageName> = Infer<(typeof Message)[K]['reply']>

/** The row of one message, with the types of its bodies. */
export interface MessageShape<K extends MessageName> {
  readonly number: number
  readonly request: Struct<RequestOf<K>>
  readonly reply: Struct<ReplyOf<K>>
}

/** The compiler does not follow from a name to the fields of its row in a table; here it is told. */
export function shapeOf<K extends MessageName>(name: K): MessageShape<K> {
  return Message[name] as unknown as MessageShape<K>
}

export type Allocation = Infer<typeof allocation>
export type ChainMember = Infer<typeof chainMember>
export type ChunkLocation = Infer<typeof chunkLocation>
export type FileStat = Infer<typeof fileStat>
export type DirectoryEntry = Infer<typeof directoryEntry>
export type PlacedExtent = Infer<typeof placedExtent>
export type DirectoryFacts = Infer<typeof directoryFacts>
export type ReplicaFacts = Infer<typeof replicaFacts>
export type Order = Infer<typeof order>
export type History = Infer<typeof history>
