// Reading a log in ranges: what a start, a checkpoint and the offline tools take of it.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readLog, visitLog } from '../../src/oplog/log-reader.ts'
import { appendBatches, clusterId, directory, formatLog, openLog } from './log-fixture.ts'
import { MemoryDisk } from './memory-disk.ts'

test('every range of a log has the same records for who visits and for who is given them', async () => {
  const disk = new MemoryDisk()
  await formatLog(disk)
  const { log } = await openLog(disk)
  await appendBatches(log, [3, 1, 4])
  await log.roll()
  await appendBatches(log, [2, 3])
  await log.close()
  const { lastIndex } = log
  for (let fromIndex = 1; fromIndex <= lastIndex; fromIndex++) {
    for (let throughIndex = fromIndex - 1; throughIndex <= lastIndex; throughIndex++) {
      const options = { disk, directory, clusterId, fromIndex, throughIndex }
      const given: string[] = []
      for await (const records of readLog(options)) {
        for (const { index, term, kind, version, flags, payload } of records) {
          given.push([index, term, kind, version, flags, payload.toString('hex')].join())
        }
      }
      const visited: string[] = []
      await visitLog(options, ({ index, term, kind, version, flags, bytes, payloadStart, payloadEnd }) => {
        visited.push([index, term, kind, version, flags, bytes.toString('hex', payloadStart, payloadEnd)].join())
      })
      assert.equal(visited, given)
      const indexes = visited.map((text) => Number.parseInt(text, 10))
      const wanted = Array.from({ length: throughIndex - fromIndex + 1 }, (_, at) => fromIndex + at)
      assert.equal(indexes, wanted)
    }
  }
})

test.run()
