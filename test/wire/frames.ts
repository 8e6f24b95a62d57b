// Frames for tests, made by the product's own encoder, and a recorder of what a parser says.

import { crc32 } from '../../src/base/crc32.ts'
import { FRAME_BODY_BYTES_MAX, FRAME_DATA_BYTES_MAX } from '../../src/base/limits.ts'
import { type DataVerdict, type FrameEvents, FrameParser } from '../../src/wire/frame.ts'
import {
  type FrameHeader,
  type FrameType,
  HEADER_BYTES,
  TRAILER_ABORTED,
  TRAILER_BYTES,
  TRAILER_DONE,
  writeHeader,
} from '../../src/wire/header.ts'

export const LIMITS = { bodyBytesMax: FRAME_BODY_BYTES_MAX, dataBytesMax: FRAME_DATA_BYTES_MAX }

export interface FrameParts {
  type: FrameType
  message?: number
  id?: number
  body?: Buffer
  data?: Buffer
  isAborted?: boolean
  /** Fields to be written instead of the right ones; the header's checksum fits them. */
  override?: Partial<FrameHeader>
}

export function frame(parts: FrameParts): Buffer {
  const body = parts.body ?? Buffer.alloc(0)
  const data = parts.data ?? Buffer.alloc(0)
  const header = Buffer.alloc(HEADER_BYTES)
  writeHeader(header, 0, {
    type: parts.type,
    message: parts.message ?? 0,
    id: parts.id ?? 0,
    bodyBytes: body.length,
    dataBytes: data.length,
    bodyCrc: crc32(body),
    dataCrc: crc32(data),
    ...parts.override,
  })
  const trailer = Buffer.alloc(data.length > 0 ? TRAILER_BYTES : 0)
  if (data.length > 0) trailer.writeUInt32LE(parts.isAborted ? TRAILER_ABORTED : TRAILER_DONE)
  return Buffer.concat([header, body, data, trailer])
}

export interface SeenFrame {
  header: FrameHeader
  body: Buffer
  data: Buffer
  verdict: DataVerdict | undefined
}

/** Collects frames; copies everything, as the parser's views don't last. */
export class Recorder implements FrameEvents<string> {
  readonly frames: SeenFrame[] = []
  readonly owners: string[] = []

  onFrame(header: Readonly<FrameHeader>, body: Buffer): void {
    this.frames.push({ header: { ...header }, body: Buffer.from(body), data: Buffer.alloc(0), verdict: undefined })
  }

  onData(bytes: Buffer, owner: string): void {
    const last = this.frames.at(-1)!
    last.data = Buffer.concat([last.data, bytes])
    this.owners.push(owner)
  }

  onDataEnd(verdict: DataVerdict): void {
    this.frames.at(-1)!.verdict = verdict
  }
}

/** What a parser makes of the slices; each slice is spoiled after it was pushed. */
export function parse(slices: readonly Buffer[], limits = LIMITS): { recorder: Recorder; error: unknown } {
  const recorder = new Recorder()
  const parser = new FrameParser(recorder, limits)
  try {
    for (const [index, slice] of slices.entries()) {
      const copy = Buffer.from(slice)
      parser.push(copy, `slice ${index}`)
      copy.fill(0xdb)
    }
  } catch (error) {
    return { recorder, error }
  }
  return { recorder, error: undefined }
}
