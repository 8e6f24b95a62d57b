// Redundancy: which replicas count for their chunk in what people are told. `fsck` and `report` both ask here, so that they
// never say two things of one chunk. Repair is stricter (plan/repair.ts): what leaves is to be replaced, but is there still.

import type { ChunkHandle } from '../base/ids.ts'
import type { ReplicaState } from './cluster/locations.ts'
import type { Liveness } from './cluster/servers.ts'
import type { MasterContext } from './context.ts'
import { isReachable } from './plan/standing.ts'

/**
 * What a replica is worth for its chunk:
 *   whole    it serves all that the chunk has: sealed as logged, or a member of an open chunk, or its seal is under way
 *   corrupt  a block of it failed
 *   nothing  shorter, another's, not sealed in time, or on a server that doesn't answer
 */
export type ReplicaWorth = 'whole' | 'corrupt' | 'nothing'

export function worthOf(
  { settling }: Pick<MasterContext, 'settling'>,
  chunk: { readonly handle: ChunkHandle; readonly state: 'open' | 'sealed' },
  replicaState: ReplicaState,
  liveness: Liveness,
  nowMs: number,
): ReplicaWorth {
  if (!isReachable(liveness)) return 'nothing'
  if (replicaState === 'corrupt') return 'corrupt'
  if (replicaState === 'good') return 'whole'
  if (replicaState !== 'open') return 'nothing'
  return chunk.state === 'open' || settling.has(chunk.handle, nowMs) ? 'whole' : 'nothing'
}
