// When the scrubber works, and how fast: a byte budget, other work first. Pure: time and load are arguments.
//
//   budget      bytes a second for each directory; a chunk costs at least CHUNK_COST_BYTES, so that a directory of a
//               million tiny chunks is no storm of small reads
//   other work  while streams are under way a step waits, but never longer than YIELD_MS_MAX: under constant load the
//               scrubber is slow, not dead
//   a pass      begins PASS_MS_MIN after the one before began, or at once when somebody asked for it
//
// A pass that somebody asked for has no budget; it only yields.

import { KiB, SECOND_MS } from '../base/units.ts'

export const PASS_MS_MIN = 10 * SECOND_MS
const CHUNK_COST_BYTES = 64 * KiB
const YIELD_MS_MAX = SECOND_MS
const ASKED_YIELD_MS_MAX = 50

export interface Step {
  /** Bytes read and checked. */
  readonly bytes: number
  /** How long that took. */
  readonly tookMs: number
  /** Whether it was the last of its chunk. */
  readonly endsChunk: boolean
}

/** Milliseconds to rest after a step. @param bytesPerSecond  above 0 */
export function restMs(step: Step, bytesPerSecond: number, isAsked: boolean): number {
  if (isAsked) return 0
  const cost = step.endsChunk ? Math.max(step.bytes, CHUNK_COST_BYTES) : step.bytes
  return Math.max(0, (cost * SECOND_MS) / bytesPerSecond - step.tookMs)
}

/** Whether a step that has waited for `waitedMs` gives way once more to `streams` reads and writes of others. */
export function mustYield(streams: number, waitedMs: number, isAsked: boolean): boolean {
  return streams > 0 && waitedMs < (isAsked ? ASKED_YIELD_MS_MAX : YIELD_MS_MAX)
}

/**
 * Milliseconds until the next pass is due.
 *
 * @param startedWallMs  when the last one began by the wall clock, which may have jumped; 0: there was none
 */
export function passDueMs(startedWallMs: number, nowWallMs: number): number {
  const agoMs = nowWallMs - startedWallMs
  return agoMs < 0 || agoMs >= PASS_MS_MIN ? 0 : PASS_MS_MIN - agoMs
}

/** How far a pass is, 0 .. 1000, when `done` of `total` replicas are behind it. */
export function permilleOf(done: number, total: number): number {
  return total === 0 ? 0 : Math.min(1000, Math.floor((1000 * done) / total))
}
