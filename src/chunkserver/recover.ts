// Finds out at a start what a chunk's files still prove. Decision table in README.md, "Recovery".
//
// Invariants:
//   - nothing below the synced length is ever given up: a bad block there is a bad block, not a shorter replica
//   - beyond it the longest run of commits counts whose blocks all match their sums
//   - nothing is cut or written here but a missing trailer and what lies beyond a seal

import { crc32 } from '../base/crc32.ts'
import { type ChunkHandle, type ClusterId, formatHandle } from '../base/ids.ts'
import { BLOCK_BYTES } from '../base/limits.ts'
import { MiB } from '../base/units.ts'
import type { Disk, DiskFile } from '../io/disk.ts'
import type { DataDirectory } from './data-directory.ts'
import {
  CHUNK_HEADER_BYTES,
  type ChunkHeader,
  decodeHeader,
  decodeTrailer,
  type ExtendRecord,
  encodeTrailer,
  META_BYTES_MAX,
  SEALED_TRAILER_BYTES,
} from './format.ts'
import { adopt, type Replay, replay } from './replay.ts'
import { Replica, type Sealed } from './replica.ts'

/** Either a replica, or why the files are none: the caller moves them to the quarantine. */
export type Recovered = { readonly replica: Replica } | { readonly fault: string }

/** @param dataBytes  of the data file, undefined when there is none */
export async function recoverReplica(
  directory: DataDirectory,
  clusterId: ClusterId,
  handle: ChunkHandle,
  metaBytes: number,
  dataBytes: number | undefined,
): Promise<Recovered> {
  const { disk } = directory
  const meta = await disk.open(directory.metaPath(handle), 'read')
  try {
    const first = Buffer.alloc(CHUNK_HEADER_BYTES)
    const header = decodeHeader(first.subarray(0, await meta.read(first, 0)))
    if ('fault' in header) return { fault: `no chunk was born here: ${header.fault}` }
    if (header.clusterId !== clusterId) return { fault: `it belongs to cluster ${header.clusterId}` }
    if (header.handle !== handle) return { fault: `it holds chunk ${formatHandle(header.handle)} under another name` }
    const sealed = await readTrailer(meta, metaBytes, handle)
    if (sealed !== undefined)
      return { replica: await sealedReplica(directory, header, sealed.version, sealed, dataBytes) }
    if (metaBytes > META_BYTES_MAX)
      return { fault: `a meta file of ${metaBytes} bytes, at most ${META_BYTES_MAX} are possible` }
    const file = Buffer.allocUnsafe(metaBytes)
    const replayed = replay(file.subarray(0, await meta.read(file, 0)))
    if ('fault' in replayed) return replayed
    if (replayed.sealedAt !== undefined) {
      const found = await completeSeal(directory, replayed)
      return { replica: await sealedReplica(directory, header, replayed.version, found, dataBytes) }
    }
    return { replica: await keptReplica(directory, replayed, dataBytes) }
  } finally {
    await meta.close()
  }
}

async function readTrailer(
  meta: DiskFile,
  metaBytes: number,
  handle: ChunkHandle,
): Promise<(Sealed & { version: number }) | undefined> {
  if (metaBytes < CHUNK_HEADER_BYTES + SEALED_TRAILER_BYTES) return undefined
  const bytes = Buffer.alloc(SEALED_TRAILER_BYTES)
  await meta.read(bytes, metaBytes - SEALED_TRAILER_BYTES)
  const trailer = decodeTrailer(bytes)
  if (trailer === undefined || trailer.handle !== handle) return undefined
  return trailer.recordOffset + trailer.recordBytes + SEALED_TRAILER_BYTES === metaBytes ? trailer : undefined
}

/** The record was written, the trailer not whole: writes it, so that the next start needs two small reads. */
async function completeSeal(directory: DataDirectory, replayed: Replay): Promise<Sealed> {
  const { header, sealed, sealedAt } = replayed
  const found: Sealed = {
    length: sealed!.length,
    digest: sealed!.digest,
    indexDigest: sealed!.indexDigest,
    recordOffset: sealedAt!.offset,
    recordBytes: sealedAt!.bytes,
    recordCrc: sealedAt!.crc,
  }
  const file = await directory.disk.open(directory.metaPath(header.handle), 'write')
  try {
    await file.truncate(replayed.endBytes)
    await file.write([encodeTrailer({ handle: header.handle, version: replayed.version, ...found })], replayed.endBytes)
    await file.sync()
  } finally {
    await file.close()
  }
  return found
}

async function sealedReplica(
  directory: DataDirectory,
  header: ChunkHeader,
  version: number,
  sealed: Sealed,
  dataBytes: number | undefined,
): Promise<Replica> {
  const replica = new Replica(header, directory, version, { kind: 'sealed', sealed }, true)
  const bytes = dataBytes ?? 0
  if (bytes < sealed.length) replica.damage = missing(dataBytes, sealed.length)
  else if (bytes > sealed.length) await cut(directory.disk, replica.dataPath, sealed.length)
  return replica
}

async function keptReplica(
  directory: DataDirectory,
  replayed: Replay,
  dataBytes: number | undefined,
): Promise<Replica> {
  const { header, sums, index, unproven, damage } = replayed
  const syncedLength = sums.length
  if (damage === undefined && dataBytes !== undefined && unproven.length > 0) {
    const file = await directory.disk.open(directory.dataPath(header.handle), 'read')
    try {
      for (const record of unproven) {
        if (!(await isProven(file, record)) || !adopt(sums, index, record)) break
      }
    } finally {
      await file.close()
    }
  }
  const kept = {
    sums,
    index,
    syncedLength,
    endBytes: replayed.endBytes,
    endCrc: replayed.endCrc,
    hasTornTail: replayed.tornBytes > 0,
  }
  const replica = new Replica(header, directory, replayed.version, { kind: 'kept', kept }, replayed.isFenced)
  if (damage !== undefined) replica.damage = damage
  else if ((dataBytes ?? 0) < syncedLength) replica.damage = missing(dataBytes, syncedLength)
  return replica
}

/** Whether every block that the record describes matches its sum. */
async function isProven(file: DiskFile, record: ExtendRecord): Promise<boolean> {
  const first = Math.floor(record.from / BLOCK_BYTES)
  const start = first * BLOCK_BYTES
  const buffer = Buffer.allocUnsafe(Math.min(MiB, Math.max(record.to - start, 0)))
  for (let at = start; at < record.to && record.from < record.to; ) {
    const part = buffer.subarray(0, Math.min(buffer.length, record.to - at))
    if ((await file.read(part, at)) < part.length) return false
    for (let inside = 0; inside < part.length; inside += BLOCK_BYTES) {
      const block = part.subarray(inside, Math.min(inside + BLOCK_BYTES, part.length))
      if (crc32(block) !== record.sums[(at + inside) / BLOCK_BYTES - first]) return false
    }
    at += part.length
  }
  return true
}

async function cut(disk: Disk, path: string, length: number): Promise<void> {
  const file = await disk.open(path, 'write')
  try {
    await file.truncate(length)
  } finally {
    await file.close()
  }
}

function missing(dataBytes: number | undefined, length: number): string {
  return dataBytes === undefined
    ? `the data file is missing, ${length} bytes were on disk`
    : `the data file has ${dataBytes} bytes, ${length} were on disk`
}
