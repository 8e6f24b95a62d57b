// The replicated state: what should be. It comes from the log alone (apply.ts) or from a checkpoint (checkpoint.ts).
//
// Files, directories, entries, extents and chunks live in paged typed arrays; what is few (sessions, servers, open
// chunks, trash, attributes) in Maps of plain objects.
//
// Invariants:
//   - only apply.ts and the operations it calls change the fields; all others read
//   - nothing here depends on the order of a Map, except where that order is itself state: `sessionsEnded` and `trash`
//     are in the order of their making
//   - wall time is carried, never decided upon: expiries count clusterMs
//
// README.md beside this file says what a checkpoint holds. Source: GFS §2.6; DESIGN §3.

import type { ChunkHandle, ClusterId, DirectoryId, InodeId, ServerId, SessionId } from '../../base/ids.ts'
import { counterOf, lineageOf, ROOT_INODE } from '../../base/ids.ts'
import type { ClusterOption, Extent, Member, Outcome, Requester } from '../operations.ts'
import { Changes } from './changes.ts'
import { type ChunkFacts, ChunkTable } from './chunk-table.ts'
import { DueHeap } from './due-heap.ts'
import { IdMap, IdSets } from './id-map.ts'
import { FIRST_INODE, HIDDEN_INODE, InodeTable, NO_PARENT, TRASH_INODE } from './inode-table.ts'
import { Namespace, type Place } from './namespace.ts'
import type { Refusal } from './outcome.ts'
import { Profiles } from './profiles.ts'

/** A client's session: its stored replies, and what it holds while it writes. */
export interface Session {
  readonly id: SessionId
  /** Cluster time of its first operation. */
  readonly openedMs: number
  /** Cluster time of its last operation. */
  lastActiveMs: number
  /** Replies up to this request are forgotten. */
  floor: number
  readonly replies: IdMap<number, Outcome>
  /** Being ended, in steps: nothing of it is accepted any more. */
  isEnding: boolean
  /** Files it opened that have no name yet. */
  readonly unnamed: IdMap<InodeId, true>
  /** Its chunks, by the file they were allocated for. */
  readonly holds: IdSets<InodeId, ChunkHandle>
}

export interface ServerRow {
  readonly id: ServerId
  readonly identity: number
  readonly directories: readonly DirectoryId[]
  readonly address: string
  readonly zone: string
  readonly rack: string
  readonly intent: 'serve' | 'maintain' | 'drain'
  /** Cluster time at which `maintain` ends; 0: no end. */
  readonly untilMs: number
}

export interface TrashEntry {
  readonly id: number
  readonly inode: InodeId
  /** Where it was. */
  readonly path: string
  readonly type: 'file' | 'directory'
  /** Bytes of a file; 0 for a tree, which nobody counted. */
  readonly size: number
  /** Cluster time. */
  readonly removedAtMs: number
  readonly removedWallMs: number
  /** Due whatever its age. */
  dueNow: boolean
  /** A part of it is gone already: it can't be restored. */
  isPurging: boolean
}

/** A copy that takes more than one record. While there is one, the leader proposes `continueJob`. */
export interface Job {
  readonly by: Requester
  readonly from: string
  readonly to: string
  readonly overwrite: boolean
  /** The top of the copy, hidden until the end. */
  readonly root: InodeId
  /** Directories on the way down: the next entry to copy is the first after `after`. */
  readonly stack: { readonly source: InodeId; readonly target: InodeId; after: string }[]
  /** The file whose extents are being copied, from extent `next` on. */
  file: { readonly source: InodeId; readonly target: InodeId; next: number } | undefined
}

export interface InodeFacts {
  readonly inode: InodeId
  readonly type: 'file' | 'directory'
  readonly parent: InodeId
  /** Bytes; 0 for a directory. */
  readonly size: number
  readonly mode: number
  readonly owner: string
  readonly group: string
  /** Wanted replicas; 0: the cluster's default. */
  readonly goal: number
  readonly mtimeMs: number
  readonly ctimeMs: number
  readonly contentVersion: number
  readonly extentCount: number
  readonly entryCount: number
  /** Extended attributes, ordered by name; not to be changed. */
  readonly attributes: ReadonlyMap<string, string>
}

/** An extent and where it lies in its file. */
export interface FileExtent extends Extent {
  readonly fileOffset: number
}

const NO_ATTRIBUTES: ReadonlyMap<string, string> = new Map()

