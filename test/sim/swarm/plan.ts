// What one run of the swarm is like, drawn from its seed: the size of the cluster, what its clients do, what befalls it.
//
// A run with every operation and every fault hides the rare meetings of two; so each seed leaves some out and does the
// rest at rates of its own (Groce et al., "Swarm testing", ISSTA 2012).

import { Random } from '../../../src/base/random.ts'
import { HOUR_MS, KiB, SECOND_MS } from '../../../src/base/units.ts'

export const FILE_OPERATIONS = [
  'write',
  'small',
  'stream',
  'append',
  'overwrite',
  'truncate',
  'rename',
  'copy',
  'snapshot',
  'concat',
  'remove',
  'restore',
  'read',
  'look',
] as const
export type FileOperation = (typeof FILE_OPERATIONS)[number]

export const FAULTS = [
  'kill',
  'power',
  'powerOfAll',
  'freeze',
  'stopGracefully',
  'masterKill',
  'masterPower',
  'masterFreeze',
  'masterStop',
  'masterDiskError',
  'masterDiskFull',
  'partition',
  'isolate',
  'cut',
  'cutMidFrame',
  'flakyNetwork',
  'slowLink',
  'slowDisk',
  'stalledDisk',
  'diskError',
  'diskFull',
  'rot',
  'lostDisk',
  'clockJump',
  'drain',
  'maintain',
  'setGoal',
  'checkpoint',
  'scrub',
] as const

/** Drawn apart from the others, so that those of a seed stay what they were when it failed. */
export const LATER_FAULTS = ['badDirectory', 'compact', 'limits', 'emptyTrash', 'killDuringCheckpoint'] as const
export type Fault = (typeof FAULTS)[number] | (typeof LATER_FAULTS)[number]

export interface SwarmPlan {
  readonly servers: number
  /** Data directories of each server, on a disk each. */
  readonly directories: number
  /** Racks and zones that the servers are spread over; 0: they have no names. */
  readonly racks: number
  readonly zones: number
  readonly fileClients: number
  readonly recordWriters: number
  readonly readers: number
  /** Readers on the host of a chunkserver. */
  readonly nearReaders: number
  /** Milliseconds of load and faults; between two steps of a client; between two faults of one hand of fate. */
  readonly faultyMs: number
  readonly paceMs: number
  readonly faultEveryMs: number
  /** How long most faults last at most. */
  readonly faultMsMax: number
  /** Faults that go on at the same time. */
  readonly hands: number
  readonly operations: readonly (readonly [FileOperation, number])[]
  readonly faults: readonly Fault[]
  readonly fileBytesMax: number
  readonly filesMax: number
  /** Records are durable before they are acknowledged; otherwise no chunkserver loses power. */
  readonly isSync: boolean
  readonly goal: number
  readonly minReplicas: number | undefined
  readonly chunkBytes: number
  readonly heartbeatMs: number | undefined
  readonly deadAfterMs: number | undefined
  readonly checkpointEveryBytes: number
  readonly retentionMs: number
  readonly scrubBytesPerSecond: number
  readonly clientTimeoutMs: number
  /** `allWrong`: those of clients too. */
  readonly clocks: 'right' | 'wrong' | 'allWrong'
}

/** Faults after which something may be lost that was acknowledged and not synced. */
const FORGETS: readonly Fault[] = ['power', 'powerOfAll', 'lostDisk', 'diskError', 'badDirectory']
/** Faults that take bytes for good: only where there are other replicas of them. */
const DESTROYS: readonly Fault[] = ['rot', 'lostDisk']

/**
 * @param scale    `short`: for hundreds of seeds; `long`: for minutes and hours
 * @param isPlain  without what was added later: a seed that failed before it is again what it was
 */
export function swarmPlan(seed: number, scale: 'short' | 'long', isPlain = false): SwarmPlan {
  const plan = plainPlan(seed, scale)
  if (isPlain) return plan
  const random = new Random(seed ^ 0xd15c)
  const directories = random.pick([1, 1, 2, 3])
  const possible = LATER_FAULTS.filter((fault) => fault !== 'badDirectory' || (directories > 1 && plan.isSync))
  const later = possible.filter(() => random.chance(scale === 'short' ? 0.3 : 0.6))
  return {
    ...plan,
    directories,
    racks: random.pick([0, 0, 2, 3]),
    zones: random.pick([0, 0, 0, 2]),
    faults: [...plan.faults, ...later],
    retentionMs: random.chance(0.3) ? random.pick([1, 10, 60]) * SECOND_MS : plan.retentionMs,
    clocks: plan.clocks === 'wrong' ? 'allWrong' : plan.clocks,
    nearReaders: random.pick([0, 0, 1]),
  }
}

function plainPlan(seed: number, scale: 'short' | 'long'): SwarmPlan {
  const random = new Random(seed ^ 0x5eed)
  const isShort = scale === 'short'
  const isSync = random.chance(0.6)
  const goal = random.pick([1, 2, 3, 3, 3])
  const faultCount = 1 + random.below(isShort ? 5 : FAULTS.length)
  const possible = FAULTS.filter(
    (fault) => (isSync || !FORGETS.includes(fault)) && (goal > 1 || !DESTROYS.includes(fault)),
  )
  const faults = new Set<Fault>()
  while (faults.size < Math.min(faultCount, possible.length)) faults.add(random.pick(possible))
  const operations = FILE_OPERATIONS.filter(() => random.chance(0.7)).map(
    (operation) => [operation, random.pick([1, 1, 2, 5])] as const,
  )
  return {
    servers: 3 + random.below(isShort ? 3 : 5),
    directories: 1,
    racks: 0,
    zones: 0,
    fileClients: 1 + random.below(isShort ? 2 : 3),
    recordWriters: random.chance(isShort ? 0.5 : 0.9) ? 1 + random.below(isShort ? 3 : 5) : 0,
    readers: random.below(2),
    nearReaders: 0,
    faultyMs: isShort ? 3000 + random.below(4000) : 8000 + random.below(20_000),
    paceMs: random.pick([40, 100, 250]),
    faultEveryMs: random.pick([500, 1500]) * (isShort ? 1 : 2),
    faultMsMax: random.pick([300, 2000, 5000]),
    hands: random.pick([1, 1, 2]),
    operations: [['write', 2] as const, ...operations],
    faults: [...faults],
    fileBytesMax: random.pick([2, 10, 10, 100]) * KiB,
    filesMax: 12,
    isSync,
    goal,
    minReplicas: random.chance(0.4) ? 1 + random.below(goal) : undefined,
    chunkBytes: random.pick([32, 64, 256]) * KiB,
    heartbeatMs: random.pick([undefined, undefined, 1000, 2000]),
    deadAfterMs: random.pick([undefined, 3000]),
    checkpointEveryBytes: random.pick([2000, 20_000, 1_000_000]),
    retentionMs: random.pick([2 * HOUR_MS, 24 * HOUR_MS]),
    scrubBytesPerSecond: random.pick([0, 0, 100 * KiB]),
    clientTimeoutMs: random.pick([3, 8, 20]) * SECOND_MS,
    clocks: random.chance(0.3) ? 'wrong' : 'right',
  }
}
