// Received bytes whose buffer is poisoned the moment nobody may look at it any more, so that use after release shows.

import { AssertionError } from '../../src/base/assert.ts'
import type { ReceivedBytes } from '../../src/io/network.ts'

const POISON = 0xdb

/** Told of buffers that stay alive, and of broken rules. */
export interface ReceivedOwner {
  /** Retained buffers go up or down by one, their bytes by `bytes`. */
  countRetained(count: 1 | -1, bytes: number): void
  fail(reason: string): void
}

export class SimReceived implements ReceivedBytes {
  readonly bytes: Buffer
  readonly #owner: ReceivedOwner
  #references = 1
  #isInHandler = true

  constructor(bytes: Buffer, owner: ReceivedOwner) {
    this.bytes = bytes
    this.#owner = owner
  }

  retain(): void {
    if (this.#references === 0) this.#break('retain() of received bytes that were given back')
    if (this.#references++ === 1 && this.#isInHandler) this.#owner.countRetained(1, this.bytes.length)
  }

  release(): void {
    const floor = this.#isInHandler ? 1 : 0
    if (this.#references <= floor) this.#break('release() of received bytes without retain()')
    this.#references--
    if (this.#references === floor) this.#owner.countRetained(-1, this.bytes.length)
    if (this.#references === 0) this.bytes.fill(POISON)
  }

  /** `onBytes` has returned. */
  handlerReturned(): void {
    this.#isInHandler = false
    if (--this.#references === 0) this.bytes.fill(POISON)
  }

  #break(reason: string): never {
    this.#owner.fail(reason)
    throw new AssertionError(reason)
  }
}
