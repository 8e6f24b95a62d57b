// File tails: the open chunks at the ends of files that many sessions append records to (DESIGN §4, record append).
//
// Which file has which tail stands in the log (metadata/tails.ts). Here: a new one where none can be used, and the seal
// of those that stand in the way of a change.
//
// Invariants:
//   - from the moment a change begins to seal a file's tail until it is in the log, the file gets no new one (GFS §3.4)
//   - one tail of a file is being opened at a time; whoever asks meanwhile gets the same

import { DfsError } from '../base/errors.ts'
import type { ChunkHandle, InodeId, ServerId } from '../base/ids.ts'
import { formatHandle } from '../base/ids.ts'
import { SESSION_SILENCE_MS } from '../base/limits.ts'
import type { MetadataState } from './metadata/state.ts'
import { tailsInTheWay } from './metadata/tails.ts'
import type { Operation } from './operations.ts'

/** Tails found wanting for one request: then FILE_BUSY, and the client asks again when it likes. */
const ROUNDS_MAX = 8

export interface FileTailPorts {
  readonly state: MetadataState
  /** Monotonic. */
  nowMs(): number
  /** Whether the chunk is open still and every member is live in its recorded life. */
  isUsable(handle: ChunkHandle): boolean
  /** Whether a member has not been heard of since this master started, and may still come. */
  isAwaited(handle: ChunkHandle): boolean
  /** Seals an open chunk. */
  seal(handle: ChunkHandle, reason: string): Promise<unknown>
  /** Places and logs a new tail. Throws NO_SERVERS, FILE_REMOVED and other verdicts of the log. */
  open(inode: InodeId, avoid: readonly ServerId[]): Promise<void>
}

export class FileTails {
  readonly #ports: FileTailPorts
  readonly #opening = new Map<InodeId, Promise<void>>()
  /** Files whose tail is being sealed for a change, and for how many. */
  readonly #held = new Map<InodeId, number>()
  /** When each tail was last asked for. */
  readonly #lentMs = new Map<ChunkHandle, number>()

  constructor(ports: FileTailPorts) {
    this.#ports = ports
  }

  /**
   * The open tail of a file with a name, made when there is none. Throws FILE_BUSY, NOT_READY, NO_SERVERS, FILE_REMOVED, NOT_FOUND.
   *
   * @param avoid      servers that a new tail should not be placed on
   * @param notHandle  one that the client has just seen full or failing: sealed, if it is the tail still
   */
  async lend(inode: InodeId, avoid: readonly ServerId[], notHandle: ChunkHandle | undefined): Promise<ChunkHandle> {
    const { state, nowMs, isUsable, isAwaited, seal } = this.#ports
    for (let round = 0; round < ROUNDS_MAX; round++) {
      if (this.#held.has(inode)) throw busy(inode)
      const present = state.chunks.tails.get(inode)
      if (present === undefined) await this.#open(inode, avoid)
      else if (present === notHandle) await seal(present, 'the tail of a file is full or failing')
      else if (isUsable(present)) {
        this.#lentMs.set(present, nowMs())
        return present
      } else if (isAwaited(present)) {
        const message = `chunk ${formatHandle(present)}: its servers have not joined since the master started`
        throw new DfsError('NOT_READY', message, { handle: present })
      } else await seal(present, 'a member of the tail of a file is lost')
    }
    throw busy(inode)
  }

  /** Milliseconds since the tail was asked for; undefined for a chunk that is none, or was not asked for here. */
  idleMs(handle: ChunkHandle): number | undefined {
    const lentMs = this.#lentMs.get(handle)
    return lentMs === undefined ? undefined : this.#ports.nowMs() - lentMs
  }

  /** It was sealed. */
  forget(handle: ChunkHandle): void {
    this.#lentMs.delete(handle)
  }

  /** Whether tails stand in the way of an operation. */
  isInTheWay(operation: Operation): boolean {
    return tailsInTheWay(this.#ports.state, operation).length > 0
  }

  /**
   * Seals what stands in the way of an operation. Until the release that it returns is called (once the operation is in
   * the log, or will not be) the files get no new tail.
   */
  async makeWay(operation: Operation): Promise<() => void> {
    const { state, seal } = this.#ports
    const handles = tailsInTheWay(state, operation)
    const inodes = handles.flatMap((handle) => state.chunks.tailFiles.get(handle) ?? [])
    for (const inode of inodes) this.#held.set(inode, (this.#held.get(inode) ?? 0) + 1)
    const release = (): void => {
      for (const inode of inodes) {
        const count = this.#held.get(inode) ?? 1
        if (count === 1) this.#held.delete(inode)
        else this.#held.set(inode, count - 1)
      }
    }
    try {
      await Promise.all(
        handles.map((handle) => seal(handle, `a change needs the length of its file: ${operation.kind}`)),
      )
      return release
    } catch (error) {
      release()
      throw error
    }
  }

  #open(inode: InodeId, avoid: readonly ServerId[]): Promise<void> {
    const running = this.#opening.get(inode)
    if (running) return running
    const opening = this.#ports.open(inode, avoid).finally(() => this.#opening.delete(inode))
    this.#opening.set(inode, opening)
    return opening
  }
}

/** A tail that nobody asked for in so long is sealed: its writers are gone, or lose nothing but a moment. */
export const TAIL_IDLE_MS = SESSION_SILENCE_MS

function busy(inode: InodeId): DfsError {
  return new DfsError('FILE_BUSY', `inode ${inode}: its tail is being sealed`, { inode })
}
