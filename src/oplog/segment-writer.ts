// Writes segments. A new one is written beside, synced, renamed, and its directory synced, before anyone hears of it;
// an open one grows by one batch at a time, each synced before the next is written.
//
// Source: Pillai et al., OSDI 2014 (ALICE) for the order of creation.

import { DfsError, isDfsError } from '../base/errors.ts'
import type { Disk, DiskFile } from '../io/disk.ts'
import { type BatchBuffer, encodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader } from './format.ts'
import { segmentName } from './log-directory.ts'

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

  private constructor(path: string, header: SegmentHeader, file: DiskFile, offset: number, crc: number) {
    this.path = path
    this.header = header
    this.#file = file
    this.#offset = offset
    this.#crc = crc
  }

  /**
   * Creates the segment with the batches it is born with; durable, with its name, when it resolves.
   *
   * @param plan     what the header says; `syncedEnd` is the sum of the sizes of header and batches
   * @param batches  batches in order, each free for reuse once the next is asked for
   * @throws DISK_FULL (nothing has changed), FSYNC_FAILED (final)
   */
  static async create(
    disk: Disk,
    directory: string,
    plan: Omit<SegmentHeader, 'crc'>,
    batches: Iterable<BatchBuffer> | AsyncIterable<BatchBuffer>,
  ): Promise<SegmentWriter> {
    const path = `${directory}/${segmentName(plan.segment)}`
    const beside = `${path}.tmp`
    if (await disk.stat(beside)) await disk.remove(beside)
    const file = await disk.open(beside, 'create')
    const { page, crc } = encodeSegmentHeader(plan)
    const writer = new SegmentWriter(path, { ...plan, crc }, file, SEGMENT_HEADER_BYTES, crc)
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
    try {
      await this.#file.truncate(this.#offset)
      await this.#file.sync()
    } catch (error) {
      throw finalFailure(this.path, `taking back a refused write at offset ${this.#offset}`, error)
    }
  }
}

async function discard(disk: Disk, file: DiskFile, path: string): Promise<void> {
  try {
    await file.close()
    await disk.remove(path)
  } catch {
    // The name is never read as a segment, and the next creation or start removes it; the first error is the one that counts.
  }
}
