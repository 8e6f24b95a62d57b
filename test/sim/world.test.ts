// Virtual time, one order for one seed, and what dies with a process.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { simSeeds, swarmOptions } from './options.ts'
import { SimFailure, SimWorld } from './world.ts'

/** Three machines that talk, write, crash and time out: enough for chance to matter everywhere. */
async function busyRun(seed: number): Promise<{ checksum: number; events: number; nowMs: number }> {
  const world = new SimWorld(swarmOptions(seed, { network: { breakChance: 0.01 } }))
  const names = ['a', 'b', 'c']
  await world.run(async () => {
    const serve = async (name: string) => {
      const { io } = world.machine(name)
      await io.network.listen({ host: name, port: 1 }, (socket) => {
        socket.start({
          onBytes: (received) => socket.write([Buffer.from(received.bytes)]),
          onDrain() {},
          onEnd: () => socket.end(),
          onClose() {},
        })
      })
    }
    for (const name of names) await serve(name)
    const work = async (name: string, round: number) => {
      const { io } = world.machine(name)
      const file = await io.disk.open(`/f${round}`, 'create')
      await Promise.all([0, 1, 2].map((place) => file.write([io.entropy.bytes(1000)], place * 1000)))
      await file.sync()
      const peer = names[io.entropy.below(3)]!
      const socket = await io.network.connect({ host: peer, port: 1 }, 500)
      socket.start({ onBytes() {}, onDrain() {}, onEnd() {}, onClose() {} })
      socket.write([io.entropy.bytes(50_000)])
      await io.clock.sleep(io.entropy.below(50))
      socket.end()
    }
    for (let round = 0; round < 5; round++) {
      for (const name of names) work(name, round).catch((error: unknown) => assert.ok(isDfsError(error)))
      await world.sleep(20)
      if (round === 2) world.machine('b').crash({ power: true })
      if (round === 3) {
        world.machine('b').restart()
        await serve('b')
      }
    }
    await world.sleep(5000)
  })
  return { checksum: world.traceChecksum, events: world.eventCount, nowMs: world.nowMs }
}

test('two runs of a seed are the same to the last event, two seeds are not', async () => {
  const checksums = new Set<number>()
  const seeds = simSeeds(20)
  for (const seed of seeds) {
    const first = await busyRun(seed)
    assert.equal(await busyRun(seed), first, `SIM_SEED=${seed}`)
    checksums.add(first.checksum)
  }
  assert.is(checksums.size, seeds.length)
})

test('time passes only between events: a year takes no time', async () => {
  const world = new SimWorld(1)
  const { clock } = world.machine('m').io
  const year = 365 * 86_400_000
  const startMs = clock.nowMs()
  await world.run(() => clock.sleep(year))
  assert.ok(Math.abs(clock.nowMs() - startMs - year) < 0.001)
})

test('microtasks all run between two events', async () => {
  const world = new SimWorld(1)
  const { clock } = world.machine('m').io
  let hops = 0
  let seen = -1
  await world.run(async () => {
    clock.after(1, async () => {
      for (; hops < 1000; hops++) await Promise.resolve()
    })
    clock.after(1.000001, () => {
      seen = hops
    })
    await clock.sleep(2)
  })
  assert.is(seen, 1000)
})

test('deferred calls come in order, after what is ready now', async () => {
  for (const seed of simSeeds(20)) {
    const world = new SimWorld(seed)
    const { clock } = world.machine('m').io
    const order: number[] = []
    await world.run(async () => {
      for (const index of [1, 2, 3]) clock.defer(() => order.push(index))
      clock.after(0, () => order.push(0))
      await clock.sleep(1)
    })
    assert.equal(order, [0, 1, 2, 3])
  }
})

