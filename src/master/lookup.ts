// Reading the metadata for requests: refusals become errors, rows become what goes over the wire.

import { assert } from '../base/assert.ts'
import { DfsError } from '../base/errors.ts'
import { type ChunkHandle, HOLE, type InodeId } from '../base/ids.ts'
import { EXTENTS_PER_REQUEST_MAX } from '../base/limits.ts'
import type { DirectoryEntry, FileStat } from '../wire/messages.ts'
import type { MasterContext } from './context.ts'
import type { InodeFacts, MetadataState } from './metadata/state.ts'

/** The inode at `path`. Throws INVALID_PATH, NOT_FOUND or NOT_A_DIRECTORY. */
export function inodeAt(state: MetadataState, path: string): InodeId {
  const place = state.locate(path)
  if ('ok' in place) throw new DfsError(place.code, place.message, place.detail)
  if (place.inode === 0) throw new DfsError('NOT_FOUND', `${path}: no such file or directory`, { path })
  return place.inode
}

/** The inode of the file at `path`. Throws also IS_A_DIRECTORY. */
export function fileAt(state: MetadataState, path: string): InodeId {
  const inode = inodeAt(state, path)
  if (factsOf(state, inode).type === 'directory')
    throw new DfsError('IS_A_DIRECTORY', `${path} is a directory`, { path })
  return inode
}

/** The inode of the directory at `path`. Throws also NOT_A_DIRECTORY. */
export function directoryAt(state: MetadataState, path: string): InodeId {
  const inode = inodeAt(state, path)
  if (factsOf(state, inode).type === 'file') throw new DfsError('NOT_A_DIRECTORY', `${path} is a file`, { path })
  return inode
}

/**
 * Whether a new file could get this name now: told to a writer before it sends a gigabyte. The verdict that counts is
 * given when the name is.
 */
export function checkTarget(state: MetadataState, path: string, overwrite: boolean): void {
  const place = state.locate(path)
  if ('ok' in place) throw new DfsError(place.code, place.message, place.detail)
  if (place.inode === 0) return
  if (factsOf(state, place.inode).type === 'directory')
    throw new DfsError('IS_A_DIRECTORY', `${path} is a directory`, { path })
  if (!overwrite) throw new DfsError('ALREADY_EXISTS', `${path}: there is a file of that name`, { path })
}

/** What the state says of an inode that is known to be there. */
export function factsOf(state: MetadataState, inode: InodeId): InodeFacts {
  const facts = state.stat(inode)
  assert(facts !== undefined, 'an inode that is named but not there')
  return facts
}

/** Replicas that a file wants. */
export function goalOf(state: MetadataState, facts: InodeFacts): number {
  return facts.goal || state.goal
}

export function fileStat({ state, servers }: MasterContext, inode: InodeId): FileStat {
  const facts = factsOf(state, inode)
  const isDirectory = facts.type === 'directory'
  const { size, mode, owner, group, mtimeMs, ctimeMs, contentVersion } = facts
  return {
    inode,
    isDirectory,
    size,
    goal: isDirectory ? 0 : goalOf(state, facts),
    mode,
    owner,
    group,
    mtimeMs,
    ctimeMs,
    contentVersion,
    count: isDirectory ? facts.entryCount : facts.extentCount,
    attributes: attributesOf(facts),
    tail: tailOf(state, servers, inode),
    chunks: undefined,
  }
}

/** Chunks that a file's extents and its open tail name, each once; 0 for a directory. */
export function chunkCountOf(state: MetadataState, inode: InodeId): number {
  const handles = new Set<ChunkHandle>()
  for (let from = 0; ; ) {
    const extents = state.extents(inode, from, EXTENTS_PER_REQUEST_MAX)
    for (const { handle } of extents) handles.add(handle)
    const last = extents.at(-1)
    if (last === undefined || extents.length < EXTENTS_PER_REQUEST_MAX) break
    from = last.fileOffset + last.length
  }
  handles.delete(HOLE)
  const tail = state.chunks.tails.get(inode)
  if (tail !== undefined) handles.add(tail)
  return handles.size
}

const NO_ATTRIBUTES: FileStat['attributes'] = []

function attributesOf({ attributes }: InodeFacts): FileStat['attributes'] {
  return attributes.size === 0 ? NO_ATTRIBUTES : [...attributes].map(([name, value]) => ({ name, value }))
}

/** Where the length of a file's open tail is known. */
function tailOf(state: MetadataState, servers: MasterContext['servers'], inode: InodeId): FileStat['tail'] {
  const handle = state.chunks.tails.get(inode)
  const primary = handle === undefined ? undefined : state.chunkMembers(handle)?.[0]
  if (handle === undefined || primary === undefined) return undefined
  const version = state.chunks.version(state.chunks.row(handle))
  return { handle, version, server: primary.server, address: servers.get(primary.server)?.address ?? '' }
}

export function directoryEntry(state: MetadataState, name: string, inode: InodeId): DirectoryEntry {
  const facts = factsOf(state, inode)
  const isDirectory = facts.type === 'directory'
  const { size, mode, owner, group, mtimeMs } = facts
  return { name, inode, isDirectory, size, goal: isDirectory ? 0 : goalOf(state, facts), mode, owner, group, mtimeMs }
}
