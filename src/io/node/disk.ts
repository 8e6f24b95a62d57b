// The real disk: files by descriptor through fs-extra, which adds promises to `node:fs` and waits out EMFILE.
//
// Writes gather (`writev`), a sync is `fdatasync`, a directory's is `fsync`. Node has no fallocate: `allocate` only
// asks whether there is room.

import { read, readFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { hostname } from 'node:os'
import fs from 'fs-extra'
import { assert } from '../../base/assert.ts'
import { DfsError, type ErrorCode } from '../../base/errors.ts'
import type { Disk, DiskEntry, DiskFile, DiskSpace, DiskStat, OpenMode } from '../disk.ts'
import { lockFile } from './lock.ts'

/** Slices that one `writev` takes (IOV_MAX of Linux and macOS). */
const SLICES_PER_WRITE_MAX = 1024

const flags: Record<OpenMode, string> = { read: 'r', write: 'r+', create: 'wx+' }

export const nodeDisk: Disk = {
  async open(path, mode) {
    return new NodeFile(path, await attempt('open', path, () => fs.open(path, flags[mode])))
  },

  async stat(path) {
    try {
      const stat = await fs.stat(path, { bigint: true })
      return {
        kind: kindOf(stat),
        bytes: Number(stat.size),
        mtimeMs: Number(stat.mtimeNs / 1000n) / 1000,
        inode: `${stat.dev}:${stat.ino}`,
      } satisfies DiskStat
    } catch (error) {
      const translated = toDfsError('stat', path, error)
      if (translated.code === 'NOT_FOUND') return undefined
      throw translated
    }
  },

  async list(path) {
    const entries = await attempt('list', path, () => fs.readdir(path, { withFileTypes: true }))
    return entries
      .map((entry): DiskEntry => ({ name: entry.name, kind: kindOf(entry) }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  },

  async makeDirectory(path) {
    try {
      await fs.mkdir(path, { recursive: true })
    } catch (error) {
      const code = codeOf(error)
      if (code !== 'EEXIST' && code !== 'ENOTDIR') throw toDfsError('make directory', path, error)
      throw new DfsError('ALREADY_EXISTS', `${path}, or a part of it, is a file`, { path }, error)
    }
  },

  rename: (from, to) => attempt('rename', from, () => fs.rename(from, to)),
  remove: (path) => attempt('remove', path, () => fs.unlink(path)),
  removeDirectory: (path) => attempt('remove directory', path, () => fs.rmdir(path)),

  async syncDirectory(path) {
    try {
      const descriptor = await fs.open(path, 'r')
      try {
        await fs.fsync(descriptor)
      } finally {
        await fs.close(descriptor)
      }
    } catch (error) {
      throw syncFailed(path, error)
    }
  },

  async space(path): Promise<DiskSpace> {
    const { bsize, blocks, bavail } = await attempt('measure', path, () => statfs(path))
    const { dev } = await attempt('measure', path, () => fs.stat(path))
    return { totalBytes: bsize * blocks, freeBytes: bsize * bavail, device: `${kernelName()} ${dev}` }
  },

  lock: (path) => attempt('lock', path, () => lockFile(path)),
}

let kernel: string | undefined

/** Names the running kernel, whose device numbers are told apart: containers of one machine share it. */
function kernelName(): string {
  kernel ??= bootId() ?? hostname()
  return kernel
}

/** Undefined where there is no Linux. */
function bootId(): string | undefined {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return undefined // the machine's name says as much as can be known
  }
}

class NodeFile implements DiskFile {
  readonly path: string
  readonly #descriptor: number
  #isClosed = false

  constructor(path: string, descriptor: number) {
    this.path = path
    this.#descriptor = descriptor
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    this.#assertOpen()
    // By the callback: of all calls this is the one that comes thousands of times a second.
    return new Promise((resolve, reject) => {
      let done = 0
      const next = (): void => {
        read(this.#descriptor, buffer, done, buffer.length - done, position + done, (error, count) => {
          if (error !== null) {
            try {
              reject(toDfsError('read', this.path, error))
            } catch (bug) {
              reject(bug)
            }
            return
          }
          done += count
          if (count === 0 || done === buffer.length) resolve(done)
          else next()
        })
      }
      next()
    })
  }

  async write(slices: readonly Uint8Array[], position: number): Promise<void> {
    this.#assertOpen()
    let rest = slices.filter((slice) => slice.length > 0)
    let at = position
    try {
      while (rest.length > 0) {
        const batch = rest.length > SLICES_PER_WRITE_MAX ? rest.slice(0, SLICES_PER_WRITE_MAX) : rest
        const written = await this.#writeSome(batch, at)
        // Zero bytes without an error would go round for ever.
        if (written === 0) throw new DfsError('DISK_FAILED', `write ${this.path}: took no bytes`, { path: this.path })
        at += written
        rest = withoutFirst(rest, written)
      }
    } catch (error) {
      throw toDfsError('write', this.path, error)
    }
  }

  async sync(): Promise<void> {
    this.#assertOpen()
    try {
      await fs.fdatasync(this.#descriptor)
    } catch (error) {
      throw syncFailed(this.path, error)
    }
  }

  truncate(bytes: number): Promise<void> {
    this.#assertOpen()
    return attempt('truncate', this.path, () => fs.ftruncate(this.#descriptor, bytes))
  }

  async allocate(bytes: number): Promise<void> {
    const missing = bytes - (await this.size())
    if (missing <= 0) return
    const { freeBytes } = await nodeDisk.space(this.path)
    if (freeBytes < missing) {
      const message = `no room for ${missing} more bytes of ${this.path}: ${freeBytes} free`
      throw new DfsError('DISK_FULL', message, { path: this.path })
    }
  }

  async size(): Promise<number> {
    this.#assertOpen()
    return (await attempt('stat', this.path, () => fs.fstat(this.#descriptor))).size
  }

  close(): Promise<void> {
    this.#assertOpen()
    this.#isClosed = true
    return attempt('close', this.path, () => fs.close(this.#descriptor))
  }

  async #writeSome(batch: readonly Uint8Array[], position: number): Promise<number> {
    const only = batch.length === 1 ? batch[0] : undefined
    if (only !== undefined) {
      return (await fs.write(this.#descriptor, only, 0, only.length, position)).bytesWritten
    }
    return (await fs.writev(this.#descriptor, batch as Uint8Array[], position)).bytesWritten
  }

  /** A descriptor's number is used again after close: a late call would hit another file. */
  #assertOpen(): void {
    assert(!this.#isClosed, `${this.path} is closed`)
  }
}

/** The slices that remain after the first `bytes` of them are gone: what a short write left. */
export function withoutFirst(slices: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let index = 0
  let left = bytes
  while (index < slices.length && left >= slices[index]!.length) left -= slices[index++]!.length
  const rest = slices.slice(index)
  if (left > 0) rest[0] = rest[0]!.subarray(left)
  return rest
}

function kindOf(entry: { isFile(): boolean; isDirectory(): boolean }): 'file' | 'directory' | 'other' {
  return entry.isFile() ? 'file' : entry.isDirectory() ? 'directory' : 'other'
}

async function attempt<T>(what: string, path: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    throw toDfsError(what, path, error)
  }
}

const codes: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'NOT_FOUND',
  ENOTDIR: 'NOT_FOUND',
  EEXIST: 'ALREADY_EXISTS',
  ENOTEMPTY: 'NOT_EMPTY',
  ENOSPC: 'DISK_FULL',
  EDQUOT: 'DISK_FULL',
}

/** Where the step of the code's own row is about the cluster, or about a broken disk. */
const nextSteps: Readonly<Record<string, string>> = {
  ENOENT: 'check the local path',
  ENOTDIR: 'check the local path: a part of it is a file',
  EEXIST: 'check the local path: the name is taken',
  EISDIR: 'name a file: this is a directory',
  EACCES: 'give the user who runs this the rights to it',
  EPERM: 'give the user who runs this the rights to it',
  EROFS: 'mount it for writing, or give another directory',
}

/** The system's error as the port's; a DfsError stays what it is, and so does what is no fault of the world. */
function toDfsError(what: string, path: string, error: unknown): DfsError {
  if (error instanceof DfsError) return error
  const code = codeOf(error)
  if (code === undefined) throw error
  const message = error instanceof Error ? error.message : String(error)
  const next = nextSteps[code]
  const detail = { path, errno: code, ...(next !== undefined && { next }) }
  return new DfsError(codes[code] ?? 'DISK_FAILED', `${what} ${path}: ${message}`, detail, error)
}

function syncFailed(path: string, error: unknown): DfsError {
  const code = codeOf(error)
  if (code === undefined) throw error
  return new DfsError('FSYNC_FAILED', `sync ${path}: ${code}`, { path, errno: code }, error)
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
