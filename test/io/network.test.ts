// The contract of src/io/network.ts, checked on the real network and on simulated ones.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { DfsError, isDfsError } from '../../src/base/errors.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import type { Io } from '../../src/io/io.ts'
import type { Address, Listener, ReceivedBytes, Socket, SocketHandler } from '../../src/io/network.ts'
import { type PortsUnderTest, worldsUnderTest } from './ports.ts'

/** Records what a socket is told, and does as the test says. */
class Recorder implements SocketHandler {
  bytes = 0
  checksum = 0
  events: string[] = []
  error: Error | undefined
  readonly closed: Promise<void>
  onReceived: (received: ReceivedBytes) => void = () => {}
  onRoom: () => void = () => {}
  onOtherEnd: () => void = () => {}
  #resolveClosed: () => void = () => {}

  constructor() {
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve
    })
  }

  onBytes(received: ReceivedBytes): void {
    assert.not(this.events.includes('close'), 'bytes after close')
    this.bytes += received.bytes.length
    this.checksum = crc32(received.bytes, this.checksum)
    this.onReceived(received)
  }

  onDrain(): void {
    this.onRoom()
  }

  onEnd(): void {
    this.events.push('end')
    this.onOtherEnd()
  }

  onClose(error?: Error): void {
    this.events.push('close')
    this.error = error
    this.#resolveClosed()
  }
}

interface Pair {
  readonly client: Socket
  readonly clientSide: Recorder
  readonly server: Socket
  readonly serverSide: Recorder
  readonly address: Address
  readonly listener: Listener
  close(): Promise<void>
}

async function pair(
  { io, host }: PortsUnderTest,
  prepare: (server: Socket, side: Recorder) => void = () => {},
): Promise<Pair> {
  const serverSide = new Recorder()
  let accepted: (socket: Socket) => void = () => {}
  const server = new Promise<Socket>((resolve) => {
    accepted = resolve
  })
  const listener = await io.network.listen({ host, port: 0 }, (socket) => {
    prepare(socket, serverSide)
    socket.start(serverSide)
    accepted(socket)
  })
  const client = await io.network.connect(listener.address, 60_000)
  const clientSide = new Recorder()
  client.start(clientSide)
  return {
    client,
    clientSide,
    server: await server,
    serverSide,
    address: listener.address,
    listener,
    async close() {
      await listener.close()
      client.destroy()
      ;(await server).destroy()
    },
  }
}

