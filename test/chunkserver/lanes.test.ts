// Connections between chunkservers: as many as bytes flow side by side, not as many as there were chunks or clients.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Connection } from '../../src/rpc/connection.ts'
import { SimWorld } from '../sim/world.ts'
import { ask, Cluster, openChunk, WRITER } from './cluster-fixture.ts'
import { bytesAt, handleOf } from './store-fixture.ts'

const CHUNKS = 40

async function inCluster(seed: number, main: (cluster: Cluster, world: SimWorld) => Promise<void>): Promise<void> {
  const world = new SimWorld(seed)
  const cluster = new Cluster(world)
  await world.run(async () => {
    await cluster.start(3)
    await main(cluster, world)
    await cluster.close()
    await world.sleep(2000)
  })
}

/** Opens shared chunk `counter` on 1, 2, 3 and appends one record. */
async function openShared(cluster: Cluster, connection: Connection, counter: number): Promise<void> {
  const allocation = cluster.allocation(handleOf(counter), [1, 2, 3], { shared: true })
  await openChunk(connection, allocation)
  const append = { handle: handleOf(counter), version: 1, writer: WRITER, sequence: 1, count: 1, sync: false }
  await ask(connection, 'appendShared', append, bytesAt(counter, 0, 5000))
}

async function fenceAll(cluster: Cluster, counter: number): Promise<void> {
  for (const server of [1, 2, 3]) await cluster.master.fence(server, handleOf(counter))
}

test('shared chunks opened and ended one after another use one connection between two servers', () =>
  inCluster(1, async (cluster, world) => {
    const connection = await cluster.connect(1)
    for (let counter = 1; counter <= CHUNKS; counter++) {
      await openShared(cluster, connection, counter)
      await fenceAll(cluster, counter)
    }
    assert.is(world.network.connectionCount('cs1', 'cs2'), 1)
    assert.is(world.network.connectionCount('cs2', 'cs3'), 1)
  }))

test('shared chunks that grow side by side have a connection each, which later ones take over', () =>
  inCluster(2, async (cluster, world) => {
    const connection = await cluster.connect(1)
    const open = [1, 2, 3, 4]
    for (const counter of open) await openShared(cluster, connection, counter)
    assert.is(world.network.connectionCount('cs1', 'cs2'), open.length)
    for (const counter of open) await fenceAll(cluster, counter)
    for (let counter = 5; counter <= CHUNKS; counter++) {
      await openShared(cluster, connection, counter)
      await fenceAll(cluster, counter)
    }
    assert.is(world.network.connectionCount('cs1', 'cs2'), open.length)
    await world.sleep(100_000)
    assert.is(world.network.connectionCount('cs1', 'cs2'), 0, 'what is idle is closed')
  }))

test('clients that come and go one after another use one connection between two servers', () =>
  inCluster(3, async (cluster, world) => {
    for (let counter = 1; counter <= CHUNKS; counter++) {
      const connection = await cluster.connect(1)
      const allocation = cluster.allocation(handleOf(counter), [1, 2, 3])
      await openChunk(connection, allocation)
      const piece = { handle: handleOf(counter), version: 1, offset: 0 }
      await ask(connection, 'pushPiece', piece, bytesAt(counter, 0, 5000))
      connection.close()
      await world.sleep(50)
    }
    assert.is(world.network.connectionCount('cs1', 'cs2'), 1)
    assert.is(world.network.connectionCount('cs2', 'cs3'), 1)
  }))

test.run()
