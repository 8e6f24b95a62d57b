// Finding the masters, and saying honestly what is known of a change when they can't be heard.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DfsError } from '../../src/base/errors.ts'
import { Client } from '../../src/client/client.ts'
import type { Links } from '../../src/client/links.ts'
import { Masters } from '../../src/client/masters.ts'
import { Patience } from '../../src/client/patience.ts'
import type { Session } from '../../src/client/session.ts'
import type { Clock } from '../../src/io/clock.ts'
import type { Entropy } from '../../src/io/entropy.ts'
import { rejects, withCluster } from './cluster-fixture.ts'

test('of several addresses the one that answers is found, also when another is gone', async () => {
  await withCluster(80, async ({ world, connect }) => {
    world.machine('nobody')
    const client = await connect({ masters: ['nobody:1', 'master:7400'] })
    await client.makeDirectory('/d')
    assert.is(await client.exists('/d'), true)
    client.close()
  })
})

test('a change that was sent and never answered is OUTCOME_UNKNOWN; one that was never sent is not', async () => {
  await withCluster(81, async ({ client, world, master }) => {
    await client.makeDirectory('/d')
    world.network.partition('master', 'client', { oneWay: true })
    const unknown = await rejects(client.rename('/d', '/e', { timeoutMs: 1500 }), 'OUTCOME_UNKNOWN')
    assert.is(unknown.detail.timedOut, true)
    world.network.heal()
    assert.is(await client.exists('/e'), true, 'this time it had happened')
    master.crash(false)
    await world.sleep(100)
    const error = await rejects(client.makeDirectory('/f', { timeoutMs: 1500 }), 'UNAVAILABLE', 'TIMEOUT')
    assert.match(error.message, /master|progress/)
    await master.restart()
    assert.is(await client.exists('/f'), false)
  })
})

test('an aborted change says that its outcome is unknown only if it was sent', async () => {
  await withCluster(82, async ({ client, world }) => {
    world.network.partition('master', 'client', { oneWay: true })
    const controller = new AbortController()
    world.after(200, () => controller.abort())
    const startMs = world.nowMs
    const error = await rejects(client.makeDirectory('/d', { signal: controller.signal }), 'ABORTED')
    assert.is(error.detail.outcome, 'unknown')
    assert.ok(world.nowMs - startMs < 250)
    const early = await rejects(client.makeDirectory('/e', { signal: AbortSignal.abort() }), 'ABORTED')
    assert.is(early.detail.outcome, undefined)
    world.network.heal()
  })
})

test('an address of a chunkserver, or of nobody, is refused with the reason', async () => {
  await withCluster(83, async ({ world }) => {
    const { io } = world.machine('other')
    await rejects(Client.connect(io, { masters: 'cs1:7500' }), 'WRONG_ROLE')
    await rejects(Client.connect(io, { masters: 'nobody:7400', timeoutMs: 500 }), 'UNAVAILABLE')
    await rejects(Client.connect(io, { masters: 'master:7400' }, { signal: AbortSignal.abort() }), 'ABORTED')
    for (const masters of ['', 'master', 'master:0', 'a:1,,b:2']) {
      try {
        await rejects(Client.connect(io, { masters }), 'INVALID_ARGUMENT')
      } catch (error) {
        assert.is((error as { code?: string }).code, 'INVALID_ARGUMENT', masters)
      }
    }
  })
})

test('closing the client ends what is under way, and everything after, with ABORTED', async () => {
  await withCluster(84, async ({ world, connect, servers }) => {
    const client = await connect()
    for (const server of servers) server.machine.pauseMachine()
    const writing = client.writeFile('/big', Buffer.alloc(1_000_000))
    const small = client.writeFile('/small', Buffer.alloc(10))
    world.after(300, () => client.close())
    const startMs = world.nowMs
    await Promise.all([rejects(writing, 'ABORTED'), rejects(small, 'ABORTED')])
    await rejects(client.stat('/'), 'ABORTED')
    assert.ok(world.nowMs - startMs < 500, `${world.nowMs - startMs} ms`)
    for (const server of servers) server.machine.resume()
  })
})

test('a change that is refused until time is up ends with the refusal, not with an unknown outcome', async () => {
  for (let timeoutMs = 300; timeoutMs < 2000; timeoutMs += 13) {
    let nowMs = 0
    const clock = {
      nowMs: () => nowMs,
      sleep: async (ms: number) => {
        nowMs += ms
      },
    }
    const links = {
      openMaster: () => undefined,
      master: async () => ({}),
      call: async (_connection: unknown, _name: string, _request: unknown, options: { timeoutMs: number }) => {
        nowMs += Math.min(options.timeoutMs, ANSWER_MS)
        if (options.timeoutMs < ANSWER_MS) throw new DfsError('TIMEOUT', 'not answered in time')
        throw new DfsError('READ_ONLY', 'the log disk is almost full')
      },
    }
    const session = { id: 1, floor: 0, isEnded: false, begin: async () => 1, end: () => {} }
    // Only what `change` uses of each.
    const masters = new Masters(links as unknown as Links, { below: () => 0 } as unknown as Entropy, [
      { host: 'master', port: 7400 },
    ])
    const patience = new Patience(clock as unknown as Clock, { timeoutMs })
    const error = await rejects(
      masters.change('makeDirectory', (by) => ({ by }) as never, session as unknown as Session, patience),
      'READ_ONLY',
    )
    assert.is(error.detail.timedOut, true)
  }
})

test('a change that is busy is asked again under its own number: its first try may be what keeps it busy', async () => {
  const answers = ['TIMEOUT', 'FILE_BUSY', 'FILE_BUSY', undefined] as const
  const asked: number[] = []
  const links = {
    openMaster: () => undefined,
    master: async () => ({}),
    call: async (_connection: unknown, _name: string, { by }: { by: { request: number } }) => {
      const code = answers[asked.push(by.request) - 1]
      if (code !== undefined) throw new DfsError(code, 'not now')
      return {}
    },
  }
  let last = 0
  const ended: number[] = []
  const session = {
    id: 1,
    floor: 0,
    isEnded: false,
    begin: () => ++last,
    end: (request: number) => ended.push(request),
  }
  const masters = new Masters(links as unknown as Links, { below: () => 0 } as unknown as Entropy, [
    { host: 'master', port: 7400 },
  ])
  const patience = new Patience({ nowMs: () => 0, sleep: async () => {} } as unknown as Clock, {})
  await masters.change('copy', (by) => ({ by }) as never, session as unknown as Session, patience)
  assert.equal(asked, [1, 1, 1, 1])
  assert.equal(ended, [1])
})

/** What an answer takes on a busy master. */
const ANSWER_MS = 40

test.run()
