// npm run demo [-- PATH]: a fresh cluster of real processes stores a real directory, gives it back, and survives the
// death of a chunkserver in the middle of a read. Leaves nothing behind: no process, no file.

import os from 'node:os'
import path from 'node:path'
import fs from 'fs-extra'
import { formatBytes, formatDuration } from '../base/units.ts'
import { type DemoCluster, dfs, startCluster } from './demo/commands.ts'
import { type Comparison, compareTrees } from './demo/compare.ts'
import { ExitCode } from './failure.ts'
import { table } from './verbs/table.ts'
import type { TransferSummary } from './verbs/transfer.ts'

/** The second read is cut into when this part of its bytes has arrived. */
const killAtShare = 0.25
const pollEveryMs = 100

const startMs = performance.now()

process.exit(await main(process.argv.slice(2)))

async function main(args: readonly string[]): Promise<number> {
  if (args.includes('--help')) {
    process.stdout.write(
      'npm run demo [-- PATH]\n\nPATH: a local file or directory; node_modules of this checkout without it.\n',
    )
    return ExitCode.done
  }
  const end = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (end.signal.aborted) return
      process.stderr.write('\ndemo: stopping everything\n')
      end.abort(new Error('interrupted'))
    })
  }
  const scratch = await fs.mkdtemp(path.join(os.tmpdir(), 'dfs-demo-'))
  let cluster: DemoCluster | undefined
  try {
    const source = await sourceOf(args, scratch)
    say(`starting a master and three chunkservers in ${scratch}`)
    cluster = await startCluster(path.join(scratch, 'cluster'), end.signal)
    for (const { id, pid } of cluster.processes) say(`  ${id} is process ${pid}`)
    await tour(cluster, source, scratch, end.signal)
    return ExitCode.done
  } catch (error) {
    if (end.signal.aborted) return ExitCode.interrupted
    process.stderr.write(`demo failed: ${error instanceof Error ? error.message : String(error)}\n`)
    return ExitCode.failed
  } finally {
    await cluster?.stop()
    await fs.remove(scratch)
    say('everything is stopped and removed')
  }
}

/** What is stored: a directory. A single file is put into one of its own, as a link to the same bytes. */
async function sourceOf(args: readonly string[], scratch: string): Promise<string> {
  const given = args.find((argument) => !argument.startsWith('--'))
  const source = given === undefined ? await ownPackages() : path.resolve(given)
  const stats = await fs.stat(source)
  if (stats.isDirectory()) return source
  const directory = path.join(scratch, 'source')
  await fs.copy(source, path.join(directory, path.basename(source)))
  return directory
}

/** The packages beside this program, or above it: some hundred megabytes that every checkout has. */
async function ownPackages(): Promise<string> {
  for (let directory = import.meta.dirname; ; directory = path.dirname(directory)) {
    const candidate = path.join(directory, 'node_modules')
    if (await fs.pathExists(candidate)) return candidate
    if (directory === path.dirname(directory))
      throw new Error('no node_modules here: say what to store, npm run demo -- PATH')
  }
}

async function tour(cluster: DemoCluster, source: string, scratch: string, signal: AbortSignal): Promise<void> {
  const { master } = cluster
  const startedMs = Date.now()
  say(`storing ${source} with three replicas of every byte`)
  const put = await dfs<TransferSummary>(master, ['put', '-r', source, '/demo'], signal)
  say('reading it back')
  const first = path.join(scratch, 'first')
  const get = await dfs<TransferSummary>(master, ['get', '-r', '/demo', first], signal)
  const whole = await compareTrees(source, first, signal, startedMs)
  await fs.remove(first)
  say(`every one of ${formatBytes(whole.bytes)} is the same`)
  const largest = await checkLargest(master, whole, signal)

  const victim = cluster.processes.find(({ role }) => role === 'chunk')
  if (!victim) throw new Error('the cluster has no chunkserver')
  say(`reading it again, and killing ${victim.id} (process ${victim.pid}) in the middle`)
  const second = path.join(scratch, 'second')
  const kill = killAfterShare(second, whole.bytes, victim.pid)
  let hurt = await dfs<TransferSummary>(master, ['get', '-r', '/demo', second], signal).finally(() => kill.stop())
  const killed = await kill.outcome
  if (killed) say(`SIGKILL came when ${formatBytes(killed.bytes)} had arrived; the read ended without an error`)
  else {
    say('that was too quick to be cut into: killing it now, and reading once more without it')
    process.kill(victim.pid, 'SIGKILL')
    await fs.remove(second)
    hurt = await dfs<TransferSummary>(master, ['get', '-r', '/demo', second], signal)
  }
  const survived = await compareTrees(source, second, signal, startedMs)
  await fs.remove(second)
  if (survived.checksum !== whole.checksum) throw new Error('the checksum of the second read is another')
  say(`and again every one of ${formatBytes(survived.bytes)} is the same`)

  const row = (what: string, { files, bytes, seconds, bytesPerSecond }: TransferSummary, checksum: string) => [
    what,
    String(files),
    formatBytes(bytes),
    formatDuration(seconds * 1000),
    `${(bytesPerSecond / 1e6).toFixed(0)} MB/s`,
    checksum,
  ]
  const rows = [
    row('put -r', put, hex(whole.checksum)),
    row('get -r', get, hex(whole.checksum)),
    row('get -r, a chunkserver killed', hurt, hex(survived.checksum)),
  ]
  process.stdout.write(`\n${table(['', 'files', 'bytes', 'time', 'rate', 'CRC32'], rows)}\n`)
  process.stdout.write(`largest file ${largest.name}: dfs checksum ${largest.remote}, local ${largest.local}\n\n`)
}

/** The cluster's own checksum of the largest file against that of the local bytes. */
async function checkLargest(master: string, { largest }: Comparison, signal: AbortSignal) {
  if (largest.bytes < 0) return { name: '(none)', remote: '-', local: '-' }
  const { checksum: remote } = await dfs<{ checksum: string }>(master, ['checksum', `/demo/${largest.name}`], signal)
  const local = hex(largest.checksum)
  if (remote !== local) throw new Error(`${largest.name}: dfs checksum says ${remote}, the local bytes give ${local}`)
  return { name: largest.name, remote, local }
}

/** Kills the process once a share of the bytes lies in `directory`. */
function killAfterShare(directory: string, totalBytes: number, pid: number) {
  let stopped = false
  const watch = async (): Promise<{ bytes: number } | undefined> => {
    while (!stopped) {
      const bytes = await sizeOf(directory)
      if (bytes > totalBytes * killAtShare) {
        process.kill(pid, 'SIGKILL')
        return { bytes }
      }
      await new Promise((resolve) => setTimeout(resolve, pollEveryMs))
    }
    return undefined
  }
  return {
    outcome: watch(),
    stop: () => {
      stopped = true
    },
  }
}

/** Bytes of all files below; what comes and goes meanwhile doesn't matter. */
async function sizeOf(directory: string): Promise<number> {
  let bytes = 0
  try {
    for (const name of await fs.readdir(directory, { recursive: true })) {
      const stats = await fs.lstat(path.join(directory, String(name))).catch(() => undefined)
      if (stats?.isFile()) bytes += stats.size
    }
  } catch {
    // Not made yet, or renamed under our feet: the next look sees more.
  }
  return bytes
}

function say(text: string): void {
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1).padStart(5)
  process.stdout.write(`${seconds} s  ${text}\n`)
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0')
}
