// The files of a copy of a sealed chunk, until they are the replica: written beside, proven, then renamed.
//
//   1. HANDLE.data.new is written and synced, its name too
//   2. HANDLE.meta.new (header, `sealed` record, trailer) alike: so it is only ever there beside a whole HANDLE.data.new
//   3. data is renamed, the directory synced; meta is renamed, the directory synced
//
// A start therefore knows what a crash left: meta.new without data.new is a copy whose data has its name already, and is
// completed; everything else is removed, meta.new first. What was here before stays readable all along: new data has
// the old data's bytes wherever the old journal proves any.
//
// Every fault of the disk is told to the directory here, where it is known to be its own: what comes out of a copy as
// DISK_FAILED may as well be what a source said of itself.
//
// README.md beside this file, "Copies".

import { isDfsError } from '../base/errors.ts'
import type { ChunkHandle } from '../base/ids.ts'
import type { DiskFile } from '../io/disk.ts'
import type { DataDirectory } from './data-directory.ts'
import {
  CHUNK_HEADER_BYTES,
  type ChunkHeader,
  encodeHeader,
  encodeRecord,
  encodeTrailer,
  type SealedRecord,
} from './format.ts'
import type { Sealed } from './replica.ts'

const SUFFIX = '.new'
/** CRC32 of a header stands in its last four bytes. */
const HEADER_CRC_AT = CHUNK_HEADER_BYTES - 4

export class CloneFiles {
  readonly directory: DataDirectory
  readonly #handle: ChunkHandle
  readonly #data: DiskFile
  #isOpen = true
  #isPlacing = false

  private constructor(directory: DataDirectory, handle: ChunkHandle, data: DiskFile) {
    this.directory = directory
    this.#handle = handle
    this.#data = data
  }

  /** Makes the data file; what an earlier try left is removed. Throws DISK_FULL, DISK_FAILED, FSYNC_FAILED. */
  static begin(directory: DataDirectory, handle: ChunkHandle, bytes: number): Promise<CloneFiles> {
    return noted(directory, CloneFiles.#begin(directory, handle, bytes))
  }

  static async #begin(directory: DataDirectory, handle: ChunkHandle, bytes: number): Promise<CloneFiles> {
    await removeCloneFiles(directory, handle)
    const data = await directory.disk.open(directory.dataPath(handle) + SUFFIX, 'create')
    const files = new CloneFiles(directory, handle, data)
    try {
      await data.allocate(bytes)
      return files
    } catch (error) {
      await files.discard()
      throw error
    }
  }

  write(slices: readonly Buffer[], offset: number): Promise<void> {
    return noted(this.directory, this.#data.write(slices, offset))
  }

  /** Steps 1 and 2: all bytes are written and proven. */
  finish(header: ChunkHeader, record: Omit<SealedRecord, 'kind'>): Promise<Sealed> {
    return noted(this.directory, this.#finish(header, record))
  }

  async #finish(header: ChunkHeader, record: Omit<SealedRecord, 'kind'>): Promise<Sealed> {
    await this.#data.sync()
    await this.#close()
    await this.directory.syncNames(this.#handle)
    const first = encodeHeader(header)
    const seed = first.readUInt32LE(HEADER_CRC_AT)
    const { bytes, crc } = encodeRecord({ kind: 'sealed', ...record }, CHUNK_HEADER_BYTES, seed, 0)
    const sealed: Sealed = {
      length: record.length,
      digest: record.digest,
      indexDigest: record.indexDigest,
      recordOffset: CHUNK_HEADER_BYTES,
      recordBytes: bytes.length,
      recordCrc: crc,
    }
    const trailer = encodeTrailer({ handle: this.#handle, version: record.version, ...sealed })
    const meta = await this.directory.disk.open(this.directory.metaPath(this.#handle) + SUFFIX, 'create')
    try {
      await meta.write([first, bytes, trailer], 0)
      await meta.sync()
    } finally {
      await meta.close()
    }
    await this.directory.syncNames(this.#handle)
    return sealed
  }

  /** Step 3: the copy is the replica once this resolves. */
  place(): Promise<void> {
    return noted(this.directory, this.#place())
  }

  async #place(): Promise<void> {
    const { directory } = this
    this.#isPlacing = true
    await directory.disk.rename(directory.dataPath(this.#handle) + SUFFIX, directory.dataPath(this.#handle))
    await directory.syncNames(this.#handle)
    await completeClone(directory, this.#handle)
  }

  /** Gives up; once `place` has begun the files are left to the next start, which knows how far it came. */
  async discard(): Promise<void> {
    if (this.#isPlacing) return
    await this.#close()
    await removeCloneFiles(this.directory, this.#handle)
  }

  async #close(): Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    await this.#data.close()
  }
}

/** Settles as `work` does, after its directory knows of a fault of the disk. */
async function noted<T>(directory: DataDirectory, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (isDfsError(error)) directory.onDiskError(error)
    throw error
  }
}

/** The handle's stem in the name of a copy's file; undefined for other names. */
export function cloneStem(name: string): string | undefined {
  return /^([0-9a-f]{14})\.(data|meta)\.new$/.exec(name)?.[1]
}

/** Ends what a crash left of a copy. @returns whether it was completed: the chunk's own names have changed */
export async function resolveClone(directory: DataDirectory, handle: ChunkHandle): Promise<boolean> {
  const [data, meta] = await Promise.all([
    directory.disk.stat(directory.dataPath(handle) + SUFFIX),
    directory.disk.stat(directory.metaPath(handle) + SUFFIX),
  ])
  if (data === undefined && meta !== undefined) {
    await completeClone(directory, handle)
    return true
  }
  await removeCloneFiles(directory, handle)
  return false
}

async function completeClone(directory: DataDirectory, handle: ChunkHandle): Promise<void> {
  await directory.disk.rename(directory.metaPath(handle) + SUFFIX, directory.metaPath(handle))
  await directory.syncNames(handle)
}

/** Meta first, and for certain: alone it would count as a copy to complete. */
async function removeCloneFiles(directory: DataDirectory, handle: ChunkHandle): Promise<void> {
  if (await removed(directory, directory.metaPath(handle) + SUFFIX)) await directory.syncNames(handle)
  await removed(directory, directory.dataPath(handle) + SUFFIX)
}

async function removed(directory: DataDirectory, path: string): Promise<boolean> {
  try {
    await directory.disk.remove(path)
    return true
  } catch (error) {
    if (isDfsError(error, 'NOT_FOUND')) return false
    throw error
  }
}
