// The parser: yargs' own, told what a verb declares.
//
// It only splits the arguments. Values are checked in options.ts, so that a flag, an environment variable and a field
// of a file are refused alike. Words stay in `_`: declared positionals would lose a lone `-`.

import yargsParser from 'yargs-parser'
import { UsageError } from './failure.ts'
import { nearest } from './nearest.ts'
import type { Options } from './options.ts'

export interface Parsed {
  /** By option name; absent where not given. One given twice is a list. */
  readonly flags: Readonly<Record<string, unknown>>
  readonly words: readonly string[]
}

/** @throws UsageError for an option that is not declared, or has no value where one is wanted */
export function parseArguments(args: readonly string[], options: Options): Parsed {
  const names = Object.entries(options)
  const flags = names.filter(([, option]) => option.kind === 'flag').map(([name]) => name)
  const valued = names.filter(([, option]) => option.kind !== 'flag').map(([name]) => name)
  const alias = Object.fromEntries(names.flatMap(([name, option]) => (option.alias ? [[name, option.alias]] : [])))
  const { argv, error } = yargsParser.detailed([...args], {
    boolean: flags,
    string: valued,
    narg: Object.fromEntries(valued.map((name) => [name, 1])),
    alias,
    configuration: {
      // An option may be called `--no-…`; none is turned off that way.
      'boolean-negation': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'dot-notation': false,
      'camel-case-expansion': false,
      'duplicate-arguments-array': true,
      'greedy-arrays': false,
    },
  })
  if (error) throw new UsageError(error.message)
  const { _: words, ...given } = argv
  const letters = new Set(Object.values(alias))
  const stray = Object.keys(given).find((name) => !(name in options) && !letters.has(name))
  if (stray !== undefined) throw unknownOption(stray, options)
  const found = names.flatMap(([name]) => (given[name] === undefined ? [] : [[name, given[name]] as const]))
  return { flags: Object.fromEntries(found), words: words.map(String) }
}

function unknownOption(name: string, options: Options): UsageError {
  const near = name.length > 1 ? nearest(name, Object.keys(options)) : undefined
  const shown = name.length > 1 ? `--${name}` : `-${name}`
  return new UsageError(`there is no option ${shown}${near === undefined ? '' : `; did you mean --${near}?`}`)
}
