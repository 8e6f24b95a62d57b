import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DfsError } from '../../src/base/errors.ts'
import type { ClusterId } from '../../src/base/ids.ts'
import { decodeIdentity, encodeIdentity } from '../../src/master/identity.ts'

const clusterId = '00112233445566778899aabbccddeeff' as ClusterId

// The bytes of format version 1, for ever.
const golden = 'dfs-master 1 00112233445566778899aabbccddeeff formed d31c220d\n'

test('the identity of format version 1 is this line, and opens', () => {
  assert.is(encodeIdentity({ clusterId, isFormed: true }).toString(), golden)
  assert.equal(decodeIdentity(Buffer.from(golden), 'identity'), { clusterId, isFormed: true })
})

function refusal(bytes: Buffer): string | undefined {
  try {
    decodeIdentity(bytes, 'identity')
    return undefined
  } catch (error) {
    if (error instanceof DfsError) return error.code
    throw error
  }
}

test('an identity with any bit flipped, or cut anywhere, is refused', () => {
  for (let at = 0; at < golden.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const bytes = Buffer.from(golden)
      bytes[at] = bytes[at]! ^ (1 << bit)
      assert.ok(refusal(bytes) !== undefined, `byte ${at} bit ${bit}`)
    }
    assert.is(refusal(Buffer.from(golden).subarray(0, at)), 'WRONG_DISK')
  }
})

test('a later format version is named as such', () => {
  assert.is(refusal(Buffer.from(golden.replace('dfs-master 1', 'dfs-master 2'))), 'BAD_FORMAT')
})

test.run()
