// Many peers, both directions, data and plain calls, cancels and deadlines, over networks that cut and break at will:
// every call is settled once, with the right answer or a fault of the connection, and nothing is left over.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { isDfsError } from '../../src/base/errors.ts'
import { Random } from '../../src/base/random.ts'
import type { Connection } from '../../src/rpc/connection.ts'
import { ConnectionPool } from '../../src/rpc/pool.ts'
import type { Handler } from '../../src/rpc/requests.ts'
import { hello } from '../../src/wire/hello.ts'
import { simSeeds, swarmOptions } from '../sim/options.ts'
import { SimWorld } from '../sim/world.ts'
import { bugs, listen, onBug, QUICK } from './harness.ts'

const source = new Random(4).bytes(200_000)
const ALLOWED = new Set(['TIMEOUT', 'ABORTED', 'CONNECTION_LOST', 'UNAVAILABLE', 'BUSY'])

async function soak(seed: number): Promise<number> {
  const world = new SimWorld(swarmOptions(seed))
  const home = world.machine('home').io
  const random = new Random(seed)
  let right = 0

  /** Answers with a range of `source`, whole or as a stream with pauses. */
  const give: Handler = async (request) => {
    const [from, to, style] = request.body as [number, number, number]
    const bytes = source.subarray(from, to)
    if (style === 0) {
      request.reply([from], [bytes], crc32(bytes))
      return
    }
    let resume = () => {}
    const writer = request.beginReply([from], bytes.length, crc32(bytes), () => resume())
    for (let at = 0; at < bytes.length && !writer.isOver; at += 7000) {
      const drained = new Promise<void>((resolve) => {
        resume = resolve
      })
      if (!writer.write([bytes.subarray(at, at + 7000)]) && at + 7000 < bytes.length && !writer.isOver) {
        await Promise.race([drained, home.clock.sleep(400)])
      }
    }
  }
  const check: Handler = async (request) => {
    const [from, to] = request.body as [number, number]
    const data = await request.data!.collect()
    assert.is(Buffer.compare(data, source.subarray(from, to)), 0)
    request.reply([data.length])
  }
  const askBack: Handler = async (request) => {
    const reply = await request.connection.call(1, request.body)
    request.reply(reply.body, [reply.data!])
  }
  const handlers = { 1: give, 2: check, 3: askBack }

  async function one(connection: Connection): Promise<void> {
    const from = random.below(100_000)
    const to = from + 1 + random.below(random.chance(0.3) ? 100_000 : 300)
    const kind = 1 + random.below(3)
    const style = random.below(2)
    const abort = random.chance(0.1) ? new AbortController() : undefined
    const limits = {
      timeoutMs: random.chance(0.1) ? 1 + random.below(20) : 3000,
      ...(abort && { signal: abort.signal }),
    }
    if (abort !== undefined) world.after(random.below(10), () => abort.abort())
    if (kind === 2) {
      const bytes = source.subarray(from, to)
      const { body } = await connection.call(2, [from, to], { ...limits, data: [bytes] })
      assert.equal(body, [bytes.length])
    } else {
      const { body, data } = await connection.call(kind, [from, to, style], limits)
      assert.equal(body, [from])
      assert.is(Buffer.compare(data!, source.subarray(from, to)), 0)
    }
    right++
  }

  await world.run(async () => {
    const server = await listen(home, 'home', handlers, { limits: QUICK })
    const workers = ['a', 'b', 'c'].flatMap((name) => {
      const { clock, network, entropy } = world.machine(name).io
      const back = new Map([[1, give]])
      const pool = new ConnectionPool({
        clock,
        network,
        entropy,
        hello: () => hello('client', { name }),
        onBug,
        limits: QUICK,
        handlers: back,
      })
      return Array.from({ length: 4 }, async (_, worker) => {
        for (let count = 0; count < 12; count++) {
          try {
            await one(await pool.get(server.address, `${worker % 2}`))
          } catch (error) {
            if (!isDfsError(error) || !ALLOWED.has(error.code)) throw error
            await clock.sleep(20)
          }
        }
        return pool
      })
    })
    const pools = await Promise.all(workers)
    for (const pool of pools) pool.close()
    await server.close(0)
    await world.sleep(10_000)
    assert.is(server.connections.size, 0)
  })
  assert.is(world.network.retainedBuffers, 0)
  assert.is(world.network.connectionCount(), 0)
  assert.equal(bugs, [])
  assert.ok(right > 10, `seed ${seed}: only ${right} calls went through`)
  return world.traceChecksum
}

for (const seed of simSeeds(40)) {
  test(`every call is settled once and right, seed ${seed}`, async () => {
    await soak(seed)
  })
}

test('two runs of a seed are the same', async () => {
  assert.is(await soak(12), await soak(12))
})

test.run()
