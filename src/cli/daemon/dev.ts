// dfsd dev: a whole cluster on this machine, each part a process of its own that can be killed alone.
//
// Invariants:
//   - no part outlives this process: each watches its standard input, which ends with us, whatever ends us
//   - a part that dies stays dead unless --restart is given: what a failure does can be watched

import os from 'node:os'
import path from 'node:path'
import fs from 'fs-extra'
import { DfsError } from '../../base/errors.ts'
import { parseAddress } from '../../io/network.ts'
import { UsageError } from '../failure.ts'
import { type DaemonContext, defineDaemonVerb } from './context.ts'
import { type DaemonTools, type Running, runDaemon } from './lifecycle.ts'
import { checkChunkSize, chunkTuning, masterTuning } from './options.ts'
import { Part, type PartFacts, type PartSpec } from './part.ts'

const restartAfterMs = 1_000

export const dev = defineDaemonVerb({
  usage: '[--data DIR] [--chunkservers 3] [--listen 127.0.0.1:7400]',
  words: [0, 0],
  options: {
    data: { kind: 'text', describe: 'directory of all parts; without it a temporary one, removed at the end' },
    masters: { kind: 'number', min: 1, max: 1, default: '1', describe: 'masters' },
    chunkservers: { kind: 'number', min: 1, max: 64, default: '3', describe: 'chunkservers' },
    listen: { kind: 'text', default: '127.0.0.1:7400', describe: 'HOST:PORT of the master; port 0: a free one' },
    http: { kind: 'text', default: '127.0.0.1:0', describe: 'HOST:PORT of /healthz, /readyz, /metrics, /version' },
    replication: { kind: 'number', min: 1, max: 16, describe: 'replicas of a new file; min(3, chunkservers)' },
    restart: { kind: 'flag', describe: 'start a part again when it ends' },
    ...masterTuning,
    ...chunkTuning,
  },
  examples: [
    ['dfsd dev', 'a cluster to play with; then `dfs put`, `dfs ls` in another terminal'],
    ['dfsd dev --data /var/tmp/dfs --chunkservers 5', 'whose files are there the next time'],
  ],
  async run({ context, values }) {
    const { globals } = context
    if (!parseAddress(values.listen)) throw new UsageError(`--listen ${values.listen} is not HOST:PORT`)
    checkChunkSize(values['chunk-size'])
    const settings = {
      role: 'dev',
      http: values.http,
      logLevel: globals['log-level'],
      stopsWithStdin: globals['stop-with-stdin'],
    }
    return runDaemon(settings, (tools) => startCluster(context, values, tools))
  },
})

interface DevValues {
  readonly data: string | undefined
  readonly chunkservers: number
  readonly listen: string
  readonly replication: number | undefined
  readonly restart: boolean
}

async function startCluster({ io, globals }: DaemonContext, values: DevValues, tools: DaemonTools): Promise<Running> {
  const { host } = parseAddress(values.listen) ?? { host: '' }
  const isTemporary = values.data === undefined
  if (values.data !== undefined) await checkPlace(values.data)
  const data = values.data ?? (await fs.mkdtemp(path.join(os.tmpdir(), 'dfs-dev-')))
  const parts: Part[] = []
  let stopping = false
  let isStarted = false

  const start = async (spec: PartSpec): Promise<PartFacts> => {
    const part = new Part(spec, tools)
    parts.push(part)
    part.ended.then((how) => {
      // Before that it is a refusal, told in one line.
      if (stopping || !isStarted) return
      tools.logger.warn({ event: 'part-ended', part: spec.id, pid: part.pid, how }, `${spec.id} ended: ${how}`)
      if (values.restart) io.clock.after(restartAfterMs, () => void startAgain(part))
    })
    return part.ready
  }
  const startAgain = async (old: Part): Promise<void> => {
    if (stopping) return
    parts.splice(parts.indexOf(old), 1)
    try {
      const { pid, listen } = await start(old.spec)
      tools.logger.info({ event: 'part-restarted', part: old.spec.id, pid, listen }, `${old.spec.id} runs again`)
    } catch (error) {
      tools.logger.error({ event: 'part-refused', part: old.spec.id, reason: messageOf(error) }, messageOf(error))
    }
  }
  const close = async (): Promise<void> => {
    stopping = true
    // Chunkservers first: they tell the master that they go on purpose.
    await Promise.all(parts.filter((part) => part.spec.role === 'chunk').map((part) => part.stop()))
    await Promise.all(parts.map((part) => part.stop()))
    if (isTemporary) await fs.remove(data)
  }

  try {
    const common = ['--log-level', globals['log-level'], '--stop-with-stdin']
    const replication = values.replication ?? Math.min(3, values.chunkservers)
    const masterFacts = await start({
      role: 'master',
      id: 'master-1',
      data: path.join(data, 'master-1'),
      listen: values.listen,
      args: [...common, '--replication', String(replication), ...given(Object.keys(masterTuning), values)],
    })
    const specs = Array.from({ length: values.chunkservers }, (_, index): PartSpec => {
      const id = `chunk-${index + 1}`
      const args = [...common, '--master', masterFacts.listen, ...given(Object.keys(chunkTuning), values)]
      return { role: 'chunk', id, data: path.join(data, id), listen: `${host}:0`, args }
    })
    // After a restart of the part its port is the same, so that whoever knew it finds it again.
    parts[0]!.spec.listen = masterFacts.listen
    await Promise.all(specs.map(start))
    isStarted = true
    const processes = await Promise.all(parts.map((part) => part.ready))
    return {
      listen: masterFacts.listen,
      facts: { master: masterFacts.listen, data, isTemporary, processes },
      ready: Promise.resolve(),
      failed: new Promise(() => undefined),
      notReady: () => {
        const dead = parts.filter((part) => !part.isRunning).map((part) => part.spec.id)
        return dead.length === 0 ? undefined : `not running: ${dead.join(', ')}`
      },
      metrics: () => ({ processesRunning: parts.filter((part) => part.isRunning).length }),
      close,
    }
  } catch (error) {
    await close()
    throw error instanceof DfsError || error instanceof UsageError
      ? error
      : new DfsError('INTERNAL', 'a part could not be started', {}, error)
  }
}

/** The options that were given, as arguments for a part. */
function given(names: readonly string[], values: DevValues): string[] {
  const all: Readonly<Record<string, unknown>> = { ...values }
  return names.flatMap((name) => (all[name] === undefined ? [] : [`--${name}`, String(all[name])]))
}

/** Refuses a directory that somebody else keeps things in. @throws DfsError WRONG_DISK; nothing is changed then */
async function checkPlace(data: string): Promise<void> {
  const names = await fs.readdir(data).catch((error: unknown): string[] => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  })
  const stranger = names.find((name) => name !== 'lost+found' && !/^(master|chunk)-\d+$/.test(name))
  if (stranger === undefined || names.includes('master-1')) return
  const next = 'give an empty --data, or one that `dfsd dev` has made'
  throw new DfsError('WRONG_DISK', `${data} holds no cluster and is not empty (${stranger})`, { path: data, next })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
