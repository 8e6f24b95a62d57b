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

import type { Emit, Words, World } from './search.ts'

export interface Sentence {
  readonly id: string
  readonly text: string
  /** What is done instead when the sentence is left out. */
  readonly without: string
}

/** The rule, sentence by sentence. */
export const sentences = [
  {
    id: 'everyMember',
    text: 'Bytes are acknowledged only when every member has them.',
    without: 'two of three are enough for an acknowledgement',
  },
  {
    id: 'sameMembers',
    text: 'Members and primary never change while the chunk is open.',
    without: 'a secondary can be dropped from the record of an open chunk',
  },
  {
    id: 'sameLife',
    text: 'A member in another life takes no more bytes for it.',
    without: 'a restarted member goes on where its disk ends',
  },
  { id: 'fence', text: 'Fence the members reached.', without: 'members are asked for their length only' },
  { id: 'fenceFinal', text: 'A fence is final.', without: 'a fence wears off' },
  {
    id: 'fenceUnborn',
    text: "It holds also where the chunk doesn't exist yet.",
    without: 'a member that has nothing of the chunk forgets the fence',
  },
  {
    id: 'fenceTurn',
    text: 'It takes its turn: writes accepted before are finished and counted in its answer, all later ones refused.',
    without: 'the answer counts what is finished, and a write under way finishes after it',
  },
  {
    id: 'oneFenced',
    text: 'One fenced member is enough: nothing more can be acknowledged.',
    without: 'every member must be fenced',
  },
  { id: 'shortest', text: 'Length: the shortest …', without: 'the longest answer counts' },
  {
    id: 'recordedLife',
    text: '… among members still in their recorded life.',
    without: 'the answer of a restarted member counts like any other',
  },
  {
    id: 'waitForAll',
    text: 'If none of them answers, wait until every member has answered …',
    without: 'the restarted members that have answered so far decide at once',
  },
  { id: 'patienceEnds', text: '… or 60 s are over;', without: 'it is waited for ever' },
  {
    id: 'longestProven',
    text: 'then the longest that a restarted one can prove,',
    without: 'then the shortest of what they prove',
  },
  { id: 'report', text: 'and report says what was given up.', without: 'nobody is told' },
  {
    id: 'badBlock',
    text: 'A bad block below the synced length is a bad block; it never shortens a replica.',
    without: 'a replica is as long as its blocks are good',
  },
  {
    id: 'syncedOnly',
    text: 'The log names only synced bytes.',
    without: 'a fenced member counts bytes that it has not synced',
  },
  {
    id: 'logged',
    text: 'Log sealChunk(handle, length, digest).',
    without: 'the master keeps the length in memory, and the next master asks again',
  },
  { id: 'firstWins', text: 'The first in the log wins …', without: 'the last in the log wins' },
  {
    id: 'cutAfterLog',
    text: '… and only then is anything cut.',
    without: 'a master has members cut to the length that it has worked out',
  },
  {
    id: 'claim',
    text: 'What a replica or a client calls sealed is a claim until the log says so.',
    without: 'a writer takes what one fenced replica holds for the sealed length',
  },
  { id: 'longerIsCut', text: 'A replica that comes back longer is cut.', without: 'it stays as it is' },
  {
    id: 'shorterNotCounted',
    text: 'A shorter one is a true prefix: not counted, …',
    without: 'a shorter one counts towards the goal',
  },
  {
    id: 'shorterIsRead',
    text: '… but read from when nothing better lives.',
    without: 'a shorter one is of no use',
  },
  {
    id: 'deletedLate',
    text: 'No replica is deleted for being short, stale, unknown or different before right ones meet the goal.',
    without: 'a replica that is not right is deleted at once',
  },
  {
    id: 'verified',
    text: '(Those right ones are) verified.',
    without: 'the length that a replica tells is believed, its blocks are not looked at',
  },
] as const satisfies readonly Sentence[]

export type SentenceId = (typeof sentences)[number]['id']
export type Rule = Readonly<Record<SentenceId, boolean>>

/** The rule with every sentence, or with all but one. */
export function ruleWithout(off?: SentenceId): Rule {
  return Object.fromEntries(sentences.map(({ id }) => [id, id !== off])) as Record<SentenceId, boolean>
}

