// Damage to a log, each kind at every place: what a crash can have done is cut, everything else is refused.
//
// Method: one log of a few segments is written once; each test changes a copy, opens it, and compares what came back
// with what was synced. A refusal must name file, offset and the next command, and leave every byte as it was.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { type DfsError, isDfsError } from '../../src/base/errors.ts'
import { Random } from '../../src/base/random.ts'
import { decodeBatchHeader, PAGE_BYTES } from '../../src/oplog/format.ts'
import { segmentName } from '../../src/oplog/log-directory.ts'
import { OpLog } from '../../src/oplog/oplog.ts'
import {
  appendBatches,
  clusterId,
  directory,
  formatLog,
  openLog,
  otherClusterId,
  readIndexes,
  record,
  seededEntropy,
  settle,
  upTo,
} from './log-fixture.ts'
import { MemoryDisk } from './memory-disk.ts'

interface Sample {
  readonly disk: MemoryDisk
  /** The last segment. */
  readonly path: string
  readonly bytes: Buffer
  /** Where each batch of it begins, and what was the last record before. */
  readonly batches: readonly { offset: number; before: number }[]
  readonly lastIndex: number
}

/** Segment 1 empty, 2 with two batches, 3 with the given ones. `marker` says whether it was closed cleanly. */
async function sample(sizes: readonly number[], marker: boolean, entropySeed = 1): Promise<Sample> {
  const disk = new MemoryDisk()
  await OpLog.format({ disk, directory, clusterId, entropy: seededEntropy(entropySeed) })
  const first = await openLog(disk, { entropy: seededEntropy(entropySeed + 1) })
  await appendBatches(first.log, [2, 3])
  await first.log.close()
  const { log } = await openLog(disk, { entropy: seededEntropy(entropySeed + 2) })
  await appendBatches(log, sizes)
  if (marker) await log.close()
  else await settle()
  const path = `${directory}/${segmentName(3)}`
  const bytes = disk.bytes(path)
  const batches = []
  for (let offset = PAGE_BYTES; offset < bytes.length; ) {
    const header = decodeBatchHeader(bytes, offset)!
    batches.push({ offset, before: header.firstIndex - 1 })
    offset += header.batchBytes
  }
  return { disk: disk.copy(), path, bytes, batches, lastIndex: log.lastIndex }
}

function damagedDisk({ disk, path }: Sample, bytes: Uint8Array): MemoryDisk {
  const copy = disk.copy()
  copy.put(path, bytes)
  return copy
}

/** Opens, expects the records 1 .. last, and that the log goes on and keeps all of it. */
async function expectOpen(disk: MemoryDisk, last: number, what: string, isCut = true, goesOn = true): Promise<void> {
  const { log } = await openLog(disk).catch((error: unknown) => {
    throw new Error(`${what}: ${error instanceof Error ? error.message : error}`)
  })
  assert.equal(await readIndexes(log), upTo(last), what)
  assert.is(log.tornTail !== undefined, isCut, `${what}: said`)
  if (!goesOn) return
  await log.appendAndSync(record(last + 1))
  const { log: again } = await openLog(disk.afterPowerLoss())
  assert.equal(await readIndexes(again), upTo(last + 1), `${what}: it goes on`)
}

/** Expects a refusal that names file, offset and the next command, and that nothing has changed. */
async function expectRefusal(disk: MemoryDisk, what: string, code = 'LOG_DAMAGED'): Promise<DfsError> {
  const before = new Map(disk.paths().map((path) => [path, disk.bytes(path)]))
  try {
    const { log } = await openLog(disk)
    throw new Error(`${what}: it opened, to index ${log.lastIndex}`)
  } catch (error) {
    if (!isDfsError(error)) throw error
    assert.is(error.code, code, what)
    assert.match(
      error.message,
      /^\/log\/segment-\d{16}\.oplog: offset \d+: .*nothing was changed; run `dfsd oplog verify \/log`$/,
    )
    assert.equal(disk.paths(), [...before.keys()], what)
    for (const [path, bytes] of before) assert.is(Buffer.compare(disk.bytes(path), bytes), 0, what)
    return error
  }
}

