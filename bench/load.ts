// A client in a process of its own: connects with the built library, then does one job after the other that its parent
// sends and answers what each took.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Client } from '../src/client/index.ts'
import { dist, nodeArguments } from './cluster.ts'
import { populationPath } from './population.ts'
import { type Usage, usageOf } from './processes.ts'

export type Job =
  /** One file, sequentially; `stream` reads into buffers of one's own, `read` lends those of the sockets. */
  | { readonly kind: 'write' | 'read' | 'stream'; readonly path: string; readonly bytes: number }
  /** `count` reads of `length` bytes at multiples of it, in random order. */
  | {
      readonly kind: 'readRandom'
      readonly path: string
      readonly bytes: number
      readonly length: number
      readonly count: number
      readonly inFlight: number
    }
  /** The directories that `create` puts its files into. */
  | { readonly kind: 'prepare'; readonly directory: string; readonly count: number }
  /** Empty files, durable, a thousand a directory. */
  | { readonly kind: 'create'; readonly directory: string; readonly count: number; readonly inFlight: number }
  /** `stat` of random ones of the files that `create` made in the directories. */
  | {
      readonly kind: 'stat'
      readonly directories: readonly string[]
      readonly files: number
      readonly count: number
      readonly inFlight: number
    }
  /** `stat` of random ones of the files of a population (population.ts). */
  | { readonly kind: 'statPopulation'; readonly files: number; readonly count: number; readonly inFlight: number }
  /**
   * Creates at a steady rate for so long, answered or not, and, with `checkpoint`, until the checkpoint that is asked for
   * first is there. Each one's time counts from when it was due.
   */
  | {
      readonly kind: 'createPaced'
      readonly directory: string
      readonly perSecond: number
      readonly seconds: number
      readonly checkpoint: boolean
    }
  /** `count` records of `length` bytes in all, by `writers` appenders of one file, each with some under way. */
  | {
      readonly kind: 'append'
      readonly path: string
      readonly writers: number
      readonly count: number
      readonly length: number
      readonly inFlight: number
    }
  | { readonly kind: 'remove'; readonly path: string }

export interface Done {
  readonly seconds: number
  readonly cpuSeconds: number
  /** Of paced jobs: how long each operation took. */
  readonly latency?: Latency
}

export interface Latency {
  readonly count: number
  readonly p50Ms: number
  readonly p99Ms: number
}

const filesPerDirectory = 1000
const MiB = 2 ** 20

export interface LoadClient {
  readonly pid: number
  run(job: Job): Promise<Done>
  usage(): Usage | undefined
  stop(): Promise<void>
}

/**
 * @param profile      directory for its CPU profile
 * @param directReads  whether it may read the files of chunkservers, which are all on its host
 */
export async function startClient(master: string, profile?: string, directReads = false): Promise<LoadClient> {
  const child = fork(fileURLToPath(import.meta.url), [master, directReads ? 'direct' : 'network'], {
    execArgv: ['--import', import.meta.resolve('tsx'), ...nodeArguments(profile)],
  })
  const exited = once(child, 'exit')
  await answer(child, exited)
  return {
    run: async (job) => {
      child.send(job)
      return await answer(child, exited)
    },
    pid: child.pid ?? 0,
    usage: () => usageOf(child.pid ?? 0),
    stop: async () => {
      child.disconnect()
      await exited
    },
  }
}

async function answer(child: ChildProcess, exited: Promise<unknown>): Promise<Done> {
  const reply = await Promise.race([once(child, 'message'), exited.then(() => undefined)])
  if (reply === undefined) throw new Error('the client process has ended')
  const [done] = reply
  if (typeof done.error === 'string') throw new Error(done.error)
  return done
}

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
  // Awaited at the end; should it fail before, that is the time to say so.
  checkpoint?.catch(() => {})
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

async function serve(masters: string, directReads: boolean): Promise<void> {
  const library: typeof import('../src/client/index.ts') = await import(path.join(dist, 'index.js'))
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

if (process.argv[1] !== undefined && fs.realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await serve(process.argv[2] ?? '', process.argv[3] === 'direct')
}
