// One client at work on files of its own, and what they must hold: every byte of every one is known beforehand.
//
// A change that was answered has happened. One that failed in a way that leaves it open may have: then the file has two
// possible contents, or one of two names, until somebody looks. Every other failure is a violation, and so is a read
// that finds anything else.

import { type DfsError, isDfsError } from '../../src/base/errors.ts'
import type { Random } from '../../src/base/random.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import type { Client } from '../../src/client/client.ts'
import { patternBytes } from '../cluster/harness.ts'

/** Something that must never be was seen. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

const FILES_MAX = 24

interface Entry {
  /** What it may hold; more than one after a change with an open outcome. */
  candidates: Buffer[]
  mayBeMissing: boolean
}

/** Failures that the cluster's state excuses; others say that something acknowledged is gone or wrong. */
export function isExcused(error: unknown): error is DfsError {
  return isDfsError(error) && (error.retriable || error.code === 'OUTCOME_UNKNOWN' || error.code === 'SESSION_ENDED')
}

export class FileLoad {
  readonly directory: string
  done = 0
  /** By code. */
  readonly failed = new Map<string, number>()
  readonly #client: Client
  readonly #random: Random
  readonly #files = new Map<string, Entry>()
  /** Renames with an open outcome: the file is at one of both. */
  #moved: { readonly from: string; readonly to: string; readonly entry: Entry }[] = []
  #count = 0
  #isStopped = false

  constructor(client: Client, directory: string, random: Random) {
    this.#client = client
    this.directory = directory
    this.#random = random
  }

  async prepare(): Promise<void> {
    await this.#client.makeDirectory(this.directory, { parents: true })
  }

  /** Works until `stop`. @throws Violation */
  async run(): Promise<void> {
    this.#isStopped = false
    while (!this.#isStopped) {
      try {
        await this.#step()
        this.done++
      } catch (error) {
        if (!isExcused(error)) throw violationOf(this.directory, error)
        this.failed.set(error.code, (this.failed.get(error.code) ?? 0) + 1)
      }
      // One that answers from memory must not keep the others from the processor.
      await new Promise((resolve) => setTimeout(resolve, this.#random.below(20)))
    }
  }

  /** The step under way is the last. */
  stop(): void {
    this.#isStopped = true
  }

  /** Every file is there with its bytes, and no other. Only while nothing runs. @returns bytes that were compared */
  async check(): Promise<number> {
    const found = new Set<string>()
    for await (const { name } of this.#client.listAll(this.directory)) found.add(`${this.directory}/${name}`)
    for (const { from, to, entry } of this.#moved.splice(0)) {
      const isMoved = found.has(to)
      if (isMoved && found.has(from)) throw new Violation(`${from} was renamed to ${to} and is at both`)
      this.#files.set(isMoved ? to : from, entry)
    }
    let bytes = 0
    for (const [path, entry] of this.#files) {
      if (!found.delete(path)) {
        if (!entry.mayBeMissing) throw new Violation(`${path} was acknowledged and is gone`)
        this.#files.delete(path)
        continue
      }
      const content = await this.#client.readFile(path)
      this.#compare(path, entry, content)
      entry.candidates = [content]
      entry.mayBeMissing = false
      bytes += content.length
    }
    for (const path of found) throw new Violation(`${path} is there and should not be`)
    return bytes
  }

  #step(): Promise<void> {
    const certain = [...this.#files].filter(([, entry]) => entry.candidates.length === 1 && !entry.mayBeMissing)
    if (certain.length === 0) return this.#write(this.#newPath())
    const [path, entry] = this.#random.pick(certain)
    const bytes = entry.candidates[0]!
    const kind = this.#random.below(20)
    if (kind < 4) return this.#write(certain.length < FILES_MAX && kind < 3 ? this.#newPath() : path)
    if (kind < 7) return this.#append(path, bytes)
    if (kind < 9) return this.#writeAt(path, bytes)
    if (kind < 11) return this.#rename(path, entry)
    if (kind < 12) return this.#truncate(path, bytes)
    if (kind < 13) return certain.length < FILES_MAX ? this.#copy(path, bytes) : this.#remove(path, entry)
    if (kind < 14) return this.#remove(path, entry)
    return this.#read(path, entry)
  }

  #newPath(): string {
    return `${this.directory}/f${this.#count++}`
  }

  /** Mostly small, sometimes of several chunks. */
  #bytes(): Buffer {
    const kind = this.#random.below(10)
    const most = kind < 5 ? 8 * KiB : kind < 9 ? 300 * KiB : 3 * MiB
    return patternBytes(this.#random.below(most), this.#random.next())
  }

  async #change(path: string, after: Buffer, call: () => Promise<unknown>): Promise<void> {
    const before = this.#files.get(path)
    try {
      await call()
      this.#files.set(path, { candidates: [after], mayBeMissing: false })
    } catch (error) {
      const candidates = [...(before?.candidates ?? []), after]
      this.#files.set(path, { candidates, mayBeMissing: before?.mayBeMissing ?? true })
      throw error
    }
  }

  #write(path: string): Promise<void> {
    const bytes = this.#bytes()
    return this.#change(path, bytes, () => this.#client.writeFile(path, bytes, { overwrite: true }))
  }

