// Work over ROWS_PER_RECORD_MAX rows: it takes several records, may be cut by a checkpoint anywhere, and ends the same.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ChunkHandle, SessionId } from '../../../src/base/ids.ts'
import { apply } from '../../../src/master/metadata/apply.ts'
import { checkInvariants } from '../../../src/master/metadata/invariants.ts'
import { PENDING } from '../../../src/master/metadata/outcome.ts'
import type { Operation } from '../../../src/master/operations.ts'
import { checkpointOf, extent, firstDifference, Harness, INODE, load, MEMBERS } from './harness.ts'

const FILES = 12_000

/** A tree of 12 directories with 1,000 files each, one extent a file. */
function withTree(): { harness: Harness; handle: ChunkHandle } {
  const harness = new Harness()
  const handle = harness.packing()
  for (let i = 0; i < FILES; i++) {
    if (i % 1000 === 0) harness.mkdir(`/tree/d${i / 1000}/deeper`)
    harness.put(`/tree/d${Math.floor(i / 1000)}/f${i}`, [extent(handle, (i % 60_000) + 1, 1)])
  }
  return { harness, handle }
}

function copyOf(harness: Harness, from: string, to: string): Operation & { readonly kind: 'copy' } {
  return { kind: 'copy', by: harness.by(5), from, to, recursive: true, overwrite: true }
}

test('copying a large tree is a job: nothing of it is seen before its end, and its reply comes then', async () => {
  const { harness, handle } = withTree()
  const { session, request } = copyOf(harness, '', '').by
  const op: Operation = { ...copyOf(harness, '/tree', '/copy'), by: { session, request, floor: 0 } }
  assert.is(harness.apply(op), PENDING)
  assert.ok(harness.state.job)
  const again = harness.apply(op)
  assert.is(again.ok ? 'ok' : again.code, 'FILE_BUSY', 'asked again while it runs')
  assert.is(harness.state.sessionReply(session, request), undefined)
  assert.is(harness.state.resolve('/copy'), undefined)
  assert.is(harness.verdict({ kind: 'makeDirectory', path: '/other', parents: false, inode: INODE }), 'FILE_BUSY')
  assert.is(harness.verdict({ kind: 'openFile', inode: INODE, members: MEMBERS }), 'ok')
  const collect = harness.apply({ kind: 'collectGarbage', trashBeforeMs: 0, chunksBeforeMs: 0, movedBeforeMs: 0 })
  assert.is(collect.ok ? 'ok' : collect.code, 'FILE_BUSY')
  checkInvariants(harness.state)

  let other = await load(checkpointOf(harness.state), 1000)
  for (let steps = 0; harness.state.job !== undefined; steps++) {
    assert.ok(steps < 10, 'the job does not end')
    harness.ok({ kind: 'continueJob' })
    apply(other, { kind: 'continueJob' }, { clusterMs: harness.clusterMs, wallMs: harness.wallMs }, harness.index, 1)
    assert.is(firstDifference(harness.state, other), undefined)
    other = await load(checkpointOf(other))
  }
  checkInvariants(harness.state)
  const reply = harness.state.sessionReply(session, request)
  assert.equal(reply, { ok: true, reply: [harness.inode('/copy')] })
  assert.equal(harness.state.changes.jobsEnded, [{ session, request, outcome: reply }])
  assert.equal(harness.apply(op), reply)
  assert.is(harness.state.chunk(handle)!.references, 2 * FILES)
  assert.is(harness.state.list(harness.inode('/copy/d7'), undefined, 2000).length, 1001)
  assert.equal(harness.extentsOf('/copy/d7/f7999'), harness.extentsOf('/tree/d7/f7999'))
  for (const path of ['/', '/d3', '/d3/deeper', '/d3/f3000']) {
    const from = harness.state.stat(harness.inode(`/tree${path}`.replace(/\/$/, '')))!
    const to = harness.state.stat(harness.inode(`/copy${path}`.replace(/\/$/, '')))!
    assert.is(to.mtimeMs, from.mtimeMs, `${path} keeps its mtime`)
    assert.is(to.mode, from.mode)
  }
  assert.is(harness.apply({ kind: 'continueJob' }).ok, false)
})

