import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Io } from '../../src/io/io.ts'
import { ConnectionPool, type PoolOptions } from '../../src/rpc/pool.ts'
import { hello } from '../../src/wire/hello.ts'
import { SimWorld } from '../sim/world.ts'
import { bugs, errorOf, listen, onBug, QUICK } from './harness.ts'

async function withPool(
  options: Partial<PoolOptions>,
  body: (world: SimWorld, pool: ConnectionPool, home: Io) => Promise<void>,
): Promise<void> {
  const world = new SimWorld(3)
  const { clock, network, entropy } = world.machine('away').io
  const pool = new ConnectionPool({
    clock,
    network,
    entropy,
    hello: () => hello('client'),
    onBug,
    limits: QUICK,
    ...options,
  })
  await world.run(async () => {
    await body(world, pool, world.machine('home').io)
    pool.close()
    await world.sleep(6000)
  })
  assert.is(world.network.connectionCount(), 0)
  assert.equal(bugs, [])
}

test('one connection an address and lane, made once even when many ask at once', () =>
  withPool({}, async (_, pool, home) => {
    const server = await listen(home, 'home', { 1: (request) => request.reply([]) })
    const asked = await Promise.all(Array.from({ length: 20 }, () => pool.get(server.address)))
    assert.is(new Set(asked).size, 1)
    assert.is(await pool.get(server.address), asked[0])
    assert.is(pool.peek(server.address), asked[0])
    const lane = await pool.get(server.address, 'data')
    assert.is.not(lane, asked[0])
    assert.is(pool.peek(server.address, 'other'), undefined)
    await lane.call(1, [])
    assert.is(server.connections.size, 2)
    await server.close()
  }))

test('a broken connection is made anew when asked for', () =>
  withPool({}, async (world, pool, home) => {
    const server = await listen(home, 'home', {})
    const first = await pool.get(server.address)
    world.network.cut('away', 'home')
    await world.until('it is closed', () => !first.isOpen, 1000)
    assert.is.not(await pool.get(server.address), first)
    await server.close()
  }))

test('a dead address is left alone for a while that grows, and comes back', () =>
  withPool({ bounds: { backoffMsMin: 100, backoffMsMax: 1000 } }, async (world, pool, home) => {
    const server = await listen(home, 'home', {})
    world.network.refuse('home')
    let attempts = 0
    const start = world.nowMs
    let last: unknown
    while (world.nowMs - start < 10_000) {
      const error = await errorOf(pool.get(server.address))
      assert.is(error.code, 'UNAVAILABLE')
      if (error !== last) attempts++ // between attempts it is the same error object
      last = error
      await world.sleep(10)
    }
    assert.ok(attempts >= 10 && attempts <= 25, `${attempts} attempts in 10 s`)
    world.network.accept('home')
    await world.sleep(1100)
    assert.ok((await pool.get(server.address)).isOpen)
    await server.close()
  }))

test('what the hello met is told, and not taken for an open connection', () =>
  withPool({ expect: { roles: ['chunkserver'] } }, async (_, pool, home) => {
    const server = await listen(home, 'home', {})
    assert.is((await errorOf(pool.get(server.address))).code, 'WRONG_ROLE')
    assert.is((await errorOf(pool.get(server.address))).code, 'WRONG_ROLE')
    await server.close()
  }))

test('an idle connection is closed, one with a call under way is not', () =>
  withPool({ bounds: { idleMs: 1000 } }, async (world, pool, home) => {
    const server = await listen(
      home,
      'home',
      {
        1: async (request) => {
          await home.clock.sleep(2500)
          request.reply([])
        },
      },
      { limits: QUICK },
    )
    const idle = await pool.get(server.address, 'idle')
    const busy = await pool.get(server.address, 'busy')
    const call = busy.call(1, [])
    await world.sleep(2200)
    assert.not(idle.isOpen)
    assert.ok(busy.isOpen)
    await call
    await world.sleep(1600)
    assert.not(busy.isOpen)
    await server.close()
  }))

test('over the bound the longest unused idle one makes room; when none is idle it is BUSY', () =>
  withPool({ bounds: { connectionsMax: 2 } }, async (world, pool, home) => {
    const server = await listen(home, 'home', { 1: () => {} })
    const first = await pool.get(server.address, '1')
    await world.sleep(10)
    const second = await pool.get(server.address, '2')
    const third = await pool.get(server.address, '3')
    assert.not(first.isOpen)
    const calls = [second, third].map((connection) => errorOf(connection.call(1, [], { timeoutMs: 200 })))
    assert.is((await errorOf(pool.get(server.address, '4'))).code, 'BUSY')
    for (const call of calls) assert.is((await call).code, 'TIMEOUT')
    await world.sleep(10)
    assert.ok((await pool.get(server.address, '4')).isOpen)
    await server.close()
  }))

test('after close nothing is given out', () =>
  withPool({}, async (world, pool, home) => {
    const server = await listen(home, 'home', {})
    const opening = errorOf(pool.get(server.address))
    pool.close()
    assert.is((await opening).code, 'CONNECTION_LOST')
    assert.is((await errorOf(pool.get(server.address))).code, 'CONNECTION_LOST')
    await world.sleep(100)
    await server.close()
  }))

test.run()
