// get: files and trees out of the cluster, every byte verified on the way.
//
// Invariants:
//   - a local file appears under its final name whole or not at all: it is written beside and renamed
//   - without -f nothing local is replaced, whoever makes it meanwhile (the new name is linked, not renamed over)
//   - names of the cluster that would leave the local directory do not exist (no `..`, no `/`); what the local file
//     system can't hold fails alone

import path from 'node:path'
import fs from 'fs-extra'
import { DfsError } from '../../base/errors.ts'
import { SMALL_FILE_BYTES_MAX } from '../../base/limits.ts'
import type { Client } from '../../client/index.ts'
import { type DfsContext, defineDfsVerb } from '../context.ts'
import { UsageError } from '../failure.ts'
import { LocalPace } from './local-pace.ts'
import { baseName, join, type PathFacts, trimSlashes } from './rows.ts'
import { parallelOf, Transfer, WorkQueue } from './transfer.ts'

interface GetValues {
  readonly force: boolean
  readonly recursive: boolean
  readonly preserve: boolean
  readonly parallel: number | undefined
}

interface FileJob {
  readonly source: string
  readonly local: string
  readonly facts: PathFacts
}

export const get = defineDfsVerb({
  usage: '[-f] [-r] [-p] [-t N] SRC… LOCAL',
  words: [2, Number.POSITIVE_INFINITY],
  options: {
    force: { kind: 'flag', alias: 'f', describe: 'overwrite existing local files' },
    recursive: { kind: 'flag', alias: 'r', describe: 'directories with all below them' },
    preserve: { kind: 'flag', alias: 'p', describe: 'keep modification times and permission bits' },
    parallel: { kind: 'number', alias: 't', min: 1, max: 1024, describe: 'files at once' },
  },
  examples: [
    ['dfs get -r /backup/photos .', 'as ./photos'],
    ['dfs get /dumps/db.sql - | psql db', 'to standard output'],
  ],
  async run({ context, values, words }) {
    const client = await context.client()
    const sources = words.slice(0, -1).map(trimSlashes)
    const last = words.at(-1) ?? ''
    if (last === '-') return getToStdout(client, sources, context)
    const transfer = new Transfer(context)
    try {
      await transfer.showProgress()
      await new Get(context, client, transfer, values).all(await placeSources(sources, last))
      await transfer.end('fetched')
    } finally {
      transfer.close()
    }
    return undefined
  },
})

async function getToStdout(client: Client, sources: readonly string[], context: DfsContext): Promise<undefined> {
  const { signal, out } = context
  for (const source of sources) {
    try {
      const reader = await client.openReader(source, { signal })
      await reader.copyTo(
        async (slices) => {
          for (const slice of slices) await out.bytes(slice)
        },
        { signal },
      )
      reader.close()
    } catch (error) {
      context.complain(error)
    }
  }
  return undefined
}

class Get {
  readonly #context: DfsContext
  readonly #client: Client
  readonly #transfer: Transfer
  readonly #values: GetValues
  readonly #small: WorkQueue<FileJob>
  readonly #large: WorkQueue<FileJob>
  readonly #pace: LocalPace
  /** Times and bits of directories are set when nothing is written into them any more. */
  readonly #finish: (() => Promise<void>)[] = []

  constructor(context: DfsContext, client: Client, transfer: Transfer, values: GetValues) {
    this.#context = context
    this.#pace = new LocalPace(context.io.clock)
    this.#client = client
    this.#transfer = transfer
    this.#values = values
    const parallel = parallelOf(values.parallel)
    const fetch = (job: FileJob) => this.#file(job).catch((error) => transfer.fail(error))
    this.#small = new WorkQueue<FileJob>(parallel.small, fetch)
    this.#large = new WorkQueue<FileJob>(parallel.large, fetch)
  }

