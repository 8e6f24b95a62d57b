// What the files of one client may hold: the plain bytes that the cluster is checked against.
//
// Only one client changes a path, one change at a time. A change that was answered has happened; one without an answer
// has or hasn't. Whoever reads meanwhile may see a file before or after each change that was under way while it read.

import type { Random } from '../../../src/base/random.ts'

/** A content; null: there is no file. */
export type Content = Buffer | null

export interface Change {
  /** It was answered: so it is. */
  happened(): void
  /** It was not answered: so it is, or as it was. */
  unknown(): void
}

/** Everything a path may hold from a moment on. */
export interface Sighting {
  readonly seen: Content[]
  end(): void
}

export class FileModel {
  readonly #contents = new Map<string, readonly Content[]>()
  readonly #sightings = new Map<string, Set<Content[]>>()

  /** All that it may hold now. */
  contents(path: string): readonly Content[] {
    return this.#contents.get(path) ?? [null]
  }

  /** The bytes of a file that must be there; undefined when it may not be, or may hold something else. */
  bytes(path: string): Buffer | undefined {
    const contents = this.contents(path)
    return contents.length === 1 ? (contents[0] ?? undefined) : undefined
  }

  /** Paths that may be there. */
  get paths(): string[] {
    return [...this.#contents.keys()]
  }

  /** Paths of files that must be there, with known bytes. */
  get known(): string[] {
    return this.paths.filter((path) => this.bytes(path) !== undefined)
  }

  /** A change of several paths in one step begins. */
  begin(changes: readonly (readonly [string, Content])[]): Change {
    const before = changes.map(([path]) => this.contents(path))
    changes.forEach(([path, after], index) => {
      this.#contents.set(path, [...before[index]!, after])
      for (const seen of this.#sightings.get(path) ?? []) seen.push(after)
    })
    return {
      happened: () => {
        for (const [path, after] of changes) this.#settle(path, after)
      },
      unknown: () => {},
    }
  }

  /** Someone begins to look at `path`. */
  look(path: string): Sighting {
    const seen = [...this.contents(path)]
    const sightings = this.#sightings.get(path) ?? new Set()
    this.#sightings.set(path, sightings.add(seen))
    return {
      seen,
      end: () => {
        sightings.delete(seen)
        if (sightings.size === 0) this.#sightings.delete(path)
      },
    }
  }

  #settle(path: string, content: Content): void {
    if (content === null) this.#contents.delete(path)
    else this.#contents.set(path, [content])
  }
}

/** Why `found` is none of `contents`; undefined when it is one. @param offset  of the part that was read */
export function faultOf(
  path: string,
  contents: readonly Content[],
  found: Content,
  offset = 0,
  length = Number.POSITIVE_INFINITY,
): string | undefined {
  const parts = contents.map((content) => (content === null ? null : content.subarray(offset, offset + length)))
  if (parts.some((part) => (part === null || found === null ? part === found : Buffer.compare(part, found) === 0)))
    return undefined
  const told = parts.map((part) => {
    if (part === null) return 'no file'
    if (found === null) return `${part.length} bytes`
    let at = 0
    while (at < Math.min(part.length, found.length) && part[at] === found[at]) at++
    return `${part.length} bytes (others from byte ${offset + at} on)`
  })
  const what = found === null ? 'no file' : `${found.length} bytes`
  return `${path}: ${what} found at ${offset}; it may be ${told.join(', or ')}`
}

/** Bytes for a file: mostly few, now and then many. */
export function someBytes(random: Random, most: number): Buffer {
  const kind = random.below(10)
  const limit = kind < 5 ? most / 20 : kind < 9 ? most / 4 : most
  return random.bytes(random.below(Math.ceil(limit) + 1))
}
