// A full audit of the state: what must hold after every operation. For tests and the simulator; it walks everything.

import { assert } from '../../base/assert.ts'
import type { ChunkHandle, InodeId } from '../../base/ids.ts'
import { ROOT_INODE } from '../../base/ids.ts'
import { SESSION_REPLIES_MAX } from '../../base/limits.ts'
import { HIDDEN_INODE, NO_PARENT, TRASH_INODE } from './inode-table.ts'
import type { MetadataState } from './state.ts'

/** Throws AssertionError for the first broken invariant. */
export function checkInvariants(state: MetadataState): void {
  if (state.clusterId === '') return
  const references = new Map<ChunkHandle, { count: number; bytes: number }>()
  checkInodes(state, references)
  checkEntries(state)
  checkChunks(state, references)
  checkHolders(state)
  checkTails(state)
}

function checkInodes(state: MetadataState, references: Map<ChunkHandle, { count: number; bytes: number }>): void {
  const { inodes } = state
  let fileBytes = 0
  const profileUses = new Map<number, number>()
  inodes.index.forEach((id, row) => {
    assert(id < state.nextInode, `inode ${id} was never given`)
    const profile = inodes.profile(row)
    profileUses.set(profile, (profileUses.get(profile) ?? 0) + 1)
    assert(inodes.hasAttributes(row) === state.attributes.has(id as InodeId), `inode ${id}: attributes`)
    checkParent(state, id as InodeId, row)
    if (inodes.isDirectory(row)) return
    let end = 0
    let before: { handle: number; end: number } | undefined
    for (let i = 0; i < inodes.extentCount(row); i++) {
      const { handle, offset, length } = inodes.extent(row, i)
      assert(inodes.fileOffset(row, i) === end && length > 0, `inode ${id}: extent ${i} leaves a gap`)
      const continues = before !== undefined && before.handle === handle && (handle === 0 || before.end === offset)
      assert(!continues, `inode ${id}: extents ${i - 1} and ${i} are one`)
      before = { handle, end: offset + length }
      end += length
      if (handle === 0) {
        assert(offset === 0, `inode ${id}: a hole with an offset`)
        continue
      }
      assert(state.chunks.row(handle) >= 0, `inode ${id}: chunk ${handle} is not in the table`)
      const sum = references.get(handle) ?? { count: 0, bytes: 0 }
      references.set(handle, { count: sum.count + 1, bytes: sum.bytes + length })
    }
    assert(end === inodes.size(row), `inode ${id}: ${end} bytes of extents, size ${inodes.size(row)}`)
    fileBytes += end
  })
  assert(fileBytes === state.fileBytes, `files have ${fileBytes} bytes, counted ${state.fileBytes}`)
  assert(profileUses.size === state.profiles.inOrder().length, 'a profile without an inode')
  for (const [profile, uses] of profileUses) {
    assert(
      uses === state.profiles.uses(profile),
      `profile ${profile}: ${uses} uses, counted ${state.profiles.uses(profile)}`,
    )
  }
}

function checkParent(state: MetadataState, id: InodeId, row: number): void {
  const parent = state.inodes.parent(row)
  if (id === ROOT_INODE) assert(parent === NO_PARENT, 'the root has a parent')
  else if (parent === NO_PARENT) assert(state.unnamed.has(id), `inode ${id} is nowhere`)
  else if (parent === TRASH_INODE) assert(state.trashOf.has(id), `inode ${id} is in the trash without an entry`)
  else if (parent === HIDDEN_INODE) assert(state.job?.root === id, `inode ${id} is hidden without a job`)
  else assert(state.inodes.row(parent) >= 0, `inode ${id}: its directory ${parent} is gone`)
}

function checkEntries(state: MetadataState): void {
  const { inodes } = state
  const { entries } = state.names
  entries.check()
  const counts = new Map<number, number>()
  const named = new Set<number>()
  for (let more = entries.seekFirst(); more; more = entries.advance()) {
    const directory = entries.cursorDirectory()
    const inode = entries.cursorInode() as InodeId
    counts.set(directory, (counts.get(directory) ?? 0) + 1)
    assert(!named.has(inode), `inode ${inode} has two names`)
    named.add(inode)
    const row = inodes.row(inode)
    assert(row >= 0 && inodes.parent(row) === directory, `entry ${entries.cursorName()} of directory ${directory}`)
  }
  inodes.index.forEach((id, row) => {
    if (inodes.isDirectory(row)) {
      const count = counts.get(id) ?? 0
      assert(count === inodes.entryCount(row), `directory ${id}: ${count} entries, counted ${inodes.entryCount(row)}`)
      counts.delete(id)
    }
    const isTop = inodes.parent(row) <= HIDDEN_INODE && inodes.parent(row) !== ROOT_INODE
    assert(named.has(id) !== isTop, `inode ${id}: a name too many or too few`)
  })
  assert(counts.size === 0, 'entries of a directory that is gone')
}

