// The two programs as the demo runs them: real processes, as a person would start them.

import { execa } from 'execa'
import { parseLogLine, readLines } from '../log-lines.ts'

const startMsMax = 60_000
const stopMsMax = 40_000
const verbMsMax = 600_000

export interface DemoProcess {
  readonly role: string
  readonly id: string
  readonly pid: number
}

export interface DemoCluster {
  /** `host:port` */
  readonly master: string
  readonly processes: readonly DemoProcess[]
  /** Stops every part and waits for it. */
  stop(): Promise<void>
}

/** `dfsd dev` in `data`. It stops by itself when this process ends, however that happens. */
export async function startCluster(data: string, signal: AbortSignal): Promise<DemoCluster> {
  const args = ['dev', '--data', data, '--listen', '127.0.0.1:0', '--stop-with-stdin']
  const child = execa(process.execPath, [...program('dfsd'), ...args], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
    buffer: false,
    reject: false,
    // A terminal's Ctrl-C reaches us alone; we stop the cluster.
    detached: true,
    cleanup: false,
    env: clean,
  })
  let isRunning = true
  const ended = child.then(() => {
    isRunning = false
  })
  const stop = async () => {
    if (isRunning) child.kill('SIGTERM')
    const late = setTimeout(() => child.kill('SIGKILL'), stopMsMax)
    await ended
    clearTimeout(late)
  }
  try {
    const { master, processes } = await readyLine(child, ended, signal)
    return { master, processes, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Runs `dfs VERB … --json`. @returns its document. @throws with what it said on stderr */
export async function dfs<T>(master: string, args: readonly string[], signal: AbortSignal): Promise<T> {
  const result = await execa(process.execPath, [...program('dfs'), ...args, '--json', '--master', master], {
    reject: false,
    timeout: verbMsMax,
    cancelSignal: signal,
    env: clean,
  })
  if (result.exitCode !== 0) {
    const how =
      result.exitCode === undefined ? `ended by ${result.signal ?? 'the demo'}` : `exit code ${result.exitCode}`
    throw new Error(`dfs ${args.join(' ')}: ${how}\n${result.stderr}`)
  }
  return JSON.parse(result.stdout)
}

/** What a person has in the environment for a cluster of their own is not meant here. */
const clean: Readonly<Record<string, undefined>> = Object.fromEntries(
  Object.keys(process.env)
    .filter((name) => /^DFSD?_/.test(name))
    .map((name) => [name, undefined]),
)

/** A program, started as we were: with the loader that runs us, if any. */
function program(name: 'dfs' | 'dfsd'): string[] {
  const own = process.argv[1] ?? ''
  return [...process.execArgv, own.replace(/demo(\.[jt]s)$/, `${name}$1`)]
}

interface ReadyLine {
  readonly master: string
  readonly processes: readonly DemoProcess[]
}

function readyLine(
  child: { readonly stdout: NodeJS.ReadableStream; readonly stderr: NodeJS.ReadableStream },
  ended: Promise<void>,
  signal: AbortSignal,
): Promise<ReadyLine> {
  const last: string[] = []
  return new Promise((resolve, reject) => {
    const fail = (reason: string) => {
      clearTimeout(late)
      reject(new Error(`the cluster did not start: ${reason}\n${last.join('\n')}`))
    }
    const late = setTimeout(() => fail(`not ready after ${startMsMax} ms`), startMsMax)
    const take = (line: string) => {
      const fields = parseLogLine(line)
      if (fields?.event === 'ready') {
        clearTimeout(late)
        resolve(fields as unknown as ReadyLine)
      } else if (last.push(line) > 20) last.shift()
    }
    readLines(child.stdout, take)
    readLines(child.stderr, take)
    void ended.then(() => fail('it ended'))
    signal.addEventListener('abort', () => fail('interrupted'), { once: true })
  })
}
