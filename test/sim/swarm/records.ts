// Many writers that append records to one file, and one who follows its end: each acknowledged record is in the file
// exactly once, whole, in its writer's order; one that was not acknowledged once or not at all.
//
// A record names its writer and its number and says how long it is, so that the file can be read back as records.

import type { Random } from '../../../src/base/random.ts'
import type { Appender } from '../../../src/client/appender.ts'
import type { Client } from '../../../src/client/client.ts'
import type { SimWorld } from '../world.ts'
import type { SwarmPlan } from './plan.ts'
import { mustBeMisfortune, Violation } from './violation.ts'

/** `[writer:number:length:` and filling up to that length, and a newline. */
function recordOf(writer: number, number: number, bytes: number): Buffer {
  const head = `[${writer}:${number}:${bytes}:`
  return Buffer.from(`${head.padEnd(bytes - 1, String.fromCharCode(97 + (number % 26)))}\n`)
}

interface Found {
  readonly writer: number
  readonly number: number
  readonly offset: number
}

/** Bytes as records, whole ones only. */
function parse(path: string, file: Buffer): Found[] {
  const found: Found[] = []
  for (let at = 0; at < file.length; ) {
    const head = /^\[(\d+):(\d+):(\d+):/.exec(file.toString('latin1', at, at + 60))
    const [writer, number, bytes] = (head?.slice(1).map(Number) ?? []) as [number?, number?, number?]
    if (writer === undefined || number === undefined || bytes === undefined)
      throw new Violation(`${path}: no record at ${at}: ${JSON.stringify(file.toString('latin1', at, at + 40))}`)
    if (Buffer.compare(file.subarray(at, at + bytes), recordOf(writer, number, bytes)) !== 0)
      throw new Violation(`${path}: record ${writer}:${number} at ${at} is not whole`)
    found.push({ writer, number, offset: at })
    at += bytes
  }
  return found
}

class RecordWriter {
  /** Where each acknowledged record is, by its number. */
  readonly acknowledged = new Map<number, number>()
  readonly #load: RecordLoad
  readonly #client: Client
  readonly #id: number
  readonly #random: Random
  #next = 0

  constructor(load: RecordLoad, client: Client, id: number, random: Random) {
    this.#load = load
    this.#client = client
    this.#id = id
    this.#random = random
  }

  async run(): Promise<void> {
    const { path, world, plan } = this.#load
    let appender: Appender | undefined
    while (!this.#load.isStopped) {
      try {
        appender ??= await this.#client.openAppender(path, { sync: plan.isSync })
        const open = appender
        const count = 1 + this.#random.below(4)
        const results = await Promise.allSettled(Array.from({ length: count }, () => this.#append(open)))
        for (const result of results) if (result.status === 'rejected') throw result.reason
        if (this.#random.chance(0.1)) await open.sync()
      } catch (error) {
        mustBeMisfortune(`appending a record to ${path}`, error)
        await appender?.close().catch((fault: unknown) => mustBeMisfortune(`closing the appender of ${path}`, fault))
        appender = undefined
      }
      await world.sleep(this.#random.below(2 * plan.paceMs))
    }
    await appender?.close().catch((fault: unknown) => mustBeMisfortune(`closing the appender of ${path}`, fault))
  }

  async #append(appender: Appender): Promise<void> {
    const number = this.#next++
    const bytes = 40 + this.#random.below(this.#random.chance(0.1) ? 3000 : 200)
    this.acknowledged.set(number, await appender.append(recordOf(this.#id, number, bytes)))
  }
}

export class RecordLoad {
  readonly path: string
  readonly world: SimWorld
  readonly plan: SwarmPlan
  readonly #writers: RecordWriter[]
  readonly #follower: Client
  /** What the follower has seen. */
  #seen: Buffer[] = []
  #seenBytes = 0
  isStopped = false

  /** @param clients  at least one; writers share them */
  constructor(world: SimWorld, clients: readonly Client[], path: string, plan: SwarmPlan) {
    this.world = world
    this.path = path
    this.plan = plan
    this.#follower = clients[0]!
    this.#writers = Array.from(
      { length: plan.recordWriters },
      (_, id) => new RecordWriter(this, clients[id % clients.length]!, id, world.random.fork()),
    )
  }

  get acknowledged(): number {
    return this.#writers.reduce((sum, writer) => sum + writer.acknowledged.size, 0)
  }

  /** Makes the file; before any fault. */
  async prepare(): Promise<void> {
    await this.#follower.writeFile(this.path, new Uint8Array(0))
  }

  async run(): Promise<void> {
    this.isStopped = false
    await Promise.all([...this.#writers.map((writer) => writer.run()), this.#follow()])
  }

  /** Reads what has come behind what it has seen: the file only grows. */
  async #follow(): Promise<void> {
    const random = this.world.random.fork()
    while (!this.isStopped) {
      await this.world.sleep(random.below(8 * this.plan.paceMs))
      try {
        const reader = await this.#follower.openReader(this.path)
        if (reader.size < this.#seenBytes)
          throw new Violation(`${this.path}: ${reader.size} bytes now, ${this.#seenBytes} were seen before`)
        const more = await reader.read(this.#seenBytes, reader.size - this.#seenBytes)
        this.#seen.push(more)
        this.#seenBytes += more.length
      } catch (error) {
        if (error instanceof Violation) throw error
        mustBeMisfortune(`following ${this.path}`, error)
      }
    }
  }

  /** After everything is healed. @returns records in the file */
  async check(client: Client): Promise<number> {
    const file = await client.readFile(this.path)
    const places = new Map<string, number>()
    const last = new Map<number, number>()
    for (const { writer, number, offset } of parse(this.path, file)) {
      const name = `${writer}:${number}`
      if (places.has(name)) throw new Violation(`record ${name} is there twice: at ${places.get(name)} and ${offset}`)
      places.set(name, offset)
      if (number <= (last.get(writer) ?? -1)) throw new Violation(`record ${name} comes after ${last.get(writer)}`)
      last.set(writer, number)
    }
    this.#writers.forEach((writer, id) => {
      for (const [number, offset] of writer.acknowledged) {
        const at = places.get(`${id}:${number}`)
        if (at === offset) continue
        throw new Violation(`record ${id}:${number} was acknowledged at ${offset} and is at ${at ?? 'no place'}`)
      }
    })
    const seen = Buffer.concat(this.#seen)
    if (Buffer.compare(file.subarray(0, seen.length), seen) !== 0)
      throw new Violation(`${this.path}: other bytes than the ${seen.length} that were seen while it grew`)
    return places.size
  }
}
