import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ChunkHandle } from '../../../src/base/ids.ts'
import { chunkHandle } from '../../../src/base/ids.ts'
import { EXTENTS_PER_REQUEST_MAX, ROWS_PER_RECORD_MAX } from '../../../src/base/limits.ts'
import { checkInvariants } from '../../../src/master/metadata/invariants.ts'
import type { Extent, SealClaim } from '../../../src/master/operations.ts'
import { CHUNK_BYTES, checkpointOf, extent, Harness, INODE, LINEAGE, MEMBERS } from './harness.ts'

const commit = { kind: 'commitFile', seals: [], extents: [], close: false, mtimeMs: 0 } as const

test('a new file has no name until its first commit that gives one', () => {
  const harness = new Harness()
  harness.mkdir('/d')
  const { inode, handle } = harness.open()
  harness.clientOk({ ...commit, inode, extents: [extent(handle, 0, 100)] })
  assert.equal(harness.state.list(harness.inode('/d'), undefined, 10), [])
  const reply = harness.clientOk({
    ...commit,
    inode,
    extents: [extent(handle, 100, 50)],
    publish: { path: '/d/f', overwrite: false },
    seals: [{ handle, length: 150, digest: 9 }],
    close: true,
  })
  assert.equal(reply, [inode, 150, 2])
  assert.equal(harness.extentsOf('/d/f'), [[handle, 0, 150]])
  assert.is(harness.state.chunk(handle)!.state, 'sealed')
  assert.is(harness.state.chunk(handle)!.owner, 0)
  assert.is(harness.state.pathOf(inode), '/d/f')
  checkInvariants(harness.state)
})

test('the name, the verdict on it and the replacement of the older file fall in one step', () => {
  const harness = new Harness()
  const old = harness.put('/f')
  const { inode } = harness.open()
  assert.is(harness.verdict({ ...commit, inode, publish: { path: '/f', overwrite: false } }), 'ALREADY_EXISTS')
  assert.is(harness.inode('/f'), old)
  assert.is(harness.verdict({ ...commit, inode, publish: { path: '/no/f', overwrite: true } }), 'NOT_FOUND')
  assert.is(harness.verdict({ ...commit, inode, publish: { path: '/f/g', overwrite: true } }), 'NOT_A_DIRECTORY')
  assert.is(harness.verdict({ ...commit, inode, publish: { path: '/', overwrite: true } }), 'IS_A_DIRECTORY')
  harness.clientOk({ ...commit, inode, publish: { path: '/f', overwrite: true } })
  assert.is(harness.inode('/f'), inode)
  assert.equal(
    harness.state.trash(0, 9).map((entry) => [entry.inode, entry.path]),
    [[old, '/f']],
  )
})

test('a rename does not disturb the writer, a removal ends it', () => {
  const harness = new Harness()
  harness.mkdir('/d')
  const { inode, handle } = harness.open()
  harness.clientOk({ ...commit, inode, extents: [extent(handle, 0, 1)], publish: { path: '/d/f', overwrite: false } })
  harness.clientOk({ kind: 'rename', from: '/d', to: '/e', overwrite: false })
  harness.clientOk({ ...commit, inode, extents: [extent(handle, 1, 1)], publish: { path: '/d/f', overwrite: false } })
  assert.is(harness.state.stat(harness.inode('/e/f'))!.size, 2)
  harness.clientOk({ kind: 'remove', path: '/e', what: 'tree', now: false })
  assert.is(harness.verdict({ ...commit, inode, extents: [extent(handle, 2, 1)] }), 'FILE_REMOVED')
  assert.is(harness.verdict({ kind: 'allocateChunk', inode, members: MEMBERS, seals: [] }), 'FILE_REMOVED')
  harness.seal(handle, 2)
  harness.collect()
  assert.is(harness.verdict({ ...commit, inode }), 'FILE_REMOVED')
  checkInvariants(harness.state)
})

test('a file closed without a name is dropped', () => {
  const harness = new Harness()
  const { inode, handle } = harness.open()
  harness.clientOk({ ...commit, inode, extents: [extent(handle, 0, 7)], close: true })
  assert.is(harness.state.stat(inode), undefined)
  assert.ok(harness.state.hasChunk(handle), 'an open chunk stays')
  harness.seal(handle, 7)
  assert.not(harness.state.hasChunk(handle), 'no file with a name ever held it')
  checkInvariants(harness.state)
})

