// Schemas: the shape of a message body, as positional arrays on the wire and named fields in the program.
//
// A decoder accepts more fields than it knows (a later version's) and fills a missing field that has a default
// (an earlier version's). Everything else that does not fit is BAD_REQUEST with the field's name: bytes from outside
// are never asserted.
//
// Bodies are coded once a request, so a struct's two functions are written as code from its field names when it is first
// used: an object literal of known fields costs a tenth of one that is filled field by field under computed names. Only
// names that stand in the source as identifiers get into that code.

import { assert } from '../base/assert.ts'
import { DfsError } from '../base/errors.ts'

export interface Field<T> {
  /** The plain value for msgpack. */
  encode(value: T): unknown
  /** Checks and names; throws a Misfit otherwise, which `Struct.decode` makes a BAD_REQUEST. */
  take(value: unknown): T
  /** What a body without this field means; absent: the field is required. */
  readonly missing?: { readonly value: T }
}

export interface Struct<T> extends Field<T> {
  readonly names: readonly string[]
  encode(value: T): unknown[]
  /** Checks and names; BAD_REQUEST otherwise, with the field's place: `where`, then its names. */
  decode(value: unknown, where: string): T
}

/** A field of any type: what tables of messages hold. */
export interface AnyField {
  encode(value: never): unknown
  take(value: unknown): unknown
  readonly missing?: { readonly value: unknown }
}

export interface AnyStruct extends AnyField {
  readonly names: readonly string[]
  encode(value: never): unknown[]
  decode(value: unknown, where: string): unknown
}

export type Infer<F extends AnyField> = ReturnType<F['take']>
type Shape = Readonly<Record<string, AnyField>>
type StructOf<S extends Shape> = { readonly [K in keyof S]: Infer<S[K]> }

/** A value without the shape that was wanted; `place` grows on its way out of structs and lists. */
class Misfit extends Error {
  override readonly name = 'Misfit'
  place = ''
}

function refuse(want: string, value: unknown): never {
  throw new Misfit(`expected ${want}, got ${describe(value)}`)
}

/** The fault with one more step of its place in front; what is no misfit stays what it is. */
function within(step: string, fault: unknown): unknown {
  if (fault instanceof Misfit) fault.place = step + fault.place
  return fault
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
    take(value) {
      const number = typeof value === 'bigint' ? Number(value) : value
      if (typeof number !== 'number' || !Number.isSafeInteger(number) || number < min || number > max)
        refuse(`a whole number in ${min} .. ${max}`, value)
      return number as T
    },
  }
}

/** Any finite number. */
export const decimal: Field<number> = {
  encode: (value) => value,
  take: (value) => (typeof value === 'number' && Number.isFinite(value) ? value : refuse('a number', value)),
}

export const boolean: Field<boolean> = {
  encode: (value) => value,
  take: (value) => (typeof value === 'boolean' ? value : refuse('true or false', value)),
}

/** A text of at most `lengthMax` UTF-16 units. */
export function text<T extends string = string>(lengthMax: number): Field<T> {
  return {
    encode: (value) => value,
    take: (value) =>
      typeof value === 'string' && value.length <= lengthMax
        ? (value as T)
        : refuse(`a text of at most ${lengthMax}`, value),
  }
}

/** Raw bytes, at most `bytesMax`; the decoded value is a view of the body. */
export function bytes(bytesMax: number): Field<Uint8Array> {
  return {
    encode: (value) => value,
    take: (value) =>
      value instanceof Uint8Array && value.length <= bytesMax ? value : refuse(`at most ${bytesMax} bytes`, value),
  }
}

/** One of the given words; on the wire its position, so words are only ever added at the end. */
export function word<const W extends readonly string[]>(...words: W): Field<W[number]> {
  return {
    encode: (value) => words.indexOf(value),
    take(value) {
      const found = typeof value === 'number' ? words[value] : undefined
      return found ?? refuse(`one of ${words.join(', ')}`, value)
    },
  }
}