  #append(path: string, bytes: Buffer): Promise<void> {
    const more = this.#bytes()
    return this.#change(path, Buffer.concat([bytes, more]), () => this.#client.append(path, more))
  }

  #writeAt(path: string, bytes: Buffer): Promise<void> {
    const offset = this.#random.below(bytes.length + 4 * KiB)
    const piece = patternBytes(1 + this.#random.below(64 * KiB), this.#random.next())
    const after = Buffer.alloc(Math.max(bytes.length, offset + piece.length))
    bytes.copy(after)
    piece.copy(after, offset)
    return this.#change(path, after, () => this.#client.writeAt(path, offset, piece))
  }

  #truncate(path: string, bytes: Buffer): Promise<void> {
    const after = Buffer.alloc(this.#random.below(bytes.length + 16 * KiB))
    bytes.copy(after)
    return this.#change(path, after, () => this.#client.truncate(path, after.length))
  }

  #copy(path: string, bytes: Buffer): Promise<void> {
    const to = this.#newPath()
    return this.#change(to, bytes, () => this.#client.copy(path, to))
  }

  async #rename(path: string, entry: Entry): Promise<void> {
    const to = this.#newPath()
    this.#files.delete(path)
    try {
      await this.#client.rename(path, to)
      this.#files.set(to, entry)
    } catch (error) {
      this.#moved.push({ from: path, to, entry })
      throw error
    }
  }

  async #remove(path: string, entry: Entry): Promise<void> {
    try {
      await this.#client.remove(path, { now: this.#random.chance(0.5) })
      this.#files.delete(path)
    } catch (error) {
      entry.mayBeMissing = true
      throw error
    }
  }

  async #read(path: string, entry: Entry): Promise<void> {
    this.#compare(path, entry, await this.#client.readFile(path))
  }

  #compare(path: string, entry: Entry, found: Buffer): void {
    if (entry.candidates.some((bytes) => Buffer.compare(bytes, found) === 0)) return
    const [expected = Buffer.alloc(0)] = entry.candidates
    let at = 0
    while (at < Math.min(expected.length, found.length) && expected[at] === found[at]) at++
    const sizes = entry.candidates.map((bytes) => bytes.length).join(' or ')
    throw new Violation(`${path}: ${found.length} bytes read, ${sizes} expected; they differ from byte ${at} on`)
  }
}

export function violationOf(what: string, error: unknown): Error {
  if (!isDfsError(error)) return error instanceof Error ? error : new Error(String(error))
  return new Violation(`${what}: ${error.code} ${error.message}`, { cause: error })
}
