// What a checkpoint holds, as rows for people and scripts: first the state's own fields, then what there is many of.

import type { ChunkHandle, InodeId } from '../../base/ids.ts'
import { ROOT_INODE } from '../../base/ids.ts'
import type { FileExtent, MetadataState } from '../../master/metadata/state.ts'

export interface CheckpointRow {
  readonly kind: 'state' | 'server' | 'directory' | 'file' | 'trash' | 'session' | 'chunk'
  readonly [field: string]: unknown
}

const pageRows = 1000

export function* checkpointRows(state: MetadataState): Generator<CheckpointRow> {
  const { clusterId, lineage, chunkBytes, goal, clusterMs, wallMs, lastIndex, lastTerm, rollbackLostIndex } = state
  const { fileCount, directoryCount, chunkCount } = state
  const counts = { fileCount, directoryCount, chunkCount }
  yield {
    kind: 'state',
    clusterId,
    lineage,
    chunkBytes,
    goal,
    clusterMs,
    wallMs,
    lastIndex,
    lastTerm,
    rollbackLostIndex,
    ...counts,
  }
  for (const server of state.servers()) yield { kind: 'server', ...server }
  yield inodeRow(state, ROOT_INODE, '/')
  yield* below(state, ROOT_INODE, '')
  for (let after = 0; ; ) {
    const page = state.trash(after, pageRows)
    for (const entry of page) yield { kind: 'trash', ...entry }
    if (page.length < pageRows) break
    after = page.at(-1)?.id ?? 0
  }
  for (const { id, openedMs, lastActiveMs, floor, replies, unnamed } of state.sessions()) {
    yield {
      kind: 'session',
      id,
      openedMs,
      lastActiveMs,
      floor,
      replies: replies.size,
      unnamed: unnamed.keys().sort((a, b) => a - b),
    }
  }
  for (let after: ChunkHandle | 0 = 0; ; ) {
    const page = state.nextChunks(after, pageRows)
    for (const { handle, state: phase, ...facts } of page) {
      yield { kind: 'chunk', handle, state: phase, ...facts, members: state.chunkMembers(handle) ?? [] }
    }
    const last = page.at(-1)
    if (!last || page.length < pageRows) return
    after = last.handle
  }
}

/** Everything below a directory, each one before what is in it. */
function* below(state: MetadataState, directory: InodeId, path: string): Generator<CheckpointRow> {
  for (let after: string | undefined; ; ) {
    const page = state.list(directory, after, pageRows)
    for (const { name, inode } of page) {
      const row = inodeRow(state, inode, `${path}/${name}`)
      yield row
      if (row.kind === 'directory') yield* below(state, inode, `${path}/${name}`)
    }
    const last = page.at(-1)
    if (!last || page.length < pageRows) return
    after = last.name
  }
}

function inodeRow(state: MetadataState, inode: InodeId, path: string): CheckpointRow {
  const facts = state.stat(inode)
  if (!facts) return { kind: 'file', path, inode, missing: true }
  const { type, attributes, ...rest } = facts
  const extents = type === 'file' ? allExtents(state, inode) : []
  return { kind: type, path, ...rest, attributes: Object.fromEntries(attributes), extents }
}

function allExtents(state: MetadataState, inode: InodeId): FileExtent[] {
  const all: FileExtent[] = []
  for (let from = 0; ; ) {
    const page = state.extents(inode, from, pageRows)
    all.push(...page)
    const last = page.at(-1)
    if (!last || page.length < pageRows) return all
    from = last.fileOffset + last.length
  }
}