function checkChunks(
  state: MetadataState,
  references: ReadonlyMap<ChunkHandle, { count: number; bytes: number }>,
): void {
  const { chunks } = state
  let live = 0
  chunks.index.forEach((id, row) => {
    const handle = id as ChunkHandle
    const sum = references.get(handle) ?? { count: 0, bytes: 0 }
    assert(state.wasKnown(handle), `chunk ${handle} was never given`)
    assert(
      sum.count === chunks.references(row),
      `chunk ${handle}: ${sum.count} extents, counted ${chunks.references(row)}`,
    )
    assert(
      sum.bytes === chunks.liveBytes(row),
      `chunk ${handle}: ${sum.bytes} live bytes, counted ${chunks.liveBytes(row)}`,
    )
    live += sum.bytes
    assert(chunks.isOpen(row) === chunks.members.has(handle), `chunk ${handle}: members and state`)
    const isHeld = chunks.isOpen(row) || chunks.owners.has(handle) || sum.count > 0
    assert(isHeld || chunks.isKept(row), `chunk ${handle} leaked`)
  })
  if (state.reserved !== undefined) {
    const { handle } = state.reserved
    assert(state.wasKnown(handle) && chunks.row(handle) < 0, `chunk ${handle} is reserved and in the table`)
  }
  assert(live === chunks.liveBytesTotal, `${live} live bytes in all, counted ${chunks.liveBytesTotal}`)
  for (const handle of chunks.members.keys())
    assert(chunks.row(handle) >= 0, `members of chunk ${handle}, which is gone`)
  for (const handle of chunks.indexDigests.keys())
    assert(chunks.row(handle) >= 0, `an index of chunk ${handle}, which is gone`)
}

function checkHolders(state: MetadataState): void {
  let holds = 0
  let unnamed = 0
  for (const session of state.sessionTable.values()) {
    assert(
      session.replies.size <= SESSION_REPLIES_MAX + 1,
      `session ${session.id} keeps ${session.replies.size} replies`,
    )
    for (const request of session.replies.keys()) assert(request > session.floor, 'a reply below the floor')
    for (const inode of session.unnamed.keys())
      assert(state.unnamed.get(inode) === session.id, `inode ${inode} without a name`)
    unnamed += session.unnamed.size
    for (const inode of session.holds.keys()) {
      assert(state.holders.hasPair(inode, session.id), `inode ${inode} does not know its holder ${session.id}`)
      assert(session.holds.of(inode).length > 0, 'an empty hold')
      for (const handle of session.holds.of(inode)) {
        const owner = state.chunks.owners.get(handle)
        assert(owner?.session === session.id && owner.inode === inode, `chunk ${handle}: holder and owner differ`)
        holds++
      }
    }
  }
  assert(holds === state.chunks.owners.size, 'an owner without a session')
  for (const inode of state.holders.keys()) {
    assert(state.holders.of(inode).length > 0, `inode ${inode}: no holder left`)
    for (const id of state.holders.of(inode))
      assert(state.sessionTable.get(id)?.holds.has(inode) === true, `inode ${inode}: holder ${id}`)
  }
  assert(unnamed === state.unnamed.size, 'a file without a name or a session')
  for (const handle of state.chunks.owners.keys())
    assert(state.hasChunk(handle), `an owner of chunk ${handle}, which is gone`)
  assert(state.trashOf.size === state.trashTable.size, 'trash counted twice')
  let last = 0
  for (const entry of state.trashTable.values()) {
    assert(entry.id > last && entry.id < state.nextTrash, 'trash out of order')
    last = entry.id
    const row = state.inodes.row(entry.inode)
    assert(row >= 0 && state.inodes.parent(row) === TRASH_INODE, `trash ${entry.id} without its tree`)
    assert(state.trashOf.get(entry.inode) === entry.id, `trash ${entry.id} is not found by its inode`)
  }
}

function checkTails(state: MetadataState): void {
  const { tails, tailFiles } = state.chunks
  assert(tails.size === tailFiles.size, 'a tail without its file, or a file without its tail')
  for (const [inode, handle] of tails) {
    assert(tailFiles.get(handle) === inode, `inode ${inode} and its tail differ`)
    assert(state.whereabouts(inode) === 'named', `inode ${inode} has a tail and no name`)
    assert(!state.inodes.isDirectory(state.inodes.row(inode)), `directory ${inode} has a tail`)
    const row = state.chunks.row(handle)
    assert(row >= 0 && state.chunks.isOpen(row) && state.chunks.isShared(row), `tail ${handle} is not open and shared`)
    assert(!state.chunks.owners.has(handle), `tail ${handle} has an owner`)
  }
}
