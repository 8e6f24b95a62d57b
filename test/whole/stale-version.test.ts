// GFS §4.5: a replica that missed a version is stale: never read from, and replaced by what the others have.
//
// Nothing raises versions yet, so the log is given such a record while the master is down, and the chunk files of the
// servers that "took part" are written anew, as sealed in the later version. The stale one has the same bytes and proves
// them: only its version says that it must not be read.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { isDfsError } from '../../src/base/errors.ts'
import { type ChunkHandle, type ClusterId, formatHandle } from '../../src/base/ids.ts'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import { MINUTE_MS } from '../../src/base/units.ts'
import {
  CHUNK_HEADER_BYTES,
  type ChunkHeader,
  decodeHeader,
  encodeHeader,
  encodeRecord,
  encodeTrailer,
} from '../../src/chunkserver/format.ts'
import type { Client } from '../../src/client/client.ts'
import { encodeOperation } from '../../src/master/operation-codec.ts'
import { type Operation, operationTable } from '../../src/master/operations.ts'
import { OpLog } from '../../src/oplog/oplog.ts'
import { type SimChunkserver, SimCluster } from '../sim/sim-cluster.ts'
import { SimWorld } from '../sim/world.ts'

interface Info {
  readonly chunks: readonly {
    readonly handle: ChunkHandle
    readonly version: number
    readonly replicas: readonly { readonly server: string; readonly state: string }[]
  }[]
}

/** Puts a record into the log of a master that is down. */
async function log(cluster: SimCluster, op: Operation): Promise<void> {
  const { machine } = cluster.master
  const { disk, clock, entropy } = machine.restart()
  const { clusterId, lastIndex } = logged!
  const opened = await OpLog.open({
    disk,
    clock,
    entropy,
    logger: machine.log,
    directory: '/data/log',
    clusterId,
    events: { onSynced: () => {}, onRefused: () => {}, onFailed: () => {} },
  })
  const { number, version } = operationTable[op.kind]
  const time = { clusterMs: 1_000_000, wallMs: 1_700_000_000_000 }
  const record = { term: 1, kind: number, version, payload: encodeOperation(time, op) }
  assert.is(await opened.appendAndSync(record), lastIndex + 1)
  await opened.close()
}

/** What the master said of itself before it went down. */
let logged: { clusterId: ClusterId; lastIndex: number } | undefined

/** Writes the files of a sealed replica anew, as of `version`. */
function rewrite({ machine }: SimChunkserver, handle: ChunkHandle, version: number): void {
  const { disk } = machine
  const dataPath = disk.paths().find((path) => path.endsWith(`${formatHandle(handle)}.data`))!
  const metaPath = dataPath.replace(/data$/, 'meta')
  const bytes = disk.readFile(dataPath)!
  const header = decodeHeader(disk.readFile(metaPath)!)
  assert.not('fault' in header)
  const first = encodeHeader({ ...header, version } as ChunkHeader)
  const sums = Uint32Array.from({ length: Math.ceil(bytes.length / BLOCK_BYTES) }, (_, block) =>
    crc32(bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)),
  )
  const facts = { version, length: bytes.length, digest: crc32(bytes), indexDigest: 0 }
  const seed = first.readUInt32LE(CHUNK_HEADER_BYTES - 4)
  const record = encodeRecord({ kind: 'sealed', ...facts, sums, entries: [] }, CHUNK_HEADER_BYTES, seed, 0)
  const place = { recordOffset: CHUNK_HEADER_BYTES, recordBytes: record.bytes.length, recordCrc: record.crc }
  const trailer = encodeTrailer({ handle, ...facts, ...place })
  disk.writeFile(metaPath, Buffer.concat([first, record.bytes, trailer]))
}

async function fileOf(client: Client): Promise<Info['chunks'][number]> {
  const { chunks } = (await client.info('/f')) as Info
  assert.is(chunks.length, 1)
  return chunks[0]!
}

function serverOf(cluster: SimCluster, id: string): SimChunkserver {
  return cluster.chunkservers.find(({ node }) => `cs-${node!.status().server}` === id)!
}

test('GFS §4.5: a replica with an older version is never read from, and is replaced when the others are back', async () => {
  const world = new SimWorld(1)
  await world.run(async () => {
    const cluster = new SimCluster(world, 4)
    await cluster.start()
    const client = await cluster.client({ timeoutMs: 5000 })
    const bytes = world.random.bytes(200_000)
    await client.writeFile('/f', bytes)
    await world.sleep(5000)
    const { handle, replicas } = await fileOf(client)
    assert.equal(
      replicas.map(({ state }) => state),
      ['good', 'good', 'good'],
    )
    const [stale, ...fresh] = replicas.map(({ server }) => serverOf(cluster, server))
    const { clusterId, lastIndex } = cluster.master.node!.state
    logged = { clusterId, lastIndex }
    cluster.master.crash(true)
    for (const server of cluster.chunkservers) server.crash(true)
    await log(cluster, { kind: 'raiseVersion', handle, version: 2 })
    for (const server of fresh) rewrite(server, handle, 2)

    await cluster.master.start()
    await stale!.restart()
    await world.sleep(MINUTE_MS) // beyond safe mode: whatever may be read could be read by now
    assert.is((await fileOf(client)).version, 2)
    for (let tries = 0; tries < 3; tries++) {
      try {
        await client.readFile('/f')
        assert.unreachable('the stale replica was read')
      } catch (error) {
        assert.ok(isDfsError(error), String(error))
      }
    }
    assert.is((await client.fsck('/')).status, 'DAMAGED')

    for (const server of cluster.chunkservers) if (server !== stale) await server.restart()
    assert.is(Buffer.compare(await client.readFile('/f'), bytes), 0)
    const isWhole = async () => {
      const now = await fileOf(client)
      return now.replicas.length === 3 && now.replicas.every(({ state }) => state === 'good')
    }
    for (let look = 0; !(await isWhole()); look++) {
      assert.ok(look < 240, JSON.stringify(await fileOf(client)))
      await world.sleep(500)
    }
    assert.is((await client.fsck('/')).status, 'HEALTHY')
    assert.is(Buffer.compare(await client.readFile('/f'), bytes), 0)
    client.close()
  })
})

test.run()
