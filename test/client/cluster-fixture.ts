// A cluster in the simulated world: the real master, chunkservers that can be told to fail, and a client.

import { type DfsError, type ErrorCode, isDfsError } from '../../src/base/errors.ts'
import { Client } from '../../src/client/client.ts'
import type { ClientOptions } from '../../src/client/options.ts'
import type { Io } from '../../src/io/io.ts'
import type { MasterOptions } from '../../src/master/node.ts'
import { SimMaster } from '../sim/sim-master.ts'
import { SimWorld } from '../sim/world.ts'
import { FakeChunkserver } from './fake-chunkserver.ts'

export interface Fixture {
  readonly world: SimWorld
  readonly master: SimMaster
  readonly servers: readonly FakeChunkserver[]
  readonly client: Client
  /** @param io  of the process that it is part of; one on a machine of its own when left out */
  connect(options?: Partial<ClientOptions>, io?: Io): Promise<Client>
}

/** Runs `test` in a cluster of a fresh world; afterwards nothing of the client may be left. */
export async function withCluster(
  seed: number,
  test: (fixture: Fixture) => Promise<void>,
  options: {
    readonly servers?: number
    readonly master?: Partial<MasterOptions>
    readonly client?: Partial<ClientOptions>
  } = {},
): Promise<void> {
  const world = new SimWorld(seed)
  await world.run(async () => {
    const master = new SimMaster(world, { heartbeatMs: 100, ...options.master })
    await master.start()
    const servers = Array.from(
      { length: options.servers ?? 3 },
      (_, i) => new FakeChunkserver(world, `cs${i + 1}`, master.address),
    )
    for (const server of servers) await server.start()
    const machine = world.machine('client')
    const connect = (more: Partial<ClientOptions> = {}, io: Io = machine.io): Promise<Client> =>
      Client.connect(io, {
        masters: 'master:7400',
        onBug: (error) => world.fail(error),
        ...options.client,
        ...more,
      })
    const client = await connect()
    await test({ world, master, servers, client, connect })
    client.close()
    await world.sleep(3000)
    const left = servers.reduce((sum, server) => sum + world.network.connectionCount('client', server.machine.name), 0)
    if (left > 0) throw new Error(`${left} connections of the client are left`)
  })
}

/** The DfsError of that code which `promise` must be rejected with. */
export async function rejects(promise: Promise<unknown>, ...codes: ErrorCode[]): Promise<DfsError> {
  try {
    await promise
  } catch (error) {
    if (!isDfsError(error) || !codes.includes(error.code)) throw error
    return error
  }
  throw new Error(`expected ${codes.join(' or ')}`)
}
