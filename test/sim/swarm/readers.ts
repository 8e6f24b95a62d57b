// A client that reads what others write: it sees each file as it was at some moment of its reading, never anything else.

import { isDfsError } from '../../../src/base/errors.ts'
import type { Client } from '../../../src/client/client.ts'
import type { SimWorld } from '../world.ts'
import { type FileLoad, readOrNull } from './files.ts'
import { faultOf } from './model.ts'
import type { SwarmPlan } from './plan.ts'
import { mustBeMisfortune, Violation } from './violation.ts'

export class ReadLoad {
  readonly #world: SimWorld
  readonly #client: Client
  readonly #plan: SwarmPlan
  readonly #loads: readonly FileLoad[]
  isStopped = false
  done = 0

  constructor(world: SimWorld, client: Client, plan: SwarmPlan, loads: readonly FileLoad[]) {
    this.#world = world
    this.#client = client
    this.#plan = plan
    this.#loads = loads
  }

  async run(): Promise<void> {
    const random = this.#world.random.fork()
    this.isStopped = false
    while (!this.isStopped) {
      await this.#world.sleep(random.below(2 * this.#plan.paceMs))
      const { model } = random.pick(this.#loads)
      if (model.paths.length === 0) continue
      await this.#read(random.pick(model.paths), model)
    }
  }

  async #read(path: string, model: FileLoad['model']): Promise<void> {
    const sighting = model.look(path)
    try {
      const found = await readOrNull(this.#client, path)
      const fault = faultOf(path, sighting.seen, found)
      if (fault !== undefined) throw new Violation(`read by another client: ${fault}`)
      this.done++
    } catch (error) {
      if (error instanceof Violation) throw error
      // It was replaced while it was read, and is told so rather than given a mixture.
      if (!isDfsError(error, 'FILE_CHANGED')) mustBeMisfortune(`reading ${path}`, error)
    } finally {
      sighting.end()
    }
  }
}
