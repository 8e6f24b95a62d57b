// The tables of src/wire/README.md are made from the code; a difference fails and prints what should stand there.
// `WRITE_TABLES=1 npx tsx test/wire/readme.test.ts` writes them.

import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ErrorCode } from '../../src/base/errors.ts'
import { encodeBody } from '../../src/wire/body.ts'
import { FrameType, HEADER_BYTES, HEADER_FIELDS } from '../../src/wire/header.ts'
import { Message } from '../../src/wire/messages.ts'
import { frame, parse } from './frames.ts'

const path = new URL('../../src/wire/README.md', import.meta.url)

function table(heads: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const line = (cells: readonly unknown[]) => `| ${cells.join(' | ')} |`
  return [line(heads), line(heads.map(() => '---')), ...rows.map(line)].join('\n')
}

const carries: Record<keyof typeof FrameType, string> = {
  hello: 'body | the first frame each way; see *Hello*',
  request: 'id, message, body, data | asks',
  reply: 'id, body, data | answers the request of that id',
  error: 'id, body | refuses the request of that id; id 0: the connection, which then closes',
  cancel: 'id | the sender no longer wants the answer to its request of that id',
  ping: ' | says only that the sender lives',
}

const example = frame({
  type: FrameType.request,
  message: 7,
  id: 1,
  body: encodeBody([5, 'a']),
  data: Buffer.from('dfs'),
})

const tables: Record<string, string> = {
  header: table(
    ['offset', 'bytes', 'field', ''],
    HEADER_FIELDS.map((field) => [field.offset, field.bytes, `\`${field.name}\``, field.means]),
  ),
  types: table(
    ['number', 'type', 'carries', ''],
    Object.entries(FrameType).map(([name, number]) => [number, name, carries[name as keyof typeof FrameType]]),
  ),
  example: [
    'Message 7 with id 1, body `[5, "a"]`, data `dfs`:',
    '',
    '```',
    ...[
      [example.subarray(0, 16), 'magic, version, type, flags | message, reserved | id | bodyBytes'],
      [example.subarray(16, 32), 'dataBytes | bodyCrc | dataCrc | headerCrc'],
      [example.subarray(32, 36), 'body'],
      [example.subarray(36, 39), 'data'],
      [example.subarray(39), 'trailer: DONE'],
    ].map(([bytes, means]) => `${hex(bytes as Buffer).padEnd(47)}   ${means}`),
    '```',
  ].join('\n'),
  errors: table(
    ['number', 'code', 'retriable', 'means', 'next'],
    Object.entries(ErrorCode).map(([code, row]) => [
      row.number,
      `\`${code}\``,
      row.retriable ? 'yes' : 'no',
      row.means,
      row.next.replaceAll('|', '\\|'),
    ]),
  ),
  messages: table(
    ['number', 'message', 'from', 'to', 'data', 'means'],
    Object.entries(Message)
      .sort(([, a], [, b]) => a.number - b.number)
      .map(([name, row]) => [
        row.number,
        `\`${name}\``,
        row.from,
        row.to,
        row.data === 'none' ? '' : row.data,
        row.means,
      ]),
  ),
}

function hex(bytes: Buffer): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
}

for (const [name, expected] of Object.entries(tables)) {
  test(`the README's table of ${name} is that of the code`, () => {
    const text = readFileSync(path, 'utf8')
    const parts = new RegExp(`(<!-- ${name} -->\n)([^]*?)(<!-- /${name} -->)`).exec(text)
    assert.ok(parts, `no section <!-- ${name} -->`)
    const wanted = `\n${expected}\n\n`
    if (process.env.WRITE_TABLES === '1')
      writeFileSync(
        path,
        text.replace(parts[0]!, () => `${parts[1]}${wanted}${parts[3]}`),
      )
    else assert.is(parts[2], wanted)
  })
}

test('the fields of the header fill it without gap or overlap', () => {
  let at = 0
  for (const field of HEADER_FIELDS) {
    assert.is(field.offset, at)
    at += field.bytes
  }
  assert.is(at, HEADER_BYTES)
})

test('each field of the header is where the table says', () => {
  const values = {
    type: FrameType.request,
    message: 0x0201,
    id: 0x06050403,
    bodyBytes: 0x0a0908,
    dataBytes: 0x0d0c0b,
    bodyCrc: 0x13121110,
    dataCrc: 0x17161514,
  }
  const bytes = frame({ type: FrameType.request, override: values })
  for (const field of HEADER_FIELDS) {
    const value = bytes.readUIntLE(field.offset, field.bytes)
    if (field.name in values) assert.is(value, values[field.name as keyof typeof values], field.name)
  }
  assert.is(parse([bytes.subarray(0, HEADER_BYTES)]).error, undefined)
})

test('error and message numbers are used once', () => {
  for (const rows of [Object.values(ErrorCode), Object.values(Message)]) {
    const numbers = rows.map((row) => row.number)
    assert.is(new Set(numbers).size, numbers.length)
    assert.ok(numbers.every((number) => number >= 1 && number <= 65535))
  }
})

test.run()
