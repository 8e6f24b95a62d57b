// Peers that break the rules: a typed error, a closed connection where it must be, bounded memory, everyone else served.
//
// Each claim has a well-behaved client beside the bad one, which must be answered before, during and after.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { DfsError, type ErrorCode } from '../../src/base/errors.ts'
import { Random } from '../../src/base/random.ts'
import type { Io } from '../../src/io/io.ts'
import type { Connection } from '../../src/rpc/connection.ts'
import type { Handler } from '../../src/rpc/requests.ts'
import type { RpcServer, ServerOptions } from '../../src/rpc/server.ts'
import { encodeBody } from '../../src/wire/body.ts'
import { FrameType } from '../../src/wire/header.ts'
import { hello } from '../../src/wire/hello.ts'
import { SimWorld } from '../sim/world.ts'
import { frame } from '../wire/frames.ts'
import { bugs, CLUSTER, dial, errorOf, listen, onBug, QUICK, RawPeer } from './harness.ts'

interface Scene {
  readonly world: SimWorld
  readonly server: RpcServer
  /** Ports of the machine of the bad peer. */
  readonly bad: Io
  /** Handlers that started, and how many run now and ran at most. */
  readonly seen: { started: number; running: number; runningMax: number; ends: (ErrorCode | 'complete')[] }
  /** Why connections of the server ended. */
  readonly reasons: DfsError[]
  /** Asks as the well-behaved client. */
  served(): Promise<void>
}

const big = new Random(1).bytes(60_000)

async function scene(body: (scene: Scene) => Promise<void>, options: Partial<ServerOptions> = {}): Promise<void> {
  const world = new SimWorld(7)
  const home = world.machine('home')
  const reasons: DfsError[] = []
  const seen: Scene['seen'] = { started: 0, running: 0, runningMax: 0, ends: [] }
  const echo: Handler = (request) => request.reply(request.body)
  const slow: Handler = async (request) => {
    seen.started++
    seen.running++
    seen.runningMax = Math.max(seen.runningMax, seen.running)
    await home.io.clock.sleep(100)
    seen.running--
    request.reply([])
  }
  const large: Handler = (request) => request.reply([], [big])
  const take: Handler = (request) => {
    seen.started++
    request.data!.receive({
      onData() {},
      onEnd(error) {
        seen.ends.push(error === undefined ? 'complete' : error.code)
        if (error === undefined) request.reply([])
        else request.fail(error)
      },
    })
  }
  const hang: Handler = () => void seen.started++
  await world.run(async () => {
    const server = await listen(
      home.io,
      'home',
      { 1: echo, 2: slow, 3: large, 4: take, 5: hang },
      {
        limits: QUICK,
        onClose: (_, reason) => reasons.push(reason),
        ...options,
      },
    )
    const good = await dial(world.machine('good').io, server.address, { limits: QUICK })
    const served = async () => assert.equal((await good.call(1, ['fine'])).body, ['fine'])
    await served()
    await body({ world, server, bad: world.machine('bad').io, seen, reasons, served })
    await served()
    good.close()
    await server.close(0)
    await world.sleep(6000)
    assert.is(server.connections.size, 0)
  })
  assert.is(world.network.retainedBuffers, 0)
  assert.equal(bugs, [])
}

/** The peer was told `code` as the last word, and its connection is gone. */
async function refusedWith(code: ErrorCode, peer: RawPeer, { world, served }: Scene): Promise<void> {
  await served()
  await world.until(`the connection is ended with ${code}`, () => peer.isEnded || peer.isClosed, 8000)
  assert.equal(
    peer.errors(0).map((error) => error.code),
    [code],
  )
  peer.socket.end()
  await world.until('the socket is closed', () => peer.isClosed, 8000)
}

function refused(
  claim: string,
  code: ErrorCode,
  send: (peer: RawPeer, scene: Scene) => void | Promise<void>,
  isGreeted = true,
): void {
  test(claim, () =>
    scene(async (at) => {
      const peer = isGreeted
        ? await RawPeer.greeted(at.bad, at.server.address)
        : await RawPeer.connect(at.bad, at.server.address)
      if (isGreeted) await at.world.sleep(20)
      await send(peer, at)
      await refusedWith(code, peer, at)
      await at.world.until('the server has let go', () => at.server.connections.size === 1, 8000)
    }),
  )
}

