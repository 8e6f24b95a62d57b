// One primary: whoever was made a member of a chunk knows the same members in the same order, the first of them its
// primary, and for an open chunk these are the log's (DESIGN §2: members and primary never change while it is open).
//
// Read from the headers on the simulated disks, which outlive processes: two primaries at any time of a chunk's life
// leave two headers that differ.

import type { ChunkHandle } from '../../../src/base/ids.ts'
import { decodeHeader } from '../../../src/chunkserver/format.ts'
import type { SimCluster } from '../sim-cluster.ts'
import { replicasOn } from './damage.ts'
import { Violation } from './violation.ts'

/** @returns members' headers looked at */
export function checkPrimaries(cluster: SimCluster): number {
  const known = new Map<string, { readonly members: string; readonly where: string }>()
  const state = cluster.master.node?.state
  let count = 0
  for (const server of cluster.chunkservers) {
    for (const { handle, path, disk } of replicasOn(server)) {
      const metaPath = path.replace(/data$/, 'meta')
      if (!disk.has(metaPath)) continue
      const header = decodeHeader(disk.readFile(metaPath))
      // Rot and torn headers are no news; a copy of a sealed chunk never was a member.
      if ('fault' in header || header.members.length === 0) continue
      count++
      const where = `${disk.name}${metaPath}`
      const members = namesOf(header.members)
      const open = state?.chunkMembers(Number.parseInt(handle, 16) as ChunkHandle)
      const other = open ? { members: namesOf(open), where: 'the log' } : known.get(handle)
      known.set(handle, { members, where })
      if (other !== undefined && other.members !== members)
        throw new Violation(
          `chunk ${handle} has the members ${members} for ${where} and ${other.members} for ${other.where}`,
        )
    }
  }
  return count
}

/** The primary first. */
function namesOf(
  members: Iterable<{ readonly server: number; readonly directory: number; readonly life: number }>,
): string {
  return Array.from(members, ({ server, directory, life }) => `cs-${server}/${directory}/${life}`).join(' ')
}
