// Operations: what may enter the log. One record carries one operation, in which every choice of chance, time or
// placement is already made; ids and rows that follow from the state alone are given by `apply`.
//
// Paths stay paths in the log: they are resolved when the operation is applied, in log order, so that two clients that
// race for a name get one yes and one no, whatever is renamed meanwhile.
//
// Invariants:
//   - a number, once given to a kind, is never given to another; an operation's fields are only ever added at the end,
//     with a higher encoding version (operation-codec.ts is the only file that knows the bytes)
//   - an operation of a client carries `by`; it is applied at most once for each (session, request)
//
// Source: GFS §2.6.3, §4.1; DESIGN of this system, §2 to §4.

import type { ErrorCode, ErrorDetail } from '../base/errors.ts'
import type { ChunkHandle, ClusterId, DirectoryId, InodeId, Life, ServerId, SessionId } from '../base/ids.ts'
import { COPIES_PER_SERVER_MAX } from '../base/limits.ts'

/** Who asks, for exactly-once replies. */
export interface Requester {
  readonly session: SessionId
  /** 1 upward, given by the client in the order of its calls; never used again within the session. */
  readonly request: number
  /** Every request up to this one has been answered and its reply may be forgotten; below `request`. */
  readonly floor: number
}

/** A run of a chunk's bytes in a file. Handle 0 (HOLE): zeros, then `offset` is 0. */
export interface Extent {
  readonly handle: ChunkHandle
  /** First byte in the chunk. */
  readonly offset: number
  /** Bytes, 1 .. CHUNK_BYTES_MAX; holes up to 2^53 - 1. */
  readonly length: number
}

/** One replica's place while its chunk is open: a data directory in one life of it. */
export interface Member {
  readonly server: ServerId
  readonly directory: DirectoryId
  readonly life: Life
}

/** What the one writer of an unshared chunk says of its end: every member has synced `length` bytes of this digest. */
export interface SealClaim {
  readonly handle: ChunkHandle
  /** 0 .. CHUNK_BYTES_MAX */
  readonly length: number
  /** CRC32 of the chunk's first `length` bytes. */
  readonly digest: number
}

/** Bytes of a file that lie in a gathered chunk as well: from byte `offset` of it on, as long as `from` together. */
export interface ExtentSwitch {
  readonly inode: InodeId
  readonly fileOffset: number
  readonly offset: number
  /** Where the file's bytes from `fileOffset` on lay when they were copied, in their order; no holes. */
  readonly from: readonly Extent[]
}

/**
 * What the operator chose while the cluster runs, in place of what masters are started with (settings.ts). The largest
 * value of each; truth values are 0 and 1.
 */
export const clusterOptionMax = {
  balanceBytesPerSecond: Number.MAX_SAFE_INTEGER,
  copiesPerServer: COPIES_PER_SERVER_MAX,
  isBalancing: 1,
  repairBytesPerSecond: Number.MAX_SAFE_INTEGER,
} as const
export type ClusterOption = keyof typeof clusterOptionMax

/** Another goal for a chunk, if it has the goal `from` still (0: the cluster's default). */
export interface GoalChange {
  readonly handle: ChunkHandle
  readonly from: number
  /** 1 .. REPLICAS_MAX */
  readonly to: number
}

/** Attributes a new inode starts with. */
export interface NewInode {
  /** Permission bits, 0 .. 0o7777. */
  readonly mode: number
  readonly owner: string
  readonly group: string
  /** Wanted replicas; 0: the cluster's default. */
  readonly goal: number
}

/** Where a file gets its name. */
export interface Publish {
  readonly path: string
  /** Replace a file of that name (it goes to the trash); otherwise ALREADY_EXISTS. */
  readonly overwrite: boolean
}

