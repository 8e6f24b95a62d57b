// A file open for reading: positioned reads, and streams that keep several requests under way.
//
// A reader keeps the extents of its open: what is written, renamed or removed meanwhile doesn't disturb it while the
// content version is the same; else FILE_CHANGED.
//
// A stream begins with parts of PIECE_BYTES. While they come quickly, those that are lent or part of a buffer of the
// caller's are PIECE_BYTES_MAX long: each costs every process a hundred microseconds or so.
//
// Bounds: a stream has at most READ_AHEAD_BYTES, or READ_AHEAD_PARTS large parts, asked for or waiting for the consumer;
// positioned reads that follow each other are read ahead by read-ahead.ts.

import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { DfsError, isDfsError } from '../base/errors.ts'
import { HOLE } from '../base/ids.ts'
import { BLOCK_BYTES, PIECE_BYTES, PIECE_BYTES_MAX } from '../base/limits.ts'
import { MiB, SECOND_MS } from '../base/units.ts'
import type { DiskFile } from '../io/disk.ts'
import type { FileStat, PlacedExtent } from '../wire/messages.ts'
import type { Core } from './core.ts'
import { FileMap } from './file-map.ts'
import type { CallOptions } from './patience.ts'
import { linkSignals, Patience } from './patience.ts'
import { ReadAhead } from './read-ahead.ts'
import type { Fetched } from './read-race.ts'
import type { ReplicaReader } from './replica-reader.ts'
import { dropFault } from './retry.ts'

const READ_AHEAD_BYTES = 8 * MiB
const READ_AHEAD_PARTS = 4
const PARTS_AHEAD_MAX = 64
/** All that large parts read ahead would come and be taken within this. On a slow way they would look like a stall. */
const QUICK_MS = 500
/** For a window that is read ahead of positioned reads. */
const AHEAD_MS = 2 * SECOND_MS

/** A part of the file. */
export interface Range {
  /** File offset, 0 upward; 0 when left out. */
  readonly offset?: number | undefined
  /** Bytes; to the end of the file when left out. What lies behind the end is not read. */
  readonly length?: number | undefined
}

export type ReadOptions = Range & CallOptions

/** A run of bytes that one request can read. */
interface Part {
  readonly fileOffset: number
  readonly extent: PlacedExtent
  /** Within the extent. */
  readonly skip: number
  readonly length: number
}

/** A part that was asked for. */
interface Asked {
  readonly part: Part
  readonly target: Buffer | undefined
  readonly promise: Promise<Fetched>
  readonly askedMs: number
  /** What was under way then, this part included. */
  readonly aheadBytes: number
}

export class Reader {
  readonly #core: Core
  readonly #replicas: ReplicaReader
  readonly #map: FileMap
  readonly #timeoutMs: number
  readonly #closing = new AbortController()
  readonly #ahead: ReadAhead
  /** Under way; as long as there are any, the end of the client ends them too. */
  #shortReads = 0
  #unlink: () => void = () => {}

  private constructor(core: Core, replicas: ReplicaReader, map: FileMap, timeoutMs: number) {
    this.#core = core
    this.#replicas = replicas
    this.#map = map
    this.#timeoutMs = timeoutMs
    // In less time than a read has: who waits for a window that fails still has most of its own.
    const deadlineMs = Math.min(AHEAD_MS, timeoutMs / 4)
    this.#ahead = new ReadAhead(map.stat.size, (start, length) => this.read(start, length, { deadlineMs }))
  }

  static async open(
    core: Core,
    replicas: ReplicaReader,
    path: string,
    options: CallOptions,
    timeoutMs: number,
  ): Promise<Reader> {
    const patience = new Patience(core.io.clock, options, timeoutMs)
    return new Reader(core, replicas, await FileMap.open(core, path, patience), patience.timeoutMs)
  }

  get path(): string {
    return this.#map.path
  }

  /** Bytes of the file when it was opened. */
  get size(): number {
    return this.#map.stat.size
  }

  /** The file as it was when it was opened. */
  get stat(): FileStat {
    return this.#map.stat
  }

