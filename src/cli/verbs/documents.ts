// The documents that the master makes for people and scripts (master/requests/reports.ts), as far as they are shown.
//
// Scripts get a document as it came. What people see is read from it here, and only here is its shape believed.

export interface Report {
  readonly clusterId: string
  readonly safeMode: { readonly on: boolean; readonly reason?: string }
  readonly readOnly: boolean
  readonly servers: readonly {
    readonly id: string
    readonly address: string
    readonly http: string
    readonly version: string
    readonly seesMoreHistory: boolean
    readonly disks: readonly {
      readonly path: string
      readonly state: string
      readonly capacityBytes: number
      readonly freeBytes: number
      /** Where the scrubber is in its pass, 0 .. 1000. */
      readonly scrubPermille: number
      /** Since the last whole pass; null: there was none. */
      readonly scrubAgeMs: number | null
    }[]
    readonly zone: string
    readonly rack: string
    readonly state: string
    readonly capacityBytes: number
    readonly usedBytes: number
    readonly chunks: number
    /** Null: not heard of since the master started. */
    readonly lastContactMs: number | null
  }[]
  readonly totals: {
    readonly files: number
    readonly directories: number
    readonly chunks: number
    readonly bytes: number
  }
  readonly repair: {
    readonly missing: number
    readonly corrupt: number
    readonly lastCopy: number
    readonly underReplicated: number
    readonly overReplicated: number
    /** What was removed and went before its time because disks were almost full. */
    readonly retainedEarly: number
    readonly inFlight: number
    readonly bytesPerSecond: number
    /** Chunks that wait for copies, by the whole replicas that are left. */
    readonly queue: { readonly none: number; readonly one: number; readonly two: number; readonly more: number }
    /** Null: nothing was copied of late. */
    readonly etaMs: number | null
    readonly copied: { readonly copies: number; readonly bytes: number }
    /** The last ones, the newest last. */
    readonly incidents: readonly {
      readonly servers: readonly string[]
      readonly detectionMs: number
      readonly planMs: number
      readonly cloneMs: number
      readonly copies: number
      readonly bytes: number
    }[]
  }
  readonly compaction: {
    readonly doing: string
    /** '': nothing holds it back. */
    readonly heldBackBy: string
    /** Chunks that are mostly dead, and the dead bytes of one replica of each. */
    readonly waitingChunks: number
    readonly waitingBytes: number
    readonly madeChunks: number
    readonly movedBytes: number
    /** Places in files whose bytes lie elsewhere now. */
    readonly switches: number
    readonly failures: number
  }
}

export interface Info {
  readonly path: string
  readonly size: number
  readonly extents: readonly {
    readonly offset: number
    readonly length: number
    readonly handle: number
    readonly chunkOffset: number
  }[]
  readonly chunks: readonly {
    readonly handle: number
    readonly state: string
    readonly version: number
    readonly length: number
    readonly digest: string | null
    readonly goal: number
    readonly replicas: readonly { readonly server: string; readonly address: string; readonly state: string }[]
  }[]
}

export interface Space {
  readonly capacityBytes: number
  readonly usedBytes: number
  readonly freeBytes: number
  readonly liveBytes: number
  readonly replicaBytes: number
  readonly retainedBytes: number
  /** The part of it that is files in the trash. */
  readonly trashBytes: number
  readonly deadBytes: number
  readonly pendingDeletionBytes: number
  /** Replicas that wait for it. */
  readonly pendingDeletionChunks: number
}

export function asReport(document: unknown): Report {
  return document as Report
}

export function asInfo(document: unknown): Info {
  return document as Info
}

export function asSpace(document: unknown): Space {
  return document as Space
}
