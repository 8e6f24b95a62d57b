// One connection between two peers, over the real network and the simulated one.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { DfsError } from '../../src/base/errors.ts'
import { Random } from '../../src/base/random.ts'
import type { ReceivedBytes } from '../../src/io/network.ts'
import type { Connection } from '../../src/rpc/connection.ts'
import type { DataWriter } from '../../src/rpc/outgoing-stream.ts'
import type { Handler, IncomingRequest } from '../../src/rpc/requests.ts'
import { type PortsUnderTest, worldsUnderTest } from '../io/ports.ts'
import { bugs, dial, errorOf, listen, RawPeer } from './harness.ts'

const piece = new Random(5).bytes(300_000)

const echo: Handler = (request) => request.reply(['echo', ...request.body])
const echoData: Handler = async (request) => {
  const data = await request.data!.collect()
  request.reply([data.length], [data])
}

/** Runs the claim in every world, and looks afterwards that nothing was left. */
function everywhere(claim: string, body: (ports: PortsUnderTest) => Promise<void>): void {
  for (const world of worldsUnderTest) {
    test(`${claim} (${world.name})`, async () => {
      await world.run(body)
      assert.equal(bugs, [])
    })
  }
}

/** A server with these handlers and a connection to it; both are closed afterwards. */
async function pair(
  ports: PortsUnderTest,
  handlers: Record<number, Handler>,
  body: (connection: Connection) => Promise<void>,
  clientHandlers: Record<number, Handler> = {},
): Promise<void> {
  const server = await listen(ports.io, ports.host, handlers)
  const connection = await dial(ports.other, server.address, {
    handlers: new Map(Object.entries(clientHandlers).map(([number, handler]) => [Number(number), handler])),
  })
  await body(connection)
  connection.close()
  await server.close()
  await ports.io.clock.sleep(50)
}

everywhere('a call is answered, with data and without', (ports) =>
  pair(ports, { 1: echo, 2: echoData }, async (connection) => {
    assert.is(connection.peer?.name, 'm-1')
    assert.equal((await connection.call(1, [1, 'x', null])).body, ['echo', 1, 'x', null])
    const reply = await connection.call(2, [], { data: [piece.subarray(0, 7), piece.subarray(7)] })
    assert.equal(reply.body, [piece.length])
    assert.is(Buffer.compare(reply.data!, piece), 0)
    const large = 'y'.repeat(900_000)
    assert.equal((await connection.call(1, [large])).body, ['echo', large])
  }),
)

everywhere('data of no bytes is no data', (ports) =>
  pair(ports, { 1: (request) => request.reply([request.data === undefined], []) }, async (connection) => {
    let written = 0
    const reply = await connection.call(1, [], { data: [Buffer.alloc(0)], onWritten: () => written++ })
    assert.equal(reply, { body: [true], data: undefined })
    assert.is(written, 1)
  }),
)

everywhere('answers come in any order', (ports) => {
  const waiting: IncomingRequest[] = []
  const hold: Handler = (request) => {
    waiting.push(request)
    if (waiting.length === 100) for (const each of waiting.reverse()) each.reply(each.body)
  }
  return pair(ports, { 1: hold }, async (connection) => {
    const order: number[] = []
    const calls = Array.from({ length: 100 }, async (_, index) => {
      assert.equal((await connection.call(1, [index])).body, [index])
      order.push(index)
    })
    await Promise.all(calls)
    assert.equal(
      order,
      Array.from({ length: 100 }, (_, index) => 99 - index),
    )
  })
})

everywhere('an error keeps its code, its message and its facts', (ports) => {
  const detail = { path: '/a', handle: 17, final: true }
  const refuse: Handler = () => {
    throw new DfsError('CHUNK_FENCED', 'chunk 17 is fenced', detail)
  }
  const refuseLater: Handler = async (request) => {
    await ports.io.clock.sleep(1)
    refuse(request)
  }
  return pair(ports, { 1: refuse, 2: refuseLater }, async (connection) => {
    for (const message of [1, 2]) {
      const error = await errorOf(connection.call(message, []))
      assert.is(error.code, 'CHUNK_FENCED')
      assert.is(error.message, 'chunk 17 is fenced')
      assert.equal(error.detail, detail)
    }
    assert.is((await errorOf(connection.call(9, []))).code, 'UNKNOWN_MESSAGE')
    assert.is((await errorOf(connection.call(9, [], { data: [piece] }))).code, 'UNKNOWN_MESSAGE')
    assert.ok(connection.isOpen)
  })
})

everywhere('both sides ask on one connection', (ports) => {
  const askBack: Handler = async (request) => {
    const { body } = await request.connection.call(5, [...request.body, 'back'])
    request.reply(body)
  }
  const body = async (connection: Connection) => {
    const replies = await Promise.all([1, 2, 3].map((index) => connection.call(1, [index])))
    assert.equal(
      replies.map((reply) => reply.body),
      [1, 2, 3].map((index) => ['echo', index, 'back']),
    )
  }
  return pair(ports, { 1: askBack }, body, { 5: echo })
})