  async all(targets: readonly (readonly [source: string, local: string])[]): Promise<void> {
    for (const [source, local] of targets) {
      try {
        const facts = await this.#client.stat(source, { signal: this.#context.signal })
        if (facts.isDirectory && !this.#values.recursive)
          throw new DfsError('IS_A_DIRECTORY', `${source} is a directory`)
        if (facts.isDirectory) await this.#tree(source, trimSlashes(local), facts)
        else if (local.endsWith('/'))
          throw new DfsError('NOT_A_DIRECTORY', `local ${local}: there is no such directory`, {
            next: 'make it first, or leave the slash out',
          })
        else await this.#take({ source, local, facts })
      } catch (error) {
        this.#transfer.fail(error)
      }
    }
    await this.#small.done()
    await this.#large.done()
    for (const finish of this.#finish.reverse()) await finish()
  }

  async #take(job: FileJob): Promise<void> {
    this.#transfer.expect(job.facts.size)
    await (job.facts.size <= SMALL_FILE_BYTES_MAX ? this.#small : this.#large).add(job)
  }

  async #tree(source: string, local: string, facts: PathFacts): Promise<void> {
    await makeLocalDirectory(local)
    this.#transfer.directoryDone()
    if (this.#values.preserve) {
      this.#finish.push(async () => {
        await fs.chmod(local, facts.mode)
        await fs.utimes(local, facts.mtimeMs / 1000, facts.mtimeMs / 1000)
      })
    }
    for await (const entry of this.#client.listAll(source, { signal: this.#context.signal })) {
      const job = { source: join(source, entry.name), local: path.join(local, entry.name), facts: entry }
      try {
        if (entry.isDirectory) await this.#tree(job.source, job.local, entry)
        else await this.#take(job)
      } catch (error) {
        this.#transfer.fail(error)
      }
    }
  }

  async #file({ source, local, facts }: FileJob): Promise<void> {
    const { signal, io } = this.#context
    const { force, preserve } = this.#values
    const pace = this.#pace
    await checkName(local, force, pace)
    const part = partName(local, io.entropy.below(2 ** 48))
    const reader = await this.#client.openReader(source, { signal })
    try {
      const descriptor = await pace.run(
        () => fs.openSync(part, 'wx', 0o666),
        () => fs.open(part, 'wx', 0o666),
      )
      try {
        const sink = async (slices: readonly Uint8Array[], fileOffset: number) => {
          await writeAll(descriptor, slices, fileOffset, facts.size <= SMALL_FILE_BYTES_MAX ? pace : undefined)
          this.#transfer.moved(slices.reduce((total, slice) => total + slice.length, 0))
        }
        await reader.copyTo(sink, { signal })
        if (preserve) {
          await fs.fchmod(descriptor, facts.mode)
          await fs.futimes(descriptor, facts.mtimeMs / 1000, facts.mtimeMs / 1000)
        }
      } finally {
        await pace.run(
          () => fs.closeSync(descriptor),
          () => fs.close(descriptor),
        )
      }
      await takeName(part, local, force, pace)
      this.#transfer.fileDone()
    } catch (error) {
      throw namedAs(local, part, error)
    } finally {
      reader.close()
      await removePart(part, pace)
    }
  }
}

/** A name beside the final one, hidden, and no other's. */
function partName(local: string, salt: number): string {
  return path.join(path.dirname(local), `.${path.basename(local).slice(0, 60)}.${salt.toString(36)}.part`)
}

/** A fault of the local disk, said of the name that was asked for: nobody knows the one beside it. */
function namedAs(local: string, part: string, error: unknown): unknown {
  const isLocal = error instanceof Error && 'syscall' in error
  if (!isLocal || ('path' in error && error.path !== part)) return error
  return Object.assign(error, { path: local })
}

async function makeLocalDirectory(local: string): Promise<void> {
  try {
    await fs.mkdir(local)
  } catch (error) {
    const there = await fs.stat(local).catch(() => undefined)
    if (there?.isDirectory()) return
    if (there === undefined) throw error
    const next = 'choose another name, or move it out of the way'
    throw new DfsError('NOT_A_DIRECTORY', `local ${local} is a file, where a directory would go`, { next })
  }
}

