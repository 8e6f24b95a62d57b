// Requests about the bytes of files: opening, extents, the chunks of a writer.

import { DfsError, isDfsError } from '../../base/errors.ts'
import type { ChunkHandle, InodeId, ServerId } from '../../base/ids.ts'
import { HOLE } from '../../base/ids.ts'
import { errorToBody } from '../../wire/error-body.ts'
import type { Allocation } from '../../wire/messages.ts'
import { change, type Handlers, type MasterContext, replyNumber, touchSession } from '../context.ts'
import { locationOf, noteAwaited } from '../locate.ts'
import { checkTarget, factsOf, fileAt, fileStat, goalOf } from '../lookup.ts'
import type { Operation, Requester, SealClaim } from '../operations.ts'
import { placeChunk } from '../place.ts'
import { changed, inodeIn } from './namespace.ts'

export const fileHandlers = {
  openForRead(context, { path, fromOffset, limit }) {
    const inode = fileAt(context.state, path)
    return filePage(context, inode, fromOffset, limit)
  },

  extents(context, { inode, contentVersion, fromOffset, limit }) {
    const { state } = context
    const stat = state.stat(inode)
    if (stat?.type !== 'file') throw new DfsError('NOT_FOUND', `inode ${inode}: no such file`, { inode })
    if (stat.contentVersion !== contentVersion)
      throw new DfsError(
        'FILE_CHANGED',
        `inode ${inode}: content version ${stat.contentVersion} now, ${contentVersion} when it was opened`,
        { inode },
      )
    return filePage(context, inode, fromOffset, limit)
  },

  locate(context, { handles }) {
    for (const handle of handles) noteAwaited(context, handle)
    return { chunks: handles.flatMap((handle) => locationOf(context, handle) ?? []) }
  },

  // Field by field: this is the most frequent change, and spreading a request costs more than applying it.
  putFile: async (context, { by, publish, inode, extents, mtimeMs }) => ({
    inode: inodeIn(await change(context, { kind: 'putFile', by, publish, inode, extents, mtimeMs })),
  }),

  putFiles: async (context, { session, floor, files }) => {
    const verdicts = files.map(({ request, publish, inode, extent, mtimeMs }) => {
      const extents = extent === undefined ? [] : [extent]
      const operation: Operation = {
        kind: 'putFile',
        by: { session, request, floor },
        publish,
        inode,
        extents,
        mtimeMs,
      }
      // A tail to be sealed first may take a minute: the others must not wait for it.
      return context.tails.isInTheWay(operation) ? UNTRIED : verdictOn(context, operation)
    })
    return { verdicts: await Promise.all(verdicts) }
  },

  openForWrite: async (context, { by, path, mode, inode, withChunk, avoid }) => {
    const { state } = context
    if (mode === 'append') {
      const file = fileAt(state, path)
      const facts = factsOf(state, file)
      const { size, contentVersion } = facts
      const goal = goalOf(state, facts)
      const allocation = withChunk ? await nextChunk(context, by, file, goal, [], avoid) : undefined
      touchSession(context, by.session)
      return { inode: file, size, contentVersion, goal, allocation }
    }
    checkTarget(state, path, mode === 'overwrite')
    const goal = inode.goal || state.goal
    const members = withChunk ? placeChunk(context, goal, avoid).members : []
    const reply = await change(context, { kind: 'openFile', by, inode, members })
    const handle = replyNumber(reply, 1) as ChunkHandle
    return {
      inode: inodeIn(reply),
      size: 0,
      contentVersion: 0,
      goal,
      allocation: handle === HOLE ? undefined : allocationOf(context, handle),
    }
  },

  allocateChunk: async (context, { by, inode, seals, avoid }) => {
    const { state } = context
    const goal = state.stat(inode)?.goal || state.goal
    return { allocation: await nextChunk(context, by, inode, goal, seals, avoid) }
  },

  commitFile: async (context, { by, inode, extents, seals, publish, close, mtimeMs }) => {
    const reply = await change(context, {
      kind: 'commitFile',
      by,
      inode,
      extents,
      seals,
      ...(publish && { publish }),
      close,
      mtimeMs,
    })
    return changed(reply)
  },

  spliceFile: async (context, request) => changed(await change(context, { kind: 'spliceFile', ...request })),

  truncateFile: async (context, request) => changed(await change(context, { kind: 'truncateFile', ...request })),

  concatFiles: async (context, request) => changed(await change(context, { kind: 'concatFiles', ...request })),

  packingChunk: async (context, { session, goal, avoid, notHandle }) => {
    touchSession(context, session)
    if (context.isReadOnly()) throw new DfsError('READ_ONLY', 'the log disk is almost full: only removals are taken')
    const lent = await context.packing.lend(goal || context.state.goal, new Set(avoid), notHandle)
    return { allocation: allocationOf(context, lent.handle) }
  },

  fileTail: async (context, { session, inode, avoid, notHandle }) => {
    touchSession(context, session)
    if (context.isReadOnly()) throw new DfsError('READ_ONLY', 'the log disk is almost full: only removals are taken')
    const handle = await context.tails.lend(inode, avoid, notHandle)
    // While it has a tail the file's extents don't change.
    return { base: factsOf(context.state, inode).size, allocation: allocationOf(context, handle) }
  },

  sealChunk: async (context, { session, handle, suspects, reason }) => {
    touchSession(context, session)
    const chunk = context.state.chunk(handle)
    if (!chunk) throw new DfsError('NOT_FOUND', `chunk ${handle} is not in the table`, { handle })
    const names = suspects.map((server) => `cs-${server}`).join(', ')
    return context.sealer.seal(handle, `a client asked: ${reason}${names && ` (${names})`}`)
  },

  renewSession(context, { session }) {
    touchSession(context, session)
    return {}
  },
} satisfies Handlers

