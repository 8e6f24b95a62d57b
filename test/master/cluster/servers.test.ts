import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { DirectoryId, Life, ServerId } from '../../../src/base/ids.ts'
import { hostOf, Servers } from '../../../src/master/cluster/servers.ts'

const id = 1 as ServerId
const disk = (life: number) => ({
  directory: 5 as DirectoryId,
  life: life as Life,
  path: '/d',
  state: 'ok' as const,
  capacityBytes: 10,
  usedBytes: 0,
  freeBytes: 10,
  chunks: 0,
  scrubPermille: 0,
  scrubAgeMs: undefined,
  device: '',
  slowMs: 0,
})
const facts = (life = 7) => ({
  identity: 9,
  address: 'h:1',
  http: '',
  zone: '',
  rack: '',
  version: '',
  pid: 1,
  directories: [disk(life)],
})

test('liveness goes from live over suspect to dead as silence grows, and back with a heartbeat', () => {
  const servers = new Servers({ deadAfterMs: 10_000 })
  const server = servers.join(id, facts(), 1, 0)
  assert.is(servers.liveness(server, 4999), 'live')
  assert.is(servers.liveness(server, 5001), 'suspect')
  assert.is(servers.liveness(server, 10_001), 'dead')
  servers.beat(server, server.directories, 0, 0, 10_002)
  assert.is(servers.liveness(server, 10_003), 'live')
})

test('a server that beats on time is no suspect, however soon after that it counts as dead', () => {
  const servers = new Servers({ heartbeatMs: 2000, deadAfterMs: 3500 })
  const server = servers.join(id, facts(), 1, 0)
  assert.is(servers.liveness(server, 2100), 'live')
  assert.is(servers.liveness(server, 3100), 'suspect')
  assert.is(servers.liveness(server, 3501), 'dead')
})

test('a broken connection makes a server suspect at once, and dead when it does not come back', () => {
  const servers = new Servers({ deadAfterMs: 10_000 })
  const server = servers.join(id, facts(), 1, 0)
  assert.is(servers.disconnect(1, 10), server)
  assert.is(servers.liveness(server, 11), 'suspect')
  assert.is(servers.liveness(server, 10_001), 'dead')
  assert.is(servers.disconnect(1, 12), undefined, 'it has no connection any more')
  assert.is(servers.liveness(servers.join(id, facts(8), 2, 20_000), 20_001), 'live')
})

test('a server that announced its stop is in maintenance until it joins again', () => {
  const servers = new Servers({ deadAfterMs: 10_000 })
  const server = servers.join(id, facts(), 1, 0)
  server.leftMs = 0
  assert.is(servers.liveness(server, 50_000), 'maintenance')
  assert.is(servers.liveness(servers.join(id, facts(), 2, 60_000), 60_001), 'live')
})

// Goal: the interval follows the size of the cluster, and a network that delays everybody; one late server changes nothing.
test('heartbeats are 500 ms apart in small clusters, 2 s in large ones, and longer where all come late', () => {
  const settle = (servers: Servers, lateMs: (index: number) => number): number => {
    const all = servers.all()
    for (let round = 0, nowMs = 0; round < 60; round++) {
      nowMs += servers.heartbeatMs
      for (const [index, server] of all.entries()) {
        servers.beat(server, server.directories, 0, 0, nowMs + lateMs(index) * (round + 1))
      }
    }
    return servers.heartbeatMs
  }
  const of = (count: number): Servers => {
    const servers = new Servers({})
    for (let index = 1; index <= count; index++) servers.join(index as ServerId, facts(), index, 0)
    return servers
  }
  assert.is(
    settle(of(5), () => 1),
    500,
  )
  assert.is(
    settle(of(400), () => 1),
    1000,
  )
  assert.is(
    settle(of(2000), () => 1),
    2000,
  )
  assert.is(
    settle(of(5), (index) => (index === 0 ? 2000 : 1)),
    500,
    'one slow server',
  )
  const slow = settle(of(5), () => 300)
  assert.ok(slow > 1100 && slow <= 1200, `a slow network: ${slow} ms`)
  assert.is(
    settle(of(5), () => 5000),
    2000,
  )
  const fixed = new Servers({ heartbeatMs: 100 })
  fixed.join(id, facts(), 1, 0)
  assert.is(
    settle(fixed, () => 5000),
    100,
    'the operator fixed it',
  )
})

test("silence of all at once is nobody's death, for ten seconds; of some, with others heard, it is", () => {
  const servers = new Servers({})
  const all = [1, 2, 3].map((number) => servers.join(number as ServerId, facts(), number, 0))
  const [first, second] = all
  let nowMs = 0
  const pass = (ms: number) => {
    for (let i = 0; i < ms; i += 100) {
      nowMs += 100
      servers.excuseCommonSilence(100, nowMs)
    }
  }
  const states = () => all.map((server) => servers.liveness(server, nowMs))
  pass(9000)
  assert.equal(states(), ['suspect', 'suspect', 'suspect'])
  servers.beat(first!, first!.directories, 0, 0, nowMs)
  assert.equal(states(), ['live', 'suspect', 'suspect'], 'who is heard first does not condemn the others')
  pass(500)
  servers.beat(second!, second!.directories, 0, 0, nowMs)
  pass(1000)
  assert.equal(states(), ['live', 'live', 'dead'], 'the third has had its time')
  pass(20_000)
  assert.equal(states(), ['dead', 'dead', 'dead'])
  const fixed = new Servers({ deadAfterMs: 1000 })
  const own = [1, 2].map((number) => fixed.join(number as ServerId, facts(), number, 0))
  for (let ms = 0; ms < 2000; ms += 100) fixed.excuseCommonSilence(100, ms)
  assert.is(fixed.liveness(own[0]!, 2000), 'dead', 'the operator fixed it')
})

test('a directory has the life of the last join', () => {
  const servers = new Servers({ deadAfterMs: 10_000 })
  servers.join(id, facts(7), 1, 0)
  servers.join(id, facts(8), 2, 1)
  assert.is(servers.lifeOf(5 as DirectoryId), 8)
  assert.is(servers.lifeOf(6 as DirectoryId), undefined)
})

test('the host is what stands before the port, also of an IPv6 address', () => {
  assert.is(hostOf('10.0.0.1:7500'), '10.0.0.1')
  assert.is(hostOf('[::1]:7500'), '[::1]')
})

test.run()
