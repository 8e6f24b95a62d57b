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

/** A disk of a server that new chunks might go to. */
export interface DiskRoom {
  readonly state: 'ok' | 'full' | 'readonly' | 'failed'
  readonly capacityBytes: number
  readonly freeBytes: number
}

/** Below this part of a disk's capacity free, what is retained yields to what is needed. */
const FREE_PART_MIN = 1 / 10

/**
 * Bytes that have to become free before enough servers have a disk with room; 0: enough have.
 *
 * @param servers     the disks of each live server
 * @param goal        replicas wanted: so many servers need room, or all when there are fewer
 * @param chunkBytes  what a new chunk may grow to: less room is none
 */
export function bytesNeeded(servers: readonly (readonly DiskRoom[])[], goal: number, chunkBytes: number): number {
  const lacks: number[] = []
  for (const disks of servers) {
    const usable = disks.filter(({ state }) => state === 'ok' || state === 'full')
    if (usable.length === 0) continue
    lacks.push(
      Math.min(
        ...usable.map(({ capacityBytes, freeBytes }) =>
          Math.max(0, Math.max(capacityBytes * FREE_PART_MIN, chunkBytes) - freeBytes),
        ),
      ),
    )
  }
  lacks.sort((a, b) => a - b)
  return lacks.slice(0, goal).reduce((sum, bytes) => sum + bytes, 0)
}
