// The operation log as its owner meets it: order, group commit, refusals, the final failure, segments, starts.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { BATCH_BYTES_MAX, RECORD_PAYLOAD_BYTES_MAX } from '../../src/oplog/format.ts'
import { OpLog } from '../../src/oplog/oplog.ts'
import {
  appendBatches,
  clusterId,
  directory,
  during,
  formatLog,
  openLog,
  readIndexes,
  record,
  seededEntropy,
  settle,
  upTo,
} from './log-fixture.ts'
import { MemoryDisk } from './memory-disk.ts'

async function newLog() {
  const disk = new MemoryDisk()
  await formatLog(disk)
  return disk
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
  } catch (error) {
    if (isDfsError(error)) return error.code
    throw error
  }
  return 'nothing'
}

function codeOfCall(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    if (isDfsError(error)) return error.code
    throw error
  }
  return 'nothing'
}

test('a directory without a log is not found, and a log is formatted once', async () => {
  const disk = new MemoryDisk()
  await disk.makeDirectory(directory)
  assert.is(await codeOf(openLog(disk)), 'NOT_FOUND')
  await formatLog(disk)
  assert.is(await codeOf(formatLog(disk)), 'ALREADY_EXISTS')
  assert.equal(disk.afterPowerLoss().paths(), [`${directory}/segment-0000000000000001.oplog`])
})

test('records come back in order, with everything they had, after power loss', async () => {
  const disk = await newLog()
  const { log } = await openLog(disk)
  await appendBatches(log, [1, 2, 30, 1])
  assert.is(log.append({ term: 9, kind: 65535, version: 255, flags: 3, payload: Buffer.alloc(0) }), 35)
  await log.whenSynced(35)
  const { log: again } = await openLog(disk.afterPowerLoss())
  assert.is(again.lastIndex, 35)
  assert.is(again.lastTerm, 9)
  const found = []
  for await (const records of again.read(34)) for (const { payload, ...rest } of records) found.push(rest)
  assert.equal(found[1], { index: 35, term: 9, kind: 65535, version: 255, flags: 3 })
})

test('everything that arrives while the disk is busy is one batch and one sync', async () => {
  const disk = await newLog()
  const { log, synced } = await openLog(disk)
  await appendBatches(log, [1])
  const syncs = () => disk.calls.filter((call) => call.startsWith('sync ')).length
  const before = syncs()
  during(disk, 'write', () => {
    for (let index = 3; index <= 66; index++) log.append(record(index))
  })
  await log.appendAndSync(record(2))
  await settle()
  assert.is(syncs() - before, 2)
  assert.equal(synced, [1, 2, 66])
  assert.is(log.stats.lastBatchRecords, 64)
  assert.is(log.stats.batchSizes[6], 1)
})

test('a payload may be changed as soon as append has returned', async () => {
  const disk = await newLog()
  const { log } = await openLog(disk)
  const changed = record(1)
  log.append(changed)
  changed.payload.fill(0)
  await log.whenSynced(1)
  assert.equal(await readIndexes(log), [1])
})

test('the queue is bounded: what does not fit the next batch is BUSY, and a record over the limit refused', async () => {
  const disk = await newLog()
  const { log } = await openLog(disk)
  const payload = Buffer.alloc(RECORD_PAYLOAD_BYTES_MAX)
  const too = { ...record(1), payload: Buffer.alloc(RECORD_PAYLOAD_BYTES_MAX + 1) }
  assert.is(
    codeOfCall(() => log.append(too)),
    'INVALID_ARGUMENT',
  )
  let count = 0
  while (codeOfCall(() => log.append({ ...record(1), payload })) !== 'BUSY') count++
  assert.is(count, BATCH_BYTES_MAX / MiB - 1)
  assert.is(log.lastIndex, count)
  await log.whenSynced(count)
  assert.is(
    codeOfCall(() => log.append({ ...record(1), payload })),
    'nothing',
  )
  await log.close()
  assert.is((await openLog(disk)).log.lastIndex, count + 1)
})

test('a marker follows 50 ms of quiet, once, and a clean stop writes one', async () => {
  const disk = await newLog()
  const { log, clock } = await openLog(disk)
  await appendBatches(log, [3])
  const pages = () => disk.bytes(`${directory}/segment-0000000000000002.oplog`).length / (4 * KiB)
  assert.is(pages(), 2)
  clock.advance(49)
  await settle()
  assert.is(pages(), 2)
  clock.advance(1)
  await settle()
  assert.is(pages(), 3)
  clock.advance(500)
  await settle()
  await log.close()
  assert.is(pages(), 3, 'no marker after a marker')
  const { log: again } = await openLog(disk)
  await appendBatches(again, [1])
  await again.close()
  assert.is(disk.bytes(`${directory}/segment-0000000000000003.oplog`).length, 3 * 4 * KiB)
})

