// Files of every released format version open for ever, and version 1 is still written to the byte.
//
// The files in ../golden are never written again; a new version gets new ones beside them.

import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { loadCheckpoint } from '../../src/oplog/checkpoint-file.ts'
import { verifyLog } from '../../src/oplog/inspect.ts'
import { OpLog } from '../../src/oplog/oplog.ts'
import {
  GOLDEN_PREALLOCATED_COUNT,
  GOLDEN_RECORD_COUNT,
  goldenCheckpoint,
  goldenLog,
  goldenPreallocatedLog,
  goldenRecord,
} from './example.ts'
import { clusterId, directory, logOptions, upTo } from './log-fixture.ts'
import { MemoryDisk } from './memory-disk.ts'

const golden = new URL('../golden/', import.meta.url)

function storedLog(name = 'oplog-v1'): MemoryDisk {
  const disk = new MemoryDisk()
  const folder = new URL(`${name}/`, golden)
  for (const name of readdirSync(folder)) disk.put(`${directory}/${name}`, readFileSync(new URL(name, folder)))
  return disk
}

for (const [name, recordCount] of [
  ['oplog-v1', GOLDEN_RECORD_COUNT],
  ['oplog-v1-preallocated', GOLDEN_PREALLOCATED_COUNT],
] as const) {
  test(`the log ${name} opens, has every record, and goes on`, async () => {
    const disk = storedLog(name)
    assert.is((await verifyLog(disk, directory)).isSound, true)
    const log = await OpLog.open(logOptions(disk))
    const indexes: number[] = []
    for await (const records of log.read(1)) {
      for (const { index, payload, ...rest } of records) {
        const { payload: expected, ...fields } = goldenRecord(index)
        assert.equal(rest, fields)
        assert.is(Buffer.compare(payload, expected), 0)
        indexes.push(index)
      }
    }
    assert.equal(indexes, upTo(recordCount))
    assert.is(log.tornTail, undefined)
    assert.is(await log.appendAndSync(goldenRecord(recordCount + 1)), recordCount + 1)
  })
}

test('a checkpoint of version 1 opens and has every section', async () => {
  const disk = new MemoryDisk()
  disk.put('/checkpoint', readFileSync(new URL('checkpoint-v1.dfs', golden)))
  const { value, reader } = await loadCheckpoint(disk, '/checkpoint', clusterId, async (opened) => {
    const found: [string, Buffer][] = []
    for await (const { name, bytes } of opened.sections()) {
      const pieces: Buffer[] = []
      for await (const piece of bytes) pieces.push(Buffer.from(piece))
      found.push([name, Buffer.concat(pieces)])
    }
    return found
  })
  assert.equal(
    value.map(([name, bytes]) => [name, bytes.length]),
    [
      ['counters', 4],
      ['empty', 0],
      ['large', 2 ** 20 + 1000],
    ],
  )
  assert.is(Buffer.compare(value[2]![1], Buffer.alloc(2 ** 20 + 1000, 'column ')), 0)
  assert.equal(reader.header, { clusterId, index: 20, term: 3 })
  assert.is(reader.checksum, (await goldenCheckpoint()).checksum)
})

test('version 1 is written to the byte as it was', async () => {
  for (const [now, stored] of [
    [await goldenLog(), storedLog()],
    [await goldenPreallocatedLog(), storedLog('oplog-v1-preallocated')],
  ] as const) {
    assert.equal(now.paths(), stored.paths())
    for (const path of now.paths()) assert.is(Buffer.compare(now.bytes(path), stored.bytes(path)), 0, path)
  }
  const { disk, path } = await goldenCheckpoint()
  assert.is(Buffer.compare(disk.bytes(path), readFileSync(new URL('checkpoint-v1.dfs', golden))), 0)
})

test.run()
