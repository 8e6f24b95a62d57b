import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type ChunkHandle, chunkHandle } from '../../../src/base/ids.ts'
import { judgeReplica } from '../../../src/master/plan/garbage.ts'

const listed = chunkHandle(7, 3)
const deleted = chunkHandle(7, 2)
const known = {
  hasChunk: (handle: ChunkHandle) => handle === listed,
  wasKnown: (handle: ChunkHandle) => handle === listed || handle === deleted,
}

test('a replica of a chunk in the table is kept', () => {
  assert.is(judgeReplica(listed, known, true), 'keep')
})

test('GFS §4.4: one whose chunk the log knew and dropped is deleted, not before that is allowed', () => {
  assert.is(judgeReplica(deleted, known, true), 'delete')
  assert.is(judgeReplica(deleted, known, false), 'keep')
})

test('one that the log never knew is set aside, never deleted', () => {
  for (const mayDelete of [true, false]) {
    assert.is(judgeReplica(chunkHandle(7, 99), known, mayDelete), 'quarantine')
    assert.is(judgeReplica(chunkHandle(8, 2), known, mayDelete), 'quarantine')
  }
})

test.run()
