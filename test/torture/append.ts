// npm run torture:append: records of many writers on one file while its primaries die, one after the other.
//
//   npm run torture:append -- [--records 100000] [--writers 16] [--seconds 60] [--every 3] [--seed N] [--dir DIR] [--keep DIR]
//
// Every few seconds the primary of the file's open tail is killed with SIGKILL, and started again a moment later. The
// writers' pace is such that it lasts about so many seconds. Then the file is read back: lost 0, duplicates 0, each
// record where its writer was told. Half of the writers ask for durable records.

import { parseArgs } from 'node:util'
import fs from 'fs-extra'
import { type ChunkHandle, formatHandle, formatServer } from '../../src/base/ids.ts'
import { Random } from '../../src/base/random.ts'
import { decodeHeader } from '../../src/chunkserver/format.ts'
import type { Client } from '../../src/client/client.ts'
import { reportOf, sleep, TortureCluster, whole } from './cluster.ts'
import { storedChunks } from './damage.ts'
import { enterNetwork } from './hosts.ts'
import { checkRecords, RecordWriter } from './record-load.ts'

const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '100000' },
    writers: { type: 'string', default: '16' },
    seconds: { type: 'string', default: '60' },
    every: { type: 'string', default: '3' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    dir: { type: 'string' },
    keep: { type: 'string' },
  },
})
const records = Number(values.records)
const writerCount = Number(values.writers)
const seed = Number(values.seed)
const everyMs = Number(values.every) * 1000
const PATH = '/log'
const IN_FLIGHT = 64

const canCut = await enterNetwork()
const random = new Random(seed)
const again = `npm run torture:append -- --seed ${seed} --records ${records} --writers ${writerCount} --seconds ${values.seconds} --every ${values.every}`
console.log(`seed ${seed}; to repeat: ${again}`)

const cluster = await TortureCluster.start({ chunkservers: 5, canCut, parent: values.dir })
let isOver = false
try {
  const watcher = await cluster.client({ name: 'watcher', timeoutMs: 120_000 })
  await watcher.writeFile(PATH, new Uint8Array(0))
  const share = Math.ceil(records / writerCount)
  const burstsEach = share / ((1 + IN_FLIGHT) / 2)
  const writers: RecordWriter[] = []
  for (let writer = 0; writer < writerCount; writer++) {
    const client = await cluster.client({ name: `writer-${writer}` })
    const pauseMsMax = Math.round((2 * Number(values.seconds) * 1000) / burstsEach)
    const options = { path: PATH, writer, records: share, inFlight: IN_FLIGHT, pauseMsMax, bytesMax: 100 }
    writers.push(new RecordWriter(client, random.fork(), { ...options, sync: writer % 2 === 0 }))
  }
  const startMs = performance.now()
  const killing = killPrimaries(watcher)
  // A violation ends it at once.
  await Promise.race([Promise.all(writers.map((writer) => writer.run())), killing])
  isOver = true
  const seconds = (performance.now() - startMs) / 1000
  const kills = await killing
  await cluster.heal()
  await whole(watcher)
  const acknowledged = writers.reduce((sum, writer) => sum + writer.acknowledged.size, 0)
  const found = checkRecords(PATH, await watcher.readFile(PATH), writers)
  const excused = writers.flatMap(({ failed }) => [...failed])
  console.log(
    JSON.stringify({
      torture: 'append',
      seed,
      writers: writerCount,
      acknowledged,
      found,
      lost: 0,
      duplicates: 0,
      kills,
      failed: excused.reduce((sum, [, count]) => sum + count, 0),
      seconds: Math.round(seconds),
    }),
  )
} catch (error) {
  console.error(`FAILED, seed ${seed}; to repeat: ${again}`)
  console.error(error)
  process.exitCode = 1
} finally {
  isOver = true
  if (values.keep !== undefined) cluster.saveLogs(values.keep)
  await cluster.close()
}
process.exit()

/** Until it is over. @returns how many were killed */
async function killPrimaries(client: Client): Promise<number> {
  let kills = 0
  while (!isOver) {
    await sleep(everyMs / 2 + random.below(everyMs))
    if (isOver) break
    const name = await primaryOfTail(client)
    if (name === undefined) continue
    await cluster.kill(name)
    kills++
    await sleep(random.below(1500))
    await cluster.start(name)
  }
  return kills
}

/** Who orders the records of the file's tail now; undefined while it has none. */
async function primaryOfTail(client: Client): Promise<string | undefined> {
  const { tail } = (await client.info(PATH)) as { readonly tail: number | null }
  if (tail === null) return undefined
  const name = formatHandle(tail as ChunkHandle)
  for (const { data } of storedChunks(cluster).find((chunk) => chunk.name === name)?.servers ?? []) {
    const meta = data.replace(/data$/, 'meta')
    if (!fs.existsSync(meta)) continue
    const header = decodeHeader(fs.readFileSync(meta))
    if ('fault' in header || header.members[0] === undefined) continue
    const id = formatServer(header.members[0].server)
    const address = (await reportOf(client)).servers.find((server) => server.id === id)?.address
    return cluster.chunkservers.find((server) => cluster.listenOf(server) === address)
  }
  return undefined
}
