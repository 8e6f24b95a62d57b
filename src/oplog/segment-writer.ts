// Writes segments. A new one is written beside, synced, renamed, and its directory synced, before anyone hears of it;
// an open one takes one batch at a time, each synced before the next is written. Its file has zeros where batches will
// be (preallocator.ts), or grows.
//
// Source: Pillai et al., OSDI 2014 (ALICE) for the order of creation.

import { DfsError, isDfsError } from '../base/errors.ts'
import type { Disk, DiskFile } from '../io/disk.ts'
import { type BatchBuffer, encodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader } from './format.ts'
import { segmentName } from './log-directory.ts'
import type { PreallocatedFile } from './preallocator.ts'

/** A failure after which nobody knows what the disk holds: never tried again on that file. */
export function finalFailure(path: string, what: string, cause: unknown): DfsError {
  const because = cause instanceof Error ? cause.message : String(cause)
  return new DfsError(
    'FSYNC_FAILED',
    `${path}: ${what} failed (${because}); nothing more is acknowledged`,
    { path },
    cause,
  )
}

export class SegmentWriter {
  readonly path: string
  readonly header: SegmentHeader
  readonly #file: DiskFile
  #offset: number
  #crc: number
  #preallocatedEnd: number

  private constructor(path: string, header: SegmentHeader, file: DiskFile, offset: number, crc: number) {
    this.path = path
    this.header = header
    this.#file = file
    this.#offset = offset
    this.#crc = crc
    this.#preallocatedEnd = header.preallocatedEnd
  }

  /**
   * Creates the segment with the batches it is born with; durable, with its name, when it resolves.
   *
   * @param plan     what the header says; `syncedEnd` is the sum of the sizes of header and batches
   * @param batches  batches in order, each free for reuse once the next is asked for
   * @param room     the file of zeros to write it to; this takes it over, whatever happens
   * @throws DISK_FULL (nothing has changed), FSYNC_FAILED (final)
   */
  static async create(
    disk: Disk,
    directory: string,
    plan: Omit<SegmentHeader, 'crc' | 'preallocatedEnd'>,
    batches: Iterable<BatchBuffer> | AsyncIterable<BatchBuffer>,
    room?: PreallocatedFile,
  ): Promise<SegmentWriter> {
    const path = `${directory}/${segmentName(plan.segment)}`
    const { file, path: beside, bytes: preallocatedEnd } = room ?? (await newFile(disk, `${path}.tmp`))
    const { page, crc } = encodeSegmentHeader({ ...plan, preallocatedEnd })
    const header = { ...plan, preallocatedEnd, crc }
    const writer = new SegmentWriter(path, header, file, SEGMENT_HEADER_BYTES, crc)
    try {
      await file.write([page], 0)
      for await (const batch of batches) await writer.#put(batch, SEGMENT_HEADER_BYTES, plan.firstIndex - 1)
    } catch (error) {
      await discard(disk, file, beside)
      throw error
    }
    try {
      await file.sync()
      await disk.rename(beside, path)
      await disk.syncDirectory(directory)
    } catch (error) {
      throw finalFailure(path, 'the creation of a segment', error)
    }
    return writer
  }

  /** Where the next batch goes: bytes from the start. */
  get offset(): number {
    return this.#offset
  }

  /** Up to where the file has zeros; 0 when it has to grow. */
  get preallocatedEnd(): number {
    return this.#preallocatedEnd
  }

  /** What the next batch, or the next segment, chains to. */
  get crc(): number {
    return this.#crc
  }

  /**
   * Writes a batch at the end and syncs it.
   *
   * @param syncedIndex  the last record that is durable already: all before this batch
   * @throws DISK_FULL: nothing of the batch is or will be in the file; FSYNC_FAILED: final
   */
  async append(batch: BatchBuffer, syncedIndex: number): Promise<void> {
    const before = { offset: this.#offset, crc: this.#crc }
    try {
      await this.#put(batch, this.#offset, syncedIndex)
    } catch (error) {
      if (!isDfsError(error, 'DISK_FULL')) throw finalFailure(this.path, `a write at offset ${before.offset}`, error)
      this.#offset = before.offset
      this.#crc = before.crc
      await this.#takeBack()
      throw error
    }
    try {
      await this.#file.sync()
    } catch (error) {
      throw finalFailure(this.path, `a sync at offset ${before.offset}`, error)
    }
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  /** Gives the zeros that were not needed back to the disk, and closes. Whether that lasts is of no account. */
  async closeTrimmed(): Promise<void> {
    try {
      if (this.#preallocatedEnd > this.#offset) await this.#file.truncate(this.#offset)
    } finally {
      await this.#file.close()
    }
  }

  async #put(batch: BatchBuffer, syncedOffset: number, syncedIndex: number): Promise<void> {
    const { clusterId, salt, segment } = this.header
    const place = { clusterId, salt, segment, offset: this.#offset, syncedOffset, syncedIndex, previousCrc: this.#crc }
    const { bytes, crc } = batch.finish(place)
    await this.#file.write([bytes], this.#offset)
    this.#offset += bytes.length
    this.#crc = crc
  }

  /**
   * Cuts off what a refused write left behind, and syncs the cut before anyone hears of the refusal: the indexes of
   * the refused records are given again, so those records must never be found by a recovery.
   */
  async #takeBack(): Promise<void> {
    this.#preallocatedEnd = 0
    try {
      await this.#file.truncate(this.#offset)
      await this.#file.sync()
    } catch (error) {
      throw finalFailure(this.path, `taking back a refused write at offset ${this.#offset}`, error)
    }
  }
}

async function newFile(disk: Disk, path: string): Promise<PreallocatedFile> {
  if (await disk.stat(path)) await disk.remove(path)
  return { path, file: await disk.open(path, 'create'), bytes: 0 }
}

async function discard(disk: Disk, file: DiskFile, path: string): Promise<void> {
  try {
    await file.close()
    await disk.remove(path)
  } catch {
    // The name is never read as a segment, and the next creation or start removes it; the first error is the one that counts.
  }
}
