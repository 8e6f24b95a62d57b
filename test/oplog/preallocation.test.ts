// Logs that write into zeros: what they take from the disk and give back, and how recovery tells room from damage.
//
// Method of the damage: a log in a preallocated segment is stopped as `kill -9` or power loss stop it; then pages and
// sectors of the last batch are put back to zeros in every combination, with and without something synced behind.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { isDfsError } from '../../src/base/errors.ts'
import { Random } from '../../src/base/random.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { decodeBatchHeader, decodeSegmentHeader, PAGE_BYTES } from '../../src/oplog/format.ts'
import { dumpLog, measureLog, verifyLog } from '../../src/oplog/inspect.ts'
import { segmentName } from '../../src/oplog/log-directory.ts'
import type { OpLogOptions } from '../../src/oplog/oplog.ts'
import {
  appendBatches,
  directory,
  during,
  formatLog,
  openLog,
  readIndexes,
  record,
  settle,
  type TestLog,
  upTo,
} from './log-fixture.ts'
import { MemoryDisk } from './memory-disk.ts'

const PREALLOCATED_BYTES = 128 * KiB
const sizes = { preallocateAfterBytes: PREALLOCATED_BYTES / 4, segmentBytes: PREALLOCATED_BYTES }
const ahead = `${directory}/segment-preallocated.oplog.tmp`

async function newLog(more: Partial<OpLogOptions> = {}): Promise<TestLog & { disk: MemoryDisk }> {
  const disk = new MemoryDisk()
  await formatLog(disk)
  return { disk, ...(await openLog(disk, { ...sizes, ...more })) }
}

/** Records of segment 2, which grows to where room is made ahead: the next one is the first of segment 3. */
const FIRST = 7

/** The same, with segment 3 open: a preallocated one, of which `batches` are written. */
async function preallocatedLog(batches: readonly number[]): Promise<Sample & TestLog> {
  const opened = await newLog()
  await appendBatches(
    opened.log,
    upTo(FIRST).map(() => 1),
  )
  await settle()
  await appendBatches(opened.log, batches)
  await settle()
  const path = `${directory}/${segmentName(3)}`
  return { ...opened, path, batches: batchesOf(opened.disk.bytes(path)), bytes: opened.disk.bytes(path) }
}

interface Sample {
  readonly disk: MemoryDisk
  readonly path: string
  readonly bytes: Buffer
  readonly batches: readonly { readonly offset: number; readonly end: number; readonly before: number }[]
}

function batchesOf(bytes: Buffer): Sample['batches'] {
  const batches = []
  for (let offset = PAGE_BYTES; ; ) {
    const header = decodeBatchHeader(bytes, offset)
    if (!header) return batches
    batches.push({ offset, end: offset + header.batchBytes, before: header.firstIndex - 1 })
    offset += header.batchBytes
  }
}

function changed({ disk, path, bytes }: Sample, change: (bytes: Buffer) => void): MemoryDisk {
  const copy = disk.copy()
  const changedBytes = Buffer.from(bytes)
  change(changedBytes)
  copy.put(path, changedBytes)
  return copy
}

/** Opens, expects records 1 .. last, goes on, and opens what is left after power loss. */
async function expectOpen(disk: MemoryDisk, last: number, isCut: boolean, what: string): Promise<void> {
  const { log } = await openLog(disk, sizes).catch((error: unknown) => {
    throw new Error(`${what}: ${error instanceof Error ? error.message : error}`)
  })
  assert.equal(await readIndexes(log), upTo(last), what)
  assert.is(log.tornTail !== undefined, isCut, `${what}: said`)
  await log.appendAndSync(record(last + 1))
  const { log: again } = await openLog(disk.afterPowerLoss(), sizes)
  assert.equal(await readIndexes(again), upTo(last + 1), `${what}: it goes on`)
}

async function expectRefusal(disk: MemoryDisk, offset: number, what: string, code = 'LOG_DAMAGED'): Promise<void> {
  const error: unknown = await openLog(disk, sizes).then(
    ({ log }) => log.lastIndex,
    (caught: unknown) => caught,
  )
  assert.ok(isDfsError(error), `${what}: it opened, to index ${error}`)
  assert.equal([error.code, error.detail.offset], [code, offset], what)
}

function usedBytes(disk: MemoryDisk): number {
  return disk.paths().reduce((sum, path) => sum + disk.bytes(path).length, 0)
}

