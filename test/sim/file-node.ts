// The bytes of one simulated file: what is seen now (the page cache), what is durable, and the changes between.
//
// Invariants:
//   - the durable bytes with all unsynced and forgotten changes applied in order are the seen bytes
//   - only `makeDurable` and `losePower` (and the test's own hands) change durable bytes
//
// A change is forgotten when a sync failed and the system marked the page clean: it is seen until power is lost and
// no later sync writes it (Rebello et al., ATC 2020).

import type { Random } from '../../src/base/random.ts'

type Change =
  | { readonly kind: 'write'; readonly position: number; readonly bytes: Buffer; isForgotten: boolean }
  | { readonly kind: 'truncate'; readonly length: number; isForgotten: boolean }

export interface PowerLossChances {
  readonly keepChance: number
  readonly tearChance: number
  readonly garbageChance: number
}

const SECTOR_BYTES = 512

export class FileNode {
  readonly kind = 'file'
  readonly number: number
  mtimeMs = 0
  readonly #seen = new Bytes()
  readonly #durable = new Bytes()
  readonly #onLength: () => void
  #changes: Change[] = []

  /** @param onLength  told when its length may have changed */
  constructor(number: number, onLength: () => void = () => {}) {
    this.number = number
    this.#onLength = onLength
  }

  get length(): number {
    return this.#seen.length
  }

  /** Changes not known to be durable. */
  get changeCount(): number {
    return this.#changes.length
  }

  /** Copies what is seen at `position`. @returns bytes copied */
  read(into: Uint8Array, position: number): number {
    return this.#seen.read(into, position)
  }

  /** Writes `bytes`, which the node keeps: the caller must not change them. */
  write(position: number, bytes: Buffer): void {
    if (bytes.length === 0) return
    if (position + bytes.length > this.#seen.length) this.#onLength()
    this.#seen.write(position, bytes)
    this.#changes.push({ kind: 'write', position, bytes, isForgotten: false })
  }

  truncate(length: number): void {
    this.#onLength()
    this.#seen.resize(length)
    this.#changes.push({ kind: 'truncate', length, isForgotten: false })
  }

  /** A mark for `makeDurable`: the changes so far. */
  mark(): readonly unknown[] {
    return [...this.#changes]
  }

  /** A sync that began at `mark` succeeds: what was changed until then is durable, what was forgotten stays so. */
  makeDurable(mark: readonly unknown[]): void {
    const synced = new Set(mark)
    const rest: Change[] = []
    for (const change of this.#changes) {
      if (synced.has(change) && !change.isForgotten) applyTo(this.#durable, change)
      else rest.push(change)
    }
    this.#changes = rest
  }

  /** A sync fails: each change until `mark` has reached the disk, is still waiting, or is forgotten. */
  failSync(mark: readonly unknown[], random: Random): void {
    const tried = new Set(mark)
    const rest: Change[] = []
    for (const change of this.#changes) {
      const fate = random.below(3)
      if (tried.has(change) && !change.isForgotten && fate === 0) applyTo(this.#durable, change)
      else {
        if (tried.has(change) && fate === 1) change.isForgotten = true
        rest.push(change)
      }
    }
    this.#changes = rest
  }

  /** Each unsynced change is kept, torn or lost, for itself; the rest is what is seen from now on. */
  losePower(random: Random, chances: PowerLossChances): void {
    for (const change of this.#changes) {
      if (change.isForgotten) continue
      if (random.chance(chances.keepChance)) applyTo(this.#durable, change)
      else if (change.kind === 'write') this.#tear(change.position, change.bytes, random, chances)
    }
    this.#changes = []
    this.#onLength()
    this.#seen.copyFrom(this.#durable)
  }

  /** Turns one bit, on the disk and in the cache. */
  flipBit(position: number, bit: number): void {
    this.#seen.flip(position, bit)
    this.#durable.flip(position, bit)
  }

  /** Makes the whole content `bytes`, durable. */
  replace(bytes: Uint8Array): void {
    this.#changes = []
    this.#durable.resize(0)
    this.#durable.write(0, bytes)
    this.#onLength()
    this.#seen.copyFrom(this.#durable)
  }

  #tear(position: number, bytes: Buffer, random: Random, chances: PowerLossChances): void {
    const end = position + bytes.length
    if (random.chance(chances.tearChance)) {
      if (random.chance(0.5)) {
        const length = random.below(bytes.length + 1)
        this.#durable.write(position, bytes.subarray(0, length))
      } else {
        for (let start = position; start < end; ) {
          const next = Math.min(end, (Math.floor(start / SECTOR_BYTES) + 1) * SECTOR_BYTES)
          if (random.chance(0.5)) this.#durable.write(start, bytes.subarray(start - position, next - position))
          start = next
        }
      }
    }
    // The length may have reached the disk without the bytes.
    const from = Math.max(this.#durable.length, position)
    if (end > from && random.chance(0.3)) {
      const isGarbage = random.chance(chances.garbageChance)
      const fill = Buffer.alloc(end - from)
      if (isGarbage) for (let index = 0; index < fill.length; index++) fill[index] = (index * 167 + 89) & 255
      this.#durable.write(from, fill)
    }
  }
}

function applyTo(bytes: Bytes, change: Change): void {
  if (change.kind === 'write') bytes.write(change.position, change.bytes)
  else bytes.resize(change.length)
}

/** A growing run of bytes; holes are zeros. */
class Bytes {
  length = 0
  #buffer = Buffer.alloc(0)

  read(into: Uint8Array, position: number): number {
    const end = Math.min(this.length, position + into.length)
    if (end <= position) return 0
    into.set(this.#buffer.subarray(position, end))
    return end - position
  }

  write(position: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return
    const end = position + bytes.length
    if (end > this.length) this.resize(end)
    this.#buffer.set(bytes, position)
  }

  resize(length: number): void {
    if (length > this.#buffer.length) {
      const grown = Buffer.alloc(Math.max(length, 2 * this.#buffer.length, 256))
      grown.set(this.#buffer.subarray(0, this.length))
      this.#buffer = grown
    }
    if (length < this.length) this.#buffer.fill(0, length, this.length)
    this.length = length
  }

  copyFrom(other: Bytes): void {
    this.length = other.length
    this.#buffer = Buffer.from(other.#buffer.subarray(0, other.length))
  }

  flip(position: number, bit: number): void {
    if (position < this.length) this.#buffer[position]! ^= 1 << bit
  }
}
