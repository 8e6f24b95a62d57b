import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { InodeId, SessionId } from '../../../src/base/ids.ts'
import { ROWS_PER_RECORD_MAX, SESSION_REPLIES_MAX } from '../../../src/base/limits.ts'
import { refusal } from '../../../src/master/metadata/apply.ts'
import { checkInvariants } from '../../../src/master/metadata/invariants.ts'
import { SESSION_MEMORY_MS } from '../../../src/master/metadata/sessions.ts'
import type { Operation } from '../../../src/master/operations.ts'
import { checkpointOf, extent, Harness, INODE, load } from './harness.ts'

const session = 42 as SessionId

function mkdir(request: number, floor = 0, path = `/d${request}`): Operation {
  return { kind: 'makeDirectory', by: { session, request, floor }, path, parents: false, inode: INODE }
}

test('a request sent again gets the old reply and changes nothing', () => {
  const harness = new Harness()
  const first = harness.apply(mkdir(1))
  const entries = harness.state.stat(1 as InodeId)!.entryCount
  assert.equal(harness.apply(mkdir(1)), first)
  assert.equal(refusal(harness.state, mkdir(1)), first)
  // Even when the same operation would be answered otherwise now.
  harness.clientOk({ kind: 'remove', path: '/d1', what: 'tree', now: false })
  assert.equal(harness.apply(mkdir(1)), first)
  assert.is(harness.state.resolve('/d1'), undefined)
  assert.is(entries, 1)
})

test('a refusal that was logged is kept like any reply', () => {
  const harness = new Harness()
  harness.apply(mkdir(1))
  const refused = harness.apply(mkdir(2, 0, '/d1'))
  assert.is(refused.ok, false)
  harness.clientOk({ kind: 'remove', path: '/d1', what: 'tree', now: false })
  assert.equal(harness.apply(mkdir(2, 0, '/d1')), refused)
})

test('below the floor the outcome is unknown, and the replies are gone', () => {
  const harness = new Harness()
  for (let request = 1; request <= 5; request++) harness.apply(mkdir(request))
  harness.apply(mkdir(6, 4))
  assert.is(harness.state.sessionReply(session, 4), undefined)
  assert.ok(harness.state.sessionReply(session, 5))
  assert.is(codeOf(harness.apply(mkdir(3))), 'OUTCOME_UNKNOWN')
  // An older floor does not bring it down again.
  harness.apply(mkdir(7, 1))
  assert.is(codeOf(harness.apply(mkdir(4))), 'OUTCOME_UNKNOWN')
})

test('a floor that leaps far costs no more than the replies it drops', () => {
  const harness = new Harness()
  harness.apply(mkdir(1))
  harness.apply(mkdir(2 ** 50, 2 ** 50 - 1))
  assert.is(harness.state.sessionReply(session, 1), undefined)
})

test('requests may be applied in another order than they were numbered', () => {
  const harness = new Harness()
  assert.ok(harness.apply(mkdir(3)).ok)
  assert.ok(harness.apply(mkdir(1)).ok)
  assert.ok(harness.apply(mkdir(2)).ok)
})

test('a session that lets its replies pile up is BUSY, until its floor moves', () => {
  const harness = new Harness()
  for (let request = 1; request <= SESSION_REPLIES_MAX; request++) assert.ok(harness.apply(mkdir(request)).ok)
  const next = SESSION_REPLIES_MAX + 1
  assert.is(codeOf(refusal(harness.state, mkdir(next))), 'BUSY')
  assert.is(codeOf(harness.apply(mkdir(next))), 'BUSY')
  assert.ok(harness.apply(mkdir(next, 1)).ok)
  checkInvariants(harness.state)
})

for (const by of [
  { session: 0, request: 1, floor: 0 },
  { session: 2 ** 48, request: 1, floor: 0 },
  { session: 1, request: 0, floor: 0 },
  { session: 1, request: 5, floor: 5 },
  { session: 1, request: 5, floor: -1 },
]) {
  test(`${JSON.stringify(by)} is no requester`, () => {
    const harness = new Harness()
    const op = { ...mkdir(1), by: { ...by, session: by.session as SessionId } } as Operation
    assert.is(codeOf(harness.apply(op)), 'INVALID_ARGUMENT')
    assert.not(harness.state.sessionKnown(by.session as SessionId))
  })
}

