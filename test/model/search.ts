// A breadth-first search through every state that a small world can reach.
//
// A state is four 32-bit words. The states live one after the other in one typed array, in the order in which they were
// found, so the array is also the queue, and the index of the state before gives the shortest way back. A hash table of
// indices says what was seen. Ten million states take about 300 MB.

const stateWords = 4

export type Words = readonly [number, number, number, number]

/** A world: where it starts, what can happen next, and what must never be. */
export interface World {
  readonly initial: Words
  /** Calls `emit` with every state that one step leads to; `action` says which step, for `describe`. */
  successors(a: number, b: number, c: number, d: number, emit: Emit): void
  /** One state for all that differ only in the names of what is alike. */
  canonical(words: Words): Words
  /** What is wrong with a state, or undefined. */
  fault(words: Words): string | undefined
  describe(action: number): string
}

export type Emit = (a: number, b: number, c: number, d: number, action: number) => void

export interface SearchResult {
  /** States looked at; all that can be reached if `fault` is undefined. */
  readonly states: number
  /** What is wrong with the first bad state, if there is one. */
  readonly fault?: string
  /** The shortest way to it, one line a step. */
  readonly trace: readonly string[]
}

/**
 * Looks at every reachable state, nearest first, until one is at fault.
 *
 * @param statesMax  throws a RangeError beyond: a world that grew past what a test can search
 */
export function search(world: World, statesMax: number): SearchResult {
  const seen = new StateSet()
  const [a, b, c, d] = world.canonical(world.initial)
  seen.add(a, b, c, d, -1)
  let bad = world.fault([a, b, c, d]) === undefined ? -1 : 0
  let from = 0
  const emit: Emit = (m0, m1, m2, g) => {
    if (bad >= 0) return
    const next = world.canonical([m0, m1, m2, g])
    const index = seen.add(next[0], next[1], next[2], next[3], from)
    if (index >= 0 && world.fault(next) !== undefined) bad = index
  }
  for (; from < seen.count && bad < 0; from++) {
    if (seen.count > statesMax) throw new RangeError(`more than ${statesMax} states`)
    const state = seen.at(from)
    world.successors(state[0], state[1], state[2], state[3], emit)
  }
  if (bad < 0) return { states: seen.count, trace: [] }
  return retell(world, seen, bad)
}

/** Walks the shortest way again, with the names that the search had folded together. */
function retell(world: World, seen: StateSet, bad: number): SearchResult {
  const path: number[] = []
  for (let index = bad; index > 0; index = seen.parent(index)) path.unshift(index)
  let state = world.initial
  const trace: string[] = []
  for (const index of path) {
    const wanted = seen.at(index)
    let next: Words | undefined
    world.successors(state[0], state[1], state[2], state[3], (a, b, c, d, action) => {
      if (next !== undefined || !same(world.canonical([a, b, c, d]), wanted)) return
      next = [a, b, c, d]
      trace.push(world.describe(action))
    })
    if (next === undefined) throw new Error('the way back is broken: canonical() folds states that behave differently')
    state = next
  }
  return { states: seen.count, fault: world.fault(state) ?? 'nothing, seen with other names', trace }
}

function same(a: Words, b: Words): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3]
}

/** States in the order in which they were added, each once. */
class StateSet {
  count = 0
  #words = new Int32Array(stateWords << 16)
  #parents = new Int32Array(1 << 16)
  /** Index + 1 of a state, 0 for empty; never more than half full. */
  #table = new Int32Array(1 << 17)

  at(index: number): Words {
    const at = index * stateWords
    const words = this.#words
    return [words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!]
  }

  parent(index: number): number {
    return this.#parents[index]!
  }

  /** @returns the index of a new state, or -1 if it is there already */
  add(a: number, b: number, c: number, d: number, parent: number): number {
    const mask = this.#table.length - 1
    let place = hash(a, b, c, d) & mask
    for (let entry = this.#table[place]!; entry !== 0; entry = this.#table[place]!) {
      const at = (entry - 1) * stateWords
      const words = this.#words
      if (words[at] === a && words[at + 1] === b && words[at + 2] === c && words[at + 3] === d) return -1
      place = (place + 1) & mask
    }
    const index = this.count++
    if (index === this.#parents.length) this.#grow()
    this.#words.set([a, b, c, d], index * stateWords)
    this.#parents[index] = parent
    this.#table[place] = index + 1
    if (this.count * 2 > this.#table.length) this.#rehash()
    return index
  }

  #grow(): void {
    const words = new Int32Array(this.#words.length * 2)
    words.set(this.#words)
    this.#words = words
    const parents = new Int32Array(this.#parents.length * 2)
    parents.set(this.#parents)
    this.#parents = parents
  }

  #rehash(): void {
    this.#table = new Int32Array(this.#table.length * 2)
    const mask = this.#table.length - 1
    for (let index = 0; index < this.count; index++) {
      let place = hash(...this.at(index)) & mask
      while (this.#table[place] !== 0) place = (place + 1) & mask
      this.#table[place] = index + 1
    }
  }
}

function hash(a: number, b: number, c: number, d: number): number {
  let h = Math.imul(a ^ (a >>> 15), 0x85ebca6b)
  h = Math.imul(h ^ b ^ (h >>> 13), 0xc2b2ae35)
  h = Math.imul(h ^ c ^ (h >>> 16), 0x27d4eb2f)
  h = Math.imul(h ^ d ^ (h >>> 15), 0x165667b1)
  return (h ^ (h >>> 16)) >>> 0
}
