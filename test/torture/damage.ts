// Bits flipped in the chunk files of running chunkservers: of each chunk, never in so many replicas that no good one is
// left.

import path from 'node:path'
import fs from 'fs-extra'
import type { Random } from '../../src/base/random.ts'
import type { TortureCluster } from './cluster.ts'

const TRIES = 40

/** The stored files of one chunk: its directory of each server that has it. */
export interface StoredChunk {
  readonly name: string
  readonly servers: readonly { readonly server: string; readonly data: string; readonly bytes: number }[]
}

/** What lies on the disks now; files come and go while they are listed. */
export function storedChunks(cluster: TortureCluster): StoredChunk[] {
  const chunks = new Map<string, { server: string; data: string; bytes: number }[]>()
  for (const server of cluster.chunkservers) {
    const shards = path.join(cluster.dataOf(server), 'chunks')
    if (!fs.existsSync(shards)) continue
    for (const shard of fs.readdirSync(shards)) {
      for (const file of fs.readdirSync(path.join(shards, shard))) {
        if (!file.endsWith('.data')) continue
        const data = path.join(shards, shard, file)
        const bytes = fs.statSync(data, { throwIfNoEntry: false })?.size ?? 0
        const name = path.basename(file, '.data')
        chunks.set(name, [...(chunks.get(name) ?? []), { server, data, bytes }])
      }
    }
  }
  return [...chunks].map(([name, servers]) => ({ name, servers }))
}

/** Flips bits, and remembers where until all damage is healed. */
export class Damager {
  readonly #cluster: TortureCluster
  readonly #random: Random
  readonly #damaged = new Set<string>()
  count = 0

  constructor(cluster: TortureCluster, random: Random) {
    this.#cluster = cluster
    this.#random = random
  }

  /**
   * Damages one chunk: a bit each of all its replicas but one, or of fewer. Only full copies count: where the file is as
   * long as the longest. What may still grow (it changed lately) loses at most one of three.
   *
   * @returns how many replicas it damaged; 0 when nothing could be
   */
  damageOne(): number {
    const random = this.#random
    const chunks = storedChunks(this.#cluster).filter(({ name }) => !this.#damaged.has(name))
    for (let i = 0; i < TRIES && chunks.length > 0; i++) {
      const { name, servers } = random.pick(chunks)
      const longest = Math.max(...servers.map(({ bytes }) => bytes))
      const full = servers.filter(({ bytes }) => bytes === longest)
      if (longest === 0 || full.length < 2) continue
      const isQuiet = full.every(
        ({ data }) => Date.now() - (fs.statSync(data, { throwIfNoEntry: false })?.mtimeMs ?? 0) > 3000,
      )
      const most = isQuiet ? full.length - 1 : full.length - 2
      if (most < 1) continue
      this.#damaged.add(name)
      let done = 0
      for (const { data, bytes } of shuffled(full, random).slice(0, 1 + random.below(most)))
        if (flipBit(data, random.below(bytes), random.below(8))) done++
      this.count += done
      return done
    }
    return 0
  }

  /** Everything was checked and is whole again. */
  healed(): void {
    this.#damaged.clear()
  }
}

/** @returns false when the file has gone meanwhile */
export function flipBit(file: string, position: number, bit: number): boolean {
  let descriptor: number
  try {
    descriptor = fs.openSync(file, 'r+')
  } catch {
    return false // trimmed or dropped meanwhile, which is as it should be
  }
  const byte = Buffer.alloc(1)
  fs.readSync(descriptor, byte, 0, 1, position)
  byte[0]! ^= 1 << bit
  fs.writeSync(descriptor, byte, 0, 1, position)
  fs.closeSync(descriptor)
  return true
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const left = [...items]
  const out: T[] = []
  while (left.length > 0) out.push(...left.splice(random.below(left.length), 1))
  return out
}
