// Fence, digest, seal: how an open chunk ends at one server (DESIGN §2).
//
// Order of a seal, each step only when the one before is durable:
//
//   1. fence            nothing is added any more
//   2. compare          the digest of the first `length` bytes with the log's; different: kept, and CORRUPT_REPLICA
//   3. sync the data
//   4. `sealed` record with all sums and the index, and the trailer; sync
//   5. cut the data     only now
//
// A replica that is shorter than the log says is a true prefix: it is kept as it is, and says how long it is.

import { assert } from '../base/assert.ts'
import { crc32Combine } from '../base/crc32.ts'
import { DfsError, isDfsError } from '../base/errors.ts'
import { type ChunkHandle, type DirectoryId, formatHandle, type Life } from '../base/ids.ts'
import { BLOCK_BYTES } from '../base/limits.ts'
import type { ReplicaFacts, ReplyOf } from '../wire/messages.ts'
import { BlockSums, blockCount } from './block-sums.ts'
import type { ChunkStore } from './chunk-store.ts'
import { encodeTrailer } from './format.ts'
import { Journal } from './journal.ts'
import { partialSum } from './partial-sum.ts'
import { RecordIndex } from './record-index.ts'
import type { Kept, Proof, Replica, Sealed } from './replica.ts'

export interface SealOrder {
  readonly handle: ChunkHandle
  readonly version: number
  readonly length: number
  readonly digest: number
  readonly indexDigest: number
}

/**
 * Fences a chunk for ever, also one that is not here yet. Resolves when the fence is durable, with what is held.
 * Throws WRONG_DISK (no such directory here), DISK_FAILED, FSYNC_FAILED.
 */
export async function fence(
  store: ChunkStore,
  handle: ChunkHandle,
  directoryId: DirectoryId,
  life: Life,
): Promise<ReplyOf<'fence'>> {
  store.counters.fences++
  const directory = store.directory(directoryId)
  if (directory === undefined) {
    const message = `chunk ${formatHandle(handle)}: directory ${directoryId} is not one of this server`
    throw new DfsError('WRONG_DISK', message, { handle, directory: directoryId })
  }
  directory.check()
  const isInLife = directory.life === life
  const replica = store.find(handle)
  if (replica === undefined) {
    store.refuse(handle)
    return { exists: false, inLife: isInLife, length: 0, digest: 0, syncedLength: 0, indexDigest: 0 }
  }
  // In this turn already: what comes from now on is refused.
  if (replica.growing !== undefined) replica.growing.fence().catch(() => {}) // awaited below
  await replica.inTurn(() => makeFence(store, replica))
  const { length } = replica
  const { digest, indexDigest } = await digestAt(store, replica, length)
  return {
    exists: true,
    inLife: isInLife && replica.header.directory === directoryId && replica.header.life === life,
    length,
    digest,
    syncedLength: replica.syncedLength,
    indexDigest,
  }
}

async function makeFence(store: ChunkStore, replica: Replica): Promise<void> {
  const { form } = replica
  if (replica.isFenced || form.kind === 'sealed') return
  if (form.kind === 'growing') {
    await form.growing.fence()
    await store.stopGrowing(replica, form.growing)
  } else if (replica.damage === undefined) {
    await withMeta(replica, form.kept, async (journal) => {
      await journal.append({ kind: 'fenced' })
      await Promise.all([journal.sync(), replica.directory.syncNames(replica.handle)])
    })
  }
  replica.isFenced = true
  store.changed(replica)
}

/**
 * CRC32 of the first `length` bytes, and of the index entries that lie whole below it. The block that `length` cuts is
 * read and verified. Throws BEYOND_COMMITTED when that much is not there, CORRUPT_REPLICA.
 */
export async function digestAt(
  store: ChunkStore,
  replica: Replica,
  length: number,
): Promise<{ digest: number; indexDigest: number }> {
  const proof = await store.proofOf(replica)
  const { handle } = replica
  if (length > replica.length) {
    const message = `chunk ${formatHandle(handle)}: ${replica.length} bytes here, a digest of ${length} was asked for`
    throw new DfsError('BEYOND_COMMITTED', message, { handle, length: replica.length })
  }
  const indexDigest = proof.index.digestAt(length)
  if (length === proof.sums.length) return { digest: proof.sums.digest(), indexDigest }
  const digest = proof.sums.digestOfBlocks(Math.floor(length / BLOCK_BYTES))
  const rest = length % BLOCK_BYTES
  if (rest === 0) return { digest, indexDigest }
  return { digest: crc32Combine(digest, await cutSum(store, replica, proof, length), rest), indexDigest }
}

/** The sum of the block that `length` lies in, up to `length`. */
async function cutSum(store: ChunkStore, replica: Replica, proof: Proof, length: number): Promise<number> {
  try {
    return await partialSum(proof.sums, length, (buffer, at) => store.read(replica, replica.dataPath, buffer, at))
  } catch (error) {
    if (isDfsError(error, 'CORRUPT_REPLICA') && replica.damage === undefined)
      throw store.damaged(replica, error.message)
    throw error
  }
}