const UNTRIED = { inode: 0, refusal: undefined }

/** What `putFile` answers, a refusal included. */
async function verdictOn(context: MasterContext, operation: Operation) {
  try {
    return { inode: inodeIn(await change(context, operation)), refusal: undefined }
  } catch (error) {
    if (!isDfsError(error)) throw error
    return { inode: 0, refusal: errorToBody(error) }
  }
}

function filePage(context: MasterContext, inode: InodeId, fromOffset: number, limit: number) {
  const { state } = context
  const rows = state.extents(inode, fromOffset, limit + 1)
  const extents = rows.slice(0, limit)
  const handles = new Set(extents.map((extent) => extent.handle))
  handles.delete(HOLE)
  const stat = fileStat(context, inode)
  // Whoever reads to the end needs the tail next.
  if (stat.tail !== undefined && rows.length <= limit) handles.add(stat.tail.handle)
  const chunks = [...handles].flatMap((handle) => locationOf(context, handle) ?? [])
  return { stat, extents, chunks, more: rows.length > limit }
}

async function nextChunk(
  context: MasterContext,
  by: Requester,
  inode: InodeId,
  goal: number,
  seals: readonly SealClaim[],
  avoid: readonly ServerId[],
): Promise<Allocation> {
  const { members } = placeChunk(context, goal, avoid)
  const reply = await change(context, { kind: 'allocateChunk', by, inode, members, seals })
  return allocationOf(context, replyNumber(reply, 0) as ChunkHandle)
}

/** All that a writer needs for an open chunk; CHUNK_SEALED when it ended meanwhile (a retry long after). */
export function allocationOf(context: MasterContext, handle: ChunkHandle): Allocation {
  const { state, servers, settings } = context
  const chunk = state.chunk(handle)
  const members = state.chunkMembers(handle)
  if (!chunk || !members)
    throw new DfsError('CHUNK_SEALED', `chunk ${handle} was sealed before its writer knew it`, { handle })
  return {
    handle,
    version: chunk.version,
    logIndex: chunk.allocationIndex,
    chunkBytes: state.chunkBytes,
    shared: chunk.shared,
    leaseMs: settings.leaseMs,
    members: members.map((member) => ({ ...member, address: servers.get(member.server)?.address ?? '' })),
  }
}
