// Arguments before the parser sees them: which verb is meant, HDFS spellings, `-name` and `-size -10`.

import { UsageError } from './failure.ts'
import { nearest } from './nearest.ts'
import type { Options } from './options.ts'

export interface SplitArguments {
  /** A name of the table; undefined when no verb was given. */
  readonly verb: string | undefined
  /** The group whose help is wanted: `trash` of `dfs trash --help`. */
  readonly group?: string
  /** The arguments without the verb. */
  readonly rest: readonly string[]
}

/**
 * Finds the verb. `dfs -ls /` is the spelling of HDFS and means `dfs ls /`.
 *
 * @param names    the verbs; `trash ls` is a verb of the group `trash`
 * @param globals  options that may stand before the verb
 * @throws UsageError for a word that is no verb, naming the nearest one
 */
export function splitArguments(
  args: readonly string[],
  names: readonly string[],
  globals: Options,
  program: string,
): SplitArguments {
  const first = findWord(args, 0, globals, true)
  if (first === undefined) return { verb: undefined, rest: args }
  const word = args[first]!.replace(/^-(?=.)/, '')
  const group = groupOf(word, names)
  if (group.length === 0) {
    if (names.includes(word)) return { verb: word, rest: without(args, [first]) }
    throw unknown(word, [...new Set(names.map((name) => name.split(' ')[0]!))], program)
  }
  const second = findWord(args, first + 1, globals, false)
  const member = second === undefined ? undefined : `${word} ${args[second]}`
  if (second !== undefined && member !== undefined && names.includes(member)) {
    return { verb: member, rest: without(args, [first, second]) }
  }
  const members = group.map((name) => name.slice(word.length + 1))
  if (second === undefined) {
    if (wantsHelp(args)) return { verb: undefined, group: word, rest: args }
    throw new UsageError(`${program} ${word} wants one of: ${members.join(', ')}`)
  }
  throw unknown(args[second]!, members, `${program} ${word}`)
}

/**
 * Rewrites options of several letters that were written with one dash, and ties them to their value, which may start
 * with a dash itself: `-size -10` → `--size=-10`.
 */
export function spellOut(args: readonly string[], dashed: readonly string[]): string[] {
  const out: string[] = []
  for (let index = 0; index < args.length; index++) {
    const argument = args[index]!
    if (argument === '--') return [...out, ...args.slice(index)]
    const name = dashed.find((candidate) => argument === `-${candidate}` || argument === `--${candidate}`)
    const next = args[index + 1]
    if (name !== undefined && next !== undefined) {
      out.push(`--${name}=${next}`)
      index++
    } else out.push(argument)
  }
  return out
}

/** Index of the first argument from `from` on that is no option and no option's value; with `spellings`, or `-ls`. */
function findWord(args: readonly string[], from: number, globals: Options, spellings: boolean): number | undefined {
  for (let index = from; index < args.length; index++) {
    const argument = args[index]!
    if (argument === '--') return index + 1 < args.length ? index + 1 : undefined
    if (!argument.startsWith('-') || argument === '-') return index
    if (spellings && /^-[a-z]{2,}$/.test(argument)) return index
    if (!argument.startsWith('--')) continue
    const option = globals[argument.slice(2)]
    if (option !== undefined && option.kind !== 'flag') index++
  }
  return undefined
}

/** Whether a page is asked for: `--help` before a `--`, which ends the options. */
export function wantsHelp(args: readonly string[]): boolean {
  const end = args.indexOf('--')
  return (end < 0 ? args : args.slice(0, end)).includes('--help')
}

function groupOf(word: string, names: readonly string[]): string[] {
  return names.filter((name) => name.startsWith(`${word} `))
}

function without(args: readonly string[], indexes: readonly number[]): string[] {
  return args.filter((_, index) => !indexes.includes(index))
}

function unknown(word: string, candidates: readonly string[], program: string): UsageError {
  const near = nearest(word, candidates)
  const hint = near === undefined ? `see \`${program} --help\` for all verbs` : `did you mean \`${program} ${near}\`?`
  return new UsageError(`${program} knows no verb "${word}"; ${hint}`)
}
