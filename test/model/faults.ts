// What must never be: the promise that acknowledged bytes stay readable, asked of one state.

import { claimFrom } from './claims.ts'
import type { Words } from './search.ts'
import type { Rule } from './sentences.ts'
import {
  acknowledged,
  answeredPiece,
  content,
  deleted,
  durable,
  get,
  givenUp,
  held,
  lengthOf,
  members,
  nothing,
  pieceCount,
  pieces,
  released,
  restarted,
  rotten,
  sealed,
  slotOf,
  vouched,
} from './state.ts'
import { nameOf } from './tell.ts'

/**
 * What is wrong with a state. A promise must hold for every member that took part in it, though all other disks die
 * this moment: so deaths need no steps of their own.
 */
export function findFault(rule: Rule, words: Words): string | undefined {
  const rest = words[3]
  const length = get(rest, sealed) - 1
  for (const i of members) {
    const member = words[i]!
    for (const piece of pieces) {
      const level = get(rest, acknowledged[piece - 1]!)
      if (level === nothing) continue
      const slot = get(rest, slotOf[piece - 1]!) - 1
      if (get(member, rotten[slot]!) === 1) continue
      const isPromised =
        level === durable
          ? get(member, answeredPiece[piece - 1]!) === 1
          : get(member, held[piece - 1]!) === 1 && get(member, givenUp) === 0
      if (!isPromised || get(member, released) === 1) continue
      const loss = get(member, content[slot]!) === piece ? lossAt(rule, member, slot, length) : 'does not hold it'
      if (loss) return `piece ${piece}, acknowledged by ${level === durable ? 'sync' : 'flush'}: ${nameOf(i)} ${loss}`
    }
    for (let slot = 0; slot < pieceCount; slot++) {
      if (get(member, vouched[slot]!) === 0 || get(member, rotten[slot]!) === 1) continue
      const loss = get(member, content[slot]!) > 0 ? lossAt(rule, member, slot, length) : 'does not hold it'
      if (loss) return `slot ${slot}, sealed with the word of ${nameOf(i)}: ${nameOf(i)} ${loss}`
    }
  }
  if (length < 0) {
    const lonely = members.find((i) => !canSealAlone(rule, words[i]!))
    if (lonely !== undefined) return `if only ${nameOf(lonely)} can be reached, the chunk can never be sealed`
  }
  return undefined
}

/** Why a byte in `slot`, though written to this replica, can't be read from it; undefined if it can. */
function lossAt(rule: Rule, member: number, slot: number, length: number): string | undefined {
  const own = lengthOf(member)
  if (get(member, deleted) === 1) return 'was deleted; if the other disks die now, it is gone'
  if (length < 0) return undefined
  if (slot >= length) return `holds it, but the chunk was sealed at ${length}`
  if (own < length && !rule.shorterIsRead)
    return `alone may live with it, but is shorter than the sealed ${length} and not read`
  if (own > length && !rule.longerIsCut)
    return `alone may live with it, but is longer than the sealed ${length}, and the digest differs`
  return undefined
}

function canSealAlone(rule: Rule, member: number): boolean {
  const answer = (get(member, restarted) === 1 ? 4 : 1) + lengthOf(member)
  return claimFrom(rule, [answer, 0, 0]) !== undefined
}
