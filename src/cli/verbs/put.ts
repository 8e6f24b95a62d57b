// put: local files and trees into the cluster, durable when it returns.
//
// Invariants:
//   - a name appears in the cluster with its whole content or not at all (a file is named when it is closed)
//   - one file that fails doesn't stop the others; a cluster that can't be reached does

import path from 'node:path'
import fs from 'fs-extra'
import { DfsError, isDfsError } from '../../base/errors.ts'
import { SMALL_FILE_BYTES_MAX } from '../../base/limits.ts'
import type { Client } from '../../client/index.ts'
import { type DfsContext, defineDfsVerb } from '../context.ts'
import { UsageError } from '../failure.ts'
import { LocalPace } from './local-pace.ts'
import { BufferShelf, LOCAL_READ_BYTES, readLocalFile, readSmallFile, readStdin } from './local-source.ts'
import { inodeDefaults } from './owner.ts'
import { join, trimSlashes } from './rows.ts'
import { parallelOf, Spread, Transfer, WorkQueue } from './transfer.ts'

interface FileJob {
  readonly local: string
  readonly target: string
}

/** Directories walked at once. */
const branchesMax = 16

export const put = defineDfsVerb({
  usage: '[-f] [-r] [-p] [-t N] LOCAL… DST',
  words: [2, Number.POSITIVE_INFINITY],
  options: {
    force: { kind: 'flag', alias: 'f', describe: 'overwrite existing files (the old ones go to the trash)' },
    recursive: { kind: 'flag', alias: 'r', describe: 'directories with all below them' },
    preserve: { kind: 'flag', alias: 'p', describe: 'keep modification times and permission bits' },
    parallel: { kind: 'number', alias: 't', min: 1, max: 1024, describe: 'files at once' },
  },
  examples: [
    ['dfs put -r photos /backup', 'into /backup if that is there, else as /backup'],
    ['pg_dump db | dfs put - /dumps/db.sql', 'standard input'],
  ],
  async run({ context, values, words }) {
    const client = await context.client()
    const sources = words.slice(0, -1)
    if (sources.filter((source) => source === '-').length > 1) throw new UsageError('`-` can be read only once')
    const transfer = new Transfer(context)
    try {
      const targets = await placeSources(client, sources, words.at(-1) ?? '', context.signal)
      await transfer.showProgress()
      await new Put(context, client, transfer, values).all(targets)
      await transfer.end('stored')
    } finally {
      transfer.close()
    }
    return undefined
  },
})

interface PutValues {
  readonly force: boolean
  readonly recursive: boolean
  readonly preserve: boolean
  readonly parallel: number | undefined
}

class Put {
  readonly #context: DfsContext
  readonly #client: Client
  readonly #transfer: Transfer
  readonly #values: PutValues
  readonly #small: WorkQueue<FileJob>
  readonly #large: WorkQueue<FileJob>
  readonly #branches = new Spread(branchesMax)
  readonly #buffers = new BufferShelf(LOCAL_READ_BYTES)
  readonly #pace: LocalPace

  constructor(context: DfsContext, client: Client, transfer: Transfer, values: PutValues) {
    this.#context = context
    this.#pace = new LocalPace(context.io.clock)
    this.#client = client
    this.#transfer = transfer
    this.#values = values
    const parallel = parallelOf(values.parallel)
    const fail = (error: unknown) => transfer.fail(error)
    this.#small = new WorkQueue<FileJob>(parallel.small, (job) => this.#file(job).catch(fail))
    this.#large = new WorkQueue<FileJob>(parallel.large, (job) => this.#largeFile(job).catch(fail))
  }

  async all(targets: readonly (readonly [source: string, target: string])[]): Promise<void> {
    for (const [source, target] of targets) {
      try {
        if (source === '-') await this.#stream(target, readStdin(this.#context))
        else await this.#path(source, target)
      } catch (error) {
        this.#transfer.fail(error)
      }
    }
    await this.#branches.done()
    await this.#small.done()
    await this.#large.done()
  }

  async #path(local: string, target: string): Promise<void> {
    // A link given by name is followed, as by cp; links inside a tree are not.
    const stats = await fs.stat(local)
    if (stats.isFile()) return this.#take({ local, target }, stats.size)
    // A pipe or a device has bytes but no size that could be trusted: it is read to its end, alone.
    if (!stats.isDirectory()) return this.#stream(target, readLocalFile(local, this.#context.signal))
    if (!this.#values.recursive)
      throw new DfsError('IS_A_DIRECTORY', `local ${local} is a directory`, { next: 'add -r' })
    await this.#tree(local, target, stats)
  }

  async #take(job: FileJob, size: number): Promise<void> {
    this.#transfer.expect(size)
    await (size <= SMALL_FILE_BYTES_MAX ? this.#small : this.#large).add(job)
  }

  /** Walks a local tree, each directory made before what is in it. */
  async #tree(local: string, target: string, stats: fs.Stats): Promise<void> {
    this.#context.signal.throwIfAborted()
    await this.#directory(target, this.#values.preserve ? stats.mode & 0o7777 : 0o755)
    this.#transfer.directoryDone()
    for await (const entry of await fs.opendir(local, { bufferSize: 256 })) {
      const below = path.join(local, entry.name)
      try {
        if (entry.isSymbolicLink()) this.#transfer.skip(`dfs put: ${below}: symbolic link, skipped`)
        else if (!entry.isDirectory() && !entry.isFile()) this.#transfer.skip(`dfs put: ${below}: not a file, skipped`)
        // Its size is known when it is open, which saves a look at each file; a bar wants it before.
        else if (entry.isFile() && !this.#transfer.hasBar)
          await this.#small.add({ local: below, target: join(target, entry.name) })
        else await this.#entry(below, join(target, entry.name))
      } catch (error) {
        this.#transfer.fail(error)
      }
    }
  }

