// Bytes of this machine that go into the cluster: a file, or standard input.

import fs from 'fs-extra'
import { DfsError } from '../../base/errors.ts'
import { formatDuration, MiB } from '../../base/units.ts'
import type { DfsContext } from '../context.ts'
import type { LocalPace } from './local-pace.ts'

/** Of one read of a local file. */
export const LOCAL_READ_BYTES = 1 * MiB
const shelfBytesMax = 16 * MiB

/** Buffers of one process that are used again: file after file would else keep the garbage collector busy. */
export class BufferShelf {
  /** By the binary logarithm of their size. */
  readonly #free: Buffer[][]
  #freeBytes = 0

  /** @param bytesMax  of one buffer; a power of two */
  constructor(bytesMax: number) {
    this.#free = Array.from({ length: sizeClass(bytesMax) + 1 }, () => [])
  }

  /** A buffer of at least `bytes` (1 .. bytesMax), content undefined; the taker's until it is given back, if it ever is. */
  take(bytes: number): Buffer {
    const index = sizeClass(bytes)
    const buffer = this.#free[index]!.pop()
    if (buffer === undefined) return Buffer.allocUnsafeSlow(2 ** index)
    this.#freeBytes -= buffer.length
    return buffer
  }

  /** @param buffer  as `take` gave it, given back at most once; nobody holds it any more */
  give(buffer: Buffer): void {
    if (this.#freeBytes + buffer.length > shelfBytesMax) return
    this.#freeBytes += buffer.length
    this.#free[sizeClass(buffer.length)]!.push(buffer)
  }
}

/** From 4 KiB upward: smaller ones gain nothing. */
function sizeClass(bytes: number): number {
  return Math.max(12, Math.ceil(Math.log2(bytes)))
}

/** The facts of a local file, and its bytes if it has 1 to `bytesMax`. */
export interface SmallLocalFile {
  readonly stats: fs.Stats
  /** What was read, less than `stats.size` when the file shrank meanwhile; undefined when it has none or too many. */
  readonly bytes: Buffer | undefined
  /** Of the shelf, with `bytes` at its beginning: the caller gives it back. */
  readonly buffer: Buffer | undefined
}

/** Reads a small file whole. Errors: the system's. */
export async function readSmallFile(
  local: string,
  bytesMax: number,
  shelf: BufferShelf,
  pace: LocalPace,
): Promise<SmallLocalFile> {
  const descriptor = await pace.run(
    () => fs.openSync(local, 'r'),
    () => fs.open(local, 'r'),
  )
  try {
    // An open file's facts are at hand: a trip to another thread costs more than they do.
    const stats = fs.fstatSync(descriptor)
    if (stats.size === 0 || stats.size > bytesMax) return { stats, bytes: undefined, buffer: undefined }
    const buffer = shelf.take(stats.size)
    const room = buffer.subarray(0, stats.size)
    const bytes = await pace.run(
      () => readFullyNow(descriptor, room),
      () => readFully(descriptor, room),
    )
    return { stats, bytes, buffer }
  } finally {
    fs.closeSync(descriptor)
  }
}

function readFullyNow(descriptor: number, buffer: Buffer): Buffer {
  let at = 0
  while (at < buffer.length) {
    const bytesRead = fs.readSync(descriptor, buffer, at, buffer.length - at, null)
    if (bytesRead === 0) break
    at += bytesRead
  }
  return buffer.subarray(0, at)
}

/** Reads on from where the descriptor stands. @returns the part of `buffer` that was filled, less than all of it at the file's end */
export async function readFully(descriptor: number, buffer: Buffer): Promise<Buffer> {
  let at = 0
  while (at < buffer.length) {
    const { bytesRead } = await fs.read(descriptor, buffer, at, buffer.length - at, null)
    if (bytesRead === 0) break
    at += bytesRead
  }
  return buffer.subarray(0, at)
}

/**
 * The bytes of a local file, in buffers of LOCAL_READ_BYTES or the beginning of one. The file may grow or shrink
 * meanwhile: what is read counts.
 *
 * @param shelf  where the buffers come from; new ones when left out
 */
export async function* readLocalFile(path: string, signal: AbortSignal, shelf?: BufferShelf): AsyncGenerator<Buffer> {
  const descriptor = await fs.open(path, 'r')
  try {
    for (;;) {
      signal.throwIfAborted()
      const buffer = shelf?.take(LOCAL_READ_BYTES) ?? Buffer.allocUnsafe(LOCAL_READ_BYTES)
      const { bytesRead } = await fs.read(descriptor, buffer, 0, LOCAL_READ_BYTES, null)
      if (bytesRead === 0) return
      yield bytesRead === LOCAL_READ_BYTES ? buffer : buffer.subarray(0, bytesRead)
    }
  } finally {
    await fs.close(descriptor)
  }
}

/** What comes on standard input. Silence for longer than --timeout ends it: no verb hangs. */
export async function* readStdin(context: DfsContext): AsyncGenerator<Buffer> {
  const pieces: AsyncIterator<Buffer> = process.stdin[Symbol.asyncIterator]()
  for (;;) {
    const { done, value } = await beforeSilence(pieces.next(), context)
    if (done) return
    yield value
  }
}

/** The same promise, unless nothing comes in time (TIMEOUT) or the verb ends (the signal's reason). */
function beforeSilence<T>(next: Promise<T>, { io, timeoutMs, signal }: DfsContext): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    const timer = io.clock.after(timeoutMs, () => {
      reject(new DfsError('TIMEOUT', `nothing came on standard input for ${formatDuration(timeoutMs)}`))
    })
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    next.then(resolve, reject).finally(() => {
      timer.cancel()
      signal.removeEventListener('abort', onAbort)
    })
  })
}

/** A local word: `-` is standard input. */
export function readLocal(word: string, context: DfsContext): AsyncGenerator<Buffer> {
  return word === '-' ? readStdin(context) : readLocalFile(word, context.signal)
}

/** Several as one stream. */
export async function* readAll(words: readonly string[], context: DfsContext): AsyncGenerator<Buffer> {
  for (const word of words) yield* readLocal(word, context)
}
