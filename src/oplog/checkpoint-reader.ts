// Reads a checkpoint from its start, block by block, each proven before it is handed out; the whole is proven at the trailer.

import { assert } from '../base/assert.ts'
import { crc32 } from '../base/crc32.ts'
import { DfsError } from '../base/errors.ts'
import type { ClusterId } from '../base/ids.ts'
import type { Disk, DiskFile } from '../io/disk.ts'
import {
  BLOCK_HEADER_BYTES,
  BlockKind,
  CHECKPOINT_HEADER_BYTES,
  type CheckpointHeader,
  decodeBlockHeader,
  decodeCheckpointHeader,
  decodeSectionEnd,
  decodeTrailer,
  isPayloadIntact,
  SECTION_BLOCK_BYTES,
  type SectionEnd,
} from './checkpoint-format.ts'

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] }

interface Block {
  readonly kind: number
  /** A view, valid until the next block is read. */
  readonly payload: Buffer
}

/** A section as it is read. What is not taken is verified all the same. */
export interface ReadSection {
  readonly name: string
  /** The data in order, at most 1 MiB a piece; each piece a view that is valid until the next one. Once. */
  readonly bytes: AsyncGenerator<Buffer, void, void>
}

/** Opens a checkpoint and reads its header. @throws NOT_FOUND, CHECKPOINT_DAMAGED, BAD_FORMAT, WRONG_DISK (another cluster's) */
export async function openCheckpoint(disk: Disk, path: string, clusterId?: ClusterId): Promise<CheckpointReader> {
  const file = await disk.open(path, 'read')
  try {
    const bytes = Buffer.alloc(CHECKPOINT_HEADER_BYTES)
    const header = decodeCheckpointHeader(bytes.subarray(0, await file.read(bytes, 0)))
    if (header === 'damaged') throw checkpointDamaged(path, 0, 'the header does not match its checksum')
    if (header === 'newer') {
      throw new DfsError('BAD_FORMAT', `${path}: offset 0: a format version that is not known here`, {
        path,
        offset: 0,
      })
    }
    if (clusterId !== undefined && header.clusterId !== clusterId) {
      const why = `the checkpoint belongs to cluster ${header.clusterId}, this is cluster ${clusterId}`
      throw new DfsError('WRONG_DISK', `${path}: ${why}; nothing was changed`, { path, offset: 0 })
    }
    return new CheckpointReader(file, header, crc32(bytes))
  } catch (error) {
    await file.close()
    throw error
  }
}

/** CHECKPOINT_DAMAGED: names file, offset, reason and the next command. */
export function checkpointDamaged(path: string, offset: number, why: string): DfsError {
  const next = `run \`dfsd checkpoint verify ${path}\``
  return new DfsError('CHECKPOINT_DAMAGED', `${path}: offset ${offset}: ${why}; ${next}`, { path, offset })
}

export class CheckpointReader {
  readonly header: CheckpointHeader
  readonly #file: DiskFile
  readonly #buffer = Buffer.allocUnsafe(BLOCK_HEADER_BYTES + SECTION_BLOCK_BYTES)
  #offset = CHECKPOINT_HEADER_BYTES
  #crc: number
  #sectionCount = 0
  /** What was read of the section whose end is still to come. */
  #open: Mutable<SectionEnd> | undefined
  #isFinished = false

  /** Owns `file`. Use `openCheckpoint`. */
  constructor(file: DiskFile, header: CheckpointHeader, headerCrc: number) {
    this.#file = file
    this.header = header
    this.#crc = headerCrc
  }

  get path(): string {
    return this.#file.path
  }

  /** The checksum of the whole content, once `finish` has proven it. */
  get checksum(): number {
    assert(this.#isFinished, 'asked for a checksum that is not proven yet')
    return this.#crc
  }

  /** The whole file in bytes, once proven. */
  get bytes(): number {
    assert(this.#isFinished, 'asked for a length that is not proven yet')
    return this.#offset
  }

  /** The sections in the order they were written, to the end of the file. @throws CHECKPOINT_DAMAGED at the first damage */
  async *sections(): AsyncGenerator<ReadSection, void, void> {
    while (!this.#isFinished) {
      // What the reader of a section left is verified all the same.
      for await (const _data of this.#sectionBytes());
      const at = this.#offset
      const crc = this.#crc
      const { kind, payload } = await this.#block()
      if (kind === BlockKind.trailer) {
        await this.#checkTrailer(payload, at, crc)
        return
      }
      if (kind !== BlockKind.section) throw this.#damaged(at, `a block of kind ${kind} where a section begins`)
      this.#sectionCount++
      this.#open = { sectionBytes: 0, sectionCrc: 0, blockCount: 0 }
      yield { name: payload.toString('utf8'), bytes: this.#sectionBytes() }
    }
  }

  /** Verifies what was not read yet, to the last byte. @throws CHECKPOINT_DAMAGED */
  async finish(): Promise<void> {
    for await (const _section of this.sections());
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  async *#sectionBytes(): AsyncGenerator<Buffer, void, void> {
    while (this.#open) {
      const read = this.#open
      const at = this.#offset
      const { kind, payload } = await this.#block()
      if (kind === BlockKind.sectionEnd) {
        const end = decodeSectionEnd(payload)
        if (!end || !isSame(end, read)) throw this.#damaged(at, 'the section is not what its end says')
        this.#open = undefined
        return
      }
      if (kind !== BlockKind.data) throw this.#damaged(at, `a block of kind ${kind} inside a section`)
      if (read.sectionBytes % SECTION_BLOCK_BYTES !== 0) throw this.#damaged(at, 'a short block inside a section')
      read.sectionBytes += payload.length
      read.sectionCrc = crc32(payload, read.sectionCrc)
      read.blockCount++
      yield payload
    }
  }

  async #block(): Promise<Block> {
    const at = this.#offset
    const head = this.#buffer.subarray(0, BLOCK_HEADER_BYTES)
    const header = decodeBlockHeader(head.subarray(0, await this.#file.read(head, at)), at)
    if (!header) throw this.#damaged(at, 'no block header with a right checksum')
    const whole = this.#buffer.subarray(0, BLOCK_HEADER_BYTES + header.payloadBytes)
    const payload = whole.subarray(BLOCK_HEADER_BYTES)
    const bytes = await this.#file.read(payload, at + BLOCK_HEADER_BYTES)
    if (!isPayloadIntact(payload.subarray(0, bytes), header)) {
      throw this.#damaged(at, 'the block does not match its checksum')
    }
    this.#crc = crc32(whole, this.#crc)
    this.#offset += whole.length
    return { kind: header.kind, payload }
  }

  async #checkTrailer(payload: Buffer, at: number, crc: number): Promise<void> {
    const trailer = decodeTrailer(payload)
    if (!trailer || trailer.fileCrc !== crc) throw this.#damaged(at, 'the file does not match its checksum')
    if (trailer.sectionCount !== this.#sectionCount) {
      throw this.#damaged(at, `${this.#sectionCount} sections, the trailer says ${trailer.sectionCount}`)
    }
    const size = await this.#file.size()
    if (trailer.fileBytes !== this.#offset || size !== this.#offset) {
      throw this.#damaged(at, `${size} bytes in the file, the trailer says ${trailer.fileBytes}`)
    }
    this.#crc = crc
    this.#isFinished = true
  }

  #damaged(offset: number, why: string): DfsError {
    return checkpointDamaged(this.path, offset, why)
  }
}

function isSame(a: SectionEnd, b: SectionEnd): boolean {
  return a.sectionBytes === b.sectionBytes && a.sectionCrc === b.sectionCrc && a.blockCount === b.blockCount
}
