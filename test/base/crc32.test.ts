// One checksum, whoever computes it: zlib, the native package, bit by bit, in pieces, or combined.

import { createRequire } from 'node:module'
import * as zlib from 'node:zlib'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32, crc32Combine, crc32Combiner, crc32Of } from '../../src/base/crc32.ts'
import { Random } from '../../src/base/random.ts'

const random = new Random(1)
const bytes = Buffer.from(Array.from({ length: 70_000 }, () => random.below(256)))
const lengths = [0, 1, 3, 31, 32, 4095, 4096, 4097, 65_536, 70_000]

test('the polynomial is that of zlib', () => {
  assert.is(crc32(Buffer.from('123456789')), 0xcbf43926)
  for (const length of lengths)
    assert.is(crc32(bytes.subarray(0, length)), zlib.crc32(bytes.subarray(0, length)), `${length}`)
})

test('the native package, where there is one, gives the same numbers', () => {
  const native = load()
  if (!native) return console.log('SKIPPED: @node-rs/crc32 is not installed for this platform')
  for (const length of lengths)
    assert.is(native.crc32(bytes.subarray(0, length)), crc32(bytes.subarray(0, length)), `${length}`)
})

test('the sum of a few words in place is that of a view of them', () => {
  for (const length of [0, 4, 28, 4096])
    for (const from of [0, 1, 2, 3, 65_000])
      assert.is(
        crc32Of(bytes, from, from + length),
        zlib.crc32(bytes.subarray(from, from + length)),
        `${from} ${length}`,
      )
  assert.throws(() => crc32Of(bytes, 0, 5), /whole words/)
  assert.throws(() => crc32Of(bytes, 69_998, 70_002), /whole words/)
})

test('a stream cut anywhere has the checksum of the whole', () => {
  const whole = crc32(bytes)
  for (const cut of lengths) {
    assert.is(crc32(bytes.subarray(cut), crc32(bytes.subarray(0, cut))), whole, `cut at ${cut}`)
    const [a, b] = [bytes.subarray(0, cut), bytes.subarray(cut)]
    assert.is(crc32Combine(crc32(a), crc32(b), b.length), whole, `combined at ${cut}`)
    assert.is(crc32Combiner(b.length)(crc32(a), crc32(b)), whole, `combined by table at ${cut}`)
  }
})

function load(): { crc32(bytes: Uint8Array): number } | undefined {
  try {
    return createRequire(import.meta.url)('@node-rs/crc32')
  } catch {
    return undefined // optional
  }
}

test.run()