export class MetadataState {
  /** '' until the cluster is formatted. */
  clusterId = '' as ClusterId
  /** The lineage of new handles. */
  lineage = 0
  /** The highest counter given in each lineage this log has had. */
  readonly lineages = new Map<number, number>()
  chunkBytes = 0
  goal = 0
  clusterMs = 0
  /** Wall time of the last record, for people. */
  wallMs = 0
  lastIndex = 0
  lastTerm = 0
  /** History up to this log index may be gone, and the operator has accepted it. */
  rollbackLostIndex = 0
  nextInode: number = FIRST_INODE
  nextTrash = 1
  nextServer = 1
  /** Trash with ids up to this one is due whatever its age. */
  trashDueThrough = 0

  readonly inodes = new InodeTable()
  readonly profiles = new Profiles()
  readonly names = new Namespace(this.inodes)
  readonly chunks = new ChunkTable()
  readonly attributes = new Map<InodeId, Map<string, string>>()
  readonly unnamed = new IdMap<InodeId, SessionId>()
  readonly sessionTable = new IdMap<SessionId, Session>()
  /** Ended sessions and the cluster time of their end, in the order of their ends. */
  readonly sessionsEnded = new Map<SessionId, number>()
  readonly serverTable = new Map<ServerId, ServerRow>()
  /** Removed trees in the order of their removal. */
  readonly trashTable = new Map<number, TrashEntry>()
  readonly trashOf = new Map<InodeId, number>()
  /** Sessions that hold chunks of a file: what `Session.holds` says, by inode. */
  readonly holders = new IdSets<InodeId, SessionId>()
  /** Trash that is due whatever its age, under (0, id); ids that are gone are skipped. */
  readonly trashDue = new DueHeap()
  /** What the operator chose while the cluster runs; the rest is as masters are started. */
  readonly options = new Map<ClusterOption, number>()
  job: Job | undefined
  /** A handle for a chunk that is being gathered, and the index of the record that gave it (switches.ts). */
  reserved: { readonly handle: ChunkHandle; readonly index: number } | undefined
  /** What the leader wants to know of the last operations. Not part of the state. */
  readonly changes = new Changes()
  /** Logical bytes of all files, in the trash too. For people; not part of a checkpoint. */
  fileBytes = 0

  // Names and inodes.

  /** The inode at `path`. INVALID_PATH, NOT_FOUND, NOT_A_DIRECTORY as a refusal; `inode` 0 when only the last name is missing. */
  locate(path: string): Place | Refusal {
    return this.names.locate(path)
  }

  /** The inode at `path`, or undefined when there is none, for whatever reason. */
  resolve(path: string): InodeId | undefined {
    const place = this.names.locate(path)
    return 'ok' in place || place.inode === 0 ? undefined : place.inode
  }

  stat(inode: InodeId): InodeFacts | undefined {
    const row = this.inodes.row(inode)
    if (row < 0) return undefined
    const isDirectory = this.inodes.isDirectory(row)
    const profile = this.profiles.get(this.inodes.profile(row))
    return {
      inode,
      type: isDirectory ? 'directory' : 'file',
      parent: this.inodes.parent(row),
      size: isDirectory ? 0 : this.inodes.size(row),
      mode: profile.mode,
      owner: profile.owner,
      group: profile.group,
      goal: profile.goal,
      mtimeMs: this.inodes.mtimeMs(row),
      ctimeMs: this.inodes.ctimeMs(row),
      contentVersion: this.inodes.contentVersion(row),
      extentCount: isDirectory ? 0 : this.inodes.extentCount(row),
      entryCount: isDirectory ? this.inodes.entryCount(row) : 0,
      attributes: this.attributes.get(inode) ?? NO_ATTRIBUTES,
    }
  }

  /** The path of an inode; undefined for one without a name or in the trash. Costs a walk over its directories' entries. */
  pathOf(inode: InodeId): string | undefined {
    return this.names.pathOf(inode)
  }

  /** Where a file or directory is: below the root, in the trash, or nowhere yet (unnamed, or part of an unfinished copy). */
  whereabouts(inode: InodeId): 'named' | 'trash' | 'unnamed' | 'gone' {
    for (let at = inode; ; ) {
      if (at === ROOT_INODE) return 'named'
      const row = this.inodes.row(at)
      if (row < 0) return 'gone'
      const parent = this.inodes.parent(row)
      if (parent === TRASH_INODE) return 'trash'
      if (parent === NO_PARENT || parent === HIDDEN_INODE) return 'unnamed'
      at = parent
    }
  }

