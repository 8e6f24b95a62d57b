// Census: the whole chunk table held against the replicas that live servers have. What `report` and `df` sum up.
//
// A million chunks take a few hundred milliseconds, so the count is made in slices between which requests are served,
// and kept for a moment.

import type { ChunkHandle } from '../base/ids.ts'
import type { MasterContext } from './context.ts'
import type { ChunkFacts } from './metadata/chunk-table.ts'
import { intentNow } from './plan/standing.ts'
import { worthOf } from './redundancy.ts'

const SLICE_CHUNKS = 5000
/** A count this young is good enough for another asker. */
const FRESH_MS = 200

export interface Census {
  readonly chunks: number
  /** Chunks of which no replica that could serve all its bytes is on a live server. */
  readonly missing: number
  /** Chunks with a replica that failed its checksums. */
  readonly corrupt: number
  /** Chunks below their goal on live servers; `lastCopy`: those with one left. */
  readonly underReplicated: number
  readonly lastCopy: number
  readonly overReplicated: number
  /** Bytes of chunks that files name; what several extents name is counted once, as far as the chunk's length shows it. */
  readonly liveBytes: number
  /** Bytes of chunks' lengths that no file names: dead space in packed chunks, and what retention keeps. */
  readonly deadBytes: number
  /** Bytes of chunks that nothing names any more, kept for the retention window. */
  readonly retainedBytes: number
  /** Bytes of all whole replicas of chunks that files name, on servers that answer; of open chunks what is named. */
  readonly replicaBytes: number
}

export class CensusTaker {
  readonly #context: MasterContext
  #last: Census | undefined
  #lastMs = 0
  #running: Promise<Census> | undefined

  constructor(context: MasterContext) {
    this.#context = context
  }

  take(): Promise<Census> {
    if (this.#last && this.#context.clock.nowMs() - this.#lastMs < FRESH_MS) return Promise.resolve(this.#last)
    this.#running ??= this.#count().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #count(): Promise<Census> {
    const { state, clock } = this.#context
    const totals = {
      chunks: 0,
      missing: 0,
      corrupt: 0,
      underReplicated: 0,
      lastCopy: 0,
      overReplicated: 0,
      liveBytes: 0,
      deadBytes: 0,
      retainedBytes: 0,
      replicaBytes: 0,
    }
    let after = 0 as ChunkHandle
    for (;;) {
      const chunks = state.nextChunks(after, SLICE_CHUNKS)
      for (const chunk of chunks) this.#add(chunk, totals)
      const last = chunks.at(-1)
      if (last === undefined) break
      after = last.handle
      await new Promise<void>((resolve) => clock.defer(resolve))
    }
    this.#last = totals
    this.#lastMs = clock.nowMs()
    return totals
  }

  #add(chunk: ChunkFacts, totals: { -readonly [K in keyof Census]: Census[K] }): void {
    const { locations, servers, clock, state, proposer } = this.#context
    const goal = chunk.goal || state.goal
    totals.chunks++
    totals.liveBytes += chunk.state === 'sealed' ? Math.min(chunk.length, chunk.liveBytes) : chunk.liveBytes
    if (chunk.references === 0) totals.retainedBytes += chunk.length
    else totals.deadBytes += Math.max(0, chunk.length - chunk.liveBytes)
    if (chunk.references === 0) return
    const nowMs = clock.nowMs()
    let usable = 0
    let leaving = 0
    let isCorrupt = false
    for (const replica of locations.of(chunk.handle)) {
      const server = servers.serverOfDirectory(replica.directory)
      if (!server) continue
      const worth = worthOf(this.#context, chunk, replica.state, servers.liveness(server, nowMs), nowMs)
      if (worth === 'corrupt') isCorrupt = true
      if (worth !== 'whole') continue
      usable++
      if (intentNow(state.server(server.id), proposer.clusterMs) === 'drain') leaving++
    }
    totals.replicaBytes += usable * (chunk.state === 'sealed' ? chunk.length : chunk.liveBytes)
    if (isCorrupt) totals.corrupt++
    if (usable === 0) totals.missing++
    else if (usable < goal) totals.underReplicated++
    // What a drained server keeps is not too many: it stays until the server goes.
    else if (usable - leaving > goal && chunk.state === 'sealed') totals.overReplicated++
    if (usable === 1 && goal > 1) totals.lastCopy++
  }
}
