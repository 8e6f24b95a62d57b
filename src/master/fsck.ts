// A check of a file or tree: each chunk that its files name, held against the replicas that servers have.
//
// The tree is walked in pages, each from where the last one ended: nothing is kept between them, and a page is so small
// that the master never pauses for it. What changes meanwhile is seen as it is when its turn comes.
//
// Invariants:
//   - a page ends behind at least one entry or extent, so that a check comes to its end
//   - a name that was there from the first page to the last is met exactly once

import type { ChunkHandle, InodeId, ServerId } from '../base/ids.ts'
import { HOLE } from '../base/ids.ts'
import type { ReplyOf, RequestOf } from '../wire/messages.ts'
import { hostOf } from './cluster/servers.ts'
import type { MasterContext } from './context.ts'
import { factsOf, inodeAt } from './lookup.ts'
import type { InodeFacts } from './metadata/state.ts'
import { placeableCount } from './place.ts'
import { intentNow } from './plan/standing.ts'
import { type ReplicaWorth, worthOf } from './redundancy.ts'

/** Entries and extents looked at in a page: a few milliseconds. */
const STEPS_MAX = 768
/** Names read from a directory at once. */
const NAMES_AT_ONCE = 64

type Page = ReplyOf<'fsck'>
type Cursor = NonNullable<Page['next']>
type CheckedChunk = Page['chunks'][number]
type CheckedReplica = CheckedChunk['replicas'][number]

/** The next page of a check. Throws INVALID_PATH, NOT_FOUND or NOT_A_DIRECTORY of `path` itself. */
export function fsckPage(context: MasterContext, request: RequestOf<'fsck'>): Page {
  return new Walk(context, request).page()
}

/** A directory on the way down, and the last name in it that was met. */
interface Frame {
  readonly inode: InodeId
  /** '' for the root. */
  readonly path: string
  after: string | undefined
  waiting: { name: string; inode: InodeId }[]
}

class Walk {
  readonly #context: MasterContext
  readonly #request: RequestOf<'fsck'>
  readonly #frames: Frame[] = []
  readonly #rows: Page['rows'][number][] = []
  readonly #chunks = new Map<ChunkHandle, CheckedChunk>()
  #files = 0
  #directories = 0
  #bytes = 0
  #steps = 0
  #next: Cursor | undefined

  constructor(context: MasterContext, request: RequestOf<'fsck'>) {
    this.#context = context
    this.#request = request
  }

