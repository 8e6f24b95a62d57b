// What is done to a cluster while clients work: servers killed, stopped and cut off, files damaged, a few at a time.
//
// No disk is lost and no power fails, so whatever happens here loses nothing that was acknowledged (P1, P2).

import type { Random } from '../../src/base/random.ts'
import { MASTER, sleep, type TortureCluster } from './cluster.ts'
import { Damager } from './damage.ts'

const AT_ONCE = 2

type Kind = 'kill' | 'stop' | 'cut' | 'cut one way' | 'isolate' | 'kill master' | 'stop master' | 'damage'

const WEIGHTS: Readonly<Record<Kind, number>> = {
  kill: 4,
  stop: 3,
  cut: 2,
  'cut one way': 2,
  isolate: 1,
  'kill master': 1,
  'stop master': 1,
  damage: 4,
}

export class Faults {
  readonly counts = new Map<string, number>()
  readonly #cluster: TortureCluster
  readonly #random: Random
  readonly #damager: Damager
  /** Parts that something is being done to. */
  readonly #busy = new Set<string>()

  constructor(cluster: TortureCluster, random: Random) {
    this.#cluster = cluster
    this.#random = random
    this.#damager = new Damager(cluster, random.fork())
  }

  /** One fault after the other, `AT_ONCE` beside each other, until `untilMs` (performance.now). */
  async run(untilMs: number): Promise<void> {
    const lines = Array.from({ length: AT_ONCE }, async () => {
      while (performance.now() < untilMs) {
        await sleep(100 + this.#random.below(900))
        await this.#one(untilMs)
      }
    })
    await Promise.all(lines)
  }

  /** All damage was found and mended. */
  healed(): void {
    this.#damager.healed()
  }

  /** What was done, for people: `kill 3, damage 5`. */
  describe(): string {
    return [...this.counts].map(([kind, count]) => `${kind} ${count}`).join(', ')
  }

  async #one(untilMs: number): Promise<void> {
    const kind = this.#pickKind()
    if (kind === 'damage') {
      this.#count(kind, this.#damager.damageOne())
      return
    }
    const name = kind.endsWith('master') ? MASTER : this.#random.pick(this.#cluster.chunkservers)
    if (this.#busy.has(name)) return
    this.#busy.add(name)
    try {
      this.#count(kind, 1)
      await this.#hurt(kind, name, untilMs)
    } finally {
      this.#busy.delete(name)
    }
  }

  async #hurt(kind: Kind, name: string, untilMs: number): Promise<void> {
    const cluster = this.#cluster
    const pause = (mostMs: number) =>
      sleep(Math.min(this.#random.below(mostMs), Math.max(0, untilMs - performance.now())))
    switch (kind) {
      case 'kill':
      case 'kill master':
        await cluster.kill(name)
        await pause(kind === 'kill' ? 3000 : 1500)
        await cluster.start(name)
        return
      case 'stop':
      case 'stop master':
        cluster.stop(name)
        await pause(kind === 'stop' ? 6000 : 3000)
        cluster.resume(name)
        return
      case 'isolate':
        await cluster.hosts.isolate(name)
        await pause(5000)
        await cluster.hosts.heal(name)
        return
      default: {
        const others = [MASTER, cluster.hosts.hub.name, ...cluster.chunkservers].filter((other) => other !== name)
        const other = this.#random.pick(others)
        const [from, to] = this.#random.chance(0.5) ? [name, other] : [other, name]
        await cluster.hosts.cut(from, to, { bothWays: kind === 'cut' })
        await pause(5000)
        await cluster.hosts.heal(from, to)
      }
    }
  }

  #pickKind(): Kind {
    const kinds = Object.entries(WEIGHTS).filter(
      ([kind]) => this.#cluster.canCut || !(kind.startsWith('cut') || kind === 'isolate'),
    ) as [Kind, number][]
    let at = this.#random.below(kinds.reduce((sum, [, weight]) => sum + weight, 0))
    for (const [kind, weight] of kinds) {
      at -= weight
      if (at < 0) return kind
    }
    return 'kill'
  }

  #count(kind: string, count: number): void {
    if (count > 0) this.counts.set(kind, (this.counts.get(kind) ?? 0) + count)
  }
}
