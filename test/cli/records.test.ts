import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { RECORD_BYTES_MAX } from '../../src/base/limits.ts'
import { cutOf, linesOf } from '../../src/cli/verbs/records.ts'

async function* split(text: string, at: number): AsyncGenerator<Buffer> {
  yield Buffer.from(text.slice(0, at))
  yield Buffer.from(text.slice(at))
}

async function textsOf(records: AsyncIterable<Buffer[]>): Promise<string[]> {
  const texts: string[] = []
  for await (const record of records) texts.push(Buffer.concat(record).toString())
  return texts
}

const lines: readonly [text: string, records: string[]][] = [
  ['', []],
  ['a\n', ['a\n']],
  ['a\nbc\n\nd', ['a\n', 'bc\n', '\n', 'd']],
  ['\n\n', ['\n', '\n']],
  ['no end', ['no end']],
]

for (const [text, records] of lines) {
  test(`${JSON.stringify(text)} is ${records.length} lines, wherever the stream is cut`, async () => {
    for (let at = 0; at <= text.length; at++) assert.equal(await textsOf(linesOf(split(text, at))), records)
  })
}

test('a stream is cut into records of one size, the last one shorter', async () => {
  for (let at = 0; at <= 10; at++)
    assert.equal(await textsOf(cutOf(split('abcdefghij', at), 4)), ['abcd', 'efgh', 'ij'])
  assert.equal(await textsOf(cutOf(split('abcd', 1), 4)), ['abcd'])
})

test('a line that is larger than a record may be is refused before all of it is held', async () => {
  let given = 0
  async function* endless(): AsyncGenerator<Buffer> {
    const piece = Buffer.alloc(2 ** 20, 'x')
    for (;;) {
      given += piece.length
      yield piece
    }
  }
  try {
    await textsOf(linesOf(endless()))
    assert.unreachable()
  } catch (error) {
    assert.ok(isDfsError(error, 'INVALID_ARGUMENT'), String(error))
  }
  assert.ok(given <= RECORD_BYTES_MAX + 2 ** 20)
})

test.run()
