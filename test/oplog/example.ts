// The log and the checkpoint that oplog-format.md shows and test/golden keeps: always the same bytes.

import { KiB } from '../../src/base/units.ts'
import type { Entropy } from '../../src/io/entropy.ts'
import { writeCheckpoint } from '../../src/oplog/checkpoint-file.ts'
import { OpLog } from '../../src/oplog/oplog.ts'
import { clusterId, directory, logOptions, settle } from './log-fixture.ts'
import { MemoryDisk } from './memory-disk.ts'

/** Every salt is this number. */
function fixedEntropy(salt: number): Entropy {
  return { below: () => salt, bytes: (count) => Buffer.alloc(count, salt) }
}

/** What record `index` of the golden log is. */
export function goldenRecord(index: number): {
  term: number
  kind: number
  version: number
  flags: number
  payload: Buffer
} {
  const payload = Buffer.alloc(index % 5 === 0 ? 5000 : index * 3, `payload ${index} `)
  return { term: 1 + Math.floor(index / 8), kind: 100 + index, version: index % 3, flags: index % 2, payload }
}

export const GOLDEN_RECORD_COUNT = 20

/** Two starts, a roll, a clean stop: four segments. */
export async function goldenLog(): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  await OpLog.format({ disk, directory, clusterId, entropy: fixedEntropy(0x5a17000001) })
  let index = 0
  for (const batches of [
    [1, 2, 3],
    [4, 5],
    [1, 4],
  ]) {
    const log = await OpLog.open(logOptions(disk, { entropy: fixedEntropy(0x5a17000100 + index) }))
    for (const size of batches) {
      for (let count = 0; count < size; count++) log.append(goldenRecord(++index))
      await log.whenSynced(index)
    }
    if (index === 15) await log.roll()
    await log.close()
  }
  return disk
}

export const GOLDEN_PREALLOCATED_COUNT = 12

/** A log that was killed in a preallocated segment: the last of three segments ends with room that was not written. */
export async function goldenPreallocatedLog(): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  await OpLog.format({ disk, directory, clusterId, entropy: fixedEntropy(0x5a17000001) })
  const entropy = fixedEntropy(0x5a17000200)
  const log = await OpLog.open(logOptions(disk, { entropy, preallocateAfterBytes: 8 * KiB, segmentBytes: 32 * KiB }))
  let index = 0
  for (const size of [2, 1, 4, 5]) {
    for (let count = 0; count < size; count++) log.append(goldenRecord(++index))
    await log.whenSynced(index)
    await settle()
  }
  return disk
}

/** One small record in a new log, as the worked example shows it: two files. */
export async function exampleLog(): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  await OpLog.format({ disk, directory, clusterId, entropy: fixedEntropy(0x5a1701) })
  const log = await OpLog.open(logOptions(disk, { entropy: fixedEntropy(0x5a1702) }))
  await log.appendAndSync({ term: 1, kind: 7, version: 1, payload: Buffer.from('hello, log') })
  await log.close()
  return disk
}

/** Three sections, one of more than a block; about a megabyte. */
export async function goldenCheckpoint(): Promise<{ disk: MemoryDisk; path: string; checksum: number }> {
  const disk = new MemoryDisk()
  await disk.makeDirectory(directory)
  const sections = [
    { name: 'counters', bytes: [Buffer.from([1, 2, 3, 4])] },
    { name: 'empty', bytes: [] },
    { name: 'large', bytes: [Buffer.alloc(2 ** 20 + 1000, 'column ')] },
  ]
  const { path, checksum } = await writeCheckpoint({ disk, directory, clusterId, index: 20, term: 3 }, sections)
  return { disk, path, checksum }
}

export async function exampleCheckpoint(): Promise<Buffer> {
  const disk = new MemoryDisk()
  await disk.makeDirectory(directory)
  const sections = [{ name: 'names', bytes: [Buffer.from('hello, checkpoint')] }]
  const { path } = await writeCheckpoint({ disk, directory, clusterId, index: 1, term: 1 }, sections)
  return disk.bytes(path)
}

/** `00000000  44 46 … |DFS…|`: lines of 16 bytes; a run of lines of zeros is one `*`. */
export function hexDump(bytes: Buffer, from: number, to: number): string {
  const lines: string[] = []
  for (let at = from; at < to; at += 16) {
    const part = bytes.subarray(at, Math.min(to, at + 16))
    const hex = [...part].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
    const text = [...part].map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.')).join('')
    if (part.every((byte) => byte === 0)) {
      if (lines.at(-1) !== '*') lines.push('*')
    } else {
      lines.push(`${at.toString(16).padStart(8, '0')}  ${hex.padEnd(47)}  |${text}|`)
    }
  }
  return lines.join('\n')
}
