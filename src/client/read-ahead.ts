// Read-ahead for positioned reads: who reads on where the last read ended gets the next bytes from memory.
//
// After SEQUENTIAL_READS short reads in a row, each beginning where the one before ended, a window of the file is fetched
// at once, and the next one when half of it was read. Any other read ends it. A window that fails is no error: the reads
// that would have used it ask for themselves, and nothing is read ahead any more.
//
// Bounds: two windows of WINDOW_BYTES a reader, in buffers of their own; longer reads than SHORT_BYTES need none.

import { KiB } from '../base/units.ts'
import { asFault } from './retry.ts'

const SEQUENTIAL_READS = 3
const SHORT_BYTES = 128 * KiB
const WINDOW_BYTES = 512 * KiB

interface Window {
  readonly start: number
  readonly end: number
  /** Undefined: it failed. */
  readonly bytes: Promise<Buffer | undefined>
}

export class ReadAhead {
  readonly #fetch: (start: number, length: number) => Promise<Buffer>
  readonly #size: number
  #end = -1
  #reads = 0
  #windows: Window[] = []
  #hasFailed = false

  /**
   * @param size   of the file
   * @param fetch  proven bytes of it
   */
  constructor(size: number, fetch: (start: number, length: number) => Promise<Buffer>) {
    this.#size = size
    this.#fetch = fetch
  }

  /**
   * The bytes, when they were read ahead; undefined: to be asked for. Told of every positioned read, in their order.
   *
   * @param length  1 upward, within the file
   */
  take(start: number, length: number): Promise<Buffer | undefined> | undefined {
    const isNext = start === this.#end && length <= SHORT_BYTES
    this.#end = start + length
    this.#reads = isNext ? this.#reads + 1 : 1
    if (!isNext || this.#hasFailed) {
      this.#windows = []
      return undefined
    }
    if (this.#reads < SEQUENTIAL_READS) return undefined
    const held = this.#windows.filter((window) => window.end > start)
    if (held.length === 0) held.push(this.#window(start))
    const last = held.at(-1)!
    if (held.length === 1 && start + length > (last.start + last.end) / 2 && last.end < this.#size) {
      held.push(this.#window(last.end))
    }
    this.#windows = held
    return cut(held, start, length)
  }

  #window(start: number): Window {
    const end = Math.min(this.#size, start + WINDOW_BYTES)
    const bytes = this.#fetch(start, end - start).catch((error: unknown) => {
      asFault(error)
      this.#hasFailed = true
      return undefined
    })
    return { start, end, bytes }
  }
}

async function cut(windows: readonly Window[], start: number, length: number): Promise<Buffer | undefined> {
  const parts: Buffer[] = []
  let at = start
  for (const window of windows) {
    if (at >= start + length || at < window.start || at >= window.end) continue
    const bytes = await window.bytes
    if (bytes === undefined) return undefined
    const part = bytes.subarray(at - window.start, Math.min(window.end, start + length) - window.start)
    parts.push(part)
    at += part.length
  }
  if (at < start + length) return undefined
  return parts.length === 1 ? parts[0] : Buffer.concat(parts)
}
