// A cluster of real processes for tests: bundled from the sources of this moment, on ports that the system chooses, in a
// temporary directory. Parts can be killed and started again on the same data. Nothing outlives the test.

import { spawnSync } from 'node:child_process'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import fs from 'fs-extra'
import { parseLogLine, readLines } from '../../src/cli/log-lines.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const startMsMax = 20_000
const verbMsMax = 60_000

let programs: string | undefined
const removedAtExit: string[] = []
process.on('exit', () => {
  for (const directory of removedAtExit) fs.removeSync(directory)
})

/** The directory of the bundled programs, made once for each test process and removed with it. */
export function buildPrograms(): string {
  if (programs) return programs
  fs.ensureDirSync(path.join(root, '.cache'))
  const directory = fs.mkdtempSync(path.join(root, '.cache', 'programs-'))
  const build = spawnSync(process.execPath, ['src/build.mjs', '--no-types', '--out', directory], { cwd: root })
  if (build.status !== 0) throw new Error(`the programs can't be built:\n${build.stdout}${build.stderr}`)
  removedAtExit.push(directory)
  programs = directory
  return directory
}

/** A new temporary directory, removed when the process ends. */
export function scratchDirectory(parent = os.tmpdir()): string {
  const directory = fs.mkdtempSync(path.join(parent, 'dfs-test-'))
  removedAtExit.push(directory)
  return directory
}

export interface Result {
  readonly code: number
  readonly out: string
  readonly err: string
}

type Fields = Readonly<Record<string, unknown>>

/** One daemon. Its log is kept, line by line. */
export class Daemon {
  readonly lines: Fields[] = []
  readonly text: string[] = []
  /** Resolves with the exit code; a signal counts as 128. */
  readonly ended: Promise<number>
  isRunning = true
  readonly #process: ReturnType<typeof spawnDaemon>
  readonly #waiting = new Set<() => void>()

