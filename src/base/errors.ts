// Errors: the one table of codes that the wire, the library and the command lines share.
//
// A number, once given, is never given to another code. The same table stands in ../wire/README.md; a test
// compares them. The world's faults are `DfsError`; our own are `AssertionError` (assert.ts).

interface ErrorRow {
  /** The number on the wire. Never reused. */
  readonly number: number
  /** Whether the same request can succeed later, unchanged, perhaps elsewhere. */
  readonly retriable: boolean
  /** One clause for the table in the documents. */
  readonly means: string
  /** What a person does next. */
  readonly next: string
}

export const ErrorCode = {
  // What a caller asked for can't be.
  NOT_FOUND: {
    number: 1,
    retriable: false,
    means: 'no such path, inode or chunk',
    next: 'check the path with `dfs ls`',
  },
  ALREADY_EXISTS: {
    number: 2,
    retriable: false,
    means: 'the name is taken',
    next: 'choose another name, or overwrite with -f where the command has it',
  },
  NOT_A_DIRECTORY: {
    number: 3,
    retriable: false,
    means: 'a part of the path is a file',
    next: 'check the path with `dfs stat`',
  },
  IS_A_DIRECTORY: {
    number: 4,
    retriable: false,
    means: 'the path is a directory',
    next: 'name a file, or add -r where the command has it',
  },
  NOT_EMPTY: { number: 5, retriable: false, means: 'the directory has entries', next: 'remove it with `dfs rm -r`' },
  INVALID_PATH: {
    number: 6,
    retriable: false,
    means: 'not an absolute, normal UTF-8 path within the limits',
    next: 'paths look like /a/b: at most 255 bytes a name, 4096 in all, 1000 deep',
  },
  INVALID_ARGUMENT: {
    number: 7,
    retriable: false,
    means: 'a field is out of its range',
    next: 'correct the argument that the message names',
  },
  INVALID_MOVE: {
    number: 8,
    retriable: false,
    means: 'a directory cannot go into itself',
    next: 'choose a target outside the source',
  },
  FILE_REMOVED: {
    number: 9,
    retriable: false,
    means: 'the file was removed while it was written',
    next: 'see `dfs trash ls`, or write it again',
  },
  FILE_CHANGED: {
    number: 10,
    retriable: false,
    means: 'the content changed while it was read',
    next: 'open the file again',
  },
  SESSION_ENDED: {
    number: 11,
    retriable: false,
    means: 'the client session ended after 10 silent minutes',
    next: 'connect again; changes under way have an unknown outcome',
  },
  OUTCOME_UNKNOWN: {
    number: 12,
    retriable: false,
    means: 'the change was sent, and whether it happened can no longer be known',
    next: 'look at the file before you do it again',
  },
  FILE_BUSY: {
    number: 13,
    retriable: true,
    means: 'a longer change of this tree is under way',
    next: 'try again in a moment',
  },
  LIMIT_EXCEEDED: {
    number: 14,
    retriable: false,
    means: 'a documented bound would be passed',
    next: 'see the bound that the message names',
  },

  // The cluster can't do it now.
  NOT_LEADER: {
    number: 20,
    retriable: true,
    means: 'this master does not lead; ask the one named',
    next: 'give every master with --master',
  },
  NOT_READY: {
    number: 21,
    retriable: true,
    means: 'the server is starting',
    next: 'wait; `/readyz` says what it waits for',
  },
  NO_SERVERS: {
    number: 22,
    retriable: true,
    means: 'too few chunkservers can take a replica',
    next: 'see `dfs report`: start or free chunkservers',
  },
  READ_ONLY: {
    number: 23,
    retriable: true,
    means: 'the log disk is almost full: reads and removals only',
    next: "free space on the master's disk",
  },
  UNAVAILABLE: {
    number: 24,
    retriable: true,
    means: 'no server that could answer can be reached',
    next: 'see `dfs report` and `dfs doctor`',
  },
  TIMEOUT: {
    number: 25,
    retriable: true,
    means: 'the deadline passed first',
    next: 'raise --timeout or --deadline, or see `dfs report`',
  },
  ABORTED: { number: 26, retriable: false, means: 'the caller gave up', next: 'start it again when you like' },
  BUSY: { number: 27, retriable: true, means: "the server's queue is full", next: 'try again in a moment' },
  DISK_FULL: { number: 28, retriable: true, means: 'the disk has no room', next: 'free space, or add a chunkserver' },
  DISK_FAILED: {
    number: 29,
    retriable: true,
    means: 'the disk gave an I/O error',
    next: 'replace the disk; other replicas serve meanwhile',
  },
  UNKNOWN_LOCATION: {
    number: 30,
    retriable: true,
    means: 'the servers that hold the chunk have not reported yet',
    next: 'wait until they are back',
  },

  // Chunks and replicas.
  CHUNK_FENCED: {
    number: 40,
    retriable: true,
    means: 'this replica takes no more bytes (fenced)',
    next: 'seal the chunk and go on in a new one',
  },
  CHUNK_SEALED: { number: 41, retriable: true, means: 'the chunk is sealed', next: 'go on in a new chunk' },
  CHUNK_FULL: {
    number: 42,
    retriable: true,
    means: 'the chunk or its record index is full',
    next: 'go on in a new chunk',
  },
  WRONG_LIFE: {
    number: 43,
    retriable: true,
    means: 'the member was restarted since the chunk was allocated',
    next: 'seal the chunk and go on in a new one',
  },
  STALE_VERSION: {
    number: 44,
    retriable: true,
    means: 'this replica missed a change of version (GFS §4.5)',
    next: 'ask the master for the locations again',
  },
  NO_SUCH_REPLICA: {
    number: 45,
    retriable: true,
    means: 'this server does not hold the chunk',
    next: 'ask the master for the locations again',
  },
  CORRUPT_REPLICA: {
    number: 46,
    retriable: true,
    means: 'stored bytes do not match their checksum',
    next: 'another replica is read; see `dfs fsck`',
  },
  OUT_OF_ORDER: {
    number: 47,
    retriable: true,
    means: "the piece does not continue the replica's bytes",
    next: 'seal the chunk and go on in a new one',
  },
  SEALED_SHORT: {
    number: 48,
    retriable: true,
    means: 'the chunk was sealed shorter than the extent; `length` says where',
    next: 'send the rest again',
  },
  NOT_PRIMARY: {
    number: 49,
    retriable: true,
    means: 'the request is for the primary of the chunk',
    next: 'ask the master for the primary',
  },
  CHAIN_BROKEN: {
    number: 50,
    retriable: true,
    means: 'the next server in the chain did not take the bytes; `server` names it',
    next: 'seal the chunk and avoid that server',
  },
  DATA_LOST: {
    number: 51,
    retriable: false,
    means: 'no replica can prove the bytes',
    next: 'see `dfs fsck --list-corrupt`; restore from a copy',
  },
  BEYOND_COMMITTED: {
    number: 52,
    retriable: true,
    means: 'the replica does not have bytes up to that length',
    next: 'ask another replica',
  },

  // The wire and the cluster's borders.
  BAD_FRAME: {
    number: 60,
    retriable: true,
    means: 'bytes that are not a frame, or whose checksum is wrong',
    next: 'the connection is closed; check what speaks to this port',
  },
  FRAME_TOO_LARGE: {
    number: 61,
    retriable: false,
    means: 'a frame over the limits',
    next: 'the connection is closed; send smaller frames',
  },
  BAD_REQUEST: {
    number: 62,
    retriable: false,
    means: "a body that is not of the message's shape",
    next: 'check the versions of both sides',
  },
  UNKNOWN_MESSAGE: {
    number: 63,
    retriable: false,
    means: 'a message number this server does not know',
    next: 'check the versions of both sides',
  },
  UNSUPPORTED_VERSION: {
    number: 64,
    retriable: false,
    means: 'the protocol version is not spoken here',
    next: 'update the older side',
  },
  WRONG_CLUSTER: {
    number: 65,
    retriable: false,
    means: 'the other side belongs to another cluster',
    next: 'check the address and the data directory',
  },
  WRONG_ROLE: {
    number: 66,
    retriable: false,
    means: 'the server at this address plays another part',
    next: 'check the address',
  },
  CONNECTION_LOST: {
    number: 67,
    retriable: true,
    means: 'the connection broke before the answer',
    next: 'try again; it is retried by itself where that is safe',
  },

  // Disks and starts.
  WRONG_DISK: {
    number: 80,
    retriable: false,
    means: 'the data directory belongs to something else',
    next: 'see the message; nothing was changed',
  },
  LOCKED: {
    number: 81,
    retriable: false,
    means: 'another process uses the data directory',
    next: 'stop the other process',
  },
  LOG_DAMAGED: {
    number: 82,
    retriable: false,
    means: 'the operation log is damaged before synced records',
    next: 'run `dfsd oplog verify`; restore the file',
  },
  CHECKPOINT_DAMAGED: {
    number: 83,
    retriable: false,
    means: 'a checkpoint does not match its checksum',
    next: 'run `dfsd checkpoint verify`',
  },
  BAD_FORMAT: {
    number: 84,
    retriable: false,
    means: 'a file is not of a format or version known here',
    next: 'check the file, or update this program',
  },
  FSYNC_FAILED: {
    number: 85,
    retriable: false,
    means: 'a sync failed; what was written since the last one is unknown',
    next: 'the process ends; check the disk, then start it again',
  },
  MASTER_ROLLED_BACK: {
    number: 86,
    retriable: false,
    means: 'the master shows less history than this chunkserver has seen',
    next: "restore the master's log, or run `dfs admin accept-rollback`",
  },
  DUPLICATE_IDENTITY: {
    number: 87,
    retriable: false,
    means: 'a live server has the same identity',
    next: 'stop the copy; a new server begins with an empty data directory',
  },
  INTERNAL: {
    number: 99,
    retriable: false,
    means: "a bug; the server's log has the details",
    next: "report it with the server's log",
  },
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof ErrorCode

/**
 * Facts that name the things which disagreed: `{ handle: 17, server: 'cs-3', path: '/a' }`. Plain values only. `next`
 * is what a person does next, where more is known than the table says of the code.
 */
export type ErrorDetail = Readonly<Record<string, string | number | boolean | undefined>>

/** A fault of the world. `code` is what callers match on; the message names the thing and the two values that disagreed. */
export class DfsError extends Error {
  override readonly name = 'DfsError'
  readonly code: ErrorCode
  readonly detail: ErrorDetail

  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.detail = detail
  }

  /** Whether a retry of the same request can help. */
  get retriable(): boolean {
    return ErrorCode[this.code].retriable
  }

  /** What a person does next. */
  get next(): string {
    return typeof this.detail.next === 'string' ? this.detail.next : ErrorCode[this.code].next
  }
}

const byNumber = new Map<number, ErrorCode>(
  Object.entries(ErrorCode).map(([code, row]) => [row.number, code as ErrorCode]),
)

/** The code of a number from the wire; `INTERNAL` for a number of a later version. */
export function errorCodeOf(number: number): ErrorCode {
  return byNumber.get(number) ?? 'INTERNAL'
}

/** True for a `DfsError` (of the given code, if one is given). */
export function isDfsError(error: unknown, code?: ErrorCode): error is DfsError {
  return error instanceof DfsError && (code === undefined || error.code === code)
}

/** Whether the text is a code of the table. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(ErrorCode, text)
}
