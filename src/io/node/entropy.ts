// Real chance, from the system's generator.

import { assert } from '../../base/assert.ts'
import type { Entropy } from '../entropy.ts'

type Crypto = typeof import('node:crypto')

let loaded: Crypto | undefined

/** Loaded with the first number: what only reads needs none, and the module takes ten milliseconds. */
function crypto(): Crypto {
  loaded ??= process.getBuiltinModule('node:crypto')
  return loaded
}

// Asking the system for eight bytes at a time costs more than the numbers are worth.
const stock = Buffer.alloc(4096)
let used = stock.length

export const nodeEntropy: Entropy = {
  below(bound) {
    assert(Number.isSafeInteger(bound) && bound >= 1, `bound out of range: ${bound}`)
    // The numbers above the largest multiple of `bound` would favour the small ones: drawn again.
    const limit = 2 ** 53 - (2 ** 53 % bound)
    for (;;) {
      const value = next53Bits()
      if (value < limit) return value % bound
    }
  },
  bytes: (count) => crypto().randomBytes(count),
}

function next53Bits(): number {
  if (used === stock.length) {
    crypto().randomFillSync(stock)
    used = 0
  }
  const high = stock.readUInt32LE(used) >>> 11
  const low = stock.readUInt32LE(used + 4)
  used += 8
  return high * 2 ** 32 + low
}