test('a failed sync is final: nothing more is acknowledged, no second try, and a restart has what was acknowledged', async () => {
  const disk = await newLog()
  const { log, clock, synced, failed } = await openLog(disk)
  await appendBatches(log, [2, 2])
  disk.fault = (call) => (call === 'sync' ? 'FSYNC_FAILED' : undefined)
  let six: Promise<string> | undefined
  during(disk, 'sync', () => {
    six = codeOf(log.appendAndSync(record(6)))
  })
  assert.is(await codeOf(log.appendAndSync(record(5))), 'FSYNC_FAILED')
  assert.is(await six, 'FSYNC_FAILED')
  assert.is(log.state, 'failed')
  assert.is(failed.length, 1)
  assert.equal(synced, [2, 4])
  disk.fault = () => undefined
  const calls = disk.calls.length
  assert.is(
    codeOfCall(() => log.append(record(5))),
    'FSYNC_FAILED',
  )
  assert.is(await codeOf(log.whenSynced(1)), 'FSYNC_FAILED')
  clock.advance(1000)
  await settle()
  await log.close()
  assert.equal(disk.calls.slice(calls), [], 'the disk was touched after the failure')
  assert.equal(await readIndexes((await openLog(disk.afterPowerLoss())).log), upTo(4))
  const { log: again } = await openLog(disk)
  assert.is(again.carriedCount, 1)
  assert.equal(await readIndexes(again), upTo(5), 'what was seen in the page cache is whole')
  assert.equal(
    await readIndexes((await openLog(disk.afterPowerLoss())).log),
    upTo(5),
    'and was synced anew before it was served',
  )
})

test('a marker whose sync failed may be gone after power loss: nothing after it leans on it', async () => {
  const disk = await newLog()
  const { log, clock, failed } = await openLog(disk)
  await appendBatches(log, [2])
  disk.fault = (call) => (call === 'sync' ? 'FSYNC_FAILED' : undefined)
  clock.advance(50)
  await settle()
  assert.is(failed.length, 1)
  disk.fault = () => undefined
  const { log: again } = await openLog(disk)
  assert.is(again.carriedCount, 0, 'the marker is there to be seen, and proves what is before it')
  await appendBatches(again, [1])
  assert.equal(await readIndexes((await openLog(disk.afterPowerLoss())).log), upTo(3))
})

test('a directory that cannot be synced while a batch is being written ends the log for that batch too', async () => {
  const disk = await newLog()
  const { log, synced, failed } = await openLog(disk)
  await appendBatches(log, [1])
  await log.roll()
  await appendBatches(log, [1])
  disk.fault = (call) => (call === 'syncDirectory' ? 'FSYNC_FAILED' : undefined)
  let dropped: Promise<string> | undefined
  during(disk, 'write', () => {
    dropped = codeOf(log.dropBefore(2))
  })
  assert.is(await codeOf(log.appendAndSync(record(3))), 'FSYNC_FAILED')
  assert.is(await dropped, 'FSYNC_FAILED')
  await settle()
  assert.is(failed.length, 1)
  assert.equal(synced, [1, 2], 'the batch is whole on disk, but nothing more is acknowledged')
})

for (const call of ['write', 'syncDirectory', 'rename'] as const) {
  test(`a failing ${call} is final as well`, async () => {
    const disk = await newLog()
    const { log, failed } = await openLog(disk, { segmentBytes: 4 * KiB })
    await appendBatches(log, [2])
    disk.fault = (made) => (made === call ? (call === 'syncDirectory' ? 'FSYNC_FAILED' : 'DISK_FAILED') : undefined)
    assert.is(await codeOf(log.appendAndSync(record(3))), 'FSYNC_FAILED')
    assert.is(failed.length, 1)
    disk.fault = () => undefined
    assert.equal(await readIndexes((await openLog(disk.afterPowerLoss())).log), upTo(2))
  })
}