refused('garbage is BAD_FRAME', 'BAD_FRAME', (peer) => peer.send(new Random(2).bytes(1000)), false)
refused('HTTP is BAD_FRAME', 'BAD_FRAME', (peer) => peer.send(Buffer.from('GET / HTTP/1.1\r\n\r\n')), false)
refused('garbage behind good frames is BAD_FRAME', 'BAD_FRAME', (peer) => {
  peer.request(1, 1, ['good'])
  peer.send(Buffer.alloc(64, 0x55))
})
refused('a request before the hello is BAD_FRAME', 'BAD_FRAME', (peer) => peer.request(1, 1, []), false)
refused('a second hello is BAD_FRAME', 'BAD_FRAME', (peer) => peer.hello())
refused(
  'a hello that is too large is FRAME_TOO_LARGE',
  'FRAME_TOO_LARGE',
  (peer) => {
    peer.send(frame({ type: FrameType.hello, body: encodeBody(['x'.repeat(100_000)]) }))
  },
  false,
)
refused(
  'a hello of another shape is BAD_REQUEST',
  'BAD_REQUEST',
  (peer) => {
    peer.send(frame({ type: FrameType.hello, body: encodeBody([1, 1, 'master']) }))
  },
  false,
)
refused(
  'another frame format is UNSUPPORTED_VERSION',
  'UNSUPPORTED_VERSION',
  (peer) => {
    const later = frame({ type: FrameType.ping })
    later[1] = 2
    peer.send(later)
  },
  false,
)
refused(
  'a later protocol is UNSUPPORTED_VERSION, whatever shape its hello has',
  'UNSUPPORTED_VERSION',
  (peer) => {
    peer.send(frame({ type: FrameType.hello, body: encodeBody([2, 3, { other: 'shape' }]) }))
  },
  false,
)
refused('another cluster is WRONG_CLUSTER', 'WRONG_CLUSTER', (peer) => peer.hello({ cluster: 'ab'.repeat(16) }), false)
refused('no hello is TIMEOUT', 'TIMEOUT', () => {}, false)
refused(
  'a hello at a byte a second is TIMEOUT',
  'TIMEOUT',
  async (peer, { bad }) => {
    const bytes = frame({ type: FrameType.hello, body: encodeBody([1, 1, 3, '', 0, 0, '', 0]) })
    drip(peer, bytes, bad)
  },
  false,
)
refused('a frame at a byte a second is TIMEOUT', 'TIMEOUT', (peer, { bad }) => {
  drip(peer, frame({ type: FrameType.request, message: 1, id: 1, body: encodeBody(['x'.repeat(100)]) }), bad)
})
refused('data at a byte a second is TIMEOUT, and its sink ends', 'TIMEOUT', async (peer, { bad, seen, world }) => {
  const bytes = frame({ type: FrameType.request, message: 4, id: 1, body: encodeBody([]), data: big })
  peer.send(bytes.subarray(0, 5000))
  drip(peer, bytes.subarray(5000), bad)
  await world.until('the sink ends', () => seen.ends.length === 1, 8000)
  assert.equal(seen.ends, ['CONNECTION_LOST'])
})
for (const [field, bytes] of [
  ['bodyBytes', 0xffff_ffff],
  ['dataBytes', 0xffff_ffff],
  ['bodyBytes', 1024 * 1024 + 1],
  ['dataBytes', 17 * 1024 * 1024],
] as const) {
  refused(`${field} of ${bytes} is FRAME_TOO_LARGE before anything is buffered`, 'FRAME_TOO_LARGE', (peer) => {
    peer.send(
      frame({ type: FrameType.request, message: 1, id: 1, body: Buffer.alloc(1), override: { [field]: bytes } }),
    )
  })
}
refused('data with a wrong checksum is BAD_FRAME, and its sink is told', 'BAD_FRAME', async (peer, { seen, world }) => {
  peer.send(
    frame({ type: FrameType.request, message: 4, id: 1, body: encodeBody([]), data: big, override: { dataCrc: 1 } }),
  )
  await world.until('the sink ends', () => seen.ends.length === 1, 1000)
  assert.equal(seen.ends, ['BAD_FRAME'])
})
refused('a request id that is in use is BAD_FRAME', 'BAD_FRAME', (peer) => {
  peer.request(5, 9, [])
  peer.request(5, 9, [])
})
refused('an id between others is in use until it is answered', 'BAD_FRAME', async (peer, { world }) => {
  peer.request(1, 9, [])
  for (const id of [7, 3, 5]) peer.request(5, id, [])
  for (const id of [9, 4, 4]) peer.request(1, id, [])
  await world.until('what is not in use is answered', () => peer.replies().length === 4, 1000)
  assert.not(peer.isEnded)
  peer.request(5, 3, [])
})
refused('a reply that nobody asked for is BAD_FRAME', 'BAD_FRAME', (peer) => {
  peer.send(frame({ type: FrameType.reply, id: 1, body: encodeBody([]) }))
})
refused('an error for a request that nobody sent is BAD_FRAME', 'BAD_FRAME', (peer) => {
  peer.send(frame({ type: FrameType.error, id: 1, body: encodeBody([1, 'x']) }))
})

