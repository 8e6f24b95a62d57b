// The client: one object a program has for one cluster. Everything here is a thin line to the part that does it.
//
// Paths are absolute in the file system, `/a/b`. Every call takes CallOptions: a signal, a deadline, a time without
// progress. Every rejection is a DfsError with `code`, `retriable` and `next`, unless it is a bug.
//
// Source: GFS §2.3, §2.7; DESIGN §3, Client library.

import { setMaxListeners } from 'node:events'
import { DfsError, isDfsError } from '../base/errors.ts'
import type { ClusterId, ServerId } from '../base/ids.ts'
import { checkPath, joinPath } from '../base/path.ts'
import type { Io } from '../io/io.ts'
import type { DirectoryEntry, FileStat, MessageName, ReplyOf, RequestOf } from '../wire/messages.ts'
import { Appender, type AppenderOptions } from './appender.ts'
import { fileChecksum } from './checksum.ts'
import { type Core, change, makeCore } from './core.ts'
import { addUp, type FsckOptions, type FsckResult } from './fsck.ts'
import type { By } from './masters.ts'
import type {
  AttributeChanges,
  Changed,
  ClientOptions,
  ClusterInfo,
  ListOptions,
  NewFileOptions,
  PutEntry,
  Source,
  StatOptions,
  TrashEntry,
  WriteOptions,
} from './options.ts'
import { Packer } from './packer.ts'
import { forEachParallel } from './parallel.ts'
import { type CallOptions, Patience, TIMEOUT_MS_DEFAULT } from './patience.ts'
import { pour } from './pour.ts'
import { Reader, type ReadOptions } from './reader.ts'
import { type ReadCounts, ReplicaReader } from './replica-reader.ts'
import { putSmall } from './small-files.ts'
import { countTails, shortened, statWithTail } from './tail-length.ts'
import { Writer } from './writer.ts'

const LIST_LIMIT = 1000
const PARALLEL_DEFAULT = 16
const DIRECTORY_MODE_DEFAULT = 0o755

export class Client {
  readonly #core: Core
  readonly #packer: Packer
  readonly #replicas: ReplicaReader
  readonly #timeoutMs: number
  readonly #closing = new AbortController()
  #cluster: ClusterInfo | undefined

