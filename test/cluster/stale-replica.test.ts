// deadline: 240 s
//
// Replicas that come back wrong are never read from: a data directory of earlier (older, shorter, long deleted), a tail
// that is longer than what was sealed, and other bytes of the same length that prove themselves (GFS §4.5; P3).
//
// Method: the server with the wrong replicas is left alone in the cluster, so that it is read from or nobody is. What is
// asked for must then be right or an error. With the others back, everything is right and stays so.

import fs from 'node:fs'
import path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { isDfsError } from '../../src/base/errors.ts'
import { type ChunkHandle, formatHandle } from '../../src/base/ids.ts'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import { MiB } from '../../src/base/units.ts'
import {
  CHUNK_HEADER_BYTES,
  decodeHeader,
  encodeHeader,
  encodeRecord,
  encodeTrailer,
} from '../../src/chunkserver/format.ts'
import type { Client } from '../../src/client/client.ts'
import { reportOf, sleep, TortureCluster, until, whole } from '../torture/cluster.ts'
import { storedChunks } from '../torture/damage.ts'
import { killAll, patternBytes } from './harness.ts'

test.after(killAll)

interface Info {
  readonly tail: number | null
  readonly chunks: readonly {
    readonly handle: number
    readonly state: string
    readonly length: number
    readonly digest: string
  }[]
}

async function infoOf(client: Client, file: string): Promise<Info> {
  return (await client.info(file)) as Info
}

function start(chunkservers: number): Promise<TortureCluster> {
  const master = ['--chunk-size', '1MiB', '--retention', '0']
  return TortureCluster.start({ chunkservers, canCut: false, master, chunk: ['--scrub-rate', '0'] })
}

/** Every file that can be read is right; what can't is an error. @returns how many were read */
async function readRight(client: Client, files: ReadonlyMap<string, Buffer>, timeoutMs: number): Promise<number> {
  const read = await Promise.all(
    [...files].map(async ([file, bytes]) => {
      try {
        const found = await client.readFile(file, { timeoutMs })
        assert.is(Buffer.compare(found, bytes), 0, `${file}: ${found.length} bytes read, ${bytes.length} expected`)
        return true
      } catch (error) {
        if (!isDfsError(error)) throw error
        return false
      }
    }),
  )
  return read.filter(Boolean).length
}

/** No chunkserver but `name` lives while `check` runs. */
async function alone(cluster: TortureCluster, name: string, check: () => Promise<void>): Promise<void> {
  const others = cluster.chunkservers.filter((other) => other !== name)
  await Promise.all(others.map((other) => cluster.kill(other)))
  await check()
  await Promise.all(others.map((other) => cluster.start(other)))
}

async function healthy(cluster: TortureCluster, client: Client, files: ReadonlyMap<string, Buffer>): Promise<void> {
  await whole(client)
  assert.is(await readRight(client, files, 30_000), files.size, 'every file is there')
  const { begun } = await client.scrub()
  assert.is(begun.length, cluster.chunkservers.length)
  await until(
    'scrubbed',
    async () => cluster.chunkservers.map((name) => cluster.eventCount(name, 'scrubbed')),
    (counts) => counts.every((count) => count > 0),
  )
  await whole(client)
  await until(
    'HEALTHY',
    () => client.fsck('/'),
    ({ status }) => status === 'HEALTHY',
  )
}

test('a data directory of earlier in place of the present one: nothing old is read, nothing deleted comes back', async () => {
  const cluster = await start(4)
  const client = await cluster.client()
  const name = cluster.chunkservers[0]!
  const files = new Map<string, Buffer>()
  const put = async (file: string, bytes: Buffer) => {
    await client.writeFile(file, bytes, { overwrite: true })
    files.set(file, bytes)
  }
  for (let i = 0; i < 6; i++) await put(`/old-${i}`, patternBytes(MiB + i, 100 + i))
  const appender = await client.openAppender('/log', { create: true })
  let log = Buffer.alloc(0)
  const append = async (text: string) => {
    const record = Buffer.from(text.repeat(3000))
    assert.is(await appender.append(record), log.length)
    log = Buffer.concat([log, record])
    files.set('/log', log)
  }
  for (let i = 0; i < 5; i++) await append(`early ${i} `)

  // The copy has an open tail, open packing chunks, and chunks that are removed later.
  cluster.stop(name)
  const aside = `${cluster.dataOf(name)}-aside`
  fs.cpSync(cluster.dataOf(name), aside, { recursive: true })
  cluster.resume(name)

  for (let i = 0; i < 5; i++) await append(`late ${i} `)
  for (let i = 0; i < 6; i += 2) await put(`/old-${i}`, patternBytes(MiB + i, 200 + i))
  await client.remove('/old-1', { now: true })
  files.delete('/old-1')
  for (let i = 0; i < 4; i++) await put(`/new-${i}`, patternBytes(MiB + 700 * i, 300 + i))
  await appender.close()

  await cluster.kill(name)
  fs.rmSync(cluster.dataOf(name), { recursive: true })
  fs.renameSync(aside, cluster.dataOf(name))
  await cluster.start(name)
  await readRight(client, files, 3000)
  await alone(cluster, name, async () => {
    await readRight(client, files, 3000)
  })
  await healthy(cluster, client, files)
  const gone = await client.readFile('/old-1').catch((error: unknown) => error)
  assert.ok(isDfsError(gone, 'NOT_FOUND'), String(gone))
  await cluster.close()
})

