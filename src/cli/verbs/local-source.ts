// Bytes of this machine that go into the cluster: a file, or standard input.

import fs from 'fs-extra'
import { DfsError } from '../../base/errors.ts'
import { formatDuration, MiB } from '../../base/units.ts'
import type { DfsContext } from '../context.ts'

const pieceBytes = 1 * MiB

/** The bytes of a local file in buffers of their own, from `offset` on. The file may grow or shrink meanwhile: what is read counts. */
export async function* readLocalFile(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  const descriptor = await fs.open(path, 'r')
  try {
    for (;;) {
      signal.throwIfAborted()
      const buffer = Buffer.allocUnsafe(pieceBytes)
      const { bytesRead } = await fs.read(descriptor, buffer, 0, pieceBytes, null)
      if (bytesRead === 0) return
      yield bytesRead === pieceBytes ? buffer : buffer.subarray(0, bytesRead)
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
