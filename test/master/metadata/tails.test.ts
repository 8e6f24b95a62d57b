// The open tail of a file: at most one, sealed into the file by one record, and nothing that needs its length before that.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ChunkHandle, InodeId } from '../../../src/base/ids.ts'
import { refusal } from '../../../src/master/metadata/apply.ts'
import { checkInvariants } from '../../../src/master/metadata/invariants.ts'
import { tailsInTheWay } from '../../../src/master/metadata/tails.ts'
import {
  CHUNK_BYTES,
  type ClientOperation,
  checkpointOf,
  extent,
  firstDifference,
  Harness,
  INODE,
  load,
  MEMBERS,
} from './harness.ts'

function withTail(): { harness: Harness; inode: InodeId; tail: ChunkHandle; packed: ChunkHandle } {
  const harness = new Harness()
  const packed = harness.packing()
  harness.mkdir('/d')
  const inode = harness.put('/d/f', [extent(packed, 0, 10)])
  const [tail] = harness.ok({ kind: 'openTail', inode, members: MEMBERS })
  return { harness, inode, tail: tail as ChunkHandle, packed }
}

test('a sealed tail is the end of its file, and the next one goes on behind it', () => {
  const { harness, inode, tail, packed } = withTail()
  checkInvariants(harness.state)
  const before = harness.state.stat(inode)!
  assert.is(before.size, 10)
  assert.is(harness.state.chunk(tail)!.inode, inode)
  harness.seal(tail, 70)
  checkInvariants(harness.state)
  assert.equal(harness.extentsOf('/d/f'), [
    [packed, 0, 10],
    [tail, 0, 70],
  ])
  const after = harness.state.stat(inode)!
  assert.is(after.size, 80)
  assert.is(after.contentVersion, before.contentVersion + 1)
  assert.is(harness.state.chunk(tail)!.liveBytes, 70)
  const [next] = harness.ok({ kind: 'openTail', inode, members: MEMBERS })
  harness.seal(next as ChunkHandle, 5)
  assert.is(harness.state.stat(inode)!.size, 85)
  checkInvariants(harness.state)
})

test('a seal that is repeated appends once', () => {
  const { harness, inode, tail } = withTail()
  harness.seal(tail, 70)
  harness.seal(tail, 70)
  assert.is(harness.state.stat(inode)!.size, 80)
})

test('a tail that nobody wrote to leaves the file as it was', () => {
  const { harness, inode, tail } = withTail()
  const { contentVersion } = harness.state.stat(inode)!
  harness.seal(tail, 0)
  assert.is(harness.state.stat(inode)!.size, 10)
  assert.is(harness.state.stat(inode)!.contentVersion, contentVersion)
  checkInvariants(harness.state)
  harness.collect()
  assert.not(harness.state.hasChunk(tail))
})

test('a file has one tail at a time; a directory, a file without a name and one in the trash have none', () => {
  const { harness, inode } = withTail()
  const open = (target: number) => {
    const outcome = harness.apply({ kind: 'openTail', inode: target as InodeId, members: MEMBERS })
    return outcome.ok ? 'ok' : outcome.code
  }
  assert.is(open(inode), 'FILE_BUSY')
  assert.is(open(harness.inode('/d')), 'IS_A_DIRECTORY')
  assert.is(open(harness.open().inode), 'NOT_FOUND')
  assert.is(open(9999), 'NOT_FOUND')
  const gone = harness.put('/gone')
  harness.clientOk({ kind: 'remove', path: '/gone', what: 'file', now: false })
  assert.is(open(gone), 'FILE_REMOVED')
  checkInvariants(harness.state)
})