  /**
   * The bytes from `offset` on, in a new buffer the caller owns: `length` of them, fewer only at the end of the file.
   * Errors: FILE_CHANGED, DATA_LOST, those that a replica gave last when patience ended, TIMEOUT, ABORTED.
   */
  async read(offset: number, length: number, options: CallOptions = {}): Promise<Buffer> {
    const [start, bytes] = this.#clip({ offset, length })
    const target = Buffer.allocUnsafe(bytes)
    const ahead = this.#readAhead(start, bytes, options)
    const known = ahead && (await ahead)
    if (known !== undefined) {
      target.set(known)
      return target
    }
    const only = options.signal === undefined ? this.#onlyPart(start, bytes) : undefined
    if (only !== undefined) await this.#fetchAtOnce(only, target, options)
    else await this.#fill(target, start, options)
    return target
  }

  /**
   * Fills `target` from `offset` on: for who reads much, since it allocates nothing. Only proven bytes get there.
   * @returns bytes read, fewer than `target.length` only at the end of the file. Errors: as `read`.
   */
  async readInto(target: Uint8Array, offset: number, options: CallOptions = {}): Promise<number> {
    const [start, bytes] = this.#clip({ offset, length: target.length })
    const ahead = this.#readAhead(start, bytes, options)
    const known = ahead && (await ahead)
    if (known !== undefined) {
      target.set(known)
      return bytes
    }
    // Lent and then copied: bytes that arrive are not yet proven.
    const put = (slices: readonly Uint8Array[], fileOffset: number): void => {
      let at = fileOffset - start
      for (const slice of slices) {
        target.set(slice, at)
        at += slice.length
      }
    }
    const only = options.signal === undefined ? this.#onlyPart(start, bytes) : undefined
    if (only === undefined) {
      return await this.copyTo(async (slices, fileOffset) => put(slices, fileOffset), {
        ...options,
        offset: start,
        length: bytes,
      })
    }
    const fetched = await this.#fetchAtOnce(only, undefined, options)
    put(fetched.slices, start)
    fetched.release()
    return bytes
  }

