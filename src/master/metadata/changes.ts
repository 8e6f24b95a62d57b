// What applied operations mean for the leader's other knowledge (locations, leases, orders). The leader drains it after
// each apply; a replay switches it off. Bounded by ROWS_PER_RECORD_MAX a record.

import type { ChunkHandle, InodeId, SessionId } from '../../base/ids.ts'
import type { Member, Outcome } from '../operations.ts'

export interface SealedChunk {
  readonly handle: ChunkHandle
  readonly version: number
  readonly length: number
  readonly digest: number
  readonly indexDigest: number
  /** Who had the chunk while it was open. */
  readonly members: readonly Member[]
}

export interface AllocatedChunk {
  readonly handle: ChunkHandle
  readonly version: number
  readonly shared: boolean
  readonly members: readonly Member[]
}

export interface EndedJob {
  readonly session: SessionId
  readonly request: number
  readonly outcome: Outcome
}

export class Changes {
  /** Whether anything is collected. */
  isCollecting = true
  readonly allocated: AllocatedChunk[] = []
  readonly sealed: SealedChunk[] = []
  readonly versionRaised: { readonly handle: ChunkHandle; readonly version: number }[] = []
  /** Chunks that left the table: their replicas may be deleted. */
  readonly forgotten: ChunkHandle[] = []
  /** Tops of removed trees and files without a name that were dropped: their writers get FILE_REMOVED. */
  readonly removed: InodeId[] = []
  readonly sessionsEnded: SessionId[] = []
  readonly jobsEnded: EndedJob[] = []

  /** Empties all lists. */
  clear(): void {
    this.allocated.length = 0
    this.sealed.length = 0
    this.versionRaised.length = 0
    this.forgotten.length = 0
    this.removed.length = 0
    this.sessionsEnded.length = 0
    this.jobsEnded.length = 0
  }
}
