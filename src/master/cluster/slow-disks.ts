// SlowDisks: data directories whose disk is much slower than others', by what their servers last said (DESIGN §4, step 6).
//
// Slow is slower than the others: when most disks are, the cluster is only busy, and nobody is named. A disk that is named
// stays so for a while after its last slow operation: it has few requests then and looks quick, and would be named again
// with the first that it gets. Each time anew it stays so for twice as long.
//
// Pure: time is an argument.

import type { DirectoryId } from '../../base/ids.ts'
import { MINUTE_MS } from '../../base/units.ts'

/** Operations that take less are nobody's trouble. */
export const SLOW_MS_MIN = 1500
/** Half of the others' disks are so many times quicker. */
const SLOW_RATIO = 4
const SHUN_MS_MIN = MINUTE_MS
const SHUN_MS_MAX = 10 * MINUTE_MS

interface Named {
  untilMs: number
  forMs: number
}

/** Of a server that is connected. */
interface ServerDisks {
  readonly directories: readonly { readonly directory: DirectoryId; readonly slowMs: number }[]
}

export class SlowDisks {
  readonly #named = new Map<DirectoryId, Named>()

  /** Takes what the servers that are connected last said. */
  judge(servers: readonly ServerDisks[], nowMs: number): void {
    for (const server of servers) {
      for (const { directory, slowMs } of server.directories) {
        if (slowMs < SLOW_MS_MIN) continue
        const others = servers.filter((other) => other !== server && other.directories.length > 0)
        const quick = others.filter((other) => other.directories.some((disk) => SLOW_RATIO * disk.slowMs <= slowMs))
        if (others.length > 0 && 2 * quick.length >= others.length) this.#name(directory, nowMs)
      }
    }
  }

  isSlow(directory: DirectoryId, nowMs: number): boolean {
    const named = this.#named.get(directory)
    return named !== undefined && nowMs < named.untilMs
  }

  #name(directory: DirectoryId, nowMs: number): void {
    const named = this.#named.get(directory)
    if (named === undefined || nowMs >= named.untilMs + SHUN_MS_MAX) {
      this.#named.set(directory, { untilMs: nowMs + SHUN_MS_MIN, forMs: SHUN_MS_MIN })
      return
    }
    if (nowMs >= named.untilMs) named.forMs = Math.min(SHUN_MS_MAX, 2 * named.forMs)
    named.untilMs = nowMs + named.forMs
  }
}
