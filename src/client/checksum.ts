// The CRC32 of a whole file without moving its bytes: from the digests of its chunks.
//
// A chunk that the file uses whole is in the log with its digest. Other ranges are computed by a server that verifies
// each block on the way; zeros are computed here. Any cut into extents gives the same number.

import { crc32, crc32Combine } from '../base/crc32.ts'
import { DfsError } from '../base/errors.ts'
import { type ChunkHandle, formatHandle, formatServer, HOLE } from '../base/ids.ts'
import { SECOND_MS } from '../base/units.ts'
import type { ChunkLocation, PlacedExtent } from '../wire/messages.ts'
import type { Core } from './core.ts'
import { FileMap } from './file-map.ts'
import { endOfPatience } from './masters.ts'
import { type CallOptions, linkSignals, Patience } from './patience.ts'
import { asFault, backoffMs, dropFault } from './retry.ts'

/** Ranges computed at the same time. */
const PARALLEL = 16
const LANE = 'read'
const CALL_MS = 30 * SECOND_MS

/** CRC32 of the file's bytes, 0 for an empty file. Errors: NOT_FOUND, IS_A_DIRECTORY, FILE_CHANGED, and as reading. */
export async function fileChecksum(core: Core, path: string, options: CallOptions, timeoutMs: number): Promise<number> {
  const stop = new AbortController()
  const unlink = linkSignals(stop, options.signal, core.closing)
  const patience = new Patience(core.io.clock, options, timeoutMs).under(stop.signal)
  const ahead: { readonly length: number; readonly crc: Promise<number> }[] = []
  let total = 0
  const join = async (): Promise<void> => {
    const first = ahead.shift()
    if (first !== undefined) total = crc32Combine(total, await first.crc, first.length)
  }
  try {
    const map = await FileMap.open(core, path, patience)
    for (let at = 0; at < map.stat.size; ) {
      const extent = await map.extentAt(at, patience)
      if (ahead.length >= PARALLEL) await join()
      const crc = extentChecksum(core, extent, path, patience)
      // Awaited in order; until then a failure is nobody's.
      crc.catch(dropFault)
      ahead.push({ length: extent.length, crc })
      at += extent.length
    }
    while (ahead.length > 0) await join()
    return total
  } finally {
    stop.abort(new DfsError('ABORTED', 'the checksum is not wanted any more'))
    unlink()
  }
}

/** CRC32 of `length` zeros, 0 upward, in time that grows with its logarithm. */
export function zerosChecksum(length: number): number {
  let crc = 0
  let runCrc = crc32(Buffer.alloc(1))
  let runLength = 1
  for (let left = length; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) crc = crc32Combine(crc, runCrc, runLength)
    runCrc = crc32Combine(runCrc, runCrc, runLength)
    runLength *= 2
  }
  return crc
}

async function extentChecksum(core: Core, extent: PlacedExtent, path: string, patience: Patience): Promise<number> {
  if (extent.handle === HOLE) return zerosChecksum(extent.length)
  let last: DfsError | undefined
  for (let round = 0; ; round++) {
    const location = core.locations.get(extent.handle) ?? (await locate(core, extent.handle, patience))
    if (location.isSealed && extent.offset === 0 && extent.length === location.length) return location.digest
    for (const replica of location.replicas) {
      try {
        return await rangeChecksum(core, location, replica.address, extent, patience)
      } catch (error) {
        const fault = asFault(error)
        if (fault.code === 'ABORTED') throw fault
        const chunk = formatHandle(extent.handle)
        const server = formatServer(replica.server)
        const words = `${path}, offset ${extent.fileOffset}: chunk ${chunk} on ${server}: ${fault.message}`
        last = new DfsError(fault.code, words, { path, offset: extent.fileOffset, handle: chunk, server }, fault)
        core.peers.penalize(replica.address)
      }
    }
    core.locations.forget(extent.handle)
    last ??= new DfsError('UNKNOWN_LOCATION', `${path}: no live server holds chunk ${formatHandle(extent.handle)}`, {
      path,
    })
    try {
      await patience.sleep(backoffMs(round, core.io.entropy), last)
    } catch (error) {
      throw endOfPatience(error, last)
    }
  }
}

async function rangeChecksum(
  core: Core,
  location: ChunkLocation,
  address: string,
  extent: PlacedExtent,
  patience: Patience,
): Promise<number> {
  const timeoutMs = patience.capMs(CALL_MS)
  const connection = await core.links.chunkserver(address, LANE, timeoutMs, patience.signal)
  const { handle, version } = location
  const { offset, length } = extent
  const options = { timeoutMs, signal: patience.signal }
  const { digest } = await core.links.call(connection, 'checksum', { handle, version, offset, length }, options)
  patience.progress()
  return digest
}

async function locate(core: Core, handle: ChunkHandle, patience: Patience): Promise<ChunkLocation> {
  const { chunks } = await core.masters.ask('locate', { handles: [handle] }, patience)
  const found = chunks.find((chunk) => chunk.handle === handle)
  if (found === undefined) {
    const chunk = formatHandle(handle)
    throw new DfsError('FILE_CHANGED', `the master knows no chunk ${chunk} any more`, { handle: chunk })
  }
  return found
}
