// What simulated links do to connections.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { KiB } from '../../src/base/units.ts'
import type { ReceivedBytes, Socket, SocketHandler } from '../../src/io/network.ts'
import { simSeeds, swarmOptions } from './options.ts'
import { SimFailure, SimWorld } from './world.ts'

class Side implements SocketHandler {
  bytes = 0
  runs = 0
  hasEnded = false
  isClosed = false
  error: Error | undefined
  onReceived: ((received: ReceivedBytes) => void) | undefined

  onBytes(received: ReceivedBytes): void {
    this.bytes += received.bytes.length
    this.runs++
    this.onReceived?.(received)
  }

  onDrain(): void {}

  onEnd(): void {
    this.hasEnded = true
  }

  onClose(error?: Error): void {
    this.isClosed = true
    this.error = error
  }
}

async function connected(
  world: SimWorld,
): Promise<{ client: Socket; clientSide: Side; server: Socket; serverSide: Side }> {
  const serverSide = new Side()
  const clientSide = new Side()
  const sockets: Socket[] = []
  await world.machine('b').io.network.listen({ host: '0.0.0.0', port: 9000 }, (socket) => {
    socket.start(serverSide)
    sockets.push(socket)
  })
  const client = await world.machine('a').io.network.connect({ host: 'b', port: 9000 }, 10_000)
  client.start(clientSide)
  await world.until('accepted', () => sockets.length === 1)
  return { client, clientSide, server: sockets[0]!, serverSide }
}

for (const seed of simSeeds(10)) {
  test(`seed ${seed}: kill -9 is noticed by the other side, power loss only when it sends to the restarted machine`, async () => {
    for (const power of [false, true]) {
      const world = new SimWorld(swarmOptions(seed))
      await world.run(async () => {
        const { client, clientSide } = await connected(world)
        world.machine('b').crash({ power })
        await world.sleep(10_000)
        assert.is(clientSide.isClosed || clientSide.hasEnded, !power)
        if (!power) return
        client.write([Buffer.alloc(100)])
        await world.sleep(10_000)
        assert.not(clientSide.isClosed)
        const refused = world.machine('a').io.network.connect({ host: 'b', port: 9000 }, 500)
        await fails(refused, 'TIMEOUT')
        world.machine('b').restart()
        await world.sleep(10_000)
        assert.ok(isDfsError(clientSide.error, 'CONNECTION_LOST'))
        await fails(world.machine('a').io.network.connect({ host: 'b', port: 9000 }, 500), 'UNAVAILABLE')
        assert.is(world.network.connectionCount(), 0)
      })
    }
  })

  test(`seed ${seed}: a partition keeps bytes until it is healed; one way lets the other way through`, async () => {
    const world = new SimWorld(swarmOptions(seed))
    await world.run(async () => {
      const { client, clientSide, server, serverSide } = await connected(world)
      client.write([Buffer.alloc(1000)])
      world.network.partition('a', 'b', { oneWay: true })
      server.write([Buffer.alloc(500)])
      await world.sleep(5000)
      assert.is(serverSide.bytes, 0)
      assert.is(clientSide.bytes, 500)
      await fails(world.machine('a').io.network.connect({ host: 'b', port: 9000 }, 1000), 'TIMEOUT')
      world.network.heal()
      await world.sleep(5000)
      assert.is(serverSide.bytes, 1000)
      assert.not(serverSide.isClosed || clientSide.isClosed)
    })
  })

  test(`seed ${seed}: an end that happens behind a partition is half-open until somebody sends`, async () => {
    const world = new SimWorld(swarmOptions(seed))
    await world.run(async () => {
      const { client, clientSide, server } = await connected(world)
      world.network.partition('a', 'b')
      server.destroy()
      await world.sleep(1000)
      assert.not(clientSide.isClosed || clientSide.hasEnded)
      world.network.heal()
      client.write([Buffer.alloc(1)])
      await world.sleep(1000)
      client.write([Buffer.alloc(1)])
      await world.sleep(1000)
      assert.ok(isDfsError(clientSide.error, 'CONNECTION_LOST'))
    })
  })

  test(`seed ${seed}: cutAfter breaks the connection right after that byte, on both sides`, async () => {
    const world = new SimWorld(swarmOptions(seed))
    await world.run(async () => {
      const { client, clientSide, serverSide } = await connected(world)
      world.network.cutAfter('a', 'b', 70_001)
      client.write([Buffer.alloc(100 * KiB)])
      await world.sleep(60_000)
      assert.is(serverSide.bytes, 70_001)
      assert.ok(isDfsError(serverSide.error, 'CONNECTION_LOST'))
      assert.ok(isDfsError(clientSide.error, 'CONNECTION_LOST'))
    })
  })

  test(`seed ${seed}: a stopped machine takes bytes into its kernel's window and no further`, async () => {
    const world = new SimWorld(swarmOptions(seed))
    await world.run(async () => {
      const { client, serverSide } = await connected(world)
      const { windowBytes } = world.options.network
      world.machine('b').pauseMachine()
      client.write([Buffer.alloc(4 * windowBytes)])
      await world.sleep(5000)
      assert.is(serverSide.bytes, 0)
      assert.ok(client.queuedBytes >= 3 * windowBytes)
      world.machine('b').resume()
      await world.until('all is there', () => serverSide.bytes === 4 * windowBytes)
    })
  })
}

