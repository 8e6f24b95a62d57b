// Who of a chain is silent: asked of each member directly, when an answer of the whole chain is overdue.
//
// Slow is slower than the others: when every member answers this, the chain is only busy, and is waited for.

import type { ServerId } from '../base/ids.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Allocation } from '../wire/messages.ts'
import type { Core } from './core.ts'
import { asFault, isPassing } from './retry.ts'

const PROBE_MS = 2 * SECOND_MS
const LANE = 'probe'

/** The members of a chunk that give no answer at all within two seconds. Never rejects for a fault of the world. */
export async function silentMembers(core: Core, allocation: Allocation, signal?: AbortSignal): Promise<ServerId[]> {
  const { handle, version, members } = allocation
  const silent = await Promise.all(
    members.map(async ({ server, address }) => {
      try {
        const connection = await core.links.chunkserver(address, LANE, PROBE_MS, signal)
        await core.links.call(connection, 'tail', { handle, version }, { timeoutMs: PROBE_MS, signal })
        return undefined
      } catch (error) {
        // A refusal is an answer: a secondary says that it is not the primary.
        const fault = asFault(error)
        return isPassing(fault) && fault.code !== 'BUSY' && fault.code !== 'NOT_READY' ? server : undefined
      }
    }),
  )
  return silent.filter((server) => server !== undefined)
}
