// Reads: whole blocks, each proven against its stored checksum before one byte leaves.
//
// Length and checksum of a growing replica's last block are taken in one step, so a read meets a state that was.
// What was committed can't change: bytes are read at leisure after that.
//
// Source: GFS §5.2.

import { combineRun, wrongBlock } from '../base/blocks.ts'
import { crc32, crc32Combine } from '../base/crc32.ts'
import { DfsError } from '../base/errors.ts'
import { formatHandle } from '../base/ids.ts'
import { BLOCK_BYTES, PIECE_BYTES } from '../base/limits.ts'
import { blockCount } from './block-sums.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { ChunkStore } from './chunk-store.ts'
import type { Replica } from './replica.ts'

export interface ProvenBlocks {
  /** Chunk offset of the first byte: a multiple of BLOCK_BYTES. */
  readonly offset: number
  /** A view of `buffer`, or of nothing. */
  readonly bytes: Buffer
  /** One for each block; the last may cover a part of a block. */
  readonly sums: Uint32Array
  /** CRC32 of `bytes`. */
  readonly crc: number
  /** To be given back to the pool when `bytes` are no longer needed. */
  readonly buffer: Buffer
}

/**
 * The blocks that hold `length` bytes at `offset`, from the first on at most as many as the pool has room for now
 * (PIECE_BYTES or PIECE_BYTES_MAX).
 * Throws NO_SUCH_REPLICA, STALE_VERSION, BEYOND_COMMITTED, CORRUPT_REPLICA (the replica is then reported), BUSY.
 */
export async function readBlocks(
  store: ChunkStore,
  pool: BufferPool,
  replica: Replica,
  offset: number,
  length: number,
): Promise<ProvenBlocks> {
  const proof = store.knownProof(replica) ?? (await store.proofOf(replica))
  const { handle } = replica
  checkReach(replica, offset + length)
  const first = Math.floor(offset / BLOCK_BYTES)
  const start = first * BLOCK_BYTES
  const wanted = Math.min(start + pool.readBytesMax, blockCount(offset + length) * BLOCK_BYTES)
  const end = Math.min(wanted, proof.sums.length)
  const sums = proof.sums.slice(first, blockCount(end))
  const buffer = pool.take(end - start)
  try {
    const bytes = buffer.subarray(0, end - start)
    const count = await store.read(replica, replica.dataPath, bytes, start)
    if (count < bytes.length) {
      checkReach(replica, offset + length) // a seal may have cut it meanwhile
      const block = first + Math.floor(count / BLOCK_BYTES)
      throw store.damaged(replica, `the data file ends at ${start + count}, ${end} bytes belong to it`, { block })
    }
    const crc = combineRun(0, sums, 0, sums.length, bytes.length)
    if (crc32(bytes) !== crc) {
      const { index, actual } = wrongBlock(bytes, sums, 0)
      const block = first + index
      const reason = `block ${block} has checksum ${actual}, ${sums[index]} is stored`
      throw store.damaged(replica, reason, { block })
    }
    if (replica.isGone) throw new DfsError('NO_SUCH_REPLICA', `chunk ${formatHandle(handle)} was removed`, { handle })
    store.counters.reads++
    store.counters.bytesRead += bytes.length
    return { offset: start, bytes, sums, crc, buffer }
  } catch (error) {
    pool.give(buffer)
    throw error
  }
}

/** CRC32 of a range, every byte read and verified. Throws as `readBlocks`. */
export async function checksumOf(
  store: ChunkStore,
  pool: BufferPool,
  replica: Replica,
  offset: number,
  length: number,
): Promise<number> {
  let digest = 0
  for (let at = offset; at < offset + length; ) {
    const found = await readBlocks(store, pool, replica, at, Math.min(PIECE_BYTES, offset + length - at))
    const part = found.bytes.subarray(at - found.offset, offset + length - found.offset)
    const isWhole = part.length === found.bytes.length
    digest = isWhole ? crc32Combine(digest, found.crc, part.length) : crc32(part, digest)
    at += part.length
    pool.give(found.buffer)
  }
  return digest
}

function checkReach(replica: Replica, end: number): void {
  if (end <= replica.length) return
  const { handle } = replica
  const message = `chunk ${formatHandle(handle)}: ${replica.length} bytes here, a read up to ${end}`
  throw new DfsError('BEYOND_COMMITTED', message, { handle, length: replica.length, end })
}
