// How a DfsError crosses the wire: [number, message, key, value, key, value, ...].
//
// A number of a later version becomes INTERNAL and keeps its number in the detail. Format: README.md.

import { DfsError, ErrorCode, type ErrorDetail, errorCodeOf } from '../base/errors.ts'
import type { Body } from './body.ts'

/** Characters of a message that cross the wire at most; the rest is cut. */
export const ERROR_MESSAGE_MAX = 2048
/** Facts of a detail that cross the wire at most; the rest is left out. */
export const ERROR_FACTS_MAX = 32

/** The body of an error frame. Causes and stacks stay here. */
export function errorToBody(error: DfsError): Body {
  const body: unknown[] = [ErrorCode[error.code].number, error.message.slice(0, ERROR_MESSAGE_MAX)]
  for (const [key, value] of Object.entries(error.detail)) {
    if (body.length >= 2 + 2 * ERROR_FACTS_MAX) break
    if (value !== undefined) body.push(key, typeof value === 'string' ? value.slice(0, ERROR_MESSAGE_MAX) : value)
  }
  return body
}

/** The error of such a body. Throws BAD_REQUEST for another shape. */
export function errorFromBody(body: Body): DfsError {
  const [number, message] = body
  if (typeof number !== 'number' || typeof message !== 'string' || body.length % 2 !== 0) {
    throw new DfsError('BAD_REQUEST', 'an error frame without number and message')
  }
  const detail: Record<string, ErrorDetail[string]> = {}
  for (let i = 2; i < Math.min(body.length, 2 + 2 * ERROR_FACTS_MAX); i += 2) {
    const key = body[i]
    const value = body[i + 1]
    const isPlain = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    if (typeof key !== 'string' || !isPlain)
      throw new DfsError('BAD_REQUEST', 'an error frame with a detail that is not plain')
    if (key !== '__proto__') detail[key] = value
  }
  const code = errorCodeOf(number)
  if (code === 'INTERNAL' && number !== ErrorCode.INTERNAL.number) detail.number = number
  return new DfsError(code, message, detail)
}
