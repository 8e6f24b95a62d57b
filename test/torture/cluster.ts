// A cluster of real processes that is meant to be hurt: the master and each chunkserver on a host of its own, killed,
// stopped, cut off and started again at the same address on the same data.

import path from 'node:path'
import fs from 'fs-extra'
import { Client } from '../../src/client/client.ts'
import type { ClientOptions } from '../../src/client/options.ts'
import { nodeIo } from '../../src/io/node/io.ts'
import { buildPrograms, Daemon, killAll, scratchDirectory } from '../cluster/harness.ts'
import { Hosts } from './hosts.ts'

export const MASTER = 'master'

/** Of `report`, what tortures look at. */
export interface Report {
  readonly safeMode: { readonly on: boolean }
  readonly servers: readonly {
    readonly id: string
    readonly address: string
    readonly state: string
    readonly chunks: number
    readonly disks: readonly { readonly scrubAgeMs: number | null; readonly scrubPermille: number }[]
  }[]
  readonly totals: { readonly files: number; readonly chunks: number; readonly bytes: number }
  readonly repair: {
    readonly missing: number
    readonly corrupt: number
    readonly lastCopy: number
    readonly underReplicated: number
    readonly overReplicated: number
    readonly inFlight: number
    readonly sealing: number
    readonly givenUp: number
    readonly quarantined: number
    readonly copied: { readonly copies: number; readonly bytes: number }
    readonly incidents: readonly {
      readonly servers: readonly string[]
      readonly detectionMs: number
      readonly planMs: number
      readonly cloneMs: number
      readonly copies: number
      readonly bytes: number
    }[]
  }
}

export interface TortureClusterOptions {
  readonly chunkservers: number
  /** What `enterNetwork` returned. */
  readonly canCut: boolean
  /** Where data lies; a directory of its own is made in it. */
  readonly parent?: string | undefined
  readonly master?: readonly string[]
  readonly chunk?: readonly string[]
}

/** A daemon and where it runs: the same place and address through all its lives. */
interface Part {
  readonly name: string
  listen: string
  http: string
  daemon: Daemon | undefined
  /** Log lines of lives before this one. */
  readonly past: string[]
}

export class TortureCluster {
  readonly directory: string
  readonly hosts: Hosts
  readonly canCut: boolean
  readonly #options: TortureClusterOptions
  readonly #parts = new Map<string, Part>()
  readonly #clients: Client[] = []

  private constructor(options: TortureClusterOptions, hosts: Hosts) {
    this.#options = options
    this.hosts = hosts
    this.canCut = options.canCut
    this.directory = scratchDirectory(options.parent)
  }

  static async start(options: TortureClusterOptions): Promise<TortureCluster> {
    buildPrograms()
    const names = [MASTER, ...chunkserverNames(options.chunkservers)]
    const cluster = new TortureCluster(options, await Hosts.make(options.canCut, names))
    for (const name of names) {
      const { address } = cluster.hosts.get(name)
      cluster.#parts.set(name, { name, listen: `${address}:0`, http: `${address}:0`, daemon: undefined, past: [] })
    }
    await cluster.start(MASTER)
    await Promise.all(cluster.chunkservers.map((name) => cluster.start(name)))
    return cluster
  }