test('another session may append to a file that has its name', () => {
  const harness = new Harness()
  const { inode, handle } = harness.open(1)
  assert.is(harness.verdict({ ...commit, inode }, 2), 'NOT_FOUND')
  harness.clientOk({ ...commit, inode, extents: [extent(handle, 0, 3)], publish: { path: '/f', overwrite: false } })
  const [next] = harness.clientOk({ kind: 'allocateChunk', inode, members: MEMBERS, seals: [] }, 2) as [ChunkHandle]
  assert.equal(harness.clientOk({ ...commit, inode, extents: [extent(next, 0, 4)] }, 2), [inode, 7, 2])
  assert.equal(harness.extentsOf('/f'), [
    [handle, 0, 3],
    [next, 0, 4],
  ])
})

// What a commit may name. `own`: open, this session's; `other`: open, another session's; `shared`: open, shared;
// `sealed`: this session's, sealed at 100 with digest 9.
type Case = [
  name: string,
  expected: string,
  extents: (w: World) => Extent[],
  seals?: ((w: World) => SealClaim[]) | undefined,
  length?: number,
]
interface World {
  own: ChunkHandle
  other: ChunkHandle
  shared: ChunkHandle
  sealed: ChunkHandle
}
const nobody = chunkHandle(LINEAGE, 999)
const gone = (w: World): ChunkHandle => (w.own - 1) as ChunkHandle // allocated first, forgotten since
const cases: Case[] = [
  ['bytes of its own open chunk', 'ok', (w) => [extent(w.own, 0, 5)]],
  ['its own open chunk to the very end', 'ok', (w) => [extent(w.own, 0, CHUNK_BYTES)]],
  ['beyond the end of a chunk', 'INVALID_ARGUMENT', (w) => [extent(w.own, 1, CHUNK_BYTES)]],
  ['bytes of a shared chunk', 'ok', (w) => [extent(w.shared, 500, 5)]],
  ['bytes lent to another session', 'INVALID_ARGUMENT', (w) => [extent(w.other, 0, 5)]],
  ['all of a sealed chunk', 'ok', (w) => [extent(w.sealed, 0, 100)]],
  ['more than a sealed chunk has', 'SEALED_SHORT', (w) => [extent(w.sealed, 50, 51)], undefined, 100],
  ['a handle that was never given', 'NOT_FOUND', () => [extent(nobody, 0, 5)]],
  ['a chunk that was forgotten', 'SEALED_SHORT', (w) => [extent(gone(w), 0, 5)], undefined, 0],
  ['a hole', 'ok', () => [extent(0, 0, 2 ** 40)]],
  ['a hole with an offset', 'INVALID_ARGUMENT', () => [extent(0, 1, 5)]],
  ['an empty extent', 'INVALID_ARGUMENT', (w) => [extent(w.own, 0, 0)]],
  ['a negative offset', 'INVALID_ARGUMENT', (w) => [extent(w.own, -1, 5)]],
  ['half a byte', 'INVALID_ARGUMENT', (w) => [extent(w.own, 0, 0.5)]],
  ['a file over 2^50 bytes', 'LIMIT_EXCEEDED', () => [extent(0, 0, 2 ** 50), extent(0, 0, 1)]],
  [
    'too many extents',
    'LIMIT_EXCEEDED',
    (w) => Array.from({ length: EXTENTS_PER_REQUEST_MAX + 1 }, (_, i) => extent(w.own, i * 2, 1)),
  ],
  [
    'a seal of its own chunk, and its bytes',
    'ok',
    (w) => [extent(w.own, 0, 60)],
    (w) => [{ handle: w.own, length: 60, digest: 1 }],
  ],
  [
    'more than the seal it brings',
    'SEALED_SHORT',
    (w) => [extent(w.own, 0, 61)],
    (w) => [{ handle: w.own, length: 60, digest: 1 }],
    60,
  ],
  [
    'a seal beyond the size of a chunk',
    'INVALID_ARGUMENT',
    () => [],
    (w) => [{ handle: w.own, length: CHUNK_BYTES + 1, digest: 1 }],
  ],
  [
    "a seal of another session's chunk",
    'INVALID_ARGUMENT',
    () => [],
    (w) => [{ handle: w.other, length: 1, digest: 1 }],
  ],
  ['a seal of a shared chunk', 'INVALID_ARGUMENT', () => [], (w) => [{ handle: w.shared, length: 1, digest: 1 }]],
  [
    'two seals of one chunk',
    'INVALID_ARGUMENT',
    () => [],
    (w) => [1, 2].map((length) => ({ handle: w.own, length, digest: 1 })),
  ],
  ['the seal that is logged', 'ok', () => [], (w) => [{ handle: w.sealed, length: 100, digest: 9 }]],
  [
    'a shorter seal than the logged one',
    'ok',
    (w) => [extent(w.sealed, 0, 50)],
    (w) => [{ handle: w.sealed, length: 50, digest: 3 }],
  ],
  [
    'a longer seal than the logged one',
    'SEALED_SHORT',
    () => [],
    (w) => [{ handle: w.sealed, length: 101, digest: 9 }],
    100,
  ],
  [
    'the logged length with another digest',
    'SEALED_SHORT',
    () => [],
    (w) => [{ handle: w.sealed, length: 100, digest: 8 }],
    0,
  ],
  [
    'a seal of a chunk that was forgotten',
    'SEALED_SHORT',
    () => [],
    (w) => [{ handle: gone(w), length: 1, digest: 1 }],
    0,
  ],
]
for (const [name, expected, extents, seals, length] of cases) {
  test(`a commit that names ${name}: ${expected}`, () => {
    const harness = new Harness()
    const abandoned = harness.open(9)
    harness.ok({ kind: 'endSession', session: 9 as never })
    harness.seal(abandoned.handle, 1)
    const { inode, handle: own } = harness.open(1)
    const other = harness.open(2).handle
    const shared = harness.packing()
    const [sealed] = harness.clientOk({ kind: 'allocateChunk', inode, members: MEMBERS, seals: [] }) as [ChunkHandle]
    harness.seal(sealed, 100, 9)
    const world = { own, other, shared, sealed }
    const before = harness.state.stat(inode)!
    const outcome = harness.client({ ...commit, inode, extents: extents(world), seals: seals?.(world) ?? [] })
    assert.is(outcome.ok ? 'ok' : outcome.code, expected, outcome.ok ? '' : outcome.message)
    if (length !== undefined && !outcome.ok) assert.is(outcome.detail?.length, length)
    if (expected !== 'ok') {
      assert.equal(harness.state.stat(inode), before)
      assert.is(harness.state.chunk(own)!.state, 'open', 'a refused commit seals nothing')
    }
    checkInvariants(harness.state)
  })
}

