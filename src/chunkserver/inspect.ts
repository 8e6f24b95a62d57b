// Looking at a data directory from outside: what stands behind `dfsd chunk-store`. Offline; takes no lock and never
// changes a byte. Run against a live server it may find growing chunks between two writes.

import { crc32 } from '../base/crc32.ts'
import { DfsError, isDfsError } from '../base/errors.ts'
import { formatHandle, formatServer, parseHandle } from '../base/ids.ts'
import { BLOCK_BYTES } from '../base/limits.ts'
import { MiB } from '../base/units.ts'
import type { Disk, DiskFile } from '../io/disk.ts'
import type { BlockSums } from './block-sums.ts'
import { CHUNKS_NAME, IDENTITY_NAME, QUARANTINE_NAME } from './data-directory.ts'
import { type ChunkHeader, META_BYTES_MAX } from './format.ts'
import { decodeIdentity, IDENTITY_BYTES } from './identity-format.ts'
import { adopt, type Replay, replay } from './replay.ts'

/** What the identity file says. */
export interface DirectoryRow {
  readonly clusterId: string
  /** The server's identity and number, `cs-3`; '' when the master has given none. */
  readonly identity: number
  readonly server: string
  readonly directory: number
  readonly siblings: readonly number[]
}

/** One chunk. */
export interface ChunkRow {
  /** 14 hex digits. */
  readonly handle: string
  readonly state: 'sealed' | 'fenced' | 'open' | 'tombstone' | 'damaged' | 'unborn'
  readonly version: number
  /** Bytes it can prove; of these, bytes that were on disk for certain. */
  readonly length: number
  readonly syncedLength: number
  /** Of a sealed chunk. */
  readonly digest: number | undefined
  readonly shared: boolean
  readonly records: number
  readonly indexEntries: number
  readonly logIndex: number
  readonly dataBytes: number
  readonly metaBytes: number
  /** What is wrong: the journal, or (verify) the first bad block. */
  readonly damage: string | undefined
  /** Chunk offsets of blocks that don't match their sums; only `verifyStore` looks. */
  readonly badBlocks: readonly number[]
}

export interface StoreVerdict {
  readonly isSound: boolean
  readonly directory: DirectoryRow
  readonly chunks: number
  readonly bytes: number
  readonly damaged: number
  /** Files that are no chunk: a start would move them to the quarantine. */
  readonly strays: number
  readonly quarantined: number
}

/** Bad blocks named for one chunk at most; the rest is only counted in `damage`. */
const BAD_BLOCKS_MAX = 1024

/** The identity of the data directory at `path`. Throws NOT_FOUND, BAD_FORMAT. */
export async function readDirectory(disk: Disk, path: string): Promise<DirectoryRow> {
  const name = `${path}/${IDENTITY_NAME}`
  const bytes = await readWhole(disk, name, IDENTITY_BYTES)
  const identity = decodeIdentity(bytes)
  if ('fault' in identity) throw new DfsError('BAD_FORMAT', `${name}: ${identity.fault}`, { path: name })
  const { clusterId, server, serverId, directory, siblings } = identity
  return { clusterId, identity: server, server: serverId === 0 ? '' : formatServer(serverId), directory, siblings }
}

/** Every chunk as its files describe it, without reading chunk bytes that were on disk. */
export function dumpStore(disk: Disk, path: string): AsyncGenerator<ChunkRow> {
  return walk(disk, path, false)
}

/** Every chunk with every block read and compared. @returns the verdict over all of them */
export async function* verifyStore(disk: Disk, path: string): AsyncGenerator<ChunkRow, StoreVerdict> {
  const directory = await readDirectory(disk, path)
  let chunks = 0
  let bytes = 0
  let damaged = 0
  for await (const row of walk(disk, path, true)) {
    chunks++
    bytes += row.length
    if (row.damage !== undefined && row.state !== 'unborn') damaged++
    yield row
  }
  const strays = await countStrays(disk, path)
  const quarantined = await countFiles(disk, `${path}/${QUARANTINE_NAME}`)
  return { isSound: damaged === 0, directory, chunks, bytes, damaged, strays, quarantined }
}

async function* walk(disk: Disk, path: string, isVerifying: boolean): AsyncGenerator<ChunkRow> {
  for (const shard of await disk.list(`${path}/${CHUNKS_NAME}`)) {
    if (shard.kind !== 'directory') continue
    const folder = `${path}/${CHUNKS_NAME}/${shard.name}`
    for (const entry of await disk.list(folder)) {
      const handle = /\.meta$/.test(entry.name) ? parseHandle(entry.name.slice(0, -5)) : undefined
      if (handle !== undefined) yield look(disk, `${folder}/${formatHandle(handle)}`, formatHandle(handle), isVerifying)
    }
  }
}

