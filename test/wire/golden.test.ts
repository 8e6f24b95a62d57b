// The frames of format 1, as they were written first, must be understood for ever.
//
// `WRITE_GOLDEN=1 npx tsx test/wire/golden.test.ts` wrote the file; it is never written again for this version.

import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DfsError } from '../../src/base/errors.ts'
import { decodeBody, encodeBody } from '../../src/wire/body.ts'
import { errorFromBody, errorToBody } from '../../src/wire/error-body.ts'
import { FrameType } from '../../src/wire/header.ts'
import { hello, helloFromBody, helloToBody } from '../../src/wire/hello.ts'
import { type FrameParts, frame, parse } from './frames.ts'

const path = new URL('../golden/frames-v1.bin', import.meta.url)

const who = hello('chunkserver', {
  cluster: '0123456789abcdef'.repeat(2),
  server: 3,
  instance: 2 ** 48 - 1,
  name: 'cs-3 ä',
})
const body = [null, true, -5, 2 ** 40, 2 ** 53 - 1, 1.5, 'text', Buffer.from([0, 255]), [1, [2]], { key: 'value' }]
const error = new DfsError('STALE_VERSION', 'chunk 17: version 4 on disk, 5 asked', {
  handle: 17,
  server: 'cs-3',
  final: false,
})
const data = Buffer.from(Array.from({ length: 5000 }, (_, index) => (index * 7) & 255))

const parts: FrameParts[] = [
  { type: FrameType.hello, body: Buffer.from(encodeBody(helloToBody(who))) },
  { type: FrameType.request, message: 65535, id: 0xffff_ffff, body: Buffer.from(encodeBody(body)), data },
  { type: FrameType.reply, id: 1, body: Buffer.from(encodeBody([])) },
  { type: FrameType.reply, id: 2, body: Buffer.from(encodeBody([7])), data: data.subarray(0, 1), isAborted: true },
  { type: FrameType.error, id: 3, body: Buffer.from(encodeBody(errorToBody(error))) },
  { type: FrameType.cancel, id: 4 },
  { type: FrameType.ping },
]
const bytes = Buffer.concat(parts.map(frame))
if (process.env.WRITE_GOLDEN === '1') writeFileSync(path, bytes, { flag: 'wx' })
const golden = readFileSync(path)

test('the golden frames are read, field by field', () => {
  const { recorder, error: refusal } = parse([golden])
  assert.is(refusal, undefined)
  const { frames } = recorder
  assert.is(frames.length, parts.length)
  for (const [index, seen] of frames.entries()) {
    assert.is(seen.header.type, parts[index]!.type)
    assert.is(seen.header.id, parts[index]!.id ?? 0)
    assert.is(seen.header.message, parts[index]!.message ?? 0)
  }
  assert.equal(helloFromBody(decodeBody(frames[0]!.body)), who)
  assert.equal(decodeBody(frames[1]!.body), body)
  assert.is(Buffer.compare(frames[1]!.data, data), 0)
  assert.is(frames[1]!.verdict, 'complete')
  assert.is(frames[3]!.verdict, 'aborted')
  const seenError = errorFromBody(decodeBody(frames[4]!.body))
  assert.equal([seenError.code, seenError.message, seenError.detail], [error.code, error.message, error.detail])
})

test('the same frames are written today', () => {
  assert.is(Buffer.compare(bytes, golden), 0)
})

test('an error of a later version is INTERNAL and keeps its number; a strange body is refused', () => {
  const later = errorFromBody([4711, 'from the future', 'x', 1])
  assert.is(later.code, 'INTERNAL')
  assert.equal(later.detail, { x: 1, number: 4711 })
  for (const strange of [[], ['1', 'x'], [1], [1, 'x', 'key'], [1, 'x', 'key', []], [1, 'x', 2, 3]]) {
    assert.throws(
      () => errorFromBody(strange),
      (thrown: unknown) => thrown instanceof DfsError && thrown.code === 'BAD_REQUEST',
    )
  }
})

test.run()