test('a chunk stays open to the file that holds a part of it, also for other sessions', () => {
  const harness = new Harness()
  const { inode, handle } = harness.open(1)
  const seals = [{ handle, length: 100, digest: 1 }]
  const publish = { path: '/f', overwrite: false }
  harness.clientOk({ ...commit, inode, extents: [extent(handle, 0, 10)], seals, publish, close: true })
  assert.is(
    harness.verdict(
      { kind: 'spliceFile', inode, offset: 0, extents: [extent(handle, 50, 5)], seals: [], mtimeMs: 0 },
      2,
    ),
    'ok',
  )
  const stranger = harness.put('/g')
  assert.is(harness.verdict({ ...commit, inode: stranger, extents: [extent(handle, 0, 5)] }, 2), 'INVALID_ARGUMENT')
  assert.equal(harness.extentsOf('/f'), [
    [handle, 50, 5],
    [handle, 5, 5],
  ])
})

test('a splice that makes many extents one keeps those behind it, whatever room the list then needs', () => {
  for (const count of [3, 5, 9, 17, 40, 130]) {
    for (const kept of [1, 2, 5]) {
      const harness = new Harness()
      const handle = harness.packing()
      const extents = (from: number) => Array.from({ length: count }, (_, index) => extent(handle, from + index * 2, 1))
      const inode = harness.put('/f', extents(0))
      const other = harness.put('/neighbour', extents(1000))
      const removed = Math.max(1, count - 1 - kept)
      const splice = { kind: 'spliceFile', inode, offset: 1, seals: [], mtimeMs: 0 } as const
      harness.clientOk({ ...splice, extents: [extent(handle, 5000, removed)] })
      const expected = [
        [handle, 0, 1],
        [handle, 5000, removed],
        ...extents(0)
          .slice(1 + removed)
          .map(tupleOf),
      ]
      assert.equal(harness.extentsOf('/f'), expected, `${removed} of ${count} extents made one`)
      assert.equal(harness.extentsOf('/neighbour'), extents(1000).map(tupleOf))
      assert.is(harness.state.stat(other)!.size, count)
      checkInvariants(harness.state)
    }
  }
})