/** One byte a second, for as long as the socket lasts. */
function drip(peer: RawPeer, bytes: Buffer, io: Io): void {
  let at = 0
  const next = () => {
    if (peer.isClosed || peer.isEnded || at === bytes.length) return
    peer.send(bytes.subarray(at, ++at))
    io.clock.after(1000, next)
  }
  next()
}

test('bodies that are bombs are BAD_REQUEST, and the connection goes on', () =>
  scene(async ({ bad, server, world, served }) => {
    const peer = await RawPeer.greeted(bad, server.address)
    const bombs = [
      Buffer.alloc(1024 * 1024, 0x91),
      Buffer.alloc(1024 * 1024, 0x81),
      Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]),
      Buffer.from([0xc1]),
      Buffer.from([0x2a]),
    ]
    for (const [index, body] of bombs.entries()) {
      peer.send(frame({ type: FrameType.request, message: 1, id: index + 1, body }))
      peer.send(frame({ type: FrameType.request, message: 4, id: index + 101, body, data: big }))
    }
    peer.request(1, 50, ['still here'])
    await served()
    await world.until('the last is answered', () => peer.replies().length === 1, 5000)
    for (const index of bombs.keys()) {
      for (const id of [index + 1, index + 101]) {
        assert.equal(
          peer.errors(id).map((error) => error.code),
          ['BAD_REQUEST'],
        )
      }
    }
    assert.equal(peer.replies(), [{ id: 50, body: ['still here'] }])
    peer.socket.destroy()
  }))

test('cancels for nobody and pings mean nothing', () =>
  scene(async ({ bad, server, world }) => {
    const peer = await RawPeer.greeted(bad, server.address)
    for (let id = 1; id < 100; id++) peer.send(frame({ type: FrameType.cancel, id }))
    for (let count = 0; count < 100; count++) peer.send(frame({ type: FrameType.ping }))
    peer.request(1, 7, ['x'])
    await world.until('it is answered', () => peer.replies().length === 1, 1000)
    peer.socket.destroy()
  }))

test('a peer that asks and never reads: replies stay bounded, then it is dropped', () =>
  scene(
    async ({ bad, server, world, served, reasons }) => {
      const peer = await RawPeer.greeted(bad, server.address)
      await world.sleep(20)
      peer.socket.pause()
      for (let id = 1; id <= 1000; id++) peer.request(3, id, [])
      let most = 0
      const start = world.nowMs
      while (server.connections.size > 1 && world.nowMs - start < 20_000) {
        for (const connection of server.connections) most = Math.max(most, connection.backlogBytes)
        await world.sleep(10)
        await served()
      }
      assert.is(server.connections.size, 1)
      assert.ok(most > 500_000 && most < 1_000_000, `at most ${most} bytes`)
      assert.is(reasons[0]!.code, 'CONNECTION_LOST')
    },
    { limits: { ...QUICK, replyBytesMax: 500_000 } },
  ))

test('more requests at once than allowed wait in the network, none is lost', () =>
  scene(
    async ({ bad, server, world, served, seen }) => {
      const peer = await RawPeer.greeted(bad, server.address)
      for (let id = 1; id <= 60; id++) peer.request(2, id, ['x'.repeat(1000)])
      await served()
      await world.until('all are answered', () => peer.replies().length === 60, 5000)
      assert.is(seen.runningMax, 8)
      peer.socket.destroy()
    },
    { limits: { ...QUICK, requestsMax: 8 } },
  ))

test('requests with large bodies wait in the network too', () =>
  scene(
    async ({ bad, server, world, served, seen }) => {
      const peer = await RawPeer.greeted(bad, server.address)
      for (let id = 1; id <= 30; id++) peer.request(2, id, ['x'.repeat(50_000)])
      await served()
      await world.until('all are answered', () => peer.replies().length === 30, 5000)
      assert.is(seen.runningMax, 4)
      peer.socket.destroy()
    },
    { limits: { ...QUICK, requestBytesMax: 200_000 } },
  ))

