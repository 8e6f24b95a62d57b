// Limits: every bound of the system that more than one part must agree on, and what happens at it.

import { KiB, MINUTE_MS, MiB, SECOND_MS } from './units.ts'

/** Bytes of a chunk at most. A full chunk is sealed and the writer goes on in a new one. */
export const CHUNK_BYTES_MAX = 64 * MiB
/** The checksum unit of a chunk (GFS §5.2 uses 64 KiB). */
export const BLOCK_BYTES = 4 * KiB
/** Data bytes of one read reply, and of a pushed piece, while servers are slow. */
export const PIECE_BYTES = 1 * MiB
/** The same of a stream while servers answer quickly: each piece costs every process a hundred microseconds or so. */
export const PIECE_BYTES_MAX = 4 * MiB
/** Data bytes of a frame at most: a piece or a record of the largest size. */
export const FRAME_DATA_BYTES_MAX = 16 * MiB + 64 * KiB
/** Body bytes of a frame at most: more is FRAME_TOO_LARGE. */
export const FRAME_BODY_BYTES_MAX = 1 * MiB
/** Nested arrays in a body at most: more is BAD_REQUEST. */
export const BODY_DEPTH_MAX = 16

/** Files up to this size are packed into shared chunks. */
export const SMALL_FILE_BYTES_MAX = 256 * KiB
/** One appended record at most: more is INVALID_ARGUMENT. */
export const RECORD_BYTES_MAX = 16 * MiB
/** The record index of a shared chunk at most: then it is CHUNK_FULL. */
export const RECORD_INDEX_BYTES_MAX = 1 * MiB

/** UTF-8 bytes of a name (a path component). */
export const NAME_BYTES_MAX = 255
/** UTF-8 bytes of a path. */
export const PATH_BYTES_MAX = 4096
/** Components of a path. */
export const PATH_DEPTH_MAX = 1000
/** Bytes of all extended attributes of an inode, names and values. */
export const ATTRIBUTES_BYTES_MAX = 64 * KiB

/** Wanted replicas of a chunk. */
export const REPLICAS_MAX = 16
/** Data directories of one chunkserver. */
export const DIRECTORIES_MAX = 64

/** Rows that one log record may touch: longer work is several records with a cursor in the state. */
export const ROWS_PER_RECORD_MAX = 10_000
/** Replies kept for one session above the floor that its requests carry: then BUSY. */
export const SESSION_REPLIES_MAX = 1024
/** A session ends by a record after this much silence, in cluster time. */
export const SESSION_SILENCE_MS = 10 * MINUTE_MS
/** Small files that one request may name: its answer holds as many refusals, each with a path or two. */
export const FILES_PER_REQUEST_MAX = 64
/** Extents that one request may carry. */
export const EXTENTS_PER_REQUEST_MAX = 8192

/** Chunks that one gathering takes bytes from. */
export const GATHER_SOURCES_MAX = 1024
/** Runs of bytes that one gathering puts together. */
export const GATHER_RANGES_MAX = 16_384

/** A seal waits this long for members in another life before it gives up on them (DESIGN §2). */
export const SEAL_PATIENCE_MS = 60 * SECOND_MS
/** Orders to delete or cut die this long after the heartbeat they answer, by the server's own clock. */
export const ORDER_VALID_MS = 5 * SECOND_MS
/** A master gives no such orders this long after its start. */
export const ORDER_HOLDBACK_MS = 10 * SECOND_MS

/** Copies under way to one chunkserver at most, whatever the operator says; each holds a few MiB there (cloner.ts). */
export const COPIES_PER_SERVER_MAX = 15