function tupleOf({ handle, offset, length }: Extent): readonly number[] {
  return [handle, offset, length]
}

test('a file of a hundred thousand extents is found, spliced and cut at any offset', () => {
  const harness = new Harness()
  let handle = harness.packing()
  const inode = harness.put('/f')
  const extents = 100_000
  for (let at = 0; at < extents; ) {
    const batch: Extent[] = []
    for (; batch.length < 8000 && at < extents; at++) {
      if (at % 30_000 === 29_999) handle = harness.packing()
      batch.push(extent(handle, (at % 30_000) * 2, 1))
    }
    harness.clientOk({ ...commit, inode, extents: batch })
  }
  assert.is(harness.state.stat(inode)!.extentCount, extents)
  const middle = harness.state.extents(inode, 77_777, 1)[0]!
  assert.equal([middle.fileOffset, middle.offset], [77_777, (77_777 % 30_000) * 2])
  harness.clientOk({
    kind: 'spliceFile',
    inode,
    offset: 50_000,
    extents: [extent(handle, 60_001, 3)],
    seals: [],
    mtimeMs: 0,
  })
  assert.is(harness.state.stat(inode)!.extentCount, extents - 2)
  assert.is(harness.state.stat(inode)!.size, extents)
  assert.is(harness.verdict({ kind: 'truncateFile', path: '/f', size: 1000 }), 'LIMIT_EXCEEDED')
  assert.is(harness.verdict({ kind: 'truncateFile', path: '/f', size: extents - ROWS_PER_RECORD_MAX + 10 }), 'ok')
  checkInvariants(harness.state)
})

test('a file grows by a hole, and holes that meet are one', () => {
  const harness = new Harness()
  const inode = harness.put('/f')
  harness.clientOk({ kind: 'truncateFile', path: '/f', size: 10 })
  harness.clientOk({ kind: 'truncateFile', path: '/f', size: 2 ** 40 })
  assert.equal(harness.extentsOf('/f'), [[0, 0, 2 ** 40]])
  assert.is(harness.verdict({ kind: 'truncateFile', path: '/f', size: 2 ** 50 + 1 }), 'INVALID_ARGUMENT')
  harness.clientOk({ kind: 'truncateFile', path: '/f', size: 0 })
  assert.equal(harness.extentsOf('/f'), [])
  assert.is(harness.state.stat(inode)!.contentVersion, 3)
})

test('setAttributes checks every field, and keeps what it does not name', () => {
  const harness = new Harness()
  const inode = harness.put('/f')
  const bad = [{ mode: 0o10000 }, { goal: 17 }, { mtimeMs: -1 }, { owner: 'x'.repeat(256) }, { group: '\0' }]
  for (const fields of bad)
    assert.is(harness.verdict({ kind: 'setAttributes', path: '/f', ...fields }), 'INVALID_ARGUMENT')
  const huge = [['user.x', 'v'.repeat(65_536)]] as const
  assert.is(harness.verdict({ kind: 'setAttributes', path: '/f', attributes: huge }), 'LIMIT_EXCEEDED')
  harness.clientOk({
    kind: 'setAttributes',
    path: '/f',
    mode: 0o600,
    attributes: [
      ['b', '2'],
      ['a', '1'],
    ],
  })
  harness.clientOk({ kind: 'setAttributes', path: '/f', goal: 2, attributes: [['b', null]] })
  const facts = harness.state.stat(inode)!
  assert.equal([facts.mode, facts.owner, facts.goal, [...facts.attributes]], [0o600, 'ada', 2, [['a', '1']]])
  checkInvariants(harness.state)
})

