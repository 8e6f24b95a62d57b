// Verdicts, and the checks of fields that several operations share.

import type { ErrorCode, ErrorDetail } from '../../base/errors.ts'
import { NAME_BYTES_MAX, REPLICAS_MAX } from '../../base/limits.ts'
import { invalidPathMessage, pathFault } from '../../base/path.ts'
import type { NewInode, Outcome, RecordTime, Reply } from '../operations.ts'

export type Refusal = Extract<Outcome, { readonly ok: false }>

/** What an operation is applied with. */
export interface Context {
  readonly time: RecordTime
  /** Log index of the record. */
  readonly index: number
  /** Only check: an operation that would be accepted answers `ACCEPTABLE` and changes nothing. */
  readonly dry: boolean
}

/** An operation accepted without anything to say. */
export const DONE: Outcome = { ok: true, reply: [] }
/** The answer of a check that found nothing to refuse. */
export const ACCEPTABLE: Outcome = { ok: true, reply: [] }
/** The operation became a job; its outcome is stored with its session when the job ends (`state.job`). */
export const PENDING: Outcome = { ok: true, reply: [] }

export function yes(...reply: Reply): Outcome {
  return { ok: true, reply }
}

export function no(code: ErrorCode, message: string, detail?: ErrorDetail): Refusal {
  return detail === undefined ? { ok: false, code, message } : { ok: false, code, message, detail }
}

/** Bytes of a file at most, holes included: 2^50. More is LIMIT_EXCEEDED. */
export const FILE_BYTES_MAX = 2 ** 50
/** Times are milliseconds since 1970 in 0 .. TIME_MS_MAX. */
export const TIME_MS_MAX = 2 ** 48 - 1

export function checkMode(mode: number): Refusal | undefined {
  return isWhole(mode, 0o7777) ? undefined : no('INVALID_ARGUMENT', `mode ${mode} is not in 0 .. 0o7777`)
}

export function checkGoal(goal: number, least: number): Refusal | undefined {
  if (isWhole(goal, REPLICAS_MAX) && goal >= least) return undefined
  return no('INVALID_ARGUMENT', `goal ${goal} is not in ${least} .. ${REPLICAS_MAX} replicas`)
}

export function checkTime(timeMs: number): Refusal | undefined {
  return isWhole(timeMs, TIME_MS_MAX) ? undefined : no('INVALID_ARGUMENT', `time ${timeMs} ms is not in 0 .. 2^48 - 1`)
}

export function checkOwnerName(name: string): Refusal | undefined {
  if (name.length <= NAME_BYTES_MAX && !name.includes('\0')) return undefined
  return no(
    'INVALID_ARGUMENT',
    `an owner or group of ${name.length} characters, at most ${NAME_BYTES_MAX} are allowed, none of them NUL`,
  )
}

export function checkNewInode(inode: NewInode): Refusal | undefined {
  return checkMode(inode.mode) ?? checkGoal(inode.goal, 0) ?? checkOwnerName(inode.owner) ?? checkOwnerName(inode.group)
}

export function checkPathShape(path: string): Refusal | undefined {
  const fault = pathFault(path)
  return fault === undefined ? undefined : no('INVALID_PATH', invalidPathMessage(path, fault))
}

export function isWhole(value: number, most: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= most
}