export type Operation =
  // The cluster itself.
  | {
      readonly kind: 'formatCluster'
      readonly clusterId: ClusterId
      /** 0 .. 65535 */
      readonly lineage: number
      /** Bytes a chunk grows to, a multiple of BLOCK_BYTES up to CHUNK_BYTES_MAX. */
      readonly chunkBytes: number
      readonly goal: number
    }
  /** The operator accepts that history up to `lostIndex` is gone: new handles come from a new lineage. */
  | { readonly kind: 'acceptRollback'; readonly lineage: number; readonly lostIndex: number }
  /** Nothing but the record's time: written when an expiry is due and nothing else moves. */
  | { readonly kind: 'advanceTime' }

  // Chunkservers the cluster knows.
  | {
      readonly kind: 'registerServer'
      /** 0: a new one, whose id `apply` gives; else the known one whose facts changed. */
      readonly server: ServerId | 0
      /** Random 48 bits that name the server's identity file, so that a repeated registration finds its id. */
      readonly identity: number
      readonly directories: readonly DirectoryId[]
      readonly address: string
      readonly zone: string
      readonly rack: string
    }
  | {
      readonly kind: 'setServerIntent'
      readonly by?: Requester
      readonly server: ServerId
      readonly intent: 'serve' | 'maintain' | 'drain'
      /** Cluster time at which `maintain` ends; 0: no end. */
      readonly untilMs: number
    }
  /** Options of the whole cluster; null: what masters are started with. */
  | {
      readonly kind: 'setClusterOptions'
      readonly options: readonly (readonly [name: string, value: number | null])[]
    }

  // Sessions.
  /** Ends a silent session, drops its unnamed files; repeated while rows are left (ROWS_PER_RECORD_MAX). */
  | { readonly kind: 'endSession'; readonly session: SessionId }

  // The namespace.
  | {
      readonly kind: 'makeDirectory'
      readonly by: Requester
      readonly path: string
      readonly parents: boolean
      readonly inode: NewInode
    }
  /** A whole file in one record: a small file packed into a shared chunk, or an empty one. */
  | {
      readonly kind: 'putFile'
      readonly by: Requester
      readonly publish: Publish
      readonly inode: NewInode
      readonly extents: readonly Extent[]
      /** Modification time for people, ms since 1970; 0: the record's wall time. */
      readonly mtimeMs: number
    }
  /** An inode without a name for a file about to be written, with its first chunk if `members` are given. */
  | { readonly kind: 'openFile'; readonly by: Requester; readonly inode: NewInode; readonly members: readonly Member[] }
  /** A further chunk for the writer of `inode`; the one before may be sealed on the way. */
  | {
      readonly kind: 'allocateChunk'
      readonly by: Requester
      readonly inode: InodeId
      readonly members: readonly Member[]
      readonly seals: readonly SealClaim[]
    }
  /** Appends extents to a file, gives it its name if `publish` is there, and with `close` ends the writer's hold. */
  | {
      readonly kind: 'commitFile'
      readonly by: Requester
      readonly inode: InodeId
      readonly extents: readonly Extent[]
      readonly seals: readonly SealClaim[]
      readonly publish?: Publish
      readonly close: boolean
      readonly mtimeMs: number
    }
  /** Puts extents in place of the bytes from `offset` on; what lies between the old end and `offset` becomes a hole. */
  | {
      readonly kind: 'spliceFile'
      readonly by: Requester
      readonly inode: InodeId
      readonly offset: number
      readonly extents: readonly Extent[]
      readonly seals: readonly SealClaim[]
      readonly mtimeMs: number
    }
  | { readonly kind: 'truncateFile'; readonly by: Requester; readonly path: string; readonly size: number }
  /** Appends the sources' extents, in order, and removes the sources. */
  | { readonly kind: 'concatFiles'; readonly by: Requester; readonly path: string; readonly sources: readonly string[] }
  /** Copies a file or tree by its extent lists (GFS §3.4). A tree over the row limit becomes a job that `continueJob` ends. */
  | {
      readonly kind: 'copy'
      readonly by: Requester
      readonly from: string
      readonly to: string
      readonly recursive: boolean
      readonly overwrite: boolean
    }
  | {
      readonly kind: 'rename'
      readonly by: Requester
      readonly from: string
      readonly to: string
      readonly overwrite: boolean
    }
  | {
      readonly kind: 'remove'
      readonly by: Requester
      readonly path: string
      /** What may be removed: a file, an empty directory, or anything with all below it. */
      readonly what: 'file' | 'emptyDirectory' | 'tree'
      /** Without the trash: its space is free as soon as no reader can need it. */
      readonly now: boolean
    }
  | {
      readonly kind: 'setAttributes'
      readonly by: Requester
      readonly path: string
      readonly mode?: number
      readonly owner?: string
      readonly group?: string
      readonly goal?: number
      readonly mtimeMs?: number
      /** Extended attributes to set (value) or remove (null). */
      readonly attributes?: readonly (readonly [name: string, value: string | null])[]
    }
  | {
      readonly kind: 'restoreTrash'
      readonly by: Requester
      readonly trash: number /** '': where it was */
      readonly path: string
    }
  /** Makes trash due at once: one entry, or all (0). */
  | { readonly kind: 'emptyTrash'; readonly by: Requester; readonly trash: number }

  // Chunks.
  /** An open chunk that many sessions append small files to. */
  | { readonly kind: 'openPackingChunk'; readonly members: readonly Member[]; readonly goal: number }
  /** An open chunk at the end of a file with a name, that many sessions append records to; its seal makes it the file's. */
  | { readonly kind: 'openTail'; readonly inode: InodeId; readonly members: readonly Member[] }
  /** The master's seal: the first in the log wins (DESIGN §2). Bytes of a file's tail are appended to the file by it. */
  | {
      readonly kind: 'sealChunk'
      readonly handle: ChunkHandle
      readonly length: number
      readonly digest: number
      /** CRC32 of the record index of a shared chunk; 0 for others. */
      readonly indexDigest: number
    }
  /** A higher chunk version for a new set of replicas (GFS §4.5). */
  | { readonly kind: 'raiseVersion'; readonly handle: ChunkHandle; readonly version: number }
  /** A handle for a chunk to be gathered from bytes of others; one that was reserved before and not used is given up. */
  | { readonly kind: 'reserveHandle' }
  /** Gives the handle up, if it is reserved still: what was gathered under it may be deleted. */
  | { readonly kind: 'releaseHandle'; readonly handle: ChunkHandle }
  /**
   * Files point to a gathered chunk instead of where their bytes lay, each if it still points there. The first switch to
   * a reserved handle puts the chunk into the table, sealed.
   */
  | {
      readonly kind: 'switchExtents'
      readonly handle: ChunkHandle
      readonly length: number
      readonly digest: number
      /** Wanted replicas of the chunk; 0: the cluster's default. */
      readonly goal: number
      readonly switches: readonly ExtentSwitch[]
    }

  /** Chunks get the goal that the files want which name them (goal-keeper.ts); those that a writer holds only a higher one. */
  | { readonly kind: 'setChunkGoals'; readonly goals: readonly GoalChange[] }

  // Longer work, in steps of ROWS_PER_RECORD_MAX.
  | { readonly kind: 'continueJob' }
  /**
   * Drops trash removed before `trashBeforeMs`, chunks unreferenced since before `chunksBeforeMs`, and those whose bytes
   * were moved before `movedBeforeMs` (cluster time).
   */
  | {
      readonly kind: 'collectGarbage'
      readonly trashBeforeMs: number
      readonly chunksBeforeMs: number
      readonly movedBeforeMs: number
    }