test('a refusing machine refuses, and then no more', async () => {
  const world = new SimWorld(2)
  await world.run(async () => {
    await connected(world)
    world.network.refuse('b')
    await fails(world.machine('a').io.network.connect({ host: 'b', port: 9000 }, 1000), 'UNAVAILABLE')
    world.network.accept('b')
    const again = await world.machine('a').io.network.connect({ host: 'b', port: 9000 }, 1000)
    again.start(new Side())
    assert.is(world.network.cut('a', 'b'), 2)
  })
})

test('bandwidth and latency take their time', async () => {
  const world = new SimWorld(2)
  world.network.setLink('a', 'b', { bytesPerMs: 100, latencyMsMin: 50, latencyMsMax: 50 })
  await world.run(async () => {
    const { client, serverSide } = await connected(world)
    const startMs = world.nowMs
    client.write([Buffer.alloc(10_000)])
    await world.until('all is there', () => serverSide.bytes === 10_000, 1000, 1)
    const tookMs = world.nowMs - startMs
    assert.ok(tookMs >= 150 && tookMs < 160, `${tookMs} ms`)
  })
})

test('bytes that were not kept, or were released, are poisoned; kept ones are counted', async () => {
  const world = new SimWorld(4)
  await world.run(async () => {
    const { client, serverSide } = await connected(world)
    const kept: ReceivedBytes[] = []
    const loose: Buffer[] = []
    serverSide.onReceived = (received) => {
      if (kept.length === 0) {
        received.retain()
        kept.push(received)
      } else {
        loose.push(received.bytes)
      }
    }
    client.write([Buffer.alloc(100, 1)])
    await world.until('the first run', () => serverSide.bytes === 100)
    client.write([Buffer.alloc(100, 1)])
    await world.until('the second run', () => serverSide.bytes === 200)
    const first = kept[0]!
    assert.is(first.bytes[0], 1)
    assert.is(world.network.retainedBuffers, 1)
    assert.is(world.network.retainedBytes, first.bytes.length)
    first.release()
    assert.is(first.bytes[0], 0xdb)
    assert.is(world.network.retainedBuffers, 0)
    kept.length = 0
    client.write([Buffer.alloc(100, 1)])
    await world.until('the third run', () => kept.length > 0)
    world.machine('b').crash({ power: false })
    assert.is(world.network.retainedBuffers, 0, 'the dead keep nothing')
    assert.ok(loose.length > 0 && loose.every((bytes) => bytes[0] === 0xdb))
  })
})

test('a release too many fails the run', async () => {
  const world = new SimWorld(4)
  const run = world.run(async () => {
    const { client, serverSide } = await connected(world)
    serverSide.onReceived = (received) => {
      received.retain()
      received.release()
      received.release()
    }
    client.write([Buffer.alloc(100)])
    await world.sleep(1000)
  })
  await run.then(
    () => assert.unreachable('it was not noticed'),
    (error) => assert.match(error.message, /release\(\) of received bytes without retain/),
  )
})

test('slices that change before onWritten fail the run', async () => {
  const world = new SimWorld(4)
  const run = world.run(async () => {
    const { client } = await connected(world)
    const bytes = Buffer.alloc(10)
    client.write([bytes])
    bytes[0] = 1
    await world.sleep(1000)
  })
  await run.then(
    () => assert.unreachable('it was not noticed'),
    (error) => assert.ok(error instanceof SimFailure),
  )
})

async function fails(promise: Promise<unknown>, code: string): Promise<void> {
  try {
    await promise
  } catch (error) {
    assert.ok(isDfsError(error), String(error))
    assert.is(error.code, code)
    return
  }
  assert.unreachable(`expected ${code}`)
}

test.run()
