// A chunk store on a simulated machine: formatted directories, allocations, and bytes pushed without a network.

import { crc32 } from '../../src/base/crc32.ts'
import {
  type ChunkHandle,
  type ClusterId,
  chunkHandle,
  type DirectoryId,
  type Life,
  type ServerId,
  type SessionId,
} from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import { MiB } from '../../src/base/units.ts'
import { ChunkStore } from '../../src/chunkserver/chunk-store.ts'
import { newCounters } from '../../src/chunkserver/counters.ts'
import { checkDirectories, openDirectories } from '../../src/chunkserver/open-directories.ts'
import type { Replica } from '../../src/chunkserver/replica.ts'
import type { Io } from '../../src/io/io.ts'
import type { Allocation } from '../../src/wire/messages.ts'

export const CLUSTER = '00112233445566778899aabbccddeeff' as ClusterId
export const VERSION = 1

export interface OpenStore {
  readonly store: ChunkStore
  readonly changes: Replica[]
  close(): Promise<void>
}

export async function openStore(io: Io, paths: readonly string[] = ['/d0'], clusterId = CLUSTER): Promise<OpenStore> {
  const checked = await checkDirectories(io, { paths, adoptEmpty: false, logger: silentLogger })
  const directories = await openDirectories(io, checked, clusterId, {
    serverId: 1 as ServerId,
    reserveBytes: 0,
    logger: silentLogger,
    onFailed: () => {},
  })
  const changes: Replica[] = []
  const store = new ChunkStore({
    io,
    clusterId,
    logger: silentLogger,
    counters: newCounters(),
    onChange: (replica) => changes.push(replica),
  })
  for (const directory of directories) await store.load(directory)
  return {
    store,
    changes,
    close: async () => {
      store.files.close()
      for (const directory of directories) await directory.close()
    },
  }
}

export function handleOf(counter: number): ChunkHandle {
  return chunkHandle(7, counter)
}

export function allocationOf(store: ChunkStore, handle: ChunkHandle, over: Partial<Allocation> = {}): Allocation {
  const directory = store.directories[0]!
  return {
    handle,
    version: VERSION,
    logIndex: 12,
    chunkBytes: 4 * MiB,
    shared: false,
    leaseMs: 10_000,
    members: [{ server: 1 as ServerId, directory: directory.id, life: directory.life, address: 'cs1:7000' }],
    ...over,
  }
}

/** Bytes that say where they stand: the same for the same chunk and offset. */
export function bytesAt(seed: number, offset: number, count: number): Buffer {
  const bytes = Buffer.alloc(count)
  for (let i = 0; i < count; i++) bytes[i] = ((offset + i) * 31 + seed * 7 + ((offset + i) >> 8)) & 255
  return bytes
}

/** Pushes the next `count` bytes of `seed`'s content in one piece, cut in slices. */
export function push(replica: Replica, seed: number, count: number): Promise<void> {
  const growing = replica.growing!
  const offset = growing.arrived
  const bytes = bytesAt(seed, offset, count)
  const piece = growing.beginPiece(offset, count)
  for (let at = 0; at < count; at += 1500) piece.push(bytes.subarray(at, at + 1500), undefined)
  if (piece.crc !== crc32(bytes)) throw new Error('the sums of the blocks do not combine to that of the piece')
  return piece.finish()
}

export async function pushAndCommit(replica: Replica, seed: number, count: number, sync: boolean): Promise<void> {
  const growing = replica.growing!
  const received = push(replica, seed, count)
  await Promise.all([received, growing.commit(growing.order.issue(), growing.arrived, sync)])
  growing.committed = Math.max(growing.committed, growing.sums.length)
}

/** Appends one batch of records to a shared chunk: lengths in order, sequences counted on from the last. */
export async function appendBatch(
  replica: Replica,
  seed: number,
  lengths: readonly number[],
  sync: boolean,
): Promise<void> {
  const growing = replica.growing!
  const offset = growing.arrived
  const total = lengths.reduce((sum, length) => sum + length, 0)
  const first = growing.index.entries.length + 1
  const received = push(replica, seed, total)
  let at = offset
  const entries = lengths.map((length, index) => {
    const entry = { writer: 5 as SessionId, sequence: first + index, count: 1, offset: at, length }
    at += length
    return entry
  })
  await Promise.all([received, growing.commit(growing.order.issue(), offset + total, sync, entries)])
}

export type { DirectoryId, Life }
