// The second step of the rule, the length: what a master may conclude from the answers that it has in hand.

import type { Rule } from './sentences.ts'
import { answersOfLife, answersOfRestarted, get, memberCount, members } from './state.ts'

/** A length, and what it rests on. */
export interface Claim {
  readonly length: number
  /** For each member: its answer is what the length rests on. */
  readonly vouching: readonly boolean[]
  /** For each member: 60 s were waited for it, in vain. */
  readonly givenUp: readonly boolean[]
}

/** For each member an answer, or none: 0, or 1 + length (recorded life), or 4 + length (restarted). */
export const answerKinds = 7

/** For each combination of answers (one base-7 digit a member) what a master makes of them. */
export function allClaims(rule: Rule): readonly (Claim | undefined)[] {
  return Array.from({ length: answerKinds ** memberCount }, (_, code) => {
    const answers = members.map((i) => Math.floor(code / answerKinds ** i) % answerKinds)
    return code === 0 ? undefined : claimFrom(rule, answers)
  })
}

/** Whether each of these answers was sent at some time: it may then arrive at any time. */
export function wereSent(words: readonly number[], code: number): boolean {
  let digits = code
  for (const word of words) {
    const answer = digits % answerKinds
    digits = (digits - answer) / answerKinds
    if (answer === 0) continue
    const sent = (get(word, answersOfLife) << 1) | (get(word, answersOfRestarted) << 4)
    if (((sent >>> answer) & 1) === 0) return false
  }
  return true
}

/** The second step of the rule: the length that follows from these answers, or undefined while it must be waited. */
export function claimFrom(rule: Rule, answers: readonly number[]): Claim | undefined {
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