test('a full disk refuses what waited, reads go on, and so do writes when there is room again', async () => {
  const disk = await newLog()
  const { log, synced, refused } = await openLog(disk)
  await appendBatches(log, [2, 3])
  disk.capacity = (await used(disk)) + 5000
  const big = { ...record(6), payload: Buffer.alloc(9000, 'stale') }
  let seven: Promise<string> | undefined
  during(disk, 'write', () => {
    seven = codeOf(log.appendAndSync(record(7)))
  })
  assert.is(await codeOf(log.appendAndSync(big)), 'DISK_FULL')
  assert.is(await seven, 'DISK_FULL')
  assert.equal(refused, [6])
  assert.is(log.lastIndex, 5)
  assert.equal(await readIndexes(log), upTo(5))
  assert.equal(
    await readIndexes((await openLog(disk.copy())).log),
    upTo(5),
    'the refused records are not found after a kill',
  )
  assert.is(await codeOf(log.appendAndSync(big)), 'DISK_FULL')
  disk.capacity = Number.MAX_SAFE_INTEGER
  assert.is(await log.appendAndSync(record(6)), 6)
  assert.equal(synced, [2, 5, 6])
  assert.equal(await readIndexes((await openLog(disk.copy())).log), upTo(6))
  assert.equal(await readIndexes((await openLog(disk.afterPowerLoss())).log), upTo(6))
})

test('a refused batch is off the disk, and that is synced, before its records are refused', async () => {
  const disk = await newLog()
  const { log } = await openLog(disk)
  await appendBatches(log, [1])
  const path = `${directory}/segment-0000000000000002.oplog`
  const whole = disk.bytes(path)
  disk.fault = (call) => (call === 'write' ? 'DISK_FULL' : undefined)
  assert.is(await codeOf(log.appendAndSync(record(2))), 'DISK_FULL')
  assert.is(Buffer.compare(disk.bytes(path), whole), 0)
  assert.equal(disk.calls.slice(-2), [`truncate ${path}.tmp`, `sync ${path}.tmp`], 'by the name it was opened with')
  disk.fault = (call) => (call === 'write' ? 'DISK_FULL' : call === 'truncate' ? 'DISK_FAILED' : undefined)
  assert.is(await codeOf(log.appendAndSync(record(2))), 'FSYNC_FAILED', 'what cannot be taken back is final')
})

test('a full disk at a new segment refuses, leaves nothing behind, and the log goes on', async () => {
  const disk = await newLog()
  const { log } = await openLog(disk, { segmentBytes: 4 * KiB })
  await appendBatches(log, [1, 1])
  const paths = disk.paths()
  disk.capacity = (await used(disk)) + 4096
  assert.is(await codeOf(log.appendAndSync(record(3))), 'DISK_FULL')
  assert.equal(disk.paths(), paths)
  disk.capacity = Number.MAX_SAFE_INTEGER
  await appendBatches(log, [1, 1])
  assert.equal(await readIndexes((await openLog(disk.afterPowerLoss())).log), upTo(4))
})

test('segments roll, reads cross them, and dropping keeps what is asked for', async () => {
  const disk = await newLog()
  const { log } = await openLog(disk, { segmentBytes: 16 * KiB })
  for (let round = 0; round < 20; round++) await appendBatches(log, [3])
  assert.ok(disk.paths().length > 5)
  assert.equal(await readIndexes(log), upTo(60))
  assert.equal(await readIndexes(log, 31), upTo(60).slice(30))
  const dropped = await log.dropBefore(31)
  assert.ok(dropped > 1)
  assert.ok(log.firstIndex <= 31 && log.firstIndex > 20)
  assert.equal(await readIndexes(log, 31), upTo(60).slice(30))
  assert.is(await codeOf(readIndexes(log, 1)), 'LOG_DAMAGED')
  await log.close()
  assert.is(await codeOf(openLog(disk)), 'LOG_DAMAGED', 'record 1 is needed and gone')
  const { log: again } = await openLog(disk, { fromIndex: 31 })
  assert.equal(await readIndexes(again, 31), upTo(60).slice(30))
  assert.is(
    again.bytes,
    disk.paths().reduce((sum, path) => sum + disk.bytes(path).length, 0),
  )
})

test('each dropped segment is gone for good before the next one goes', async () => {
  const disk = await newLog()
  const { log } = await openLog(disk, { segmentBytes: 4 * KiB })
  await appendBatches(log, [1, 1, 1, 1])
  disk.calls.length = 0
  await log.dropBefore(4)
  assert.equal(
    disk.calls.map((call) => call.split(' ')[0]),
    ['remove', 'syncDirectory', 'remove', 'syncDirectory', 'remove', 'syncDirectory', 'remove', 'syncDirectory'],
  )
})

