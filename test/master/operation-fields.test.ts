import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { pack, unpack } from '../../src/base/msgpack.ts'
import { decodeOperation, encodeOperation } from '../../src/master/operation-codec.ts'
import { Fields } from '../../src/master/operation-fields.ts'
import { type Operation, operationTable } from '../../src/master/operations.ts'
import { CLUSTER } from './metadata/harness.ts'

const time = { clusterMs: 5, wallMs: 1_700_000_000_123 }

/** Takes what is there from a record of one field, with other bytes around it. */
function readOne<T>(field: Buffer, take: (reader: Fields) => T): T {
  const bytes = Buffer.concat([Buffer.from('....'), Buffer.from([0x91]), field, Buffer.from('....')])
  const reader = new Fields()
  reader.begin('advanceTime', 1, bytes, 4, bytes.length - 4)
  const value = take(reader)
  reader.end()
  return value
}

function isRefused(field: Buffer, take: (reader: Fields) => unknown): boolean {
  try {
    readOne(field, take)
    return false
  } catch (error) {
    if (isDfsError(error, 'BAD_FORMAT')) return true
    throw error
  }
}

test('every form in which msgpack can say a whole number is read as the general decoder reads it', () => {
  const hex = ['00', '7f', 'cc00', 'ccff', 'cd0000', 'cdffff', 'ce00000000', 'ceffffffff', 'cf0000000000000000']
  hex.push('cf001fffffffffffff', 'd000', 'd07f', 'd10000', 'd17fff', 'd200000000', 'd27fffffff', 'd30000000000000000')
  hex.push('d3001fffffffffffff', 'cb0000000000000000', 'cb433fffffffffffff', 'cb4200000000000000', 'ca4b7fffff')
  for (const text of hex) {
    const bytes = Buffer.from(text, 'hex')
    assert.is(
      readOne(bytes, (reader) => reader.whole()),
      Number(unpack(bytes)),
      text,
    )
  }
  const negative = ['ff', 'e0', 'd080', 'd0ff', 'd18000', 'd280000000', 'd3ffe0000000000001', 'cbc33fffffffffffff']
  for (const text of negative) {
    const bytes = Buffer.from(text, 'hex')
    assert.is(
      readOne(bytes, (reader) => reader.signed()),
      Number(unpack(bytes)),
      text,
    )
    assert.ok(
      isRefused(bytes, (reader) => reader.whole()),
      text,
    )
  }
  const none = [
    'cf0020000000000000',
    'd3ffe0000000000000',
    'cb3fe0000000000000',
    'cb7ff8000000000000',
    'c0',
    'c3',
    'a0',
  ]
  for (const text of [...none, '90', '80', 'c400', 'c1', 'd40000', 'cb7ff0000000000000']) {
    assert.ok(
      isRefused(Buffer.from(text, 'hex'), (reader) => reader.signed()),
      text,
    )
  }
})

test('texts of every length and every alphabet are read as the general decoder reads them', () => {
  const alphabets = ['a', 'ä', '語', '𝄞', 'aä', '\ud800', '\u0000', 'x\udfffy']
  for (const letter of alphabets) {
    for (const length of [0, 1, 10, 20, 31, 32, 63, 64, 65, 255, 256, 70_000]) {
      const bytes = pack(letter.repeat(length))
      assert.is(
        readOne(bytes, (reader) => reader.text()),
        unpack(bytes),
        `${length} × ${JSON.stringify(letter)}`,
      )
    }
  }
})

test('names that were read before, and others of the same hash, come back as they are', () => {
  const names = ['ada', 'ädä', '', 'math', 'x'.repeat(64), 'x'.repeat(65), 'Aa', 'BB', '\u0000', ...'abcdefghij']
  const reader = new Fields()
  for (let round = 0; round < 3; round++) {
    for (const owner of names) {
      for (const group of names) {
        const bytes = pack([0o644, owner, group, 3])
        reader.begin('advanceTime', 1, bytes, 0, bytes.length)
        assert.equal(reader.inode(), { mode: 0o644, owner, group, goal: 3 })
        reader.end()
      }
    }
  }
})

test('a record that is cut at any byte, or goes on, is BAD_FORMAT, whatever stands behind it', () => {
  const by = { session: 2 ** 47, request: 9, floor: 3 }
  const publish = { path: `/ä/${'name'.repeat(20)}`, overwrite: false }
  const extents = [{ handle: 2 ** 40, offset: 1, length: 70_000 }]
  const seals = [{ handle: 2 ** 40, length: 70_001, digest: 2 ** 32 - 1 }]
  const file = { by, inode: 17, extents, seals, publish, close: true, mtimeMs: 0 }
  const operations = [
    { kind: 'commitFile', ...file },
    {
      kind: 'setAttributes',
      by,
      path: '/a',
      goal: 2,
      attributes: [
        ['k', 'v'],
        ['l', null],
      ],
    },
    { kind: 'formatCluster', clusterId: CLUSTER, lineage: 7, chunkBytes: 2 ** 26, goal: 3 },
  ] as unknown as Operation[]
  for (const op of operations) {
    const { number, version } = operationTable[op.kind]
    const payload = encodeOperation(time, op)
    // What follows is a record of its own: nothing of it may be taken for the missing part.
    const bytes = Buffer.concat([payload, payload])
    assert.equal(decodeOperation(number, version, bytes, 0, payload.length), { time, op })
    assert.equal(decodeOperation(number, version, bytes, payload.length), { time, op })
    for (let end = 0; end <= bytes.length; end++) {
      if (end === payload.length) continue
      assert.throws(
        () => decodeOperation(number, version, bytes, 0, end),
        (error: unknown) => isDfsError(error, 'BAD_FORMAT'),
        `${op.kind} cut to ${end} bytes`,
      )
    }
  }
})

test('a list that claims more than there is ends with the bytes, not with the memory', () => {
  for (const head of ['9f', 'dcffff', 'ddffffffff']) {
    assert.ok(isRefused(Buffer.from(head, 'hex'), (reader) => reader.extents()))
    assert.ok(isRefused(Buffer.from(head, 'hex'), (reader) => reader.wholes()))
    assert.ok(isRefused(Buffer.from(head, 'hex'), (reader) => reader.texts()))
  }
})

test.run()
