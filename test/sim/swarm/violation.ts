// A promise that was broken, and which faults of the world break none.

import { isDfsError } from '../../../src/base/errors.ts'

/** A promise that the cluster broke. Never caught: it fails the run. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

/** What the world may do to any call: it ran out of time, room or servers, and whether it happened may not be known. */
export function isMisfortune(error: unknown): boolean {
  if (!isDfsError(error)) return false
  return error.retriable || ['OUTCOME_UNKNOWN', 'SESSION_ENDED', 'ABORTED'].includes(error.code)
}

/** Passes misfortunes; anything else that a call ends with is a promise broken, since the caller asked for what can be. */
export function mustBeMisfortune(what: string, error: unknown): void {
  if (isMisfortune(error)) return
  if (!isDfsError(error)) throw error
  throw new Violation(`${what} was refused: ${error.code} ${error.message}`, { cause: error })
}
