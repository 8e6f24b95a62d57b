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
export async function* readStdin({ io, timeoutMs, signal }: DfsContext): AsyncGenerator<Buffer> {
  const chunks = process.stdin[Symbol.asyncIterator]()
  for (;;) {
    const silence = new AbortController()
    const late = io.clock.sleep(timeoutMs, AbortSignal.any([silence.signal, signal])).then(
      () => {
        throw new DfsError('TIMEOUT', `nothing came on standard input for ${formatDuration(timeoutMs)}`)
      },
      () => new Promise<never>(() => undefined), // ended by the bytes that came, or by the signal, which others watch
    )
    try {
      const { done, value } = await Promise.race([chunks.next(), late])
      if (done) return
      yield value
    } finally {
      silence.abort()
    }
  }
}

/** A local word: `-` is standard input. */
export function readLocal(word: string, context: DfsContext): AsyncGenerator<Buffer> {
  return word === '-' ? readStdin(context) : readLocalFile(word, context.signal)
}

/** Several as one stream. */
export async function* readAll(words: readonly string[], context: DfsContext): AsyncGenerator<Buffer> {
  for (const word of words) yield* readLocal(word, context)
}
