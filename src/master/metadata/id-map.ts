// A map from ids to values for what comes and goes with every few operations: open chunks, their owners, replies.
//
// A Map of the language leaves its old table behind each time that removals have filled it, the old one names the next,
// and one that has grown old keeps all after it alive: then the garbage collector copies what has long been removed. Here
// a removal moves up what stands behind it, and nothing is left.
//
// Invariants:
//   - slot of a key: its hash, or the first empty one behind it (linear probing); no empty slot lies between
//   - at most half of the slots are taken
//
// Source: Knuth, TAOCP 3, §6.4, algorithms L and R.

const EMPTY = -1
const SLOTS_MIN = 8
/** A table up to here keeps its slots: what fills and empties by turns would be made anew each time. */
const SLOTS_KEPT = 1024

/** @typeParam K  whole numbers, 0 .. 2^53 - 1 */
export class IdMap<K extends number, V> implements Iterable<[K, V]> {
  #keys = emptyKeys(SLOTS_MIN)
  #values: (V | undefined)[] = new Array(SLOTS_MIN).fill(undefined)
  #mask = SLOTS_MIN - 1
  #size = 0

  get size(): number {
    return this.#size
  }

  get(key: K): V | undefined {
    const slot = this.#find(key)
    return slot < 0 ? undefined : this.#values[slot]
  }

  has(key: K): boolean {
    return this.#find(key) >= 0
  }

  /** Adds or replaces. */
  set(key: K, value: V): void {
    const keys = this.#keys
    const mask = this.#mask
    let slot = hash(key) & mask
    for (; keys[slot] !== EMPTY; slot = (slot + 1) & mask) {
      if (keys[slot] !== key) continue
      this.#values[slot] = value
      return
    }
    keys[slot] = key
    this.#values[slot] = value
    if (++this.#size * 2 > mask) this.#resize((mask + 1) * 2)
  }

  /** @returns whether it was there */
  delete(key: K): boolean {
    let hole = this.#find(key)
    if (hole < 0) return false
    const keys = this.#keys
    const values = this.#values
    const mask = this.#mask
    for (let at = (hole + 1) & mask; keys[at] !== EMPTY; at = (at + 1) & mask) {
      // What is already as near to its place as the hole would bring it stays.
      if (((at - hash(keys[at]!)) & mask) < ((at - hole) & mask)) continue
      keys[hole] = keys[at]!
      values[hole] = values[at]
      hole = at
    }
    keys[hole] = EMPTY
    values[hole] = undefined
    this.#size--
    if (mask >= SLOTS_KEPT && this.#size * 16 < mask) this.#resize((mask + 1) / 4)
    return true
  }

  clear(): void {
    this.#keys = emptyKeys(SLOTS_MIN)
    this.#values = new Array(SLOTS_MIN).fill(undefined)
    this.#mask = SLOTS_MIN - 1
    this.#size = 0
  }

  /** All keys as they are now, in no order. The caller owns the array. */
  keys(): K[] {
    const found: K[] = []
    for (const key of this.#keys) if (key !== EMPTY) found.push(key as K)
    return found
  }

  /** All values as they are now, in no order. The caller owns the array. */
  values(): V[] {
    return this.keys().map((key) => this.get(key) as V)
  }

  /** All pairs as they are now, in no order. */
  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.keys()
      .map((key): [K, V] => [key, this.get(key) as V])
      .values()
  }

  #find(key: number): number {
    const keys = this.#keys
    const mask = this.#mask
    for (let slot = hash(key) & mask; ; slot = (slot + 1) & mask) {
      const found = keys[slot]
      if (found === key) return slot
      if (found === EMPTY) return -1
    }
  }

  #resize(slots: number): void {
    const oldKeys = this.#keys
    const oldValues = this.#values
    const keys = emptyKeys(slots)
    const values: (V | undefined)[] = new Array(slots).fill(undefined)
    const mask = slots - 1
    for (let old = 0; old < oldKeys.length; old++) {
      const key = oldKeys[old]!
      if (key === EMPTY) continue
      let slot = hash(key) & mask
      while (keys[slot] !== EMPTY) slot = (slot + 1) & mask
      keys[slot] = key
      values[slot] = oldValues[old]
    }
    this.#keys = keys
    this.#values = values
    this.#mask = mask
  }
}

/**
 * From an id to the set of ids that belong to it: nearly always one, which then costs no set.
 * @typeParam V  whole numbers
 */
export class IdSets<K extends number, V extends number> {
  readonly #sets = new IdMap<K, V | Set<V>>()

  /** Ids with a set that isn't empty. */
  get size(): number {
    return this.#sets.size
  }

  /** Those ids, in no order. The caller owns the array. */
  keys(): K[] {
    return this.#sets.keys()
  }

  has(key: K): boolean {
    return this.#sets.has(key)
  }

  hasPair(key: K, value: V): boolean {
    const set = this.#sets.get(key)
    return typeof set === 'object' ? set.has(value) : set === value
  }

  /** The set of `key` as it is now, ascending. The caller owns the array. */
  of(key: K): V[] {
    const set = this.#sets.get(key)
    if (set === undefined) return []
    return typeof set === 'object' ? [...set].sort((a, b) => a - b) : [set]
  }

  /** @returns whether it is the first of `key` */
  add(key: K, value: V): boolean {
    const set = this.#sets.get(key)
    if (set === undefined) this.#sets.set(key, value)
    else if (typeof set === 'object') set.add(value)
    else if (set !== value) this.#sets.set(key, new Set([set, value]))
    return set === undefined
  }

  /** @returns whether it was the last of `key` */
  delete(key: K, value: V): boolean {
    const set = this.#sets.get(key)
    if (typeof set === 'object') {
      set.delete(value)
      if (set.size > 0) return false
    } else if (set !== value) {
      return false
    }
    this.#sets.delete(key)
    return true
  }
}

function emptyKeys(slots: number): Float64Array {
  return new Float64Array(slots).fill(EMPTY)
}

/** Ids come one after the other: the multiplier (2^32 / golden ratio) spreads neighbours, the high bits say where. */
function hash(key: number): number {
  const mixed = Math.imul((key | 0) ^ Math.imul((key / 2 ** 32) | 0, 0x85ebca6b), 0x9e3779b1)
  return mixed ^ (mixed >>> 15)
}