  get chunkservers(): string[] {
    return chunkserverNames(this.#options.chunkservers)
  }

  get masterAddress(): string {
    return this.#part(MASTER).listen
  }

  dataOf(name: string): string {
    return path.join(this.directory, name)
  }

  listenOf(name: string): string {
    return this.#part(name).listen
  }

  httpOf(name: string): string {
    return this.#part(name).http
  }

  /** The daemon of that name, while it has one; -1 stands for a pid that is not there. */
  pidOf(name: string): number {
    return this.#part(name).daemon?.pid ?? -1
  }

  isRunning(name: string): boolean {
    return this.#part(name).daemon?.isRunning ?? false
  }

  /** How often this life of a part has logged an event. */
  eventCount(name: string, event: string): number {
    return this.#part(name).daemon?.lines.filter((fields) => fields.event === event).length ?? 0
  }

  /** Starts a part that doesn't run, on its data, at its address; resolves when it serves. */
  async start(name: string): Promise<void> {
    const part = this.#part(name)
    if (part.daemon?.isRunning) throw new Error(`${name} runs already`)
    const shared = ['--data', this.dataOf(name), '--listen', part.listen, '--http', part.http]
    const args =
      name === MASTER
        ? ['master', ...shared, '--replication', '3', ...(this.#options.master ?? [])]
        : ['chunk', ...shared, '--master', this.masterAddress, '--reserve', '1MiB', ...(this.#options.chunk ?? [])]
    if (part.daemon !== undefined) part.past.push(...part.daemon.text)
    const daemon = new Daemon(args, this.hosts.get(name).prefix)
    part.daemon = daemon
    const { listen, http } = await daemon.event('ready', START_MS_MAX)
    part.listen = String(listen)
    part.http = String(http)
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(name: string): Promise<void> {
    await this.#part(name).daemon?.kill('SIGKILL')
  }

  /** SIGSTOP: alive, connected, silent. */
  stop(name: string): void {
    if (this.isRunning(name)) process.kill(this.pidOf(name), 'SIGSTOP')
  }

  resume(name: string): void {
    if (this.isRunning(name)) process.kill(this.pidOf(name), 'SIGCONT')
  }

  /** A library client in this process, closed with the cluster. */
  async client(options: Partial<ClientOptions> = {}): Promise<Client> {
    const client = await Client.connect(nodeIo(), {
      masters: this.masterAddress,
      onBug: (error) => {
        setImmediate(() => {
          throw error
        })
      },
      ...options,
    })
    this.#clients.push(client)
    return client
  }

  /** Everything that was hurt is as before: resumed, joined up, running. */
  async heal(): Promise<void> {
    await this.hosts.heal()
    for (const name of this.#parts.keys()) this.resume(name)
    if (!this.isRunning(MASTER)) await this.start(MASTER)
    await Promise.all(this.chunkservers.filter((name) => !this.isRunning(name)).map((name) => this.start(name)))
  }

  /** Writes every part's log to `directory`, one file each. */
  saveLogs(directory: string): void {
    fs.ensureDirSync(directory)
    for (const { name, past, daemon } of this.#parts.values()) {
      fs.writeFileSync(path.join(directory, `${name}.log`), [...past, ...(daemon?.text ?? [])].join('\n'))
    }
  }

  /** Ends everything at once; what it stored is removed. */
  async close(): Promise<void> {
    for (const client of this.#clients.splice(0)) client.close()
    await killAll()
    await this.hosts.close()
    fs.removeSync(this.directory)
  }

  #part(name: string): Part {
    const part = this.#parts.get(name)
    if (part === undefined) throw new Error(`there is no ${name}`)
    return part
  }
}

const START_MS_MAX = 60_000

function chunkserverNames(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `chunk-${index + 1}`)
}

export async function reportOf(client: Client): Promise<Report> {
  return (await client.report()) as Report
}

/** Asks every `everyMs` until it is so. @returns milliseconds it took @throws with the last answer after `timeoutMs` */
export async function until<T>(
  what: string,
  ask: () => Promise<T>,
  isSo: (answer: T) => boolean,
  options: { readonly timeoutMs?: number; readonly everyMs?: number } = {},
): Promise<number> {
  const { timeoutMs = 60_000, everyMs = 100 } = options
  const startMs = performance.now()
  for (;;) {
    const answer = await ask()
    const tookMs = performance.now() - startMs
    if (isSo(answer)) return tookMs
    if (tookMs > timeoutMs) throw new Error(`not ${what} after ${timeoutMs} ms: ${JSON.stringify(answer)}`)
    await sleep(everyMs)
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Waits until every server is there and every chunk has its replicas; some may have too many yet. @returns what it waited for last, and for how long in all */
export async function whole(client: Client, timeoutMs = 60_000): Promise<{ tookMs: number; waitedFor: string }> {
  let waitedFor = ''
  const isWhole = (report: Report): boolean => {
    const lacking = lackingOf(report)
    if (lacking !== '') waitedFor = lacking
    return lacking === ''
  }
  const tookMs = await until('whole', () => reportOf(client), isWhole, { timeoutMs })
  return { tookMs, waitedFor }
}

/** What is not as it should be: `underReplicated 3, inFlight 1`; empty when nothing is. */
function lackingOf({ safeMode, servers, repair }: Report): string {
  const { missing, underReplicated, inFlight, sealing } = repair
  const counts = { safeMode: Number(safeMode.on), missing, underReplicated, inFlight, sealing }
  return [
    ...servers.filter(({ state }) => state !== 'live').map(({ id, state }) => `${id} ${state}`),
    ...Object.entries(counts).flatMap(([name, count]) => (count > 0 ? [`${name} ${count}`] : [])),
  ].join(', ')
}
