// The buffers that real sockets read into.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AssertionError } from '../../src/base/assert.ts'
import { Random } from '../../src/base/random.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import type { ReceivedBytes } from '../../src/io/network.ts'
import { pooledBytes, ReceiveBuffer } from '../../src/io/node/receive-buffer.ts'

test('an unkept run is overwritten in place; a kept one never, whatever is released when', () => {
  // Method: reads of random size with a byte pattern of their own, kept or not by chance, released in random order.
  for (let seed = 1; seed <= 50; seed++) {
    const random = new Random(seed)
    const buffer = new ReceiveBuffer()
    const kept: { received: ReceivedBytes; pattern: number; holds: number }[] = []
    for (let read = 0; read < 300; read++) {
      const room = buffer.room()
      assert.ok(room.length >= 64 * KiB, 'room for a read')
      const count = random.chance(0.2) ? room.length : 1 + random.below(Math.min(room.length, 20 * KiB))
      const pattern = random.below(256)
      room.fill(pattern, 0, count)
      buffer.filled(count, (received) => {
        assert.is(received.bytes.length, count)
        const holds = random.below(3)
        for (let hold = 0; hold < holds; hold++) received.retain()
        if (holds > 0) kept.push({ received, pattern, holds })
      })
      while (kept.length > 8 || (kept.length > 0 && random.chance(0.4))) {
        const index = random.below(kept.length)
        const { received, pattern: written, holds } = kept[index]!
        assert.ok(received.bytes[0] === written && received.bytes.at(-1) === written, `seed ${seed}, read ${read}`)
        for (let hold = 0; hold < holds; hold++) received.release()
        kept.splice(index, 1)
      }
    }
    buffer.close()
    for (const { received, pattern, holds } of kept) {
      assert.is(received.bytes[0], pattern, 'kept after close')
      for (let hold = 0; hold < holds; hold++) received.release()
    }
  }
  assert.ok(pooledBytes() <= 64 * MiB)
})

test('a buffer begins small, grows while reads fill it, and shrinks step by step when they no longer do', () => {
  const buffer = new ReceiveBuffer()
  const sizes: number[] = []
  const read = (count: (room: number) => number) => {
    const room = buffer.room().length
    if (sizes.at(-1) !== room) sizes.push(room)
    buffer.filled(count(room), () => {})
  }
  for (let index = 0; index < 5; index++) read((room) => room)
  for (let index = 0; index < 200; index++) read(() => 100)
  assert.equal(sizes, [64 * KiB, 256 * KiB, MiB, 256 * KiB, 64 * KiB])
  buffer.close()
})

test('a release too many is our bug', () => {
  const buffer = new ReceiveBuffer()
  let run: ReceivedBytes | undefined
  buffer.room()
  buffer.filled(10, (received) => {
    run = received
    received.retain()
  })
  run?.release()
  assert.throws(
    () => run?.release(),
    (error: unknown) => error instanceof AssertionError,
  )
  buffer.close()
})

test('a connection that closes inside its handler leaves the run readable until the handler returns', () => {
  const buffer = new ReceiveBuffer()
  buffer.room().fill(7, 0, 10)
  buffer.filled(10, (received) => {
    buffer.close()
    const other = new ReceiveBuffer()
    other.room().fill(9, 0, 10)
    assert.is(received.bytes[0], 7)
    other.close()
  })
})

test.run()
