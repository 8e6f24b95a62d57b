// What a simulated world is like: how cruel its disks and its network are. Drawn from the seed by `swarmOptions`.

import { Random } from '../../src/base/random.ts'
import { GiB, KiB } from '../../src/base/units.ts'

export interface SimDiskOptions {
  /** Time of one operation: drawn from this range, times `slowFactor`. */
  latencyMsMin: number
  latencyMsMax: number
  slowFactor: number
  bytesPerMs: number
  capacityBytes: number
  /** Probability of DISK_FAILED for one read, of DISK_FAILED for one write, of FSYNC_FAILED for one sync. */
  readErrorChance: number
  writeErrorChance: number
  syncErrorChance: number
  /** After power loss: probability that an unsynced write, or an unsynced change of a name, is there whole. */
  keepChance: number
  /** After power loss: probability that an unsynced write which isn't there whole is there in part. */
  tearChance: number
  /** After power loss: probability that the place of a lost write at the end of a file holds garbage, not zeros. */
  garbageChance: number
  /** Every sync resolves without making anything durable: proves that a test notices. */
  syncIsNothing: boolean
}

export interface SimNetworkOptions {
  latencyMsMin: number
  latencyMsMax: number
  bytesPerMs: number
  /** How the byte stream is cut for the reader: a few bytes, anything, or as much as has come. */
  chunking: 'fine' | 'mixed' | 'coarse'
  /** Probability, for each delivered run of bytes, that the connection breaks there. */
  breakChance: number
  /** Bytes the kernels of both sides hold for one direction of a connection. */
  windowBytes: number
  /** `write` returns false above this. */
  highWaterBytes: number
}

export interface SimOptions {
  seed: number
  /** The run fails after this many events: something goes in circles. */
  eventsMax: number
  /** Lines each machine's log keeps. */
  logLinesMax: number
  disk: SimDiskOptions
  network: SimNetworkOptions
}

export interface SimOptionsInput {
  readonly seed: number
  readonly eventsMax?: number
  readonly logLinesMax?: number
  readonly disk?: Partial<SimDiskOptions>
  readonly network?: Partial<SimNetworkOptions>
}

/** Mild values: a healthy data centre with disks that still forget what was not synced. */
export function simOptions(input: SimOptionsInput): SimOptions {
  return {
    seed: input.seed,
    eventsMax: input.eventsMax ?? 2_000_000,
    logLinesMax: input.logLinesMax ?? 200,
    disk: {
      latencyMsMin: 0.05,
      latencyMsMax: 0.5,
      slowFactor: 1,
      bytesPerMs: 1_000_000,
      capacityBytes: 100 * GiB,
      readErrorChance: 0,
      writeErrorChance: 0,
      syncErrorChance: 0,
      keepChance: 0.4,
      tearChance: 0.5,
      garbageChance: 0.2,
      syncIsNothing: false,
      ...input.disk,
    },
    network: {
      latencyMsMin: 0.05,
      latencyMsMax: 0.3,
      bytesPerMs: 1_000_000,
      chunking: 'mixed',
      breakChance: 0,
      windowBytes: 256 * KiB,
      highWaterBytes: 64 * KiB,
      ...input.network,
    },
  }
}

/** A different kind of world for each seed: slow or fast disks and links, fine or coarse cuts, small or large windows. */
export function swarmOptions(seed: number, over: Omit<SimOptionsInput, 'seed'> = {}): SimOptionsInput {
  const random = new Random(seed).fork()
  const diskMs = random.pick([0.05, 0.5, 5])
  const linkMs = random.pick([0.05, 0.5, 20])
  return {
    seed,
    ...over,
    disk: {
      latencyMsMin: diskMs / 10,
      latencyMsMax: diskMs,
      keepChance: random.pick([0, 0.3, 0.7, 0.95]),
      tearChance: random.pick([0, 0.5, 1]),
      garbageChance: random.pick([0, 0.5]),
      ...over.disk,
    },
    network: {
      latencyMsMin: linkMs / 10,
      latencyMsMax: linkMs,
      chunking: random.pick(['fine', 'mixed', 'mixed', 'coarse'] as const),
      windowBytes: random.pick([16 * KiB, 256 * KiB, 2048 * KiB]),
      highWaterBytes: random.pick([16 * KiB, 64 * KiB, 1024 * KiB]),
      ...over.network,
    },
  }
}

/** The seeds a test runs: `first` .. `first + count - 1`, or the one in the environment variable SIM_SEED. */
export function simSeeds(count: number, first = 1): number[] {
  const only = process.env.SIM_SEED
  return only === undefined ? Array.from({ length: count }, (_, index) => first + index) : [Number(only)]
}