everywhere('the data of a request is passed on as it comes, without a copy', async (ports) => {
  const end = await listen(ports.io, ports.host, { 2: echoData })
  const onward = await dial(ports.io, end.address)
  let slices = 0
  /** Cut-through: the head at once, each slice when it is there, paused when the next hop has no room. */
  const relay: Handler = async (request) => {
    const data = request.data!
    const { writer, reply } = onward.beginCall(2, request.body, data.bytes, data.crc, () => data.resume())
    let crc = 0
    data.receive({
      onData(bytes: Buffer, received: ReceivedBytes) {
        slices++
        crc = crc32(bytes, crc)
        received.retain()
        if (!writer.write([bytes], () => received.release())) data.pause()
      },
      onEnd(error) {
        if (error !== undefined) writer.abort(error)
      },
      crc: () => crc,
    })
    const { body, data: back } = await reply
    request.reply(body, [back!])
  }
  await pair(ports, { 1: relay }, async (connection) => {
    const replies = await Promise.all([1, 2, 3].map(() => connection.call(1, [], { data: [piece] })))
    for (const { data } of replies) assert.is(Buffer.compare(data!, piece), 0)
    assert.ok(slices > 3)
  })
  onward.close()
  await end.close()
})

everywhere('a request aborted in the middle of its data costs neither the connection nor others', (ports) => {
  const seen: string[] = []
  const take: Handler = async (request) => {
    try {
      await request.data!.collect()
    } catch (error) {
      seen.push((error as DfsError).code)
      throw error
    }
  }
  return pair(ports, { 1: echo, 2: take }, async (connection) => {
    const { writer, reply } = connection.beginCall(2, [], piece.length, crc32(piece), () => {})
    const behind = connection.call(1, ['behind'])
    const outcome = errorOf(reply)
    writer.write([piece.subarray(0, 1000)])
    await ports.io.clock.sleep(5)
    writer.abort(new DfsError('CHAIN_BROKEN', 'the source is gone'))
    assert.is((await outcome).code, 'CHAIN_BROKEN')
    assert.equal((await behind).body, ['echo', 'behind'])
    assert.equal(seen, ['ABORTED'])
    assert.ok(connection.isOpen)
  })
})

everywhere('a reply aborted in the middle of its data is the error that the server gave', (ports) => {
  const give: Handler = (request) => {
    const writer = request.beginReply(['head'], piece.length, crc32(piece), () => {})
    writer.write([piece.subarray(0, 100_000)])
    writer.abort(new DfsError('DISK_FAILED', 'EIO at 100000'))
  }
  return pair(ports, { 1: give }, async (connection) => {
    assert.is((await errorOf(connection.call(1, []))).code, 'DISK_FAILED')
    let seen: DfsError | undefined
    const error = await errorOf(
      connection.call(1, [], {
        onData: (_body, data) =>
          data.receive({
            onData() {},
            onEnd(end) {
              seen = end
            },
          }),
      }),
    )
    assert.is(error.code, 'DISK_FAILED')
    assert.is(seen?.code, 'ABORTED')
    assert.ok(connection.isOpen)
  })
})

everywhere('streams wait for one another, and each comes out whole', (ports) => {
  const give: Handler = async (request) => {
    const [from, to] = request.body as [number, number]
    const bytes = piece.subarray(from, to)
    const writer: DataWriter = request.beginReply([from], bytes.length, crc32(bytes), () => {})
    for (let at = 0; at < bytes.length; at += 10_000) {
      writer.write([bytes.subarray(at, at + 10_000)])
      if (at % 50_000 === 0) await ports.io.clock.sleep(1)
    }
  }
  return pair(ports, { 1: give, 2: echo }, async (connection) => {
    const ranges = Array.from({ length: 10 }, (_, index) => [index * 1000, 200_000 + index] as const)
    await Promise.all(
      ranges.map(async ([from, to], index) => {
        const { data } = await connection.call(1, [from, to])
        assert.is(Buffer.compare(data!, piece.subarray(from, to)), 0)
        assert.equal((await connection.call(2, [index])).body, ['echo', index])
      }),
    )
  })
})

everywhere('a sink may be attached late, and pause: nothing is lost, and nothing else overtakes', (ports) => {
  const order: string[] = []
  const late: Handler = async (request) => {
    await ports.io.clock.sleep(20)
    const parts: Buffer[] = []
    const data = request.data!
    data.receive({
      onData(bytes) {
        parts.push(Buffer.from(bytes))
        if (parts.length % 5 === 1) {
          data.pause()
          ports.io.clock.after(1, () => data.resume())
        }
      },
      onEnd(error) {
        order.push('data')
        assert.is(error, undefined)
        request.reply([], [Buffer.concat(parts)])
      },
    })
  }
  const after: Handler = (request) => {
    order.push('after')
    request.reply([])
  }
  return pair(ports, { 1: late, 2: after }, async (connection) => {
    const [reply] = await Promise.all([connection.call(1, [], { data: [piece] }), connection.call(2, [])])
    assert.is(Buffer.compare(reply.data!, piece), 0)
    assert.equal(order, ['data', 'after'])
  })
})

