// A verb: what one word of `dfs` or `dfsd` takes, and what it does.
//
// A program is a table of names; the module of a verb is loaded when it is called, so that a command starts fast.

import type { Options, ValuesOf } from './options.ts'

/** What a verb is called with. `words` are the arguments that are no options, a lone `-` among them. */
export interface Call<C, O extends Options> {
  readonly context: C
  readonly values: ValuesOf<O>
  readonly words: readonly string[]
}

export interface VerbSpec<C, O extends Options> {
  /** After the name: `[-f] [-r] LOCAL… DST`. */
  readonly usage: string
  readonly options: O
  /** Fewest and most words. */
  readonly words: readonly [min: number, max: number]
  readonly examples: readonly (readonly [command: string, means: string])[]
  /** Options that people write with one dash although they have several letters (`-name`), all with a value. */
  readonly dashed?: readonly string[]
  /** @returns the exit code; 0 when nothing is returned */
  run(call: Call<C, O>): Promise<number | undefined>
}

/** A verb whose options' types are known only to itself. */
export interface Verb<C> {
  readonly usage: string
  readonly options: Options
  readonly words: readonly [min: number, max: number]
  readonly examples: readonly (readonly [command: string, means: string])[]
  readonly dashed?: readonly string[]
  run(call: Call<C, Options>): Promise<number | undefined>
}

/** A line of a program's table. */
export interface VerbEntry<C> {
  readonly describe: string
  load(): Promise<Verb<C>>
}

/** By name: `put`, or `trash ls` for a verb of a group. */
export type VerbTable<C> = Readonly<Record<string, VerbEntry<C>>>

/** Keeps the types of the options together with the function that reads them. */
export function defineVerb<C, const O extends Options>(spec: VerbSpec<C, O>): Verb<C> {
  // The values given to `run` are those that resolveOptions made of the same `options`.
  return spec as unknown as Verb<C>
}