test('a log that is hardly used takes no room ahead', async () => {
  const { disk, log } = await newLog()
  await appendBatches(log, [1, 2])
  await settle()
  assert.is(log.preallocatedBytes, 0)
  assert.equal(
    disk.paths(),
    [1, 2].map((segment) => `${directory}/${segmentName(segment)}`),
  )
})

test('a segment in zeros does not grow: every batch is a write within the file and a sync', async () => {
  const { disk, log, path, bytes } = await preallocatedLog([1])
  assert.is(bytes.length, PREALLOCATED_BYTES)
  const header = decodeSegmentHeader(bytes)
  assert.ok(typeof header !== 'string' && header.preallocatedEnd === PREALLOCATED_BYTES)
  disk.calls.length = 0
  await appendBatches(log, [2])
  assert.equal(disk.calls, [`write ${ahead} ${2 * PAGE_BYTES}+${PAGE_BYTES}`, `sync ${ahead}`], 'as it was opened')
  assert.is(disk.bytes(path).length, PREALLOCATED_BYTES)
  assert.equal(await readIndexes((await openLog(disk.afterPowerLoss(), sizes)).log), upTo(FIRST + 3))
})

test('no zero is ever written to a file that is a segment, and none becomes one before its zeros are synced', async () => {
  const { disk, log } = await newLog()
  for (let round = 0; round < 60; round++) {
    await appendBatches(log, [1 + (round % 9)])
    if (round % 3 === 0) await settle()
  }
  let unsynced = 0
  let isSegment = false
  let renamed = 0
  for (const call of disk.calls) {
    const zeros = new RegExp(`^write ${ahead} (\\d+)\\+${PREALLOCATED_BYTES}$`).exec(call)
    if (call === `remove ${ahead}`) isSegment = false
    if (zeros) {
      assert.ok(!isSegment || zeros[1] === '0', call)
      isSegment = false
      unsynced++
    } else if (call === `sync ${ahead}`) unsynced = 0
    else if (call.startsWith(`write ${ahead} 0+`)) {
      assert.is(unsynced, 0, 'the header went into zeros that were not synced')
      isSegment = true
      renamed++
    }
  }
  assert.ok(renamed >= 3, `${renamed} segments`)
  assert.equal(await readIndexes(log), upTo(log.lastIndex))
})

test('zeros are made as the log uses those it has: never more than a step early, and all of them in time', async () => {
  const { disk, log } = await newLog({ preallocateAfterBytes: 1 * MiB, segmentBytes: 16 * MiB })
  const big = { ...record(1), payload: Buffer.alloc(250 * KiB) }
  let usedMax = 0
  let isStepwise = false
  while (log.stats.segments < 3) {
    await log.appendAndSync(big)
    await settle()
    const made = disk.paths().includes(ahead) ? disk.bytes(ahead).length : 0
    if (log.stats.segments !== 2) continue
    const used = batchesOf(disk.bytes(`${directory}/${segmentName(3)}`)).at(-1)!.end / (4 * MiB)
    assert.ok(made <= 16 * MiB * Math.max(0, used - 1 / 4) * 2 + 1 * MiB, `${made} bytes made with ${used} used`)
    if (used > 3 / 4) assert.is(made, 16 * MiB)
    isStepwise ||= made > 0 && made < 8 * MiB
    usedMax = Math.max(usedMax, used)
  }
  assert.ok(isStepwise)
  assert.ok(usedMax > 0.9, 'the zeros of one segment are used before the next begins')
})

test('a clean stop gives back the zeros, and nothing of it is a torn tail', async () => {
  const { disk, log, path } = await preallocatedLog([2, 3])
  assert.ok(log.preallocatedBytes > 0)
  assert.is(log.bytes + log.preallocatedBytes, usedBytes(disk))
  await log.close()
  assert.is(disk.bytes(path).length, batchesOf(disk.bytes(path)).at(-1)!.end)
  assert.equal(
    disk.paths(),
    [1, 2, 3].map((segment) => `${directory}/${segmentName(segment)}`),
  )
  for (const left of [disk, disk.afterPowerLoss()]) await expectOpen(left, FIRST + 5, false, 'after a clean stop')
})

