// Garbage: what may be deleted, and what must only be set aside (GFS §4.4; DESIGN §5 "Deleting").
//
// A replica may be deleted only when the log proves that its chunk was known and has left the table. Everything that
// can't be proven is quarantined: kept on the disk, out of the way, named in the report.

import type { ChunkHandle } from '../../base/ids.ts'
import { MINUTE_MS } from '../../base/units.ts'

/** What the log says of a handle. */
export interface KnownHandles {
  hasChunk(handle: ChunkHandle): boolean
  /** The handle's lineage is one of ours and its counter was given: the log once knew it. */
  wasKnown(handle: ChunkHandle): boolean
}

export type UnlistedVerdict = 'keep' | 'delete' | 'quarantine'

/**
 * What to order for a replica that a server reports.
 *
 * @param mayDelete  false while orders to delete are held back: at a start, in safe mode
 */
export function judgeReplica(handle: ChunkHandle, known: KnownHandles, mayDelete: boolean): UnlistedVerdict {
  if (known.hasChunk(handle)) return 'keep'
  if (!known.wasKnown(handle)) return 'quarantine'
  return mayDelete ? 'delete' : 'keep'
}

/** A chunk whose bytes were moved elsewhere can be read for so long by those who opened the file before (DESIGN §3). */
export const MOVED_KEPT_MS = 10 * MINUTE_MS

/** Cluster times before which trash, unreferenced chunks, and chunks whose bytes were moved are due. */
export function garbageDueBefore(clusterMs: number, retentionMs: number) {
  const retainedBeforeMs = clusterMs - retentionMs
  return {
    trashBeforeMs: retainedBeforeMs,
    chunksBeforeMs: retainedBeforeMs,
    movedBeforeMs: clusterMs - MOVED_KEPT_MS,
  }
}