test('the log cut at every byte of its last batch keeps every earlier batch and nothing of the cut one', async () => {
  const log = await sample([1, 4, 2, 3], false)
  const { offset, before } = log.batches.at(-1)!
  for (let length = offset; length < log.bytes.length; length++) {
    await expectOpen(
      damagedDisk(log, log.bytes.subarray(0, length)),
      before,
      `cut at ${length}`,
      length > offset,
      length % 16 === 0,
    )
  }
})

test('cut at every byte of its marker it keeps every record', async () => {
  const log = await sample([1, 4, 2], true)
  const { offset } = log.batches.at(-1)!
  for (let length = offset; length < log.bytes.length; length += 31) {
    await expectOpen(
      damagedDisk(log, log.bytes.subarray(0, length)),
      log.lastIndex,
      `cut at ${length}`,
      length > offset,
    )
  }
})

const garbage = {
  zeros: (_: Sample, bytes: number) => Buffer.alloc(bytes),
  noise: (_: Sample, bytes: number) => Buffer.from(Array.from({ length: bytes }, (_value, at) => (at * 31 + 7) & 255)),
  'bytes of an older segment': ({ disk }: Sample, bytes: number) =>
    Buffer.alloc(bytes, disk.bytes(`${directory}/${segmentName(2)}`).subarray(PAGE_BYTES)),
  'earlier bytes of the same segment': (log: Sample, bytes: number) =>
    Buffer.alloc(bytes, log.bytes.subarray(PAGE_BYTES, log.batches.at(-1)!.offset)),
}
for (const [what, make] of Object.entries(garbage)) {
  test(`${what} in place of the cut: the same`, async () => {
    const log = await sample([1, 4, 2, 3], false)
    const { offset, before } = log.batches.at(-1)!
    for (let length = offset + 1; length < log.bytes.length; length += 149) {
      for (const more of [0, PAGE_BYTES]) {
        const bytes = Buffer.concat([log.bytes.subarray(0, length), make(log, log.bytes.length - length + more)])
        // The last batch is whole when what replaces its padding is what was there: zeros.
        const isWhole = Buffer.compare(bytes.subarray(0, log.bytes.length), log.bytes) === 0
        if (isWhole && more === 0) continue
        await expectOpen(damagedDisk(log, bytes), isWhole ? log.lastIndex : before, `${length} +${more}`)
      }
    }
  })
}

/** The bytes that mean something: the start and end of the segment header, batch headers and their first record. */
function isInHeader(log: Sample, at: number): boolean {
  const start = log.batches.findLast((batch) => batch.offset <= at)?.offset ?? 0
  return start === 0 ? at < 92 || at >= PAGE_BYTES - 4 : at - start < 160
}

test('one bit flipped anywhere before synced records is refused', async () => {
  const log = await sample([1, 3], true)
  const marker = log.batches.at(-1)!.offset
  for (let bit = 0; bit < marker * 8; bit += isInHeader(log, bit >> 3) ? 1 : 61) {
    const bytes = Buffer.from(log.bytes)
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    const error = await expectRefusal(damagedDisk(log, bytes), `bit ${bit}`)
    assert.is(error.detail.path, log.path)
    const at = log.batches.findLast((batch) => batch.offset <= bit >> 3)?.offset ?? 0
    assert.is(error.detail.offset, at, `bit ${bit}`)
  }
})

test('one bit flipped in a closed segment is refused', async () => {
  const { disk } = await sample([1], true)
  const path = `${directory}/${segmentName(2)}`
  const end = 3 * PAGE_BYTES
  for (let bit = 0; bit < end * 8; bit += 67) {
    const copy = disk.copy()
    const bytes = disk.bytes(path)
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    copy.put(path, bytes)
    await expectRefusal(copy, `bit ${bit}`)
  }
})