/**
 * Seals as the log says; once more with the same is answered the same. A shorter replica stays what it is.
 * Throws NO_SUCH_REPLICA, STALE_VERSION (of the order), CORRUPT_REPLICA (kept, and reported), DISK_FULL, DISK_FAILED,
 * FSYNC_FAILED.
 */
export async function seal(store: ChunkStore, order: SealOrder): Promise<ReplicaFacts> {
  const replica = store.get(order.handle)
  if (order.version < replica.version) {
    const message = `chunk ${formatHandle(order.handle)}: an order for version ${order.version}, ${replica.version} is here`
    throw new DfsError('STALE_VERSION', message, { handle: order.handle, version: replica.version })
  }
  if (replica.growing !== undefined) replica.growing.fence().catch(() => {}) // awaited below
  return replica.inTurn(async () => {
    await makeFence(store, replica)
    await sealInTurn(store, replica, order)
    return replica.facts()
  })
}

async function sealInTurn(store: ChunkStore, replica: Replica, order: SealOrder): Promise<void> {
  const { form } = replica
  if (replica.isGone)
    throw new DfsError('NO_SUCH_REPLICA', `chunk ${formatHandle(order.handle)} was removed`, { handle: order.handle })
  if (form.kind === 'sealed') {
    const { length, digest } = form.sealed
    if (length === order.length && digest === order.digest) return
    throw store.damaged(
      replica,
      `sealed at ${length} with digest ${digest}, the log says ${order.length} and ${order.digest}`,
    )
  }
  assert(form.kind === 'kept', 'a fence ends the growing')
  if (replica.damage !== undefined) throw store.damaged(replica, replica.damage)
  if (replica.length < order.length) return
  const own = await digestAt(store, replica, order.length)
  if (own.digest !== order.digest) {
    throw store.damaged(
      replica,
      `the first ${order.length} bytes have digest ${own.digest}, the log says ${order.digest}`,
    )
  }
  if (replica.header.shared && own.indexDigest !== order.indexDigest) {
    throw store.damaged(replica, `the record index has digest ${own.indexDigest}, the log says ${order.indexDigest}`)
  }
  const proof = await cutProof(store, replica, form.kept, order.length)
  let sealed: Sealed
  try {
    sealed = await writeSeal(replica, form.kept, proof, order)
  } catch (error) {
    if (isDfsError(error)) replica.directory.onDiskError(error)
    throw error
  }
  replica.form = { kind: 'sealed', sealed }
  replica.version = order.version
  store.rememberProof(order.handle, proof)
  store.account(replica, order.length)
  store.counters.seals++
  store.changed(replica)
}

/** Steps 3 to 5. */
async function writeSeal(replica: Replica, kept: Kept, proof: Proof, order: SealOrder): Promise<Sealed> {
  const { version, length, digest, indexDigest } = order
  const data = await replica.directory.disk.open(replica.dataPath, 'write')
  try {
    await Promise.all([data.sync(), replica.directory.syncNames(replica.handle)])
    const sealed = await withMeta(replica, kept, async (journal) => {
      const sums = proof.sums.slice(0, blockCount(length))
      const recordOffset = journal.endBytes
      const appended = journal.append({
        kind: 'sealed',
        version,
        length,
        digest,
        indexDigest,
        sums,
        entries: proof.index.entries,
      })
      const recordBytes = journal.endBytes - recordOffset
      const written = { length, digest, indexDigest, recordOffset, recordBytes, recordCrc: journal.endCrc }
      const trailer = encodeTrailer({ handle: order.handle, version, ...written })
      await Promise.all([appended, journal.appendRaw(trailer)])
      await journal.sync()
      return written
    })
    if ((await data.size()) > length) await data.truncate(length)
    return sealed
  } finally {
    await data.close()
  }
}

/** Sums and index of the first `length` bytes, in objects of their own: readers may be at work with the others. */
async function cutProof(store: ChunkStore, replica: Replica, proof: Proof, length: number): Promise<Proof> {
  const sums = new BlockSums()
  const own = proof.sums.slice(0, blockCount(length))
  if (length % BLOCK_BYTES !== 0 && length < proof.sums.length) {
    own[own.length - 1] = await cutSum(store, replica, proof, length)
  }
  sums.extend(length, own)
  const index = new RecordIndex()
  index.add(proof.index.within(length))
  return { sums, index }
}

/** Opens a kept replica's meta file to append to; a torn tail is cut first. */
async function withMeta<T>(replica: Replica, kept: Kept, action: (journal: Journal) => Promise<T>): Promise<T> {
  const file = await replica.directory.disk.open(replica.metaPath, 'write')
  try {
    if (kept.hasTornTail) await file.truncate(kept.endBytes)
    kept.hasTornTail = true // until what follows has succeeded
    const journal = new Journal(Promise.resolve(file), kept.endBytes, kept.endCrc, 0)
    const result = await action(journal)
    kept.endBytes = journal.endBytes
    kept.endCrc = journal.endCrc
    kept.hasTornTail = false
    return result
  } finally {
    await file.close()
  }
}
