// msgpack bodies: positional arrays, the same bytes for the same value, no extension that depends on history.
//
// Decoded Buffers are views of the input: copy what outlives it.

import { Packr } from 'msgpackr'
import { DfsError } from './errors.ts'

const packr = new Packr({
  useRecords: false,
  variableMapSize: true,
  // Numbers up to 2^53 - 1, bigint beyond; the package's types don't know the word.
  int64AsType: 'auto' as 'number',
  encodeUndefinedAsNil: true,
})

/** Encodes into a new buffer the caller owns. */
export function pack(value: unknown): Buffer {
  return packr.pack(value)
}

/** Decodes one value that fills `bytes`. Throws BAD_REQUEST for anything else. Buffers in the result are views of `bytes`. */
export function unpack(bytes: Uint8Array): unknown {
  try {
    return packr.unpack(bytes)
  } catch (cause) {
    throw new DfsError('BAD_REQUEST', 'a body that is not msgpack', { bytes: bytes.length }, cause)
  }
}