test('roll closes the segment at once, and an empty one is not closed', async () => {
  const disk = await newLog()
  const { log } = await openLog(disk)
  assert.is(await log.roll(), 0)
  await appendBatches(log, [3])
  assert.is(log.closedIndex, 0)
  assert.is(await log.roll(), 3)
  assert.is(await log.roll(), 3)
  log.append(record(4))
  assert.is(await log.roll(), 3, 'the record that waited opens the new segment or is in the old one')
  const { log: again } = await openLog(disk)
  assert.equal(await readIndexes(again), upTo(4))
  await again.close()
  const { log: third } = await openLog(disk.afterPowerLoss())
  assert.is(await third.roll(), 4, 'after a start every segment is closed')
})

test('a start never appends to an old segment', async () => {
  const disk = await newLog()
  for (let start = 0; start < 4; start++) {
    const before = new Map(disk.paths().map((path) => [path, disk.bytes(path)]))
    const { log } = await openLog(disk)
    await appendBatches(log, [2])
    await log.close()
    for (const [path, bytes] of before) assert.is(Buffer.compare(disk.bytes(path), bytes), 0)
  }
  assert.equal(await readIndexes((await openLog(disk)).log), upTo(8))
})

test('a start with nothing unproven changes nothing', async () => {
  const disk = await newLog()
  const { log } = await openLog(disk)
  await appendBatches(log, [2, 5])
  await log.close()
  disk.calls.length = 0
  const { log: again } = await openLog(disk)
  await again.close()
  assert.equal(disk.calls, [`syncDirectory ${directory}`])
})

test('a start removes what was being written beside', async () => {
  const disk = await newLog()
  disk.put(`${directory}/segment-0000000000000002.oplog.tmp`, Buffer.from('half'))
  await openLog(disk)
  assert.equal(disk.paths(), [`${directory}/segment-0000000000000001.oplog`])
})

test('a log that ends before its checkpoint is refused', async () => {
  const disk = await newLog()
  const { log } = await openLog(disk)
  await appendBatches(log, [5])
  await log.close()
  assert.is(await codeOf(openLog(disk, { fromIndex: 6, reachIndex: 5 })), 'nothing')
  assert.is(await codeOf(openLog(disk, { fromIndex: 7, reachIndex: 6 })), 'LOG_DAMAGED')
})

test('a log may begin behind a checkpoint', async () => {
  const disk = new MemoryDisk()
  await OpLog.format({ disk, directory, clusterId, entropy: seededEntropy(1) }, 101, 3)
  const { log } = await openLog(disk, { fromIndex: 101, reachIndex: 100 })
  assert.is(log.lastIndex, 100)
  assert.is(log.lastTerm, 3)
  assert.is(await log.appendAndSync(record(101, 3)), 101)
})

test('a closed log takes nothing, and close waits for what was appended', async () => {
  const disk = await newLog()
  const { log, synced } = await openLog(disk)
  log.append(record(1))
  await log.close()
  assert.equal(synced, [1])
  assert.is(
    codeOfCall(() => log.append(record(2))),
    'UNAVAILABLE',
  )
  assert.is(log.state, 'closed')
})

test('a power cut at any call leaves every acknowledged record, and a prefix', async () => {
  for (let cut = 0; cut < 60; cut++) {
    const disk = await newLog()
    let calls = 0
    let frozen: { seen: MemoryDisk; durable: MemoryDisk; acknowledged: number } | undefined
    const { log, synced } = await openLog(disk, { segmentBytes: 8 * KiB })
    disk.fault = (call) => {
      if (call !== 'read' && calls++ === cut) {
        frozen = { seen: disk.copy(), durable: disk.afterPowerLoss(), acknowledged: synced.at(-1) ?? 0 }
      }
      return undefined
    }
    await appendBatches(log, [1, 4, 1, 1, 9, 1])
    await log.close()
    for (const left of frozen ? [frozen.seen, frozen.durable] : []) {
      const { log: again } = await openLog(left)
      assert.equal(await readIndexes(again), upTo(again.lastIndex))
      assert.ok(again.lastIndex >= frozen!.acknowledged, `cut at call ${cut}`)
      await again.appendAndSync(record(again.lastIndex + 1))
      assert.equal(await readIndexes((await openLog(left.afterPowerLoss())).log), upTo(again.lastIndex))
    }
  }
})

async function used(disk: MemoryDisk): Promise<number> {
  const { totalBytes, freeBytes } = await disk.space()
  return totalBytes - freeBytes
}

test.run()
