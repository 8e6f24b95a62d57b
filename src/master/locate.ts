// Where a chunk can be read now, best source first.

import type { ChunkHandle } from '../base/ids.ts'
import type { ChunkLocation } from '../wire/messages.ts'
import type { ReplicaState } from './cluster/locations.ts'
import type { Liveness } from './cluster/servers.ts'
import type { MasterContext } from './context.ts'
import { isReachable } from './plan/standing.ts'

/** Lower is asked first. `different` is never read from. */
const stateOrder: Readonly<Record<ReplicaState, number>> = { good: 0, open: 1, short: 2, corrupt: 3, different: 99 }
const livenessOrder: Readonly<Record<Liveness, number>> = { live: 0, suspect: 10, maintenance: 20, dead: 30 }

/** Undefined: the chunk is not in the table. Dead servers come last rather than not at all: they may be back first. */
export function locationOf(context: MasterContext, handle: ChunkHandle): ChunkLocation | undefined {
  const { state, locations, servers, clock, random } = context
  const chunk = state.chunk(handle)
  if (!chunk) return undefined
  const nowMs = clock.nowMs()
  const found: { order: number; replica: ChunkLocation['replicas'][number] }[] = []
  for (const { directory, state: replicaState } of locations.of(handle)) {
    const server = servers.serverOfDirectory(directory)
    if (!server || replicaState === 'different') continue
    const doubt = stateOrder[replicaState] + livenessOrder[servers.liveness(server, nowMs)]
    const { id, address, zone, rack } = server
    found.push({ order: doubt + random.fraction(), replica: { server: id, address, zone, rack, doubt } })
  }
  found.sort((a, b) => a.order - b.order)
  return {
    handle,
    version: chunk.version,
    isSealed: chunk.state === 'sealed',
    length: chunk.length,
    digest: chunk.digest,
    shared: chunk.shared,
    replicas: found.map(({ replica }) => replica),
  }
}

/**
 * Who asks for one chunk's place has lost it or found nobody there: if the chunk lacks replicas, somebody waits for its
 * repair (GFS §4.3).
 */
export function noteAwaited({ state, locations, servers, clock, attention }: MasterContext, handle: ChunkHandle): void {
  const chunk = state.chunk(handle)
  if (chunk?.state !== 'sealed') return
  const nowMs = clock.nowMs()
  let whole = 0
  for (const { directory, state: replicaState } of locations.of(handle)) {
    const server = servers.serverOfDirectory(directory)
    if (server && replicaState === 'good' && isReachable(servers.liveness(server, nowMs))) whole++
  }
  if (whole < (chunk.goal || state.goal)) attention.await(handle)
}
