// Help pages, written by yargs from what a verb declares. Loaded when somebody asks: parsing needs only yargs' parser.

import yargs, { type Argv } from 'yargs'
import { environmentName, type Option, type Options } from './options.ts'

export interface HelpPage {
  readonly command: string
  readonly usage: string
  readonly describe: string
  readonly examples: readonly (readonly [command: string, means: string])[]
  readonly prefix: string
}

export async function helpOfVerb(page: HelpPage, own: Options, common: Options): Promise<string> {
  const names = Object.keys(own)
  const twins = Object.keys({ ...own, ...common }).filter((name) => !{ ...own, ...common }[name]?.flagOnly)
  const typed = names.filter((name) => own[name]?.flagOnly)
  const but = typed.length === 0 ? '' : ` but ${typed.map((name) => `--${name}`).join(' and ')}, which must be typed,`
  const made = yargsPage({ ...own, ...common })
    .usage(`${page.command} ${page.usage}\n\n${page.describe}`)
    .group(names, 'Options:')
    .group([...Object.keys(common), 'help'], 'Common options:')
    .epilogue(
      `Every option${but} has an environment twin (${environmentName(page.prefix, twins[0] ?? 'json')} for --${twins[0] ?? 'json'}) and may stand in the file of --config.`,
    )
  for (const [command, means] of page.examples) made.example(command, means)
  return made.getHelp()
}

export async function helpOfProgram(
  program: string,
  describe: string,
  verbs: readonly (readonly [name: string, describe: string])[],
): Promise<string> {
  const made = yargsPage({}).usage(`${program} VERB [options]\n\n${describe}`)
  for (const [name, means] of verbs) made.command(name, means)
  return made.epilogue(`\`${program} VERB --help\` shows the options of a verb and an example.`).getHelp()
}

/** A page that is only written, never printed, and never ends the process. */
export function yargsPage(options: Options): Argv {
  const made = yargs([])
    .scriptName('')
    .locale('en')
    .exitProcess(false)
    .version(false)
    .help(false)
    .option('help', { type: 'boolean', describe: 'show this page' })
    .wrap(Math.min(100, process.stdout.columns || 100))
  for (const [name, option] of Object.entries(options)) made.option(name, declaration(option))
  return made
}

function declaration(option: Option) {
  const isFlag = option.kind === 'flag'
  const shown = isFlag ? undefined : option.default
  return {
    type: isFlag ? ('boolean' as const) : ('string' as const),
    describe: option.describe,
    ...(option.alias === undefined ? {} : { alias: option.alias }),
    // Shown only: the value is given in options.ts, after environment and file had their turn.
    ...(shown === undefined ? {} : { defaultDescription: shown }),
  }
}
