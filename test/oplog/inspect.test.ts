// What `dfsd oplog` and `dfsd checkpoint` show: rows, verdicts, numbers; and that they change nothing.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { writeCheckpoint } from '../../src/oplog/checkpoint-file.ts'
import { dumpCheckpoint, dumpLog, measureLog, verifyCheckpoint, verifyLog } from '../../src/oplog/inspect.ts'
import { segmentName } from '../../src/oplog/log-directory.ts'
import { appendBatches, clusterId, directory, formatLog, openLog, payloadOf, upTo } from './log-fixture.ts'
import { MemoryDisk } from './memory-disk.ts'

const second = `${directory}/${segmentName(2)}`
const third = `${directory}/${segmentName(3)}`

/** Two starts: 5 records, closed cleanly, and 3 more. */
async function newLog(isClosed = true): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  await formatLog(disk)
  const { log } = await openLog(disk)
  await appendBatches(log, [2, 3])
  await log.close()
  const { log: again } = await openLog(disk)
  await appendBatches(again, [1, 2])
  if (isClosed) await again.close()
  disk.calls.length = 0
  return disk
}

async function collect<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const row of rows) all.push(row)
  return all
}

test('a dump has every record, its place, and what the decoder makes of it', async () => {
  const disk = await newLog()
  const rows = await collect(dumpLog(disk, directory, {}, ({ payload }) => ({ text: payload.toString().slice(0, 8) })))
  assert.equal(
    rows.map((row) => row.index),
    upTo(8),
  )
  assert.equal(rows[6], {
    segment: segmentName(3),
    offset: 8192,
    index: 7,
    term: 1,
    kind: 0,
    version: 1,
    bytes: payloadOf(7).length,
    decoded: { text: 'record 7' },
  })
  assert.equal(disk.calls, [])
})

test('a dump takes a range, one segment, and a decoder that does not know a record', async () => {
  const disk = await newLog()
  assert.equal(
    (await collect(dumpLog(disk, directory, { fromIndex: 4, throughIndex: 6 }))).map((row) => row.index),
    [4, 5, 6],
  )
  assert.equal(
    (await collect(dumpLog(disk, third))).map((row) => row.index),
    [6, 7, 8],
  )
  const decode = () => {
    throw new Error('kind 4 is not known')
  }
  assert.equal((await collect(dumpLog(disk, third, { throughIndex: 6 }, decode)))[0]!.decoded, {
    undecodable: 'kind 4 is not known',
  })
})

test('a dump gives what is before the damage, then names the damage', async () => {
  const disk = await newLog()
  const bytes = disk.bytes(third)
  bytes[8192 + 300]! ^= 1
  disk.put(third, bytes)
  const indexes: number[] = []
  try {
    for await (const { index } of dumpLog(disk, directory)) indexes.push(index)
    assert.unreachable()
  } catch (error) {
    assert.ok(isDfsError(error, 'LOG_DAMAGED'))
    assert.is(error.detail.offset, 8192)
  }
  assert.equal(indexes, upTo(6))
})

test('verify tells a sound log, a torn tail, an unproven tail, and damage', async () => {
  const sound = await verifyLog(await newLog(), directory)
  assert.equal(sound, {
    isSound: true,
    damage: undefined,
    tornTail: undefined,
    clusterId,
    segmentCount: 3,
    batchCount: 5,
    recordCount: 8,
    firstIndex: 1,
    lastIndex: 8,
    preallocatedBytes: 0,
    unprovenCount: 0,
  })
  const disk = await newLog(false)
  assert.is((await verifyLog(disk, directory)).unprovenCount, 2)
  const bytes = disk.bytes(third)
  disk.put(third, bytes.subarray(0, bytes.length - 1))
  const torn = await verifyLog(disk, directory)
  assert.equal([torn.isSound, torn.lastIndex, torn.tornTail], [true, 6, { path: third, offset: 8192, bytes: 8191 }])
  const closed = disk.bytes(second)
  closed[5000]! ^= 1
  disk.put(second, closed)
  const damaged = await verifyLog(disk, directory)
  assert.equal(
    [damaged.isSound, damaged.damage?.code, damaged.damage?.path, damaged.damage?.offset],
    [false, 'LOG_DAMAGED', second, 4096],
  )
  assert.is((await verifyLog(disk, second)).isSound, false)
  assert.is((await verifyLog(disk, third)).isSound, true)
})

test('verify tells a damaged header too', async () => {
  const disk = await newLog()
  disk.put(second, Buffer.alloc(4096))
  const { isSound, damage } = await verifyLog(disk, directory)
  assert.equal([isSound, damage?.path, damage?.offset], [false, second, 0])
  assert.is((await verifyLog(disk, third)).isSound, true)
})

test('numbers: records and bytes by kind', async () => {
  const disk = await newLog()
  const numbers = await measureLog(disk, directory)
  assert.equal(
    numbers.kinds.map(({ kind, records }) => [kind, records]),
    [
      [0, 1],
      [1, 2],
      [2, 1],
      [3, 1],
      [4, 1],
      [5, 1],
      [6, 1],
    ],
  )
  assert.is(
    numbers.payloadBytes,
    upTo(8).reduce((sum, index) => sum + payloadOf(index).length, 0),
  )
  assert.is(
    numbers.fileBytes,
    disk.paths().reduce((sum, path) => sum + disk.bytes(path).length, 0),
  )
  assert.is(numbers.markerCount, 1, 'the second segment ends, for good, before its marker')
})

test('nothing there is NOT_FOUND', async () => {
  const disk = new MemoryDisk()
  await disk.makeDirectory(directory)
  for (const path of [directory, third, '/nowhere']) {
    const error: unknown = await verifyLog(disk, path).catch((caught: unknown) => caught)
    assert.ok(isDfsError(error, 'NOT_FOUND'), path)
  }
})

test('a checkpoint is verified and dumped by section', async () => {
  const disk = new MemoryDisk()
  await disk.makeDirectory(directory)
  const parts = [
    { name: 'a', bytes: [Buffer.from('one'), Buffer.from('two')] },
    { name: 'b', bytes: [Buffer.alloc(3 * 2 ** 20)] },
  ]
  const { path, checksum, bytes } = await writeCheckpoint({ disk, directory, clusterId, index: 4, term: 1 }, parts)
  const sections = [
    { name: 'a', bytes: 6 },
    { name: 'b', bytes: 3 * 2 ** 20 },
  ]
  const verdict = { isSound: true, damage: undefined, clusterId, index: 4, term: 1, bytes, checksum, sections }
  assert.equal(await verifyCheckpoint(disk, path), verdict)
  assert.equal(await collect(dumpCheckpoint(disk, path)), [
    { section: 'a', bytes: 6 },
    { section: 'b', bytes: 3 * 2 ** 20 },
  ])
  disk.put(path, disk.bytes(path).subarray(0, 200))
  const damaged = await verifyCheckpoint(disk, path)
  assert.equal([damaged.isSound, damaged.damage?.code], [false, 'CHECKPOINT_DAMAGED'])
})

test.run()
