// Builds logs for tests: a clock moved by hand, a fixed source of chance, records that tell their index.

import type { DfsError } from '../../src/base/errors.ts'
import type { ClusterId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import { Random } from '../../src/base/random.ts'
import type { Clock } from '../../src/io/clock.ts'
import type { Entropy } from '../../src/io/entropy.ts'
import type { LogRecord } from '../../src/oplog/format.ts'
import { OpLog, type OpLogOptions } from '../../src/oplog/oplog.ts'
import type { DiskCall, MemoryDisk } from './memory-disk.ts'

export const directory = '/log'
export const clusterId = '000102030405060708090a0b0c0d0e0f' as ClusterId
export const otherClusterId = 'f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff' as ClusterId

/** Timers fire when `advance` passes them, in order. */
export class HandClock implements Clock {
  #nowMs = 0
  #timers: { atMs: number; callback: () => void }[] = []

  nowMs(): number {
    return this.#nowMs
  }
  wallMs(): number {
    return this.#nowMs
  }
  after(delayMs: number, callback: () => void): { cancel(): void } {
    const timer = { atMs: this.#nowMs + delayMs, callback }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, resolve))
  }
  defer(callback: () => void): void {
    setImmediate(callback)
  }
  timeoutSignal(): AbortSignal {
    return new AbortController().signal
  }
  advance(ms: number): void {
    this.#nowMs += ms
    const due = this.#timers.filter((timer) => timer.atMs <= this.#nowMs)
    this.#timers = this.#timers.filter((timer) => timer.atMs > this.#nowMs)
    for (const timer of due) timer.callback()
  }
}

export function seededEntropy(seed: number): Entropy {
  const random = new Random(seed)
  return {
    below: (bound) => random.below(bound),
    bytes: (count) => Buffer.from(Array.from({ length: count }, () => random.below(256))),
  }
}

export interface TestLog {
  readonly log: OpLog
  readonly clock: HandClock
  readonly synced: number[]
  readonly refused: number[]
  readonly failed: DfsError[]
}

export function logOptions(disk: MemoryDisk, more: Partial<OpLogOptions> = {}): OpLogOptions {
  return {
    disk,
    clock: new HandClock(),
    entropy: seededEntropy(7),
    logger: silentLogger,
    directory,
    clusterId,
    events: { onSynced() {}, onRefused() {}, onFailed() {} },
    ...more,
  }
}

export async function formatLog(disk: MemoryDisk): Promise<void> {
  await OpLog.format({ disk, directory, clusterId, entropy: seededEntropy(1) })
}

export async function openLog(disk: MemoryDisk, more: Partial<OpLogOptions> = {}): Promise<TestLog> {
  const clock = new HandClock()
  const synced: number[] = []
  const refused: number[] = []
  const failed: DfsError[] = []
  const events = {
    onSynced: (index: number) => void synced.push(index),
    onRefused: (index: number) => void refused.push(index),
    onFailed: (error: DfsError) => void failed.push(error),
  }
  const log = await OpLog.open(logOptions(disk, { clock, events, ...more }))
  return { log, clock, synced, refused, failed }
}

/** Lets promises and deferred calls run until nothing is left to run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Does something once, at the next call of that kind: while the disk is busy. */
export function during(disk: MemoryDisk, call: DiskCall, act: () => void): void {
  const before = disk.fault
  disk.fault = (made, path) => {
    if (made !== call) return before(made, path)
    disk.fault = before
    act()
    return disk.fault(made, path)
  }
}

/** The payload that record `index` has in these tests: some are a few bytes, some cross pages. */
export function payloadOf(index: number): Buffer {
  return Buffer.from(`record ${index} `.repeat(1 + (index % 5) * (index % 7 === 0 ? 300 : 3)))
}

export function record(index: number, term = 1): { term: number; kind: number; version: number; payload: Buffer } {
  return { term, kind: index % 7, version: 1, payload: payloadOf(index) }
}

/** Appends records in batches of the given sizes, each synced before the next. */
export async function appendBatches(log: OpLog, sizes: readonly number[]): Promise<void> {
  for (const size of sizes) {
    let last = 0
    for (let count = 0; count < size; count++) last = log.append(record(log.lastIndex + 1))
    await log.whenSynced(last)
  }
}

/** All records of a log; throws when one is not what `record` makes, or out of order. */
export async function readIndexes(log: OpLog, fromIndex = 1): Promise<number[]> {
  const indexes: number[] = []
  for await (const records of log.read(fromIndex)) for (const found of records) indexes.push(checked(found))
  return indexes
}

export function checked({ index, kind, payload }: LogRecord): number {
  if (kind !== index % 7 || Buffer.compare(payload, payloadOf(index)) !== 0) throw new Error(`record ${index} is wrong`)
  return index
}

/** 1 .. last */
export function upTo(last: number): number[] {
  return Array.from({ length: last }, (_, index) => index + 1)
}
