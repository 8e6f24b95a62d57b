// Chunkserver and master, both ways over the connection that the chunkserver opened: reports up, orders down.
//
// The table that gives these bodies their numbers is ../messages.ts.

import { RANDOM_ID_MAX } from '../../base/ids.ts'
import { DIRECTORIES_MAX, GATHER_RANGES_MAX, GATHER_SOURCES_MAX, REPLICAS_MAX } from '../../base/limits.ts'
import { added, boolean, integer, list, optional, struct, word } from '../schema.ts'
import {
  address,
  chunkLength,
  crc,
  directoryId,
  handle,
  label,
  life,
  nothing,
  path,
  serverId,
  uint,
  version,
} from './fields.ts'

export const directoryFacts = struct({
  directory: directoryId,
  life,
  /** Path on the server, for people. */
  path,
  state: word('ok', 'full', 'readonly', 'failed'),
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

/** How far the master's history goes; a chunkserver that has seen more refuses orders (MASTER_ROLLED_BACK). */
export const history = struct({
  logIndex: uint,
  /** The operator accepted the loss of everything up to this index; 0: never. */
  rollbackLostIndex: uint,
})

export const toMaster = {
  join: {
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
    means: 'all replicas, in parts (GFS §2.6.2)',
    request: struct({ sequence: uint, isFirst: boolean, isLast: boolean, replicas: list(replicaFacts, 10_000) }),
    reply: nothing,
  },
  leave: {
    means: 'a graceful stop: maintenance',
    request: nothing,
    reply: nothing,
  },
}

export const toChunkserver = {
  fence: {
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
    means: "CRC32 of a fenced or sealed replica's first bytes",
    request: struct({ handle, length: chunkLength }),
    reply: struct({ digest: crc, indexDigest: crc }),
  },
  seal: {
    means: 'the log says: this long, this digest; cut what is longer',
    request: struct({ handle, version, length: chunkLength, digest: crc, indexDigest: crc, history }),
    reply: struct({ facts: replicaFacts }),
  },
  clone: {
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
    means: 'begin a pass of the scrubber, as fast as other work allows',
    request: nothing,
    reply: nothing,
  },
}
