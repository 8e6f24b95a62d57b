// fsck: is everything that files name there as often as it should be? The master's pages, added up and put in words.
//
//   DAMAGED    a file names a chunk of which no whole replica is on a server that answers
//   DEGRADED   none such, but a chunk has fewer whole replicas than its goal
//   HEALTHY    neither
//
// Damaged replicas beside enough whole ones, and failure domains that can't be met, are warnings. While servers have
// not all reported yet (safe mode), what seems missing is DEGRADED and says so.
//
// Bounds: PROBLEMS_MAX problems are kept; further ones are counted.

import { type ChunkHandle, formatHandle, formatServer, type ServerId } from '../base/ids.ts'
import type { ReplyOf, RequestOf } from '../wire/messages.ts'
import { HandleSet } from './handle-set.ts'
import type { CallOptions } from './patience.ts'

const PROBLEMS_MAX = 100_000

export type FsckPage = ReplyOf<'fsck'>
export type FsckChunk = FsckPage['chunks'][number]
export type FsckFile = FsckPage['rows'][number]
export type FsckDetail = RequestOf<'fsck'>['detail']
export type FsckStatus = 'HEALTHY' | 'DEGRADED' | 'DAMAGED'

export interface FsckOptions extends CallOptions {
  /** What `onPage` is shown besides what is not in order: nothing when left out. */
  readonly detail?: FsckDetail | undefined
  /** Judge as if this server were gone. */
  readonly without?: ServerId | undefined
  /** Each page as it comes, with its chunks by handle. */
  readonly onPage?: ((page: FsckPage, chunks: ReadonlyMap<ChunkHandle, FsckChunk>) => void | Promise<void>) | undefined
}

export interface FsckProblem {
  readonly path: string
  /** The bytes of the file that it is about. */
  readonly offset: number
  readonly length: number
  readonly handle: ChunkHandle
  /** `uncertain`: seems missing, but not every server has reported. */
  readonly kind: 'missing' | 'corrupt' | 'uncertain' | 'underReplicated'
  readonly why: string
  /** What a person does next. */
  readonly next: string
}

/** Chunks whose only whole replica is on this server. */
export interface FsckExposure {
  readonly server: ServerId
  readonly address: string
  readonly chunks: number
  readonly bytes: number
}

export interface FsckResult {
  readonly path: string
  readonly status: FsckStatus
  readonly files: number
  readonly directories: number
  readonly bytes: number
  /** Different chunks that the files name; the next four are among them. */
  readonly chunks: number
  /** Below their goal on servers that answer, but not missing. */
  readonly underReplicated: number
  readonly lastCopy: number
  /** Without a whole replica on a server that answers. */
  readonly missing: number
  /** With a replica of which blocks failed. */
  readonly corrupt: number
  /** In the order of the tree. */
  readonly problems: readonly FsckProblem[]
  /** Problems beyond the bound: counted, not kept. */
  readonly problemsLeftOut: number
  /** What the failure of one more server would cost; most chunks first. */
  readonly exposure: readonly FsckExposure[]
  readonly warnings: readonly string[]
}

/** Goes through all pages of a check. @param ask  the page that goes on at `after`; the first when undefined */
export async function addUp(
  path: string,
  ask: (after: FsckPage['next']) => Promise<FsckPage>,
  onPage: FsckOptions['onPage'],
): Promise<FsckResult> {
  const tally = new FsckTally(path)
  let after: FsckPage['next']
  do {
    const page = await ask(after)
    const chunks = tally.add(page)
    await onPage?.(page, chunks)
    after = page.next
  } while (after !== undefined)
  return tally.result()
}

export class FsckTally {
  readonly #path: string
  readonly #seen = new HandleSet()
  readonly #problems: FsckProblem[] = []
  readonly #exposure = new Map<ServerId, { address: string; chunks: number; bytes: number }>()
  readonly #totals = { files: 0, directories: 0, bytes: 0, chunks: 0 }
  readonly #faults = { underReplicated: 0, lastCopy: 0, missing: 0, corrupt: 0 }
  #problemsLeftOut = 0
  #uncertain = 0
  #oneHost = 0

  constructor(path: string) {
    this.#path = path
  }

