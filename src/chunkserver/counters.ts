// What a chunkserver counts, from its start on: plain numbers that only grow, for /metrics.

export interface Counters {
  /** Chunk bytes written to and read from disks here. */
  bytesWritten: number
  bytesRead: number
  piecesReceived: number
  commits: number
  appends: number
  batches: number
  reads: number
  /** Sealed chunks whose files were named to a client on this host. */
  directOffers: number
  /** Rounds of fdatasync of a chunk's data. */
  syncs: number
  /** Blocks and proofs that did not match. */
  crcErrors: number
  fences: number
  seals: number
  chunksDeleted: number
  chunksQuarantined: number
  /** Copies made from other servers' replicas, those that failed or were given up, and bytes fetched for both. */
  clones: number
  cloneFailures: number
  bytesCloned: number
  /** Chunks made of live bytes of others (compaction), and those bytes. */
  gathers: number
  bytesGathered: number
  heartbeats: number
  heartbeatFailures: number
}

export function newCounters(): Counters {
  return {
    bytesWritten: 0,
    bytesRead: 0,
    piecesReceived: 0,
    commits: 0,
    appends: 0,
    batches: 0,
    reads: 0,
    directOffers: 0,
    syncs: 0,
    crcErrors: 0,
    fences: 0,
    seals: 0,
    chunksDeleted: 0,
    chunksQuarantined: 0,
    clones: 0,
    cloneFailures: 0,
    bytesCloned: 0,
    gathers: 0,
    bytesGathered: 0,
    heartbeats: 0,
    heartbeatFailures: 0,
  }
}
