// Writers that append records to one file, and the check of that file: each acknowledged record is in it exactly once,
// whole, where its writer was told and in its writer's order; one that was not acknowledged is there once or not at all.
//
// A record names its writer and its number and says how long it is, so that a file can be read back as records.
//
// Source: GFS §3.3 promises at least once; DESIGN §1 (P4) exactly once.

import type { Random } from '../../src/base/random.ts'
import type { Appender } from '../../src/client/appender.ts'
import type { Client } from '../../src/client/client.ts'
import { isExcused, Violation, violationOf } from './file-load.ts'

/** `[writer:number:length:`, filling up to that length, and a newline. */
function recordOf(writer: number, number: number, bytes: number): Buffer {
  const head = `[${writer}:${number}:${bytes}:`
  return Buffer.from(`${head.padEnd(bytes - 1, String.fromCharCode(97 + (number % 26)))}\n`)
}

const RECORD_BYTES_MIN = 40

export interface RecordWriterOptions {
  readonly path: string
  readonly writer: number
  /** It stops by itself when so many are acknowledged; never when left out. */
  readonly records?: number | undefined
  /** Records under way together, at most. */
  readonly inFlight: number
  /** The longest pause between two bursts. */
  readonly pauseMsMax: number
  /** Records are mostly up to this long, some thirty times as long. */
  readonly bytesMax: number
  /** Acknowledged means durable. */
  readonly sync: boolean
}

export class RecordWriter {
  readonly writer: number
  /** Offsets by number, as told. */
  readonly acknowledged = new Map<number, number>()
  readonly failed = new Map<string, number>()
  readonly #client: Client
  readonly #random: Random
  readonly #options: RecordWriterOptions
  #appender: Appender | undefined
  #next = 0
  #isStopped = false

  constructor(client: Client, random: Random, options: RecordWriterOptions) {
    this.#client = client
    this.#random = random
    this.#options = options
    this.writer = options.writer
  }

  stop(): void {
    this.#isStopped = true
  }

  /** @throws Violation */
  async run(): Promise<void> {
    const { records = Number.POSITIVE_INFINITY, inFlight, pauseMsMax } = this.#options
    while (!this.#isStopped && this.acknowledged.size < records) {
      const left = records - this.acknowledged.size
      try {
        this.#appender ??= await this.#client.openAppender(this.#options.path, { sync: this.#options.sync })
        const appender = this.#appender
        const count = Math.min(left, 1 + this.#random.below(inFlight))
        await every(Array.from({ length: count }, () => this.#append(appender)))
      } catch (error) {
        await this.#excuse(error)
      }
      await new Promise((resolve) => setTimeout(resolve, this.#random.below(pauseMsMax + 1)))
    }
    await this.#appender?.close().catch((error: unknown) => this.#excuse(error))
    this.#appender = undefined
  }

  /** Goes on with another appender, unless nothing excuses what this one met. */
  async #excuse(error: unknown): Promise<void> {
    if (!isExcused(error)) throw violationOf(`writer ${this.writer} of ${this.#options.path}`, error)
    this.failed.set(error.code, (this.failed.get(error.code) ?? 0) + 1)
    await this.#appender?.close().catch((late: unknown) => {
      if (!isExcused(late)) throw violationOf(`writer ${this.writer} of ${this.#options.path}, closing`, late)
    })
    this.#appender = undefined
  }

  async #append(appender: Appender): Promise<void> {
    const number = this.#next++
    const { bytesMax } = this.#options
    const most = this.#random.chance(0.02) ? bytesMax * 30 : bytesMax
    const bytes = RECORD_BYTES_MIN + this.#random.below(Math.max(1, most - RECORD_BYTES_MIN))
    const offset = await appender.append(recordOf(this.writer, number, bytes))
    this.acknowledged.set(number, offset)
  }
}

/** Waits for all of them, and then fails with the first failure. */
async function every(promises: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(promises)
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

/** Every record of `file` is whole, and none is there twice. @returns offsets by `writer:number` @throws Violation */
export function parseRecords(path: string, file: Buffer): Map<string, number> {
  const found = new Map<string, number>()
  const last = new Map<number, number>()
  for (let at = 0; at < file.length; ) {
    const head = /^\[(\d+):(\d+):(\d+):/.exec(file.toString('latin1', at, Math.min(file.length, at + 60)))
    if (head === null) throw new Violation(`${path}: no record begins at byte ${at} of ${file.length}`)
    const [writer, number, bytes] = head.slice(1).map(Number) as [number, number, number]
    const name = `${writer}:${number}`
    if (Buffer.compare(file.subarray(at, at + bytes), recordOf(writer, number, bytes)) !== 0)
      throw new Violation(`${path}: record ${name} at byte ${at} is not whole`)
    if (found.has(name)) throw new Violation(`${path}: record ${name} is there twice, at ${found.get(name)} and ${at}`)
    const before = last.get(writer) ?? -1
    if (number <= before) throw new Violation(`${path}: record ${name} at ${at} comes behind ${writer}:${before}`)
    found.set(name, at)
    last.set(writer, number)
    at += bytes
  }
  return found
}

/** The file is what its writers were told. @returns its records, acknowledged or not @throws Violation */
export function checkRecords(path: string, file: Buffer, writers: readonly RecordWriter[]): number {
  const found = parseRecords(path, file)
  for (const { writer, acknowledged } of writers) {
    for (const [number, offset] of acknowledged) {
      const at = found.get(`${writer}:${number}`)
      if (at === undefined)
        throw new Violation(`${path}: record ${writer}:${number}, acknowledged at ${offset}, is gone`)
      if (at !== offset)
        throw new Violation(`${path}: record ${writer}:${number} was acknowledged at ${offset} and is at ${at}`)
    }
  }
  return found.size
}