test('a log that was killed opens silently, says what was preallocated, and gives it back with its next segment', async () => {
  const { disk, path, batches } = await preallocatedLog([2, 3])
  const { end } = batches.at(-1)!
  for (const left of [disk.copy(), disk.afterPowerLoss()]) {
    const verdict = await verifyLog(left, directory)
    assert.equal([verdict.isSound, verdict.tornTail], [true, undefined])
    assert.is(verdict.preallocatedBytes, PREALLOCATED_BYTES - end)
    const { log } = await openLog(left, sizes)
    assert.is(log.tornTail, undefined)
    await log.appendAndSync(record(FIRST + 6))
    await settle()
    assert.is(left.bytes(path).length, end, 'cut to what was written')
    assert.ok(!left.paths().includes(ahead), 'what was made ahead is gone')
    assert.is(log.bytes, usedBytes(left))
    assert.equal(await readIndexes((await openLog(left.afterPowerLoss(), sizes)).log), upTo(FIRST + 6))
  }
})

test('dump and stats read a preallocated log, and its bytes are told without zeros', async () => {
  const { disk, batches } = await preallocatedLog([2, 3])
  const indexes: number[] = []
  for await (const { index } of dumpLog(disk, directory)) indexes.push(index)
  assert.equal(indexes, upTo(FIRST + 5))
  const numbers = await measureLog(disk, `${directory}/${segmentName(3)}`)
  assert.is(numbers.preallocatedBytes, PREALLOCATED_BYTES - batches.at(-1)!.end)
})

test('a rolled segment gives back its zeros once the next one has its name', async () => {
  const { disk, log, path } = await preallocatedLog([2])
  disk.calls.length = 0
  assert.is(await log.roll(), FIRST + 2)
  await settle()
  const order = disk.calls
    .filter((call) => /^(rename|syncDirectory|truncate)/.test(call))
    .map((call) => call.split(' ')[0])
  assert.equal(order, ['rename', 'syncDirectory', 'truncate'])
  assert.is(disk.bytes(path).length, 2 * PAGE_BYTES)
  await appendBatches(log, [1])
  assert.equal(await readIndexes((await openLog(disk.afterPowerLoss(), sizes)).log), upTo(FIRST + 3))
})

test('a kill at any call of a log in zeros leaves every acknowledged record, with power and without', async () => {
  let cut = 0
  for (let isOver = false; !isOver; cut++) {
    const { disk, log, synced } = await newLog()
    let calls = 0
    let frozen: { seen: MemoryDisk; durable: MemoryDisk; acknowledged: number } | undefined
    disk.fault = (call) => {
      if (call !== 'read' && calls++ === cut) {
        frozen = { seen: disk.copy(), durable: disk.afterPowerLoss(), acknowledged: synced.at(-1) ?? 0 }
      }
      return undefined
    }
    for (const size of [1, 4, 1, 1, 9, 1, 40, 3, 1, 1, 30, 20, 1, 60]) {
      await appendBatches(log, [size])
      await settle()
    }
    await log.close()
    isOver = frozen === undefined
    for (const left of frozen ? [frozen.seen, frozen.durable] : []) {
      const { log: again } = await openLog(left, sizes)
      assert.equal(await readIndexes(again), upTo(again.lastIndex))
      assert.ok(again.lastIndex >= frozen!.acknowledged, `cut at call ${cut}`)
      await again.appendAndSync(record(again.lastIndex + 1))
      assert.equal(await readIndexes((await openLog(left.afterPowerLoss(), sizes)).log), upTo(again.lastIndex))
    }
  }
  assert.ok(cut > 50, `${cut} calls`)
})

// Damage.

test('every subset of the pages of an unsynced last batch: whole, or cut as torn, or not written', async () => {
  const log = await preallocatedLog([1, 4, 2, 14])
  const { offset, end, before } = log.batches.at(-1)!
  const pages = (end - offset) / PAGE_BYTES
  assert.ok(pages >= 4 && pages <= 8, `${pages} pages`)
  const last = log.log.lastIndex
  for (let kept = 0; kept < 1 << pages; kept++) {
    const disk = changed(log, (bytes) => {
      for (let page = 0; page < pages; page++) {
        const at = offset + page * PAGE_BYTES
        if (((kept >> page) & 1) === 0) bytes.fill(0, at, at + PAGE_BYTES)
      }
    })
    const isWhole = kept === (1 << pages) - 1
    await expectOpen(disk, isWhole ? last : before, !isWhole && kept !== 0, `pages ${kept.toString(2)}`)
  }
})