test('an ended session is never opened again, also through a checkpoint', async () => {
  const harness = new Harness()
  harness.apply(mkdir(1))
  harness.ok({ kind: 'endSession', session })
  harness.ok({ kind: 'endSession', session })
  assert.not(harness.state.sessionKnown(session))
  assert.is(codeOf(harness.apply(mkdir(2))), 'SESSION_ENDED')
  harness.state = await load(checkpointOf(harness.state))
  assert.is(codeOf(harness.apply(mkdir(2))), 'SESSION_ENDED')
  assert.is(codeOf(refusal(harness.state, mkdir(2))), 'SESSION_ENDED')
  assert.is(codeOf(harness.apply({ kind: 'endSession', session: 7 as SessionId })), 'NOT_FOUND')
})

test('an ended session is remembered for a day of cluster time', () => {
  const harness = new Harness()
  harness.apply(mkdir(1))
  harness.ok({ kind: 'endSession', session })
  const other = (id: number): void => {
    harness.client({ kind: 'emptyTrash', trash: 0 }, id)
    harness.ok({ kind: 'endSession', session: id as SessionId })
  }
  harness.clusterMs += SESSION_MEMORY_MS
  other(100)
  assert.ok(harness.state.sessionEnded(session))
  harness.clusterMs += 1
  other(101)
  assert.not(harness.state.sessionEnded(session))
  assert.ok(harness.state.sessionEnded(100 as SessionId))
})

test('the end of a session drops its files without a name and their chunks, and keeps what has a name', () => {
  const harness = new Harness()
  const { inode, handle } = harness.open(session)
  const seals = [{ handle, length: 10, digest: 1 }]
  const commit = {
    kind: 'commitFile',
    inode,
    extents: [extent(handle, 0, 10)],
    seals,
    close: false,
    mtimeMs: 0,
  } as const
  harness.clientOk(commit, session)
  const named = harness.open(session)
  harness.clientOk(
    {
      kind: 'commitFile',
      inode: named.inode,
      extents: [extent(named.handle, 0, 5)],
      seals: [],
      close: false,
      mtimeMs: 0,
      publish: { path: '/named', overwrite: false },
    },
    session,
  )
  const untouched = harness.open(session)
  harness.state.changes.clear()
  harness.ok({ kind: 'endSession', session })
  checkInvariants(harness.state)
  assert.is(harness.state.stat(inode), undefined)
  assert.not(harness.state.hasChunk(handle))
  assert.equal(harness.state.changes.forgotten, [handle])
  assert.equal(harness.extentsOf('/named'), [[named.handle, 0, 5]])
  // Open chunks stay until they are sealed; one that no file names goes then.
  assert.is(harness.state.chunk(untouched.handle)!.owner, 0)
  assert.is(harness.state.chunk(untouched.handle)!.state, 'open')
  harness.seal(untouched.handle, 3)
  assert.not(harness.state.hasChunk(untouched.handle))
  harness.seal(named.handle, 5)
  assert.ok(harness.state.hasChunk(named.handle))
  checkInvariants(harness.state)
})

test('a session with very many rows ends in several records, the same way after a checkpoint', async () => {
  const harness = new Harness()
  const { inode, handle } = harness.open(session)
  const perCommit = 5000
  for (let round = 0; round < 3; round++) {
    const extents = Array.from({ length: perCommit }, (_, i) => extent(handle, (round * perCommit + i) * 2, 1))
    harness.clientOk({ kind: 'commitFile', inode, extents, seals: [], close: false, mtimeMs: 0 }, session)
  }
  harness.ok({ kind: 'endSession', session })
  assert.ok(harness.state.sessionKnown(session))
  assert.is(harness.state.stat(inode)!.extentCount, 3 * perCommit - ROWS_PER_RECORD_MAX)
  assert.is(harness.verdict({ kind: 'truncateFile', path: '/x', size: 0 }, session), 'SESSION_ENDED')
  checkInvariants(harness.state)
  harness.state = await load(checkpointOf(harness.state))
  harness.ok({ kind: 'endSession', session })
  assert.not(harness.state.sessionKnown(session))
  assert.is(harness.state.stat(inode), undefined)
  checkInvariants(harness.state)
})

function codeOf(outcome: { ok: boolean; code?: string } | undefined): string {
  return outcome === undefined ? 'none' : outcome.ok ? 'ok' : outcome.code!
}

test.run()