const inTheWay: readonly [what: string, op: (inode: InodeId, packed: ChunkHandle) => ClientOperation][] = [
  ['truncate', () => ({ kind: 'truncateFile', path: '/d/f', size: 3 })],
  [
    'an append',
    (inode, packed) => ({
      kind: 'commitFile',
      inode,
      extents: [extent(packed, 20, 5)],
      seals: [],
      close: true,
      mtimeMs: 0,
    }),
  ],
  [
    'a splice',
    (inode, packed) => ({
      kind: 'spliceFile',
      inode,
      offset: 2,
      extents: [extent(packed, 20, 5)],
      seals: [],
      mtimeMs: 0,
    }),
  ],
  ['a copy', () => ({ kind: 'copy', from: '/d/f', to: '/g', recursive: false, overwrite: false })],
  ['a copy of a tree', () => ({ kind: 'copy', from: '/d', to: '/e', recursive: true, overwrite: false })],
  ['a copy over it', () => ({ kind: 'copy', from: '/other', to: '/d/f', recursive: false, overwrite: true })],
  ['a rename over it', () => ({ kind: 'rename', from: '/other', to: '/d/f', overwrite: true })],
  ['concat onto it', () => ({ kind: 'concatFiles', path: '/d/f', sources: ['/other'] })],
  ['concat of it', () => ({ kind: 'concatFiles', path: '/other', sources: ['/d/f'] })],
  ['remove', () => ({ kind: 'remove', path: '/d/f', what: 'file', now: true })],
  ['remove of its tree', () => ({ kind: 'remove', path: '/d', what: 'tree', now: false })],
  [
    'a put over it',
    (_, packed) => ({
      kind: 'putFile',
      publish: { path: '/d/f', overwrite: true },
      inode: INODE,
      extents: [extent(packed, 20, 5)],
      mtimeMs: 0,
    }),
  ],
]

for (const [what, op] of inTheWay) {
  test(`${what} is refused while the tail is open, can be asked for again, and is taken once it is sealed`, () => {
    const { harness, inode, tail, packed } = withTail()
    harness.put('/other', [extent(packed, 11, 4)])
    const by = harness.by(5)
    const asked = { ...op(inode, packed), by } as Parameters<Harness['apply']>[0]
    assert.equal(tailsInTheWay(harness.state, asked), [tail])
    const dry = refusal(harness.state, asked)
    assert.ok(dry && !dry.ok && dry.code === 'FILE_BUSY')
    const refused = harness.apply(asked)
    assert.ok(!refused.ok && refused.code === 'FILE_BUSY')
    checkInvariants(harness.state)
    harness.seal(tail, 30)
    assert.equal(tailsInTheWay(harness.state, asked), [])
    assert.ok(harness.apply(asked).ok, 'the same request: a refusal for a tail is not its last word')
    checkInvariants(harness.state)
  })
}

test('what needs no length is not disturbed: rename, attributes, a file beside it', () => {
  const { harness, inode, tail } = withTail()
  harness.clientOk({ kind: 'rename', from: '/d/f', to: '/moved', overwrite: true })
  harness.clientOk({ kind: 'setAttributes', path: '/moved', goal: 2 })
  harness.put('/d/g')
  harness.clientOk({ kind: 'remove', path: '/d', what: 'tree', now: true })
  checkInvariants(harness.state)
  harness.seal(tail, 7)
  assert.is(harness.state.stat(inode)!.size, 17)
  assert.is(harness.state.chunk(tail)!.goal, 2, 'its goal is the one that the file has when it is sealed')
})

test('a state with tails is the same after a checkpoint, and goes on the same', async () => {
  const { harness, inode, tail } = withTail()
  harness.ok({ kind: 'openTail', inode: harness.put('/second'), members: MEMBERS })
  const loaded = await load(checkpointOf(harness.state))
  checkInvariants(loaded)
  assert.is(firstDifference(harness.state, loaded), undefined)
  const original = harness.state
  const { index, clusterMs, wallMs } = harness
  harness.seal(tail, CHUNK_BYTES)
  Object.assign(harness, { state: loaded, index, clusterMs, wallMs })
  harness.seal(tail, CHUNK_BYTES)
  assert.is(firstDifference(original, loaded), undefined)
  assert.is(loaded.stat(inode)!.size, 10 + CHUNK_BYTES)
})

test.run()
