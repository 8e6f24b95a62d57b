// A heap of (time, id): the earliest first, and among equal times the least id, whatever the order of insertion. The
// owner leaves dead pairs in it and skips them when they come up.

export class DueHeap {
  readonly #times: number[] = []
  readonly #ids: number[] = []

  get size(): number {
    return this.#times.length
  }

  /** Time of the first pair; Infinity when there is none. */
  get firstTime(): number {
    return this.#times[0] ?? Number.POSITIVE_INFINITY
  }

  /** Id of the first pair; 0 when there is none. */
  get firstId(): number {
    return this.#ids[0] ?? 0
  }

  push(time: number, id: number): void {
    let at = this.#times.length
    this.#times.push(time)
    this.#ids.push(id)
    while (at > 0) {
      const parent = (at - 1) >>> 1
      if (!this.#before(at, parent)) break
      this.#swap(at, parent)
      at = parent
    }
  }

  /** Drops the first pair, if there is one. */
  pop(): void {
    const last = this.#times.length - 1
    if (last < 0) return
    this.#swap(0, last)
    this.#times.pop()
    this.#ids.pop()
    for (let at = 0; ; ) {
      let least = at
      for (let child = 2 * at + 1; child <= 2 * at + 2 && child < last; child++) {
        if (this.#before(child, least)) least = child
      }
      if (least === at) return
      this.#swap(at, least)
      at = least
    }
  }

  #before(a: number, b: number): boolean {
    const difference = this.#times[a]! - this.#times[b]!
    return difference !== 0 ? difference < 0 : this.#ids[a]! < this.#ids[b]!
  }

  #swap(a: number, b: number): void {
    const time = this.#times[a]!
    const id = this.#ids[a]!
    this.#times[a] = this.#times[b]!
    this.#ids[a] = this.#ids[b]!
    this.#times[b] = time
    this.#ids[b] = id
  }
}