test('a job outlives the session that asked for it', () => {
  const { harness } = withTree()
  const op = copyOf(harness, '/tree', '/copy')
  harness.apply(op)
  harness.ok({ kind: 'endSession', session: 5 as SessionId })
  while (harness.state.job !== undefined) harness.ok({ kind: 'continueJob' })
  assert.ok(harness.state.resolve('/copy/d11'))
  checkInvariants(harness.state)
})

test('a file with more extents than a record may touch is copied in steps', async () => {
  const harness = new Harness()
  const handle = harness.packing()
  const inode = harness.put('/f')
  for (let round = 0; round < 5; round++) {
    const extents = Array.from({ length: 5000 }, (_, i) => extent(handle, (round * 5000 + i) * 2, 1))
    harness.clientOk({ kind: 'commitFile', inode, extents, seals: [], close: true, mtimeMs: 0 })
  }
  harness.put('/g')
  assert.is(harness.apply(copyOf(harness, '/f', '/g')), PENDING)
  harness.ok({ kind: 'continueJob' })
  harness.state = await load(checkpointOf(harness.state))
  while (harness.state.job !== undefined) harness.ok({ kind: 'continueJob' })
  assert.equal(harness.extentsOf('/g'), harness.extentsOf('/f'))
  assert.is(harness.state.chunk(handle)!.references, 50_000)
  assert.is(harness.state.trash(0, 5).length, 1, 'the file that was there is in the trash')
  checkInvariants(harness.state)
})

test('removing a large tree is one row, purging it several records, and a tree half gone is not restored', async () => {
  const { harness, handle } = withTree()
  harness.seal(handle, 60_002)
  const [trash] = harness.clientOk({ kind: 'remove', path: '/tree', what: 'tree', now: false }) as [number]
  const { fileCount } = harness.state
  assert.is(fileCount, FILES)
  harness.clientOk({ kind: 'restoreTrash', trash, path: '/back' })
  assert.equal(harness.extentsOf('/back/d0/f5'), [[handle, 6, 1]])
  const [again] = harness.clientOk({ kind: 'remove', path: '/back', what: 'tree', now: false }) as [number]

  assert.not(harness.isDue(harness.clusterMs - 1, 0))
  assert.ok(harness.isDue(harness.clusterMs, 0))
  harness.state.changes.clear()
  harness.collect(harness.clusterMs)
  assert.ok(harness.state.fileCount > 0 && harness.state.fileCount < FILES)
  assert.is(harness.verdict({ kind: 'restoreTrash', trash: again, path: '' }), 'NOT_FOUND')
  checkInvariants(harness.state)
  const other = await load(checkpointOf(harness.state))
  for (let records = 0; harness.isDue(0, 0); records++) {
    assert.ok(records < 10, 'the purge does not end')
    const op = { kind: 'collectGarbage', trashBeforeMs: 0, chunksBeforeMs: 0, movedBeforeMs: 0 } as const
    harness.ok(op)
    apply(other, op, { clusterMs: harness.clusterMs, wallMs: harness.wallMs }, harness.index, 1)
    assert.is(firstDifference(harness.state, other), undefined)
    checkInvariants(harness.state)
  }
  assert.is(harness.state.fileCount, 0)
  assert.is(harness.state.directoryCount, 1)
  assert.equal(harness.state.changes.forgotten, [handle])
  assert.is(harness.state.chunkCount, 0)
})

test('trash goes when its time is over, at once when asked, oldest first', () => {
  const harness = new Harness()
  for (const [at, name] of [
    [1000, '/a'],
    [2000, '/b'],
    [3000, '/c'],
  ] as const) {
    harness.clusterMs = at
    harness.put(name)
    harness.clientOk({ kind: 'remove', path: name, what: 'file', now: name === '/c' })
  }
  const left = (): string[] => harness.state.trash(0, 9).map(({ path }) => path)
  assert.ok(harness.isDue(0, 0))
  harness.collect(0)
  assert.equal(left(), ['/a', '/b'])
  assert.not(harness.isDue(999, 0))
  harness.collect(1000)
  assert.equal(left(), ['/b'])
  harness.clientOk({ kind: 'emptyTrash', trash: 0 })
  assert.ok(harness.isDue(0, 0))
  harness.put('/d')
  harness.clientOk({ kind: 'remove', path: '/d', what: 'file', now: false })
  harness.collect(0)
  assert.equal(left(), ['/d'], 'what is removed after the trash was emptied stays')
  harness.clientOk({ kind: 'emptyTrash', trash: harness.state.trash(0, 1)[0]!.id })
  harness.collect(0)
  assert.equal(left(), [])
})