for (const world of worldsUnderTest) {
  const check = (claim: string, body: (ports: PortsUnderTest) => Promise<void>) =>
    test(`${world.name}: ${claim}`, () => world.run(body))

  check('bytes arrive whole and in order, and an echo comes back', async (ports) => {
    const { client, clientSide, close } = await pair(ports, (socket, side) => {
      side.onReceived = (received) => {
        received.retain()
        socket.write([received.bytes], () => received.release())
      }
      side.onOtherEnd = () => socket.end()
    })
    let checksum = 0
    for (let round = 0; round < 40; round++) {
      const slices = [ports.io.entropy.bytes(round), ports.io.entropy.bytes(round * 997), Buffer.alloc(0)]
      for (const slice of slices) checksum = crc32(slice, checksum)
      client.write(slices)
      if (round % 3 === 0) await ports.io.clock.sleep(1)
    }
    client.end()
    await clientSide.closed
    assert.is(clientSide.checksum, checksum)
    assert.equal(clientSide.events, ['end', 'close'])
    assert.is(clientSide.error, undefined)
    await close()
  })

  check('half close: one side ends, the other goes on', async (ports) => {
    const { client, clientSide, server, serverSide, close } = await pair(ports)
    client.write([Buffer.from('question')])
    client.end()
    await until(ports.io, () => serverSide.events.includes('end'))
    assert.is(serverSide.bytes, 8)
    await ports.io.clock.sleep(5)
    assert.equal(clientSide.events, [])
    server.write([Buffer.alloc(100 * KiB, 7)])
    server.end()
    await clientSide.closed
    await serverSide.closed
    assert.is(clientSide.bytes, 100 * KiB)
    assert.is(clientSide.error ?? serverSide.error, undefined)
    await close()
  })

  check('back-pressure: a paused reader fills the writer, a resumed one drains it', async (ports) => {
    const { client, server, clientSide, serverSide, close } = await pair(ports, (socket) => socket.pause())
    server.pause()
    let drains = 0
    clientSide.onRoom = () => drains++
    const piece = Buffer.alloc(256 * KiB, 5)
    let written = 0
    let sent = 0
    for (let isHeldBack = false; !isHeldBack; sent++) {
      assert.ok(sent < 400, 'the writer was never held back')
      const hasRoom = client.write([piece], () => written++)
      await ports.io.clock.sleep(2)
      isHeldBack = !hasRoom && client.queuedBytes > 0
    }
    await ports.io.clock.sleep(100)
    assert.ok(client.queuedBytes > 0)
    assert.ok(written < sent)
    drains = 0
    const early = serverSide.bytes
    server.resume()
    await until(ports.io, () => serverSide.bytes === sent * piece.length)
    await until(ports.io, () => drains > 0 && written === sent)
    assert.ok(early < sent * piece.length)
    assert.is(client.queuedBytes, 0)
    client.destroy()
    await clientSide.closed
    await close()
  })

  check('kept bytes stay as they came until they are released', async (ports) => {
    const kept: { received: ReceivedBytes; checksum: number }[] = []
    const { client, serverSide, close } = await pair(ports, (_, side) => {
      side.onReceived = (received) => {
        if (kept.length % 3 === 2)
          return kept.push({ received: { ...received, bytes: EMPTY, retain() {}, release() {} }, checksum: 0 })
        received.retain()
        return kept.push({ received, checksum: crc32(received.bytes) })
      }
    })
    for (let round = 0; round < 30; round++) client.write([ports.io.entropy.bytes(120 * KiB)])
    client.end()
    await until(ports.io, () => serverSide.events.includes('end'))
    assert.is(serverSide.bytes, 30 * 120 * KiB)
    for (const { received, checksum } of kept) {
      assert.is(crc32(received.bytes), checksum)
      received.release()
    }
    await close()
  })

  check('destroy: onClose once, writes get an error, the other side notices', async (ports) => {
    const { client, clientSide, server, serverSide, close } = await pair(ports, (socket) => socket.pause())
    server.pause()
    const errors: (Error | undefined)[] = []
    for (let round = 0; round < 60; round++) client.write([Buffer.alloc(MiB)], (error) => errors.push(error))
    await ports.io.clock.sleep(20)
    const reason = new DfsError('ABORTED', 'enough')
    client.destroy(reason)
    client.destroy()
    assert.equal(clientSide.events, [])
    await clientSide.closed
    assert.is(clientSide.error, reason)
    assert.is(errors.length, 60)
    assert.ok(errors.at(-1) instanceof DfsError)
    let late: Error | undefined
    assert.is(
      client.write([Buffer.from('late')], (error) => (late = error)),
      false,
    )
    await until(ports.io, () => late !== undefined)
    serverSide.onOtherEnd = () => {
      server.write([Buffer.alloc(64 * KiB)])
      ports.io.clock.after(20, () => server.write([Buffer.alloc(64 * KiB)]))
    }
    server.resume()
    await serverSide.closed
    assert.ok(isDfsError(serverSide.error, 'CONNECTION_LOST'), String(serverSide.error))
    assert.equal(clientSide.events, ['close'])
    await close()
  })

  check('a port nobody listens on refuses; a closed listener too, while its sockets live', async (ports) => {
    const { client, serverSide, address, listener } = await pair(ports, (socket, side) => {
      side.onOtherEnd = () => socket.end()
    })
    await listener.close()
    await rejects(() => ports.io.network.connect(address, 10_000), 'UNAVAILABLE')
    client.write([Buffer.from('still')])
    await until(ports.io, () => serverSide.bytes === 5)
    client.destroy()
    await serverSide.closed
    await rejects(() => ports.io.network.connect({ host: 'no-such-host.invalid', port: 1 }, 10_000), 'UNAVAILABLE')
  })

  check('an address in use, or of another machine, is refused', async (ports) => {
    const listener = await ports.io.network.listen({ host: ports.host, port: 0 }, (socket) => socket.destroy())
    assert.ok(listener.address.port > 0)
    await rejects(() => ports.io.network.listen(listener.address, () => {}), 'INVALID_ARGUMENT')
    await rejects(() => ports.io.network.listen({ host: '203.0.113.7', port: 0 }, () => {}), 'INVALID_ARGUMENT')
    await listener.close()
    const again = await ports.io.network.listen(listener.address, () => {})
    await again.close()
  })

  check('many small writes of one turn arrive, each told once', async (ports) => {
    const { client, clientSide, serverSide, close } = await pair(ports, (socket, side) => {
      side.onOtherEnd = () => socket.end()
    })
    let told = 0
    for (let index = 0; index < 5000; index++) client.write([Buffer.alloc(3, index)], (error) => error ?? told++)
    client.end()
    await clientSide.closed
    assert.is(serverSide.bytes, 15_000)
    assert.is(told, 5000)
    await close()
  })
}

const EMPTY = Buffer.alloc(0)

async function until(io: Io, condition: () => boolean): Promise<void> {
  for (let round = 0; round < 20_000; round++) {
    if (condition()) return
    await io.clock.sleep(1)
  }
  assert.unreachable('it never happened')
}

async function rejects(act: () => Promise<unknown>, code: Parameters<typeof isDfsError>[1]): Promise<void> {
  try {
    await act()
  } catch (error) {
    assert.ok(isDfsError(error, code), `${error}, expected ${code}`)
    return
  }
  assert.unreachable(`expected ${code}`)
}

test.run()
