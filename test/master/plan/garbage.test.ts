import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type ChunkHandle, chunkHandle } from '../../../src/base/ids.ts'
import { bytesNeeded, type DiskRoom, judgeReplica } from '../../../src/master/plan/garbage.ts'

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

test('room is needed when fewer disks than the goal have a tenth, or a chunk, free', () => {
  const disk = (freeBytes: number, state: DiskRoom['state'] = 'ok') => ({ state, capacityBytes: 1000, freeBytes })
  const cases: [servers: DiskRoom[][], needed: number][] = [
    [[[disk(500)], [disk(500)], [disk(500)]], 0],
    [[[disk(500)], [disk(100)], [disk(70)]], 30],
    [[[disk(500)], [disk(500)], [disk(70), disk(200)]], 0],
    [[[disk(500)], [disk(0, 'full')], [disk(40)]], 160],
    [[[disk(500)], [disk(500)], [disk(500)], [disk(0)]], 0],
    [[[disk(500)], [disk(0, 'failed')], [disk(0, 'readonly')]], 0],
    [[], 0],
  ]
  for (const [servers, needed] of cases) assert.is(bytesNeeded(servers, 3, 64), needed, JSON.stringify(servers))
  assert.is(bytesNeeded([[disk(150)]], 1, 200), 50, 'less than a chunk is no room')
})

test.run()
