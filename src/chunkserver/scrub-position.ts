// Where the scrubber was in a directory: the file `scrub`, so that a restart goes on instead of beginning anew.
//
// README.md beside this file describes the bytes; only this file reads or writes them. The file is a convenience: a
// missing or unreadable one means that a pass begins, never that anything was checked.

import { crc32 } from '../base/crc32.ts'
import { isDfsError } from '../base/errors.ts'
import type { ChunkHandle } from '../base/ids.ts'
import type { Disk } from '../io/disk.ts'
import { readU64, writeU64 } from './bytes.ts'

export interface ScrubPosition {
  /** The last chunk that the pass under way has checked; 0: none yet, or no pass. */
  readonly cursor: ChunkHandle | 0
  /** Wall time at which the last pass began, and at which one was last finished; 0: never. */
  readonly startedWallMs: number
  readonly finishedWallMs: number
  /** Somebody asked for the pass under way, or the next one: it has no budget. */
  readonly isAsked: boolean
}

export const NO_POSITION: ScrubPosition = { cursor: 0, startedWallMs: 0, finishedWallMs: 0, isAsked: false }

const NAME = 'scrub'
const NEW_NAME = 'scrub.new'
const BYTES = 64
const MAGIC = Buffer.from('dfsscrub', 'latin1')
const FORMAT_VERSION = 1
const FLAG_ASKED = 1
const CRC_AT = BYTES - 4

export function encodePosition({ cursor, startedWallMs, finishedWallMs, isAsked }: ScrubPosition): Buffer {
  const bytes = Buffer.alloc(BYTES)
  MAGIC.copy(bytes)
  bytes.writeUInt16LE(FORMAT_VERSION, 8)
  bytes.writeUInt16LE(isAsked ? FLAG_ASKED : 0, 10)
  bytes.writeUInt32LE(BYTES, 12)
  writeU64(bytes, cursor, 16)
  writeU64(bytes, startedWallMs, 24)
  writeU64(bytes, finishedWallMs, 32)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, CRC_AT)), CRC_AT)
  return bytes
}

/** Undefined for bytes that are no position. */
export function decodePosition(bytes: Buffer): ScrubPosition | undefined {
  if (bytes.length !== BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) return undefined
  const flags = bytes.readUInt16LE(10)
  if (bytes.readUInt16LE(8) !== FORMAT_VERSION || (flags & ~FLAG_ASKED) !== 0) return undefined
  if (bytes.readUInt32LE(CRC_AT) !== crc32(bytes.subarray(0, CRC_AT))) return undefined
  const cursor = readU64(bytes, 16)
  const startedWallMs = readU64(bytes, 24)
  const finishedWallMs = readU64(bytes, 32)
  if (cursor === undefined || startedWallMs === undefined || finishedWallMs === undefined) return undefined
  return { cursor: cursor as ChunkHandle | 0, startedWallMs, finishedWallMs, isAsked: flags === FLAG_ASKED }
}

/** What `directory` remembers; NO_POSITION when nothing that can be read. Throws DISK_FAILED. */
export async function loadPosition(disk: Disk, directory: string): Promise<ScrubPosition> {
  try {
    const file = await disk.open(`${directory}/${NAME}`, 'read')
    try {
      const bytes = Buffer.alloc(BYTES)
      const count = await file.read(bytes, 0)
      return decodePosition(bytes.subarray(0, count)) ?? NO_POSITION
    } finally {
      await file.close()
    }
  } catch (error) {
    if (isDfsError(error, 'NOT_FOUND')) return NO_POSITION
    throw error
  }
}

/** Written beside, synced, renamed, the directory synced. Throws DISK_FULL, DISK_FAILED, FSYNC_FAILED. */
export async function savePosition(disk: Disk, directory: string, position: ScrubPosition): Promise<void> {
  const beside = `${directory}/${NEW_NAME}`
  if ((await disk.stat(beside)) !== undefined) await disk.remove(beside)
  const file = await disk.open(beside, 'create')
  try {
    await file.write([encodePosition(position)], 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.rename(beside, `${directory}/${NAME}`)
  await disk.syncDirectory(directory)
}
