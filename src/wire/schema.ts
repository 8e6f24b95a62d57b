// Schemas: the shape of a message body, as positional arrays on the wire and named fields in the program.
//
// A decoder accepts more fields than it knows (a later version's) and fills a missing field that has a default
// (an earlier version's). Everything else that does not fit is BAD_REQUEST with the field's name: bytes from outside
// are never asserted.

import { DfsError } from '../base/errors.ts'

export interface Field<T> {
  /** The plain value for msgpack. */
  encode(value: T): unknown
  /** Checks and names; BAD_REQUEST otherwise. `where` names the field in the error. */
  decode(value: unknown, where: string): T
  /** What a body without this field means; absent: the field is required. */
  readonly missing?: { readonly value: T }
}

export interface Struct<T> extends Field<T> {
  readonly names: readonly string[]
  encode(value: T): unknown[]
}

/** A field of any type: what tables of messages hold. */
export interface AnyField {
  encode(value: never): unknown
  decode(value: unknown, where: string): unknown
  readonly missing?: { readonly value: unknown }
}

export interface AnyStruct extends AnyField {
  readonly names: readonly string[]
  encode(value: never): unknown[]
}

export type Infer<F extends AnyField> = ReturnType<F['decode']>
type Shape = Readonly<Record<string, AnyField>>
type StructOf<S extends Shape> = { readonly [K in keyof S]: Infer<S[K]> }

function refuse(where: string, want: string, value: unknown): never {
  throw new DfsError('BAD_REQUEST', `${where}: expected ${want}, got ${describe(value)}`)
}

function describe(value: unknown): string {
  if (value === null) return 'nil'
  if (typeof value === 'object') return Array.isArray(value) ? `an array of ${value.length}` : 'a map or bytes'
  return typeof value === 'string' ? `a text of ${value.length}` : String(value)
}

/** A whole number in `min` .. `max`, by default 0 .. 2^53 - 1. `T` brands it. */
export function integer<T extends number = number>(min = 0, max: number = Number.MAX_SAFE_INTEGER): Field<T> {
  return {
    encode: (value) => value,
    decode(value, where) {
      const number = typeof value === 'bigint' ? Number(value) : value
      if (typeof number !== 'number' || !Number.isSafeInteger(number) || number < min || number > max)
        refuse(where, `a whole number in ${min} .. ${max}`, value)
      return number as T
    },
  }
}

/** Any finite number. */
export const decimal: Field<number> = {
  encode: (value) => value,
  decode: (value, where) =>
    typeof value === 'number' && Number.isFinite(value) ? value : refuse(where, 'a number', value),
}

export const boolean: Field<boolean> = {
  encode: (value) => value,
  decode: (value, where) => (typeof value === 'boolean' ? value : refuse(where, 'true or false', value)),
}

/** A text of at most `lengthMax` UTF-16 units. */
export function text<T extends string = string>(lengthMax: number): Field<T> {
  return {
    encode: (value) => value,
    decode: (value, where) =>
      typeof value === 'string' && value.length <= lengthMax
        ? (value as T)
        : refuse(where, `a text of at most ${lengthMax}`, value),
  }
}

/** Raw bytes, at most `bytesMax`; the decoded value is a view of the body. */
export function bytes(bytesMax: number): Field<Uint8Array> {
  return {
    encode: (value) => value,
    decode: (value, where) =>
      value instanceof Uint8Array && value.length <= bytesMax
        ? value
        : refuse(where, `at most ${bytesMax} bytes`, value),
  }
}

/** One of the given words; on the wire its position, so words are only ever added at the end. */
export function word<const W extends readonly string[]>(...words: W): Field<W[number]> {
  return {
    encode: (value) => words.indexOf(value),
    decode(value, where) {
      const found = typeof value === 'number' ? words[value] : undefined
      return found ?? refuse(where, `one of ${words.join(', ')}`, value)
    },
  }
}

/** At most `countMax` items. */
export function list<T>(item: Field<T>, countMax: number): Field<readonly T[]> {
  return {
    encode: (value) => value.map((entry) => item.encode(entry)),
    decode(value, where) {
      if (!Array.isArray(value) || value.length > countMax) refuse(where, `a list of at most ${countMax}`, value)
      return value.map((entry, index) => item.decode(entry, `${where}[${index}]`))
    },
  }
}

/** Nil on the wire stands for undefined. A body that ends before the field means undefined as well. */
export function optional<T>(field: Field<T>): Field<T | undefined> {
  return {
    encode: (value) => (value === undefined ? null : field.encode(value)),
    decode: (value, where) => (value === null || value === undefined ? undefined : field.decode(value, where)),
    missing: { value: undefined },
  }
}

/** `value` for a body that ends before this field: how a field is added to a message that is in use. */
export function added<T>(field: Field<T>, value: T): Field<T> {
  return { encode: field.encode, decode: field.decode, missing: { value } }
}

/** A plain JSON-like document whose shape is for people and scripts, not for the protocol. */
export const document: Field<unknown> = { encode: (value) => value, decode: (value) => value }

/** Named fields in a fixed order; a positional array on the wire. */
export function struct<const S extends Shape>(shape: S): Struct<StructOf<S>> {
  const names = Object.keys(shape)
  const fields = names.map((name) => shape[name] as Field<unknown>)
  return {
    names,
    encode(value) {
      const row = value as Readonly<Record<string, unknown>>
      const out = new Array<unknown>(fields.length)
      for (let i = 0; i < fields.length; i++) out[i] = fields[i]!.encode(row[names[i]!])
      return out
    },
    decode(value, where) {
      if (!Array.isArray(value)) refuse(where, 'a list of fields', value)
      const row: Record<string, unknown> = {}
      for (let i = 0; i < fields.length; i++) {
        const field = fields[i]!
        const name = names[i]!
        if (i < value.length) row[name] = field.decode(value[i], `${where}.${name}`)
        else if (field.missing) row[name] = field.missing.value
        else refuse(`${where}.${name}`, 'a value', undefined)
      }
      return row as StructOf<S>
    },
  }
}