test('any part of an unsynced last batch from its end: the same', async () => {
  const log = await preallocatedLog([1, 4, 3])
  const { offset, end, before } = log.batches.at(-1)!
  for (let from = offset; from < end; from += from < offset + 256 ? 3 : 61) {
    const disk = changed(log, (bytes) => bytes.fill(0, from))
    const isWhole = Buffer.compare(disk.bytes(log.path), log.bytes) === 0
    await expectOpen(disk, isWhole ? log.log.lastIndex : before, !isWhole && from !== offset, `zeros from ${from}`)
  }
})

test('sectors of the last batch lost in any pattern: cut when nothing follows, refused when a batch or a marker does', async () => {
  const seed = Number(process.env.DFS_SEED ?? 20261122)
  const random = new Random(seed)
  for (const follows of ['nothing', 'a marker', 'a batch', 'a torn batch'] as const) {
    const log = await preallocatedLog([1, 4, 20])
    const { offset, end, before } = log.batches.at(-1)!
    if (follows === 'a marker') log.clock.advance(50)
    else if (follows !== 'nothing') await appendBatches(log.log, [3])
    await settle()
    const full = { ...log, bytes: log.disk.bytes(log.path) }
    for (let round = 0; round < 60; round++) {
      let lost = 0
      let kept = 0
      const disk = changed(full, (bytes) => {
        // Of the batch behind nothing but its header is left: the proof that it is.
        if (follows === 'a torn batch') bytes.fill(0, end + 512)
        for (let at = offset; at < end; at += 512) {
          const isData = bytes.subarray(at, at + 512).some((byte) => byte !== 0)
          if (!isData) continue
          if (random.below(3) === 0) bytes.fill(0, at, at + 512)
          if (bytes[at] === 0 && bytes.subarray(at, at + 512).every((byte) => byte === 0)) lost++
          else kept++
        }
      })
      const what = `${follows}, round ${round}; repeat with DFS_SEED=${seed} npx tsx test/oplog/preallocation.test.ts`
      if (lost === 0) continue
      if (follows === 'nothing') await expectOpen(disk, before, kept > 0, what)
      else await expectRefusal(disk, offset, what)
    }
  }
})

test('zeros over any page before synced records are damage, never room', async () => {
  const log = await preallocatedLog([1, 3, 7])
  log.clock.advance(50)
  await settle()
  const full = { ...log, bytes: log.disk.bytes(log.path) }
  const marker = batchesOf(full.bytes).at(-1)!
  for (let at = 0; at < marker.offset; at += PAGE_BYTES) {
    const expected = log.batches.findLast((batch) => batch.offset <= at)?.offset ?? 0
    await expectRefusal(
      changed(full, (bytes) => bytes.fill(0, at, at + PAGE_BYTES)),
      expected,
      `page at ${at}`,
    )
  }
  await expectRefusal(
    changed(full, (bytes) => bytes.fill(0, PAGE_BYTES, marker.offset)),
    PAGE_BYTES,
    'all of them',
  )
})

test('the batch that a preallocated segment was born with was synced before it had a name', async () => {
  const log = await preallocatedLog([3])
  await expectRefusal(
    changed(log, (bytes) => bytes.fill(0, PAGE_BYTES)),
    PAGE_BYTES,
    'zeros',
  )
})

test('zeros behind the preallocated end are the tail of a batch that was torn', async () => {
  const log = await preallocatedLog([2])
  const { end } = log.batches.at(-1)!
  const disk = log.disk.copy()
  disk.put(log.path, Buffer.concat([log.bytes, Buffer.alloc(PAGE_BYTES)]))
  const { log: opened } = await openLog(disk, sizes)
  assert.equal(opened.tornTail?.offset, end)
})

test('a byte that nothing here wrote, anywhere in the room, is said', async () => {
  const log = await preallocatedLog([2])
  for (const at of [log.batches.at(-1)!.end, PREALLOCATED_BYTES - 1]) {
    await expectOpen(
      changed(log, (bytes) => bytes.fill(1, at, at + 1)),
      FIRST + 2,
      true,
      `at ${at}`,
    )
  }
})

test('a flag of segments that is not known, or room without its flag, is refused as a newer format', async () => {
  const log = await preallocatedLog([2])
  const seal = (bytes: Buffer) => bytes.writeUInt32LE(crc32(bytes.subarray(0, 4092)), 4092)
  for (const flags of [0, 2, 3]) {
    const disk = changed(log, (bytes) => {
      bytes.writeUInt16LE(flags, 10)
      seal(bytes)
    })
    await expectRefusal(disk, 0, `flags ${flags}`, 'BAD_FORMAT')
  }
})

