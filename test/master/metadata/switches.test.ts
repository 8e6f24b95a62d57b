// Compaction in the state: bytes change their place where a file still points to them, and nothing else changes.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ChunkHandle } from '../../../src/base/ids.ts'
import { checkInvariants } from '../../../src/master/metadata/invariants.ts'
import type { ExtentSwitch, Outcome } from '../../../src/master/operations.ts'
import { checkpointOf, extent, Harness, load } from './harness.ts'

function reserve(harness: Harness): ChunkHandle {
  return harness.ok({ kind: 'reserveHandle' })[0] as ChunkHandle
}

function switchTo(harness: Harness, handle: ChunkHandle, length: number, switches: readonly ExtentSwitch[]): Outcome {
  return harness.apply({ kind: 'switchExtents', handle, length, digest: 7, goal: 2, switches })
}

function replyOf(outcome: Outcome): readonly (number | string)[] | string {
  return outcome.ok ? outcome.reply : outcome.code
}

test('files point to the gathered chunk, their versions and times stay, and the old chunk waits for readers', async () => {
  const harness = new Harness()
  const old = harness.packing()
  const a = harness.put('/a', [extent(old, 5, 10)])
  harness.put('/dead', [extent(old, 15, 85)])
  const b = harness.put('/b', [extent(old, 100, 20)])
  harness.seal(old, 120)
  const before = [harness.state.stat(a), harness.state.stat(b)]
  const handle = reserve(harness)
  assert.not(harness.state.hasChunk(handle))
  harness.clusterMs = 9000
  const outcome = switchTo(harness, handle, 30, [
    { inode: a, fileOffset: 0, offset: 0, from: [extent(old, 5, 10)] },
    { inode: b, fileOffset: 0, offset: 10, from: [extent(old, 100, 20)] },
  ])
  assert.equal(replyOf(outcome), [2, 30])
  checkInvariants(harness.state)
  assert.equal([harness.state.stat(a), harness.state.stat(b)], before)
  assert.equal(harness.extentsOf('/a'), [[handle, 0, 10]])
  assert.equal(harness.extentsOf('/b'), [[handle, 10, 20]])
  const chunk = harness.state.chunk(handle)!
  assert.equal([chunk.state, chunk.shared, chunk.length, chunk.digest, chunk.goal], ['sealed', false, 30, 7, 3])
  assert.is(chunk.goal, harness.state.chunk(old)!.goal, 'the higher goal of where the bytes lay holds')
  assert.is(harness.state.chunk(old)!.liveBytes, 85)

  // What was left behind goes the usual way; the chunk waits from then, not for the retention but for readers.
  harness.clientOk({ kind: 'remove', path: '/dead', what: 'file', now: true })
  harness.ok({ kind: 'collectGarbage', trashBeforeMs: 0, chunksBeforeMs: 1e9, movedBeforeMs: 0 })
  assert.ok(harness.state.hasChunk(old))
  harness.state = await load(checkpointOf(harness.state))
  checkInvariants(harness.state)
  const collect = { kind: 'collectGarbage', trashBeforeMs: 0, chunksBeforeMs: 0 } as const
  harness.ok({ ...collect, movedBeforeMs: 8999 })
  assert.ok(harness.state.hasChunk(old))
  harness.ok({ ...collect, movedBeforeMs: 9000 })
  assert.not(harness.state.hasChunk(old))
  checkInvariants(harness.state)
})

test('many small extents become one, neighbours that continue it included', () => {
  const harness = new Harness()
  const [x, y] = [harness.packing(), harness.packing()]
  const pieces = Array.from({ length: 50 }, (_, i) => extent(i % 2 === 0 ? x : y, i * 10, 4))
  const inode = harness.put('/f', pieces)
  const handle = reserve(harness)
  const from = (at: number, end: number) => pieces.slice(at, end)
  assert.equal(
    replyOf(switchTo(harness, handle, 200, [{ inode, fileOffset: 0, offset: 0, from: from(0, 30) }])),
    [1, 120],
  )
  const rest = { inode, fileOffset: 120, offset: 120, from: from(30, 50) }
  assert.equal(replyOf(switchTo(harness, handle, 200, [rest])), [1, 80])
  assert.equal(harness.extentsOf('/f'), [[handle, 0, 200]])
  checkInvariants(harness.state)
})