test('a flood of connections that say nothing: over the bound they are told BUSY, the others are served', () =>
  scene(
    async ({ bad, server, world, served }) => {
      const peers: RawPeer[] = []
      for (let count = 0; count < 200; count++) peers.push(await RawPeer.connect(bad, server.address))
      await world.sleep(50)
      const busy = peers.filter((peer) => peer.errors(0)[0]?.code === 'BUSY').length
      assert.is(busy, 180)
      await served()
      const newcomer = errorOf(dial(bad, server.address))
      assert.is((await newcomer).code, 'BUSY')
      for (const peer of peers) peer.socket.end()
      await world.sleep(6000)
      const later = await dial(bad, server.address)
      assert.equal((await later.call(1, [1])).body, [1])
      later.close()
    },
    { bounds: { greetingsMax: 20, connectionsMax: 1000 } },
  ))

test('connections over the bound are told BUSY', () =>
  scene(
    async ({ bad, server }) => {
      const kept: Connection[] = []
      for (let count = 0; count < 9; count++) kept.push(await dial(bad, server.address))
      assert.is((await errorOf(dial(bad, server.address))).code, 'BUSY')
      for (const connection of kept) connection.close()
    },
    { bounds: { connectionsMax: 10 } },
  ))

test('data that requests want collected is bounded over all connections: BUSY, and room again when they are answered', () =>
  scene(async ({ bad, world }) => {
    const held: (() => void)[] = []
    const collect: Handler = async (request) => {
      await request.data!.collect()
      held.push(() => request.reply([]))
    }
    const server = await listen(
      world.machine('other').io,
      'other',
      { 1: collect },
      { bounds: { collectBytesTotalMax: 150_000 } },
    )
    const connections = [await dial(bad, server.address), await dial(bad, server.address)]
    const calls = connections.map((connection) => connection.call(1, [], { data: [big] }))
    await world.until('two are held', () => held.length === 2, 1000)
    assert.is((await errorOf(connections[0]!.call(1, [], { data: [big] }))).code, 'BUSY')
    for (const answer of held.splice(0)) answer()
    await Promise.all(calls)
    const again = connections[1]!.call(1, [], { data: [big] })
    await world.until('one is held', () => held.length === 1, 1000)
    held[0]!()
    await again
    for (const connection of connections) connection.close()
    await server.close()
  }))

test('calls over the bounds are BUSY at once', () =>
  scene(async ({ bad, server }) => {
    const connection = await dial(bad, server.address, { limits: { callsMax: 10, callBytesMax: 200_000 } })
    const calls = Array.from({ length: 10 }, () => connection.call(2, []))
    assert.is((await errorOf(connection.call(2, []))).code, 'BUSY')
    await Promise.all(calls)
    const withData = Array.from({ length: 3 }, () => connection.call(4, [], { data: [big] }))
    let told: ErrorCode | undefined
    const onWritten = (error?: DfsError) => {
      told = error?.code
    }
    assert.is((await errorOf(connection.call(4, [], { data: [big], onWritten }))).code, 'BUSY')
    assert.is(told, 'BUSY')
    await Promise.all(withData)
    await connection.call(4, [], { data: [big] })
    connection.close()
  }))

test('a half-open connection is noticed by both sides', () =>
  scene(async ({ bad, world, server, reasons, served }) => {
    let reason: DfsError | undefined
    const connection = await dial(bad, server.address, {
      limits: QUICK,
      onClose(_, why) {
        reason = why
      },
    })
    const call = errorOf(connection.call(5, [], { timeoutMs: 60_000 }))
    await world.sleep(3000)
    assert.ok(connection.isOpen, 'pings keep an idle connection')
    world.network.partition('bad', 'home')
    assert.is((await call).code, 'CONNECTION_LOST')
    await world.until('both know', () => reason !== undefined && reasons.length === 1, 4000)
    await served()
    world.network.heal()
  }))

test('slices that the socket still held when the connection broke are given back, once', () =>
  scene(async ({ bad, world, server }) => {
    const connection = await dial(bad, server.address, { limits: QUICK })
    world.network.partition('bad', 'home')
    const told: (ErrorCode | undefined)[] = []
    const large = new Random(6).bytes(1_000_000)
    const onWritten = (error?: DfsError) => {
      told.push(error?.code)
    }
    const call = errorOf(connection.call(4, [], { data: [large], onWritten }))
    assert.is((await call).code, 'CONNECTION_LOST')
    await world.sleep(100)
    assert.equal(told, ['CONNECTION_LOST'])
    world.network.heal()
  }))

