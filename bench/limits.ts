// The yardsticks: what bare Node does on this machine right now, with no protocol, no checksum and no promise of
// durability. Benchmarks quote their figures as a ratio to these, measured in the same run, because a machine's speed
// drifts by the hour.
//
//   node --import tsx bench/limits.ts [relay3] [read1] [copy1] [echo] [fsync] [--runs 5] [--dir .]
//
//   relay3   MB/s   1 GiB from one process through three more over loopback, each of which writes it to a file in memory
//                   (ordinary `data` events, fs.write, the answer comes back when all have it): the naive triple write
//   read1    MB/s   1 GiB from a file in memory in one process, over loopback, to another that drops it
//   copy1    MB/s   the same, but the receiver writes it to a file in memory: the naive clone of a chunk
//   echo     1/s    requests of 48 bytes and answers between two processes, 64 in flight, one write each
//   fsync    1/s    append of 128 bytes + fdatasync, one after the other, on the disk of `--dir`
//
// One JSON line for each. MB is 10^6 bytes. "A file in memory" lies in /dev/shm, or in --dir where that is missing.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'

export const limitNames = ['relay3', 'read1', 'copy1', 'echo', 'fsync'] as const
export type LimitName = (typeof limitNames)[number]

/** One yardstick's result over its runs; whole numbers in `unit`. */
export interface Limit {
  readonly limit: LimitName
  readonly unit: 'MB/s' | '1/s'
  readonly median: number
  readonly min: number
  readonly max: number
  readonly runs: number
}

/**
 * Measures yardsticks one after the other. Needs up to 3 GiB of /dev/shm; removes what it wrote, ends what it started.
 *
 * @param options.runs       how often each is measured, 1 and up; odd numbers have a true median
 * @param options.directory  on the disk that `fsync` is to measure
 */
export async function measureLimits(
  names: readonly LimitName[],
  options: { readonly runs: number; readonly directory: string },
): Promise<Limit[]> {
  const results: Limit[] = []
  for (const name of names) {
    const rates: number[] = []
    for (let run = 0; run < options.runs; run++) rates.push(await yardsticks[name](options.directory))
    rates.sort((a, b) => a - b)
    results.push({
      limit: name,
      unit: name === 'echo' || name === 'fsync' ? '1/s' : 'MB/s',
      median: Math.round(rates[rates.length >> 1]!),
      min: Math.round(rates[0]!),
      max: Math.round(rates.at(-1)!),
      runs: options.runs,
    })
  }
  return results
}

const self = fileURLToPath(import.meta.url)
const host = '127.0.0.1'
const MiB = 2 ** 20
const streamBytes = 1024 * MiB
const echoBytes = 48
const echoCount = 200_000
const echoInFlight = 64
const syncCount = 500

/** Each gives its rate, in MB/s or 1/s. */
const yardsticks: Readonly<Record<LimitName, (directory: string) => Promise<number>>> = {
  relay3,
  read1: (directory) => receive(directory, false),
  copy1: (directory) => receive(directory, true),
  echo,
  fsync,
}

/** What a child process does: serves one thing on a port, which it tells its parent. */
const roles: Readonly<Record<string, (...args: string[]) => net.Server>> = { hop, source, echoServer }

async function relay3(directory: string): Promise<number> {
  const files = [0, 1, 2].map((i) => memoryFile(directory, `hop${i}`))
  const hops: Child[] = []
  try {
    for (let i = 2; i >= 0; i--) hops.unshift(await startChild('hop', String(hops[0]?.port ?? 0), files[i]!))
    const socket = net.connect({ port: hops[0]!.port, host, allowHalfOpen: true })
    await once(socket, 'connect')
    const startMs = performance.now()
    const piece = Buffer.alloc(MiB, 7)
    const answered = once(socket, 'data')
    for (let sent = 0; sent < streamBytes; sent += MiB) if (!socket.write(piece)) await once(socket, 'drain')
    socket.end()
    await answered
    const rate = megabytesPerSecond(startMs)
    socket.destroy()
    return rate
  } finally {
    for (const child of hops) await child.stop()
    for (const file of files) fs.rmSync(file, { force: true })
  }
}

/** Writes what arrives to `file` and hands it on to `nextPort` (0: this is the last hop); answers when all is done. */
function hop(nextPort: string, file: string): net.Server {
  const writesMax = 32
  return net.createServer({ allowHalfOpen: true }, (socket) => {
    const descriptor = fs.openSync(file, 'w')
    const next = nextPort === '0' ? undefined : net.connect({ port: Number(nextPort), host, allowHalfOpen: true })
    let writing = 0
    let ended = false
    let blocked = false
    const resume = () => {
      if (!blocked && writing < writesMax / 2 && socket.isPaused()) socket.resume()
    }
    const finish = () => {
      if (ended && writing === 0 && next === undefined) socket.end('k')
    }
    socket.on('data', (bytes: Buffer) => {
      writing++
      fs.write(descriptor, bytes, 0, bytes.length, null, (error) => {
        if (error) throw error
        writing--
        resume()
        finish()
      })
      if (next !== undefined && !next.write(bytes)) blocked = true
      if (blocked || writing >= writesMax) socket.pause()
    })
    socket.on('end', () => {
      ended = true
      next?.end()
      finish()
    })
    next?.on('drain', () => {
      blocked = false
      resume()
    })
    next?.on('data', (answer) => socket.end(answer))
  })
}

