// A state with a log of its own making: what tests of the metadata stand on.

import type { ChunkHandle, ClusterId, DirectoryId, InodeId, Life, ServerId, SessionId } from '../../../src/base/ids.ts'
import { KiB } from '../../../src/base/units.ts'
import { apply } from '../../../src/master/metadata/apply.ts'
import { encodeCheckpoint, loadCheckpointSections } from '../../../src/master/metadata/checkpoint.ts'
import { MetadataState } from '../../../src/master/metadata/state.ts'
import { garbageDue } from '../../../src/master/metadata/trash.ts'
import type { Extent, Member, NewInode, Operation, Outcome, Requester } from '../../../src/master/operations.ts'

export const CLUSTER = '00112233445566778899aabbccddeeff' as ClusterId
export const LINEAGE = 7
export const CHUNK_BYTES = 64 * KiB
export const INODE: NewInode = { mode: 0o644, owner: 'ada', group: 'math', goal: 0 }
export const MEMBERS: readonly Member[] = [1, 2, 3].map((n) => ({
  server: n as ServerId,
  directory: (100 + n) as DirectoryId,
  life: (200 + n) as Life,
}))

type WithoutBy<T> = T extends unknown ? Omit<T, 'by'> : never
/** An operation of a client, to be given its requester. */
export type ClientOperation = WithoutBy<Extract<Operation, { readonly by: Requester }>>

export class Harness {
  state = new MetadataState()
  index = 0
  clusterMs = 1000
  wallMs = 1_700_000_000_000
  readonly #requests = new Map<number, number>()

  constructor() {
    this.ok({ kind: 'formatCluster', clusterId: CLUSTER, lineage: LINEAGE, chunkBytes: CHUNK_BYTES, goal: 3 })
    for (const { server, directory } of MEMBERS) {
      const where = { address: `host-${server}:7000`, zone: 'z', rack: `r${server}` }
      this.ok({ kind: 'registerServer', server: 0, identity: 1000 + server, directories: [directory], ...where })
    }
  }

  apply(op: Operation): Outcome {
    this.wallMs++
    return apply(this.state, op, { clusterMs: this.clusterMs, wallMs: this.wallMs }, ++this.index, 1)
  }

  /** Applies and returns the reply; throws when it is refused. */
  ok(op: Operation): readonly number[] {
    const outcome = this.apply(op)
    if (!outcome.ok) throw new Error(`${op.kind}: ${outcome.code}: ${outcome.message}`)
    return outcome.reply as readonly number[]
  }

  by(session = 1): Requester {
    const request = (this.#requests.get(session) ?? 0) + 1
    this.#requests.set(session, request)
    return { session: session as SessionId, request, floor: request - 1 }
  }

  /** Applies an operation of a client with the session's next request number. */
  client(op: ClientOperation, session = 1): Outcome {
    return this.apply({ ...op, by: this.by(session) } as Operation)
  }

  clientOk(op: ClientOperation, session = 1): readonly number[] {
    return this.ok({ ...op, by: this.by(session) } as Operation)
  }

  /** The code of the refusal, or 'ok'. */
  verdict(op: ClientOperation, session = 1): string {
    const outcome = this.client(op, session)
    return outcome.ok ? 'ok' : outcome.code
  }

  mkdir(path: string): InodeId {
    return this.clientOk({ kind: 'makeDirectory', path, parents: true, inode: INODE })[0] as InodeId
  }

  /** A file of `extents` (none: an empty one). */
  put(path: string, extents: readonly Extent[] = [], overwrite = false): InodeId {
    const op = { kind: 'putFile', publish: { path, overwrite }, inode: INODE, extents, mtimeMs: 0 } as const
    return this.clientOk(op)[0] as InodeId
  }

  /** An open shared chunk. */
  packing(): ChunkHandle {
    return this.ok({ kind: 'openPackingChunk', members: MEMBERS, goal: 0 })[0] as ChunkHandle
  }

  seal(handle: ChunkHandle, length: number, digest = 1): void {
    this.ok({ kind: 'sealChunk', handle, length, digest, indexDigest: 0 })
  }

  /** A file without a name and its first chunk. */
  open(session = 1): { inode: InodeId; handle: ChunkHandle } {
    const reply = this.clientOk({ kind: 'openFile', inode: INODE, members: MEMBERS }, session)
    return { inode: reply[0] as InodeId, handle: reply[1] as ChunkHandle }
  }

  collect(trashBeforeMs = Number.MAX_SAFE_INTEGER, chunksBeforeMs = trashBeforeMs): void {
    this.ok({ kind: 'collectGarbage', trashBeforeMs, chunksBeforeMs, movedBeforeMs: chunksBeforeMs })
  }

  /** Whether `collect` with these times would do anything. */
  isDue(trashBeforeMs: number, chunksBeforeMs: number): boolean {
    return garbageDue(this.state, { trashBeforeMs, chunksBeforeMs, movedBeforeMs: chunksBeforeMs })
  }

  inode(path: string): InodeId {
    const inode = this.state.resolve(path)
    if (inode === undefined) throw new Error(`${path} is not there`)
    return inode
  }

  extentsOf(path: string): [handle: number, offset: number, length: number][] {
    const rows = this.state.extents(this.inode(path), 0, 1_000_000)
    return rows.map(({ handle, offset, length }) => [handle, offset, length])
  }
}

export function extent(handle: number, offset: number, length: number): Extent {
  return { handle: handle as ChunkHandle, offset, length }
}

/** All sections of a state, as bytes. */
export function checkpointOf(state: MetadataState): { name: string; bytes: Buffer }[] {
  return Array.from(encodeCheckpoint(state), ({ name, bytes }) => ({
    name,
    bytes: Buffer.concat(Array.from(bytes, (piece) => Buffer.from(piece))),
  }))
}

/** Loads sections whose bytes come in pieces of `pieceBytes`. */
export function load(
  sections: readonly { name: string; bytes: Buffer }[],
  pieceBytes = 65_536,
): Promise<MetadataState> {
  return loadCheckpointSections(
    (async function* () {
      for (const { name, bytes } of sections) yield { name, bytes: pieces(bytes, pieceBytes) }
    })(),
  )
}

function* pieces(bytes: Buffer, pieceBytes: number): Iterable<Buffer> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes)
}

/** The first section in which two checkpoints differ; undefined when they are equal. */
export function firstDifference(a: MetadataState, b: MetadataState): string | undefined {
  const left = checkpointOf(a)
  const right = checkpointOf(b)
  for (let i = 0; i < left.length; i++) {
    if (Buffer.compare(left[i]!.bytes, right[i]!.bytes) !== 0) return left[i]!.name
  }
  return undefined
}
