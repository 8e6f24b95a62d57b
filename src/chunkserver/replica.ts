// One replica: what this server holds of a chunk, and in which of its forms.
//
//   growing    in the life it was allocated in: growing.ts has its bytes
//   kept       found at a start, not sealed: takes no bytes, is read up to what it can prove
//   sealed     the log has said its length and digest; sums are loaded when they are needed
//
// A replica whose journal or bytes are damaged is `corrupt`: it is kept, each block that proves right is still
// served, and the master is told.

import { DfsError } from '../base/errors.ts'
import { type ChunkHandle, formatHandle } from '../base/ids.ts'
import type { ReplicaFacts } from '../wire/messages.ts'
import type { BlockSums } from './block-sums.ts'
import type { DataDirectory } from './data-directory.ts'
import type { ChunkHeader } from './format.ts'
import type { Growing } from './growing.ts'
import type { RecordIndex } from './record-index.ts'

/** What proves a replica's bytes. */
export interface Proof {
  readonly sums: BlockSums
  readonly index: RecordIndex
}

export interface Kept extends Proof {
  /** Bytes that were on disk for certain. */
  readonly syncedLength: number
  /** Where the next record goes in the meta file, and its seed. */
  endBytes: number
  endCrc: number
  /** Behind `endBytes` lies a torn tail. */
  hasTornTail: boolean
}

export interface Sealed {
  readonly length: number
  readonly digest: number
  readonly indexDigest: number
  /** Where the `sealed` record stands in the meta file. */
  readonly recordOffset: number
  readonly recordBytes: number
  readonly recordCrc: number
}

export type ReplicaForm =
  | { readonly kind: 'growing'; readonly growing: Growing }
  | { readonly kind: 'kept'; readonly kept: Kept }
  | { readonly kind: 'sealed'; readonly sealed: Sealed }

export class Replica {
  readonly header: ChunkHeader
  readonly directory: DataDirectory
  version: number
  form: ReplicaForm
  isFenced: boolean
  /** Why it can't be trusted as a whole; undefined when it can. */
  damage: string | undefined
  /** Files were moved away or removed: it is on its way out of the table. */
  isGone = false
  /** Bytes of the data file, as counted for its directory. */
  fileBytes = 0
  #turn: Promise<unknown> = Promise.resolve()

  constructor(header: ChunkHeader, directory: DataDirectory, version: number, form: ReplicaForm, isFenced: boolean) {
    this.header = header
    this.directory = directory
    this.version = version
    this.form = form
    this.isFenced = isFenced
  }

  get handle(): ChunkHandle {
    return this.header.handle
  }

  get dataPath(): string {
    return this.directory.dataPath(this.handle)
  }

  get metaPath(): string {
    return this.directory.metaPath(this.handle)
  }

  /** Bytes it can show. */
  get length(): number {
    const { form } = this
    if (form.kind === 'sealed') return form.sealed.length
    return form.kind === 'growing' ? form.growing.length : keptLength(this.header, form.kept)
  }

  get syncedLength(): number {
    const { form } = this
    if (form.kind === 'sealed') return form.sealed.length
    return form.kind === 'growing' ? form.growing.synced : form.kept.syncedLength
  }

  get state(): ReplicaFacts['state'] {
    if (this.isGone || this.directory.failure !== undefined) return 'gone'
    if (this.damage !== undefined) return 'corrupt'
    if (this.form.kind === 'sealed') return 'sealed'
    return this.isFenced || (this.form.kind === 'growing' && this.form.growing.isFenced) ? 'fenced' : 'open'
  }

  facts(): ReplicaFacts {
    return {
      handle: this.handle,
      version: this.version,
      directory: this.directory.id,
      state: this.state,
      length: this.length,
      digest: this.form.kind === 'sealed' ? this.form.sealed.digest : 0,
    }
  }

  /** The replica's growing form, if it is in the life it was allocated in. */
  get growing(): Growing | undefined {
    return this.form.kind === 'growing' ? this.form.growing : undefined
  }

  /** Throws STALE_VERSION when the asker knows of a later version. */
  checkVersion(version: number): void {
    if (version <= this.version) return
    const message = `chunk ${formatHandle(this.handle)}: version ${this.version} here, ${version} asked for`
    throw new DfsError('STALE_VERSION', message, { handle: this.handle, version: this.version, asked: version })
  }

  /** Runs changes of form one after the other. */
  inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(action)
    this.#turn = result.catch(() => {}) // who asked is told
    return result
  }
}

/** A shared chunk's bytes count only with their index entries. */
export function keptLength(header: ChunkHeader, kept: Proof): number {
  return header.shared ? Math.min(kept.index.length, kept.sums.length) : kept.sums.length
}
