// A program: from the arguments to the exit code.
//
// Both command lines run through here: find the verb, load its module, parse, check the values, run, say what went
// wrong. What a verb works with (a client; a daemon's logger) is made by the program, after the values are known.

import { VERSION } from '../base/version.ts'
import { spellOut, splitArguments, wantsHelp } from './arguments.ts'
import { describeFailure, ExitCode, formatFailure, UsageError } from './failure.ts'
import { type Options, type RawValues, resolveOptions, type ValuesOf } from './options.ts'
import { OutputClosed } from './output.ts'
import { parseArguments } from './parser.ts'
import type { VerbTable } from './verb.ts'

export interface Program<C, G extends Options> {
  readonly name: string
  /** Of the environment twins: `DFS`. */
  readonly prefix: string
  readonly describe: string
  readonly table: VerbTable<C>
  /** Options of every verb; a verb's own option of the same name comes first. */
  readonly globals: G
  /** Makes what a verb works with, runs `work` with it, and ends it whatever happens. */
  within(globals: ValuesOf<G>, command: string, work: (context: C) => Promise<number | undefined>): Promise<number>
}

/** Runs one command line. Never throws; what went wrong stands on stderr. @returns the exit code */
export async function runProgram<C, G extends Options>(
  program: Program<C, G>,
  args: readonly string[],
): Promise<number> {
  let command = program.name
  try {
    const names = Object.keys(program.table)
    if (args[0] === 'completion' || args.includes('--get-yargs-completions')) {
      const { complete } = await import('./completion.ts')
      return await complete(program, args)
    }
    const asksForHelp = wantsHelp(args) || args[0] === 'help' || args[0] === '-h'
    const { verb, group, rest } = splitArguments(
      args[0] === 'help' ? [...args.slice(1), '--help'] : args,
      names,
      program.globals,
      program.name,
    )
    if (verb === undefined) return await withoutVerb(program, args, asksForHelp, group)
    command = `${program.name} ${verb}`
    const entry = program.table[verb]!
    const spec = await entry.load()
    const common: Options = Object.fromEntries(
      Object.entries(program.globals).filter(([name]) => !(name in spec.options)),
    )
    const options = { ...spec.options, ...common }
    if (asksForHelp) {
      const { helpOfVerb } = await import('./help.ts')
      const page = { ...spec, command, describe: entry.describe, prefix: program.prefix }
      process.stdout.write(`${await helpOfVerb(page, spec.options, common)}\n`)
      return ExitCode.done
    }
    const { flags, words } = parseArguments(spellOut(rest, spec.dashed ?? []), options)
    const sources = {
      flags,
      environment: process.env,
      file: await configFile(flags, program, options),
      prefix: program.prefix,
    }
    const values = resolveOptions(options, sources)
    const globals = resolveOptions(program.globals, sources)
    checkWords(words, spec.words, spec.usage, command)
    return await program.within(globals, command, async (context) => spec.run({ context, values, words }))
  } catch (error) {
    if (error instanceof OutputClosed) return ExitCode.done
    const failure = describeFailure(error, command)
    process.stderr.write(formatFailure(failure, command, wantsJson(program.prefix, args)))
    return failure.exitCode
  }
}

/** Asked of the arguments as they are: they may be what is wrong. */
function wantsJson(prefix: string, args: readonly string[]): boolean {
  return args.includes('--json') || /^(true|1|yes|on)$/i.test(process.env[`${prefix}_JSON`] ?? '')
}

async function withoutVerb<C, G extends Options>(
  program: Program<C, G>,
  args: readonly string[],
  asksForHelp: boolean,
  group?: string,
): Promise<number> {
  if (args.includes('--version')) {
    process.stdout.write(`${program.name} ${VERSION}\n`)
    return ExitCode.done
  }
  const stray = args[0]
  if (stray !== undefined && !asksForHelp) throw new UsageError(`${stray} is no verb and none follows`)
  const verbs = Object.entries(program.table)
    .filter(([name]) => group === undefined || name.startsWith(`${group} `))
    .map(([name, entry]) => [name, entry.describe] as const)
  const { helpOfProgram } = await import('./help.ts')
  const help = await helpOfProgram(program.name, program.describe, verbs)
  ;(asksForHelp ? process.stdout : process.stderr).write(`${help}\n`)
  return asksForHelp ? ExitCode.done : ExitCode.usage
}

function checkWords(
  words: readonly string[],
  [min, max]: readonly [number, number],
  usage: string,
  command: string,
): void {
  const wanted = usage === '' ? `${command} takes no words` : `${command} wants: ${usage}`
  if (words.length < min) throw new UsageError(wanted)
  if (words.length > max) throw new UsageError(`"${words[max]}" is one word too many; ${wanted}`)
}

/** The fields of the --config file. A field that no verb of the program declares is a slip of the pen and refused. */
async function configFile<C, G extends Options>(
  flags: RawValues,
  program: Program<C, G>,
  options: Options,
): Promise<RawValues> {
  const path = flags.config ?? process.env[`${program.prefix}_CONFIG`]
  if (path === undefined || path === '') return {}
  const [{ readConfigFile }, { camelCase }] = await Promise.all([import('./config-file.ts'), import('./options.ts')])
  const fields = await readConfigFile(String(Array.isArray(path) ? path.at(-1) : path))
  const known = new Set<string>()
  const learn = (declared: Options) => {
    for (const name of Object.keys(declared)) known.add(name).add(camelCase(name))
  }
  learn(options)
  if (Object.keys(fields).every((field) => known.has(field))) return fields
  for (const entry of Object.values(program.table)) learn((await entry.load()).options)
  const stray = Object.keys(fields).find((field) => !known.has(field))
  if (stray === undefined) return fields
  const { nearest } = await import('./nearest.ts')
  const near = nearest(stray, known)
  throw new UsageError(
    `--config: no option is called "${stray}"${near === undefined ? '' : `; did you mean "${near}"?`}`,
  )
}