test('GFS §4.4: a chunk that a named file gave up is kept for the retention, then forgotten', () => {
  const harness = new Harness()
  const handle = harness.packing()
  harness.put('/f', [extent(handle, 0, 10)])
  harness.clusterMs = 5000
  harness.clientOk({ kind: 'truncateFile', path: '/f', size: 0 })
  assert.is(harness.state.chunk(handle)!.unreferencedSinceMs, 5000)
  assert.not(harness.isDue(0, 1e9), 'an open chunk never leaves')
  harness.clusterMs = 6000
  harness.seal(handle, 10)
  assert.not(harness.isDue(0, 4999))
  assert.ok(harness.isDue(0, 5000))
  // A late record may still name it; then it is in use again.
  harness.put('/late', [extent(handle, 4, 2)])
  assert.not(harness.isDue(0, 1e9))
  harness.clusterMs = 7000
  harness.clientOk({ kind: 'truncateFile', path: '/late', size: 0 })
  assert.not(harness.isDue(0, 6999))
  harness.collect(0, 7000)
  assert.not(harness.state.hasChunk(handle))
  assert.ok(harness.state.wasKnown(handle))
  assert.not(harness.state.wasKnown((handle + 1) as ChunkHandle))
  checkInvariants(harness.state)
})

test('a shared chunk that no file names yet has its retention from its seal on', () => {
  const harness = new Harness()
  const handle = harness.packing()
  harness.clusterMs = 9000
  harness.seal(handle, 10)
  assert.is(harness.state.chunk(handle)!.unreferencedSinceMs, 9000)
  harness.put('/f', [extent(handle, 0, 10)])
  checkInvariants(harness.state)
})

test('the first seal wins; another says what is logged', () => {
  const harness = new Harness()
  const handle = harness.packing()
  const op = { kind: 'sealChunk', handle, length: 10, digest: 3, indexDigest: 4 } as const
  harness.ok(op)
  assert.equal(harness.state.changes.sealed, [
    { handle, version: 1, length: 10, digest: 3, indexDigest: 4, members: MEMBERS },
  ])
  harness.ok(op)
  for (const different of [{ length: 9 }, { digest: 4 }, { indexDigest: 5 }]) {
    const outcome = harness.apply({ ...op, ...different })
    assert.ok(!outcome.ok)
    assert.is(outcome.code, 'CHUNK_SEALED')
    assert.is(outcome.detail?.length, 10)
  }
  harness.ok({ kind: 'raiseVersion', handle, version: 2 })
  assert.not(harness.apply({ kind: 'raiseVersion', handle, version: 2 }).ok)
  assert.is(harness.state.chunk(handle)!.version, 2)
})

test('handles go on in a new lineage after an accepted rollback, and the old ones stay known', () => {
  const harness = new Harness()
  const old = harness.packing()
  harness.ok({ kind: 'acceptRollback', lineage: 8, lostIndex: 77 })
  assert.not(harness.apply({ kind: 'acceptRollback', lineage: 7, lostIndex: 1 }).ok)
  const fresh = harness.packing()
  assert.is(fresh, 8 * 2 ** 37 + 1)
  assert.is(harness.state.rollbackLostIndex, 77)
  assert.ok(harness.state.wasKnown(old))
  assert.equal(
    harness.state.nextChunks(0, 9).map((chunk) => chunk.handle),
    [old, fresh],
  )
  assert.equal(
    harness.state.nextChunks(old, 9).map((chunk) => chunk.handle),
    [fresh],
  )
})

test.run()
