// Lanes: which connection to a server a stream of bytes uses. What goes by one stream must arrive in order, and one that
// stands still must not hold up another, so each has a connection of its own; the lane is handed on when its owner is
// done, so that a thousand streams one after the other make no thousand connections.
//
// Invariants:
//   - lanes are numbered from 0; there are never more numbers than owners at the same time
//   - the lowest free one is taken first, so that what a busy hour made falls idle afterwards and the pool closes it

export class Lanes {
  readonly #free: number[] = []
  #count = 0

  /** The lowest free lane: give it back. */
  take(): number {
    const free = this.#free.sort((a, b) => a - b).shift()
    return free ?? this.#count++
  }

  give(lane: number): void {
    this.#free.push(lane)
  }
}
