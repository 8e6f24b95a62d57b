// Damage that a cluster can bear: bytes are taken from a server only while another one holds the same ones, undamaged.
//
// The truth is read from the simulated disks themselves, not from what the cluster believes. A file that was damaged is
// remembered as the object it is, so a copy made anew in its place counts as whole again.

import type { Random } from '../../../src/base/random.ts'
import type { SimDisk } from '../disk.ts'
import type { FileNode } from '../file-node.ts'
import type { SimChunkserver, SimCluster } from '../sim-cluster.ts'

const DATA_FILE = /\/chunks\/[^/]+\/([0-9a-f]+)\.data$/

export interface ReplicaFile {
  readonly server: SimChunkserver
  readonly disk: SimDisk
  /** The handle as it stands in the name. */
  readonly handle: string
  readonly path: string
  readonly node: FileNode
}

/** The data files of chunks on a server's disks. */
export function replicasOn(server: SimChunkserver): ReplicaFile[] {
  return server.machine.disks.flatMap((disk) =>
    disk.paths().flatMap((path) => {
      const handle = DATA_FILE.exec(path)?.[1]
      return handle === undefined ? [] : [{ server, disk, handle, path, node: disk.fileAt(path) }]
    }),
  )
}

export class Damage {
  readonly #cluster: SimCluster
  readonly #damaged = new WeakSet<FileNode>()

  constructor(cluster: SimCluster) {
    this.#cluster = cluster
  }

  /** Whether the file was damaged and is still the same. */
  isDamaged(file: ReplicaFile): boolean {
    return this.#damaged.has(file.node)
  }

  /** Flips a few bits in some of a server's replicas, of data or of checksums. @returns replicas damaged */
  rot(server: SimChunkserver, random: Random): number {
    let count = 0
    for (const file of replicasOn(server)) {
      const { disk } = file
      if (!random.chance(0.3) || file.node.length === 0 || !this.#isElsewhere(file)) continue
      const metaPath = file.path.replace(/data$/, 'meta')
      const path = random.chance(0.8) || !disk.has(metaPath) ? file.path : metaPath
      const { length } = disk.fileAt(path)
      for (let flips = 1 + random.below(3); flips > 0; flips--)
        disk.flipBit(path, random.below(length), random.below(8))
      this.#damaged.add(file.node)
      count++
    }
    return count
  }

  /** Empties a stopped server's disks, unless it has bytes that are nowhere else. @returns whether it did */
  loseDisk(server: SimChunkserver): boolean {
    if (!replicasOn(server).every((file) => file.node.length === 0 || this.#isElsewhere(file))) return false
    for (const disk of server.machine.disks) disk.restoreFiles(new Map())
    return true
  }

  /** Whether another server holds all that this file does, undamaged. */
  #isElsewhere(file: ReplicaFile): boolean {
    const mine = file.disk.readFile(file.path)
    const isSame = (other: ReplicaFile): boolean => {
      if (other.handle !== file.handle || this.#damaged.has(other.node) || other.node.length < mine.length) return false
      return Buffer.compare(other.disk.readFile(other.path).subarray(0, mine.length), mine) === 0
    }
    return this.#cluster.chunkservers.some((other) => other !== file.server && replicasOn(other).some(isSame))
  }
}