  /**
   * The bytes of the range, in order, in buffers the consumer owns. Reads ahead while the consumer works; ending the
   * loop early ends the reading. The time without progress counts only while the consumer waits. Errors: as `read`.
   */
  async *stream(options: ReadOptions = {}): AsyncGenerator<Buffer, void, undefined> {
    for await (const { bytes } of this.#run(options, true)) if (bytes !== undefined) yield bytes
  }

  /**
   * Hands every run of the range to `sink`, in order, without copying: the slices belong to the sockets again when the
   * promise resolves. Errors: as `read`, and what `sink` throws.
   *
   * @param sink  gets slices and the file offset of the first; awaited before the next call
   * @returns     bytes read
   */
  async copyTo(
    sink: (slices: readonly Uint8Array[], fileOffset: number) => Promise<void>,
    options: ReadOptions = {},
  ): Promise<number> {
    let total = 0
    for await (const { fetched, fileOffset } of this.#run(options, false)) {
      try {
        await sink(fetched.slices, fileOffset)
        total += fetched.length
      } finally {
        fetched.release()
      }
    }
    return total
  }

  /** Writes the range to `file`, its first byte at position 0. Does not sync. @returns bytes written. Errors: as `copyTo`. */
  copyToFile(file: Pick<DiskFile, 'write'>, options: ReadOptions = {}): Promise<number> {
    const start = options.offset ?? 0
    return this.copyTo((slices, fileOffset) => file.write(slices, fileOffset - start), options)
  }

  /** A Node stream of the range. Destroying it ends the reading. */
  toNodeStream(options: ReadOptions = {}): Readable {
    return Readable.from(this.stream(options), { objectMode: false })
  }

  /** A web stream of the range. Cancelling it ends the reading. */
  toWebStream(options: ReadOptions = {}): ReadableStream<Uint8Array> {
    const chunks = this.stream(options)
    // The global one is loaded when it is first named, an import always.
    return new globalThis.ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const next = await chunks.next()
          if (next.done) controller.close()
          else controller.enqueue(next.value)
        },
        cancel: async () => {
          await chunks.return()
        },
      },
      { highWaterMark: 0 },
    )
  }

  /** Ends what is still being read from it, with ABORTED. Keeps no connection of its own: not closing one leaks nothing. */
  close(): void {
    this.#closing.abort(new DfsError('ABORTED', `the reader of ${this.path} was closed`))
  }

  #clip(range: Range): [start: number, bytes: number] {
    const offset = range.offset ?? 0
    const length = range.length ?? this.size
    if (!isCount(offset))
      throw new DfsError('INVALID_ARGUMENT', `a read at offset ${offset}: expected 0 upward`, { offset })
    if (!isCount(length))
      throw new DfsError('INVALID_ARGUMENT', `a read of ${length} bytes: expected 0 upward`, { length })
    const start = Math.min(offset, this.size)
    return [start, Math.min(length, this.size - start)]
  }

  /** The bytes of a positioned read, if they were or are being read ahead. Who brings bounds of its own waits for its own request. */
  #readAhead(start: number, bytes: number, options: CallOptions): Promise<Buffer | undefined> | undefined {
    const { signal, deadlineMs, timeoutMs } = options
    if (bytes === 0 || this.#closing.signal.aborted) return undefined
    if (signal !== undefined || deadlineMs !== undefined || timeoutMs !== undefined) return undefined
    return this.#ahead.take(start, bytes)
  }

  /** The range as one part, when one request can read it and it is known where it lies: what most short reads are. */
  #onlyPart(start: number, bytes: number): Part | undefined {
    if (bytes === 0) return undefined
    const extent = this.#map.known(start)
    if (extent === undefined) return undefined
    const part = partAt(extent, start, start + bytes, PIECE_BYTES)
    return part.length === bytes ? part : undefined
  }

  /** One request, without what a stream needs: reads that are under way together share one signal. */
  async #fetchAtOnce(part: Part, target: Buffer | undefined, options: CallOptions): Promise<Fetched> {
    if (this.#shortReads++ === 0) this.#unlink = linkSignals(this.#closing, this.#core.closing)
    try {
      const { signal } = this.#closing
      const patience = new Patience(this.#core.io.clock, { ...options, signal }, this.#timeoutMs)
      return await this.#fetch(part, target, patience)
    } finally {
      if (--this.#shortReads === 0) this.#unlink()
    }
  }

  /** Longer ones: all parts at once. */
  async #fill(target: Buffer, start: number, options: CallOptions): Promise<void> {
    let filled = 0
    for await (const { bytes } of this.#run({ ...options, offset: start, length: target.length }, true, target)) {
      if (bytes !== undefined) filled += bytes.length
    }
    if (filled !== target.length) {
      throw new DfsError('INTERNAL', `${this.path}: ${filled} bytes read, ${target.length} expected`, {
        path: this.path,
      })
    }
  }

  /**
   * The parts of the range, fetched ahead, in order.
   *
   * @param isOwned  each in a buffer of its own (or its part of `whole`), given as `bytes`; else lent: `fetched.release()`
   */
  async *#run(
    options: ReadOptions,
    isOwned: boolean,
    whole?: Buffer,
  ): AsyncGenerator<{ fetched: Fetched; bytes: Buffer | undefined; fileOffset: number }, void, undefined> {
    const [start, bytes] = this.#clip(options)
    const outer = new Patience(this.#core.io.clock, options, this.#timeoutMs)
    const stop = new AbortController()
    const unlink = linkSignals(stop, options.signal, this.#closing.signal, this.#core.closing)
    const patience = outer.under(stop.signal)
    const { clock } = this.#core.io
    const size = { bytes: PIECE_BYTES }
    const parts = this.#parts(start, bytes, patience, size)
    const ahead: Asked[] = []
    let aheadBytes = 0
    let isPlanned = false
    // Parts that are given away are memory which only the garbage collector gets back.
    const mayBeLarge = !isOwned || whole !== undefined
    try {
      for (;;) {
        const aheadBytesMax = Math.max(READ_AHEAD_BYTES, READ_AHEAD_PARTS * size.bytes)
        while (!isPlanned && ahead.length < PARTS_AHEAD_MAX && (aheadBytes < aheadBytesMax || ahead.length === 0)) {
          const next = await parts.next()
          if (next.done) {
            isPlanned = true
            break
          }
          const part = next.value
          const at = part.fileOffset - start
          const target = isOwned
            ? (whole?.subarray(at, at + part.length) ?? Buffer.allocUnsafe(part.length))
            : undefined
          const promise = this.#fetch(part, target, patience)
          // Awaited below, in order; until then a failure is nobody's.
          promise.catch(dropFault)
          aheadBytes += part.length
          ahead.push({ part, target, promise, askedMs: clock.nowMs(), aheadBytes })
        }
        const first = ahead.shift()
        if (first === undefined) return
        const fetched = await first.promise
        aheadBytes -= first.part.length
        size.bytes = mayBeLarge && isQuick(first, clock.nowMs()) ? PIECE_BYTES_MAX : PIECE_BYTES
        yield { fetched, bytes: first.target, fileOffset: first.part.fileOffset }
        // The consumer's time is not the cluster's.
        patience.progress()
      }
    } finally {
      // An error with its stack costs more than a short read: none is made where nobody is left to get it.
      if (ahead.length > 0) stop.abort(new DfsError('ABORTED', 'the rest of the stream is not wanted'))
      unlink()
      for (const { promise } of ahead) promise.then((fetched) => fetched.release(), dropFault)
    }
  }

  /** Cuts a range at extents, and so that a reply of whole blocks is at most `size.bytes`, which may change on the way. */
  async *#parts(
    start: number,
    bytes: number,
    patience: Patience,
    size: { readonly bytes: number },
  ): AsyncGenerator<Part, void, undefined> {
    const end = start + bytes
    for (let at = start; at < end; ) {
      const extent = await this.#map.extentAt(at, patience)
      const part = partAt(extent, at, end, size.bytes)
      yield part
      at += part.length
    }
  }

  async #fetch(part: Part, target: Buffer | undefined, patience: Patience): Promise<Fetched> {
    let { extent, skip } = part
    for (let attempt = 0; ; attempt++) {
      if (extent.handle === HOLE) return zeros(part.length, target)
      const range = { offset: extent.offset + skip, length: part.length }
      try {
        return await this.#replicas.read(extent.handle, range, target, patience, {
          path: this.path,
          fileOffset: part.fileOffset,
        })
      } catch (error) {
        // The chunk is gone: compaction may have moved the bytes. At the same content version they are elsewhere.
        if (!isDfsError(error, 'NOT_FOUND') || attempt > 0) throw error
        this.#map.forget()
        const moved = await this.#map.extentAt(part.fileOffset, patience)
        if (moved.handle === extent.handle) throw error
        const movedSkip = part.fileOffset - moved.fileOffset
        if (moved.length - movedSkip < part.length) return await this.#refetch(part, target, patience)
        extent = moved
        skip = movedSkip
      }
    }
  }

  /** The part now lies in several extents. */
  async #refetch(part: Part, target: Buffer | undefined, patience: Patience): Promise<Fetched> {
    const fetched: Fetched[] = []
    const release = (): void => {
      for (const piece of fetched) piece.release()
    }
    try {
      for await (const piece of this.#parts(part.fileOffset, part.length, patience, SMALL_PARTS)) {
        const at = piece.fileOffset - part.fileOffset
        const range = { offset: piece.extent.offset + piece.skip, length: piece.length }
        const into = target?.subarray(at, at + piece.length)
        if (piece.extent.handle === HOLE) fetched.push(zeros(piece.length, into))
        else {
          const context = { path: this.path, fileOffset: piece.fileOffset }
          fetched.push(await this.#replicas.read(piece.extent.handle, range, into, patience, context))
        }
      }
    } catch (error) {
      release()
      throw error
    }
    return { length: part.length, slices: fetched.flatMap((piece) => piece.slices), release }
  }
}

/** Whether parts that come and are taken as this one did may be large. */
function isQuick({ askedMs, aheadBytes }: Asked, nowMs: number): boolean {
  return (nowMs - askedMs) * READ_AHEAD_PARTS * PIECE_BYTES_MAX <= QUICK_MS * aheadBytes
}

const SMALL_PARTS = { bytes: PIECE_BYTES }

/** The part from `at` on within the extent, up to `end` at most, whose whole blocks are at most `bytesMax`. */
function partAt(extent: PlacedExtent, at: number, end: number, bytesMax: number): Part {
  const skip = at - extent.fileOffset
  const left = Math.min(extent.length - skip, end - at)
  const intoBlock = extent.handle === HOLE ? 0 : (extent.offset + skip) % BLOCK_BYTES
  return { fileOffset: at, extent, skip, length: Math.min(left, bytesMax - intoBlock) }
}

const zeroBytes = Buffer.alloc(PIECE_BYTES)

function zeros(length: number, target: Buffer | undefined): Fetched {
  target?.fill(0, 0, length)
  const slices: Buffer[] = []
  for (let at = 0; target === undefined && at < length; at += zeroBytes.length) {
    slices.push(zeroBytes.subarray(0, length - at))
  }
  return { length, slices, release: () => {} }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}