  private constructor(io: Io, options: ClientOptions) {
    // Every call under way listens to it, hundreds at once; that is no leak.
    setMaxListeners(0, this.#closing.signal)
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS_DEFAULT
    this.#core = makeCore(io, options, this.#timeoutMs, this.#closing.signal)
    this.#packer = new Packer(this.#core)
    this.#replicas = new ReplicaReader(this.#core, options.directReads ?? true)
  }

  /**
   * A client that has spoken to a master. Errors: INVALID_ARGUMENT for an address that can't be read, UNAVAILABLE,
   * TIMEOUT, WRONG_ROLE, UNSUPPORTED_VERSION.
   */
  static async connect(io: Io, options: ClientOptions, callOptions: CallOptions = {}): Promise<Client> {
    const client = new Client(io, options)
    try {
      client.#cluster = await client.#core.masters.ask('clusterInfo', {}, client.#patience(callOptions))
      client.#packer.fitTo(client.#cluster.chunkBytes)
      return client
    } catch (error) {
      client.close()
      throw error
    }
  }

  /** Cluster id, chunk size, default goal and version of the master, as of `connect`. */
  get cluster(): ClusterInfo {
    return this.#cluster!
  }

  /** Reads of this client, since `connect`, by where they went. */
  get readCounts(): ReadCounts {
    return this.#replicas.counts
  }

  get clusterId(): ClusterId {
    return this.cluster.clusterId
  }

  /** Ends everything: calls under way fail with ABORTED, connections are closed, no timer is left. */
  close(): void {
    this.#closing.abort(new DfsError('ABORTED', 'the client was closed'))
    this.#core.sessions.close()
    this.#core.links.close()
  }

  // Names.

  /**
   * Its size counts records that are being appended too; `chunks` is there for who asks with `withChunks`.
   * Errors: NOT_FOUND, NOT_A_DIRECTORY, INVALID_PATH.
   */
  async stat(path: string, options: StatOptions = {}): Promise<FileStat> {
    checkPath(path)
    return await statWithTail(this.#core, path, options.withChunks ?? false, this.#patience(options))
  }

  async exists(path: string, options: CallOptions = {}): Promise<boolean> {
    try {
      await this.stat(path, options)
      return true
    } catch (error) {
      if (isDfsError(error, 'NOT_FOUND') || isDfsError(error, 'NOT_A_DIRECTORY')) return false
      throw error
    }
  }

  /** A page of a directory, in order of the names' UTF-8 bytes, sizes as `stat` says them. `more`: ask again `after` the last name. Errors: NOT_FOUND, NOT_A_DIRECTORY. */
  async list(
    path: string,
    options: ListOptions = {},
  ): Promise<{ readonly entries: readonly DirectoryEntry[]; readonly more: boolean }> {
    const { after, limit = LIST_LIMIT } = options
    const { entries, more, withTail } = await this.#ask('list', { path, after, limit }, options, path)
    if (withTail.length === 0) return { entries, more }
    const stat = (name: string) => this.stat(joinPath(path, name), shortened(options))
    return { entries: await countTails(entries, withTail, stat), more }
  }

  /** Every entry of a directory, page after page; what changes meanwhile may be in it or not. */
  async *listAll(path: string, options: ListOptions = {}): AsyncGenerator<DirectoryEntry, void, undefined> {
    let after = options.after
    for (;;) {
      const { entries, more } = await this.list(path, { ...options, after })
      yield* entries
      after = entries.at(-1)?.name
      if (!more || after === undefined) return
    }
  }

  /** Errors: ALREADY_EXISTS (with `parents` a directory that exists is fine), NOT_FOUND, NOT_A_DIRECTORY. */
  async makeDirectory(
    path: string,
    options: CallOptions & Omit<NewFileOptions, 'mtimeMs'> & { readonly parents?: boolean | undefined } = {},
  ): Promise<void> {
    const { mode = DIRECTORY_MODE_DEFAULT, owner = '', group = '', parents = false } = options
    const inode = { mode, owner, group, goal: 0 }
    await this.#change('makeDirectory', options, [path], (by) => ({ by, path, parents, inode }))
  }

  /**
   * Removes a file; with `directory` an empty directory; with `recursive` anything with all below it. It goes to the
   * trash, unless `now`. Errors: NOT_FOUND, IS_A_DIRECTORY, NOT_A_DIRECTORY, NOT_EMPTY.
   *
   * @returns the number of the trash entry; 0 without one
   */
  async remove(
    path: string,
    options: CallOptions & {
      readonly recursive?: boolean | undefined
      readonly directory?: boolean | undefined
      readonly now?: boolean | undefined
    } = {},
  ): Promise<number> {
    const what = options.recursive ? 'tree' : options.directory ? 'emptyDirectory' : 'file'
    const { trash } = await this.#change('remove', options, [path], (by) => ({
      by,
      path,
      what,
      now: options.now ?? false,
    }))
    return trash
  }

  /** Gives a file or tree another path, in one step. Errors: NOT_FOUND, ALREADY_EXISTS (unless `overwrite`, files only), INVALID_MOVE. */
  async rename(
    from: string,
    to: string,
    options: CallOptions & { readonly overwrite?: boolean | undefined } = {},
  ): Promise<void> {
    await this.#change('rename', options, [from, to], (by) => ({ by, from, to, overwrite: options.overwrite ?? false }))
  }

  /** Copies a file, or with `recursive` a tree, by sharing its chunks: no byte moves (GFS §3.4). Errors: as `rename`; IS_A_DIRECTORY. */
  async copy(
    from: string,
    to: string,
    options: CallOptions & { readonly recursive?: boolean | undefined; readonly overwrite?: boolean | undefined } = {},
  ): Promise<void> {
    const { recursive = false, overwrite = false } = options
    await this.#change('copy', options, [from, to], (by) => ({ by, from, to, recursive, overwrite }))
  }

  /** An instant copy of a file or tree as it is now (GFS §3.4). Errors: as `copy`. */
  snapshot(from: string, to: string, options: CallOptions = {}): Promise<void> {
    return this.copy(from, to, { ...options, recursive: true, overwrite: false })
  }

  /** Cuts a file to `size` bytes, or extends it with zeros. Errors: NOT_FOUND, IS_A_DIRECTORY, INVALID_ARGUMENT. */
  truncate(path: string, size: number, options: CallOptions = {}): Promise<Changed> {
    return this.#change('truncateFile', options, [path], (by) => ({ by, path, size }))
  }

  /** Appends the sources' bytes to the file at `path`, in order, and removes the sources, in one step; no byte moves. */
  concat(path: string, sources: readonly string[], options: CallOptions = {}): Promise<Changed> {
    return this.#change('concatFiles', options, [path, ...sources], (by) => ({ by, path, sources }))
  }

  /** Changes what is named, leaves the rest. Errors: NOT_FOUND, INVALID_ARGUMENT, LIMIT_EXCEEDED. */
  setAttributes(path: string, changes: AttributeChanges, options: CallOptions = {}): Promise<Changed> {
    const { mode, owner, group, goal, mtimeMs } = changes
    const attributes =
      changes.attributes &&
      Object.entries(changes.attributes).map(([name, value]) => ({ name, value: value ?? undefined }))
    return this.#change('setAttributes', options, [path], (by) => ({
      by,
      path,
      mode,
      owner,
      group,
      goal,
      mtimeMs,
      attributes,
    }))
  }

  // The trash.

  /** A page of what was removed and can be restored, oldest first. @param options.after  the last id of the page before */
  trashList(
    options: CallOptions & { readonly after?: number | undefined; readonly limit?: number | undefined } = {},
  ): Promise<ReplyOf<'trashList'>> {
    const { after = 0, limit = LIST_LIMIT } = options
    return this.#ask('trashList', { after, limit }, options)
  }

  /** Everything that was removed and can be restored. */
  async *trashAll(options: CallOptions = {}): AsyncGenerator<TrashEntry, void, undefined> {
    let after = 0
    for (;;) {
      const { entries, more } = await this.trashList({ ...options, after })
      yield* entries
      after = entries.at(-1)?.id ?? 0
      if (!more || after === 0) return
    }
  }

  /** Puts a trash entry back to where it was, or to `to`. Errors: NOT_FOUND, ALREADY_EXISTS. */
  async trashRestore(id: number, options: CallOptions & { readonly to?: string | undefined } = {}): Promise<void> {
    await this.#change('restoreTrash', options, options.to === undefined ? [] : [options.to], (by) => ({
      by,
      trash: id,
      path: options.to ?? '',
    }))
  }

  /** Gives up one trash entry, or all when `id` is left out: their space is freed, they can't be restored. */
  async trashEmpty(id = 0, options: CallOptions = {}): Promise<void> {
    await this.#change('emptyTrash', options, [], (by) => ({ by, trash: id }))
  }

  // Bytes.

  /** Opens a file for reading, as it is now. Errors: NOT_FOUND, IS_A_DIRECTORY. */
  async openReader(path: string, options: CallOptions = {}): Promise<Reader> {
    checkPath(path)
    return await Reader.open(this.#core, this.#replicas, path, options, this.#timeoutMs)
  }

  /** The whole file, or a range of it, in one buffer the caller owns. Errors: as `openReader` and `Reader.read`. */
  async readFile(path: string, options: ReadOptions = {}): Promise<Buffer> {
    const reader = await this.openReader(path, options)
    const offset = options.offset ?? 0
    const length = options.length ?? Math.max(0, reader.size - offset)
    return await reader.read(offset, length, options)
  }

  /** The bytes of a file, or of a range of it, as they come: buffers the consumer owns. Errors: as `readFile`. */
  async *readStream(path: string, options: ReadOptions = {}): AsyncGenerator<Buffer, void, undefined> {
    const reader = await this.openReader(path, options)
    yield* reader.stream(options)
  }

  /** A writer; nothing is sent, and no fault is met, before it has something to do. Errors: INVALID_PATH and INVALID_ARGUMENT (thrown). */
  createWriter(path: string, options: WriteOptions = {}): Writer {
    checkPath(path)
    return new Writer(this.#core, this.#packer, path, options, this.#timeoutMs)
  }

  /** Stores a whole file; durable, and visible in one step, when it resolves. @returns bytes written. Errors: as Writer.close. */
  async writeFile(path: string, data: Source, options: WriteOptions = {}): Promise<number> {
    checkPath(path)
    const isSmall = data instanceof Uint8Array && data.length <= this.#packer.bytesMax
    if (isSmall && !options.append && options.at === undefined) {
      await putSmall(this.#core, this.#packer, path, [data], options, this.#patience(options))
      return data.length
    }
    const writer = this.createWriter(path, options)
    return await pour(data, writer)
  }

  /**
   * Adds bytes to the end of a file, in one step. With `create` a missing file is made.
   * @returns bytes written. Errors: NOT_FOUND, and as Writer.close.
   */
  async append(
    path: string,
    data: Source,
    options: NewFileOptions & CallOptions & { readonly create?: boolean | undefined } = {},
  ): Promise<number> {
    if (options.create) await this.#createIfMissing(path, options)
    return await pour(data, this.createWriter(path, { ...options, append: true }))
  }

  /**
   * An appender of records, for one of many writers of a file: each record once, whole, at an offset that the cluster
   * chooses (GFS §3.3). With `create` a missing file is made. Errors: NOT_FOUND, IS_A_DIRECTORY.
   */
  async openAppender(
    path: string,
    options: AppenderOptions & NewFileOptions & { readonly create?: boolean | undefined } = {},
  ): Promise<Appender> {
    if (options.create) await this.#createIfMissing(path, options)
    const { inode, isDirectory } = await this.#ask('stat', { path, withChunks: false }, options, path)
    if (isDirectory) throw new DfsError('IS_A_DIRECTORY', `${path} is a directory`, { path })
    return new Appender(this.#core, path, inode, this.cluster.chunkBytes, options, this.#timeoutMs)
  }

  /**
   * Puts bytes in place of those from `offset` on; the file grows if need be, a gap reads as zeros. What was there is
   * seen by all readers until, in one step, the new bytes are (several steps beyond 8,000 chunks).
   * @returns bytes written. Errors: NOT_FOUND, and as Writer.close.
   */
  async writeAt(
    path: string,
    offset: number,
    data: Source,
    options: CallOptions & Pick<WriteOptions, 'mtimeMs'> = {},
  ): Promise<number> {
    return await pour(data, this.createWriter(path, { ...options, at: offset }))
  }

  /** Stores many files, several at a time. The first failure ends it. @param options.parallel  files at once, 16 by default */
  async putMany(
    entries: Iterable<PutEntry> | AsyncIterable<PutEntry>,
    options: CallOptions & {
      readonly parallel?: number | undefined
      /** After each file. */
      readonly onDone?: ((entry: PutEntry, bytes: number) => void) | undefined
    } = {},
  ): Promise<void> {
    const { signal, timeoutMs, parallel = PARALLEL_DEFAULT, onDone } = options
    await forEachParallel(entries, parallel, async (entry) => {
      const data = typeof entry.data === 'function' ? await entry.data() : entry.data
      const bytes = await this.writeFile(entry.path, data, { signal, timeoutMs, ...entry })
      onDone?.(entry, bytes)
    })
  }

  /** CRC32 of the whole file's bytes, whatever its chunks and extents; no byte moves. Errors: as `openReader` and `Reader.read`. */
  async checksum(path: string, options: CallOptions = {}): Promise<number> {
    checkPath(path)
    return await fileChecksum(this.#core, path, options, this.#timeoutMs)
  }

  // The cluster.

  /** Servers, totals and repair, as `dfs report --json` prints them. */
  async report(options: CallOptions = {}): Promise<unknown> {
    return (await this.#ask('report', {}, options)).document
  }

  /** Extents and chunks of a file, as `dfs info --json` prints them. Errors: NOT_FOUND, IS_A_DIRECTORY. */
  async info(path: string, options: CallOptions = {}): Promise<unknown> {
    return (await this.#ask('info', { path }, options, path)).document
  }

  /** Capacity and what it holds, as `dfs df --json` prints it. */
  async space(options: CallOptions = {}): Promise<unknown> {
    return (await this.#ask('space', {}, options)).document
  }

  /** Makes the master write a checkpoint now. @returns its log index */
  async checkpoint(options: CallOptions = {}): Promise<number> {
    return (await this.#ask('checkpoint', {}, options)).logIndex
  }

  /** Goes on although chunkservers have seen more history than the master has. @returns the highest index that was lost */
  async acceptRollback(options: CallOptions = {}): Promise<number> {
    return (await this.#ask('acceptRollback', {}, options)).lostIndex
  }

  /**
   * Checks that everything the files below `path` (or that file) name is there as often as it should be. Reads no
   * bytes: it holds what the log says against what servers report. Errors: NOT_FOUND, NOT_A_DIRECTORY.
   */
  async fsck(path = '/', options: FsckOptions = {}): Promise<FsckResult> {
    const { detail = 'problems', without, onPage } = options
    return await addUp(path, (after) => this.#ask('fsck', { path, after, detail, without }, options, path), onPage)
  }

  /**
   * Says what is wanted of a chunkserver: `drain` (no new chunks; its replicas no longer count towards goals),
   * `maintain` (no new chunks for a while: `forMs`, or until told otherwise), `serve`. Errors: NOT_FOUND.
   */
  async setServerIntent(
    server: ServerId,
    intent: 'serve' | 'maintain' | 'drain',
    options: CallOptions & { readonly forMs?: number | undefined } = {},
  ): Promise<void> {
    await this.#change('setServerIntent', options, [], (by) => ({ by, server, intent, forMs: options.forMs ?? 0 }))
  }

  /** Whether safe mode is on, after `action`. In it nothing is copied or deleted, and nothing is called missing. */
  safeMode(action: 'get' | 'enter' | 'leave' = 'get', options: CallOptions = {}): Promise<ReplyOf<'safeMode'>> {
    return this.#ask('safeMode', { action }, options)
  }

  /** Has the master look for dead space and for files in many pieces now; answers at once, `report` says what comes of it. */
  async compact(options: CallOptions = {}): Promise<void> {
    await this.#ask('compact', {}, options)
  }

  /** Makes one chunkserver (all, when left out) check every replica it holds, now. Errors: NOT_FOUND. */
  scrub(server?: ServerId, options: CallOptions = {}): Promise<ReplyOf<'scrub'>> {
    return this.#ask('scrub', { server }, options)
  }

  /**
   * What repair and rebalancing may take, after the changes that are given; these last. `reset` names those that go back to
   * what masters are started with. Errors: READ_ONLY.
   */
  copyLimits(
    changes: Partial<RequestOf<'copyLimits'>> = {},
    options: CallOptions = {},
  ): Promise<ReplyOf<'copyLimits'>> {
    const { repairBytesPerSecond, balanceBytesPerSecond, copiesPerServer, isBalancing, reset = [] } = changes
    const request = { repairBytesPerSecond, balanceBytesPerSecond, copiesPerServer, isBalancing, reset }
    return this.#ask('copyLimits', request, options)
  }

  /** How evenly the disks are filled; with `isPlan` what would be moved, with nothing done. The document of `admin balance --json`. */
  async balance(isPlan = false, options: CallOptions = {}): Promise<unknown> {
    return (await this.#ask('balance', { isPlan }, options)).document
  }

  /** Counters of the master and of its chunkservers at this moment. The document of `admin top --json`, before rates are made of it. */
  async top(options: CallOptions = {}): Promise<unknown> {
    return (await this.#ask('top', {}, options)).document
  }

  /** Connects to the chunkserver at `host:port` from here. @returns ms it took. Errors: UNAVAILABLE, TIMEOUT, WRONG_CLUSTER, WRONG_ROLE. */
  async reach(address: string, options: CallOptions & { readonly timeoutMs: number }): Promise<number> {
    const { clock } = this.#core.io
    const startMs = clock.nowMs()
    await this.#core.links.chunkserver(address, 'reach', options.timeoutMs, options.signal)
    return clock.nowMs() - startMs
  }

  async #createIfMissing(path: string, options: NewFileOptions & CallOptions): Promise<void> {
    if (await this.exists(path, options)) return
    const { signal, deadlineMs, timeoutMs, mode, owner, group, goal } = options
    const rest = { signal, deadlineMs, timeoutMs, mode, owner, group, goal }
    try {
      await this.writeFile(path, new Uint8Array(0), { ...rest, overwrite: false })
    } catch (error) {
      // Somebody else made it meanwhile: as good.
      if (!isDfsError(error, 'ALREADY_EXISTS')) throw error
    }
  }

  /** @param paths  checked here: what is no UTF-8 would be another name on the wire */
  async #ask<K extends MessageName>(
    name: K,
    request: RequestOf<K>,
    options: CallOptions,
    ...paths: readonly string[]
  ): Promise<ReplyOf<K>> {
    paths.forEach(checkPath)
    return await this.#core.masters.ask(name, request, this.#patience(options))
  }

  async #change<K extends MessageName>(
    name: K,
    options: CallOptions,
    paths: readonly string[],
    makeRequest: (by: By) => RequestOf<K>,
  ): Promise<ReplyOf<K>> {
    paths.forEach(checkPath)
    return await change(this.#core, name, makeRequest, this.#patience(options))
  }

  #patience(options: CallOptions): Patience {
    return new Patience(this.#core.io.clock, options, this.#timeoutMs)
  }
}
