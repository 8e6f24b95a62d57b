// A client in a process of its own, without any loader between the built library and Node: client-process.ts, whose
// types are stripped before it starts. A loader would rewrite the library, and be measured with it.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { dist, nodeArguments } from './cluster.ts'
import { makeDirectory, type Usage, usageOf } from './processes.ts'

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
  program ??= strippedProgram()
  const library = path.join(dist, 'index.js')
  const child = fork(program, [library, master, directReads ? 'direct' : 'network'], {
    execArgv: nodeArguments(profile),
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

let program: string | undefined

function strippedProgram(): string {
  const outfile = path.join(makeDirectory(os.tmpdir(), 'load'), 'client-process.mjs')
  const source = fileURLToPath(new URL('client-process.ts', import.meta.url))
  buildSync({ entryPoints: [source], outfile, bundle: true, format: 'esm', platform: 'node', target: 'node20' })
  return outfile
}

async function answer(child: ChildProcess, exited: Promise<unknown>): Promise<Done> {
  const reply = await Promise.race([once(child, 'message'), exited.then(() => undefined)])
  if (reply === undefined) throw new Error('the client process has ended')
  const [done] = reply
  if (typeof done.error === 'string') throw new Error(done.error)
  return done
}
