// One client's load on files of its own: everything the library can do to a file, checked against a model of plain bytes.
//
// Every call asks for what can be, as far as the model knows; so an answer that says otherwise is a change that happened
// twice, or one that was lost. Snapshots are kept as they were taken, to see that later changes don't reach them.

import { isDfsError } from '../../../src/base/errors.ts'
import type { Random } from '../../../src/base/random.ts'
import { HOUR_MS } from '../../../src/base/units.ts'
import type { Client } from '../../../src/client/client.ts'
import type { SimWorld } from '../world.ts'
import { type Change, type Content, FileModel, faultOf, someBytes } from './model.ts'
import type { FileOperation, SwarmPlan } from './plan.ts'
import { mustBeMisfortune, Violation } from './violation.ts'

interface Snapshot {
  readonly directory: string
  /** By name in the directory. */
  readonly files: ReadonlyMap<string, readonly Content[]>
}

interface Removed {
  readonly trash: number
  readonly path: string
  readonly bytes: Buffer
  readonly atMs: number
}

const SNAPSHOTS_MAX = 2
const REMOVED_MAX = 10
const RESTORE_MS_MAX = HOUR_MS

export class FileLoad {
  readonly model = new FileModel()
  readonly directory: string
  readonly #world: SimWorld
  readonly #client: Client
  readonly #plan: SwarmPlan
  readonly #random: Random
  readonly #menu: readonly FileOperation[]
  #snapshots: Snapshot[] = []
  #removed: Removed[] = []
  #count = 0
  isStopped = false
  done = 0
  failed = 0

  constructor(world: SimWorld, client: Client, directory: string, plan: SwarmPlan) {
    this.#world = world
    this.#client = client
    this.directory = directory
    this.#plan = plan
    this.#random = world.random.fork()
    this.#menu = plan.operations.flatMap(([operation, weight]) => Array.from({ length: weight }, () => operation))
  }

  async run(): Promise<void> {
    this.isStopped = false
    while (!this.isStopped) {
      await this.#oneStep()
      await this.#world.sleep(this.#random.below(2 * this.#plan.paceMs))
    }
  }

  async #oneStep(): Promise<void> {
    const { known, paths } = this.model
    let operation = known.length === 0 ? 'write' : this.#random.pick(this.#menu)
    if (paths.length >= this.#plan.filesMax && known.length > 0) operation = this.#random.pick([operation, 'remove'])
    try {
      await this.#client.makeDirectory(this.directory, { parents: true })
      await this.#carryOut(operation, known)
      this.done++
    } catch (error) {
      if (error instanceof Violation) throw error
      mustBeMisfortune(`${operation} below ${this.directory}`, error)
      this.failed++
    }
  }

  #carryOut(operation: FileOperation, known: readonly string[]): Promise<void> {
    const path = known.length === 0 ? '' : this.#random.pick(known)
    const bytes = this.model.bytes(path) ?? Buffer.alloc(0)
    switch (operation) {
      case 'write':
        return this.#write()
      case 'small':
        return this.#putMany()
      case 'stream':
        return this.#stream()
      case 'append': {
        const more = this.#bytes()
        return this.#change([[path, Buffer.concat([bytes, more])]], () => this.#client.append(path, more))
      }
      case 'overwrite':
        return this.#overwrite(path, bytes)
      case 'truncate': {
        const after = Buffer.alloc(this.#random.below(bytes.length + 5000))
        bytes.copy(after)
        return this.#change([[path, after]], () => this.#client.truncate(path, after.length))
      }
      case 'rename':
        return this.#rename(path, bytes, known)
      case 'copy': {
        const to = this.#newPath()
        return this.#change([[to, bytes]], () => this.#client.copy(path, to))
      }
      case 'snapshot':
        return this.#snapshot()
      case 'concat':
        return this.#concat(path, bytes, known)
      case 'remove':
        return this.#remove(path, bytes)
      case 'restore':
        return this.#restore()
      case 'read':
        return this.#read(path, bytes)
      case 'look':
        return this.#look(path, bytes)
    }
  }

