// The chunks of one server: every replica in its data directories, by handle.
//
// Invariants:
//   - a handle has at most one replica on a server
//   - whatever changes about a replica is told by `onChange`, so that the master learns of it
//   - a replica is removed on order only; what can't be trusted is kept and said
//
// Bounds: OPEN_CHUNKS_MAX growing replicas (then BUSY), FILES_MAX open files for reading, PROOF_BYTES_MAX of loaded
// block sums (the longest unused are dropped).

import { LRUCache } from 'lru-cache'
import { DfsError, isDfsError } from '../base/errors.ts'
import { type ChunkHandle, type ClusterId, type DirectoryId, formatHandle } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import { MiB } from '../base/units.ts'
import type { DiskFile } from '../io/disk.ts'
import type { Io } from '../io/io.ts'
import type { Allocation } from '../wire/messages.ts'
import { BlockSums } from './block-sums.ts'
import type { Counters } from './counters.ts'
import type { DataDirectory } from './data-directory.ts'
import { GoneHandles, lifeRefusal, refusalOf } from './fences.ts'
import { FileCache } from './file-cache.ts'
import { type ChunkHeader, decodeRecord } from './format.ts'
import { Growing } from './growing.ts'
import { RecordIndex } from './record-index.ts'
import { type Proof, Replica } from './replica.ts'
import { scanDirectory } from './scan.ts'
import { settled } from './settled.ts'

export const OPEN_CHUNKS_MAX = 2048
const FILES_MAX = 512
const PROOF_BYTES_MAX = 64 * MiB

export interface StoreOptions {
  readonly io: Io
  readonly clusterId: ClusterId
  readonly logger: Logger
  readonly counters: Counters
  /** Something about the replica is different from before. Called in the turn of the change. */
  readonly onChange: (replica: Replica) => void
}

export class ChunkStore {
  readonly clusterId: ClusterId
  readonly counters: Counters
  readonly files: FileCache
  readonly logger: Logger
  /** The highest log index that a chunk here was allocated at. */
  allocationIndexMax = 0
  readonly #replicas = new Map<ChunkHandle, Replica>()
  readonly #directories = new Map<DirectoryId, DataDirectory>()
  readonly #proofs: LRUCache<ChunkHandle, Proof>
  readonly #onChange: (replica: Replica) => void
  readonly #gone = new GoneHandles()
  #growingCount = 0