async function receive(directory: string, keep: boolean): Promise<number> {
  const from = memoryFile(directory, 'source')
  const to = memoryFile(directory, 'copy')
  const descriptor = fs.openSync(from, 'w')
  const piece = Buffer.alloc(MiB, 7)
  for (let written = 0; written < streamBytes; written += MiB) fs.writeSync(descriptor, piece)
  fs.closeSync(descriptor)
  const child = await startChild('source', from)
  try {
    const startMs = performance.now()
    const socket = net.connect({ port: child.port, host })
    if (keep) await pipeline(socket, fs.createWriteStream(to))
    else
      await once(
        socket.on('data', () => {}),
        'end',
      )
    return megabytesPerSecond(startMs)
  } finally {
    await child.stop()
    fs.rmSync(from)
    fs.rmSync(to, { force: true })
  }
}

/** Sends `file` to whoever connects. */
function source(file: string): net.Server {
  return net.createServer((socket) => fs.createReadStream(file, { highWaterMark: MiB }).pipe(socket))
}

async function echo(): Promise<number> {
  const child = await startChild('echoServer')
  try {
    const socket = net.connect({ port: child.port, host, noDelay: true })
    await once(socket, 'connect')
    const request = Buffer.alloc(echoBytes, 1)
    const startMs = performance.now()
    await new Promise<void>((resolve, reject) => {
      let sent = 0
      let bytes = 0
      const send = () => {
        sent++
        socket.write(request)
      }
      socket.on('error', reject)
      socket.on('data', (data: Buffer) => {
        const answeredBefore = Math.floor(bytes / echoBytes)
        bytes += data.length
        const answered = Math.floor(bytes / echoBytes)
        for (let i = answeredBefore; i < answered && sent < echoCount; i++) send()
        if (answered === echoCount) resolve()
      })
      while (sent < echoInFlight) send()
    })
    const rate = echoCount / ((performance.now() - startMs) / 1000)
    socket.destroy()
    return rate
  } finally {
    await child.stop()
  }
}

function echoServer(): net.Server {
  const answer = Buffer.alloc(echoBytes, 2)
  return net.createServer({ noDelay: true }, (socket) => {
    let bytes = 0
    socket.on('data', (data: Buffer) => {
      for (bytes += data.length; bytes >= echoBytes; bytes -= echoBytes) socket.write(answer)
    })
    // The measuring side destroys the connection when it has what it wants.
    socket.on('error', () => {})
  })
}

async function fsync(directory: string): Promise<number> {
  const file = path.join(directory, `limits-${process.pid}-log`)
  const descriptor = fs.openSync(file, 'w')
  const record = Buffer.alloc(128, 1)
  const startMs = performance.now()
  for (let i = 0; i < syncCount; i++) {
    fs.writeSync(descriptor, record)
    fs.fdatasyncSync(descriptor)
  }
  const rate = syncCount / ((performance.now() - startMs) / 1000)
  fs.closeSync(descriptor)
  fs.rmSync(file)
  return rate
}

interface Child {
  readonly port: number
  stop(): Promise<void>
}

async function startChild(role: string, ...args: string[]): Promise<Child> {
  const child: ChildProcess = fork(self, [role, ...args], { execArgv: ['--import', import.meta.resolve('tsx')] })
  const exited = once(child, 'exit')
  const first = await Promise.race([once(child, 'message'), exited.then(() => undefined)])
  if (first === undefined) throw new Error(`the ${role} process ended before it served`)
  return {
    port: Number(first[0]),
    async stop() {
      child.kill('SIGKILL')
      await exited
    },
  }
}

function serve(role: string, args: string[]): void {
  const server = roles[role]!(...args)
  // The parent kills its children; should it have died itself, the channel closes.
  process.on('disconnect', () => process.exit(0))
  server.listen(0, host, () => {
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    process.send?.(address.port)
  })
}

function memoryFile(directory: string, name: string): string {
  const memory = fs.existsSync('/dev/shm') ? '/dev/shm' : directory
  return path.join(memory, `limits-${process.pid}-${name}`)
}

function megabytesPerSecond(startMs: number): number {
  return streamBytes / 1000 / (performance.now() - startMs)
}

async function main(args: string[]): Promise<void> {
  const option = (name: string, fallback: string): string => {
    const at = args.indexOf(name)
    return at < 0 ? fallback : (args.splice(at, 2)[1] ?? fallback)
  }
  const runs = Number(option('--runs', '5'))
  const directory = option('--dir', '.')
  const unknown = args.filter((name) => !limitNames.some((known) => known === name))
  if (unknown.length > 0) throw new Error(`no such limit: ${unknown.join(', ')}; there are ${limitNames.join(', ')}`)
  const names = limitNames.filter((name) => args.length === 0 || args.includes(name))
  for (const name of names) console.log(JSON.stringify((await measureLimits([name], { runs, directory }))[0]))
}

if (process.argv[1] !== undefined && fs.realpathSync(process.argv[1]) === self) {
  const [first = '', ...rest] = process.argv.slice(2)
  if (first in roles) serve(first, rest)
  else await main(process.argv.slice(2))
}
