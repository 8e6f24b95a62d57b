// A cluster of real processes from dist/, on ports that the system chooses: one master, some chunkservers.
//
// Chunks lie in memory, so that no disk stands between the figures and the code; the master's log lies where the caller
// says.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { parseLogLine, readLines } from '../src/cli/log-lines.ts'
import { endWithUs, makeDirectory, removeDirectory, type Usage, usageOf } from './processes.ts'

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
/** The built programs; another build's to compare with, by DFS_BENCH_DIST. */
export const dist = path.resolve(root, process.env.DFS_BENCH_DIST ?? 'dist')
/** Where "files in memory" lie. */
export const memory = fs.existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir()

const readyMsMax = 60_000

/** Where a daemon listens, and the command that runs others there. */
export interface Place {
  readonly address: string
  readonly prefix: readonly string[]
}

const here: Place = { address: '127.0.0.1', prefix: [] }

type LogFields = Readonly<Record<string, unknown>>

/** One daemon. */
export interface Daemon {
  readonly id: string
  readonly pid: number
  readonly listen: string
  /** Where /metrics is. */
  readonly http: string
  /** From the start of the process to its `ready` line. */
  readonly readyMs: number
  /** The fields of its log lines before it was ready. */
  readonly startLog: readonly LogFields[]
  usage(): Usage | undefined
  kill(): Promise<void>
  /** SIGTERM, and its end awaited. */
  stop(): Promise<void>
}

export interface Cluster {
  /** `host:port` of the master. */
  readonly master: string
  readonly daemons: readonly Daemon[]
  /** Stops all; what they stored is removed. */
  stop(): Promise<void>
}

/** Arguments of Node for every process under test: a profile of each where --profile asked for it. */
export function nodeArguments(profile: string | undefined): string[] {
  return profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${path.resolve(profile)}`]
}

/**
 * @param options.masterDirectory  a directory on the disk that is to carry the log; memory when left out
 * @param options.chunkDirectory   the same for the chunks
 * @param options.profile          directory for CPU profiles of the daemons
 * @param options.masterArguments  more options of the master
 * @param options.hostOf           where a daemon runs (0: the master, then the chunkservers); here when left out
 */
export async function startCluster(options: {
  readonly chunkservers: number
  readonly masterDirectory?: string
  readonly chunkDirectory?: string
  readonly profile?: string | undefined
  readonly masterArguments?: readonly string[]
  readonly hostOf?: (number: number) => Place
}): Promise<Cluster> {
  const { chunkservers, profile, masterArguments = [], hostOf = () => here } = options
  const { masterDirectory = memory, chunkDirectory = memory } = options
  const masterData = makeDirectory(masterDirectory, 'master')
  const chunkData = makeDirectory(chunkDirectory, 'chunks')
  const daemons: Daemon[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(daemons.slice(1).map((daemon) => daemon.stop()))
    await daemons[0]?.stop()
    removeDirectory(masterData)
    removeDirectory(chunkData)
  }
  try {
    const replication = Math.max(1, Math.min(3, chunkservers))
    const masterArgs = ['--replication', String(replication), ...masterArguments]
    const master = await startMaster(masterData, { profile, args: masterArgs, place: hostOf(0) })
    daemons.push(master)
    for (let number = 1; number <= chunkservers; number++) {
      const data = path.join(chunkData, String(number))
      const args = ['chunk', '--data', data, '--master', master.listen]
      daemons.push(await startDaemon(`chunkserver-${number}`, args, profile, hostOf(number)))
    }
    return { master: master.listen, daemons, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

export function startMaster(
  data: string,
  options: {
    readonly profile?: string | undefined
    readonly args?: readonly string[]
    readonly place?: Place
  } = {},
): Promise<Daemon> {
  const args = ['master', '--data', data, ...(options.args ?? [])]
  return startDaemon('master', args, options.profile, options.place ?? here)
}

async function startDaemon(
  id: string,
  args: readonly string[],
  profile: string | undefined,
  place: Place,
): Promise<Daemon> {
  const program = path.join(dist, 'dfsd.js')
  if (!fs.existsSync(program)) throw new Error(`${program} is missing: npm run build`)
  const ports = ['--listen', `${place.address}:0`, '--http', '127.0.0.1:0']
  const startMs = performance.now()
  const node = [process.execPath, ...nodeArguments(profile), program, ...args, ...ports, '--stop-with-stdin']
  const [command = '', ...rest] = [...place.prefix, ...node]
  const child = endWithUs(
    execa(command, rest, {
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'inherit',
      buffer: false,
      reject: false,
    }),
  )
  const pid = child.pid ?? 0
  const startLog: LogFields[] = []
  const ready = await new Promise<LogFields>((resolve, reject) => {
    const late = setTimeout(
      () => reject(new Error(`${id} was not ready after ${readyMsMax} ms; last: ${startLog.at(-1)?.msg}`)),
      readyMsMax,
    )
    readLines(child.stdout, (line) => {
      const fields = parseLogLine(line)
      if (fields?.event === 'ready') {
        clearTimeout(late)
        resolve(fields)
      } else if (fields !== undefined) startLog.push(fields)
    })
    child.then((end) => {
      clearTimeout(late)
      const last = startLog.at(-1)?.reason ?? `exit code ${end.exitCode}`
      reject(new Error(`${id} ended before it was ready: ${last}`))
    }, reject)
  })
  const end = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
    child.kill(signal)
    await child
  }
  return {
    id,
    pid,
    listen: String(ready.listen),
    http: String(ready.http),
    readyMs: performance.now() - startMs,
    startLog,
    usage: () => usageOf(pid),
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
  }
}
