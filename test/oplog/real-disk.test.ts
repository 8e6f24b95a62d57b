// The log on the real ports: the same promises, a directory of this machine.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { KiB } from '../../src/base/units.ts'
import { nodeIo } from '../../src/io/node/io.ts'
import { loadNewestCheckpoint, writeCheckpoint } from '../../src/oplog/checkpoint-file.ts'
import { verifyLog } from '../../src/oplog/inspect.ts'
import { OpLog, type OpLogOptions } from '../../src/oplog/oplog.ts'
import { appendBatches, clusterId, logOptions, readIndexes, upTo } from './log-fixture.ts'
import { MemoryDisk } from './memory-disk.ts'

const base = mkdtempSync(join(tmpdir(), 'oplog-'))
test.after(() => rmSync(base, { recursive: true }))

test('a log on a real disk rolls, is dropped from, closed and opened again', async () => {
  const { disk, clock, entropy } = nodeIo()
  const directory = join(base, 'log')
  const more: Partial<OpLogOptions> = { clock, entropy, directory, segmentBytes: 64 * KiB }
  const options: OpLogOptions = { ...logOptions(new MemoryDisk(), more), disk }
  await OpLog.format(options)
  const log = await OpLog.open(options)
  for (let round = 0; round < 50; round++) await appendBatches(log, [1 + (round % 40)])
  const lastIndex = log.lastIndex
  await log.dropBefore(100)
  await log.close()
  const again = await OpLog.open({ ...options, fromIndex: 100, reachIndex: 99 })
  assert.equal(await readIndexes(again, 100), upTo(lastIndex).slice(99))
  assert.is(again.carriedCount, 0)
  await again.close()
  assert.is((await verifyLog(disk, directory)).isSound, true)
})

test('a checkpoint on a real disk is written and loaded', async () => {
  const { disk } = nodeIo()
  const directory = join(base, 'checkpoints')
  await disk.makeDirectory(directory)
  const sections = [{ name: 'numbers', bytes: [Buffer.from([1, 2, 3])] }]
  const { checksum } = await writeCheckpoint({ disk, directory, clusterId, index: 5, term: 1 }, sections)
  const { logger } = logOptions(new MemoryDisk())
  const loaded = await loadNewestCheckpoint({ disk, directory, clusterId, logger }, async (reader) => {
    await reader.finish()
    return reader.checksum
  })
  assert.equal([loaded?.index, loaded?.value], [5, checksum])
})

test.run()
