// Trims by themselves: what is chosen, given and forgotten. What they do to a cluster is in test/whole/repair.test.ts.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ChunkHandle, DirectoryId, ServerId } from '../../src/base/ids.ts'
import type { RepairServer, ReplicaView, Verdict } from '../../src/master/plan/repair.ts'
import { Trims } from '../../src/master/trims.ts'

const HANDLE = 7 as ChunkHandle

function replicaOn(server: number): ReplicaView {
  return {
    server: server as ServerId,
    directory: (100 + server) as DirectoryId,
    state: 'good',
    presence: 'here',
    isDoomed: false,
  }
}

function serversOf(replicas: readonly ReplicaView[]): ReadonlyMap<ServerId, RepairServer> {
  return new Map(
    replicas.map(({ server }) => [
      server,
      {
        id: server,
        host: `host-${server}`,
        rack: '',
        zone: '',
        excluded: undefined,
        load: 0,
        copiesIn: 0,
        copiesOut: 0,
        directories: [],
      },
    ]),
  )
}

// A server that dies after it was chosen fetches no order, and may never come back for one.
test('what was chosen on a server that fetches no order is chosen anew elsewhere, when there is still one too many', () => {
  let replicas = [1, 2, 3, 4].map(replicaOn)
  const trims = new Trims((): Verdict => ({ kind: 'surplus', replicas, count: 1 }))
  const given = (nowMs: number): number[] =>
    [2, 3, 4].filter((server) => trims.take(server as ServerId, nowMs).length > 0)
  trims.consider(HANDLE, 0)
  trims.tick(3000, () => serversOf(replicas.slice(0, 1)))
  replicas = replicas.slice(1)
  for (let nowMs = 4000; nowMs < 30_000; nowMs += 100) {
    trims.consider(HANDLE, nowMs)
    trims.tick(nowMs, () => serversOf(replicas))
    const servers = given(nowMs)
    if (servers.length === 0) continue
    assert.is(servers.length, 1, 'one at a time')
    assert.ok(nowMs > 10_000, 'the first choice stood for a while')
    assert.equal(given(nowMs), [], 'and is given once')
    return
  }
  assert.unreachable('no other was ever chosen')
})

test.run()
