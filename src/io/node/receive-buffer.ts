// The buffers that a socket reads into: reused as long as nobody keeps them, counted as soon as somebody does.
//
// A connection begins with 64 KiB and gets up to 1 MiB while reads keep filling what it has, so thousands of idle
// connections stay cheap and a busy one makes few system calls. After a run that the handler didn't keep, the next
// read starts again at the front; after one it kept, the next goes behind it while 64 KiB are left, else into another
// buffer of the pool. A buffer goes back to the pool when its connection has left it and every kept run was released.

import { assert } from '../../base/assert.ts'
import { FreeBuffers } from '../../base/free-buffers.ts'
import { KiB, MiB } from '../../base/units.ts'
import type { ReceivedBytes } from '../network.ts'

const BUFFER_BYTES_MIN = 64 * KiB
const BUFFER_BYTES_MAX = 1 * MiB
const SIZE_STEP = 4
/** A connection's buffer has one of these. */
const SIZES = [BUFFER_BYTES_MIN, SIZE_STEP * BUFFER_BYTES_MIN, BUFFER_BYTES_MAX]
/** Free buffers of each size that the process keeps; more are left to the garbage collector. */
const FREE_BYTES_MAX = 20 * MiB
/** A read that would get less room than this goes into another buffer. */
const ROOM_BYTES_MIN = 64 * KiB
/** After so many reads in a row that would have fitted into the next smaller size, that one is enough. */
const SMALL_READS_MAX = 64

const pools = SIZES.map((size) => new FreeBuffers(size, FREE_BYTES_MAX / size))

function poolOf(bytes: number): FreeBuffers {
  return pools[SIZES.indexOf(bytes)]!
}

/** One buffer and the number of those who hold it: its connection, and every run kept. */
class Slab {
  readonly buffer: Buffer
  holders = 1

  constructor(bytes: number) {
    this.buffer = poolOf(bytes).take()
  }

  release(): void {
    assert(this.holders > 0, 'a receive buffer was released too often')
    if (--this.holders === 0) poolOf(this.buffer.length).give(this.buffer)
  }
}

class ReceivedRun implements ReceivedBytes {
  readonly bytes: Buffer
  readonly #slab: Slab
  #kept = 0

  constructor(bytes: Buffer, slab: Slab) {
    this.bytes = bytes
    this.#slab = slab
  }

  get isKept(): boolean {
    return this.#kept > 0
  }

  retain(): void {
    this.#kept++
    this.#slab.holders++
  }

  release(): void {
    assert(this.#kept > 0, 'release() of received bytes without retain()')
    this.#kept--
    this.#slab.release()
  }
}

/** The receiving side of one connection's buffers. */
export class ReceiveBuffer {
  #slab: Slab | undefined
  #used = 0
  #sizeBytes = BUFFER_BYTES_MIN
  #smallReads = 0

  /** Where the next read goes. */
  room(): Buffer {
    this.#slab ??= new Slab(this.#sizeBytes)
    return this.#used === 0 ? this.#slab.buffer : this.#slab.buffer.subarray(this.#used)
  }

  /**
   * `count` bytes were read into what `room` gave: hands them to `take`, then makes room for the next read.
   *
   * @param take  may retain the run; what it doesn't is overwritten by the next read
   */
  filled(count: number, take: (received: ReceivedBytes) => void): void {
    const slab = this.#slab
    assert(slab !== undefined && this.#used + count <= slab.buffer.length, 'more was read than there was room')
    const end = this.#used + count
    this.#chooseSize(count, end === slab.buffer.length)
    const run = new ReceivedRun(slab.buffer.subarray(this.#used, end), slab)
    // While the handler runs the buffer has one more holder: a close in the middle must not free what is being read.
    slab.holders++
    try {
      take(run)
    } finally {
      slab.holders--
      if (this.#slab === slab) this.#moveOn(slab, run.isKept ? end : this.#used)
      else if (slab.holders === 0) poolOf(slab.buffer.length).give(slab.buffer)
    }
  }

  /** The connection is gone. Kept runs stay valid until they are released. */
  close(): void {
    this.#slab?.release()
    this.#slab = undefined
    this.#used = 0
  }

  /** @param free  where the buffer is free from, if any run in it is kept */
  #moveOn(slab: Slab, free: number): void {
    const isOtherSize = slab.buffer.length !== this.#sizeBytes
    this.#used = slab.holders > 1 ? free : 0
    if (isOtherSize || slab.buffer.length - this.#used < ROOM_BYTES_MIN) this.close()
  }

  #chooseSize(count: number, isFull: boolean): void {
    if (isFull && this.#sizeBytes < BUFFER_BYTES_MAX) {
      this.#sizeBytes *= SIZE_STEP
      this.#smallReads = 0
    } else if (this.#sizeBytes > BUFFER_BYTES_MIN && count < this.#sizeBytes / SIZE_STEP) {
      if (++this.#smallReads < SMALL_READS_MAX) return
      this.#sizeBytes /= SIZE_STEP
      this.#smallReads = 0
    } else {
      this.#smallReads = 0
    }
  }
}

/** Bytes of free buffers kept for reuse. */
export function pooledBytes(): number {
  return pools.reduce((sum, pool) => sum + pool.count * pool.size, 0)
}
