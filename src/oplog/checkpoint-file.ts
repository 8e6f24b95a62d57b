// Checkpoint files: the state at one log index, in named sections of bytes. What the sections mean is their writer's affair.
//
// The bytes are described in ../../oplog-format.md; checkpoint-format.ts reads and writes them.
//
// A checkpoint is written beside, synced, renamed, and its directory synced. It counts only whole: a damaged one is
// reported and passed over, and the one before it and the log serve.
//
// Source: GFS §2.6.3; Pillai et al., OSDI 2014 (ALICE) for the order of creation.

import { assert } from '../base/assert.ts'
import { crc32 } from '../base/crc32.ts'
import { DfsError, isDfsError } from '../base/errors.ts'
import type { ClusterId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import { MiB } from '../base/units.ts'
import type { Disk, DiskFile } from '../io/disk.ts'
import {
  BLOCK_HEADER_BYTES,
  BlockKind,
  type CheckpointHeader,
  encodeBlockHeader,
  encodeCheckpointHeader,
  encodeSectionEnd,
  encodeTrailer,
  SECTION_BLOCK_BYTES,
  SECTION_NAME_BYTES_MAX,
  TRAILER_BYTES,
} from './checkpoint-format.ts'
import { type CheckpointReader, openCheckpoint } from './checkpoint-reader.ts'

/** A named run of bytes. The pieces may be of any size; how they are cut does not show in the file. */
export interface CheckpointSection {
  /** 1 .. 64 bytes of UTF-8, unlike all others in the file. */
  readonly name: string
  /** Each piece must not change until the next one is asked for. */
  readonly bytes: Iterable<Uint8Array> | AsyncIterable<Uint8Array>
}

export interface WriteCheckpointOptions extends CheckpointHeader {
  readonly disk: Disk
  readonly directory: string
}

export interface WrittenCheckpoint {
  readonly path: string
  readonly bytes: number
  /** Over the whole content: equal states at the same index of one cluster have equal checksums. */
  readonly checksum: number
}

/** A checkpoint's name and what it says; its content is proven only by reading it. */
export interface CheckpointFile {
  readonly path: string
  readonly index: number
  readonly bytes: number
}

/** `checkpoint-0000000000001234.dfs`: the log index, 16 decimal digits. */
export function checkpointName(index: number): string {
  return `checkpoint-${String(index).padStart(16, '0')}.dfs`
}

/**
 * Writes a checkpoint; durable, with its name, when it resolves. One of the same index is replaced. Memory: one block.
 *
 * @throws DISK_FULL, DISK_FAILED (nothing is left behind but perhaps a `.tmp`), FSYNC_FAILED
 */
export async function writeCheckpoint(
  options: WriteCheckpointOptions,
  sections: Iterable<CheckpointSection> | AsyncIterable<CheckpointSection>,
): Promise<WrittenCheckpoint> {
  const { disk, directory } = options
  const path = `${directory}/${checkpointName(options.index)}`
  const beside = `${path}.tmp`
  if (await disk.stat(beside)) await disk.remove(beside)
  const file = await disk.open(beside, 'create')
  let written: WrittenCheckpoint
  try {
    written = { path, ...(await writeContent(file, options, sections)) }
    await file.sync()
  } catch (error) {
    await discard(disk, file, beside)
    throw error
  }
  await file.close()
  await disk.rename(beside, path)
  await disk.syncDirectory(directory)
  return written
}

/** All checkpoints by name, newest first. */
export async function listCheckpoints(disk: Disk, directory: string): Promise<CheckpointFile[]> {
  const found: CheckpointFile[] = []
  for (const { name, kind } of await disk.list(directory)) {
    const match = kind === 'file' ? /^checkpoint-([0-9]{16})\.dfs$/.exec(name) : null
    if (!match) continue
    const path = `${directory}/${name}`
    const stat = await disk.stat(path)
    if (stat) found.push({ path, index: Number(match[1]), bytes: stat.bytes })
  }
  return found.sort((a, b) => b.index - a.index)
}

/** Removes what was being written beside when a process died. Called once at a start. @returns how many */
export async function removeCheckpointLeftovers(disk: Disk, directory: string): Promise<number> {
  const names = (await disk.list(directory)).map((entry) => entry.name)
  const leftovers = names.filter((name) => /^checkpoint-[0-9]{16}\.dfs\.tmp$/.test(name))
  for (const name of leftovers) await disk.remove(`${directory}/${name}`)
  return leftovers.length
}

/**
 * Removes all but the newest `keepCount` (1 upward). Each removal is durable before the next, oldest first.
 * @returns the index of the oldest that is kept; 0 without any
 */
export async function dropCheckpoints(disk: Disk, directory: string, keepCount: number): Promise<number> {
  assert(keepCount >= 1, 'the last checkpoint is never dropped')
  const all = await listCheckpoints(disk, directory)
  for (const { path } of all.slice(keepCount).reverse()) {
    await disk.remove(path)
    await disk.syncDirectory(directory)
  }
  return all.slice(0, keepCount).at(-1)?.index ?? 0
}

export interface LoadedCheckpoint<T> extends CheckpointFile {
  readonly value: T
  readonly term: number
  readonly checksum: number
  /** Newer ones that are damaged. They are left as they are. */
  readonly passedOver: readonly DfsError[]
}

/**
 * Loads the newest checkpoint that is whole: tries each, newest first, and passes over damaged ones with a warning.
 *
 * @param load  builds a value from the sections; what it built of a checkpoint that proves damaged is thrown away
 * @returns undefined without any whole one: then the log must begin at 1; `passedOver` goes to the logger
 * @throws WRONG_DISK (another cluster's), BAD_FORMAT (a later version's), DISK_FAILED, and what `load` throws
 */
export async function loadNewestCheckpoint<T>(
  options: { readonly disk: Disk; readonly directory: string; readonly clusterId: ClusterId; readonly logger: Logger },
  load: (reader: CheckpointReader) => Promise<T>,
): Promise<LoadedCheckpoint<T> | undefined> {
  const { disk, directory, clusterId, logger } = options
  const passedOver: DfsError[] = []
  for (const file of await listCheckpoints(disk, directory)) {
    try {
      const { value, reader } = await loadCheckpoint(disk, file.path, clusterId, load)
      const { term, index } = reader.header
      if (index !== file.index) {
        throw new DfsError('CHECKPOINT_DAMAGED', `${file.path}: has index ${index}`, { path: file.path, offset: 0 })
      }
      return { ...file, value, term, checksum: reader.checksum, passedOver }
    } catch (error) {
      if (!isDfsError(error, 'CHECKPOINT_DAMAGED')) throw error
      passedOver.push(error)
      logger.warn({ ...error.detail }, `checkpoint passed over: ${error.message}`)
    }
  }
  return undefined
}

/** Loads one checkpoint to its end, every byte verified. @throws CHECKPOINT_DAMAGED, WRONG_DISK, BAD_FORMAT, NOT_FOUND */
export async function loadCheckpoint<T>(
  disk: Disk,
  path: string,
  clusterId: ClusterId | undefined,
  load: (reader: CheckpointReader) => Promise<T>,
): Promise<{ value: T; reader: CheckpointReader }> {
  const reader = await openCheckpoint(disk, path, clusterId)
  try {
    const value = await load(reader)
    await reader.finish()
    return { value, reader }
  } finally {
    await reader.close()
  }
}

async function writeContent(
  file: DiskFile,
  header: CheckpointHeader,
  sections: Iterable<CheckpointSection> | AsyncIterable<CheckpointSection>,
): Promise<{ bytes: number; checksum: number }> {
  const writer = new BlockWriter(file)
  const names = new Set<string>()
  await writer.write(encodeCheckpointHeader(header))
  for await (const { name, bytes } of sections) {
    const nameBytes = Buffer.from(name)
    assert(nameBytes.length >= 1 && nameBytes.length <= SECTION_NAME_BYTES_MAX, 'a section name of a wrong length')
    assert(!names.has(name), 'two sections of one name')
    names.add(name)
    await writer.block(BlockKind.section, nameBytes)
    await writeSection(writer, bytes)
  }
  const { offset, crc } = writer
  const fileBytes = offset + BLOCK_HEADER_BYTES + TRAILER_BYTES
  await writer.block(BlockKind.trailer, encodeTrailer({ fileBytes, sectionCount: names.size, fileCrc: crc }))
  return { bytes: fileBytes, checksum: crc }
}

async function writeSection(writer: BlockWriter, bytes: CheckpointSection['bytes']): Promise<void> {
  const block = Buffer.allocUnsafe(SECTION_BLOCK_BYTES)
  let filled = 0
  let sectionBytes = 0
  let sectionCrc = 0
  let blockCount = 0
  const put = async (): Promise<void> => {
    const data = block.subarray(0, filled)
    sectionBytes += filled
    sectionCrc = crc32(data, sectionCrc)
    blockCount++
    filled = 0
    await writer.block(BlockKind.data, data)
  }
  for await (const piece of bytes) {
    for (let at = 0; at < piece.length; ) {
      const part = piece.subarray(at, at + SECTION_BLOCK_BYTES - filled)
      block.set(part, filled)
      filled += part.length
      at += part.length
      if (filled === SECTION_BLOCK_BYTES) await put()
    }
  }
  if (filled > 0) await put()
  await writer.block(BlockKind.sectionEnd, encodeSectionEnd({ sectionBytes, sectionCrc, blockCount }))
}

/** Synced on the way whenever so much has gathered: one sync of a whole checkpoint would hold up the log's for as long as it takes. */
const SYNC_BYTES = 2 * MiB

class BlockWriter {
  readonly #file: DiskFile
  offset = 0
  #syncedOffset = 0
  /** Over everything written so far. */
  crc = 0

  constructor(file: DiskFile) {
    this.#file = file
  }

  async block(kind: number, payload: Uint8Array): Promise<void> {
    await this.write(encodeBlockHeader(kind, this.offset, payload), payload)
  }

  async write(...slices: Uint8Array[]): Promise<void> {
    await this.#file.write(slices, this.offset)
    for (const slice of slices) {
      this.crc = crc32(slice, this.crc)
      this.offset += slice.length
    }
    if (this.offset - this.#syncedOffset < SYNC_BYTES) return
    await this.#file.sync()
    this.#syncedOffset = this.offset
  }
}

async function discard(disk: Disk, file: DiskFile, path: string): Promise<void> {
  try {
    await file.close()
    await disk.remove(path)
  } catch {
    // The name is never read as a checkpoint, and the next start removes it; the first error is the one that counts.
  }
}
