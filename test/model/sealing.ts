// A model of the sealing rule: one open chunk, three members, two pieces of bytes, and everything that can go wrong.
//
// The rule is the list `sentences`; each sentence is a switch. With all of them on, no reachable state breaks a
// promise; with any one off, a shortest story exists in which an acknowledged byte is lost (or a chunk can never be
// sealed, where the sentence is a permission). What the world contains, and what was folded, is in README.md beside.
//
// A state is a word for each member and one for the rest, so that the search can hold millions of them. The two
// secondaries are alike: states that differ in their names only are one.
//
// Source: the sealing of Windows Azure Storage (SOSP 2011, §4.3), with fences that last.

import { allClaims, type Claim, wereSent } from './claims.ts'
import { findFault } from './faults.ts'
import { fold, foldNeeds, sortSecondaries } from './fold.ts'
import type { Emit, World } from './search.ts'
import type { Rule } from './sentences.ts'
import {
  acknowledged,
  answeredPiece,
  answersOfLife,
  answersOfRestarted,
  content,
  cutTo,
  deleted,
  dropped,
  durable,
  fenced,
  flushed,
  get,
  givenUp,
  goal,
  hasGoodSlots,
  held,
  lengthOf,
  members,
  pieceCount,
  pieces,
  primary,
  released,
  restarted,
  rotten,
  rotUsed,
  sealed,
  set,
  slotOf,
  synced,
  vouched,
  wantsSync,
  writing,
} from './state.ts'
import { Action, describe } from './tell.ts'

/** The world in which members, masters and writers follow `rule`. */
export function sealingWorld(rule: Rule): World {
  const claims = allClaims(rule)
  const folds = foldNeeds.every((id) => rule[id])
  return {
    initial: [0, 0, 0, 0],
    successors: (m0, m1, m2, g, emit) => new Step(rule, claims, [m0, m1, m2], g, emit).everything(),
    canonical: folds ? (words) => sortSecondaries(fold(words)) : sortSecondaries,
    fault: (words) => findFault(rule, words),
    describe,
  }
}

/** What one member, and what the log and the network, can do in one state; each step is emitted as a state. */
class Step {
  readonly #rule: Rule
  readonly #claims: readonly (Claim | undefined)[]
  readonly #members: readonly number[]
  readonly #rest: number
  readonly #emit: Emit

  constructor(
    rule: Rule,
    claims: readonly (Claim | undefined)[],
    members: readonly number[],
    rest: number,
    emit: Emit,
  ) {
    this.#rule = rule
    this.#claims = claims
    this.#members = members
    this.#rest = rest
    this.#emit = emit
  }

