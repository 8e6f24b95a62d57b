// A file being written: created, overwritten, appended to, or changed in the middle.
//
// Up to SMALL_FILE_BYTES_MAX bytes that are closed without a flush go into a shared chunk, and one record makes the
// file. More goes into chunks of its own (chunk-stream.ts). Either way nobody sees the file before its first flush or
// close, and an older file of that name is replaced in that one step.
//
// States:
//
//   buffering ── too much, or flush ──▶ streaming ──▶ closed
//       └───────────── close ────────────────────────▲
//
// Writes and flushes may be called without waiting for one another: they take effect in the order of the calls.
//
// Source: DESIGN §4.

import { Writable } from 'node:stream'
import type { WritableStream } from 'node:stream/web'
import { DfsError, isDfsError } from '../base/errors.ts'
import type { InodeId } from '../base/ids.ts'
import { EXTENTS_PER_REQUEST_MAX, PIECE_BYTES } from '../base/limits.ts'
import type { SealClaim } from './chunk-run.ts'
import { ChunkStream } from './chunk-stream.ts'
import { type Core, change } from './core.ts'
import type { WriteOptions } from './options.ts'
import type { Packer } from './packer.ts'
import { linkSignals, Patience } from './patience.ts'
import { PieceCutter } from './pieces.ts'
import type { Extent } from './placed.ts'
import { asFault, dropFault } from './retry.ts'
import type { Session } from './session.ts'
import { newInodeOf, packAnd, putSmall } from './small-files.ts'

/** What becomes of the bytes. */
type Purpose =
  | { readonly kind: 'create'; readonly overwrite: boolean }
  | { readonly kind: 'append' }
  | { readonly kind: 'splice'; readonly offset: number }

const DONE = Promise.resolve()
/** Extents in one record: with the seals no more than a request may carry. */
const EXTENTS_MAX = EXTENTS_PER_REQUEST_MAX - 64

export class Writer {
  readonly path: string
  readonly #core: Core
  readonly #packer: Packer
  readonly #options: WriteOptions
  readonly #purpose: Purpose
  readonly #patience: Patience
  readonly #stop = new AbortController()
  readonly #unlink: () => void
  /** Buffering. */
  #small: Uint8Array[] = []
  #smallBytes = 0
  /** Streaming. */
  #stream: ChunkStream | undefined
  #session: Session | undefined
  #inode: InodeId | undefined
  #cutter = new PieceCutter(PIECE_BYTES, 0)
  #isNamed = false
  #loggedBytes = 0
  #bytesWritten = 0
  /** The last of what was asked for and takes time; what comes meanwhile waits behind it. */
  #busy: Promise<void> | undefined
  #isClosing = false
  #fault: DfsError | undefined

  constructor(core: Core, packer: Packer, path: string, options: WriteOptions, timeoutMs: number) {
    this.path = path
    this.#core = core
    this.#packer = packer
    this.#options = options
    this.#purpose = purposeOf(options)
    this.#unlink = linkSignals(this.#stop, options.signal, core.closing)
    this.#patience = new Patience(core.io.clock, options, timeoutMs).under(this.#stop.signal)
  }

  /** Bytes taken so far. */
  get bytesWritten(): number {
    return this.#bytesWritten
  }

