// Compares two local trees byte for byte, and takes the CRC32 of every file on the way.

import path from 'node:path'
import fs from 'fs-extra'
import { crc32 } from '../../base/crc32.ts'
import { MiB } from '../../base/units.ts'

export interface Comparison {
  readonly files: number
  readonly bytes: number
  /** CRC32 over the files' own CRC32s, in the order of their paths: one number for the whole tree. */
  readonly checksum: number
  /** The largest file, from the root of the tree. */
  readonly largest: { readonly name: string; readonly bytes: number; readonly checksum: number }
}

/**
 * @param startedMs  wall time before which `original` must have been left alone; without it nobody asks
 * @throws Error naming the first difference. Symbolic links and special files of `original` don't count.
 */
export async function compareTrees(
  original: string,
  copy: string,
  signal: AbortSignal,
  startedMs = Number.POSITIVE_INFINITY,
): Promise<Comparison> {
  const result = { files: 0, bytes: 0, checksum: 0, largest: { name: '', bytes: -1, checksum: 0 } }
  const digest = Buffer.alloc(4)
  const buffers = [Buffer.allocUnsafe(MiB), Buffer.allocUnsafe(MiB)] as const
  await compareDirectory('')
  return result

  async function compareDirectory(name: string): Promise<void> {
    const wanted = (await fs.readdir(path.join(original, name), { withFileTypes: true })).filter(
      (entry) => entry.isFile() || entry.isDirectory(),
    )
    const found = new Set(await fs.readdir(path.join(copy, name)))
    for (const entry of wanted.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      signal.throwIfAborted()
      const below = path.join(name, entry.name)
      if (!found.delete(entry.name)) throw new Error(`${below} is missing in the copy`)
      if (entry.isDirectory()) await compareDirectory(below)
      else await compareFile(below)
    }
    const [stray] = found
    if (stray !== undefined) throw new Error(`${path.join(name, stray)} is only in the copy`)
  }

  async function compareFile(name: string): Promise<void> {
    const { bytes, checksum } = await compareFiles(
      path.join(original, name),
      path.join(copy, name),
      name,
      buffers,
      startedMs,
    )
    digest.writeUInt32LE(checksum)
    result.checksum = crc32(digest, result.checksum)
    result.files++
    result.bytes += bytes
    if (bytes > result.largest.bytes) result.largest = { name, bytes, checksum }
  }
}

async function compareFiles(
  one: string,
  other: string,
  name: string,
  [a, b]: readonly [Buffer, Buffer],
  startedMs: number,
): Promise<{ bytes: number; checksum: number }> {
  const first = await fs.open(one, 'r')
  try {
    const second = await fs.open(other, 'r')
    try {
      let checksum = 0
      for (let offset = 0; ; ) {
        const length = await readFully(first, a, offset)
        const otherLength = await readFully(second, b, offset)
        const bytes = a.subarray(0, length)
        if (length !== otherLength || bytes.compare(b, 0, otherLength) !== 0) {
          if ((await fs.fstat(first)).mtimeMs > startedMs) throw new Error(`${name} was changed by somebody meanwhile`)
          throw new Error(`${name} differs between offsets ${offset} and ${offset + Math.max(length, otherLength)}`)
        }
        checksum = crc32(bytes, checksum)
        offset += length
        if (length < a.length) return { bytes: offset, checksum }
      }
    } finally {
      await fs.close(second)
    }
  } finally {
    await fs.close(first)
  }
}

async function readFully(descriptor: number, buffer: Buffer, offset: number): Promise<number> {
  let filled = 0
  while (filled < buffer.length) {
    const { bytesRead } = await fs.read(descriptor, buffer, filled, buffer.length - filled, offset + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return filled
}
