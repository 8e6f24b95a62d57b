import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type DfsError, isDfsError } from '../../src/base/errors.ts'
import type { ChunkHandle, DirectoryId, InodeId, ServerId, SessionId } from '../../src/base/ids.ts'
import { pack, unpack } from '../../src/base/msgpack.ts'
import { decodeOperation, encodeOperation, kindOf } from '../../src/master/operation-codec.ts'
import type { Operation, OperationKind } from '../../src/master/operations.ts'
import { operationTable } from '../../src/master/operations.ts'
import { CLUSTER, extent, INODE, MEMBERS } from './metadata/harness.ts'

const time = { clusterMs: 123_456, wallMs: 1_700_000_000_123 }
const by = { session: (2 ** 48 - 1) as SessionId, request: 2 ** 40, floor: 17 }
const handle = (2 ** 53 - 1) as ChunkHandle
const seals = [{ handle, length: 2 ** 26, digest: 2 ** 32 - 1 }]
const extents = [extent(handle, 2 ** 26 - 1, 1), extent(0, 0, 2 ** 40)]

/** At least one operation of each kind; more where fields are optional. */
const samples: readonly Operation[] = [
  { kind: 'formatCluster', clusterId: CLUSTER, lineage: 65_535, chunkBytes: 2 ** 26, goal: 3 },
  { kind: 'acceptRollback', lineage: 1, lostIndex: 99 },
  { kind: 'advanceTime' },
  {
    kind: 'registerServer',
    server: 0,
    identity: 2 ** 48 - 1,
    directories: [5 as DirectoryId],
    address: 'h:1',
    zone: '',
    rack: 'r',
  },
  { kind: 'setServerIntent', server: 3 as ServerId, intent: 'maintain', untilMs: 5 },
  { kind: 'setServerIntent', by, server: 3 as ServerId, intent: 'drain', untilMs: 0 },
  { kind: 'setClusterOptions', options: [] },
  {
    kind: 'setClusterOptions',
    options: [
      ['copiesPerServer', 2 ** 40],
      ['é', null],
    ],
  },
  { kind: 'endSession', session: by.session },
  { kind: 'makeDirectory', by, path: '/é', parents: true, inode: INODE },
  { kind: 'putFile', by, publish: { path: '/a', overwrite: true }, inode: INODE, extents, mtimeMs: 9 },
  { kind: 'openFile', by, inode: INODE, members: MEMBERS },
  { kind: 'allocateChunk', by, inode: 16 as InodeId, members: MEMBERS, seals },
  { kind: 'commitFile', by, inode: 16 as InodeId, extents, seals, close: true, mtimeMs: 0 },
  {
    kind: 'commitFile',
    by,
    inode: 16 as InodeId,
    extents: [],
    seals: [],
    close: false,
    mtimeMs: 0,
    publish: { path: '/a', overwrite: false },
  },
  { kind: 'spliceFile', by, inode: 16 as InodeId, offset: 7, extents, seals, mtimeMs: 0 },
  { kind: 'truncateFile', by, path: '/a', size: 0 },
  { kind: 'concatFiles', by, path: '/a', sources: ['/b', '/c'] },
  { kind: 'copy', by, from: '/a', to: '/b', recursive: true, overwrite: false },
  { kind: 'rename', by, from: '/a', to: '/b', overwrite: true },
  { kind: 'remove', by, path: '/a', what: 'tree', now: true },
  { kind: 'setAttributes', by, path: '/a' },
  {
    kind: 'setAttributes',
    by,
    path: '/a',
    mode: 0o600,
    owner: '',
    group: 'g',
    goal: 2,
    mtimeMs: 0,
    attributes: [
      ['user.a', 'b'],
      ['user.c', null],
    ],
  },
  { kind: 'restoreTrash', by, trash: 4, path: '' },
  { kind: 'emptyTrash', by, trash: 0 },
  { kind: 'openPackingChunk', members: MEMBERS, goal: 0 },
  { kind: 'sealChunk', handle, length: 5, digest: 6, indexDigest: 7 },
  { kind: 'raiseVersion', handle, version: 2 },
  { kind: 'openTail', inode: 16 as InodeId, members: MEMBERS },
  { kind: 'reserveHandle' },
  { kind: 'releaseHandle', handle },
  {
    kind: 'switchExtents',
    handle,
    length: 2 ** 26,
    digest: 2 ** 32 - 1,
    goal: 0,
    switches: [
      { inode: 16 as InodeId, fileOffset: 2 ** 40, offset: 3, from: [extent(5, 0, 1), extent(6, 7, 8)] },
      { inode: 17 as InodeId, fileOffset: 0, offset: 12, from: [extent(5, 1, 1)] },
    ],
  },
  { kind: 'setChunkGoals', goals: [{ handle, from: 0, to: 16 }] },
  { kind: 'continueJob' },
  { kind: 'collectGarbage', trashBeforeMs: -5, chunksBeforeMs: 8, movedBeforeMs: -9 },
]