  async #entry(local: string, target: string): Promise<void> {
    const stats = await fs.lstat(local).catch((error: unknown) => {
      throw unreadable(local, error)
    })
    if (!stats.isDirectory()) return this.#take({ local, target }, stats.size)
    await this.#branches.run(() => this.#tree(local, target, stats).catch((error) => this.#transfer.fail(error)))
  }

  async #directory(target: string, mode: number): Promise<void> {
    const { signal } = this.#context
    try {
      await this.#client.makeDirectory(target, { ...inodeDefaults(), mode, signal })
    } catch (error) {
      if (!isDfsError(error, 'ALREADY_EXISTS')) throw error
      const { isDirectory } = await this.#client.stat(target, { signal })
      if (isDirectory) return
      const next = 'choose another name, or move it out of the way with `dfs mv`'
      throw new DfsError('NOT_A_DIRECTORY', `${target} is a file, where a directory would go`, { next })
    }
  }

  /** Stores a file that is small, and leaves one that is not to the other queue. */
  async #file(job: FileJob): Promise<void> {
    const { local, target } = job
    const read = readSmallFile(local, SMALL_FILE_BYTES_MAX, this.#buffers, this.#pace)
    const { stats, bytes, buffer } = await read.catch((error: unknown) => {
      throw unreadable(local, error)
    })
    if (stats.size > SMALL_FILE_BYTES_MAX) return this.#large.add(job)
    // Nothing, or a file of the kernel's, which has bytes all the same.
    if (buffer === undefined || bytes === undefined) return this.#largeFile(job)
    const { signal } = this.#context
    await this.#client.writeFile(target, bytes, { ...this.#inode(stats), overwrite: this.#values.force, signal })
    // Not after a failure: a try that was given up may still hold it.
    this.#buffers.give(buffer)
    this.#transfer.moved(bytes.length)
    this.#transfer.fileDone()
  }

  async #largeFile({ local, target }: FileJob): Promise<void> {
    const stats = this.#values.preserve ? await fs.stat(local) : undefined
    const source = readLocalFile(local, this.#context.signal, this.#buffers)
    // The last read of a file is a part of its buffer: that one is left to the garbage collector.
    await this.#stream(target, source, stats, (bytes) => {
      if (bytes.length === LOCAL_READ_BYTES) this.#buffers.give(bytes)
    })
  }

  /** @param give  takes back what came from the source, when nobody holds it any more */
  async #stream(
    target: string,
    source: AsyncIterable<Buffer>,
    stats?: fs.Stats,
    give?: (bytes: Buffer) => void,
  ): Promise<void> {
    const { signal } = this.#context
    const options = { ...this.#inode(stats), overwrite: this.#values.force, signal }
    const writer = this.#client.createWriter(target, options)
    try {
      for await (const bytes of source) {
        await writer.write(bytes, give && (() => give(bytes)))
        this.#transfer.moved(bytes.length)
      }
      await writer.close()
      this.#transfer.fileDone()
    } catch (error) {
      await writer.abort().catch(() => undefined) // the first error is the one to tell
      throw error
    }
  }

  #inode(stats: fs.Stats | undefined) {
    if (!this.#values.preserve || !stats) return inodeDefaults()
    return { ...inodeDefaults(), mode: stats.mode & 0o7777, mtimeMs: Math.round(stats.mtimeMs) }
  }
}

/** A name that is not UTF-8 arrives here as another one, which is not there. */
function unreadable(local: string, error: unknown): unknown {
  return local.includes('\ufffd') ? new DfsError('INVALID_PATH', `local ${local}: the name is not UTF-8`) : error
}

/**
 * Where each source goes, as `cp -r` means it: into DST if that is a directory, else DST is its new name. `.` and `..`
 * have no name of their own: what is in them goes into DST.
 */
async function placeSources(
  client: Client,
  sources: readonly string[],
  last: string,
  signal: AbortSignal,
): Promise<(readonly [source: string, target: string])[]> {
  const target = trimSlashes(last)
  const isDirectory = await client.stat(target, { signal }).then(
    (facts) => facts.isDirectory,
    (error: unknown) => {
      if (isDfsError(error, 'NOT_FOUND')) return undefined
      throw error
    },
  )
  if (isDirectory) {
    return sources.map((source) => {
      if (source === '-') throw new UsageError(`standard input needs a name: ${last} is a directory`)
      return [
        source,
        /(^|\/)\.{1,2}\/*$/.test(source) ? target : join(target, path.basename(path.resolve(source))),
      ] as const
    })
  }
  if (sources.length > 1) {
    throw new DfsError(
      'NOT_A_DIRECTORY',
      `${target} is no directory, and ${sources.length} sources can't become one file`,
      { next: `make it with \`dfs mkdir ${target}\`` },
    )
  }
  const [source = ''] = sources
  if (last !== target && source !== '-' && !(await fs.stat(source)).isDirectory()) {
    throw isDirectory === undefined
      ? new DfsError('NOT_FOUND', `${last}: no such directory`, { next: `make it with \`dfs mkdir ${target}\`` })
      : new DfsError('NOT_A_DIRECTORY', `${target} is a file`)
  }
  return [[source, target]]
}
