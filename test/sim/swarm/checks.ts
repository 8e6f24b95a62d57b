// What must hold of a whole cluster once it is healed, and once it has been stopped.

import { crc32 } from '../../../src/base/crc32.ts'
import type { ChunkHandle } from '../../../src/base/ids.ts'
import type { Client } from '../../../src/client/client.ts'
import { loadNewestState, replay } from '../../../src/master/checkpointer.ts'
import { encodeCheckpoint } from '../../../src/master/metadata/checkpoint.ts'
import { checkInvariants } from '../../../src/master/metadata/invariants.ts'
import { MetadataState } from '../../../src/master/metadata/state.ts'
import type { SimCluster } from '../sim-cluster.ts'
import type { SimWorld } from '../world.ts'
import { replicasOn } from './damage.ts'
import { Violation } from './violation.ts'

/** Full redundancy, from the last mending on: with copies, scrubs and all waits that are there for a reason. */
const CONVERGENCE_MS = 180_000
const HEARTBEAT_MS_MAX = 2500
const SETTLE_MS = 60_000
/** Longer than any deadline of what a part was still waiting for when it was stopped. */
const STOPPED_MS = 30_000

interface RepairFacts {
  readonly missing: number
  readonly corrupt: number
  readonly underReplicated: number
  readonly overReplicated: number
}

/** Redundancy is restored by itself: fsck says HEALTHY, nothing is damaged, lacking or too many. @returns ms it took */
export async function checkConvergence(world: SimWorld, client: Client, cluster: SimCluster): Promise<number> {
  const startMs = world.nowMs
  await world.until(
    'all chunkservers have joined',
    () => cluster.chunkservers.every((server) => server.node?.status().isJoined),
    CONVERGENCE_MS,
  )
  // Rot that nobody has met yet is found now.
  const passes = cluster.chunkservers.map((server) => server.node!.status().scrub.scrubPasses)
  const isScrubbed = () =>
    cluster.chunkservers.every((server, index) => server.node!.status().scrub.scrubPasses > passes[index]!)
  while (!isScrubbed()) {
    if (world.nowMs - startMs > CONVERGENCE_MS) throw new Violation(`no whole scrub within ${CONVERGENCE_MS} ms`)
    // A server that has just lost its connection with the master isn't asked, and is asked again.
    await client.scrub()
    for (let looks = 0; looks < 50 && !isScrubbed(); looks++) await world.sleep(100)
  }
  // What was found goes to the master with the next heartbeat.
  await world.sleep(HEARTBEAT_MS_MAX)
  for (;;) {
    const { status, corrupt, problems } = await client.fsck('/')
    const { repair } = (await client.report()) as { repair: RepairFacts }
    const { missing, underReplicated, overReplicated } = repair
    const isWhole = status === 'HEALTHY' && corrupt + repair.corrupt + missing + underReplicated + overReplicated === 0
    if (isWhole) return world.nowMs - startMs
    if (world.nowMs - startMs > CONVERGENCE_MS) {
      const facts = JSON.stringify({ status, damaged: corrupt, ...repair })
      throw new Violation(
        `not whole ${CONVERGENCE_MS} ms after everything was mended: ${facts}; ${problems[0]?.why ?? ''}`,
      )
    }
    await world.sleep(500)
  }
}

/** Every replica on every disk of every sealed chunk holds the bytes that the log's digest is of. @returns replicas */
export async function checkReplicas(world: SimWorld, cluster: SimCluster): Promise<number> {
  const deadlineMs = world.nowMs + SETTLE_MS
  for (;;) {
    const { count, fault } = judgeReplicas(cluster)
    if (fault === undefined) return count
    // A replica that isn't needed is still on its way out.
    if (world.nowMs > deadlineMs) throw new Violation(fault)
    await world.sleep(1000)
  }
}

function judgeReplicas(cluster: SimCluster): { count: number; fault: string | undefined } {
  const { state } = cluster.master.node!
  let count = 0
  for (const server of cluster.chunkservers) {
    for (const { handle, path, disk } of replicasOn(server)) {
      const chunk = state.chunk(Number.parseInt(handle, 16) as ChunkHandle)
      // What no file names is on its way out, and nobody mends it.
      if (chunk?.state !== 'sealed' || chunk.references === 0) continue
      const bytes = disk.readFile(path)
      // Without a byte: a fence that outlives a replica, which is nobody's (src/chunkserver/README.md).
      if (bytes.length === 0) continue
      const isRight = bytes.length >= chunk.length && crc32(bytes.subarray(0, chunk.length)) === chunk.digest
      const where = `${disk.name}${path}`
      if (!isRight)
        return { count, fault: `${where} has ${bytes.length} bytes that are not the ${chunk.length} of the log` }
      count++
    }
  }
  return { count, fault: undefined }
}

/**
 * At one moment: the state the master serves from, the newest checkpoint with the
 * log behind it, and the whole log from its beginning are the same bytes.
 */
export async function checkReplay(cluster: SimCluster): Promise<void> {
  const { master } = cluster
  const node = master.node!
  checkInvariants(node.state as MetadataState)
  const { lastIndex } = node.state
  const live = bytesOf(node.state as MetadataState)
  const { disk } = master.machine.io
  const [logDirectory, checkpointDirectory] = ['/data/log', '/data/checkpoints']
  const loaded = await loadNewestState(disk, master.machine.log, checkpointDirectory, node.clusterId)
  // A checkpoint made meanwhile may be ahead of the moment.
  const fresh = loaded.lastIndex > lastIndex ? [] : [loaded]
  for (const state of [...fresh, new MetadataState()]) {
    const from = state.lastIndex
    state.changes.isCollecting = false
    await replay(disk, state, logDirectory, node.clusterId, lastIndex)
    const replayed = bytesOf(state)
    for (const [name, bytes] of live) {
      if (Buffer.compare(bytes, replayed.get(name) ?? Buffer.alloc(0)) !== 0)
        throw new Violation(
          `section '${name}' of the state at ${lastIndex} is not what a replay from ${from} makes of it`,
        )
    }
  }
}

function bytesOf(state: MetadataState): Map<string, Buffer> {
  return new Map(Array.from(encodeCheckpoint(state), ({ name, bytes }) => [name, Buffer.concat([...bytes])]))
}

/** Everything is stopped in order; then nothing is left of it: no connection, buffer, open file or timer. */
export async function checkNothingLeft(world: SimWorld, cluster: SimCluster): Promise<void> {
  const processes = world.machines.flatMap((machine) => machine.processes)
  await Promise.all(cluster.chunkservers.map((server) => server.node?.close()))
  await cluster.master.node?.close()
  await world.sleep(STOPPED_MS)
  const left: string[] = []
  const say = (what: string, count: number): void => {
    if (count !== 0) left.push(`${count} ${what}`)
  }
  say('connections', world.network.connectionCount())
  say(`received buffers (${world.network.retainedBytes} bytes)`, world.network.retainedBuffers)
  for (const process of processes) {
    say(`open files of ${process.label} (${process.openPaths.slice(0, 3).join(', ')})`, process.openFileCount)
    const pending = world.scheduler.pendingOf(process)
    say(`pending events of ${process.label} (${pending.slice(0, 3).join(', ')})`, pending.length)
  }
  if (left.length > 0) throw new Violation(`after an orderly stop there are ${left.join('; ')}`)
}
