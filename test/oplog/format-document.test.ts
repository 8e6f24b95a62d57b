// oplog-format.md and the code say the same: fields, offsets, limits, and the bytes of the worked examples.

import { readFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  BLOCK_HEADER_BYTES,
  blockFields,
  CHECKPOINT_HEADER_BYTES,
  checkpointFields,
  SECTION_END_BYTES,
  sectionEndFields,
  TRAILER_BYTES,
  trailerFields,
} from '../../src/oplog/checkpoint-format.ts'
import type { Field } from '../../src/oplog/fields.ts'
import {
  BATCH_HEADER_BYTES,
  batchFields,
  RECORD_HEADER_BYTES,
  recordFields,
  SEGMENT_HEADER_BYTES,
  segmentFields,
} from '../../src/oplog/format.ts'
import { exampleCheckpoint, exampleLog, hexDump } from './example.ts'

const document = readFileSync(new URL('../../oplog-format.md', import.meta.url), 'utf8')

const tables: [string, Record<string, Field>, number][] = [
  ['Segment header', segmentFields, SEGMENT_HEADER_BYTES],
  ['Batch header', batchFields, BATCH_HEADER_BYTES],
  ['Record header', recordFields, RECORD_HEADER_BYTES],
  ['Header', checkpointFields, CHECKPOINT_HEADER_BYTES],
  ['Block header', blockFields, BLOCK_HEADER_BYTES],
  ['Payload of a section end', sectionEndFields, SECTION_END_BYTES],
  ['Payload of the trailer', trailerFields, TRAILER_BYTES],
]

for (const [title, fields, bytes] of tables) {
  test(`the table "${title}" has the fields of the code, in order and without gaps`, () => {
    const heading = `\n### ${title}: ${bytes} bytes\n`
    const start = document.indexOf(heading)
    assert.ok(start >= 0, `the document has no heading${heading}`)
    const section = document.slice(start + heading.length).split(/\n#/)[0]!
    const rows = [...section.matchAll(/^\| (\d+) \| (\d+) \| `(\w+)` \| /gm)]
    assert.equal(
      rows.map(([, offset, length, name]) => [name, Number(offset), Number(length)]),
      Object.entries(fields).map(([name, field]) => [name, field.offset, field.bytes]),
    )
    let end = 0
    for (const { offset, bytes: length } of Object.values(fields)) {
      assert.is(offset, end)
      end += length
    }
    assert.is(end, bytes)
  })
}

test('the worked examples are what the writer makes', async () => {
  const log = await exampleLog()
  const segment = log.bytes(log.paths()[1]!)
  assert.ok(document.includes(`\`\`\`\n${hexDump(segment, 0, segment.length)}\n\`\`\``), 'the segment')
  const checkpoint = await exampleCheckpoint()
  assert.ok(document.includes(`\`\`\`\n${hexDump(checkpoint, 0, checkpoint.length)}\n\`\`\``), 'the checkpoint')
})

test.run()