test('nothing of a dead process calls back, and its promises stay pending', async () => {
  const world = new SimWorld(9)
  const machine = world.machine('m')
  const { io } = machine
  const calls: string[] = []
  await world.run(async () => {
    const file = await io.disk.open('/f', 'create')
    io.clock.after(1, () => calls.push('timer'))
    io.clock.defer(() => calls.push('defer'))
    io.clock.sleep(1).finally(() => calls.push('sleep'))
    file.sync().finally(() => calls.push('sync'))
    io.disk.open('/none', 'read').catch(() => calls.push('open'))
    io.network.connect({ host: 'nowhere', port: 1 }, 10).catch(() => calls.push('connect'))
    machine.crash({ power: false })
    io.clock.after(1, () => calls.push('timer of the dead'))
    file.write([Buffer.alloc(10)], 0).finally(() => calls.push('write of the dead'))
    await world.sleep(1000)
  })
  assert.equal(calls, [])
  assert.is(machine.restart() === io, false)
})

test('a stopped machine does nothing until it goes on, and then everything', async () => {
  const world = new SimWorld(9)
  const machine = world.machine('m')
  let ticks = 0
  await world.run(async () => {
    const timer = machine.io.clock.after(20, () => assert.unreachable('cancelled'))
    for (const delayMs of [10, 20, 30]) machine.io.clock.after(delayMs, () => ticks++)
    machine.pauseMachine()
    await world.sleep(1000)
    assert.is(ticks, 0)
    timer.cancel()
    machine.resume()
    await world.sleep(1)
    assert.is(ticks, 3)
  })
})

test('clocks of one world can be wrong, each in its own way', async () => {
  const world = new SimWorld(9)
  const one = world.machine('one')
  const two = world.machine('two')
  one.wallOffsetMs = 3_600_000
  two.clockRate = 2
  const startMs = two.io.clock.nowMs()
  await world.runFor(1000)
  assert.is(one.io.clock.wallMs() - Date.UTC(2026, 0, 1), 3_601_000)
  assert.ok(Math.abs(two.io.clock.nowMs() - startMs - 2000) < 1)
})

test('a run that can never end, goes in circles or rejects unseen says so with the command to repeat it', async () => {
  const never = new SimWorld(1)
  await failsWith(
    never.run(() => new Promise(() => {})),
    /nothing is left to happen/,
  )
  const circles = new SimWorld({ seed: 2, eventsMax: 1000 })
  const { clock } = circles.machine('m').io
  const again = () => {
    clock.defer(again)
  }
  again()
  await failsWith(circles.runFor(1), /more than 1000 events[\s\S]*SIM_SEED=2/)
  const unseen = new SimWorld(3)
  const rejecting = unseen.run(async () => {
    Promise.reject(new Error('nobody looks'))
    await unseen.sleep(10)
  })
  await failsWith(rejecting, /nobody looks/)
})

test("a dying process's own last rejection does not fail the run", async () => {
  const world = new SimWorld(3)
  const machine = world.machine('m')
  await world.run(async () => {
    await world.sleep(1)
    machine.crash({ power: false })
    Promise.reject(new Error('of the dead'))
    await world.sleep(10)
  })
})

test('a signal aborts a sleep, and a timeout signal carries TIMEOUT', async () => {
  const world = new SimWorld(3)
  const { clock } = world.machine('m').io
  await world.run(async () => {
    const signal = clock.timeoutSignal(50)
    const error: unknown = await clock.sleep(1000, signal).catch((reason: unknown) => reason)
    assert.ok(isDfsError(error, 'ABORTED'))
    assert.ok(isDfsError(error.cause, 'TIMEOUT'))
    assert.ok(world.nowMs >= 50 && world.nowMs < 51)
  })
})

test('the log keeps its last lines and prints what it is given', () => {
  const world = new SimWorld({ seed: 1, logLinesMax: 10 })
  const { log } = world.machine('m')
  for (let index = 0; index < 100; index++) log.info({ index, error: new Error('why') }, 'said')
  assert.ok(log.lines.length <= 20)
  assert.match(log.lines.at(-1) ?? '', /m info said index=99 error=Error: why/)
})

async function failsWith(run: Promise<unknown>, pattern: RegExp): Promise<void> {
  try {
    await run
  } catch (error) {
    assert.ok(error instanceof SimFailure)
    assert.match(error.message, pattern)
    return
  }
  assert.unreachable(`expected ${pattern}`)
}

test.run()
