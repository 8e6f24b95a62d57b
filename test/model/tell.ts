// The steps of the model in words, for the story that leads to a loss.

import { answerKinds } from './claims.ts'
import { members } from './state.ts'

/** Kinds of steps. A step's code is kind | member << 5 | detail << 8; what the detail is, `describe` knows. */
export const Action = {
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
  begin: 16,
} as const
export type Action = (typeof Action)[keyof typeof Action]

/** One step as a sentence. */
export function describe(code: number): string {
  const who = nameOf((code >>> 5) & 7)
  const detail = code >>> 8
  const piece = `piece ${detail & 3}`
  const told = (detail & 4) !== 0 ? ': the last answer needed, the writer is told' : ''
  switch ((code & 31) as Action) {
    case Action.assign:
      return `${who} takes ${piece} for ${(detail & 4) !== 0 ? 'sync' : 'flush'} and gives it the next slot`
    case Action.store:
      return `${who} is told to store ${piece}, does and answers${told}`
    case Action.begin:
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
      return `${(detail & 1024) !== 0 ? 'another' : 'a'} master has the answers (${answersIn(detail & 511)})${(detail & 512) !== 0 ? ', 60 s are over' : ''}: it logs the seal`
    case Action.cut:
      return `${who} is cut to the logged ${detail}`
    case Action.cutEarly:
      return `another master has worked out ${detail} and has ${who} cut to it, whatever the log says`
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
    return answer === 0 ? '' : `${nameOf(i)}: ${(answer - 1) % 3}${answer > 3 ? ' (restarted)' : ''}`
  })
  return texts.filter((text) => text !== '').join(', ')
}

export function nameOf(i: number): string {
  return ['the primary', 'secondary 1', 'secondary 2'][i]!
}