test('one bit flipped in the last batch, when nothing was written after it, is a torn tail', async () => {
  const log = await sample([1, 3], false)
  const { offset, before } = log.batches.at(-1)!
  for (let bit = offset * 8; bit < log.bytes.length * 8; bit += 41) {
    const bytes = Buffer.from(log.bytes)
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    await expectOpen(damagedDisk(log, bytes), before, `bit ${bit}`)
  }
})

test('the batches that a segment was born with were synced before it had a name: damage to them is refused', async () => {
  const log = await sample([3], false)
  const bytes = Buffer.from(log.bytes)
  bytes[PAGE_BYTES + 200]! ^= 1
  await expectRefusal(damagedDisk(log, bytes), 'flipped')
  await expectRefusal(damagedDisk(log, log.bytes.subarray(0, PAGE_BYTES)), 'cut off')
  await expectRefusal(damagedDisk(log, log.bytes.subarray(0, 100)), 'cut in the header')
  await expectRefusal(damagedDisk(log, Buffer.alloc(0)), 'emptied')
})

test('a batch twice, two swapped, one left out or moved: refused wherever something synced follows', async () => {
  const log = await sample([1, 2, 1, 2, 1], true)
  const part = (number: number) => log.bytes.subarray(log.batches[number]!.offset, log.batches[number + 1]?.offset)
  const head = log.bytes.subarray(0, PAGE_BYTES)
  const orders = [
    [0, 1, 1, 2, 3, 4, 5],
    [0, 1, 1, 3, 4, 5],
    [0, 1, 2, 3, 4, 4, 5],
    [0, 1, 2, 3, 3, 5],
    [0, 1, 2, 4, 3, 5],
    [1, 0, 2, 3, 4, 5],
    [0, 1, 2, 3, 5, 4],
    [0, 2, 1, 3, 4],
    [0, 1, 3, 4, 5],
    [0, 1, 2, 3, 5],
    [0, 1, 2, 3, 4, 4],
    [0, 1, 2, 3, 4, 5, 5],
    [1, 2, 3, 4, 5],
  ]
  for (const order of orders) {
    await expectRefusal(damagedDisk(log, Buffer.concat([head, ...order.map(part)])), order.join(' '))
  }
})

test('a record twice, left out, or two swapped inside a batch: refused', async () => {
  const log = await sample([1, 6], true)
  const { offset } = log.batches[1]!
  const starts = [offset + 128]
  for (let count = 0; count < 6; count++) starts.push(starts.at(-1)! + 24 + log.bytes.readUInt32LE(starts.at(-1)!))
  const before = log.bytes.subarray(0, starts[0])
  const after = log.bytes.subarray(starts[6])
  const part = (number: number) => log.bytes.subarray(starts[number], starts[number + 1])
  for (const order of [
    [0, 1, 1, 2, 3, 4, 5],
    [0, 1, 2, 4, 5],
    [0, 2, 1, 3, 4, 5],
    [0, 1, 2, 3, 4, 4],
  ]) {
    await expectRefusal(damagedDisk(log, Buffer.concat([before, ...order.map(part), after])), order.join(' '))
  }
})

test('bytes put in or taken out anywhere before synced records: refused', async () => {
  const log = await sample([1, 3, 2], true)
  const marker = log.batches.at(-1)!.offset
  for (let at = 0; at < marker; at += 167) {
    for (const count of [1, 124, PAGE_BYTES]) {
      const longer = Buffer.concat([log.bytes.subarray(0, at), Buffer.alloc(count), log.bytes.subarray(at)])
      await expectRefusal(damagedDisk(log, longer), `${count} in at ${at}`)
      if (at + count >= marker) continue
      const shorter = Buffer.concat([log.bytes.subarray(0, at), log.bytes.subarray(at + count)])
      await expectRefusal(damagedDisk(log, shorter), `${count} out at ${at}`)
    }
  }
})