everywhere('a request answered before its data was asked for does not hold up the next', (ports) =>
  pair(ports, { 1: (request) => request.fail(new DfsError('DISK_FULL', 'no')), 2: echo }, async (connection) => {
    const refused = errorOf(connection.call(1, [], { data: [piece] }))
    assert.equal((await connection.call(2, [])).body, ['echo'])
    assert.is((await refused).code, 'DISK_FULL')
  }),
)

everywhere('a deadline, and a signal, end the call and reach the handler', (ports) => {
  const reasons: string[] = []
  const hang: Handler = (request) => {
    request.signal.addEventListener('abort', () => {
      reasons.push((request.signal.reason as DfsError).code)
      assert.ok(request.isCancelled)
      request.reply(['late'])
    })
  }
  return pair(ports, { 1: hang, 2: echo }, async (connection) => {
    assert.is((await errorOf(connection.call(1, [], { timeoutMs: 30 }))).code, 'TIMEOUT')
    const abort = new AbortController()
    const call = errorOf(connection.call(1, [], { signal: abort.signal }))
    await ports.io.clock.sleep(10)
    abort.abort()
    assert.is((await call).code, 'ABORTED')
    assert.is((await errorOf(connection.call(1, [], { signal: AbortSignal.abort() }))).code, 'ABORTED')
    const reason = new DfsError('TIMEOUT', 'the whole operation')
    assert.is(await errorOf(connection.call(1, [], { signal: AbortSignal.abort(reason) })), reason)
    assert.equal((await connection.call(2, [])).body, ['echo'])
    await ports.io.clock.sleep(10)
    assert.ok(reasons.length >= 2)
    assert.ok(reasons.every((code) => code === 'ABORTED'))
    assert.is(connection.callCount, 0)
  })
})

everywhere('when a connection ends, calls fail, signals fire, sinks end and writers are told', async (ports) => {
  const told: string[] = []
  const hang: Handler = (request) => {
    request.signal.addEventListener('abort', () => told.push('signal'))
    request.data?.receive({ onData() {}, onEnd: (error) => told.push(`sink ${error?.code}`) })
  }
  const server = await listen(ports.io, ports.host, { 1: hang })
  let closed = 0
  const connection = await dial(ports.other, server.address, { onClose: () => closed++ })
  const plain = errorOf(connection.call(1, []))
  const { writer, reply } = connection.beginCall(1, [], piece.length, crc32(piece), () => {})
  const streamed = errorOf(reply)
  writer.write([piece.subarray(0, 10)])
  await ports.io.clock.sleep(20)
  connection.destroy(new DfsError('CONNECTION_LOST', 'pulled the plug'))
  assert.is((await plain).code, 'CONNECTION_LOST')
  assert.is((await streamed).code, 'CONNECTION_LOST')
  assert.ok(writer.isOver)
  let written: DfsError | undefined
  writer.write([piece], (error) => {
    written = error
  })
  assert.is(written?.code, 'CONNECTION_LOST')
  assert.is((await errorOf(connection.call(1, []))).code, 'CONNECTION_LOST')
  await ports.io.clock.sleep(50)
  assert.is(closed, 1)
  assert.equal(told.sort(), ['signal', 'signal', 'sink CONNECTION_LOST'])
  await server.close()
})

everywhere('what was sent before close arrives', async (ports) => {
  const seen: unknown[] = []
  const server = await listen(ports.io, ports.host, { 1: (request) => void seen.push(request.body[0]) })
  const connection = await dial(ports.other, server.address)
  for (let index = 0; index < 50; index++) errorOf(connection.call(1, [index, 'z'.repeat(20_000)]))
  connection.close()
  for (let wait = 0; wait < 100 && seen.length < 50; wait++) await ports.io.clock.sleep(30)
  assert.is(seen.length, 50)
  await server.close()
})

everywhere('garbage is told what it is, and costs only its own connection', (ports) =>
  pair(ports, { 1: echo }, async (connection) => {
    const peer = await RawPeer.connect(ports.other, connection.remote)
    peer.send(Buffer.from('GET / HTTP/1.1\r\n\r\n'))
    for (let wait = 0; wait < 100 && !peer.isEnded; wait++) await ports.io.clock.sleep(20)
    assert.equal(
      peer.errors(0).map((error) => error.code),
      ['BAD_FRAME'],
    )
    assert.equal((await connection.call(1, [])).body, ['echo'])
    peer.socket.end()
    await ports.io.clock.sleep(50)
  }),
)

test.run()