  /** Entries of a directory after the name `after` (undefined for the first), ordered by the bytes of the name. */
  list(directory: InodeId, after: string | undefined, limit: number): { name: string; inode: InodeId }[] {
    const rows: { name: string; inode: InodeId }[] = []
    const entries = this.names.entries
    for (let more = entries.seek(directory, after ?? ''); more && rows.length < limit; more = entries.advance()) {
      if (entries.cursorDirectory() !== directory) break
      rows.push({ name: entries.cursorName(), inode: entries.cursorInode() as InodeId })
    }
    return rows
  }

  /** Extents of a file from the one that holds byte `fromOffset` on, at most `limit`; none beyond the end or for a directory. */
  extents(inode: InodeId, fromOffset: number, limit: number): FileExtent[] {
    const row = this.inodes.row(inode)
    const found: FileExtent[] = []
    if (row < 0 || this.inodes.isDirectory(row)) return found
    const count = this.inodes.extentCount(row)
    for (let at = this.inodes.extentAt(row, fromOffset); at < count && found.length < limit; at++) {
      const { handle, offset, length } = this.inodes.extent(row, at)
      found.push({ fileOffset: this.inodes.fileOffset(row, at), handle, offset, length })
    }
    return found
  }

  /** Files, with those in the trash and those without a name. */
  get fileCount(): number {
    return this.inodes.count - this.inodes.directoryCount
  }

  /** Directories, with those in the trash. */
  get directoryCount(): number {
    return this.inodes.directoryCount
  }

  // Chunks.

  get chunkCount(): number {
    return this.chunks.count
  }

  chunk(handle: ChunkHandle): ChunkFacts | undefined {
    const row = this.chunks.row(handle)
    return row < 0 ? undefined : this.chunks.facts(handle, row)
  }

  hasChunk(handle: ChunkHandle): boolean {
    return this.chunks.row(handle) >= 0
  }

  /** Members of an open chunk; undefined for a sealed or unknown one. */
  chunkMembers(handle: ChunkHandle): readonly Member[] | undefined {
    return this.chunks.members.get(handle)
  }

  /** Handles of the chunks that are open now, in no order. The caller owns the array. */
  openChunks(): ChunkHandle[] {
    return this.chunks.members.keys()
  }

  /** Chunks with handles above `after` (0 for the first), ascending, at most `limit`. */
  nextChunks(after: ChunkHandle | 0, limit: number): ChunkFacts[] {
    const found: ChunkFacts[] = []
    for (let at = this.chunks.index.next(after); at >= 0 && found.length < limit; at = this.chunks.index.next(at)) {
      found.push(this.chunks.facts(at as ChunkHandle, this.chunks.row(at as ChunkHandle)))
    }
    return found
  }

  /** Highest counter given in a lineage; 0 for one this log does not know. */
  handleCounter(lineage: number): number {
    return this.lineages.get(lineage) ?? 0
  }

  /** Whether this log once gave the handle, so that its absence proves that the chunk was deleted. */
  wasKnown(handle: ChunkHandle): boolean {
    return counterOf(handle) <= this.handleCounter(lineageOf(handle))
  }

  // Sessions, servers, trash.

  sessionKnown(session: SessionId): boolean {
    return this.sessionTable.has(session)
  }

  /** Whether the session has ended, as far as that is remembered. */
  sessionEnded(session: SessionId): boolean {
    return this.sessionsEnded.has(session) || (this.sessionTable.get(session)?.isEnding ?? false)
  }

  /** The stored reply; undefined for a request that was not applied yet, whose job still runs, or that lies below the floor. */
  sessionReply(session: SessionId, request: number): Outcome | undefined {
    return this.sessionTable.get(session)?.replies.get(request)
  }

  /** Cluster time of the session's last operation. */
  sessionLastActive(session: SessionId): number | undefined {
    return this.sessionTable.get(session)?.lastActiveMs
  }

  sessions(): Iterable<Session> {
    return this.sessionTable.values()
  }

  servers(): Iterable<ServerRow> {
    return this.serverTable.values()
  }

  server(id: ServerId): ServerRow | undefined {
    return this.serverTable.get(id)
  }

  /** Trash with ids above `after` (0 for the first), oldest first, at most `limit`. */
  trash(after: number, limit: number): TrashEntry[] {
    const found: TrashEntry[] = []
    for (const entry of this.trashTable.values()) {
      if (found.length >= limit) break
      if (entry.id > after) found.push(entry)
    }
    return found
  }

  /** Bytes of the tables' pages, for metrics. */
  get tableBytes(): number {
    return this.inodes.bytes + this.chunks.bytes + this.names.entries.bytes
  }
}