test('zeros or noise over any page before synced records: refused', async () => {
  const log = await sample([1, 3, 7], true)
  for (let at = 0; at < log.batches.at(-1)!.offset; at += PAGE_BYTES) {
    for (const value of [0, 0xdb]) {
      const bytes = Buffer.from(log.bytes)
      bytes.fill(value, at, at + PAGE_BYTES)
      await expectRefusal(damagedDisk(log, bytes), `page at ${at}`)
    }
  }
})

test('a segment of another cluster, of another number, or of another life of this log: refused', async () => {
  const log = await sample([1, 2], true)
  const foreign = new MemoryDisk()
  await OpLog.format({ disk: foreign, directory, clusterId: otherClusterId, entropy: seededEntropy(1) })
  const copy = log.disk.copy()
  copy.put(`${directory}/${segmentName(1)}`, foreign.bytes(`${directory}/${segmentName(1)}`))
  assert.match((await expectRefusal(copy, 'another cluster')).message, /belongs to another cluster.*f0f1.*0001/)
  await expectRefusal(damagedDisk(log, log.disk.bytes(`${directory}/${segmentName(2)}`)), 'another number')
  const other = await sample([1, 2], true, 50)
  await expectRefusal(damagedDisk(log, other.bytes), 'another life')
})

test('a missing segment is refused and named', async () => {
  const log = await sample([1, 2], true)
  const copy = log.disk.copy()
  await copy.remove(`${directory}/${segmentName(2)}`)
  assert.is((await expectRefusal(copy, 'gap')).detail.path, `${directory}/${segmentName(2)}`)
  const headless = log.disk.copy()
  await headless.remove(`${directory}/${segmentName(1)}`)
  await headless.remove(`${directory}/${segmentName(2)}`)
  await expectRefusal(headless, 'the oldest')
})

test('a format version or a kind of batch that is not known is refused as such', async () => {
  const log = await sample([1, 2], true)
  const version = Buffer.from(log.bytes)
  version.writeUInt16LE(2, 8)
  version.writeUInt32LE(crc32(version.subarray(0, 4092)), 4092)
  await expectRefusal(damagedDisk(log, version), 'version 2', 'BAD_FORMAT')
  const kind = Buffer.from(log.bytes)
  const at = log.batches[1]!.offset
  kind[at + 8] = 3
  kind.writeUInt32LE(crc32(kind.subarray(at, at + 124)), at + 124)
  await expectRefusal(damagedDisk(log, kind), 'kind 3', 'BAD_FORMAT')
})

test('right checksums over impossible content are refused', async () => {
  const log = await sample([1, 2], true)
  const at = log.batches[1]!.offset
  const forge = (change: (bytes: Buffer) => void) => {
    const bytes = Buffer.from(log.bytes)
    change(bytes)
    bytes.writeUInt32LE(crc32(bytes.subarray(at + 128, at + bytes.readUInt32LE(at + 12))), at + 100)
    bytes.writeUInt32LE(crc32(bytes.subarray(at, at + 124)), at + 124)
    return damagedDisk(log, bytes)
  }
  const forgeries: Record<string, (bytes: Buffer) => void> = {
    'an index that was had': (bytes) => bytes.writeUInt32LE(3, at + 128 + 8),
    'a first index too high': (bytes) => bytes.writeUInt32LE(9, at + 64),
    'an older term': (bytes) => bytes.writeUInt32LE(0, at + 128 + 16),
    'a payload beyond the batch': (bytes) => bytes.writeUInt32LE(100_000, at + 128),
    'a count too high': (bytes) => bytes.writeUInt32LE(3, at + 20),
    'another last term': (bytes) => bytes.writeUInt32LE(7, at + 88),
    'an index beyond 2^53': (bytes) => bytes.writeUInt32LE(0xffffffff, at + 128 + 12),
  }
  for (const [what, change] of Object.entries(forgeries)) await expectRefusal(forge(change), what)
})

test('a batch in its place that does not continue the one before it is refused, synced or not', async () => {
  for (const marker of [false, true]) {
    const log = await sample([1, 2], marker)
    const at = log.batches[1]!.offset
    const bytes = Buffer.from(log.bytes)
    bytes.writeUInt32LE((bytes.readUInt32LE(at + 96) ^ 1) >>> 0, at + 96)
    bytes.writeUInt32LE(crc32(bytes.subarray(at, at + 124)), at + 124)
    await expectRefusal(damagedDisk(log, bytes), `closed cleanly: ${marker}`)
  }
})

