// Lanes: which connection to a chunkserver a writer uses. Pieces of one writer must arrive in order and a chain that
// stands still must not hold up another writer, so each has a connection of its own; it is handed on when the writer is
// done, so that a thousand files one after the other make no thousand connections.

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
