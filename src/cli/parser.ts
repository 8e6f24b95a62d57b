// The parser: yargs, told what a verb declares, and what it prints as help.
//
// yargs only splits the arguments. Values are checked in options.ts, so that a flag, an environment variable and a
// field of a file are refused alike. Words stay in `_`: declared positionals would lose a lone `-`.

import yargs, { type Argv } from 'yargs'
import { UsageError } from './failure.ts'
import type { Option, Options } from './options.ts'
import { environmentName } from './options.ts'

export interface Parsed {
  readonly flags: Readonly<Record<string, unknown>>
  readonly words: readonly string[]
  readonly wantsHelp: boolean
}

/** @throws UsageError for an option that is not declared, or has no value where one is wanted */
export async function parseArguments(args: readonly string[], options: Options): Promise<Parsed> {
  const parsed: Record<string, unknown> = { ...(await parser(args, options).parseAsync()) }
  const words = Array.isArray(parsed._) ? parsed._.map(String) : []
  const flags: Record<string, unknown> = {}
  for (const name of Object.keys(options)) if (parsed[name] !== undefined) flags[name] = parsed[name]
  return { flags, words, wantsHelp: parsed.help === true }
}

export interface HelpPage {
  readonly command: string
  readonly usage: string
  readonly describe: string
  readonly examples: readonly (readonly [command: string, means: string])[]
  readonly prefix: string
}

export async function helpOfVerb(page: HelpPage, own: Options, common: Options): Promise<string> {
  const names = Object.keys(own)
  const made = parser([], { ...own, ...common })
    .usage(`${page.command} ${page.usage}\n\n${page.describe}`)
    .group(names, 'Options:')
    .group([...Object.keys(common), 'help'], 'Common options:')
    .epilogue(
      `Every option has an environment twin (${environmentName(page.prefix, names[0] ?? 'json')} for --${names[0] ?? 'json'}) and may stand in the file of --config.`,
    )
  for (const [command, means] of page.examples) made.example(command, means)
  return made.getHelp()
}

export async function helpOfProgram(
  program: string,
  describe: string,
  verbs: readonly (readonly [name: string, describe: string])[],
): Promise<string> {
  const page = parser([], {}).usage(`${program} VERB [options]\n\n${describe}`)
  for (const [name, means] of verbs) page.command(name, means)
  return page.epilogue(`\`${program} VERB --help\` shows the options of a verb and an example.`).getHelp()
}

/** A parser that never prints and never ends the process. */
export function parser(args: readonly string[], options: Options): Argv {
  const made = yargs([...args])
    .scriptName('')
    .locale('en')
    .parserConfiguration({
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'dot-notation': false,
      'camel-case-expansion': false,
      'duplicate-arguments-array': true,
    })
    .exitProcess(false)
    .version(false)
    .help(false)
    .option('help', { type: 'boolean', describe: 'show this page' })
    .strictOptions()
    .wrap(Math.min(100, process.stdout.columns || 100))
    .fail((message, error) => {
      throw error instanceof UsageError ? error : new UsageError(message ?? error.message)
    })
  for (const [name, option] of Object.entries(options)) made.option(name, declaration(option))
  return made
}

function declaration(option: Option) {
  const isFlag = option.kind === 'flag'
  const shown = isFlag ? undefined : option.default
  return {
    type: isFlag ? ('boolean' as const) : ('string' as const),
    describe: option.describe,
    ...(isFlag ? {} : { requiresArg: true }),
    ...(option.alias === undefined ? {} : { alias: option.alias }),
    // Shown only: the value is given in options.ts, after environment and file had their turn.
    ...(shown === undefined ? {} : { defaultDescription: shown }),
  }
}