  constructor(options: StoreOptions) {
    this.clusterId = options.clusterId
    this.counters = options.counters
    this.logger = options.logger
    this.files = new FileCache(options.io.disk, FILES_MAX)
    this.#onChange = options.onChange
    this.#proofs = new LRUCache({
      maxSize: PROOF_BYTES_MAX,
      sizeCalculation: (proof) => 256 + proof.sums.memoryBytes + 3 * proof.index.bytes,
    })
  }

  get directories(): readonly DataDirectory[] {
    return [...this.#directories.values()]
  }

  get replicas(): IterableIterator<Replica> {
    return this.#replicas.values()
  }

  get replicaCount(): number {
    return this.#replicas.size
  }

  get growingCount(): number {
    return this.#growingCount
  }

  directory(id: DirectoryId): DataDirectory | undefined {
    return this.#directories.get(id)
  }

  /** Takes in what a directory holds. Throws DISK_FAILED when it can't be listed. */
  async load(directory: DataDirectory): Promise<void> {
    this.#directories.set(directory.id, directory)
    await scanDirectory(directory, this.clusterId, async (replica) => {
      if (replica.header.isTombstone) {
        // Older programs left one for each chunk fenced before it was here. What it refused, the new life refuses as well.
        await removeFiles(replica)
        return
      }
      const other = this.#replicas.get(replica.handle)
      if (other !== undefined && isBetter(other, replica)) {
        await this.#quarantineFiles(replica, `chunk is in ${other.directory.path} as well`)
        return
      }
      if (other !== undefined) await this.#quarantineFiles(other, `chunk is in ${directory.path} as well`)
      this.#add(replica)
      if (replica.damage !== undefined) {
        const fields = { handle: replica.handle, path: replica.dataPath }
        this.logger.error(fields, `chunk ${formatHandle(replica.handle)} is damaged: ${replica.damage}`)
      }
    })
  }

  find(handle: ChunkHandle): Replica | undefined {
    const replica = this.#replicas.get(handle)
    return replica?.directory.failure === undefined ? replica : undefined
  }

  /** Throws NO_SUCH_REPLICA. */
  get(handle: ChunkHandle): Replica {
    const replica = this.find(handle)
    if (replica !== undefined) return replica
    throw new DfsError('NO_SUCH_REPLICA', `no replica of chunk ${formatHandle(handle)} here`, { handle })
  }

  /** The growing replica. Throws NO_SUCH_REPLICA, CHUNK_FENCED, CHUNK_SEALED, STALE_VERSION, WRONG_LIFE. */
  getGrowing(handle: ChunkHandle, version: number): Growing {
    if (!this.#replicas.has(handle) && this.#gone.has(handle)) throw refusalOf(handle, 'fenced')
    const replica = this.get(handle)
    const refusal = refusalOf(handle, replica.form.kind === 'sealed' ? 'sealed' : replica.isFenced ? 'fenced' : 'open')
    if (refusal !== undefined) throw refusal
    replica.checkVersion(version)
    const { growing } = replica
    if (growing !== undefined) return growing
    const { header, directory } = replica
    throw (
      lifeRefusal(handle, directory.id, header.life, directory.life) ??
      new DfsError('CHUNK_FENCED', `chunk ${formatHandle(handle)} takes no more bytes`, { handle })
    )
  }

  /**
   * Begins the replica of an allocation in one of this server's directories. The same allocation once more is
   * answered with the replica that is there.
   * Throws WRONG_DISK (no member here), WRONG_LIFE, CHUNK_FENCED, CHUNK_SEALED, DISK_FULL, DISK_FAILED, BUSY.
   */
  create(allocation: Allocation): Replica {
    const { handle } = allocation
    const name = formatHandle(handle)
    const member = allocation.members.find((candidate) => this.#directories.has(candidate.directory))
    if (member === undefined) {
      throw new DfsError('WRONG_DISK', `chunk ${name}: none of its members is a directory of this server`, { handle })
    }
    const directory = this.#directories.get(member.directory)!
    directory.check()
    const refusal = lifeRefusal(handle, directory.id, member.life, directory.life)
    if (refusal !== undefined) throw refusal
    if (this.#replicas.has(handle)) {
      this.getGrowing(handle, allocation.version)
      return this.get(handle)
    }
    if (this.#gone.has(handle)) throw refusalOf(handle, 'fenced')
    if (directory.state !== 'ok') {
      const message = `chunk ${name}: ${directory.path} is ${directory.state}, ${directory.freeForChunks} bytes are free for chunks`
      throw new DfsError('DISK_FULL', message, { handle, path: directory.path })
    }
    if (this.#growingCount >= OPEN_CHUNKS_MAX) {
      throw new DfsError('BUSY', `${this.#growingCount} open chunks here already, at most ${OPEN_CHUNKS_MAX}`, {
        handle,
      })
    }
    const replica = this.#begin(
      {
        clusterId: this.clusterId,
        handle,
        version: allocation.version,
        logIndex: allocation.logIndex,
        chunkBytes: allocation.chunkBytes,
        shared: allocation.shared,
        directory: directory.id,
        life: directory.life,
        isTombstone: false,
        members: allocation.members.map(({ server, directory: id, life }) => ({ server, directory: id, life })),
      },
      directory,
    )
    this.changed(replica)
    return replica
  }

  /**
   * Fences a chunk that is not here: what comes late for it is refused. Nothing is written, since a life ends with the
   * program, and another life is another refusal.
   */
  refuse(handle: ChunkHandle): void {
    this.#gone.add(handle)
  }

  #begin(header: ChunkHeader, directory: DataDirectory): Replica {
    const { handle } = header
    const { disk } = directory
    const growing = new Growing(header, {
      createFiles: async () => {
        const data = await disk.open(directory.dataPath(handle), 'create')
        try {
          return { data, meta: await disk.open(directory.metaPath(handle), 'create') }
        } catch (error) {
          await data.close()
          throw error
        }
      },
      syncNames: () => directory.syncNames(handle),
      onDiskError: (error) => directory.onDiskError(error),
      onWritten: (bytes) => {
        this.counters.bytesWritten += bytes
        this.account(replica, replica.fileBytes + bytes)
      },
      onSync: () => {
        this.counters.syncs++
      },
    })
    const replica: Replica = new Replica(header, directory, header.version, { kind: 'growing', growing }, false)
    this.#growingCount++
    this.#add(replica)
    return replica
  }

  /** Turns a fenced growing replica into a kept one, which needs no open files. */
  async stopGrowing(replica: Replica, growing: Growing): Promise<void> {
    const { journal, sums, index, synced } = growing
    const { endBytes, crc } = journal.good
    const kept = { sums, index, syncedLength: synced, endBytes, endCrc: crc, hasTornTail: endBytes < journal.endBytes }
    replica.form = { kind: 'kept', kept }
    this.#growingCount--
    this.account(replica, growing.arrived)
    await growing.close()
  }

  /** Notes how many bytes the replica's data file takes. */
  account(replica: Replica, bytes: number): void {
    replica.directory.usedBytes += bytes - replica.fileBytes
    replica.fileBytes = bytes
  }

  /** What proves the replica's bytes, if it is at hand. */
  knownProof({ form, handle }: Replica): Proof | undefined {
    if (form.kind === 'growing') return form.growing
    return form.kind === 'kept' ? form.kept : this.#proofs.get(handle)
  }

  /** What proves the replica's bytes; loaded from the meta file for a sealed one. Throws CORRUPT_REPLICA. */
  async proofOf(replica: Replica): Promise<Proof> {
    const known = this.knownProof(replica)
    if (known !== undefined || replica.form.kind !== 'sealed') return known!
    const { sealed } = replica.form
    const bytes = Buffer.allocUnsafe(sealed.recordBytes)
    const count = await this.read(replica, replica.metaPath, bytes, sealed.recordOffset)
    const stored = decodeRecord(bytes.subarray(0, count), sealed.recordOffset, sealed.recordOffset)
    const proof: Proof = { sums: new BlockSums(), index: new RecordIndex() }
    if (
      stored?.record.kind === 'sealed' &&
      stored.crc === sealed.recordCrc &&
      proof.index.continues(stored.record.entries)
    ) {
      proof.sums.extend(stored.record.length, stored.record.sums)
      proof.index.add(stored.record.entries)
    }
    const digest = proof.sums.digest()
    if (proof.sums.length !== sealed.length || digest !== sealed.digest) {
      throw this.damaged(replica, `its block sums combine to ${digest}, the log says ${sealed.digest}`)
    }
    this.#proofs.set(replica.handle, proof)
    return proof
  }

  /** Keeps a proof at hand that was just made. */
  rememberProof(handle: ChunkHandle, proof: Proof): void {
    this.#proofs.set(handle, proof)
  }

  /**
   * Reads one of a replica's files. An error of the disk is the replica's damage: CORRUPT_REPLICA.
   * @returns bytes read
   */
  async read(replica: Replica, path: string, buffer: Buffer, position: number): Promise<number> {
    try {
      // A descriptor of its own: the growing one is closed when the chunk is sealed.
      if (replica.growing !== undefined) await replica.growing.files
      return await this.files.use(path, (file: DiskFile) => file.read(buffer, position))
    } catch (error) {
      if (!isDfsError(error)) throw error
      if (error.code === 'DISK_FAILED') replica.directory.onReadError(error)
      throw this.damaged(replica, `${path} can't be read at ${position}: ${error.message}`)
    }
  }

  /** Notes that a replica can't be trusted as a whole, and tells the master. @returns the error for whoever asked */
  damaged(replica: Replica, reason: string, detail: { block?: number } = {}): DfsError {
    const name = formatHandle(replica.handle)
    const { path } = replica.directory
    this.counters.crcErrors++
    if (replica.damage === undefined && !replica.isGone) {
      replica.damage = reason
      this.logger.error(
        { handle: replica.handle, path: replica.dataPath, ...detail },
        `chunk ${name} is damaged: ${reason}`,
      )
      this.changed(replica)
    }
    return new DfsError('CORRUPT_REPLICA', `chunk ${name} in ${path}: ${reason}`, {
      handle: replica.handle,
      path,
      ...detail,
    })
  }

  /** Tells the master's part of this server. */
  changed(replica: Replica): void {
    this.#onChange(replica)
  }

  /**
   * Removes both files. Resolves when the names are gone, not yet durably.
   *
   * @param isValid  whether the order still holds, asked when the replica's turn has come
   */
  remove(replica: Replica, isValid: () => boolean): Promise<void> {
    return replica.inTurn(async () => {
      if (replica.isGone || !isValid()) return
      await this.#takeOut(replica)
      await removeFiles(replica)
      this.counters.chunksDeleted++
    })
  }

  /** Moves both files out of the way, for people to look at. */
  quarantine(replica: Replica, reason: string): Promise<void> {
    return replica.inTurn(async () => {
      if (replica.isGone) return
      await this.#takeOut(replica)
      await this.#quarantineFiles(replica, reason)
      this.counters.chunksQuarantined++
    })
  }

  /**
   * Takes in a sealed replica that was made here, in the place of what was here of the chunk.
   *
   * @param place  gives its files their names; what was here grows no more by then
   */
  async install(replica: Replica, proof: Proof, place: () => Promise<void>): Promise<void> {
    const { handle } = replica
    const old = this.#replicas.get(handle)
    try {
      await (old === undefined ? place() : old.inTurn(() => this.#retire(old).then(place)))
    } catch (error) {
      // Its files may have changed under it already: the next start sees what they are.
      if (old?.isGone && this.#replicas.get(handle) === old) {
        this.#replicas.delete(handle)
        old.directory.chunkCount--
        this.changed(old)
      }
      throw error
    }
    // A fence or a late allocation may have begun one meanwhile: what is sealed takes no more bytes than a fence lets.
    const late = this.#replicas.get(handle)
    if (late !== undefined && late !== old) await this.#retire(late)
    this.#proofs.set(handle, proof)
    this.files.drop(replica.dataPath)
    this.files.drop(replica.metaPath)
    this.#add(replica)
    this.account(replica, replica.length)
    this.changed(replica)
  }

  /** Ends a replica whose files another takes over. */
  async #retire(replica: Replica): Promise<void> {
    const { form } = replica
    if (form.kind === 'growing') {
      await settled(form.growing.fence()) // its bytes are no longer wanted, only its writes must have ended
      await this.stopGrowing(replica, form.growing)
    }
    replica.isGone = true
    this.account(replica, 0)
  }

  async #takeOut(replica: Replica): Promise<void> {
    const { form } = replica
    replica.isGone = true
    this.#gone.add(replica.handle)
    this.#proofs.delete(replica.handle)
    this.files.drop(replica.dataPath)
    this.files.drop(replica.metaPath)
    if (this.#replicas.get(replica.handle) === replica) {
      this.#replicas.delete(replica.handle)
      replica.directory.chunkCount--
    }
    this.changed(replica)
    if (form.kind === 'growing') {
      await settled(form.growing.fence()) // its bytes are no longer wanted, only its writes must have ended
      await this.stopGrowing(replica, form.growing)
    }
    this.account(replica, 0)
  }

  async #quarantineFiles(replica: Replica, reason: string): Promise<void> {
    await replica.directory.quarantine(replica.dataPath, reason)
    await replica.directory.quarantine(replica.metaPath, reason)
  }

  #add(replica: Replica): void {
    const other = this.#replicas.get(replica.handle)
    if (other !== undefined) other.directory.chunkCount--
    this.#replicas.set(replica.handle, replica)
    replica.directory.chunkCount++
    this.allocationIndexMax = Math.max(this.allocationIndexMax, replica.header.logIndex)
  }
}

/** Whether `a` is the one to keep of two replicas of a chunk: sealed before open, longer before shorter, whole before damaged. */
function isBetter(a: Replica, b: Replica): boolean {
  const rank = (replica: Replica) =>
    (replica.damage === undefined ? 2 : 0) + (replica.form.kind === 'sealed' ? 1 : 0) + replica.length / 2 ** 30
  return rank(a) >= rank(b)
}

/** Data first: a meta file without data is understood at the next start, data without meta is not. */
async function removeFiles(replica: Replica): Promise<void> {
  const { disk } = replica.directory
  await removeIfThere(() => disk.remove(replica.dataPath))
  await removeIfThere(() => disk.remove(replica.metaPath))
}

async function removeIfThere(remove: () => Promise<void>): Promise<void> {
  try {
    await remove()
  } catch (error) {
    if (!isDfsError(error, 'NOT_FOUND')) throw error
  }
}
