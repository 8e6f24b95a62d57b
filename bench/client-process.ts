// The process of load.ts: connects with the built library, then does one job after the other that its parent sends and
// answers what each took. load.ts makes one file of it, so it imports nothing that it doesn't need.

import { pathToFileURL } from 'node:url'
import type { Client } from '../src/client/index.ts'
import type { Job, Latency } from './load.ts'
import { populationPath } from './population-path.ts'

const filesPerDirectory = 1000
const MiB = 2 ** 20

const [library = '', masters = '', reads = ''] = process.argv.slice(2)
await serve(library, masters, reads === 'direct')

async function perform(client: Client, job: Job): Promise<Latency | undefined> {
  switch (job.kind) {
    case 'write': {
      const writer = client.createWriter(job.path)
      const pieces = somePieces()
      for (let sent = 0; sent < job.bytes; sent += MiB) await writer.write(pieces[(sent / MiB) % pieces.length]!)
      await writer.close()
      return undefined
    }
    case 'read': {
      const reader = await client.openReader(job.path)
      const bytes = await reader.copyTo(async () => {})
      if (bytes !== job.bytes) throw new Error(`${bytes} bytes read, ${job.bytes} expected`)
      reader.close()
      return undefined
    }
    case 'stream': {
      let bytes = 0
      for await (const buffer of client.readStream(job.path)) bytes += buffer.length
      if (bytes !== job.bytes) throw new Error(`${bytes} bytes read, ${job.bytes} expected`)
      return undefined
    }
    case 'readRandom': {
      const reader = await client.openReader(job.path)
      const random = randomBelow(Math.floor(job.bytes / job.length))
      const free = Array.from({ length: job.inFlight }, () => Buffer.alloc(job.length))
      await inParallel(job.count, job.inFlight, async () => {
        const target = free.pop()!
        const bytes = await reader.readInto(target, random() * job.length)
        if (bytes !== job.length) throw new Error(`${bytes} bytes read, ${job.length} expected`)
        free.push(target)
      })
      reader.close()
      return undefined
    }
    case 'prepare': {
      const directories = Math.ceil(job.count / filesPerDirectory)
      await client.makeDirectory(job.directory)
      await inParallel(directories, 16, (number) => client.makeDirectory(`${job.directory}/${number}`))
      return undefined
    }
    case 'create': {
      const nothing = Buffer.alloc(0)
      await inParallel(job.count, job.inFlight, async (index) => {
        await client.writeFile(fileName(job.directory, index), nothing)
      })
      return undefined
    }
    case 'stat': {
      const { directories } = job
      const random = randomBelow(job.files * directories.length)
      await inParallel(job.count, job.inFlight, async () => {
        const file = random()
        await client.stat(fileName(directories[file % directories.length]!, Math.floor(file / directories.length)))
      })
      return undefined
    }
    case 'statPopulation': {
      const random = randomBelow(job.files)
      await inParallel(job.count, job.inFlight, async () => {
        await client.stat(populationPath(random()))
      })
      return undefined
    }
    case 'createPaced':
      return await createPaced(client, job)
    case 'append': {
      const record = Buffer.alloc(job.length, 'r')
      const share = Math.floor(job.count / job.writers)
      const append = async (): Promise<void> => {
        const appender = await client.openAppender(job.path, { create: true })
        await inParallel(share, job.inFlight, async () => {
          await appender.append(record)
        })
        await appender.close()
      }
      await Promise.all(Array.from({ length: job.writers }, append))
      return undefined
    }
    case 'remove':
      await client.remove(job.path, { now: true })
      return undefined
  }
}

function fileName(directory: string, index: number): string {
  return `${directory}/${Math.floor(index / filesPerDirectory)}/file-${String(index).padStart(15, '0')}`
}

async function createPaced(client: Client, job: Extract<Job, { readonly kind: 'createPaced' }>): Promise<Latency> {
  const nothing = Buffer.alloc(0)
  const tookMs: number[] = []
  const pending: Promise<void>[] = []
  let isCheckpointing = job.checkpoint
  const checkpoint = job.checkpoint ? client.checkpoint().finally(() => (isCheckpointing = false)) : undefined
  checkpoint?.catch(() => {}) // awaited at the end: that is the time to say that it failed
  const startMs = performance.now()
  let sent = 0
  for (let nowMs = startMs; isCheckpointing || nowMs - startMs < job.seconds * 1000; nowMs = performance.now()) {
    for (; startMs + (sent * 1000) / job.perSecond <= nowMs; sent++) {
      const dueMs = startMs + (sent * 1000) / job.perSecond
      const create = async (index: number): Promise<void> => {
        await client.writeFile(fileName(job.directory, index), nothing)
        tookMs.push(performance.now() - dueMs)
      }
      pending.push(create(sent))
    }
    await nextTick()
  }
  await Promise.all(pending)
  await checkpoint
  tookMs.sort((a, b) => a - b)
  const at = (share: number): number => tookMs[Math.floor(tookMs.length * share)] ?? Number.NaN
  return { count: tookMs.length, p50Ms: at(0.5), p99Ms: at(0.99) }
}

/** The next millisecond, answers first. */
function nextTick(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1))
}

async function inParallel(count: number, inFlight: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
}

/** A few pieces of 1 MiB that no compressor or cache line finds easy. */
function somePieces(): Buffer[] {
  const random = randomBelow(2 ** 32)
  return Array.from({ length: 8 }, () => {
    const words = new Uint32Array(MiB / 4)
    for (let index = 0; index < words.length; index++) words[index] = random()
    return Buffer.from(words.buffer)
  })
}

/** The same sequence each time (xorshift32). */
function randomBelow(limit: number): () => number {
  let state = 0x9e3779b9
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return Math.floor(((state >>> 0) / 2 ** 32) * limit)
  }
}

async function serve(file: string, masters: string, directReads: boolean): Promise<void> {
  const library: typeof import('../src/client/index.ts') = await import(pathToFileURL(file).href)
  const client = await library.connect({ masters, directReads })
  process.on('disconnect', () => process.exit(0))
  process.on('message', async (job: Job) => {
    try {
      const before = process.cpuUsage()
      const startMs = performance.now()
      const latency = await perform(client, job)
      const seconds = (performance.now() - startMs) / 1000
      const { user, system } = process.cpuUsage(before)
      process.send?.({ seconds, cpuSeconds: (user + system) / 1e6, latency })
    } catch (error) {
      process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    }
  })
  process.send?.({ seconds: 0, cpuSeconds: 0 })
}