test('a tail longer than what was sealed is cut, and never read', async () => {
  const cluster = await start(3)
  const client = await cluster.client()
  const appender = await client.openAppender('/log', { create: true })
  const first = Buffer.from('first '.repeat(1000))
  const second = Buffer.from('second '.repeat(1000))
  await appender.append(first)
  const handle = (await infoOf(client, '/log')).tail as ChunkHandle
  const stored = storedChunks(cluster).find((chunk) => chunk.name === formatHandle(handle))!
  assert.is(stored.servers.length, 3)
  const header = decodeHeader(fs.readFileSync(stored.servers[0]!.data.replace(/data$/, 'meta')))
  assert.ok(!('fault' in header))
  const { servers } = await reportOf(client)
  const chain = header.members.map(({ server }) => {
    const { address } = servers.find(({ id }) => id === `cs-${server}`)!
    return cluster.chunkservers.find((one) => cluster.listenOf(one) === address)!
  })
  const [head, middle, end] = chain as [string, string, string]
  const bytesOn = (name: string) =>
    storedChunks(cluster)
      .find((chunk) => chunk.name === stored.name)
      ?.servers.find(({ server }) => server === name)?.bytes ?? 0

  // The last of the chain is silent: the others hold what it never got, and die with it.
  cluster.stop(end)
  const pending = appender.append(second)
  await until(
    'stored before the end of the chain',
    async () => [head, middle].map(bytesOn),
    (bytes) => bytes.every((count) => count >= first.length + second.length),
    { everyMs: 5 },
  )
  await Promise.all([cluster.kill(head), cluster.kill(middle)])
  cluster.resume(end)
  await sleep(500)
  assert.is(Buffer.compare((await client.readFile('/log')).subarray(0, first.length), first), 0)
  await Promise.all([cluster.start(head), cluster.start(middle)])
  assert.is(await pending, first.length)
  await appender.close()
  const files = new Map([['/log', Buffer.concat([first, second])]])
  await healthy(cluster, client, files)
  const { chunks } = await infoOf(client, '/log')
  const sealed = chunks.find((chunk) => chunk.handle === handle)
  assert.is(sealed?.state, 'sealed')
  for (const name of chain)
    await until(
      'cut',
      async () => bytesOn(name),
      (bytes) => bytes === sealed!.length,
    )
  await cluster.close()
})

test('other bytes of the same length that prove themselves are never read: the log knows the digest', async () => {
  const cluster = await start(4)
  const client = await cluster.client()
  const files = new Map<string, Buffer>()
  for (let i = 0; i < 8; i++) {
    files.set(`/f${i}`, patternBytes(MiB, 400 + i))
    await client.writeFile(`/f${i}`, files.get(`/f${i}`)!)
  }
  await whole(client)
  const name = cluster.chunkservers[0]!
  const handles = new Set<string>()
  for (const file of files.keys())
    for (const { handle } of (await infoOf(client, file)).chunks) handles.add(formatHandle(handle as ChunkHandle))
  await cluster.kill(name)
  let forged = 0
  for (const chunk of storedChunks(cluster)) {
    const own = chunk.servers.find(({ server }) => server === name)
    if (own === undefined || !handles.has(chunk.name)) continue
    forge(own.data, patternBytes(own.bytes, 900 + forged))
    forged++
  }
  assert.ok(forged >= 3, `${forged} replicas`)
  // Alone from its start on: beside others it would soon have right replicas again.
  await alone(cluster, name, async () => {
    await cluster.start(name)
    assert.is(await readRight(client, files, 3000), 0, 'whatever it has is forged')
  })
  assert.is(await readRight(client, files, 10_000), files.size)
  await healthy(cluster, client, files)
  await cluster.close()
})

/** Writes a sealed replica of other bytes: header, sums, digest and trailer all agree, as after a mistaken restore. */
function forge(data: string, bytes: Buffer): void {
  const meta = data.replace(/data$/, 'meta')
  const header = decodeHeader(fs.readFileSync(meta))
  assert.ok(!('fault' in header))
  const length = bytes.length
  const sums = Uint32Array.from({ length: Math.ceil(length / BLOCK_BYTES) }, (_, block) =>
    crc32(bytes.subarray(block * BLOCK_BYTES, Math.min(length, (block + 1) * BLOCK_BYTES))),
  )
  const digest = crc32(bytes)
  const first = encodeHeader(header)
  const facts = { version: header.version, length, digest, indexDigest: 0 }
  const record = encodeRecord(
    { kind: 'sealed', ...facts, sums, entries: [] },
    CHUNK_HEADER_BYTES,
    first.readUInt32LE(CHUNK_HEADER_BYTES - 4),
    0,
  )
  const trailer = encodeTrailer({
    handle: header.handle,
    ...facts,
    recordOffset: CHUNK_HEADER_BYTES,
    recordBytes: record.bytes.length,
    recordCrc: record.crc,
  })
  fs.writeFileSync(data, bytes)
  fs.writeFileSync(meta, Buffer.concat([first, record.bytes, trailer]))
  assert.ok(path.basename(data, '.data') === formatHandle(header.handle))
}

test.run()