/** @param pace  of writes that are small; large ones are always another thread's */
async function writeAll(
  descriptor: number,
  slices: readonly Uint8Array[],
  position: number,
  pace: LocalPace | undefined,
): Promise<void> {
  let at = position
  let rest = slices.filter((slice) => slice.length > 0)
  while (rest.length > 0) {
    const later = async () => (await fs.writev(descriptor, rest, at)).bytesWritten
    let bytesWritten = await (pace === undefined ? later() : pace.run(() => fs.writevSync(descriptor, rest, at), later))
    at += bytesWritten
    while (rest.length > 0 && bytesWritten >= rest[0]!.length) {
      bytesWritten -= rest[0]!.length
      rest = rest.slice(1)
    }
    if (bytesWritten > 0) rest = [rest[0]!.subarray(bytesWritten), ...rest.slice(1)]
  }
}

/** Gives the finished file its name. */
async function takeName(part: string, local: string, force: boolean, pace: LocalPace): Promise<void> {
  const rename = () =>
    pace.run(
      () => fs.renameSync(part, local),
      () => fs.rename(part, local),
    )
  if (force) return rename()
  try {
    await pace.run(
      () => fs.linkSync(part, local),
      () => fs.link(part, local),
    )
  } catch (error) {
    const code = codeOf(error)
    if (code === 'EEXIST') throw occupied(local)
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EMLINK') throw error
    // A file system without hard links.
    if (await exists(local, pace)) throw occupied(local)
    await rename()
  }
}

/** Harmless when it has become the file, or was never made. */
async function removePart(part: string, pace: LocalPace): Promise<void> {
  try {
    await pace.run(
      () => fs.unlinkSync(part),
      () => fs.unlink(part),
    )
  } catch (error) {
    const code = codeOf(error)
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error
  }
}

/** Whether the finished file may take the name; a device or a pipe is nothing that a file replaces. */
async function checkName(local: string, force: boolean, pace: LocalPace): Promise<void> {
  if (!force && (await exists(local, pace))) throw occupied(local)
  // Through links: what /dev/stdout names is not to be replaced either.
  const there = force ? await fs.stat(local).catch(() => undefined) : undefined // a link to nothing is replaced
  if (there?.isDirectory()) throw new DfsError('IS_A_DIRECTORY', `local ${local} is a directory`)
  if (there && !there.isFile()) {
    const message = `local ${local} is no regular file; name it as \`-\` and redirect standard output`
    throw new DfsError('INVALID_ARGUMENT', message)
  }
}

/** What can't be looked at is not there: making it will say more. */
async function exists(local: string, pace: LocalPace): Promise<boolean> {
  try {
    return await pace.run(
      () => fs.lstatSync(local, { throwIfNoEntry: false }) !== undefined,
      async () => (await fs.lstat(local)) !== undefined,
    )
  } catch {
    return false // as said above
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

function occupied(local: string): DfsError {
  return new DfsError('ALREADY_EXISTS', `local ${local} exists already`)
}

/** Where each source goes, as `cp -r` means it: into LOCAL if that is a directory, else LOCAL is its new name. */
async function placeSources(
  sources: readonly string[],
  last: string,
): Promise<(readonly [source: string, local: string])[]> {
  const there = await fs.stat(last).catch(() => undefined)
  if (there?.isDirectory()) return sources.map((source) => [source, path.join(last, baseName(source))] as const)
  if (sources.length > 1)
    throw new UsageError(`local ${last} is no directory, and ${sources.length} sources can't become one file`)
  if (last.endsWith('/') && there) throw new UsageError(`local ${last} is a file`)
  // A slash at the end stays: it says that a directory is meant.
  return [[sources[0]!, last]]
}