  page(): Page {
    const { path, after } = this.#request
    const top = inodeAt(this.#context.state, path)
    const facts = factsOf(this.#context.state, top)
    if (facts.type === 'file') {
      this.#file(path, top, facts, after?.offset ?? 0)
      // Nothing follows behind the end of a file that was asked for alone.
      if (this.#next?.offset === 0) this.#next = undefined
    } else this.#tree(path === '/' ? '' : path, top)
    return {
      files: this.#files,
      directories: this.#directories,
      bytes: this.#bytes,
      rows: this.#rows,
      chunks: [...this.#chunks.values()],
      placeable: placeableCount(this.#context),
      next: this.#next,
    }
  }

  #tree(path: string, top: InodeId): void {
    const { after } = this.#request
    if (after === undefined) {
      this.#directories++
      this.#frames.push({ inode: top, path, after: undefined, waiting: [] })
    } else this.#resume(path, top, after)
    while (this.#next === undefined) {
      const frame = this.#frames.at(-1)
      if (frame === undefined) return
      if (frame.waiting.length === 0) frame.waiting = this.#names(frame)
      const entry = frame.waiting.shift()
      if (entry === undefined) this.#frames.pop()
      else this.#entry(frame, entry)
    }
  }

  /** Opens the directories on the way to where the last page ended, each behind the name that was met there. */
  #resume(path: string, top: InodeId, after: Cursor): void {
    const { state } = this.#context
    let inode = top
    let at = path
    const names = after.path.startsWith(`${path}/`) ? after.path.slice(path.length + 1).split('/') : []
    for (const [index, name] of names.entries()) {
      this.#frames.push({ inode, path: at, after: name, waiting: [] })
      const child = state.names.child(inode, name)
      const facts = child === 0 ? undefined : state.stat(child)
      if (facts === undefined) return
      at = `${at}/${name}`
      inode = child
      if (facts.type === 'directory') continue
      if (index === names.length - 1 && after.offset > 0) this.#file(at, child, facts, after.offset)
      return
    }
    this.#frames.push({ inode, path: at, after: undefined, waiting: [] })
  }

  #names(frame: Frame): { name: string; inode: InodeId }[] {
    const found = this.#context.state.list(frame.inode, frame.after, NAMES_AT_ONCE)
    frame.after = found.at(-1)?.name ?? frame.after
    return found
  }

  #entry(frame: Frame, { name, inode }: { name: string; inode: InodeId }): void {
    const path = `${frame.path}/${name}`
    const facts = factsOf(this.#context.state, inode)
    if (facts.type === 'directory') {
      this.#directories++
      this.#frames.push({ inode, path, after: undefined, waiting: [] })
      this.#step(path)
    } else this.#file(path, inode, facts, 0)
  }

  #step(path: string): void {
    this.#steps++
    if (this.#steps >= STEPS_MAX) this.#next ??= { path, offset: 0 }
  }

  /** Checks the extents of a file from `fromOffset` on, as many as the page has room for. */
  #file(path: string, inode: InodeId, facts: InodeFacts, fromOffset: number): void {
    const { state } = this.#context
    const { detail } = this.#request
    if (fromOffset === 0) {
      this.#files++
      this.#bytes += facts.size
    }
    const room = Math.max(1, STEPS_MAX - this.#steps)
    const found = state.extents(inode, fromOffset, room + 1)
    const extents: { offset: number; length: number; handle: ChunkHandle }[] = []
    for (const { fileOffset, length, handle } of found.slice(0, room)) {
      this.#steps++
      const isShown = detail === 'chunks' || detail === 'locations'
      const isOdd = handle !== HOLE && !isInOrder(this.#chunk(handle))
      if (isShown || isOdd) extents.push({ offset: fileOffset, length, handle })
    }
    const rest = found[room]
    if (rest !== undefined) this.#next = { path, offset: rest.fileOffset }
    if (extents.length > 0 || (detail !== 'problems' && fromOffset === 0)) {
      this.#rows.push({ path, size: facts.size, extents })
    }
    this.#step(path)
  }

  #chunk(handle: ChunkHandle): CheckedChunk {
    let judged = this.#chunks.get(handle)
    if (judged === undefined) {
      judged = judge(this.#context, handle, this.#request.without, this.#request.detail === 'locations')
      this.#chunks.set(handle, judged)
    }
    return judged
  }
}

/** Enough whole replicas, and none damaged. */
function isInOrder(chunk: CheckedChunk): boolean {
  return chunk.whole >= chunk.goal && chunk.corrupt === 0
}

function judge(
  context: MasterContext,
  handle: ChunkHandle,
  without: ServerId | undefined,
  withReplicas: boolean,
): CheckedChunk {
  const { state, safeMode } = context
  const chunk = state.chunk(handle)
  const goal = chunk?.goal || state.goal
  const replicas: CheckedReplica[] = []
  const hosts = new Set<string>()
  let whole = 0
  let corrupt = 0
  for (const replica of replicasOf(context, handle)) {
    replicas.push(replica.told)
    if (replica.told.server === without) continue
    if (replica.worth === 'corrupt') corrupt++
    if (replica.worth !== 'whole') continue
    whole++
    hosts.add(hostOf(replica.told.address))
  }
  const isOdd = whole < goal || whole <= 1 || corrupt > 0
  return {
    handle,
    goal,
    length: chunk?.length ?? 0,
    isSealed: chunk?.state === 'sealed',
    whole,
    corrupt,
    isUncertain: safeMode.isOn && whole < goal,
    isOnOneHost: whole >= 2 && hosts.size === 1,
    replicas: withReplicas || isOdd ? replicas.slice(0, 64) : [],
  }
}

function* replicasOf(
  context: MasterContext,
  handle: ChunkHandle,
): Generator<{ readonly told: CheckedReplica; readonly worth: ReplicaWorth }> {
  const { locations, servers, state, clock, proposer } = context
  const nowMs = clock.nowMs()
  const chunk = { handle, state: state.chunk(handle)?.state ?? 'sealed' }
  for (const { directory, state: replicaState } of locations.of(handle)) {
    const server = servers.serverOfDirectory(directory)
    if (!server) continue
    const liveness = servers.liveness(server, nowMs)
    const isDraining = intentNow(state.server(server.id), proposer.clusterMs) === 'drain'
    const told: CheckedReplica = {
      server: server.id,
      address: server.address,
      state: replicaState,
      serverState: liveness === 'live' && isDraining ? 'draining' : liveness,
      disk: server.directories.find((facts) => facts.directory === directory)?.path ?? '',
    }
    yield { told, worth: worthOf(context, chunk, replicaState, liveness, nowMs) }
  }
}