/** At most `countMax` items. */
export function list<T>(item: Field<T>, countMax: number): Field<readonly T[]> {
  return {
    encode: (value) => value.map((entry) => item.encode(entry)),
    take(value) {
      if (!Array.isArray(value) || value.length > countMax) refuse(`a list of at most ${countMax}`, value)
      const items = new Array<T>(value.length)
      let index = 0
      try {
        for (; index < items.length; index++) items[index] = item.take(value[index])
      } catch (fault) {
        throw within(`[${index}]`, fault)
      }
      return items
    },
  }
}

/** Nil on the wire stands for undefined. A body that ends before the field means undefined as well. */
export function optional<T>(field: Field<T>): Field<T | undefined> {
  return {
    encode: (value) => (value === undefined ? null : field.encode(value)),
    take: (value) => (value === null || value === undefined ? undefined : field.take(value)),
    missing: { value: undefined },
  }
}

/** `value` for a body that ends before this field: how a field is added to a message that is in use. */
export function added<T>(field: Field<T>, value: T): Field<T> {
  return { encode: field.encode, take: field.take, missing: { value } }
}

/** A plain JSON-like document whose shape is for people and scripts, not for the protocol. */
export const document: Field<unknown> = { encode: (value) => value, take: (value) => value }

/** Named fields in a fixed order; a positional array on the wire. */
export function struct<const S extends Shape>(shape: S): Struct<StructOf<S>> {
  const names = Object.keys(shape)
  const fields = names.map((name) => shape[name] as Field<unknown>)
  let codec: Codec<StructOf<S>> | undefined
  const take = (value: unknown): StructOf<S> => {
    if (!Array.isArray(value)) refuse('a list of fields', value)
    codec ??= compile(names, fields)
    return value.length >= names.length ? codec.take(value) : takeShort(names, fields, value)
  }
  return {
    names,
    encode(value) {
      codec ??= compile(names, fields)
      return codec.encode(value)
    },
    take,
    decode(value, where) {
      try {
        return take(value)
      } catch (fault) {
        if (!(fault instanceof Misfit)) throw fault
        throw new DfsError('BAD_REQUEST', `${where}${fault.place}: ${fault.message}`)
      }
    },
  }
}

interface Codec<T> {
  encode(row: T): unknown[]
  /** @param list  as long as there are fields, or longer */
  take(list: readonly unknown[]): T
}

/** Both directions of a struct as one array literal and one object literal. */
function compile<T>(names: readonly string[], fields: readonly Field<unknown>[]): Codec<T> {
  assert(
    names.every((name) => /^[a-z][A-Za-z0-9]*$/.test(name)),
    'a field name that is no identifier',
  )
  const encoded = names.map((name, i) => `f${i}.encode(row.${name})`)
  const taken = names.map((name, i) => `${name}: (i = ${i}, f${i}.take(list[${i}]))`)
  const make = new Function(
    'failed',
    ...names.map((_, i) => `f${i}`),
    `return {
      encode(row) { return [${encoded.join(', ')}] },
      take(list) {
        let i = 0
        try { return { ${taken.join(', ')} } } catch (fault) { throw failed(i, fault) }
      },
    }`,
  )
  return make((i: number, fault: unknown) => within(`.${names[i]}`, fault), ...fields) as Codec<T>
}

/** A body of an earlier version, which ends before the last fields. */
function takeShort<T>(names: readonly string[], fields: readonly Field<unknown>[], list: readonly unknown[]): T {
  const row: Record<string, unknown> = {}
  for (let i = 0; i < fields.length; i++) {
    const { missing } = fields[i]!
    try {
      if (i < list.length) row[names[i]!] = fields[i]!.take(list[i])
      else if (missing) row[names[i]!] = missing.value
      else refuse('a value', undefined)
    } catch (fault) {
      throw within(`.${names[i]}`, fault)
    }
  }
  return row as T
}