/** The world in which members, masters and writers follow `rule`. */
export function sealingWorld(rule: Rule): World {
  return {
    initial: [0, 0, 0, 0],
    successors: (m0, m1, m2, g, emit) => new Step(rule, [m0, m1, m2], g, emit).everything(),
    canonical: ([m0, m1, m2, g]) => (m1 <= m2 ? [m0, m1, m2, g] : [m0, m2, m1, g]),
    fault: (words) => findFault(rule, words),
    describe,
  }
}

const memberCount = 3
const primary = 0
const pieceCount = 2
const goal = 2
const members = [0, 1, 2] as const
const pieces = [1, 2] as const

// Fields of words. Those with a second index are rows of fields, one for each slot (place in the chunk) or piece.
interface Field {
  readonly shift: number
  readonly mask: number
}

function field(shift: number, bits: number): Field {
  return { shift, mask: (1 << bits) - 1 }
}

function get(word: number, { shift, mask }: Field): number {
  return (word >>> shift) & mask
}

function set(word: number, { shift, mask }: Field, value: number): number {
  return (word & ~(mask << shift)) | (value << shift)
}

/** Which piece lies in a slot; 0: none. The replica's length is the number of slots in use. */
const content = [field(0, 2), field(2, 2)] as const
/** So many slots survive a loss of power for certain. */
const synced = field(4, 2)
/** The piece that was accepted and is being written to the next slot; 0: none. */
const writing = field(6, 2)
const fenced = field(8, 1)
/** In another life than the one in the allocation record. */
const restarted = field(9, 1)
/** The slot was damaged on the disk. */
const rotten = [field(10, 1), field(11, 1)] as const
/** For each piece: the member has once answered that it has it. The answer may be on its way for ever. */
const answeredPiece = [field(12, 1), field(13, 1)] as const
/** For each piece: it was stored here, and since then no power was lost before it was synced. */
const held = [field(14, 1), field(15, 1)] as const
/** Answers to fences that were sent, by length, from the recorded life and from a later one: any may arrive any time. */
const answersOfLife = field(16, 3)
const answersOfRestarted = field(19, 3)
/** For each slot: this member's answer made the sealed length, so the slot was called safe with its word. */
const vouched = [field(22, 1), field(23, 1)] as const
/** A seal gave up on reaching this member, and `report` says so. */
const givenUp = field(24, 1)
const deleted = field(25, 1)
/** No longer in the record's list of members. */
const dropped = field(26, 1)

/** For each piece, slot + 1 that the primary gave it; 0: none yet. From then on the order to store it may arrive any time. */
const slotOf = [field(0, 2), field(2, 2)] as const
/** For each piece: its writer asked for `sync` rather than for `flush`. */
const wantsSync = [field(4, 1), field(5, 1)] as const
/** For each piece: what its writer was told. */
const acknowledged = [field(6, 2), field(8, 2)] as const
const [nothing, flushed, durable] = [0, 1, 2]
/** Length + 1 of the seal in force; 0: none. */
const sealed = field(10, 2)
/** One block goes bad at most. */
const rotUsed = field(12, 1)

function lengthOf(member: number): number {
  return get(member, content[0]) === 0 ? 0 : get(member, content[1]) === 0 ? 1 : 2
}

function cutTo(member: number, length: number): number {
  let cut = member
  for (let slot = length; slot < pieceCount; slot++) cut = set(set(cut, content[slot]!, 0), rotten[slot]!, 0)
  return set(cut, synced, Math.min(get(cut, synced), length))
}

function hasGoodSlots(member: number, length: number): boolean {
  for (let slot = 0; slot < length; slot++) if (get(member, rotten[slot]!) === 1) return false
  return true
}

/** What one member, and what the log and the network, can do in one state; each step is emitted as a state. */
class Step {
  readonly #rule: Rule
  readonly #members: readonly number[]
  readonly #rest: number
  readonly #emit: Emit

