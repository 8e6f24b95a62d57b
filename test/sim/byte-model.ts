// What files should hold, in plain buffers: the model that clusters are checked against.
//
// A change that was answered is in the model. One whose outcome is unknown (the client gave up, or the session ended)
// may or may not have happened: its file has two possible contents until a read decides.

export class ByteModel {
  readonly #files = new Map<string, Buffer[]>()
  readonly #mayBeMissing = new Set<string>()

  /** What `path` may hold; undefined: it may be missing. Empty: it must be missing. */
  candidates(path: string): readonly Buffer[] {
    return this.#files.get(path) ?? []
  }

  get paths(): string[] {
    return [...this.#files.keys()]
  }

  /** The content, when it must be there and only one is possible. */
  content(path: string): Buffer | undefined {
    if (this.#mayBeMissing.has(path)) return undefined
    const found = this.#files.get(path)
    return found?.length === 1 ? found[0] : undefined
  }

  /** The change was answered: this is what it holds. */
  set(path: string, bytes: Buffer): void {
    this.#files.set(path, [bytes])
    this.#mayBeMissing.delete(path)
  }

  /** The change was sent and its outcome isn't known: it may hold this as well. */
  maySet(path: string, bytes: Buffer): void {
    if (!this.#files.has(path)) this.#mayBeMissing.add(path)
    this.#files.set(path, [...(this.#files.get(path) ?? []), bytes])
  }

  /** Whether nothing being there is right as well. */
  mayBeMissing(path: string): boolean {
    return this.#mayBeMissing.has(path)
  }

  delete(path: string): void {
    this.#mayBeMissing.delete(path)
    this.#files.delete(path)
  }

  /** Why `found` can't be what is stored at `path`; undefined when it can. */
  fault(path: string, found: Buffer): string | undefined {
    const expected = this.candidates(path)
    if (expected.some((bytes) => Buffer.compare(bytes, found) === 0)) return undefined
    const best = expected[0]
    if (!best) return `${path}: ${found.length} bytes of a file that should not be there`
    let at = 0
    while (at < Math.min(best.length, found.length) && best[at] === found[at]) at++
    return `${path}: ${found.length} bytes found, ${best.length} expected; they differ from byte ${at} on`
  }
}
