// What put and get share: a bounded queue of files, progress on a terminal, and the summary at the end.

import * as fastq from 'fastq'
import { formatBytes, formatDuration } from '../../base/units.ts'
import type { DfsContext } from '../context.ts'

/** Files that wait at most: a walk of a tree is held there. */
const waitingMax = 1024
const drawEveryMs = 200

/** What `--json` prints at the end. */
export interface TransferSummary {
  readonly files: number
  readonly directories: number
  readonly bytes: number
  /** Symbolic links and special files. */
  readonly skipped: number
  readonly failed: number
  readonly seconds: number
  readonly bytesPerSecond: number
}

export class Transfer {
  readonly #context: DfsContext
  readonly #startMs: number
  #progress: Progress | undefined
  #files = 0
  #directories = 0
  #bytes = 0
  #skipped = 0
  #failed = 0
  #lastDrawMs = 0

  constructor(context: DfsContext) {
    this.#context = context
    this.#startMs = context.io.clock.nowMs()
  }

  /** Shows a bar where a person watches; `totalBytes` grows as files are found. */
  async showProgress(): Promise<void> {
    if (!this.#context.out.hasTerminal || this.#context.out.json) return
    this.#progress = await openProgress()
  }

  /** Whether somebody watches a bar, and wants to know how much there is in all. */
  get hasBar(): boolean {
    return this.#progress !== undefined
  }

  /** A file was found that will be moved. */
  expect(bytes: number): void {
    this.#progress?.grow(bytes)
  }

  moved(bytes: number): void {
    this.#bytes += bytes
    const nowMs = this.#context.io.clock.nowMs()
    if (!this.#progress || nowMs - this.#lastDrawMs < drawEveryMs) return
    this.#lastDrawMs = nowMs
    this.#progress.show(this.#bytes, this.#files)
  }

  fileDone(): void {
    this.#files++
  }

  directoryDone(): void {
    this.#directories++
  }

  skip(what: string): void {
    this.#skipped++
    this.#context.out.warn(what)
  }

  /** Tells of one failure and lets the rest go on. @throws when nothing else can work either */
  fail(error: unknown): void {
    this.#failed++
    this.#context.complain(error)
  }

  async end(verb: string): Promise<void> {
    this.close()
    const ms = Math.max(1, this.#context.io.clock.nowMs() - this.#startMs)
    const summary: TransferSummary = {
      files: this.#files,
      directories: this.#directories,
      bytes: this.#bytes,
      skipped: this.#skipped,
      failed: this.#failed,
      seconds: Math.round(ms) / 1000,
      bytesPerSecond: Math.round((this.#bytes * 1000) / ms),
    }
    await this.#context.out.document(summary, () => {
      // Where nothing could be done, what went wrong has been said.
      if (summary.failed > 0 && summary.files === 0) return ''
      const rate = `${formatBytes(summary.bytesPerSecond)}/s`
      const faults = summary.failed > 0 ? `, ${summary.failed} failed` : ''
      return `${verb} ${summary.files} files, ${formatBytes(summary.bytes)} in ${formatDuration(ms)} (${rate})${faults}`
    })
  }

  /** Takes the bar away. */
  close(): void {
    this.#progress?.close()
    this.#progress = undefined
  }
}

interface Progress {
  grow(bytes: number): void
  show(bytes: number, files: number): void
  close(): void
}

async function openProgress(): Promise<Progress> {
  const { default: progress } = await import('cli-progress')
  const bar = new progress.SingleBar({
    stream: process.stderr,
    clearOnComplete: true,
    hideCursor: true,
    format: '{bar} {percentage}% {moved} of {all}, {files} files, {eta_formatted} left',
    etaBuffer: 50,
  })
  let total = 0
  // A total of 0 would be drawn as finished.
  bar.start(1, 0, { moved: '0 B', all: '?', files: 0 })
  return {
    grow: (bytes) => {
      total += bytes
      bar.setTotal(total)
    },
    show: (bytes, files) => bar.update(bytes, { moved: formatBytes(bytes), all: formatBytes(total), files }),
    close: () => bar.stop(),
  }
}

/** Work on many things, some at once; who adds waits while too much waits. */
export class WorkQueue<T> {
  readonly #queue: fastq.queueAsPromised<T, void>
  #failure: { readonly error: unknown } | undefined
  /** Added and not begun; asking the queue would walk it. */
  #waiting = 0
  #wake: (() => void)[] = []

  /** @param work  may throw: the first error ends the queue and is thrown by `add` and `done` */
  constructor(atOnce: number, work: (item: T) => Promise<void>) {
    this.#queue = fastq.promise(async (item: T) => {
      this.#waiting--
      this.#wake.shift()?.()
      try {
        if (!this.#failure) await work(item)
      } catch (error) {
        this.#failure ??= { error }
        for (const wake of this.#wake.splice(0)) wake()
      }
    }, atOnce)
  }

  async add(item: T): Promise<void> {
    while (!this.#failure && this.#waiting >= waitingMax) {
      await new Promise<void>((resolve) => this.#wake.push(resolve))
    }
    if (this.#failure) throw this.#failure.error
    this.#waiting++
    // The wrapper above never rejects.
    void this.#queue.push(item)
  }

  /** Resolves when everything added is done. */
  async done(): Promise<void> {
    await this.#queue.drained()
    if (this.#failure) throw this.#failure.error
  }
}

/**
 * Runs branches of a tree side by side while slots are free, else in the caller's own time: bounded, and nobody who
 * holds a slot waits for one.
 */
export class Spread {
  readonly #atOnce: number
  readonly #running = new Set<Promise<void>>()
  #failure: { readonly error: unknown } | undefined

  constructor(atOnce: number) {
    this.#atOnce = atOnce
  }

  async run(branch: () => Promise<void>): Promise<void> {
    if (this.#failure) throw this.#failure.error
    if (this.#running.size >= this.#atOnce) return branch()
    const running = branch()
      .catch((error: unknown) => {
        this.#failure ??= { error }
      })
      .finally(() => this.#running.delete(running))
    this.#running.add(running)
  }

  /** Resolves when every branch has ended. @throws the first error */
  async done(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running)
    if (this.#failure) throw this.#failure.error
  }
}

/** How many files move at once: many small ones ride in one batch of the log, a few large ones fill the wire. */
export interface Parallel {
  readonly small: number
  readonly large: number
}

export function parallelOf(option: number | undefined): Parallel {
  return option === undefined ? { small: 256, large: 3 } : { small: option, large: option }
}
