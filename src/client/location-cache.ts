// Where chunks can be read, as the master last said: kept by handle, replaced when a higher version or a later answer
// comes, dropped when every replica named has failed.

import { LRUCache } from 'lru-cache'
import type { ChunkHandle } from '../base/ids.ts'
import type { ChunkLocation } from '../wire/messages.ts'

const ENTRIES_MAX = 65_536

export class LocationCache {
  /** Made with the first entry: its tables are allocated whole, which a client that moves no bytes does without. */
  #entries: LRUCache<ChunkHandle, ChunkLocation> | undefined

  get(handle: ChunkHandle): ChunkLocation | undefined {
    return this.#entries?.get(handle)
  }

  /** An answer with an older version than the one known is late, and dropped. */
  put(location: ChunkLocation): void {
    this.#entries ??= new LRUCache({ max: ENTRIES_MAX })
    const known = this.#entries.get(location.handle)
    if (known === undefined || known.version <= location.version) this.#entries.set(location.handle, location)
  }

  forget(handle: ChunkHandle): void {
    this.#entries?.delete(handle)
  }
}
