import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { BODY_DEPTH_MAX, FRAME_BODY_BYTES_MAX } from '../../src/base/limits.ts'
import { Random } from '../../src/base/random.ts'
import { decodeBody, encodeBody } from '../../src/wire/body.ts'

function refused(bytes: Buffer, name: string): void {
  try {
    decodeBody(bytes)
  } catch (error) {
    assert.ok(isDfsError(error, 'BAD_REQUEST'), `${name}: ${error}`)
    return
  }
  assert.unreachable(`${name} was taken`)
}

test('what is encoded comes back', () => {
  const bodies: unknown[][] = [
    [],
    [null, true, false, 0, 127, 128, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1],
    [-1, -32, -33, -128, -129, -32769, -(2 ** 31) - 1, 0.5, -1e300],
    ['', 'a', 'x'.repeat(31), 'x'.repeat(32), 'ä'.repeat(300), 'x'.repeat(70_000)],
    [Array.from({ length: 15 }, (_, i) => i), Array.from({ length: 16 }, (_, i) => i), new Array(70_000).fill(1)],
    [{ a: 1, b: [2, { c: 'x' }] }, { '': 0 }],
    [2n ** 63n],
  ]
  for (const body of bodies) assert.equal(decodeBody(encodeBody(body)), body)
  assert.equal(decodeBody(encodeBody([undefined])), [null])
})

test('nothing decoded refers to the receiving buffer', () => {
  const bytes = Buffer.from(encodeBody([Buffer.from('inside'), 'text']))
  const [inside, text] = decodeBody(bytes)
  bytes.fill(0xdb)
  assert.is(Buffer.from(inside as Buffer).toString(), 'inside')
  assert.is(text, 'text')
})

test('a body that is no array, is cut, or has bytes behind it is refused', () => {
  refused(Buffer.alloc(0), 'nothing')
  refused(Buffer.from([0x01]), 'a number')
  refused(Buffer.from([0x80]), 'a map')
  const good = encodeBody([1, 'abc', Buffer.from('xyz'), 70_000, 1.5, { key: [1] }, 'y'.repeat(300)])
  for (let cut = 0; cut < good.length; cut++) refused(good.subarray(0, cut), `cut at ${cut}`)
  refused(Buffer.concat([good, Buffer.from([0])]), 'a byte more')
})

test('depth bombs are refused, the allowed depth is not', () => {
  const nested = (depth: number) => Buffer.concat([Buffer.alloc(depth - 1, 0x91), Buffer.from([0x90])])
  assert.ok(Array.isArray(decodeBody(nested(BODY_DEPTH_MAX))))
  refused(nested(BODY_DEPTH_MAX + 1), 'one too deep')
  assert.throws(() => decodeBody(nested(BODY_DEPTH_MAX + 1)), /more than 16 values inside one another/)
  refused(Buffer.alloc(FRAME_BODY_BYTES_MAX, 0x91), 'a megabyte of arrays')
  refused(Buffer.alloc(FRAME_BODY_BYTES_MAX, 0x81), 'a megabyte of maps')
})

test('lengths that the bytes can not hold are refused before anything is made', () => {
  refused(Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]), 'an array of 2^32 - 1')
  refused(Buffer.from([0x91, 0xdf, 0x7f, 0xff, 0xff, 0xff, 0xa0]), 'a map of 2^31 - 1')
  refused(Buffer.from([0x91, 0xdb, 0xff, 0xff, 0xff, 0xff]), 'a string of 2^32 - 1')
  refused(Buffer.from([0x91, 0xc6, 0xff, 0xff, 0xff, 0xff]), 'binary of 2^32 - 1')
})

test('extensions and keys that are no strings are refused', () => {
  refused(Buffer.from([0x91, 0xd4, 0, 0]), 'a fixed extension')
  refused(Buffer.from([0x91, 0xc7, 1, 0x65, 0]), 'an extension')
  refused(Buffer.from([0x91, 0xc1]), 'the type that is never used')
  refused(Buffer.from([0x91, 0x81, 0x01, 0x01]), 'a number as key')
  refused(Buffer.from([0x91, 0x81, 0x90, 0x01]), 'an array as key')
})

test('a key __proto__ changes no prototype', () => {
  const [map] = decodeBody(encodeBody([JSON.parse('{"__proto__":{"polluted":1}}')])) as [Record<string, unknown>]
  assert.is(map.polluted, undefined)
  assert.is(Object.getPrototypeOf(map), Object.prototype)
  assert.is(({} as Record<string, unknown>).polluted, undefined)
})

test('random bytes are a body or BAD_REQUEST, never anything else', () => {
  const random = new Random(11)
  for (let i = 0; i < 20_000; i++) {
    const bytes = random.bytes(1 + random.below(24))
    bytes[0] = 0x90 | random.below(16)
    try {
      assert.ok(Array.isArray(decodeBody(bytes)))
    } catch (error) {
      assert.ok(isDfsError(error, 'BAD_REQUEST'), `${bytes.toString('hex')}: ${error}`)
    }
  }
})

test.run()
