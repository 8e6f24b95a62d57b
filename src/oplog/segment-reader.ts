// Reads one segment from its start: batch after batch as long as they are valid and continue each other, and then, on
// request, looks behind the first bad byte for proof of what had been synced.
//
// Reads only. Memory: one window of a batch or 1 MiB, whichever is more.

import { assert } from '../base/assert.ts'
import { MiB } from '../base/units.ts'
import type { DiskFile } from '../io/disk.ts'
import {
  BATCH_HEADER_BYTES,
  BATCH_MAGIC,
  type BatchHeader,
  BatchKind,
  belongsTo,
  decodeBatchHeader,
  impossibleHeader,
  impossibleRecords,
  isBodyIntact,
  isNewerBatch,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from './format.ts'
import type { SegmentFacts } from './recover.ts'

/** A place between two batches. */
export interface Boundary {
  /** Bytes from the start of the segment. */
  readonly offset: number
  /** The checksum of the batch before, or of the segment header: what the next batch chains to. */
  readonly crc: number
  /** Of the last record before this place. */
  readonly lastIndex: number
  readonly lastTerm: number
}

/** A valid batch. */
export interface ReadBatch {
  readonly header: BatchHeader
  /** The batch with its header: a view, valid until the next read. */
  readonly bytes: Buffer
}

/** Why the run of valid batches ended, for people. */
export interface RunEnd {
  readonly rest: SegmentFacts['rest']
  readonly why: string
}

export class SegmentReader {
  readonly #window: FileWindow
  readonly #header: SegmentHeader
  readonly #fileBytes: number
  readonly #limit: number
  /** Boundaries that no header has yet proven to be synced, oldest first; one or two entries. */
  readonly #unproven: Boundary[] = []
  #end: Boundary
  #proven: Boundary
  #stop: RunEnd | undefined
  batchCount = 0
  markerCount = 0
  recordCount = 0

  /**
   * @param fileBytes  the size of the file
   * @param limit      bytes behind this offset are no part of the log: where the next segment says this one ends
   */
  constructor(file: DiskFile, fileBytes: number, header: SegmentHeader, limit = Number.MAX_SAFE_INTEGER) {
    this.#window = new FileWindow(file, Math.min(fileBytes, limit))
    this.#header = header
    this.#fileBytes = fileBytes
    this.#limit = Math.min(fileBytes, limit)
    this.#end = {
      offset: SEGMENT_HEADER_BYTES,
      crc: header.crc,
      lastIndex: header.firstIndex - 1,
      lastTerm: header.lastTerm,
    }
    this.#proven = this.#end
  }

  /** The end of the valid batches read so far. */
  get end(): Boundary {
    return this.#end
  }

  /** Up to where the batches read so far prove that everything was synced; never behind `end`. */
  get proven(): Boundary {
    return this.#proven
  }

  /** Why `next` gave undefined. */
  get stop(): RunEnd {
    assert(this.#stop !== undefined, 'asked for the end of a run before it was reached')
    return this.#stop
  }

  /** The next valid batch, or undefined at the end of the run; then `stop` says why. */
  async next(): Promise<ReadBatch | undefined> {
    if (this.#stop) return undefined
    const { offset } = this.#end
    if (offset >= this.#limit) return this.#endWith('nothing', 'the segment ends')
    const header = decodeBatchHeader(await this.#window.view(offset, BATCH_HEADER_BYTES), 0)
    if (!header) return this.#endWith('bytes', 'no batch header with a right checksum')
    const misfit = this.#misfit(header)
    if (misfit) return this.#endWith('bytes', misfit)
    this.#proveUpTo(header.syncedOffset)
    if (isNewerBatch(header)) return this.#endWith('newer', `a batch of kind ${header.kind}, flags ${header.flags}`)
    const fault = impossibleHeader(header) ?? this.#discontinuity(header)
    if (fault) return this.#endWith('impossible', fault)
    const bytes = await this.#window.view(offset, header.batchBytes)
    if (bytes.length < header.batchBytes) {
      return this.#endWith('bytes', `${bytes.length} bytes of a batch of ${header.batchBytes}`)
    }
    if (!isBodyIntact(bytes, header)) return this.#endWith('bytes', 'the records do not match their checksum')
    const impossible = impossibleRecords(bytes, header, this.#end.lastTerm)
    if (impossible) return this.#endWith('impossible', impossible)
    this.#advance(header)
    return { header, bytes }
  }

  /**
   * Looks at everything behind the run of valid batches, after `next` has given undefined.
   * Any byte may be the start of a header: after damage that moved bytes nothing stands on a page any more.
   */
  async examineRest(): Promise<Pick<SegmentFacts, 'rest' | 'proof'>> {
    const { rest } = this.stop
    if (this.#end.offset < this.#header.syncedEnd) return { rest, proof: 'beyond' }
    if (rest === 'nothing') return { rest, proof: 'none' }
    let hasOnlyZeros = true
    let proof: SegmentFacts['proof'] = 'none'
    for (let at = this.#end.offset; at < this.#limit; at += SEARCH_BYTES) {
      // Overlapping, so that a header across the border of two windows is seen whole.
      const view = await this.#window.view(at, SEARCH_BYTES + BATCH_HEADER_BYTES - 1)
      hasOnlyZeros &&= isAllZeros(view)
      for (
        let hit = view.indexOf(BATCH_MAGIC, 0, 'latin1');
        hit >= 0;
        hit = view.indexOf(BATCH_MAGIC, hit + 1, 'latin1')
      ) {
        const found = this.#judge(decodeBatchHeader(view, hit), at + hit)
        if (found === 'beyond') return { rest, proof: 'beyond' }
        if (found === 'misplaced') proof = 'misplaced'
      }
    }
    if (rest !== 'bytes' || !hasOnlyZeros) return { rest, proof }
    return { rest: this.#fileBytes <= this.#header.preallocatedEnd ? 'unwritten' : 'zeros', proof }
  }

  #judge(header: BatchHeader | undefined, at: number): SegmentFacts['proof'] {
    if (!header || !belongsTo(header, this.#header)) return 'none'
    if (header.syncedOffset > this.#end.offset) return 'beyond'
    if (at === this.#end.offset) return this.#misfit(header) === undefined ? 'none' : 'misplaced'
    // A copy of an earlier batch, which is still in its place, is old garbage behind the tear and proves nothing.
    return header.offset !== at && header.offset >= this.#end.offset ? 'misplaced' : 'none'
  }

  /** Why a header with a right checksum is not the next batch: then the place counts as bad bytes. */
  #misfit(header: BatchHeader): string | undefined {
    if (!belongsTo(header, this.#header)) return 'a batch of another segment'
    if (header.offset !== this.#end.offset) return `a batch that was written at offset ${header.offset}`
    return header.previousCrc === this.#end.crc ? undefined : 'a batch that does not continue the one before it'
  }

  #discontinuity(header: BatchHeader): string | undefined {
    const expected = this.#end.lastIndex + 1
    if (header.firstIndex !== expected) return `index ${header.firstIndex} stands where ${expected} belongs`
    if (this.#proven.offset !== header.syncedOffset) return `no batch ends at ${header.syncedOffset}`
    const { lastIndex } = this.#proven
    return header.syncedIndex === lastIndex ? undefined : `synced to ${header.syncedIndex} where ${lastIndex} belongs`
  }

  #proveUpTo(offset: number): void {
    while (this.#unproven.length > 0 && this.#unproven[0]!.offset <= offset) {
      this.#proven = this.#unproven.shift()!
    }
  }

  #advance(header: BatchHeader): void {
    this.#end = {
      offset: this.#end.offset + header.batchBytes,
      crc: header.crc,
      lastIndex: this.#end.lastIndex + header.recordCount,
      lastTerm: header.lastTerm,
    }
    this.#unproven.push(this.#end)
    if (this.#end.offset === this.#header.syncedEnd) this.#proveUpTo(this.#end.offset)
    this.batchCount++
    if (header.kind === BatchKind.marker) this.markerCount++
    this.recordCount += header.recordCount
  }

  #endWith(rest: SegmentFacts['rest'], why: string): undefined {
    this.#stop = { rest, why }
    return undefined
  }
}

const SEARCH_BYTES = 1 * MiB

/** Reads a file through one buffer, a megabyte or more at a time. */
export class FileWindow {
  readonly #file: DiskFile
  readonly #fileBytes: number
  #buffer: Buffer = Buffer.alloc(0)
  #start = 0
  #bytes = 0

  constructor(file: DiskFile, fileBytes: number) {
    this.#file = file
    this.#fileBytes = fileBytes
  }

  /** The bytes from `offset` on, fewer than asked only at the end of the file. A view, valid until the next call. */
  async view(offset: number, bytes: number): Promise<Buffer> {
    const wanted = Math.max(0, Math.min(bytes, this.#fileBytes - offset))
    if (wanted === 0) return this.#buffer.subarray(0, 0)
    if (offset < this.#start || offset + wanted > this.#start + this.#bytes) {
      if (this.#buffer.length < wanted) {
        const window = Math.min(WINDOW_BYTES, this.#fileBytes - offset)
        this.#buffer = Buffer.allocUnsafeSlow(Math.max(wanted, window))
      }
      const ahead = Math.min(this.#buffer.length, this.#fileBytes - offset)
      this.#bytes = 0
      this.#bytes = await this.#file.read(this.#buffer.subarray(0, ahead), offset)
      this.#start = offset
    }
    const from = offset - this.#start
    return this.#buffer.subarray(from, Math.min(from + wanted, this.#bytes))
  }
}

const WINDOW_BYTES = 1 * MiB + BATCH_HEADER_BYTES

const zeros = Buffer.alloc(64 * 1024)

function isAllZeros(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const part = bytes.subarray(at, at + zeros.length)
    if (!part.equals(zeros.subarray(0, part.length))) return false
  }
  return true
}