  /**
   * Takes bytes, which belong to the writer from now on: they are not copied and must not be changed (a change shows as
   * a failed checksum, not as wrong bytes) until `onReleased`. Resolves when there is room for more; waiting for it is
   * how a fast source is slowed down. A fault rejects this or a later call, and every one after.
   *
   * @param onReleased  called at most once, when the bytes are the caller's again; never after a fault, and not for those
   *                    of a small file: count on it for reuse only
   *
   * Errors: ALREADY_EXISTS, NOT_FOUND, NO_SERVERS, FILE_REMOVED, DATA_LOST, TIMEOUT, ABORTED and others of the masters.
   */
  write(bytes: Uint8Array, onReleased?: () => void): Promise<void> {
    if (this.#fault !== undefined) return Promise.reject(this.#fault)
    if (this.#isClosing) return Promise.reject(closed(this.path))
    this.#bytesWritten += bytes.length
    if (this.#busy !== undefined) return this.#queue(() => this.#take(bytes, onReleased))
    // The caller's own time between two calls is not the cluster's.
    this.#patience.progress()
    try {
      const waits = this.#take(bytes, onReleased)
      return waits === undefined ? DONE : this.#queue(() => waits)
    } catch (error) {
      return Promise.reject(this.#failed(error))
    }
  }

  /**
   * Everything written so far is durable on all its servers and in the file: whoever opens it now sees it. The first
   * flush gives a new file its name. Errors: as `write`; OUTCOME_UNKNOWN.
   */
  flush(): Promise<void> {
    if (this.#fault !== undefined) return Promise.reject(this.#fault)
    if (this.#isClosing) return Promise.reject(closed(this.path))
    return this.#queue(() => this.#flush(false))
  }

  /** The same as `flush`: the log names only synced bytes. */
  sync(): Promise<void> {
    return this.flush()
  }

  /** Flushes, and ends the writer. Errors: as `flush`; after one the file is as it was at the last flush. Repeated: the same answer. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }
  #closed: Promise<void> | undefined

  /** Ends the writer without what was not flushed. Resolves when nothing of it is going on any more; never rejects for a fault of the cluster. */
  async abort(): Promise<void> {
    this.#isClosing = true
    this.#fault ??= new DfsError('ABORTED', `the writer of ${this.path} was aborted`)
    this.#stream?.end(this.#fault)
    this.#stop.abort(this.#fault)
    await this.#busy?.catch(dropFault)
    // Else the process may end before the master hears of it, and the bytes take room until the session ends.
    await this.#letGo()
  }

  /** A Node stream into this writer; its end closes the file, destroying it aborts. */
  toNodeStream(): Writable {
    return new Writable({
      highWaterMark: PIECE_BYTES,
      write: (chunk: Buffer, _encoding, done) => {
        this.write(chunk).then(() => done(), done)
      },
      writev: (chunks, done) => {
        let last: Promise<void> = DONE
        for (const { chunk } of chunks) {
          // Each failed write fails the later ones: the last tells.
          last.catch(dropFault)
          last = this.write(chunk as Buffer)
        }
        last.then(() => done(), done)
      },
      final: (done) => {
        this.close().then(() => done(), done)
      },
      destroy: (error, done) => {
        const ended = error === null && this.#isClosing ? DONE : this.abort()
        ended.then(() => done(error), done)
      },
    })
  }

  /** A web stream into this writer; closing it closes the file, aborting it aborts. */
  toWebStream(): WritableStream<Uint8Array> {
    // The global one is loaded when it is first named, an import always.
    return new globalThis.WritableStream<Uint8Array>({
      write: (bytes) => this.write(bytes),
      close: () => this.close(),
      abort: () => this.abort(),
    })
  }

  async #close(): Promise<void> {
    if (this.#fault === undefined && this.#isClosing) throw closed(this.path)
    this.#isClosing = true
    if (this.#fault === undefined) {
      await this.#queue(() => (this.#stream === undefined ? this.#finishSmall() : this.#flush(true))).catch(dropFault)
    }
    await this.#letGo()
    if (this.#fault !== undefined) throw this.#fault
  }

  /** Runs `work` after what is under way; a fault ends the writer. */
  #queue(work: () => Promise<void> | undefined): Promise<void> {
    if (this.#busy === undefined) this.#patience.progress()
    const before = this.#busy ?? DONE
    const mine = before.then(async () => {
      if (this.#fault !== undefined) throw this.#fault
      try {
        await work()
      } catch (error) {
        throw this.#failed(error)
      }
    })
    this.#busy = mine
    const end = (): void => {
      if (this.#busy === mine) this.#busy = undefined
    }
    mine.then(end, end)
    return mine
  }

  /** @returns what to wait for before more is taken, or nothing */
  #take(bytes: Uint8Array, onReleased: (() => void) | undefined): Promise<void> | undefined {
    if (bytes.length === 0) return undefined
    const stream = this.#stream
    if (stream !== undefined) {
      this.#push(stream, bytes, onReleased)
      return stream.hasRoom ? undefined : stream.room()
    }
    this.#small.push(bytes)
    this.#smallBytes += bytes.length
    return this.#smallBytes > this.#packer.bytesMax ? this.#begin() : undefined
  }

  /** From buffering to streaming. */
  async #begin(): Promise<void> {
    let session = this.#core.sessions.hold()
    this.#session = session
    this.#patience.progress()
    for (;;) {
      try {
        const reply = await this.#core.masters.change(
          'openForWrite',
          (by) => ({
            by,
            path: this.path,
            mode: this.#openMode(),
            inode: this.#newInode(),
            withChunk: true,
            avoid: [],
          }),
          session,
          this.#patience,
        )
        this.#inode = reply.inode
        this.#stream = new ChunkStream(this.#core, session, reply.inode, reply.allocation, this.#patience)
        break
      } catch (error) {
        if (isDfsError(error, 'SESSION_ENDED')) {
          this.#core.sessions.release(session)
          session = this.#core.sessions.hold()
          this.#session = session
        } else if (!isDfsError(error, 'CHUNK_SEALED')) throw error
        // Else the answer was lost, and before the repetition the chunk was sealed: another file, another chunk.
      }
    }
    const small = this.#small
    this.#small = []
    this.#smallBytes = 0
    for (const bytes of small) this.#push(this.#stream, bytes)
    await this.#stream.room()
  }

  #push(stream: ChunkStream, bytes: Uint8Array, onReleased?: () => void): void {
    this.#cutter.pieceBytes = stream.pieceBytes
    for (const piece of this.#cutter.push(bytes, onReleased)) stream.push(piece)
  }

  async #flush(isLast: boolean): Promise<void> {
    if (this.#stream === undefined) await this.#begin()
    const stream = this.#stream!
    const tail = this.#cutter.flush()
    if (tail !== undefined) stream.push(tail)
    for (;;) {
      await stream.drain()
      const all = stream.extents()
      const isNeeded = isLast || all.length > 0 || (this.#purpose.kind === 'create' && !this.#isNamed)
      if (!isNeeded) return
      // One record, or several where a request can't carry all extents: the name comes with the last.
      const extents = all.slice(0, EXTENTS_MAX)
      const isEnd = extents.length === all.length
      const claims = isEnd ? stream.claims(isLast) : []
      try {
        await this.#log(extents, claims, isEnd, isLast && isEnd)
        stream.logged(extents, claims)
        if (isEnd) return
      } catch (error) {
        if (!isDfsError(error, 'SEALED_SHORT')) throw error
        stream.sealedShort(error)
      }
    }
  }

  async #log(extents: readonly Extent[], seals: readonly SealClaim[], isEnd: boolean, isLast: boolean): Promise<void> {
    const inode = this.#inode!
    const bytes = extents.reduce((sum, extent) => sum + extent.length, 0)
    if (this.#purpose.kind === 'splice') {
      const offset = this.#purpose.offset + this.#loggedBytes
      const mtimeMs = this.#options.mtimeMs ?? 0
      if (bytes > 0) {
        await this.#core.masters.change(
          'spliceFile',
          (by) => ({ by, inode, offset, extents, seals, mtimeMs }),
          this.#session!,
          this.#patience,
        )
      }
      this.#loggedBytes += bytes
      // The chunks were lent for this file: now they are given back.
      if (isLast) await this.#commit([], bytes > 0 ? [] : seals, undefined, true)
      return
    }
    const isNaming = isEnd && this.#purpose.kind === 'create' && !this.#isNamed
    const publish = isNaming ? { path: this.path, overwrite: this.#purpose.overwrite } : undefined
    await this.#commit(extents, seals, publish, isLast)
    if (isNaming) this.#isNamed = true
  }

  async #commit(
    extents: readonly Extent[],
    seals: readonly SealClaim[],
    publish: { readonly path: string; readonly overwrite: boolean } | undefined,
    close: boolean,
  ): Promise<void> {
    const inode = this.#inode!
    const mtimeMs = extents.length > 0 || publish !== undefined ? (this.#options.mtimeMs ?? 0) : 0
    await this.#core.masters.change(
      'commitFile',
      (by) => ({ by, inode, extents, seals, publish, close, mtimeMs }),
      this.#session!,
      this.#patience,
    )
  }

  /** Everything is in the buffer: one append to a shared chunk, one record. */
  async #finishSmall(): Promise<void> {
    const slices = this.#small
    const length = this.#smallBytes
    this.#small = []
    this.#patience.progress()
    if (this.#purpose.kind === 'create') {
      await putSmall(
        this.#core,
        this.#packer,
        this.path,
        slices,
        { ...this.#options, overwrite: this.#purpose.overwrite },
        this.#patience,
      )
      return
    }
    const opened = await change(
      this.#core,
      'openForWrite',
      (by) => ({ by, path: this.path, mode: 'append', inode: this.#newInode(), withChunk: false, avoid: [] }),
      this.#patience,
    )
    if (length === 0) return
    const { inode, goal } = opened
    const mtimeMs = this.#options.mtimeMs ?? 0
    const purpose = this.#purpose
    await packAnd(this.#packer, slices, goal, this.#patience, async (extents) => {
      if (purpose.kind === 'splice') {
        await change(
          this.#core,
          'spliceFile',
          (by) => ({ by, inode, offset: purpose.offset, extents, seals: [], mtimeMs }),
          this.#patience,
        )
      } else {
        const rest = { publish: undefined, close: true, mtimeMs }
        await change(this.#core, 'commitFile', (by) => ({ by, inode, extents, seals: [], ...rest }), this.#patience)
      }
    })
  }

  #openMode(): 'create' | 'overwrite' | 'append' {
    if (this.#purpose.kind !== 'create') return 'append'
    return this.#purpose.overwrite ? 'overwrite' : 'create'
  }

  #newInode() {
    return newInodeOf(this.#options)
  }

  #failed(error: unknown): DfsError {
    const fault = asFault(error)
    this.#fault ??= fault
    this.#stream?.end(this.#fault)
    return this.#fault
  }

  /**
   * Gives everything back; resolves when a file that never got its name is dropped at the master, or the master can't be
   * reached. Never rejects.
   */
  #letGo(): Promise<void> {
    const session = this.#session
    const inode = this.#inode
    this.#small = []
    this.#stream?.end()
    this.#unlink()
    if (session === undefined) return DONE
    this.#session = undefined
    if (this.#fault === undefined || inode === undefined || session.isEnded) {
      this.#core.sessions.release(session)
      return DONE
    }
    const patience = new Patience(this.#core.io.clock, { signal: this.#core.closing, timeoutMs: DROP_MS })
    const nothing = { extents: [], seals: [], publish: undefined, close: true, mtimeMs: 0 }
    return (
      this.#core.masters
        .change('commitFile', (by) => ({ by, inode, ...nothing }), session, patience)
        // Else it ends with the session.
        .then(() => {}, dropFault)
        .finally(() => this.#core.sessions.release(session))
    )
  }
}

/** Long enough for a healthy master; an abort waits for it. */
const DROP_MS = 2000

function purposeOf(options: WriteOptions): Purpose {
  const { append = false, overwrite = false, at } = options
  if (Number(append) + Number(overwrite) + Number(at !== undefined) > 1) {
    throw new DfsError('INVALID_ARGUMENT', 'a writer appends, overwrites, or writes at an offset: one of them')
  }
  if (at !== undefined) {
    if (!Number.isSafeInteger(at) || at < 0)
      throw new DfsError('INVALID_ARGUMENT', `a write at offset ${at}: expected 0 upward`)
    return { kind: 'splice', offset: at }
  }
  return append ? { kind: 'append' } : { kind: 'create', overwrite }
}

function closed(path: string): DfsError {
  return new DfsError('INVALID_ARGUMENT', `the writer of ${path} is closed`, { path })
}