  #bytes(): Buffer {
    return someBytes(this.#random, this.#plan.fileBytesMax)
  }

  #newPath(): string {
    return `${this.directory}/f${this.#count++}`
  }

  /** A change of files in one step: as asked when it is answered, as asked or as before when not. */
  async #change(changes: readonly (readonly [string, Content])[], call: () => Promise<unknown>): Promise<void> {
    const change = this.model.begin(changes)
    await this.#settled(change, call)
  }

  async #settled<T>(change: Change, call: () => Promise<T>): Promise<T> {
    try {
      const answer = await call()
      change.happened()
      return answer
    } catch (error) {
      change.unknown()
      throw error
    }
  }

  #write(): Promise<void> {
    const { paths } = this.model
    const path = paths.length > 0 && this.#random.chance(0.3) ? this.#random.pick(paths) : this.#newPath()
    const bytes = this.#bytes()
    return this.#change([[path, bytes]], () => this.#client.writeFile(path, bytes, { overwrite: true }))
  }

  async #putMany(): Promise<void> {
    const files = Array.from({ length: 2 + this.#random.below(4) }, () => ({
      path: this.#newPath(),
      data: this.#random.bytes(this.#random.below(1500)),
    }))
    const changes = new Map(files.map(({ path, data }) => [path, this.model.begin([[path, data]])]))
    await this.#client.putMany(files, { onDone: ({ path }) => changes.get(path)?.happened() })
  }

  /** A writer that writes in pieces, with flushes between them, and is closed or given up. */
  async #stream(): Promise<void> {
    const path = this.#newPath()
    const writer = this.#client.createWriter(path)
    let bytes = Buffer.alloc(0)
    try {
      for (let pieces = 1 + this.#random.below(4); pieces > 0; pieces--) {
        const piece = this.#bytes()
        bytes = Buffer.concat([bytes, piece])
        await writer.write(piece)
        if (this.#random.chance(0.4)) await this.#change([[path, bytes]], () => writer.flush())
      }
      if (this.#random.chance(0.8)) await this.#change([[path, bytes]], () => writer.close())
    } finally {
      await writer.abort()
    }
  }

  #overwrite(path: string, bytes: Buffer): Promise<void> {
    const offset = this.#random.below(bytes.length + 2000)
    const piece = this.#random.bytes(1 + this.#random.below(this.#plan.fileBytesMax / 4))
    const after = Buffer.alloc(Math.max(bytes.length, offset + piece.length))
    bytes.copy(after)
    piece.copy(after, offset)
    return this.#change([[path, after]], () => this.#client.writeAt(path, offset, piece))
  }

  #rename(path: string, bytes: Buffer, known: readonly string[]): Promise<void> {
    const others = known.filter((other) => other !== path)
    const to = others.length > 0 && this.#random.chance(0.3) ? this.#random.pick(others) : this.#newPath()
    const changes = [
      [path, null],
      [to, bytes],
    ] as const
    return this.#change(changes, () => this.#client.rename(path, to, { overwrite: true }))
  }

  async #snapshot(): Promise<void> {
    if (this.#snapshots.length >= SNAPSHOTS_MAX) {
      const { directory } = this.#snapshots.shift()!
      await this.#client.remove(directory, { recursive: true, now: this.#random.chance(0.5) })
      return
    }
    const directory = `${this.directory}-s${this.#count++}`
    await this.#client.snapshot(this.directory, directory)
    const files = this.model.paths.map(
      (path) => [path.slice(this.directory.length + 1), this.model.contents(path)] as const,
    )
    this.#snapshots.push({ directory, files: new Map(files) })
  }

  #concat(path: string, bytes: Buffer, known: readonly string[]): Promise<void> {
    const sources = known.filter((other) => other !== path).slice(0, 1 + this.#random.below(3))
    if (sources.length === 0) return this.#read(path, bytes)
    const after = Buffer.concat([bytes, ...sources.map((source) => this.model.bytes(source)!)])
    const changes: [string, Content][] = [[path, after], ...sources.map((source): [string, Content] => [source, null])]
    return this.#change(changes, () => this.#client.concat(path, sources))
  }

  async #remove(path: string, bytes: Buffer): Promise<void> {
    const change = this.model.begin([[path, null]])
    const now = this.#random.chance(0.3)
    const trash = await this.#settled(change, () => this.#client.remove(path, { now }))
    if (now) return
    this.#removed.push({ trash, path, bytes, atMs: this.#world.nowMs })
    if (this.#removed.length > REMOVED_MAX) this.#removed.shift()
  }

  async #restore(): Promise<void> {
    const entry = this.#removed.pop()
    if (entry === undefined || this.#world.nowMs - entry.atMs > RESTORE_MS_MAX) return
    const to = this.#newPath()
    const change = this.model.begin([[to, entry.bytes]])
    try {
      await this.#settled(change, () => this.#client.trashRestore(entry.trash, { to }))
    } catch (error) {
      // What was removed gives way when a disk is full, its time is over, or an operator doesn't want it any more.
      const { faults, retentionMs } = this.#plan
      const mayBeGone = faults.includes('diskFull') || faults.includes('emptyTrash') || retentionMs < RESTORE_MS_MAX
      if (isDfsError(error, 'NOT_FOUND') && mayBeGone) return
      throw error
    }
  }

  async #read(path: string, bytes: Buffer): Promise<void> {
    const offset = this.#random.chance(0.5) ? 0 : this.#random.below(bytes.length + 1)
    const length = offset === 0 ? bytes.length : this.#random.below(bytes.length - offset + 1)
    const found = await this.#client.readFile(path, { offset, length })
    const fault = faultOf(path, [bytes], found, offset, length)
    if (fault !== undefined) throw new Violation(fault)
  }

  async #look(path: string, bytes: Buffer): Promise<void> {
    const { size } = await this.#client.stat(path)
    if (size !== bytes.length)
      throw new Violation(`${path}: stat says ${size} bytes, ${bytes.length} were acknowledged`)
    await this.#checkNames(this.#client)
  }

  async #checkNames(client: Client): Promise<void> {
    const found = new Set<string>()
    for await (const { name } of client.listAll(this.directory)) found.add(`${this.directory}/${name}`)
    for (const path of this.model.paths) {
      if (!found.has(path) && !this.model.contents(path).includes(null))
        throw new Violation(`${path} was acknowledged and is not in its directory`)
    }
    for (const path of found) {
      if (this.model.contents(path).every((content) => content === null))
        throw new Violation(`${path} is in its directory and should not be`)
    }
  }

  /** After everything is healed: every file that must be there is, with the bytes it must have, and no other. @returns files */
  async check(client: Client): Promise<number> {
    if (!(await client.exists(this.directory))) {
      if (this.model.known.length > 0) throw new Violation(`${this.directory} was acknowledged and is gone`)
      return 0
    }
    await this.#checkNames(client)
    let checked = 0
    for (const path of this.model.paths) checked += await checkFile(client, path, this.model.contents(path))
    for (const { directory, files } of this.#snapshots)
      for (const [name, contents] of files) checked += await checkFile(client, `${directory}/${name}`, contents)
    return checked
  }
}

async function checkFile(client: Client, path: string, contents: readonly Content[]): Promise<number> {
  const fault = faultOf(path, contents, await readOrNull(client, path))
  if (fault !== undefined) throw new Violation(fault)
  return 1
}

/** The file's bytes; null when there is none. */
export async function readOrNull(client: Client, path: string): Promise<Content> {
  try {
    return await client.readFile(path)
  } catch (error) {
    if (isDfsError(error, 'NOT_FOUND')) return null
    throw error
  }
}
