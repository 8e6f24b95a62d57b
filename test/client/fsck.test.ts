// fsck's verdicts: what a chunk's facts add up to, and the words for them.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type ChunkHandle, chunkHandle, type ServerId } from '../../src/base/ids.ts'
import { type FsckChunk, type FsckPage, FsckTally } from '../../src/client/fsck.ts'
import { HandleSet } from '../../src/client/handle-set.ts'

type Replica = FsckChunk['replicas'][number]

const one = chunkHandle(7, 1)

function replica(server: number, over: Partial<Replica> = {}): Replica {
  return {
    server: server as ServerId,
    address: `h${server}:1`,
    state: 'good',
    serverState: 'live',
    disk: '/d',
    ...over,
  }
}

function chunk(over: Partial<FsckChunk>): FsckChunk {
  const facts = { handle: one, goal: 3, length: 10, isSealed: true, whole: 3, corrupt: 0 }
  return { ...facts, isUncertain: false, isOnOneHost: false, replicas: [], ...over }
}

function page(chunks: readonly FsckChunk[], over: Partial<FsckPage> = {}): FsckPage {
  const rows = [{ path: '/a', size: 10, extents: chunks.map(({ handle }) => ({ offset: 0, length: 10, handle })) }]
  return { files: 1, directories: 1, bytes: 10, rows, chunks, placeable: 5, next: undefined, ...over }
}

function check(over: Partial<FsckChunk>, placeable = 5) {
  const tally = new FsckTally('/')
  tally.add(page([chunk(over)], { placeable }))
  return tally.result()
}

const dead = { serverState: 'dead' } as const

test('a replica that looks open in a sealed chunk is whole only if the master counted it', () => {
  const replicas = [replica(1), replica(2, { state: 'open' })]
  const failed = check({ whole: 1, goal: 2, replicas })
  assert.match(failed.problems[0]!.why, /1 of 2 .*the one of cs-2 could not be sealed/)
  assert.equal(
    failed.exposure.map(({ server }) => server),
    [1],
  )
  const sealing = check({ whole: 2, goal: 3, replicas })
  assert.not.match(sealing.problems[0]!.why, /cs-2/)
  const alone = check({ whole: 1, goal: 2, replicas: [replica(2, { state: 'open' })] })
  assert.equal(
    alone.exposure.map(({ server }) => server),
    [2],
  )
})

test('status, counts and kind of problem follow from whole replicas, goal and what is uncertain', () => {
  const cases = [
    [{}, 'HEALTHY', undefined],
    [{ corrupt: 1 }, 'HEALTHY', undefined],
    [{ whole: 4 }, 'HEALTHY', undefined],
    [{ whole: 2 }, 'DEGRADED', 'underReplicated'],
    [{ whole: 1 }, 'DEGRADED', 'underReplicated'],
    [{ whole: 0 }, 'DAMAGED', 'missing'],
    [{ whole: 0, corrupt: 2 }, 'DAMAGED', 'corrupt'],
    [{ whole: 0, isUncertain: true }, 'DEGRADED', 'uncertain'],
    [{ whole: 1, goal: 1 }, 'HEALTHY', undefined],
  ] as const
  for (const [facts, status, kind] of cases) {
    const result = check(facts)
    assert.is(result.status, status, JSON.stringify(facts))
    assert.is(result.problems[0]?.kind, kind, JSON.stringify(facts))
    assert.is(result.chunks, 1)
  }
  assert.is(check({ whole: 1 }).lastCopy, 1)
  assert.is(check({ whole: 1, goal: 1 }).lastCopy, 0)
})

test('what is next depends on whether somebody could take a replica', () => {
  const lost = [replica(1), replica(2), replica(3, dead)]
  const itself = check({ whole: 2, replicas: lost }).problems[0]!
  assert.match(itself.why, /2 of 3 replicas .*; cs-3 is dead$/)
  assert.match(itself.next, /by themselves/)
  const stuck = check({ whole: 2, replicas: lost }, 2).problems[0]!
  assert.match(stuck.next, /start cs-3 \(h3:1\), or more chunkservers \(2 can take replicas, 3 are wanted\)/)
  const gone = check({ whole: 0, replicas: [replica(3, dead)] }).problems[0]!
  assert.match(gone.next, /^start cs-3 \(h3:1\), or restore/)
  assert.match(check({ whole: 0 }).problems[0]!.why, /none has ever been reported/)
})

test('a chunk is counted once, whatever names it; each naming is a problem of its own', () => {
  const tally = new FsckTally('/')
  tally.add(page([chunk({ whole: 1, replicas: [replica(2), replica(1, dead)] })]))
  tally.add(page([chunk({ whole: 1, replicas: [replica(2), replica(1, dead)] })]))
  const { chunks, problems, exposure, files } = tally.result()
  assert.is(chunks, 1)
  assert.is(files, 2)
  assert.is(problems.length, 2)
  assert.equal(exposure, [{ server: 2 as ServerId, address: 'h2:1', chunks: 1, bytes: 10 }])
})

test('a set of handles has each once, across pages, lineages and the highest counters', () => {
  const set = new HandleSet()
  const handles: ChunkHandle[] = []
  for (const lineage of [0, 1, 65_535]) {
    for (const counter of [1, 2, 31, 32, 33, 32_767, 32_768, 32_769, 2 ** 37 - 1]) {
      handles.push(chunkHandle(lineage, counter))
    }
  }
  for (const handle of handles) assert.ok(set.add(handle), String(handle))
  for (const handle of handles) assert.not.ok(set.add(handle), String(handle))
})

test.run()
