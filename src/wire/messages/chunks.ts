// To chunkservers, about the bytes of chunks: along the chain from the client to the primary and from each member to the
// next, from readers, and between chunkservers that copy.
//
// The table that gives these bodies their numbers is ../messages.ts.

import type { ClusterId } from '../../base/ids.ts'
import { CHUNK_BYTES_MAX, RECORD_INDEX_BYTES_MAX } from '../../base/limits.ts'
import { boolean, bytes, integer, list, optional, struct, text } from '../schema.ts'
import { allocation, chunkLength, crc, handle, label, nothing, path, session, uint, version } from './fields.ts'

export const chunks = {
  openChunk: {
    means: 'the allocation, told to every member of the chain',
    request: struct({ clusterId: text<ClusterId>(32), allocation }),
    reply: nothing,
  },
  pushPiece: {
    means: 'bytes that continue an unshared chunk, down the chain',
    request: struct({ handle, version, offset: chunkLength }),
    reply: nothing,
  },
  commit: {
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
    means: 'bytes for a shared chunk; the primary gives the offset, once for each (writer, sequence)',
    request: struct({ handle, version, writer: session, sequence: integer(1), count: integer(1), sync: boolean }),
    reply: struct({ offset: chunkLength }),
  },
  appendBatch: {
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
    means: 'the committed length of an open chunk, from its primary',
    request: struct({ handle, version }),
    reply: struct({ length: chunkLength, isSealed: boolean }),
  },
  read: {
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
    means: 'CRC32 of a range, verified against the stored checksums',
    request: struct({ handle, version, offset: chunkLength, length: chunkLength }),
    reply: struct({ digest: crc }),
  },
  recordIndex: {
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
    means: 'where a sealed shared chunk has what a writer appended: what is left out is not in it and never will be',
    request: struct({ handle, version, writer: session, sequences: list(integer(1), 4096) }),
    reply: struct({
      /** Else nothing is known yet: ask again, or another replica. */
      isSealed: boolean,
      found: list(struct({ sequence: integer(1), offset: chunkLength, length: chunkLength }), 4096),
    }),
  },
  directRead: {
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
    means: 'whether a member of an open chunk is held up by its disk',
    request: struct({ handle, version }),
    reply: struct({
      /** How long the oldest operation of the replica's disk has been waiting; 0: nothing waits. */
      waitingMs: uint,
      /** The longest that one has taken in the last seconds, those that wait included. */
      recentMs: uint,
    }),
  },
}
