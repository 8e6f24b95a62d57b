// Who of a chain is silent, or slower than the others: asked of each member directly, when an answer of the whole chain is
// overdue.
//
// Slow is slower than the other members: when all of them are, the chain is only busy, and is waited for, so that
// overload does not turn into seals (DESIGN §4, step 6).

import type { ServerId } from '../base/ids.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Allocation } from '../wire/messages.ts'
import type { Core } from './core.ts'
import type { Patience } from './patience.ts'
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

/** A disk that holds an operation up for less is not looked at twice. */
export const SLOW_MS = 1500
/** The disk of another member is so many times quicker. */
const SLOW_RATIO = 4

/**
 * The members whose disk has held an operation up for long while another's has not. A member that gives no answer is not
 * judged here. Never rejects for a fault of the world.
 */
export async function slowMembers(core: Core, allocation: Allocation, signal?: AbortSignal): Promise<ServerId[]> {
  const { handle, version, members } = allocation
  const waits = await Promise.all(
    members.map(async ({ server, address }) => {
      try {
        const connection = await core.links.chunkserver(address, LANE, PROBE_MS, signal)
        const asked = await core.links.call(connection, 'pulse', { handle, version }, { timeoutMs: PROBE_MS, signal })
        return { server, ...asked }
      } catch (error) {
        asFault(error) // whatever it says is no statement about its disk
        return undefined
      }
    }),
  )
  const answers = waits.filter((wait) => wait !== undefined)
  const quickestMs = Math.min(...answers.map(({ recentMs }) => recentMs))
  return answers.filter((wait) => isSlow(wait.waitingMs, quickestMs)).map(({ server }) => server)
}

/**
 * Whether the chain is only busy: no member is silent, and none slower than the others, so that another chunk would be no
 * quicker. False when the caller has no time left for the question. Never rejects for a fault of the world.
 */
export async function isOnlyBusy(core: Core, allocation: Allocation, patience: Patience): Promise<boolean> {
  if (patience.leftMs <= PROBE_MS) return false
  const { signal } = patience
  const [silent, slow] = await Promise.all([
    silentMembers(core, allocation, signal),
    slowMembers(core, allocation, signal),
  ])
  return silent.length + slow.length === 0
}

/** Whether a disk that holds an operation up for `waitingMs` is slow beside one that lately took `quickestMs` at most. */
export function isSlow(waitingMs: number, quickestMs: number): boolean {
  return waitingMs >= SLOW_MS && waitingMs >= SLOW_RATIO * quickestMs
}