  constructor(rule: Rule, members: readonly number[], rest: number, emit: Emit) {
    this.#rule = rule
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
    const code = action | (i << 4) | (detail << 8)
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
      if (slot === lengthOf(member)) this.#to(Action.store, i, set(member, writing, piece), this.#rest, piece)
      // What lies at that place already is taken for the same order, come again.
      else if (slot < lengthOf(member)) this.#answerPiece(Action.again, i, member, piece)
    }
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
    forEachClaim(rule, this.#members, (claim, answers) => {
      if (!isSealed || !rule.firstWins) this.#log(claim, answers)
      if (rule.cutAfterLog) return
      for (const i of members) {
        const member = this.#members[i]!
        if (get(member, deleted) === 1 || lengthOf(member) <= claim.length) continue
        this.#to(Action.cutEarly, i, set(cutTo(member, claim.length), writing, 0), this.#rest, claim.length)
      }
    })
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
    const early = claim.givenUp.includes(true) ? 1 << 9 : 0
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
      return lengthOf(member) === length || (!shorterNotCounted && lengthOf(member) < length)
    }
    const isLawful = others.filter(isRight).length >= goal
    if (!isLawful && others.filter(looksRight).length < goal && (deletedLate || isRight(i))) return
    // A lawful deletion ends the replica's part in the promise; an unlawful one leaves the promise standing.
    const member = isLawful ? 0 : this.#members[i]!
    this.#to(Action.delete, i, set(member, deleted, 1))
  }

  #drop(i: number): void {
    const member = this.#members[i]!
    if (i === primary || get(this.#rest, sealed) > 0 || members.some((j) => get(this.#members[j]!, dropped) === 1))
      return
    this.#to(Action.drop, i, set(member, dropped, 1))
  }

  /** A writer meets a fenced replica and takes what it holds for what is sealed. */
  #believe(i: number): void {
    const member = this.#members[i]!
    if (get(member, fenced) === 0) return
    let rest = this.#rest
    for (let slot = 0; slot < lengthOf(member); slot++) {
      rest = set(rest, acknowledged[get(member, content[slot]!) - 1]!, durable)
    }
    this.#to(Action.believe, i, member, rest, lengthOf(member))
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

interface Claim {
  readonly length: number
  /** For each member: its answer is what the length rests on. */
  readonly vouching: readonly boolean[]
  /** For each member: 60 s were waited for it, in vain. */
  readonly givenUp: readonly boolean[]
}

/** For each member an answer, or none: 0, or 1 + length (recorded life), or 4 + length (restarted). */
const answerKinds = 7

/** Every length that some master can work out from some of the answers that were ever sent. */
function forEachClaim(rule: Rule, words: readonly number[], visit: (claim: Claim, answers: number) => void): void {
  for (let code = 1; code < answerKinds ** memberCount; code++) {
    const answers = members.map((i) => Math.floor(code / answerKinds ** i) % answerKinds)
    if (answers.some((answer, i) => !wasSent(words[i]!, answer))) continue
    const claim = claimFrom(rule, answers)
    if (claim !== undefined) visit(claim, code)
  }
}

function wasSent(member: number, answer: number): boolean {
  if (answer === 0) return true
  const sent = (get(member, answersOfLife) << 1) | (get(member, answersOfRestarted) << 4)
  return ((sent >>> answer) & 1) === 1
}

/** The second step of the rule: the length that follows from these answers, or undefined while it must be waited. */
function claimFrom(rule: Rule, answers: readonly number[]): Claim | undefined {
  const lengths = answers.map((answer) => (answer - 1) % 3)
  const answered = answers.map((answer) => answer > 0)
  const hasAll = !answered.includes(false)
  if (!rule.oneFenced && !hasAll) return undefined
  const inLife = answers.map((answer) => answer > 0 && (answer <= 3 || !rule.recordedLife))
  const nobody = answers.map(() => false)
  if (inLife.includes(true)) {
    const told = lengths.filter((_, i) => inLife[i])
    return { length: rule.shortest ? Math.min(...told) : Math.max(...told), vouching: inLife, givenUp: nobody }
  }
  if (rule.waitForAll && !hasAll && !rule.patienceEnds) return undefined
  const told = lengths.filter((_, i) => answered[i])
  const length = rule.longestProven ? Math.max(...told) : Math.min(...told)
  const vouching = answered.map((has, i) => has && lengths[i]! >= length)
  return { length, vouching, givenUp: rule.waitForAll ? answered.map((has) => !has) : nobody }
}

/**
 * What is wrong with a state. A promise must hold for every member that took part in it, though all other disks die
 * this moment: so deaths need no steps of their own.
 */
function findFault(rule: Rule, words: Words): string | undefined {
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
      if (!isPromised) continue
      const loss =
        get(member, content[slot]!) === piece ? lossAt(rule, member, slot, length) : 'holds something else there'
      if (loss) return `piece ${piece}, acknowledged by ${level === durable ? 'sync' : 'flush'}: ${nameOf(i)} ${loss}`
    }
    for (let slot = 0; slot < pieceCount; slot++) {
      if (get(member, vouched[slot]!) === 0 || get(member, rotten[slot]!) === 1) continue
      const loss = get(member, content[slot]!) > 0 ? lossAt(rule, member, slot, length) : 'does not hold it'
      // A seal that was forgotten can be found again: only another length makes it a lie.
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
  if (get(member, deleted) === 1) return 'was deleted'
  if (length < 0) return undefined
  if (slot >= length) return `holds it, but the chunk was sealed at ${length}`
  if (own < length && !rule.shorterIsRead) return `holds it, but is shorter than the sealed ${length}`
  if (own > length && !rule.longerIsCut) return `holds it, but is longer than the sealed ${length}: the digest differs`
  return undefined
}

function canSealAlone(rule: Rule, member: number): boolean {
  const answer = (get(member, restarted) === 1 ? 4 : 1) + lengthOf(member)
  return claimFrom(rule, [answer, 0, 0]) !== undefined
}

const Action = {
  assign: 0,
  store: 1,
  again: 2,
  finish: 3,
  restart: 4,
  losePower: 5,
  rot: 6,
  fence: 7,
  unfence: 8,
  log: 9,
  cut: 10,
  cutEarly: 11,
  delete: 12,
  drop: 13,
  believe: 14,
  forget: 15,
} as const
type Action = (typeof Action)[keyof typeof Action]

function describe(code: number): string {
  const who = nameOf((code >>> 4) & 15)
  const detail = code >>> 8
  const piece = `piece ${detail & 3}`
  const told = (detail & 4) !== 0 ? ': the last answer needed, the writer is told' : ''
  switch ((code & 15) as Action) {
    case Action.assign:
      return `${who} takes ${piece} for ${(detail & 4) !== 0 ? 'sync' : 'flush'} and gives it the next slot`
    case Action.store:
      return `${who} is told to store ${piece} and begins`
    case Action.again:
      return `${who} is told to store ${piece} where it has something: it answers that it has it${told}`
    case Action.finish:
      return `${who} has written ${piece} and answers${told}`
    case Action.restart:
      return `${who} is killed and restarts`
    case Action.losePower:
      return `${who} loses power and restarts with ${detail}`
    case Action.rot:
      return `${who}: slot ${detail} goes bad on the disk`
    case Action.fence:
      return `a master's fence reaches ${who}, which answers ${detail}`
    case Action.unfence:
      return `${who}: the fence wears off`
    case Action.log:
      return `a master holds the answers ${answersIn(detail & 511)}${detail >= 512 ? ', 60 s are over' : ''}: it logs the seal`
    case Action.cut:
      return `${who} is cut to the logged ${detail}`
    case Action.cutEarly:
      return `a master works out ${detail} from older answers, and ${who} is cut to it before the log has spoken`
    case Action.delete:
      return `${who}: the replica is deleted`
    case Action.drop:
      return `${who} is dropped from the members`
    case Action.believe:
      return `a writer finds ${who} fenced at ${detail} and takes that for sealed`
    case Action.forget:
      return 'the master dies, and with it the length; another takes over'
  }
}

function answersIn(code: number): string {
  const texts = members.map((i) => {
    const answer = Math.floor(code / answerKinds ** i) % answerKinds
    return answer === 0 ? '' : `${nameOf(i)} ${(answer - 1) % 3}${answer > 3 ? ' (restarted)' : ''}`
  })
  return texts.filter((text) => text !== '').join(', ')
}

function nameOf(i: number): string {
  return ['the primary', 'secondary 1', 'secondary 2'][i]!
}
