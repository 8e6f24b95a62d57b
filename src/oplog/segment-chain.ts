// The segments of an open log: which there are, which one is written, when the next one begins and which file it gets.
//
// Invariants:
//   - numbers and first indexes follow each other without gaps; only the oldest are dropped, each durably before the next
//   - what an old segment holds never changes; only zeros behind its end are given back
//   - a start never appends to an old segment: there is no writer before the first batch (or a carried-over tail)
//
// Source: ../../oplog-format.md, "How it is written".

import type { ClusterId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import type { Disk } from '../io/disk.ts'
import type { Entropy } from '../io/entropy.ts'
import { type BatchBuffer, PAGE_BYTES, paddedBytes, SEGMENT_HEADER_BYTES, type SegmentHeader } from './format.ts'
import { segmentName } from './log-directory.ts'
import { PREALLOCATE_AFTER_BYTES_DEFAULT, SEGMENT_BYTES_DEFAULT } from './log-options.ts'
import { Preallocator } from './preallocator.ts'
import type { RecoveredLog } from './recovery.ts'
import { SegmentWriter } from './segment-writer.ts'

export interface ChainOptions {
  readonly disk: Disk
  readonly directory: string
  readonly clusterId: ClusterId
  readonly entropy: Entropy
  readonly logger: Logger
  readonly segmentBytes?: number
  readonly preallocateAfterBytes?: number
}

interface OpenSegment {
  readonly segment: number
  readonly firstIndex: number
  /** Without zeros that were never written to. */
  bytes: number
}

/** A preallocated segment is so many times as long as the one before: little is written ahead of a log that is used little. */
const GROWTH = 4
/** The next one is begun when this part of a preallocated one is used, and due with that part. */
const BEGUN_PART = 1 / 4
const DUE_PART = 3 / 4

export class SegmentChain {
  readonly #options: ChainOptions
  readonly #segmentBytes: number
  readonly #preallocateAfterBytes: number
  readonly #segments: OpenSegment[]
  readonly #preallocator: Preallocator
  /** Where the last segment ends, while there is no writer: what the header of the next one says. */
  readonly #previous: Pick<SegmentHeader, 'previousEnd' | 'previousCrc'>
  /** A segment of an earlier process with zeros behind its end. */
  #untrimmed: { readonly path: string; readonly bytes: number } | undefined
  #writer: SegmentWriter | undefined
  /** What nobody waits for but `close`: old files being cut to what was written, and closed. */
  #tidying: Promise<void> = Promise.resolve()

  /** @param carried  the segment that the unproven tail was copied to, if there was one */
  constructor(options: ChainOptions, recovered: RecoveredLog, carried: SegmentWriter | undefined) {
    const { proven, end, segments, unwrittenBytes } = recovered
    this.#options = options
    this.#segmentBytes = options.segmentBytes ?? SEGMENT_BYTES_DEFAULT
    this.#preallocateAfterBytes = Math.max(PAGE_BYTES, options.preallocateAfterBytes ?? PREALLOCATE_AFTER_BYTES_DEFAULT)
    this.#preallocator = new Preallocator(options.disk, options.directory, options.logger)
    this.#segments = segments.map(({ header, fileBytes, next }) => ({
      segment: header.segment,
      firstIndex: header.firstIndex,
      bytes: next ? fileBytes : fileBytes - unwrittenBytes,
    }))
    this.#previous = { previousEnd: proven.offset, previousCrc: proven.crc }
    if (unwrittenBytes > 0) this.#untrimmed = { path: segments.at(-1)!.path, bytes: end.offset }
    if (carried) this.#begin(carried)
  }

  /** The segment that is written; undefined after a start until the first batch. */
  get writer(): SegmentWriter | undefined {
    return this.#writer
  }

  /** The oldest record that the segments can hold. */
  get firstIndex(): number {
    return this.#segments[0]!.firstIndex
  }

  /** The first index of the last segment. */
  get lastFirstIndex(): number {
    return this.#segments.at(-1)!.firstIndex
  }

  /** Bytes of all segments, without zeros that were never written to. */
  get bytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.bytes, 0)
  }

  /** Bytes of zeros on the disk: the rest of the open segment, and what is made for the next one. */
  get preallocatedBytes(): number {
    const rest = this.#writer ? Math.max(0, this.#writer.preallocatedEnd - this.#writer.offset) : 0
    return rest + this.#preallocator.bytes
  }

  /** Whether a batch of so many bytes belongs into a new segment. */
  needsNext(batchBytes: number): boolean {
    if (!this.#writer) return true
    const { offset, preallocatedEnd } = this.#writer
    if (offset <= SEGMENT_HEADER_BYTES) return false
    const end = offset + batchBytes
    return end > this.#segmentBytes || (this.#preallocator.isReady && end > preallocatedEnd)
  }

  /** Appends to the open segment: durable when it resolves. @throws as SegmentWriter.append */
  async append(batch: BatchBuffer, syncedIndex: number): Promise<void> {
    const writer = this.#writer!
    await writer.append(batch, syncedIndex)
    this.#segments.at(-1)!.bytes = writer.offset
    this.#preallocate(writer)
  }

  /**
   * Begins the next segment, born with `batch`, in a preallocated file if one is ready; then closes the one before.
   *
   * @param firstIndex  the first record it can hold
   * @param lastTerm    the term of the record before
   * @throws DISK_FULL (nothing has changed), FSYNC_FAILED (final)
   */
  async startNext(batch: BatchBuffer | undefined, firstIndex: number, lastTerm: number): Promise<void> {
    const { disk, directory, clusterId, entropy } = this.#options
    const before = this.#writer
    const previous = before ? { previousEnd: before.offset, previousCrc: before.crc } : this.#previous
    const plan = {
      clusterId,
      segment: this.#segments.at(-1)!.segment + 1,
      firstIndex,
      lastTerm,
      ...previous,
      salt: newSalt(entropy),
      syncedEnd: SEGMENT_HEADER_BYTES + (batch?.batchBytes ?? 0),
    }
    const room = this.#preallocator.take()
    this.#begin(await SegmentWriter.create(disk, directory, plan, batch ? [batch] : [], room))
    if (before) this.#tidy(before.path, () => before.closeTrimmed())
  }

  /** Drops the oldest segments whose records are all below `index`, as long as `canGoOn`. @returns how many */
  async dropBefore(index: number, canGoOn: () => boolean): Promise<number> {
    const { disk, directory } = this.#options
    let dropped = 0
    while (this.#segments.length > 1 && this.#segments[1]!.firstIndex <= index && canGoOn()) {
      await disk.remove(`${directory}/${segmentName(this.#segments[0]!.segment)}`)
      // Only now: one that could not be removed is still the oldest, and nothing behind it may go.
      this.#segments.shift()
      await disk.syncDirectory(directory)
      dropped++
    }
    return dropped
  }

  /** Makes no more room: the log ends. */
  stop(): void {
    this.#preallocator.stop()
  }

  /** Closes all files. @param givesBack  whether zeros are given back first: not by a log that has failed */
  async close(givesBack: boolean): Promise<void> {
    await this.#preallocator.close(givesBack)
    const writer = this.#writer
    if (writer) this.#tidy(writer.path, () => (givesBack ? writer.closeTrimmed() : writer.close()))
    await this.#tidying
  }

  #begin(writer: SegmentWriter): void {
    const { header, offset } = writer
    this.#writer = writer
    this.#segments.push({ segment: header.segment, firstIndex: header.firstIndex, bytes: offset })
    const untrimmed = this.#untrimmed
    this.#untrimmed = undefined
    if (untrimmed) this.#tidy(untrimmed.path, () => this.#trim(untrimmed.path, untrimmed.bytes))
    this.#preallocate(writer)
  }

  #preallocate({ offset, preallocatedEnd }: SegmentWriter): void {
    const isGrowing = preallocatedEnd === 0
    if (offset < (isGrowing ? this.#preallocateAfterBytes : preallocatedEnd * BEGUN_PART)) return
    const bytes = paddedBytes(GROWTH * Math.max(preallocatedEnd, this.#preallocateAfterBytes))
    const share = isGrowing ? 1 : (offset / preallocatedEnd - BEGUN_PART) / (DUE_PART - BEGUN_PART)
    this.#preallocator.advance(Math.min(bytes, this.#segmentBytes), share)
  }

  async #trim(path: string, bytes: number): Promise<void> {
    const file = await this.#options.disk.open(path, 'write')
    try {
      await file.truncate(bytes)
    } finally {
      await file.close()
    }
  }

  /** Everything in the file is synced, so nothing hangs on how this ends. */
  #tidy(path: string, act: () => Promise<void>): void {
    this.#tidying = this.#tidying.then(act).catch((error: unknown) => {
      this.#options.logger.warn({ path, error: String(error) }, 'oplog: a finished segment was not cut to its length')
    })
  }
}

/** 48 random bits. */
export function newSalt(entropy: Entropy): number {
  return entropy.below(2 ** 48)
}