test('what has changed since it was copied keeps its place: overwritten, cut, removed, or moved already', () => {
  const harness = new Harness()
  const old = harness.packing()
  const names = ['/kept', '/overwritten', '/cut', '/purged', '/renamed', '/trashed'] as const
  const inodes = names.map((name, i) => harness.put(name, [extent(old, i * 10, 10)]))
  harness.seal(old, 100)
  harness.clientOk({ kind: 'copy', from: '/kept', to: '/copy', recursive: false, overwrite: false })
  const handle = reserve(harness)
  const other = harness.packing()
  const splice = { kind: 'spliceFile', offset: 3, extents: [extent(other, 0, 2)], seals: [], mtimeMs: 0 } as const
  harness.clientOk({ ...splice, inode: inodes[1]! })
  harness.clientOk({ kind: 'truncateFile', path: '/cut', size: 9 })
  harness.clientOk({ kind: 'remove', path: '/purged', what: 'file', now: true })
  harness.collect(0)
  harness.clientOk({ kind: 'rename', from: '/renamed', to: '/elsewhere', overwrite: false })
  harness.clientOk({ kind: 'remove', path: '/trashed', what: 'file', now: false })
  const switches = inodes.map((inode, i) => ({ inode, fileOffset: 0, offset: i * 10, from: [extent(old, i * 10, 10)] }))
  assert.equal(replyOf(switchTo(harness, handle, 60, switches)), [3, 30])
  assert.equal(harness.extentsOf('/kept'), [[handle, 0, 10]])
  assert.equal(harness.extentsOf('/copy'), [[old, 0, 10]])
  assert.equal(harness.extentsOf('/elsewhere'), [[handle, 40, 10]])
  assert.is(harness.extentsOf('/overwritten').length, 3)
  assert.equal(harness.extentsOf('/cut'), [[old, 20, 9]])
  checkInvariants(harness.state)
  assert.equal(replyOf(switchTo(harness, handle, 60, switches)), [0, 0], 'a second time nothing is left to switch')
})

test('a handle is used once: not after its chunk has gone, not after another was reserved', () => {
  const harness = new Harness()
  const old = harness.packing()
  const inode = harness.put('/f', [extent(old, 0, 10)])
  const first = reserve(harness)
  const second = reserve(harness)
  const one = [{ inode, fileOffset: 0, offset: 0, from: [extent(old, 0, 10)] }]
  assert.equal(harness.state.changes.forgotten, [first])
  assert.is(replyOf(switchTo(harness, first, 10, one)), 'NOT_FOUND')
  harness.ok({ kind: 'releaseHandle', handle: second })
  assert.is(replyOf(switchTo(harness, second, 10, one)), 'NOT_FOUND')
  const third = reserve(harness)
  const nothing = [{ ...one[0]!, fileOffset: 5 }]
  assert.equal(replyOf(switchTo(harness, third, 10, nothing)), [0, 0])
  assert.not(harness.state.hasChunk(third), 'a chunk that nobody points to is not kept')
  assert.is(replyOf(switchTo(harness, third, 10, one)), 'NOT_FOUND')
  assert.equal(harness.state.changes.forgotten, [first, second, third])
  checkInvariants(harness.state)
})

test('switches that lie outside the chunk, or touch too many rows, are refused whole', () => {
  const harness = new Harness()
  const old = harness.packing()
  const inode = harness.put('/f', [extent(old, 0, 10)])
  const handle = reserve(harness)
  const good = { inode, fileOffset: 0, offset: 0, from: [extent(old, 0, 10)] }
  const cases: [length: number, switches: ExtentSwitch[], code: string][] = [
    [9, [good], 'INVALID_ARGUMENT'],
    [0, [], 'INVALID_ARGUMENT'],
    [2 ** 26, [good], 'INVALID_ARGUMENT'],
    [20, [{ ...good, offset: 11 }], 'INVALID_ARGUMENT'],
    [20, [{ ...good, from: [] }], 'INVALID_ARGUMENT'],
    [20, [{ ...good, from: [extent(0, 0, 10)] }], 'INVALID_ARGUMENT'],
    [20, [good, { ...good, from: [extent(handle, 0, 10)] }], 'INVALID_ARGUMENT'],
    [20, Array.from({ length: 2001 }, () => good), 'LIMIT_EXCEEDED'],
  ]
  for (const [length, switches, code] of cases) assert.is(replyOf(switchTo(harness, handle, length, switches)), code)
  assert.equal(harness.extentsOf('/f'), [[old, 0, 10]])
  assert.is(harness.state.reserved?.handle, handle)
})

test.run()
