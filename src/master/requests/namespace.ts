// Requests about names: reading them, and changing them through the log.

import type { InodeId } from '../../base/ids.ts'
import { change, type Handlers, replyNumber } from '../context.ts'
import { chunkCountOf, directoryAt, directoryEntry, fileStat, inodeAt } from '../lookup.ts'
import type { MetadataState, TrashEntry } from '../metadata/state.ts'
import type { Reply } from '../operations.ts'

export const namespaceHandlers = {
  stat(context, { path, withChunks }) {
    const inode = inodeAt(context.state, path)
    const stat = fileStat(context, inode)
    return withChunks ? { ...stat, chunks: chunkCountOf(context.state, inode) } : stat
  },

  list({ state }, { path, after, limit }) {
    const directory = directoryAt(state, path)
    const rows = state.list(directory, after, limit + 1)
    const entries = rows.slice(0, limit).map(({ name, inode }) => directoryEntry(state, name, inode))
    const { tails } = state.chunks
    const withTail = tails.size === 0 ? [] : entries.flatMap(({ inode }, at) => (tails.has(inode) ? at : []))
    return { entries, more: rows.length > limit, withTail }
  },

  trashList(context, { after, limit }) {
    const { state, settings } = context
    const rows = restorable(state, after, limit + 1)
    const entries = rows.slice(0, limit).map((entry) => ({
      id: entry.id,
      path: entry.path,
      isDirectory: entry.type === 'directory',
      size: entry.size,
      removedMs: entry.removedWallMs,
      expiresInMs: Math.max(0, entry.removedAtMs + settings.retentionMs - context.proposer.clusterMs),
    }))
    return { entries, more: rows.length > limit }
  },

  makeDirectory: async (context, request) => {
    return { inode: inodeIn(await change(context, { kind: 'makeDirectory', ...request })) }
  },

  copy: async (context, request) => ({ inode: inodeIn(await change(context, { kind: 'copy', ...request })) }),

  rename: async (context, request) => ({ inode: inodeIn(await change(context, { kind: 'rename', ...request })) }),

  remove: async (context, request) => {
    return { trash: replyNumber(await change(context, { kind: 'remove', ...request }), 0) }
  },

  setAttributes: async (context, request) => {
    const { by, path, mode, owner, group, goal, mtimeMs, attributes } = request
    const reply = await change(context, {
      kind: 'setAttributes',
      by,
      path,
      ...(mode !== undefined && { mode }),
      ...(owner !== undefined && { owner }),
      ...(group !== undefined && { group }),
      ...(goal !== undefined && { goal }),
      ...(mtimeMs !== undefined && { mtimeMs }),
      ...(attributes && { attributes: attributes.map(({ name, value }) => [name, value ?? null] as const) }),
    })
    return changed(reply)
  },

  restoreTrash: async (context, request) => {
    return { inode: inodeIn(await change(context, { kind: 'restoreTrash', ...request })) }
  },

  emptyTrash: async (context, request) => {
    await change(context, { kind: 'emptyTrash', ...request })
    return {}
  },
} satisfies Handlers

/** Trash after the entry `after`; what was given up (emptied, or removed for good) only waits to be collected. */
function restorable(state: MetadataState, after: number, limit: number): TrashEntry[] {
  const found: TrashEntry[] = []
  // What `trash empty` gave up is there until the next tick collects it.
  for (let last = Math.max(after, state.trashDueThrough); ; ) {
    const rows = state.trash(last, limit)
    found.push(...rows.filter((entry) => !entry.dueNow && !entry.isPurging))
    const end = rows.at(-1)
    if (end === undefined || found.length >= limit) return found.slice(0, limit)
    last = end.id
  }
}

/** The reply of operations that change a file's bytes or attributes. */
export function changed(reply: Reply): { inode: InodeId; size: number; contentVersion: number } {
  return { inode: inodeIn(reply), size: replyNumber(reply, 1), contentVersion: replyNumber(reply, 2) }
}

export function inodeIn(reply: Reply): InodeId {
  return replyNumber(reply, 0) as InodeId
}