export type OperationKind = Operation['kind']
export type OperationOf<K extends OperationKind> = Extract<Operation, { readonly kind: K }>

/** What the record says besides the operation. */
export interface RecordTime {
  /** Cluster time: ms that leaders' monotonic clocks have counted; never goes back. Expiries count it. */
  readonly clusterMs: number
  /** Wall time of the leader, for people. */
  readonly wallMs: number
}

/** Number and encoding version of each kind. Numbers are never used again. */
export const operationTable = {
  formatCluster: { number: 1, version: 1 },
  acceptRollback: { number: 2, version: 1 },
  advanceTime: { number: 3, version: 1 },
  registerServer: { number: 10, version: 1 },
  setServerIntent: { number: 11, version: 1 },
  setClusterOptions: { number: 12, version: 1 },
  endSession: { number: 20, version: 1 },
  makeDirectory: { number: 30, version: 1 },
  putFile: { number: 31, version: 1 },
  openFile: { number: 32, version: 1 },
  allocateChunk: { number: 33, version: 1 },
  commitFile: { number: 34, version: 1 },
  spliceFile: { number: 35, version: 1 },
  truncateFile: { number: 36, version: 1 },
  concatFiles: { number: 37, version: 1 },
  copy: { number: 38, version: 1 },
  rename: { number: 39, version: 1 },
  remove: { number: 40, version: 1 },
  setAttributes: { number: 41, version: 1 },
  restoreTrash: { number: 42, version: 1 },
  emptyTrash: { number: 43, version: 1 },
  openPackingChunk: { number: 60, version: 1 },
  sealChunk: { number: 61, version: 1 },
  raiseVersion: { number: 62, version: 1 },
  openTail: { number: 63, version: 1 },
  reserveHandle: { number: 64, version: 1 },
  releaseHandle: { number: 65, version: 1 },
  switchExtents: { number: 66, version: 1 },
  setChunkGoals: { number: 67, version: 1 },
  continueJob: { number: 80, version: 1 },
  collectGarbage: { number: 81, version: 2 },
} as const satisfies Record<OperationKind, { number: number; version: number }>

/** The verdict on an operation. A client's fault is a value, never a throw. */
export type Outcome =
  | { readonly ok: true; readonly reply: Reply }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string; readonly detail?: ErrorDetail }

/**
 * What the requester learns; kept with its session until the floor passes it.
 *
 *   makeDirectory, putFile, copy, rename, restoreTrash   [inode]
 *   openFile                     [inode, handle | 0, version]
 *   allocateChunk                [handle, version]
 *   commitFile                   [inode, size, contentVersion]
 *   spliceFile, truncateFile, concatFiles, setAttributes [inode, size, contentVersion]
 *   remove                       [trash id | 0]
 *   registerServer               [server id]
 *   openPackingChunk, openTail   [handle, version]
 *   reserveHandle                [handle]
 *   switchExtents                [switches made, bytes]
 *   setChunkGoals                [goals changed]
 *   others                       []
 */
export type Reply = readonly (number | string)[]
