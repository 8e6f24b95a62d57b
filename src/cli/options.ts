// Options: what a verb declares, and how flags, environment and file become checked values.
//
// Invariants:
//   - a flag beats its environment twin, which beats the file of --config, which beats the default; an option whose being
//     given changes the cluster for good (`flagOnly`) is taken from a flag alone
//   - only declared options are read from the environment: DFS_PORT of some container runtime is not ours
//   - whatever the source, the same text gives the same value or the same refusal

import { parseDuration, parseSize } from '../base/units.ts'
import { UsageError } from './failure.ts'

interface Common {
  readonly describe: string
  /** One letter. */
  readonly alias?: string
  /** Wrong usage when no source gives it. */
  readonly required?: true
  /** Giving it does something that lasts, so it counts only where it is typed: environment and file are for what is so each time. */
  readonly flagOnly?: true
}

/** `list` splits at commas and may be repeated; `size` gives bytes, `duration` milliseconds. */
export type Option =
  | (Common & { readonly kind: 'flag' })
  | (Common & { readonly kind: 'text'; readonly default?: string; readonly choices?: readonly string[] })
  | (Common & { readonly kind: 'list'; readonly default?: string })
  | (Common & {
      readonly kind: 'number'
      readonly default?: string
      /** Smallest and largest accepted whole number; 0 and 2^53 - 1 when not given. */
      readonly min?: number
      readonly max?: number
    })
  | (Common & { readonly kind: 'size'; readonly default?: string })
  | (Common & { readonly kind: 'duration'; readonly default?: string })

export type Options = Readonly<Record<string, Option>>

type Always<O extends Option, T> = O extends { readonly default: string } | { readonly required: true }
  ? T
  : T | undefined

type ValueOf<O extends Option> = O['kind'] extends 'flag'
  ? boolean
  : O['kind'] extends 'list'
    ? readonly string[]
    : O['kind'] extends 'text'
      ? Always<O, string>
      : Always<O, number>

export type ValuesOf<O extends Options> = { readonly [K in keyof O]: ValueOf<O[K]> }

/** What one source says: flags by name, or the fields of a file. */
export type RawValues = Readonly<Record<string, unknown>>

export interface Sources {
  /** From the command line, by option name; absent where not given. */
  readonly flags: RawValues
  readonly environment: Readonly<Record<string, string | undefined>>
  /** From the file of --config, by option name in kebab-case or camelCase. */
  readonly file: RawValues
  /** `DFS` or `DFSD`. */
  readonly prefix: string
}

/**
 * The values of the declared options.
 *
 * @throws UsageError naming the source and the option that is missing or out of its range
 */
export function resolveOptions<O extends Options>(options: O, sources: Sources): ValuesOf<O> {
  const values: Record<string, unknown> = {}
  for (const [name, option] of Object.entries(options)) {
    values[name] = resolve(name, option, sources)
  }
  return values as ValuesOf<O>
}

/** `dead-after-ms` → `DFSD_DEAD_AFTER_MS` */
export function environmentName(prefix: string, name: string): string {
  return `${prefix}_${name.replaceAll('-', '_').toUpperCase()}`
}

/** `dead-after-ms` → `deadAfterMs` */
export function camelCase(name: string): string {
  return name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

function resolve(name: string, option: Option, sources: Sources): unknown {
  const flag = sources.flags[name]
  if (flag !== undefined) return parse(option, flag, `--${name}`)
  const twin = environmentName(sources.prefix, name)
  if (!option.flagOnly) {
    const text = sources.environment[twin]
    if (text !== undefined && text !== '') return parse(option, text, twin)
    const field = sources.file[name] ?? sources.file[camelCase(name)]
    if (field !== undefined && field !== null) return parse(option, field, `${name} of the --config file`)
  }
  if (option.required) throw new UsageError(`--${name} is missing (or set ${twin}): ${option.describe}`)
  if (option.kind === 'flag') return false
  if (option.default !== undefined) return parse(option, option.default, `--${name}`)
  return option.kind === 'list' ? [] : undefined
}

/** @param source  how the message names where `raw` came from */
function parse(option: Option, raw: unknown, source: string): unknown {
  if (option.kind === 'list') {
    const parts = (Array.isArray(raw) ? raw : [raw]).flatMap((part) => scalar(part, source).split(','))
    const words = parts.map((part) => part.trim()).filter((part) => part !== '')
    if (words.length === 0) throw new UsageError(`${source} is empty: ${option.describe}`)
    return words
  }
  // A flag given twice: the last one counts, as in most programs.
  const text = scalar(Array.isArray(raw) ? raw.at(-1) : raw, source)
  switch (option.kind) {
    case 'flag':
      if (/^(true|1|yes|on)$/i.test(text)) return true
      if (/^(false|0|no|off)$/i.test(text)) return false
      throw new UsageError(`${source} is ${text}: say true or false`)
    case 'text':
      if (option.choices && !option.choices.includes(text)) {
        throw new UsageError(`${source} is ${text}: choose one of ${option.choices.join(', ')}`)
      }
      return text
    case 'number': {
      const { min = 0, max = Number.MAX_SAFE_INTEGER } = option
      const value = /^[+-]?[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN
      if (!(value >= min && value <= max)) {
        throw new UsageError(`${source} is ${text}: a whole number of ${min} to ${max} is wanted`)
      }
      return value
    }
    case 'size': {
      const value = parseSize(text)
      if (value === undefined) throw new UsageError(`${source} is ${text}: a size like 64MiB, 10GB or 4096 is wanted`)
      return value
    }
    case 'duration': {
      const value = parseDuration(text)
      if (value === undefined) throw new UsageError(`${source} is ${text}: a time like 500ms, 30s or 3d is wanted`)
      return value
    }
  }
}

function scalar(raw: unknown, source: string): string {
  if (typeof raw === 'string') return raw
  if (typeof raw === 'number' || typeof raw === 'boolean') return String(raw)
  throw new UsageError(`${source} is ${JSON.stringify(raw)}: a single value is wanted`)
}