test('an unproven tail is copied and synced before it is served, and a start that dies meanwhile loses nothing', async () => {
  for (let cut = 0; cut < 8; cut++) {
    const log = await sample([1, 4, 2], false)
    const disk = log.disk.copy()
    let calls = 0
    let left: MemoryDisk | undefined
    disk.fault = (call) => {
      if (call !== 'read' && call !== 'open' && calls++ === cut) left = disk.copy()
      return undefined
    }
    const { log: opened } = await openLog(disk)
    assert.is(opened.carriedCount, 2)
    assert.equal(await readIndexes((await openLog(disk.afterPowerLoss())).log), upTo(log.lastIndex))
    await opened.close()
    if (left) await expectOpen(left, log.lastIndex, `died at call ${cut}`, false)
  }
})

test('a start without room for the unproven tail says so and changes nothing', async () => {
  const log = await sample([1, 4, 2], false)
  const disk = log.disk.copy()
  const { totalBytes, freeBytes } = await disk.space()
  disk.capacity = totalBytes - freeBytes + 100
  const paths = disk.paths()
  const error: unknown = await openLog(disk).catch((caught: unknown) => caught)
  assert.ok(isDfsError(error, 'DISK_FULL'))
  assert.equal(disk.paths(), paths)
  disk.capacity = Number.MAX_SAFE_INTEGER
  await expectOpen(disk, log.lastIndex, 'with room again', false)
})

test('what is left of a torn tail in an old segment is never looked at again', async () => {
  const log = await sample([1, 2, 3], false)
  const disk = damagedDisk(log, log.bytes.subarray(0, log.bytes.length - 1))
  await expectOpen(disk, log.batches.at(-1)!.before, 'torn')
  const bytes = disk.bytes(log.path)
  bytes.fill(0xff, log.batches.at(-1)!.offset)
  disk.put(log.path, bytes)
  await expectOpen(disk, log.batches.at(-1)!.before + 1, 'changed behind the end', false)
})

test('random damage never brings back a wrong record, and never less than is proven synced', async () => {
  const seed = Number(process.env.DFS_SEED ?? 20261122)
  const random = new Random(seed)
  const log = await sample([2, 1, 5, 3], true)
  const marker = log.batches.at(-1)!.offset
  for (let round = 0; round < 300; round++) {
    const bytes = Buffer.from(log.bytes)
    const at = random.below(bytes.length)
    const length = 1 + random.below(random.below(2) === 0 ? 8 : bytes.length - at)
    const from = random.below(bytes.length - length + 1)
    if (random.below(2) === 0) bytes.copy(bytes, at, from, Math.min(from + length, from + bytes.length - at))
    else for (let byte = at; byte < Math.min(bytes.length, at + length); byte++) bytes[byte] = random.below(256)
    const disk = damagedDisk(log, bytes)
    const isHarmless = Buffer.compare(bytes.subarray(0, marker), log.bytes.subarray(0, marker)) === 0
    const opened = await openLog(disk).catch((error: unknown) => {
      if (isDfsError(error, 'LOG_DAMAGED')) return undefined
      throw error
    })
    const message = `round ${round}; repeat with DFS_SEED=${seed} npx tsx test/oplog/damage.test.ts`
    if (opened) {
      assert.equal(await readIndexes(opened.log), upTo(opened.log.lastIndex), message)
      const isMarkerGone = decodeBatchHeader(bytes, marker) === undefined
      assert.ok(isHarmless || isMarkerGone, `${message}: damage that the marker proves was taken for a torn tail`)
    }
  }
})

test('a log of nothing but its header opens and is empty', async () => {
  const disk = new MemoryDisk()
  await formatLog(disk)
  await expectOpen(disk, 0, 'new', false)
})

test.run()
