// Shell completion: `source <(dfs completion)`. yargs asks the program itself for the words that can follow.

import { yargsPage } from './help.ts'
import type { Options } from './options.ts'
import type { Program } from './program.ts'

/** Prints the script for the shell, or, asked by that script, the words that can follow. @returns the exit code */
export async function complete<C, G extends Options>(program: Program<C, G>, args: readonly string[]): Promise<number> {
  const isScript = args[0] === 'completion'
  const made = yargsPage({})
    .scriptName(program.name)
    .completion('completion', 'print the completion script of the shell')
  const verbs = Object.entries(program.table)
  if (isScript) {
    made.showCompletionScript()
    return 0
  }
  const typed = args.filter((argument) => argument !== '--get-yargs-completions')
  const words = typed.slice(1)
  const current = words.at(-1) ?? ''
  const before = words.slice(0, -1)
  const verb = verbs.find(([name]) => before.slice(0, name.split(' ').length).join(' ') === name)
  const candidates =
    verb === undefined
      ? nextWords(
          verbs.map(([name]) => name),
          before,
        )
      : optionsOf({ ...(await verb[1].load()).options, ...program.globals })
  for (const candidate of candidates) if (candidate.startsWith(current)) process.stdout.write(`${candidate}\n`)
  return 0
}

function nextWords(names: readonly string[], before: readonly string[]): string[] {
  const next = names
    .map((name) => name.split(' '))
    .filter((parts) => parts.length > before.length && before.every((word, index) => parts[index] === word))
    .map((parts) => parts[before.length]!)
  return [...new Set(next)]
}

function optionsOf(options: Options): string[] {
  return Object.keys(options).map((name) => `--${name}`)
}