test('a new goal reaches the chunks: those of this file alone exactly, shared ones only upward', () => {
  const harness = new Harness()
  const own = harness.packing()
  const both = harness.packing()
  harness.put('/f', [extent(own, 0, 1), extent(both, 0, 1), extent(own, 5, 1)])
  harness.put('/g', [extent(both, 1, 1)])
  const goals = (): number[] => [own, both].map((handle) => harness.state.chunk(handle)!.goal)
  for (const [goal, expected] of [
    [5, [5, 5]],
    [2, [2, 5]],
    [0, [3, 5]],
  ] as const) {
    const before = goals()
    harness.state.changes.clear()
    harness.clientOk({ kind: 'setAttributes', path: '/f', goal })
    assert.equal(goals(), expected)
    const { goalChanged } = harness.state.changes
    for (const [index, handle] of [own, both].entries()) {
      if (before[index] !== expected[index]) assert.ok(goalChanged.includes(handle), 'repair looks at it at once')
    }
  }
})

test('the chunks of a purged file do not stay with the session that wrote it', () => {
  const harness = new Harness()
  const { inode, handle } = harness.open()
  const seals = [{ handle, length: 5, digest: 1 }]
  const publish = { path: '/f', overwrite: false }
  harness.clientOk({ ...commit, inode, extents: [extent(handle, 0, 5)], seals, publish })
  const [tail] = harness.clientOk({ kind: 'allocateChunk', inode, members: MEMBERS, seals: [] }) as [ChunkHandle]
  harness.clientOk({ kind: 'remove', path: '/f', what: 'file', now: true })
  assert.is(harness.state.chunk(handle)!.owner, 1)
  harness.collect()
  assert.not(harness.state.hasChunk(handle))
  harness.seal(tail, 0)
  assert.not(harness.state.hasChunk(tail))
  checkInvariants(harness.state)
})

test('a directory that was renamed, removed or made anew is not taken for the one that had its path before', () => {
  const harness = new Harness()
  const { state } = harness
  const first = harness.mkdir('/d/one')
  for (const name of ['a', 'b']) harness.put(`/d/one/${name}`)
  harness.clientOk({ kind: 'rename', from: '/d/one', to: '/d/two', overwrite: false })
  const lost = { publish: { path: '/d/one/c', overwrite: false }, inode: INODE, extents: [], mtimeMs: 0 }
  assert.is(harness.verdict({ kind: 'putFile', ...lost }), 'NOT_FOUND')
  const second = harness.mkdir('/d/one')
  for (const name of ['c', 'd']) harness.put(`/d/one/${name}`)
  for (const name of ['e', 'f']) harness.put(`/d/two/${name}`)
  assert.equal(
    [first, second].map((inode) => state.list(inode, undefined, 10).map(({ name }) => name)),
    [
      ['a', 'b', 'e', 'f'],
      ['c', 'd'],
    ],
  )
  harness.clientOk({ kind: 'remove', path: '/d', what: 'tree', now: false })
  assert.is(harness.verdict({ kind: 'putFile', ...lost, publish: { path: '/d/two/g', overwrite: false } }), 'NOT_FOUND')
  checkInvariants(state)
})

test('a refused operation leaves every byte of the state as it was, but for its session', () => {
  const harness = new Harness()
  harness.put('/f')
  harness.mkdir('/d')
  const namesOf = (): string =>
    checkpointOf(harness.state)
      .filter(({ name }) => name !== 'sessions' && name !== 'state')
      .map(({ bytes }) => bytes.toString('hex'))
      .join()
  const before = namesOf()
  harness.client({ kind: 'rename', from: '/d', to: '/d/e', overwrite: true })
  harness.client({ kind: 'remove', path: '/', what: 'tree', now: true })
  harness.client({
    kind: 'makeDirectory',
    path: '/f/x',
    parents: true,
    inode: { mode: 0, owner: 'new', group: '', goal: 0 },
  })
  harness.client({ kind: 'concatFiles', path: '/f', sources: ['/d'] })
  assert.is(namesOf(), before)
})

test.run()