async function look(disk: Disk, stem: string, handle: string, isVerifying: boolean): Promise<ChunkRow> {
  const [meta, data] = await Promise.all([disk.stat(`${stem}.meta`), disk.stat(`${stem}.data`)])
  const sizes = { dataBytes: data?.bytes ?? 0, metaBytes: meta?.bytes ?? 0 }
  const found = await readJournal(disk, `${stem}.meta`)
  if ('fault' in found) return { ...NOTHING, ...sizes, handle, damage: found.fault }
  const { header, sums, index, sealed, version } = found
  const syncedLength = sealed?.length ?? sums.length
  let damage = found.damage
  const badBlocks: number[] = []
  if (sealed !== undefined) {
    sums.cut(0, 0)
    sums.extend(sealed.length, sealed.sums)
    if (sums.digest() !== sealed.digest)
      damage = `its block sums combine to ${sums.digest()}, ${sealed.digest} was sealed`
  }
  if (data === undefined && syncedLength > 0) damage ??= 'the data file is missing'
  else if (sizes.dataBytes < syncedLength)
    damage ??= `the data file has ${sizes.dataBytes} bytes, ${syncedLength} were on disk`
  else if (data !== undefined) {
    await withFile(disk, `${stem}.data`, async (file) => {
      if (isVerifying) for await (const at of badBlocksOf(file, sums)) badBlocks.push(at)
      if (sealed === undefined && damage === undefined) await proveRest(file, found)
    })
  }
  if (badBlocks.length > 0) damage ??= `${badBlocks.length} bad blocks, the first at ${badBlocks[0]}`
  return {
    handle,
    state: stateOf(header, found, damage),
    version,
    length: sums.length,
    syncedLength,
    digest: sealed?.digest,
    shared: header.shared,
    records: found.recordCount,
    indexEntries: sealed?.entries.length ?? index.entries.length,
    logIndex: header.logIndex,
    ...sizes,
    damage,
    badBlocks: badBlocks.slice(0, BAD_BLOCKS_MAX),
  }
}

const NOTHING = {
  state: 'unborn',
  version: 0,
  length: 0,
  syncedLength: 0,
  digest: undefined,
  shared: false,
  records: 0,
  indexEntries: 0,
  logIndex: 0,
  badBlocks: [],
} as const

function stateOf(header: ChunkHeader, found: Replay, damage: string | undefined): ChunkRow['state'] {
  if (damage !== undefined) return 'damaged'
  if (header.isTombstone) return 'tombstone'
  if (found.sealed !== undefined) return 'sealed'
  return found.isFenced ? 'fenced' : 'open'
}

async function readJournal(disk: Disk, path: string): Promise<Replay | { readonly fault: string }> {
  try {
    return replay(await readWhole(disk, path, META_BYTES_MAX))
  } catch (error) {
    if (!isDfsError(error)) throw error
    return { fault: error.message }
  }
}

/** Chunk offsets of blocks that don't match. */
async function* badBlocksOf(file: DiskFile, sums: BlockSums): AsyncGenerator<number> {
  const buffer = Buffer.allocUnsafe(1 * MiB)
  for (let at = 0; at < sums.length; at += buffer.length) {
    const part = buffer.subarray(0, Math.min(buffer.length, sums.length - at))
    const count = await file.read(part, at)
    for (let inside = 0; inside < part.length; inside += BLOCK_BYTES) {
      const block = part.subarray(inside, Math.min(inside + BLOCK_BYTES, part.length))
      const isRight = inside + block.length <= count && crc32(block) === sums.at((at + inside) / BLOCK_BYTES)
      if (!isRight) yield at + inside
    }
  }
}

/** Adds what lies beyond the synced length and proves right, as a start would. */
async function proveRest(file: DiskFile, found: Replay): Promise<void> {
  for (const record of found.unproven) {
    const first = Math.floor(record.from / BLOCK_BYTES)
    const bytes = Buffer.allocUnsafe(record.to - first * BLOCK_BYTES)
    if ((await file.read(bytes, first * BLOCK_BYTES)) < bytes.length) return
    for (let index = 0; index < record.sums.length; index++) {
      if (crc32(bytes.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES)) !== record.sums[index]) return
    }
    if (!adopt(found.sums, found.index, record)) return
  }
}

async function countStrays(disk: Disk, path: string): Promise<number> {
  let strays = 0
  for (const shard of await disk.list(`${path}/${CHUNKS_NAME}`)) {
    if (shard.kind !== 'directory') {
      strays++
      continue
    }
    const names = new Set((await disk.list(`${path}/${CHUNKS_NAME}/${shard.name}`)).map((entry) => entry.name))
    for (const name of names) {
      const isChunk = /^[0-9a-f]{14}\.meta$/.test(name) || names.has(name.replace(/\.data$/, '.meta'))
      if (!isChunk) strays++
    }
  }
  return strays
}

async function countFiles(disk: Disk, path: string): Promise<number> {
  return (await disk.stat(path)) === undefined ? 0 : (await disk.list(path)).length
}

/** The whole file, at most `bytesMax` bytes: BAD_FORMAT when it is longer. */
async function readWhole(disk: Disk, path: string, bytesMax: number): Promise<Buffer> {
  return withFile(disk, path, async (file) => {
    const size = await file.size()
    if (size > bytesMax)
      throw new DfsError('BAD_FORMAT', `${path} has ${size} bytes, at most ${bytesMax} are possible`, { path })
    const bytes = Buffer.allocUnsafe(size)
    return bytes.subarray(0, await file.read(bytes, 0))
  })
}

async function withFile<T>(disk: Disk, path: string, action: (file: DiskFile) => Promise<T>): Promise<T> {
  const file = await disk.open(path, 'read')
  try {
    return await action(file)
  } finally {
    await file.close()
  }
}