  /** @returns the page's chunks by handle */
  add(page: FsckPage): ReadonlyMap<ChunkHandle, FsckChunk> {
    this.#totals.files += page.files
    this.#totals.directories += page.directories
    this.#totals.bytes += page.bytes
    const chunks = new Map<ChunkHandle, FsckChunk>()
    for (const chunk of page.chunks) {
      chunks.set(chunk.handle, chunk)
      if (this.#seen.add(chunk.handle)) this.#count(chunk)
    }
    for (const file of page.rows) {
      for (const { offset, length, handle } of file.extents) {
        const chunk = chunks.get(handle as ChunkHandle)
        if (chunk === undefined || chunk.whole >= chunk.goal) continue
        const problem = { path: file.path, offset, length, handle: chunk.handle, ...verdictOf(chunk, page.placeable) }
        if (this.#problems.length < PROBLEMS_MAX) this.#problems.push(problem)
        else this.#problemsLeftOut++
      }
    }
    return chunks
  }

  result(): FsckResult {
    const { missing, corrupt, underReplicated } = this.#faults
    const warnings: string[] = []
    if (this.#uncertain > 0)
      warnings.push(`${this.#uncertain} chunks can't be judged yet: not every chunkserver has reported`)
    if (this.#oneHost > 0)
      warnings.push(`${this.#oneHost} chunks have all their replicas on one host: lost if that machine fails`)
    if (corrupt > 0) warnings.push(`${corrupt} chunks have a damaged replica, which is not read from`)
    const exposure = [...this.#exposure].map(([server, facts]) => ({ server, ...facts }))
    return {
      path: this.#path,
      status: missing > 0 ? 'DAMAGED' : underReplicated + this.#uncertain > 0 ? 'DEGRADED' : 'HEALTHY',
      ...this.#totals,
      ...this.#faults,
      problems: this.#problems,
      problemsLeftOut: this.#problemsLeftOut,
      exposure: exposure.sort((a, b) => b.chunks - a.chunks || a.server - b.server),
      warnings,
    }
  }

  #count(chunk: FsckChunk): void {
    this.#totals.chunks++
    if (chunk.corrupt > 0) this.#faults.corrupt++
    if (chunk.isOnOneHost) this.#oneHost++
    if (chunk.whole === 0) {
      if (chunk.isUncertain) this.#uncertain++
      else this.#faults.missing++
      return
    }
    if (chunk.whole < chunk.goal) this.#faults.underReplicated++
    if (chunk.whole > 1) return
    if (chunk.goal > 1) this.#faults.lastCopy++
    const holder = chunk.replicas.find((replica) => isWhole(chunk, replica))
    if (holder === undefined) return
    const facts = this.#exposure.get(holder.server) ?? { address: holder.address, chunks: 0, bytes: 0 }
    facts.chunks++
    facts.bytes += chunk.length
    this.#exposure.set(holder.server, facts)
  }
}

type Replica = FsckChunk['replicas'][number]

/** Whether the master has counted it: one that looks open counts in a sealed chunk only while its seal is under way. */
function isWhole({ whole, isSealed, replicas }: FsckChunk, { state, serverState }: Replica): boolean {
  if (!isAnswering(serverState)) return false
  if (state !== 'open' || !isSealed) return state === 'good' || state === 'open'
  return whole > replicas.filter((other) => other.state === 'good' && isAnswering(other.serverState)).length
}

function isAnswering(serverState: Replica['serverState']): boolean {
  return serverState !== 'dead' && serverState !== 'maintenance'
}

/** What is wrong with a chunk that has too few whole replicas, and what to do. */
function verdictOf(chunk: FsckChunk, placeable: number): Pick<FsckProblem, 'kind' | 'why' | 'next'> {
  const { handle, goal, whole, replicas } = chunk
  const name = `chunk ${formatHandle(handle)}`
  const others = replicas.filter((replica) => !isWhole(chunk, replica)).map((replica) => told(chunk, replica))
  const away = replicas.filter(({ serverState }) => !isAnswering(serverState))
  const rest = others.length === 0 ? '' : `; ${others.join(', ')}`
  if (whole > 0) {
    const why = `${name}: ${whole} of ${goal} replicas are whole and on servers that answer${rest}`
    if (placeable >= goal)
      return { kind: 'underReplicated', why, next: 'more are made by themselves: see `dfs report`' }
    const start = away.length > 0 ? `start ${namesOf(away)}, or more chunkservers` : 'start or free chunkservers'
    const next = `${start} (${placeable} can take replicas, ${goal} are wanted), or lower the goal with \`dfs setrep\``
    return { kind: 'underReplicated', why, next }
  }
  if (chunk.isUncertain) {
    const why = `${name}: no server that has reported holds it whole, and not all have reported${rest}`
    return { kind: 'uncertain', why, next: 'wait with `dfs admin safemode wait`, then check again' }
  }
  const source = away.length > 0 ? `start ${namesOf(away)}` : 'bring back the server or disk that holds it'
  if (chunk.corrupt > 0) {
    const why = `${name}: every replica on a server that answers is damaged${rest}`
    return { kind: 'corrupt', why, next: `${source}, or restore the file from a copy` }
  }
  const where = others.length === 0 ? '; none has ever been reported' : rest
  const why = `${name}: no server that answers holds it whole${where}`
  return { kind: 'missing', why, next: `${source}, or restore the file from a copy` }
}

function told({ isSealed }: FsckChunk, { server, state, serverState }: Replica): string {
  if (serverState === 'maintenance') return `${formatServer(server)} is in maintenance`
  if (!isAnswering(serverState)) return `${formatServer(server)} is ${serverState}`
  if (state === 'open' && isSealed) return `the one of ${formatServer(server)} could not be sealed (is its disk full?)`
  return `the one of ${formatServer(server)} is ${state}`
}

function namesOf(replicas: readonly Replica[]): string {
  return replicas.map(({ server, address }) => `${formatServer(server)} (${address})`).join(', ')
}
