// Runs of blocks: proven by one sum, and the wrong block found.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { combineRun, combineSums, findWrongBlock, sumsFrom } from '../../src/base/blocks.ts'
import { crc32 } from '../../src/base/crc32.ts'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import { Random } from '../../src/base/random.ts'

const random = new Random(3)
const lengths = [1, 7, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES, 9 * BLOCK_BYTES + 100]

function sumsOf(bytes: Buffer): Uint32Array {
  const blocks = Math.ceil(bytes.length / BLOCK_BYTES)
  return Uint32Array.from({ length: blocks }, (_, i) => crc32(bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES)))
}

test('the sums of blocks combine to the sum of the run, also behind other bytes', () => {
  const before = random.bytes(1234)
  for (const length of lengths) {
    const bytes = random.bytes(length)
    const sums = sumsOf(bytes)
    assert.is(combineSums(sums, length - (sums.length - 1) * BLOCK_BYTES), crc32(bytes), `${length}`)
    const padded = [1, 2, ...sums, 3]
    const run = combineRun(crc32(before), padded, 2, 2 + sums.length, length)
    assert.is(run, crc32(bytes, crc32(before)), `${length}`)
  }
  assert.is(combineRun(5, [], 0, 0, 0), 5)
})

test('a run is right only when each block is, and the first wrong one is named', () => {
  for (const length of lengths) {
    const bytes = random.bytes(length)
    const sums = Uint32Array.from([99, ...sumsOf(bytes)])
    assert.is(findWrongBlock(bytes, sums, 1), undefined)
    for (let round = 0; round < 20; round++) {
      const at = random.below(length)
      const bit = 1 << random.below(8)
      bytes[at] = bytes[at]! ^ bit
      const block = Math.floor(at / BLOCK_BYTES)
      const actual = crc32(bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES))
      assert.equal(findWrongBlock(bytes, sums, 1), { index: 1 + block, actual })
      const last = Math.ceil(length / BLOCK_BYTES) - 1
      const again = bytes[length - 1]!
      if (block < last) bytes[length - 1] = again ^ 1
      assert.is(findWrongBlock(bytes, sums, 1)?.index, 1 + block, 'the first of two')
      bytes[length - 1] = again
      bytes[at] = bytes[at]! ^ bit
    }
  }
})

test('two blocks that have changed places are wrong', () => {
  const bytes = random.bytes(4 * BLOCK_BYTES)
  const sums = sumsOf(bytes)
  const first = Buffer.from(bytes.subarray(0, BLOCK_BYTES))
  bytes.copyWithin(0, BLOCK_BYTES, 2 * BLOCK_BYTES)
  first.copy(bytes, BLOCK_BYTES)
  assert.is(findWrongBlock(bytes, sums, 0)?.index, 0)
})

test('sums come from the wire in its byte order, wherever they lie', () => {
  const wire = Buffer.alloc(4 * 3 + 1)
  for (const [index, sum] of [0, 0xffffffff, 0x01020304].entries()) wire.writeUInt32LE(sum, 1 + 4 * index)
  assert.equal([...sumsFrom(wire.subarray(1))], [0, 0xffffffff, 0x01020304])
  assert.throws(() => sumsFrom(wire), /four bytes/)
})

test.run()