// Disks that fill or fail.

test('a disk without room for zeros: said once, the file is gone, and the log goes on by growing', async () => {
  const { disk, log } = await newLog()
  disk.capacity = usedBytes(disk) + 16 * PREALLOCATED_BYTES
  await appendBatches(log, [1, 1, 1, 1, 1, 1, 1, 1, 1])
  await settle()
  assert.is(log.preallocatedBytes, 0)
  assert.ok(!disk.calls.some((call) => call.includes(ahead)), 'not even begun')
  disk.capacity = Number.MAX_SAFE_INTEGER
  await log.roll()
  await appendBatches(log, [1, 1, 1, 1, 1, 1, 1])
  await settle()
  assert.ok(log.preallocatedBytes > 0, 'tried again with the next segment')
  assert.equal(await readIndexes((await openLog(disk.afterPowerLoss(), sizes)).log), upTo(16))
})

for (const [call, code] of [
  ['write', 'DISK_FULL'],
  ['write', 'DISK_FAILED'],
  ['sync', 'FSYNC_FAILED'],
  ['open', 'DISK_FAILED'],
] as const) {
  test(`a ${call} of zeros that fails with ${code} harms nothing but speed`, async () => {
    const { disk, log, failed } = await newLog()
    disk.fault = (made, path) => (made === call && path === ahead ? code : undefined)
    await appendBatches(log, [1, 1, 1, 1, 1, 1, 1, 1, 1])
    await settle()
    assert.is(log.preallocatedBytes, 0)
    assert.ok(disk.calls.some((made) => made.includes(ahead)) || call === 'open')
    assert.is(disk.paths().includes(ahead), false)
    assert.equal([log.state, failed], ['open', []])
    await log.roll()
    await appendBatches(log, [1])
    assert.equal(await readIndexes((await openLog(disk.afterPowerLoss(), sizes)).log), upTo(10))
    await log.close()
  })
}

test('a write into zeros that is refused is taken back, zeros behind it too, and the log goes on', async () => {
  const { disk, log, path, batches } = await preallocatedLog([2])
  // As a file system that never writes in place may answer.
  disk.fault = (call, file) => (call === 'write' && file === ahead ? 'DISK_FULL' : undefined)
  const error: unknown = await log.appendAndSync(record(FIRST + 3)).catch((caught: unknown) => caught)
  assert.ok(isDfsError(error, 'DISK_FULL'))
  assert.is(disk.bytes(path).length, batches.at(-1)!.end)
  disk.fault = () => undefined
  for (const left of [disk.copy(), disk.afterPowerLoss()]) await expectOpen(left, FIRST + 2, false, 'after the refusal')
  assert.is(await log.appendAndSync(record(FIRST + 3)), FIRST + 3)
  assert.equal(await readIndexes((await openLog(disk.afterPowerLoss(), sizes)).log), upTo(FIRST + 3))
})

test('a log that fails makes no more zeros and touches nothing', async () => {
  const { disk, log, failed } = await newLog({ preallocateAfterBytes: 1 * MiB, segmentBytes: 64 * MiB })
  const big = { ...record(1), payload: Buffer.alloc(900 * KiB) }
  log.append(big)
  log.append(big)
  await log.whenSynced(2)
  during(disk, 'sync', () => {
    disk.fault = (call) => (call === 'sync' ? 'FSYNC_FAILED' : undefined)
  })
  log.append(big)
  await settle()
  assert.is(failed.length, 1)
  const calls = disk.calls.length
  await settle()
  await log.close()
  assert.is(disk.calls.length, calls)
})

test('a stop in the middle of the zeros waits for one step and leaves no file', async () => {
  const { disk, log } = await newLog({ preallocateAfterBytes: 1 * MiB, segmentBytes: 64 * MiB })
  const big = { ...record(1), payload: Buffer.alloc(900 * KiB) }
  let closed: Promise<void> | undefined
  disk.fault = (call, path) => {
    if (call === 'write' && path === ahead) closed ??= log.close()
    return undefined
  }
  log.append(big)
  log.append(big)
  await log.whenSynced(2)
  await settle()
  await closed
  assert.is(disk.calls.filter((call) => call.startsWith(`write ${ahead}`)).length, 1)
  assert.ok(!disk.paths().includes(ahead))
  assert.is((await openLog(disk, sizes)).log.lastIndex, 2)
})

test.run()
