// Sealing: how long an open chunk is when it ends, from what its members answered (DESIGN §2, step 2).
//
// Source: Windows Azure Storage (SOSP 2011) §4.3, with fences that last. The whole rule, with every sentence as a
// switch, is searched in test/model/sealing.ts.

import type { Member } from '../operations.ts'

/** What a member said when it was fenced. */
export interface FenceAnswer {
  readonly exists: boolean
  /** The directory is still in the life of the allocation. */
  readonly inLife: boolean
  /** Bytes it holds (in life) or can prove (restarted). */
  readonly length: number
  readonly digest: number
  readonly indexDigest: number
}

export interface FencedMember {
  readonly member: Member
  /** Undefined: not reached, or it has not answered yet. */
  readonly answer: FenceAnswer | undefined
}

export type SealDecision =
  /** Ask again, or wait for answers. */
  | { readonly kind: 'wait' }
  | {
      readonly kind: 'seal'
      readonly length: number
      readonly digest: number
      readonly indexDigest: number
      /** Members given up on: what only they hold is lost to this chunk. Empty in the usual case. */
      readonly givenUp: readonly Member[]
    }

/**
 * Decides the length, or that more answers are needed.
 *
 * Any member still in its life holds every acknowledged byte, so the shortest of those that answered is right even if
 * it is the only one. Waiting a moment (`graceMs`) for the others keeps a slow one from being left short. When no
 * member in its life answers, only restarted ones can tell, and the longest proof counts, after all have answered or
 * patience (`patienceMs`) is over.
 *
 * @param namedBytes  bytes of the chunk up to which files name them: all were synced, so a proof of fewer means that one with
 *                    more is missing, and is waited for
 * @param elapsedMs  since the first fence was sent
 */
export function decideSeal(
  members: readonly FencedMember[],
  namedBytes: number,
  elapsedMs: number,
  graceMs: number,
  patienceMs: number,
): SealDecision {
  const answers = members.flatMap(({ answer }) => (answer ? [answer] : []))
  // Named bytes were synced on every member: one that holds fewer is damaged, and proves nothing about the others.
  const inLife = answers.filter((answer) => answer.inLife && answer.length >= namedBytes)
  const hasAll = answers.length === members.length
  if (inLife.length > 0) {
    if (!hasAll && elapsedMs < graceMs) return { kind: 'wait' }
    return sealAt(
      inLife.reduce((shortest, answer) => (answer.length < shortest.length ? answer : shortest)),
      [],
    )
  }
  if (!hasAll && elapsedMs < patienceMs) return { kind: 'wait' }
  if (answers.length === 0) return { kind: 'wait' }
  const longest = answers.reduce((best, answer) => (answer.length > best.length ? answer : best))
  const isShort = longest.length < namedBytes
  if (isShort && elapsedMs < patienceMs) return { kind: 'wait' }
  const givenUp = isShort ? members : members.filter(({ answer }) => !answer)
  return sealAt(
    longest,
    givenUp.map(({ member }) => member),
  )
}

function sealAt(answer: FenceAnswer, givenUp: readonly Member[]): SealDecision {
  return { kind: 'seal', length: answer.length, digest: answer.digest, indexDigest: answer.indexDigest, givenUp }
}
