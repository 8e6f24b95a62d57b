// The cluster's own facts: its identity, the lineages of its handles, the chunkservers it knows.

import type { ServerId } from '../../base/ids.ts'
import { LINEAGE_COUNT, ROOT_INODE } from '../../base/ids.ts'
import { BLOCK_BYTES, CHUNK_BYTES_MAX, DIRECTORIES_MAX } from '../../base/limits.ts'
import { type ClusterOption, clusterOptionMax, type OperationOf, type Outcome } from '../operations.ts'
import { NO_PARENT } from './inode-table.ts'
import { ACCEPTABLE, type Context, checkGoal, DONE, isWhole, no, yes } from './outcome.ts'
import type { MetadataState } from './state.ts'

/** Chunkservers known at most: one more is LIMIT_EXCEEDED. */
export const SERVERS_MAX = 65_536
const TEXT_MAX = 255

export function formatCluster(state: MetadataState, op: OperationOf<'formatCluster'>, context: Context): Outcome {
  if (state.clusterId !== '') return no('ALREADY_EXISTS', `the cluster is formatted already, as ${state.clusterId}`)
  if (!/^[0-9a-f]{32}$/.test(op.clusterId)) return no('INVALID_ARGUMENT', 'a cluster id has 32 hex digits')
  if (!isWhole(op.lineage, LINEAGE_COUNT - 1))
    return no('INVALID_ARGUMENT', `lineage ${op.lineage} is not in 0 .. 65535`)
  if (!isWhole(op.chunkBytes, CHUNK_BYTES_MAX) || op.chunkBytes === 0 || op.chunkBytes % BLOCK_BYTES !== 0) {
    return no(
      'INVALID_ARGUMENT',
      `chunks of ${op.chunkBytes} bytes: a multiple of ${BLOCK_BYTES} up to ${CHUNK_BYTES_MAX}`,
    )
  }
  const refusal = checkGoal(op.goal, 1)
  if (refusal !== undefined) return refusal
  if (context.dry) return ACCEPTABLE
  state.clusterId = op.clusterId
  state.lineage = op.lineage
  state.lineages.set(op.lineage, 0)
  state.chunkBytes = op.chunkBytes
  state.goal = op.goal
  const profile = state.profiles.use({ mode: 0o755, owner: '', group: '', goal: 0 })
  state.inodes.create(ROOT_INODE, true, NO_PARENT, profile, context.time.wallMs, context.time.wallMs)
  return DONE
}

export function acceptRollback(state: MetadataState, op: OperationOf<'acceptRollback'>, context: Context): Outcome {
  if (!isWhole(op.lineage, LINEAGE_COUNT - 1))
    return no('INVALID_ARGUMENT', `lineage ${op.lineage} is not in 0 .. 65535`)
  if (state.lineages.has(op.lineage)) return no('ALREADY_EXISTS', `lineage ${op.lineage} has given handles already`)
  if (!isWhole(op.lostIndex, Number.MAX_SAFE_INTEGER)) return no('INVALID_ARGUMENT', `log index ${op.lostIndex}`)
  if (context.dry) return ACCEPTABLE
  state.lineage = op.lineage
  state.lineages.set(op.lineage, 0)
  state.rollbackLostIndex = Math.max(state.rollbackLostIndex, op.lostIndex)
  return DONE
}

export function registerServer(state: MetadataState, op: OperationOf<'registerServer'>, context: Context): Outcome {
  if (op.directories.length > DIRECTORIES_MAX) {
    return no('LIMIT_EXCEEDED', `${op.directories.length} data directories, at most ${DIRECTORIES_MAX} are allowed`)
  }
  if (op.address.length > TEXT_MAX || op.zone.length > TEXT_MAX || op.rack.length > TEXT_MAX) {
    return no('INVALID_ARGUMENT', `address, zone and rack have at most ${TEXT_MAX} characters`)
  }
  let known = op.server === 0 ? undefined : state.serverTable.get(op.server)
  if (op.server !== 0 && known === undefined) return no('NOT_FOUND', `server ${op.server} is not registered`)
  if (known !== undefined && known.identity !== op.identity) {
    return no('DUPLICATE_IDENTITY', `server ${op.server} has identity ${known.identity}, not ${op.identity}`)
  }
  if (op.server === 0) {
    for (const server of state.serverTable.values()) if (server.identity === op.identity) known = server
  }
  if (known === undefined && state.serverTable.size >= SERVERS_MAX) {
    return no('LIMIT_EXCEEDED', `${SERVERS_MAX} chunkservers are registered, there is no room for more`)
  }
  if (context.dry) return ACCEPTABLE
  const id = known?.id ?? (state.nextServer++ as ServerId)
  const { identity, address, zone, rack } = op
  const directories = [...op.directories]
  const { intent, untilMs } = known ?? { intent: 'serve' as const, untilMs: 0 }
  state.serverTable.set(id, { id, identity, directories, address, zone, rack, intent, untilMs })
  return yes(id)
}

export function setServerIntent(state: MetadataState, op: OperationOf<'setServerIntent'>, context: Context): Outcome {
  const known = state.serverTable.get(op.server)
  if (known === undefined) return no('NOT_FOUND', `server ${op.server} is not registered`)
  if (!isWhole(op.untilMs, Number.MAX_SAFE_INTEGER)) return no('INVALID_ARGUMENT', `until ${op.untilMs} ms`)
  if (context.dry) return ACCEPTABLE
  state.serverTable.set(op.server, { ...known, intent: op.intent, untilMs: op.intent === 'maintain' ? op.untilMs : 0 })
  return DONE
}

export function setClusterOptions(
  state: MetadataState,
  op: OperationOf<'setClusterOptions'>,
  context: Context,
): Outcome {
  for (const [name, value] of op.options) {
    if (!isClusterOption(name)) return no('INVALID_ARGUMENT', `${name} is no option of a cluster`)
    const least = name === 'copiesPerServer' ? 1 : 0
    const most = clusterOptionMax[name]
    if (value === null || (isWhole(value, most) && value >= least)) continue
    return no('INVALID_ARGUMENT', `${name} ${value} is not in ${least} .. ${most}`)
  }
  if (context.dry) return ACCEPTABLE
  for (const [name, value] of op.options) {
    if (!isClusterOption(name)) continue
    if (value === null) state.options.delete(name)
    else state.options.set(name, value)
  }
  if (state.changes.isCollecting) state.changes.haveOptionsChanged = true
  return DONE
}

export function isClusterOption(name: string): name is ClusterOption {
  return Object.hasOwn(clusterOptionMax, name)
}
