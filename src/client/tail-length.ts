// How long a file is while records are appended to it: what the master knows, and what the primary of the tail says.
//
// A primary that doesn't answer makes the tail be sealed: then the log knows its length.

import { DfsError } from '../base/errors.ts'
import { formatHandle } from '../base/ids.ts'
import { SECOND_MS } from '../base/units.ts'
import type { DirectoryEntry, FileStat } from '../wire/messages.ts'
import type { Core } from './core.ts'
import { forEachParallel } from './parallel.ts'
import type { Patience } from './patience.ts'
import { asFault, backoffMs, isPassing } from './retry.ts'

const CALL_MS = 2 * SECOND_MS
/** The writer that a new tail was made for may be on its way to tell its members: no reason yet to end it. */
const PATIENCE_MS = 1 * SECOND_MS
const LANE = 'probe'

/**
 * An answer of the master with the committed length of the file's tail, 0 without one.
 *
 * @param ask    asks the master; again after the tail was sealed. Errors: those of `ask`, TIMEOUT, ABORTED
 * @param first  what it has answered already
 */
export async function askWithTail<T extends { readonly stat: FileStat }>(
  core: Core,
  ask: () => Promise<T>,
  patience: Patience,
  first?: T,
): Promise<{ readonly reply: T; readonly tailBytes: number }> {
  let failedMs: number | undefined
  for (let attempt = 0; ; attempt++) {
    const reply = attempt === 0 && first !== undefined ? first : await ask()
    const { tail } = reply.stat
    if (tail === undefined) return { reply, tailBytes: 0 }
    try {
      const timeoutMs = patience.capMs(CALL_MS)
      const connection = await core.links.chunkserver(tail.address, LANE, timeoutMs, patience.signal)
      const { handle, version } = tail
      const options = { timeoutMs, signal: patience.signal }
      const { length } = await core.links.call(connection, 'tail', { handle, version }, options)
      return { reply, tailBytes: length }
    } catch (error) {
      const fault = asFault(error)
      if (fault.code === 'ABORTED') throw fault
      const nowMs = core.io.clock.nowMs()
      failedMs ??= nowMs
      const mayPass = fault.code === 'NO_SUCH_REPLICA' || (isPassing(fault) && fault.code !== 'TIMEOUT')
      if (mayPass && nowMs - failedMs < PATIENCE_MS) {
        await patience.sleep(backoffMs(attempt, core.io.entropy), fault)
      } else await sealTail(core, tail, fault, patience)
    }
  }
}

/** What the master says of an inode, with what the tail has counted in its size. Errors: those of `stat`, TIMEOUT, ABORTED. */
export async function statWithTail(
  core: Core,
  path: string,
  withChunks: boolean,
  patience: Patience,
): Promise<FileStat> {
  const first = await core.masters.ask('stat', { path, withChunks }, patience)
  if (first.tail === undefined) return first
  const ask = async () => ({ stat: await core.masters.ask('stat', { path, withChunks }, patience) })
  const { reply, tailBytes } = await askWithTail(core, ask, patience, { stat: first })
  return tailBytes === 0 ? reply.stat : { ...reply.stat, size: reply.stat.size + tailBytes }
}

async function sealTail(
  core: Core,
  { handle, server }: NonNullable<FileStat['tail']>,
  fault: DfsError,
  patience: Patience,
): Promise<void> {
  const reason = `its length was asked for: ${fault.code}: ${fault.message}`.slice(0, 500)
  const session = core.sessions.current().id
  try {
    await core.masters.ask('sealChunk', { session, handle, suspects: [server], reason }, patience)
  } catch (error) {
    const sealFault = asFault(error)
    // The file was removed meanwhile, and the chunk with it: the next answer of the master says so.
    if (sealFault.code !== 'NOT_FOUND') {
      throw new DfsError(sealFault.code, `chunk ${formatHandle(handle)}: ${sealFault.message}`, sealFault.detail, fault)
    }
  }
}

/** Open tails that a list asks for at once, and how long for each. */
const TAILS_AT_ONCE = 16
const TAIL_TIMEOUT_MS = 3 * SECOND_MS

/** The options of a call that a list makes for one file. */
export function shortened<T extends { readonly timeoutMs?: number | undefined }>(options: T): T {
  return { ...options, timeoutMs: Math.min(options.timeoutMs ?? TAIL_TIMEOUT_MS, TAIL_TIMEOUT_MS) }
}

/**
 * Directory entries with what open tails have counted in their sizes. Where that can't be learned soon, or the file has
 * gone elsewhere, the size stays as the master said it: a list does not fail for it.
 *
 * @param places  of the entries that have an open tail
 * @param stat    asks for a name of the directory
 */
export async function countTails(
  entries: readonly DirectoryEntry[],
  places: readonly number[],
  stat: (name: string) => Promise<FileStat>,
): Promise<DirectoryEntry[]> {
  const sized = [...entries]
  await forEachParallel(places, TAILS_AT_ONCE, async (at) => {
    const entry = entries[at]
    if (entry === undefined) return
    try {
      const { inode, size } = await stat(entry.name)
      if (inode === entry.inode) sized[at] = { ...entry, size }
    } catch (error) {
      const fault = asFault(error)
      if (fault.code === 'ABORTED') throw fault
    }
  })
  return sized
}
