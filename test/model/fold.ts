// Which states are one: those that differ only in the names of the secondaries, or in what can make no difference
// any more. Folding takes the search from 11.4 million states to 1.3 million; README.md says why each fold is right.

import type { Words } from './search.ts'
import type { SentenceId } from './sentences.ts'
import {
  acknowledged,
  answeredPiece,
  durable,
  fenced,
  get,
  givenUp,
  held,
  members,
  nothing,
  pieces,
  primary,
  restarted,
  sealed,
  set,
  slotOf,
  vouched,
  wantsSync,
  writing,
} from './state.ts'

/** The secondaries are alike: the smaller word comes first. */
export function sortSecondaries(words: Words): Words {
  const [m0, m1, m2, rest] = words
  return m1 <= m2 ? words : [m0, m2, m1, rest]
}

/** The sentences that `fold` leans on. With one of these off, states are told apart in full. */
export const foldNeeds: readonly SentenceId[] = [
  'everyMember',
  'sameMembers',
  'sameLife',
  'fence',
  'fenceFinal',
  'fenceStays',
  'fenceUnborn',
  'claim',
  'logged',
  'firstWins',
  'cutAfterLog',
]

/** Forgets what can make no difference any more; see "What was folded" in README.md. */
export function fold(words: Words): Words {
  const rest = words[3]
  const out = [words[0], words[1], words[2]]
  const isSealed = get(rest, sealed) > 0
  for (const i of members) {
    let member = out[i]!
    // Once the log has spoken, it is the same why a member takes no more bytes; a primary that lives can still tell.
    if (isSealed && get(member, restarted) === 1) member = set(member, fenced, 1)
    if (isSealed && get(member, fenced) === 1 && i !== primary) member = set(member, restarted, 1)
    out[i] = member
  }
  for (const piece of pieces) {
    const level = get(rest, acknowledged[piece - 1]!)
    const slot = get(rest, slotOf[piece - 1]!) - 1
    // A piece that can't be acknowledged any more: who has answered for it is nobody's business.
    const isLost = level === nothing && slot >= 0 && isLostPiece(out, piece)
    // A promise by sync doesn't ask for power losses.
    const needsHeld = !isLost && level !== durable && get(rest, wantsSync[piece - 1]!) === 0
    for (const i of members) {
      let member = out[i]!
      if (isLost) member = set(member, answeredPiece[piece - 1]!, 0)
      if (!needsHeld) member = set(member, held[piece - 1]!, 0)
      // The writer's promise says as much as the seal's.
      if (level === durable && get(member, answeredPiece[piece - 1]!) === 1) member = set(member, vouched[slot]!, 0)
      out[i] = member
    }
  }
  for (const i of members) {
    const member = out[i]!
    const cannotHold = get(member, held[0]) === 0 && get(member, held[1]) === 0 && isClosed(member)
    if (cannotHold && get(member, writing) === 0) out[i] = set(member, givenUp, 0)
  }
  return [out[0]!, out[1]!, out[2]!, rest]
}

function isLostPiece(words: readonly number[], piece: number): boolean {
  if (get(words[primary]!, restarted) === 1) return true
  return words.some((m) => get(m, answeredPiece[piece - 1]!) === 0 && isClosed(m) && get(m, writing) !== piece)
}

/** Takes no bytes any more. */
function isClosed(member: number): boolean {
  return get(member, fenced) === 1 || get(member, restarted) === 1
}
