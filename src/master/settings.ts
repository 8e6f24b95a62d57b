// Settings of a master: what the operator chose, with the defaults of `dfsd master --help`.

import { DAY_MS, GiB, MINUTE_MS, MiB } from '../base/units.ts'
import type { ClusterOption } from './operations.ts'

export interface MasterSettings {
  /** Replicas of a file that asks for none in particular; taken at format. */
  readonly goal: number
  /** A chunk is not started with fewer; undefined: 2 for goals of 3 and more, else 1. */
  readonly minReplicas: number | undefined
  /** Taken at format. */
  readonly chunkBytes: number
  /** Fixed by the operator; undefined: by the size of the cluster, and by each server's own habit (cluster/servers.ts). */
  readonly heartbeatMs: number | undefined
  readonly deadAfterMs: number | undefined
  /** What copies may take of each server's network, but those of last copies; 0: no limit. */
  readonly repairBytesPerSecond: number
  readonly leaseMs: number
  /** What is removed can be had back for this long, in cluster time. */
  readonly retentionMs: number
  /** Bytes of log kept for history beyond what recovery needs. */
  readonly logBudgetBytes: number
  /** A checkpoint is due after this many bytes of log, or the size of the last one if that is more. */
  readonly checkpointEveryBytes: number
}

/** What copying may take: the settings, but for what the operator chose since, which is in the log. */
export interface CopyLimits {
  /** Of each server's network, but those of last copies; 0: no limit. */
  repairBytesPerSecond: number
  /** The same for rebalancing, which never runs beside repair; 0: no limit. */
  balanceBytesPerSecond: number
  /** Copies under way to one server; one more may be read from it at a time. */
  copiesPerServer: number
  isBalancing: boolean
}

const COPIES_PER_SERVER = 3
/** Rebalancing is in no hurry: it takes this part of what repair may take. */
const BALANCE_PART = 1 / 4

/** @param options  what the operator chose (metadata/state.ts) */
export function copyLimits(
  { repairBytesPerSecond }: MasterSettings,
  options: ReadonlyMap<ClusterOption, number>,
): CopyLimits {
  return {
    repairBytesPerSecond: options.get('repairBytesPerSecond') ?? repairBytesPerSecond,
    balanceBytesPerSecond: options.get('balanceBytesPerSecond') ?? Math.ceil(repairBytesPerSecond * BALANCE_PART),
    copiesPerServer: options.get('copiesPerServer') ?? COPIES_PER_SERVER,
    isBalancing: options.get('isBalancing') !== 0,
  }
}

export const defaultSettings: MasterSettings = {
  goal: 3,
  minReplicas: undefined,
  chunkBytes: 64 * MiB,
  heartbeatMs: undefined,
  deadAfterMs: undefined,
  repairBytesPerSecond: 256 * MiB,
  leaseMs: MINUTE_MS,
  retentionMs: DAY_MS,
  logBudgetBytes: 20 * GiB,
  checkpointEveryBytes: 256 * MiB,
}

/** The fewest replicas a chunk of this goal may start with. */
export function minimumReplicas(goal: number, settings: MasterSettings): number {
  return Math.min(goal, settings.minReplicas ?? (goal >= 3 ? 2 : 1))
}
