// Looking up a batch of records in a sealed chunk: any sealed replica knows for ever whether it is there.

import { DfsError } from '../base/errors.ts'
import { formatHandle, type SessionId } from '../base/ids.ts'
import { SECOND_MS } from '../base/units.ts'
import type { Allocation } from '../wire/messages.ts'
import type { Core } from './core.ts'
import { endOfPatience } from './masters.ts'
import type { Patience } from './patience.ts'
import { asFault, backoffMs } from './retry.ts'

const CALL_MS = 3 * SECOND_MS
const LANE = 'probe'

/**
 * Where a chunk that the log says is sealed has a batch. Replicas that don't know of the seal yet are asked again.
 *
 * @returns the chunk offset; undefined when it is not in the chunk and never will be
 * Errors: OUTCOME_UNKNOWN when the chunk is gone; what the last replica said when patience ended; ABORTED.
 */
export async function findBatch(
  core: Core,
  allocation: Allocation,
  writer: SessionId,
  batch: { readonly sequence: number; readonly bytes: number },
  patience: Patience,
): Promise<number | undefined> {
  const { handle } = allocation
  const name = formatHandle(handle)
  let last: DfsError | undefined
  for (let round = 0; ; round++) {
    const { chunks } = await core.masters.ask('locate', { handles: [handle] }, patience)
    const location = chunks.find((chunk) => chunk.handle === handle)
    if (location === undefined) {
      throw new DfsError('OUTCOME_UNKNOWN', `chunk ${name} is gone, and with it what it held`, { handle: name })
    }
    for (const { address } of location.replicas) {
      try {
        const timeoutMs = patience.capMs(CALL_MS, last)
        const connection = await core.links.chunkserver(address, LANE, timeoutMs, patience.signal)
        const request = { handle, version: location.version, writer, sequences: [batch.sequence] }
        const { isSealed, found } = await core.links.call(connection, 'findRecords', request, {
          timeoutMs,
          signal: patience.signal,
        })
        if (!isSealed) {
          last = new DfsError('UNAVAILABLE', `chunk ${name} at ${address}: its seal is on the way`, { handle: name })
          continue
        }
        const entry = found[0]
        if (entry === undefined) return undefined
        if (entry.length === batch.bytes) return entry.offset
        const message = `chunk ${name}: sequence ${batch.sequence} has ${entry.length} bytes there, ${batch.bytes} were sent`
        throw new DfsError('INTERNAL', message, { handle: name })
      } catch (error) {
        const fault = asFault(error)
        if (fault.code === 'ABORTED' || fault.code === 'INTERNAL') throw fault
        last = fault
      }
    }
    try {
      await patience.sleep(backoffMs(round, core.io.entropy), last)
    } catch (error) {
      throw endOfPatience(error, last)
    }
  }
}