  everything(): void {
    this.#assign()
    for (const i of members) {
      if (get(this.#members[i]!, deleted) === 1) continue
      this.#store(i)
      this.#finish(i)
      this.#restart(i)
      this.#losePower(i)
      this.#rot(i)
      this.#fence(i)
      this.#cut(i)
      this.#delete(i)
      if (!this.#rule.fenceFinal) this.#unfence(i)
      if (!this.#rule.claim) this.#believe(i)
      if (!this.#rule.sameMembers) this.#drop(i)
    }
    this.#seal()
    if (!this.#rule.logged) this.#forgetSeal()
  }

  #to(action: Action, i: number, member: number, rest = this.#rest, detail = 0): void {
    const [m0, m1, m2] = this.#members
    const code = action | (i << 5) | (detail << 8)
    this.#emit(i === 0 ? member : m0!, i === 1 ? member : m1!, i === 2 ? member : m2!, rest, code)
  }

  #takesBytes(member: number): boolean {
    if (get(member, fenced) === 1 || get(member, writing) !== 0 || get(member, dropped) === 1) return false
    return get(member, restarted) === 0 || !this.#rule.sameLife
  }

  /** A writer's piece reaches the primary, which gives it the next slot. Piece 1 comes first: pieces are alike. */
  #assign(): void {
    const member = this.#members[primary]!
    const slot = lengthOf(member)
    if (slot === pieceCount || get(member, deleted) === 1 || !this.#takesBytes(member)) return
    const piece = pieces.find((each) => get(this.#rest, slotOf[each - 1]!) === 0)
    if (piece === undefined) return
    const rest = set(this.#rest, slotOf[piece - 1]!, slot + 1)
    this.#to(Action.assign, primary, set(member, writing, piece), rest, piece)
    this.#to(Action.assign, primary, set(member, writing, piece), set(rest, wantsSync[piece - 1]!, 1), piece | 4)
  }

  /** The order to store a piece reaches a secondary, for the first time or again, soon or late. */
  #store(i: number): void {
    const member = this.#members[i]!
    if (i === primary || !this.#takesBytes(member)) return
    for (const piece of pieces) {
      const slot = get(this.#rest, slotOf[piece - 1]!) - 1
      if (slot < 0 || get(member, answeredPiece[piece - 1]!) === 1) continue
      if (slot === lengthOf(member)) this.#begin(i, set(member, writing, piece), piece)
      // What lies at that place already is taken for the same order, come again.
      else if (slot < lengthOf(member)) this.#answerPiece(Action.again, i, member, piece)
    }
  }

  /** A fence waits for a write under way, and a kill undoes it: only without that wait is it worth a step of its own. */
  #begin(i: number, member: number, piece: number): void {
    if (!this.#rule.fenceTurn) this.#to(Action.begin, i, member, this.#rest, piece)
    else this.#answerPiece(Action.store, i, finishWriting(this.#rest, member), piece)
  }

  #finish(i: number): void {
    const member = this.#members[i]!
    const piece = get(member, writing)
    if (piece !== 0) this.#answerPiece(Action.finish, i, finishWriting(this.#rest, member), piece)
  }

  /** Member `i` answers that it has `piece`; the last answer needed acknowledges it, if the primary is still there. */
  #answerPiece(action: Action, i: number, member: number, piece: number): void {
    const bit = answeredPiece[piece - 1]!
    const after = set(member, bit, 1)
    let rest = this.#rest
    let missing = 0
    for (const j of members) {
      const other = j === i ? after : this.#members[j]!
      if (get(other, bit) === 0 && get(other, dropped) === 0) missing++
    }
    const first = i === primary ? after : this.#members[primary]!
    const primaryActs = get(first, bit) === 1 && (get(first, restarted) === 0 || !this.#rule.sameLife)
    if (primaryActs && missing <= (this.#rule.everyMember ? 0 : 1)) rest = acknowledge(rest, piece)
    this.#to(action, i, after, rest, piece | (rest === this.#rest ? 0 : 4))
  }

  /** The process is killed: what it had accepted is gone, what it had written is still there. */
  #restart(i: number): void {
    const member = this.#members[i]!
    this.#to(Action.restart, i, set(set(member, writing, 0), restarted, 1))
  }

  /** The machine loses power: of what was not synced any part may be gone, and no promise rests on the rest. */
  #losePower(i: number): void {
    const before = set(set(this.#members[i]!, writing, 0), restarted, 1)
    let member = before
    for (let slot = get(before, synced); slot < lengthOf(before); slot++) {
      member = set(member, held[get(before, content[slot]!) - 1]!, 0)
    }
    for (let length = get(member, synced); length <= lengthOf(member); length++) {
      this.#to(Action.losePower, i, set(cutTo(member, length), synced, length), this.#rest, length)
    }
  }

  #rot(i: number): void {
    if (get(this.#rest, rotUsed) === 1) return
    const member = this.#members[i]!
    const rest = set(this.#rest, rotUsed, 1)
    for (let slot = 0; slot < get(member, synced); slot++) {
      this.#to(Action.rot, i, set(member, rotten[slot]!, 1), rest, slot)
    }
  }

  /** Some master's fence, sent now or long ago, reaches the member, which answers with its length. */
  #fence(i: number): void {
    const rule = this.#rule
    let member = this.#members[i]!
    if (rule.fenceTurn && get(member, writing) !== 0) return // it waits for its turn
    const isBorn = lengthOf(member) > 0 || get(member, writing) !== 0
    if (rule.fence && (rule.fenceUnborn || isBorn)) member = set(member, fenced, 1)
    if (rule.syncedOnly) member = set(member, synced, lengthOf(member))
    let length = lengthOf(member)
    if (!rule.badBlock && !hasGoodSlots(member, length)) length = get(member, rotten[0]) === 1 ? 0 : 1
    const answers = get(member, restarted) === 1 ? answersOfRestarted : answersOfLife
    this.#to(Action.fence, i, set(member, answers, get(member, answers) | (1 << length)), this.#rest, length)
  }

  #unfence(i: number): void {
    const member = this.#members[i]!
    if (get(member, fenced) === 1) this.#to(Action.unfence, i, set(member, fenced, 0))
  }

  /** Any master that has any of the answers in hand works out a length, and asks for it to be logged. */
  #seal(): void {
    const rule = this.#rule
    const isSealed = get(this.#rest, sealed) > 0
    if (isSealed && rule.firstWins && rule.cutAfterLog) return
    for (let answers = 1; answers < this.#claims.length; answers++) {
      const claim = this.#claims[answers]
      if (claim === undefined || !wereSent(this.#members, answers)) continue
      if (!isSealed || !rule.firstWins) this.#log(claim, answers)
      if (!rule.cutAfterLog) this.#cutEarly(claim)
    }
  }

  #cutEarly(claim: Claim): void {
    for (const i of members) {
      const member = this.#members[i]!
      if (get(member, deleted) === 1 || lengthOf(member) <= claim.length) continue
      this.#to(Action.cutEarly, i, set(cutTo(member, claim.length), writing, 0), this.#rest, claim.length)
    }
  }

  #log(claim: Claim, answers: number): void {
    const keepAnswers = !(this.#rule.firstWins && this.#rule.cutAfterLog && this.#rule.logged)
    const [m0, m1, m2] = members.map((i) => {
      let member = this.#members[i]!
      for (let slot = 0; slot < claim.length; slot++) {
        if (claim.vouching[i]) member = set(member, vouched[slot]!, 1)
      }
      if (claim.givenUp[i] && this.#rule.report) member = set(member, givenUp, 1)
      // Once the log has spoken, nobody counts answers any more.
      return keepAnswers ? member : set(set(member, answersOfLife, 0), answersOfRestarted, 0)
    })
    const early = (claim.givenUp.includes(true) ? 1 << 9 : 0) | (get(this.#rest, sealed) > 0 ? 1 << 10 : 0)
    this.#emit(m0!, m1!, m2!, set(this.#rest, sealed, claim.length + 1), Action.log | ((answers | early) << 8))
  }

  #forgetSeal(): void {
    if (get(this.#rest, sealed) === 0) return
    this.#emit(this.#members[0]!, this.#members[1]!, this.#members[2]!, set(this.#rest, sealed, 0), Action.forget)
  }

  #cut(i: number): void {
    const length = get(this.#rest, sealed) - 1
    const member = this.#members[i]!
    if (length < 0 || lengthOf(member) <= length || !this.#rule.longerIsCut) return
    this.#to(Action.cut, i, set(set(cutTo(member, length), writing, 0), fenced, 1), this.#rest, length)
  }

  /** A replica too many, or one that is not right, is deleted, if the rule thinks that enough others are. */
  #delete(i: number): void {
    const length = get(this.#rest, sealed) - 1
    if (length < 0) return
    const { shorterNotCounted, verified, deletedLate } = this.#rule
    const others = members.filter((j) => j !== i && get(this.#members[j]!, deleted) === 0)
    const isRight = (j: number) => lengthOf(this.#members[j]!) === length && hasGoodSlots(this.#members[j]!, length)
    const looksRight = (j: number) => {
      const member = this.#members[j]!
      if (verified && !hasGoodSlots(member, length)) return false
      return lengthOf(member) === length || (!shorterNotCounted && 0 < lengthOf(member) && lengthOf(member) < length)
    }
    const isLawful = others.filter(isRight).length >= goal
    if (!isLawful && others.filter(looksRight).length < goal && (deletedLate || isRight(i))) return
    const member = this.#members[i]!
    // A lawful deletion ends the replica's part in the promise; an unlawful one leaves the promise standing.
    if (!isLawful) {
      this.#to(Action.delete, i, set(member, deleted, 1))
      return
    }
    let empty = set(set(0, released, 1), restarted, get(member, restarted))
    for (const piece of pieces) empty = set(empty, answeredPiece[piece - 1]!, get(member, answeredPiece[piece - 1]!))
    if (this.#rule.fenceStays) empty = set(empty, fenced, get(member, fenced))
    this.#to(Action.delete, i, empty)
  }

  #drop(i: number): void {
    const member = this.#members[i]!
    if (i === primary || get(this.#rest, sealed) > 0 || members.some((j) => get(this.#members[j]!, dropped) === 1))
      return
    this.#to(Action.drop, i, set(member, dropped, 1))
  }

  /** A writer meets a fenced replica and takes what it holds for what is sealed. */
  #believe(i: number): void {
    let member = this.#members[i]!
    if (get(member, fenced) === 0) return
    const length = lengthOf(member)
    for (let slot = 0; slot < length; slot++) member = set(member, vouched[slot]!, 1)
    this.#to(Action.believe, i, member, this.#rest, length)
  }
}

function finishWriting(rest: number, before: number): number {
  const piece = get(before, writing)
  const slot = lengthOf(before)
  let member = set(set(before, content[slot]!, piece), writing, 0)
  if (get(rest, wantsSync[piece - 1]!) === 1) member = set(member, synced, slot + 1)
  return set(member, held[piece - 1]!, 1)
}

/** What is synced up to a piece is synced below it too. */
function acknowledge(before: number, piece: number): number {
  let rest = before
  const isDurable = get(rest, wantsSync[piece - 1]!) === 1
  for (const other of pieces) {
    const isBelow = get(rest, slotOf[other - 1]!) > 0 && get(rest, slotOf[other - 1]!) < get(rest, slotOf[piece - 1]!)
    if (other !== piece && !(isBelow && isDurable)) continue
    const level = isDurable ? durable : flushed
    rest = set(rest, acknowledged[other - 1]!, Math.max(level, get(rest, acknowledged[other - 1]!)))
  }
  return rest
}
