// dfsd chunk.

import path from 'node:path'
import { DfsError, type ErrorCode } from '../../base/errors.ts'
import { formatServer } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { Clock } from '../../io/clock.ts'
import { type Address, formatAddress, parseAddress } from '../../io/network.ts'
import { UsageError } from '../failure.ts'
import { advertisedAddress } from './advertise.ts'
import { defineDaemonVerb } from './context.ts'
import { runDaemon } from './lifecycle.ts'
import { chunkTuning } from './options.ts'

const joinLookMs = 20

export const chunk = defineDaemonVerb({
  usage: '--data DIR[,DIR…] --master HOST:PORT[,HOST:PORT…] [options]',
  words: [0, 0],
  options: {
    data: { kind: 'list', required: true, describe: 'data directories, one for each disk' },
    master: { kind: 'list', required: true, describe: 'HOST:PORT of the master, or of several' },
    listen: {
      kind: 'text',
      default: '127.0.0.1:7500',
      describe: 'HOST:PORT for clients and other chunkservers; port 0: a free one',
    },
    http: { kind: 'text', default: '127.0.0.1:7501', describe: 'HOST:PORT of /healthz, /readyz, /metrics, /version' },
    advertise: { kind: 'text', describe: 'HOST:PORT that others are told to connect to' },
    zone: { kind: 'text', default: '', describe: 'where it is: replicas go to different zones first' },
    rack: { kind: 'text', default: '', describe: 'and then to different racks' },
    'adopt-empty': {
      kind: 'flag',
      describe: 'take an empty directory in the place of one that was known (a new disk)',
    },
    'no-direct-reads': {
      kind: 'flag',
      describe: 'let nobody on this host read chunk files without this server',
    },
    ...chunkTuning,
  },
  examples: [
    ['dfsd chunk --data /disk1/dfs,/disk2/dfs --master 10.0.0.1:7400 --listen 10.0.0.2:7500', 'two disks, one server'],
  ],
  async run({ context: { io, globals }, values }) {
    const listen = addressOf('--listen', values.listen)
    const masters = values.master.map((text) => addressOf('--master', text))
    if (values.advertise !== undefined) addressOf('--advertise', values.advertise)
    const advertise = values.advertise ?? advertisedAddress(listen)
    const { 'log-level': logLevel, 'stop-with-stdin': stopsWithStdin } = globals
    return runDaemon({ role: 'chunk', http: values.http, logLevel, stopsWithStdin }, async (tools) => {
      const { startChunkserver } = await import('../../chunkserver/node.ts')
      const border = new Border(tools.logger)
      const failed = new Promise<Error>((resolve) => border.onRefused(resolve))
      const node = await startChunkserver({
        io,
        logger: border.logger,
        options: {
          directories: values.data.map((directory) => path.resolve(directory)),
          masters,
          listen,
          ...(advertise === undefined ? {} : { advertise }),
          http: advertisedAddress(addressOf('--http', tools.http)) ?? tools.http,
          zone: values.zone,
          rack: values.rack,
          reserveBytes: values.reserve,
          scrubBytesPerSecond: values['scrub-rate'],
          adoptEmpty: values['adopt-empty'],
          directReads: !values['no-direct-reads'],
          version: tools.version,
          pid: process.pid,
          signal: tools.signal,
        },
        onBug: throwLater,
      })
      const joined = whenever(io.clock, () => node.status().isJoined, tools.signal)
      return {
        listen: formatAddress(node.address),
        facts: { data: values.data },
        lateFacts: () => {
          const { clusterId, server, address } = node.status()
          return { clusterId, server: server === 0 ? '' : formatServer(server), advertise: address }
        },
        ready: joined.then(() => border.open()),
        failed,
        notReady: () => (node.status().isJoined ? undefined : 'no master has taken it in'),
        metrics: () => {
          const { replicas, growing, streams, queuedBytes, directories, isJoined, scrub } = node.status()
          const capacityBytes = Object.fromEntries(directories.map((facts) => [facts.path, facts.capacityBytes]))
          const usedBytes = Object.fromEntries(directories.map((facts) => [facts.path, facts.usedBytes]))
          const freeBytes = Object.fromEntries(directories.map((facts) => [facts.path, facts.freeBytes]))
          const scrubProgress = Object.fromEntries(directories.map((facts) => [facts.path, facts.scrubPermille / 1000]))
          // A directory that was never checked through has no age, not a small one.
          const scrubAgeSeconds = Object.fromEntries(
            directories.flatMap(({ path, scrubAgeMs }) =>
              scrubAgeMs === undefined ? [] : [[path, scrubAgeMs / 1000]],
            ),
          )
          const totals = Object.entries({ ...node.counters, ...scrub }).map(([name, value]) => [`${name}Total`, value])
          const gauges = { replicas, growing, streams, queuedBytes, joined: isJoined ? 1 : 0 }
          return {
            ...gauges,
            scrubProgress,
            scrubAgeSeconds,
            capacityBytes,
            usedBytes,
            freeBytes,
            ...Object.fromEntries(totals),
          }
        },
        close: () => node.close({ maintenance: true }),
      }
    })
  },
})

function addressOf(option: string, text: string): Address {
  const address = parseAddress(text)
  if (!address) throw new UsageError(`${option} ${text} is not HOST:PORT`)
  return address
}

/** A bug ends the process: lifecycle.ts logs what nobody catches. */
function throwLater(error: unknown): void {
  setImmediate(() => {
    throw error
  })
}

async function whenever(clock: Clock, condition: () => boolean, signal: AbortSignal): Promise<void> {
  while (!condition()) await clock.sleep(joinLookMs, signal)
}

/**
 * Faults that another try never mends: a server that has not been taken in yet is refused for them. The master says
 * DUPLICATE_IDENTITY only when it has heard the twin while this server waited to join: no server that was quickly restarted.
 */
const final: ReadonlySet<string> = new Set<ErrorCode>([
  'WRONG_CLUSTER',
  'WRONG_ROLE',
  'UNSUPPORTED_VERSION',
  'DUPLICATE_IDENTITY',
])

/**
 * Listens to what the chunkserver says of its masters until one has taken it in: one that is of another cluster is a
 * reason to refuse the start, not to try for ever. Later it is only logged: what is served here is served.
 */
class Border {
  readonly logger: Logger
  #isOpen = false
  #tell: (error: Error) => void = () => {}

  constructor(inner: Logger) {
    this.logger = {
      debug: (fields, message) => inner.debug(fields, message),
      info: (fields, message) => inner.info(fields, message),
      error: (fields, message) => inner.error(fields, message),
      warn: (fields, message) => {
        const code = fields.code
        if (!this.#isOpen && isFinal(code)) this.#tell(new DfsError(code, message))
        else inner.warn(fields, message)
      },
    }
  }

  onRefused(tell: (error: Error) => void): void {
    this.#tell = tell
  }

  open(): void {
    this.#isOpen = true
  }
}

function isFinal(code: unknown): code is ErrorCode {
  return typeof code === 'string' && final.has(code)
}
