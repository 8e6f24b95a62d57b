// The sum over a set of replicas: eight bytes in a heartbeat by which the master sees whether it knows what the server
// has, so that all of it need not be said again (DESIGN §5).
//
// Each replica has a mark, 48 bits mixed from its handle, its directory and what can be expected of it; the sum of a set
// is that of its marks, modulo 2^48, whatever the order. Replicas come and go in one step each. How long a growing one
// is has no part in it: that changes all the time and is asked of its primary.
//
// README.md beside this file, "Sums of replicas".

import type { ChunkHandle, DirectoryId } from '../base/ids.ts'
import type { ReplicaFacts } from './messages.ts'

/** What the sum tells apart: takes bytes or waits for its seal, sealed, a block failed. */
export const replicaConditions = ['grows', 'settled', 'damaged'] as const
export type ReplicaCondition = (typeof replicaConditions)[number]

const MODULUS = 2 ** 48

/** The condition of a replica whose server says this of it; undefined: it isn't there. */
export function conditionOf(state: ReplicaFacts['state']): ReplicaCondition | undefined {
  switch (state) {
    case 'open':
    case 'fenced':
      return 'grows'
    case 'sealed':
      return 'settled'
    case 'corrupt':
      return 'damaged'
    case 'quarantined':
    case 'gone':
      return undefined
  }
}

/** The mark of one replica, 0 .. 2^48 - 1. */
export function replicaMark(handle: ChunkHandle, directory: DirectoryId, condition: ReplicaCondition): number {
  const low = mix(0x9e3779b9, handle, directory, condition)
  const high = mix(0x85ebca6b, handle, directory, condition)
  return (high & 0xffff) * 2 ** 32 + (low >>> 0)
}

export function addMark(sum: number, mark: number): number {
  return (sum + mark) % MODULUS
}

export function removeMark(sum: number, mark: number): number {
  return (sum - mark + MODULUS) % MODULUS
}

/** MurmurHash3 (32 bits, by Austin Appleby, public domain) over five words. */
function mix(seed: number, handle: number, directory: number, condition: ReplicaCondition): number {
  let hash = seed
  hash = round(hash, handle % 2 ** 32)
  hash = round(hash, Math.floor(handle / 2 ** 32))
  hash = round(hash, directory % 2 ** 32)
  hash = round(hash, Math.floor(directory / 2 ** 32))
  hash = round(hash, replicaConditions.indexOf(condition))
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}

function round(hash: number, word: number): number {
  const scrambled = Math.imul(rotate(Math.imul(word, 0xcc9e2d51), 15), 0x1b873593)
  return (Math.imul(rotate(hash ^ scrambled, 13), 5) + 0xe6546b64) | 0
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}
