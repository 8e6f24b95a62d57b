// Which fault is met how: the table of the client, next to the one in base/errors.ts that says what is retriable.
//
// `retriable` says that the same request can succeed later. What a client does about it differs by whom it asked: the
// masters are asked again, perhaps another of them; a replica is passed over for another; a chunk that takes no more
// bytes is sealed and left.

import { DfsError, type ErrorCode, isDfsError } from '../base/errors.ts'
import { parseServer, type ServerId } from '../base/ids.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Entropy } from '../io/entropy.ts'

const FIRST_DELAY_MS = 10
const DELAY_MS_MAX = 1 * SECOND_MS

/** Milliseconds before try `attempt` (0 upward) is repeated: doubling, with jitter, so that many clients don't come at once. */
export function backoffMs(attempt: number, entropy: Entropy): number {
  const full = Math.min(DELAY_MS_MAX, FIRST_DELAY_MS * 2 ** Math.min(attempt, 10))
  return full / 2 + entropy.below(Math.ceil(full / 2) + 1)
}

/**
 * Answers of a master that are for the caller to act on, not to repeat: the chunk named in the request is not what the
 * caller thought.
 */
const verdicts: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'SEALED_SHORT',
  'CHUNK_SEALED',
  'CHUNK_FENCED',
  'CHUNK_FULL',
  'STALE_VERSION',
  'NO_SUCH_REPLICA',
  'WRONG_LIFE',
])

/** Whether the same request to the masters can be repeated. */
export function isMasterRetriable(error: DfsError): boolean {
  return error.retriable && !verdicts.has(error.code)
}

/** Answers that prove that the request changed nothing and is in nobody's log. */
const untouched: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['BUSY', 'READ_ONLY', 'NO_SERVERS', 'NOT_READY'])

/** Whether a change may have happened although it was answered by `error` (or not at all). */
export function isOutcomeOpen(error: DfsError): boolean {
  return error.retriable ? !untouched.has(error.code) && !verdicts.has(error.code) : error.code === 'ABORTED'
}

/** Faults that say nothing about the bytes of the replica: another try at the same server may do. */
const passing: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'TIMEOUT',
  'CONNECTION_LOST',
  'UNAVAILABLE',
  'BUSY',
  'NOT_READY',
  'BAD_FRAME',
  'BEYOND_COMMITTED',
])

export function isPassing(error: DfsError): boolean {
  return passing.has(error.code)
}

/** The server that an error of a chain names, if it names one: `cs-3` or 3 in `detail.server`. */
export function serverNamed(error: DfsError): ServerId | undefined {
  const named = error.detail.server
  if (typeof named === 'number' && Number.isSafeInteger(named) && named > 0) return named as ServerId
  return typeof named === 'string' ? parseServer(named) : undefined
}

/** `error` as a DfsError; what is none is a bug and goes on as it is. */
export function asFault(error: unknown): DfsError {
  if (isDfsError(error)) return error
  throw error
}

/** For promises that somebody else answers for: a fault of the world may be dropped, a bug may not. */
export function dropFault(error: unknown): void {
  asFault(error)
}

/** The same fault with more facts, and words in front. */
export function withContext(error: DfsError, words: string, detail: DfsError['detail']): DfsError {
  return new DfsError(error.code, `${words}: ${error.message}`, { ...error.detail, ...detail }, error)
}
