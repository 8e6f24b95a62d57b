// Whether a member of an open chunk may take bytes: in its life, not fenced, not sealed (DESIGN §2).
//
// A fence is final. It takes its turn: what was accepted before is finished and counted, everything later refused.

import { DfsError } from '../base/errors.ts'
import { type ChunkHandle, counterOf, type DirectoryId, formatHandle, type Life, lineageOf } from '../base/ids.ts'

/** Handles remembered one by one; of older ones only the highest counter of their lineage is. */
export const GONE_HANDLES_MAX = 65_536

/**
 * Handles whose replica left this server since it started, and handles that were fenced before they were here: a fence
 * outlives the replica. A delayed order to begin the chunk must not make it anew behind its seal (test/model,
 * `fenceStays`). An earlier life needs no memory: orders name the life they are for.
 *
 * At the bound the oldest are forgotten one by one and refused as a range: every handle of their lineage up to theirs.
 */
export class GoneHandles {
  readonly #handles = new Set<ChunkHandle>()
  readonly #floors = new Map<number, number>()

  add(handle: ChunkHandle): void {
    this.#handles.add(handle)
    if (this.#handles.size <= GONE_HANDLES_MAX) return
    for (const oldest of this.#handles) {
      this.#handles.delete(oldest)
      const lineage = lineageOf(oldest)
      this.#floors.set(lineage, Math.max(this.#floors.get(lineage) ?? 0, counterOf(oldest)))
      return
    }
  }

  has(handle: ChunkHandle): boolean {
    return this.#handles.has(handle) || counterOf(handle) <= (this.#floors.get(lineageOf(handle)) ?? 0)
  }
}

export type FenceState = 'open' | 'fenced' | 'sealed'

/** The refusal of more bytes for a chunk in `state`, or undefined when it takes them. */
export function refusalOf(handle: ChunkHandle, state: FenceState): DfsError | undefined {
  if (state === 'open') return undefined
  const name = formatHandle(handle)
  return state === 'fenced'
    ? new DfsError('CHUNK_FENCED', `chunk ${name} is fenced here and takes no more bytes`, { handle })
    : new DfsError('CHUNK_SEALED', `chunk ${name} is sealed`, { handle })
}

/** The refusal of a member whose directory was opened again since the chunk was allocated, or undefined. */
export function lifeRefusal(
  handle: ChunkHandle,
  directory: DirectoryId,
  allocated: Life,
  actual: Life,
): DfsError | undefined {
  if (allocated === actual) return undefined
  return new DfsError(
    'WRONG_LIFE',
    `chunk ${formatHandle(handle)}: directory ${directory} is in life ${actual}, the allocation names ${allocated}`,
    { handle, directory, life: actual, allocated },
  )
}
