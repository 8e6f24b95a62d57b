// Goal keeper: chunks that several files share get the highest goal of these files.
//
// A change of a file's goal raises the goal of its chunks at once, but may lower only that of chunks that are its alone:
// nobody knows what the other files want. So all files are gone through (goal-scan.ts): soon after a file wanted another
// goal than its chunk keeps, and every SCAN_EVERY_MS, because files with a higher goal are removed, or moved to other chunks.
//
// Open chunks are no exception. Files come to them all the time: one that wants more than its chunk has, or is about to
// get from a scan under way, is noted in the very step that applies its record, so a goal that was lowered a moment too
// early is raised by the next scan. Until then nothing is lost by it: surplus is given up only when it lasts (trims.ts).
//
// A goal is changed in the log only if it is still the one that was seen, and only for chunks that no change of goals
// has touched since the scan began.
//
// Bounds: SLICE_ROWS of a table between which others are served; GOALS_PER_RECORD chunks a record; TOUCHED_MAX chunks are
// remembered during a scan: at the bound it is given up, and begun again later; ASKED_MAX are judged first, the others in
// their turn.

import { DfsError, isDfsError } from '../base/errors.ts'
import type { ChunkHandle } from '../base/ids.ts'
import { MINUTE_MS, SECOND_MS } from '../base/units.ts'
import type { MasterContext } from './context.ts'
import { GoalScan } from './goal-scan.ts'

const SLICE_ROWS = 2000
/** Between slices: of a scan that somebody waits for, and of others. */
const ASKED_SLICE_MS = 10
const SLICE_MS = 100
const SCAN_EVERY_MS = 10 * MINUTE_MS
/** The first one after a start: what was asked for before it is not known any more. */
const FIRST_SCAN_MS = MINUTE_MS
/** Between two scans at least, and no less than the last one took: many changes cost few scans. */
const REST_MS_MIN = SECOND_MS
const GOALS_PER_RECORD = 1000
const TOUCHED_MAX = 100_000
const ASKED_MAX = 10_000

const NO_GOALS: ReadonlyMap<ChunkHandle, number> = new Map()

export class GoalKeeper {
  readonly #context: MasterContext
  readonly #stop = new AbortController()
  /** Chunks whose goal, or that of a file that names them, was changed since the scan began; undefined between scans. */
  #touched: Set<ChunkHandle> | undefined
  /** Chunks that the next scan is for. */
  #asked = new Set<ChunkHandle>()
  /** Whether it is to come soon. */
  #isAsked = false
  #wake: (() => void) | undefined

  constructor(context: MasterContext) {
    this.#context = context
  }

  /** Runs until the master stops. */
  start(): void {
    this.#run().catch((error: unknown) => {
      if (!isDfsError(error) || !this.#stop.signal.aborted) throw error
    })
  }

  stop(): void {
    this.#stop.abort(new DfsError('ABORTED', 'the master is stopping'))
    this.#wake?.()
  }

  /**
   * A goal was changed in the log, or a file came to a chunk.
   * @param unsure  a file that names the chunk wants another goal than it has, or is about to get
   */
  changed(handle: ChunkHandle, unsure: boolean): void {
    this.#touched?.add(handle)
    if (!unsure) return
    this.#ask(handle)
    this.#wake?.()
  }

  #ask(handle: ChunkHandle): void {
    if (this.#asked.size < ASKED_MAX) this.#asked.add(handle)
    this.#isAsked = true
  }

  async #run(): Promise<void> {
    const { clock, logger } = this.#context
    let againMs = REST_MS_MIN
    for (let everyMs = FIRST_SCAN_MS; ; ) {
      if (!this.#isAsked) await this.#rest(everyMs)
      if (this.#stop.signal.aborted) return
      const asked = this.#asked
      this.#asked = new Set()
      this.#isAsked = false
      const beganMs = clock.nowMs()
      let unsettled: readonly ChunkHandle[] = []
      try {
        unsettled = await this.#scan(asked)
      } catch (error) {
        if (!isDfsError(error) || this.#stop.signal.aborted) throw error
        unsettled = [...asked]
        logger.warn({ event: 'goals', code: error.code }, `goals of shared chunks: ${error.message}`)
      }
      this.#touched = undefined
      this.#context.state.changes.comingGoals = NO_GOALS
      for (const handle of unsettled) if (this.#asked.size < ASKED_MAX) this.#asked.add(handle)
      // A writer may hold one of them for hours: they are asked about ever more rarely.
      againMs = unsettled.length > 0 ? Math.min(2 * againMs, SCAN_EVERY_MS) : REST_MS_MIN
      everyMs = unsettled.length > 0 ? againMs : SCAN_EVERY_MS
      await clock.sleep(Math.max(REST_MS_MIN, clock.nowMs() - beganMs), this.#stop.signal)
    }
  }

  /** Sleeps, or until a scan is asked for. */
  #rest(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#context.clock.after(ms, resolve)
      this.#wake = () => {
        timer.cancel()
        resolve()
      }
    })
  }

  /** @returns chunks to ask about again: `asked`, or those of them that could not be judged */
  async #scan(asked: ReadonlySet<ChunkHandle>): Promise<readonly ChunkHandle[]> {
    const { state, clock, proposer, logger } = this.#context
    if (this.#context.isReadOnly()) return [...asked]
    const sliceMs = asked.size > 0 ? ASKED_SLICE_MS : SLICE_MS
    const touched = new Set<ChunkHandle>()
    this.#touched = touched
    const scan = new GoalScan(state, asked)
    state.changes.comingGoals = scan.goals
    while (scan.step(SLICE_ROWS)) {
      await clock.sleep(sliceMs, this.#stop.signal)
      if (touched.size > TOUCHED_MAX) return [...asked]
    }
    for (let at = 0; at < scan.found.length; at += GOALS_PER_RECORD) {
      const part = scan.found.slice(at, at + GOALS_PER_RECORD)
      const goals = part.filter(({ handle }) => !touched.has(handle))
      // They are looked at again: what was seen of them is older than the change.
      for (const { handle } of part) if (touched.has(handle)) this.#ask(handle)
      if (goals.length === 0) continue
      const outcome = await proposer.propose({ kind: 'setChunkGoals', goals })
      if (!outcome.ok) throw new DfsError(outcome.code, outcome.message, outcome.detail)
      logger.info(
        { event: 'goals', chunks: outcome.reply[0] },
        `${outcome.reply[0]} chunks have the goal of their files again`,
      )
    }
    return scan.unsettled
  }
}