test('a handler that ends the connection it was asked over sees its own sink end', () =>
  scene(async ({ bad, world }) => {
    const ends: (ErrorCode | undefined)[] = []
    const endIt: Handler = (request) => {
      request.data!.receive({
        onData() {},
        onEnd(error) {
          ends.push(error?.code)
        },
      })
      request.connection.destroy(new DfsError('WRONG_DISK', 'not with you'))
    }
    const server = await listen(world.machine('other').io, 'other', { 1: endIt })
    const connection = await dial(bad, server.address)
    assert.is((await errorOf(connection.call(1, [], { data: [big] }))).code, 'CONNECTION_LOST')
    assert.is(ends.length, 1)
    await server.close()
  }))

test('a stream whose source falls silent is given up, and what waits behind it goes', () =>
  scene(async ({ bad, server, seen }) => {
    const connection = await dial(bad, server.address, { limits: QUICK })
    const { writer, reply } = connection.beginCall(4, [], big.length, crc32(big), () => {})
    const outcome = errorOf(reply)
    writer.write([big.subarray(0, 100)])
    const behind = connection.call(1, ['behind'])
    assert.equal((await behind).body, ['behind'])
    assert.is((await outcome).code, 'TIMEOUT')
    assert.ok(writer.isOver)
    assert.equal(seen.ends, ['ABORTED'])
    connection.close()
  }))

test('a handler that never takes the data it was sent loses only that connection', () =>
  scene(async ({ bad, server, served, world, reasons }) => {
    const connection = await dial(bad, server.address, { limits: QUICK })
    const call = errorOf(connection.call(5, [], { data: [big], timeoutMs: 60_000 }))
    await served()
    assert.is((await call).code, 'CONNECTION_LOST')
    await world.until('the server knows', () => reasons.length === 1, 4000)
  }))

test('a caller is told what is wrong at the address', async () => {
  const world = new SimWorld(8)
  const [home, away] = [world.machine('home').io, world.machine('away').io]
  await world.run(async () => {
    const server = await listen(home, 'home', {})
    const clusterHello = () => hello('client', { cluster: 'ab'.repeat(16) })
    assert.is((await errorOf(dial(away, server.address, { hello: clusterHello }))).code, 'WRONG_CLUSTER')
    assert.is((await errorOf(dial(away, server.address, { expect: { roles: ['chunkserver'] } }))).code, 'WRONG_ROLE')
    assert.is((await errorOf(dial(away, server.address, { expect: { server: 3 } }))).code, 'WRONG_ROLE')
    const right = await dial(away, server.address, {
      hello: () => hello('chunkserver', { cluster: CLUSTER, server: 2 }),
      expect: { roles: ['master'] },
    })
    right.close()
    await server.close()
    assert.is((await errorOf(dial(away, server.address))).code, 'UNAVAILABLE')

    const rude = await home.network.listen({ host: 'home', port: 0 }, (socket) => {
      socket.start({ onBytes() {}, onDrain() {}, onEnd() {}, onClose() {} })
      socket.write([Buffer.from('SSH-2.0-OpenSSH\r\n')])
    })
    assert.is((await errorOf(dial(away, rude.address))).code, 'BAD_FRAME')
    const mute = await home.network.listen({ host: 'home', port: 0 }, (socket) => {
      socket.start({ onBytes() {}, onDrain() {}, onEnd() {}, onClose() {} })
    })
    assert.is((await errorOf(dial(away, mute.address))).code, 'TIMEOUT')
    await rude.close()
    await mute.close()
  })
  assert.equal(bugs, [])
})

test('a bug in a handler is INTERNAL for the caller and reaches onBug', async () => {
  const world = new SimWorld(9)
  await world.run(async () => {
    const found: unknown[] = []
    const server = await listen(
      world.machine('home').io,
      'home',
      {
        1: () => {
          throw new TypeError('undefined is not a function')
        },
        2: async () => {
          throw new TypeError('later')
        },
      },
      { onBug: (error) => found.push(error) },
    )
    const connection = await dial(world.machine('away').io, server.address, { onBug })
    assert.is((await errorOf(connection.call(1, []))).code, 'INTERNAL')
    assert.is((await errorOf(connection.call(2, []))).code, 'INTERNAL')
    assert.equal(
      found.map((error) => (error as Error).message),
      ['undefined is not a function', 'later'],
    )
    connection.close()
    await server.close()
  })
})

test.run()
