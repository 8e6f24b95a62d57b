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
  /** Goals that chunks are about to get, as the goal keeper has seen their files: whoever names one and wants more is noted. */
  comingGoals: ReadonlyMap<ChunkHandle, number> = new Map()
  readonly allocated: AllocatedChunk[] = []
  readonly sealed: SealedChunk[] = []
  readonly versionRaised: { readonly handle: ChunkHandle; readonly version: number }[] = []
  /** Chunks that left the table: their replicas may be deleted. */
  readonly forgotten: ChunkHandle[] = []
  /** Their lengths, in the same order; 0 for one that was only reserved. */
  readonly forgottenBytes: number[] = []
  /** Chunks that are wanted more often, or less. */
  readonly goalChanged: ChunkHandle[] = []
  /** Chunks of which a file that names them wants another goal than they have, or are about to get. */
  readonly goalUnsure: ChunkHandle[] = []
  /** Tops of removed trees and files without a name that were dropped: their writers get FILE_REMOVED. */
  readonly removed: InodeId[] = []
  haveOptionsChanged = false
  readonly sessionsEnded: SessionId[] = []
  readonly jobsEnded: EndedJob[] = []

  addForgotten(handle: ChunkHandle, length: number): void {
    if (!this.isCollecting) return
    this.forgotten.push(handle)
    this.forgottenBytes.push(length)
  }

  /** Empties all lists. */
  clear(): void {
    empty(this.allocated)
    empty(this.sealed)
    empty(this.versionRaised)
    empty(this.forgotten)
    empty(this.forgottenBytes)
    empty(this.goalChanged)
    empty(this.goalUnsure)
    empty(this.removed)
    this.haveOptionsChanged = false
    empty(this.sessionsEnded)
    empty(this.jobsEnded)
  }
}

/** Setting the length is a call into the runtime, after every operation, and nearly all lists are empty already. */
function empty(list: unknown[]): void {
  if (list.length > 0) list.length = 0
}
