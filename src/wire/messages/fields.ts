// Fields that several families of messages share: numbers and names with their ranges, chunks and where they are.

import type { ChunkHandle, DirectoryId, InodeId, Life, ServerId, SessionId } from '../../base/ids.ts'
import { RANDOM_ID_MAX } from '../../base/ids.ts'
import { CHUNK_BYTES_MAX, PATH_BYTES_MAX, REPLICAS_MAX } from '../../base/limits.ts'
import { added, boolean, integer, list, struct, text } from '../schema.ts'

export const handle = integer<ChunkHandle>(1)
export const handleOrHole = integer<ChunkHandle>(0)
export const inodeId = integer<InodeId>(1)
export const serverId = integer<ServerId>(1, 2 ** 31)
export const directoryId = integer<DirectoryId>(1, RANDOM_ID_MAX)
export const life = integer<Life>(1, RANDOM_ID_MAX)
export const session = integer<SessionId>(1, RANDOM_ID_MAX)
export const version = integer(1, 2 ** 32 - 1)
export const uint = integer(0)
export const crc = integer(0, 2 ** 32 - 1)
export const chunkLength = integer(0, CHUNK_BYTES_MAX)
export const path = text(PATH_BYTES_MAX)
export const name = text(255)
export const address = text(300)
export const label = text(128)
export const nothing = struct({})

/** Who asks for a change; see Requester in master/operations.ts. */
export const requester = struct({ session, request: integer(1), floor: uint })

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