  /** @param prefix  a command that runs it: strace and its options */
  constructor(args: readonly string[], prefix: readonly string[] = []) {
    this.#process = spawnDaemon([...args, '--stop-with-stdin'], prefix)
    const take = (line: string) => {
      const fields = parseLogLine(line)
      if (fields) this.lines.push(fields)
      this.text.push(line)
      for (const wake of this.#waiting) wake()
    }
    readLines(this.#process.stdout, take)
    readLines(this.#process.stderr, take)
    this.ended = this.#process.then((result) => {
      this.isRunning = false
      for (const wake of this.#waiting) wake()
      return result.exitCode ?? 128
    })
    running.add(this)
    void this.ended.then(() => running.delete(this))
  }

  get pid(): number {
    return this.#process.pid ?? 0
  }

  /** The first line with this event. @throws when it ends or too much time passes first */
  async event(name: string, timeoutMs = startMsMax): Promise<Fields> {
    const late = Date.now() + timeoutMs
    for (;;) {
      const found = this.lines.find((fields) => fields.event === name)
      if (found) return found
      if (!this.isRunning) throw new Error(`ended without "${name}":\n${this.text.join('\n')}`)
      if (Date.now() > late) throw new Error(`no "${name}" after ${timeoutMs} ms:\n${this.text.join('\n')}`)
      await this.next()
    }
  }

  /** Resolves with the next line, the end, or after a moment. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer)
        this.#waiting.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, 100)
      this.#waiting.add(wake)
    })
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<number> {
    if (this.isRunning) this.#process.kill(signal)
    return this.ended
  }
}

const running = new Set<Daemon>()

/** Ends every daemon that a test left running. */
export async function killAll(): Promise<void> {
  await Promise.all([...running].map((daemon) => daemon.kill()))
}

function spawnDaemon(args: readonly string[], prefix: readonly string[]) {
  const [command = process.execPath, ...rest] = [
    ...prefix,
    process.execPath,
    path.join(buildPrograms(), 'dfsd.js'),
    ...args,
  ]
  return execa(command, rest, {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
    buffer: false,
    reject: false,
    env: cleanEnvironment,
  })
}

const cleanEnvironment: Readonly<Record<string, undefined>> = Object.fromEntries(
  Object.keys(process.env)
    .filter((name) => /^DFSD?_/.test(name))
    .map((name) => [name, undefined]),
)

/** Runs `dfsd` to its end: offline verbs and refused starts. */
export async function dfsd(...args: string[]): Promise<Result> {
  return runProgram('dfsd', args)
}

export interface RunOptions {
  readonly input?: string | Uint8Array
  /** Standard input stays open and silent. */
  readonly holdInput?: boolean
  readonly env?: Readonly<Record<string, string>>
  /** Sends SIGINT. */
  readonly interrupt?: AbortSignal
  /** Sends SIGINT once something was printed. */
  readonly interruptOnOutput?: boolean
  /** Closes the output after so many bytes. */
  readonly readOnly?: number
}

async function runProgram(name: 'dfs' | 'dfsd', args: readonly string[], options: RunOptions = {}): Promise<Result> {
  const { input = '', holdInput = false, env = {}, interrupt, interruptOnOutput = false, readOnly } = options
  const child = execa(process.execPath, [path.join(buildPrograms(), `${name}.js`), ...args], {
    reject: false,
    stripFinalNewline: false,
    timeout: verbMsMax,
    ...(holdInput ? { stdin: 'pipe' } : { input }),
    maxBuffer: 1 << 30,
    env: { ...cleanEnvironment, ...env },
  })
  interrupt?.addEventListener('abort', () => child.kill('SIGINT'), { once: true })
  if (interruptOnOutput) child.stdout.once('data', () => child.kill('SIGINT'))
  if (readOnly !== undefined) {
    let seen = 0
    child.stdout.on('data', (bytes: Buffer) => {
      seen += bytes.length
      if (seen >= readOnly) child.stdout.destroy()
    })
  }
  const result = await child
  return { code: result.exitCode ?? 128, out: result.stdout, err: result.stderr }
}

export interface ClusterOptions {
  readonly chunkservers?: number
  /** Further arguments of the master. */
  readonly master?: readonly string[]
  readonly chunk?: readonly string[]
}

/** A master and chunkservers on one data directory. */
export class Cluster {
  readonly directory: string
  readonly chunkservers: Daemon[] = []
  master!: Daemon
  /** `host:port` of the master; the same after a restart. */
  address = '127.0.0.1:0'
  readonly #options: ClusterOptions

  private constructor(options: ClusterOptions) {
    this.#options = options
    this.directory = scratchDirectory()
  }

  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    buildPrograms()
    const cluster = new Cluster(options)
    await cluster.startMaster()
    const count = options.chunkservers ?? 3
    await Promise.all(Array.from({ length: count }, (_, index) => cluster.startChunkserver(index)))
    return cluster
  }

  /** A cluster that something else runs: only verbs can be used. */
  static at(address: string): Cluster {
    const cluster = new Cluster({})
    cluster.address = address
    return cluster
  }

  get masterData(): string {
    return path.join(this.directory, 'master')
  }

  chunkData(index: number): string {
    return path.join(this.directory, `chunk-${index + 1}`)
  }

  /** Starts the master, or starts it again at the same address. */
  async startMaster(prefix: readonly string[] = []): Promise<void> {
    const goal = String(Math.max(1, Math.min(3, this.#options.chunkservers ?? 3)))
    const own = ['master', '--data', this.masterData, '--listen', this.address, '--http', '127.0.0.1:0']
    const args = [...own, '--replication', goal, ...(this.#options.master ?? [])]
    this.master = new Daemon(args, prefix)
    const { listen } = await this.master.event('ready')
    this.address = String(listen)
  }

  async startChunkserver(index: number): Promise<void> {
    const own = ['chunk', '--data', this.chunkData(index), '--master', this.address]
    const args = [...own, '--listen', '127.0.0.1:0', '--http', '127.0.0.1:0', '--reserve', '1MiB']
    const daemon = new Daemon([...args, ...(this.#options.chunk ?? [])])
    this.chunkservers[index] = daemon
    await daemon.event('ready')
  }

  /** Runs one verb to its end. */
  async run(args: readonly string[], options: RunOptions = {}): Promise<Result> {
    return runProgram('dfs', ['--master', this.address, ...args], options)
  }

  /** Runs `dfs` without telling it where the master is. */
  async plain(args: readonly string[], options: RunOptions): Promise<Result> {
    return runProgram('dfs', args, options)
  }

  /** Runs one verb that must succeed. @returns its stdout */
  async dfs(...args: string[]): Promise<string> {
    const { code, out, err } = await this.run(args)
    if (code !== 0) throw new Error(`dfs ${args.join(' ')}: exit code ${code}\n${err}`)
    return out
  }

  /** Runs one verb with --json that must succeed. @returns its document */
  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.dfs(...args, '--json'))
  }

  /** Runs one verb with --json that must succeed. @returns its rows */
  async rows<T>(...args: string[]): Promise<T[]> {
    const out = await this.dfs(...args, '--json')
    return out
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await Promise.all(this.chunkservers.map((daemon) => daemon.kill(signal)))
    await this.master.kill(signal)
  }

  /** Starts everything again on the same data. */
  async restart(): Promise<void> {
    await this.startMaster()
    await Promise.all(this.chunkservers.map((_, index) => this.startChunkserver(index)))
  }
}

/** `count` bytes that follow from `seed`: not compressible, not all the same. */
export function patternBytes(count: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(count)
  let state = (seed * 2654435761 + 1) >>> 0
  let index = 0
  for (; index + 4 <= count; index += 4) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes.writeInt32LE(state | 0, index)
  }
  for (; index < count; index++) bytes[index] = (state + index) & 255
  return bytes
}
