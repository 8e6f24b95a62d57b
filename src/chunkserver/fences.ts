// Whether a member of an open chunk may take bytes: in its life, not fenced, not sealed (DESIGN §2).
//
// A fence is final. It takes its turn: what was accepted before is finished and counted, everything later refused.

import { DfsError } from '../base/errors.ts'
import { type ChunkHandle, type DirectoryId, formatHandle, type Life } from '../base/ids.ts'

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