test('there is a sample of each kind', () => {
  const missing = Object.keys(operationTable).filter((kind) => !samples.some((op) => op.kind === kind))
  assert.equal(missing, [])
})

for (const op of samples) {
  test(`${op.kind} comes back from its bytes, and its bytes from it`, () => {
    const { number, version } = operationTable[op.kind]
    assert.is(kindOf(number), op.kind)
    const payload = encodeOperation(time, op)
    const logged = decodeOperation(number, version, payload)
    assert.equal(logged, { time, op })
    assert.is(Buffer.compare(encodeOperation(logged.time, logged.op), payload), 0)
    payload.fill(0xff) // nothing of the result may be a view of the payload
    assert.equal(logged, { time, op })
  })

  test(`${op.kind} with a field missing, added or of another type is BAD_FORMAT`, () => {
    const fields = unpack(encodeOperation(time, op)) as unknown[]
    refuses(op.kind, fields.slice(0, -1), fields.length > 2 && fields.at(-1) === null)
    refuses(op.kind, [...fields, 1])
    for (let i = 0; i < fields.length; i++) {
      for (const wrong of [{}, Number.NaN, -1.5, 2 ** 53, [['x']]]) refuses(op.kind, fields.with(i, wrong))
    }
  })
}

/** @param mayPass  an absent optional field at the end is the same as nil there */
function refuses(kind: OperationKind, fields: unknown[], mayPass = false): void {
  const { number, version } = operationTable[kind]
  let error: DfsError | undefined
  try {
    decodeOperation(number, version, pack(fields))
  } catch (caught) {
    if (!isDfsError(caught, 'BAD_FORMAT')) throw caught
    error = caught
  }
  if (!mayPass) assert.ok(error, `${kind} took ${JSON.stringify(fields)}`)
}

test('payloads that are no operation are BAD_FORMAT', () => {
  const { number } = operationTable.putFile
  const payload = encodeOperation(time, samples.find(({ kind }) => kind === 'putFile')!)
  const cases: [kind: number, version: number, payload: Buffer][] = [
    [9999, 1, payload],
    [number, 0, payload],
    [number, 2, payload],
    [number, 1, payload.subarray(0, payload.length - 1)],
    [number, 1, Buffer.alloc(0)],
    [number, 1, pack('text')],
    [number, 1, pack({ a: 1 })],
  ]
  for (const [kind, version, bytes] of cases) {
    assert.throws(
      () => decodeOperation(kind, version, bytes),
      (error: unknown) => isDfsError(error, 'BAD_FORMAT'),
    )
  }
})

test('a number that a record cannot carry is refused before it is written', () => {
  for (const size of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    assert.throws(
      () => encodeOperation(time, { kind: 'truncateFile', by, path: '/a', size }),
      (error: unknown) => isDfsError(error, 'INVALID_ARGUMENT'),
    )
  }
  assert.throws(
    () =>
      encodeOperation(time, {
        kind: 'spliceFile',
        by,
        inode: 1 as InodeId,
        offset: 0,
        extents: [extent(1, -1, 1)],
        seals: [],
        mtimeMs: 0,
      }),
    (error: unknown) => isDfsError(error, 'INVALID_ARGUMENT'),
  )
})

test('what a log of today says of goals is read for ever: golden bytes of setChunkGoals, version 1', () => {
  const bytes = Buffer.from('93cd03e8cd07d096cd012c0503cd012d0002', 'hex')
  const goals = [
    { handle: 300 as ChunkHandle, from: 5, to: 3 },
    { handle: 301 as ChunkHandle, from: 0, to: 2 },
  ]
  const logged = decodeOperation(67, 1, bytes)
  assert.equal(logged, { time: { clusterMs: 1000, wallMs: 2000 }, op: { kind: 'setChunkGoals', goals } })
})

test('what a log of today says of options is read for ever: golden bytes of setClusterOptions, version 1', () => {
  const bytes = Buffer.from('93cd03e8cd07d094ab697342616c616e63696e6700af636f70696573506572536572766572c0', 'hex')
  const options = [
    ['isBalancing', 0],
    ['copiesPerServer', null],
  ] as const
  const logged = decodeOperation(12, 1, bytes)
  assert.equal(logged, { time: { clusterMs: 1000, wallMs: 2000 }, op: { kind: 'setClusterOptions', options } })
})

test('numbers of kinds are unique', () => {
  const numbers = Object.values(operationTable).map(({ number }) => number)
  assert.is(new Set<number>(numbers).size, numbers.length)
})

test.run()
