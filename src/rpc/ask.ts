// Typed messages over a connection: named fields in, named fields out.

import { DfsError } from '../base/errors.ts'
import { type MessageName, type ReplyOf, type RequestOf, shapeOf } from '../wire/messages.ts'
import type { CallOptions, Connection } from './connection.ts'
import type { Handler } from './requests.ts'

/** Sends one request without data and gives its reply. Rejects like `Connection.call`, and with BAD_REQUEST for a reply of another shape. */
export async function ask<K extends MessageName>(
  connection: Connection,
  name: K,
  request: RequestOf<K>,
  options?: Pick<CallOptions, 'timeoutMs' | 'signal'>,
): Promise<ReplyOf<K>> {
  const shape = shapeOf(name)
  const { body } = await connection.call(shape.number, shape.request.encode(request), options)
  return shape.reply.decode(body, name)
}

/** A handler of one message, without data either way: checks the body's shape, answers with what `answer` gives. */
export function answering<K extends MessageName>(
  name: K,
  answer: (request: RequestOf<K>, connection: Connection) => ReplyOf<K> | Promise<ReplyOf<K>>,
): readonly [number: number, handler: Handler] {
  const shape = shapeOf(name)
  const handler: Handler = (incoming) => {
    if (incoming.data) {
      incoming.data.skip()
      throw new DfsError('BAD_REQUEST', `${name} takes no data`, { message: shape.number })
    }
    const reply = answer(shape.request.decode(incoming.body, name), incoming.connection)
    if (!(reply instanceof Promise)) {
      incoming.reply(shape.reply.encode(reply))
      return
    }
    return reply.then((value) => incoming.reply(shape.reply.encode(value)))
  }
  return [shape.number, handler]
}
