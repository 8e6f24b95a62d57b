// What every verb of `dfs` works with: a client, the output, and the end that the caller set.
//
// Invariants:
//   - nothing outlives the verb: whatever ends it, the client is closed and the process ends soon after
//   - after an interrupt or the deadline a verb has abortMsMax to tidy up (remove its partial file), no more

import { setMaxListeners } from 'node:events'
import { DfsError } from '../base/errors.ts'
import type { Client } from '../client/index.ts'
import type { Io } from '../io/io.ts'
import { describeFailure, ExitCode, formatFailure, UsageError } from './failure.ts'
import type { Options, ValuesOf } from './options.ts'
import { Output, OutputClosed } from './output.ts'
import { defineVerb, type Verb, type VerbSpec } from './verb.ts'

const abortMsMax = 2_000
const closeMsMax = 2_000
/** A person who waits longer than this for a master is told what for. */
const silentMsMax = 2_000

export const dfsGlobals = {
  master: {
    kind: 'list',
    default: '127.0.0.1:7400',
    describe: 'HOST:PORT of the master, or several with commas',
  },
  timeout: { kind: 'duration', default: '30s', describe: 'the longest time without progress' },
  deadline: { kind: 'duration', describe: 'the longest time for the whole verb' },
  'no-direct-reads': { kind: 'flag', describe: 'read by the network what lies on this host, too' },
  json: { kind: 'flag', describe: 'one JSON document, or one object a line' },
  config: { kind: 'text', describe: 'file of options, JSON or YAML' },
} as const satisfies Options

export interface DfsContext {
  readonly io: Io
  readonly out: Output
  /** The longest time without progress, ms. */
  readonly timeoutMs: number
  /** Fires at the deadline, at an interrupt, and when nobody reads the output any more. */
  readonly signal: AbortSignal
  /** The client, connected with the first call. */
  client(): Promise<Client>
  /** One more client, with connections and a session of its own; closed with the verb. */
  anotherClient(): Promise<Client>
  /** Says what failed with one of several things, and goes on; the exit code will tell. @throws when nothing else can work either */
  complain(error: unknown): void
}

/** A verb of `dfs`. */
export function defineDfsVerb<const O extends Options>(spec: VerbSpec<DfsContext, O>): Verb<DfsContext> {
  return defineVerb<DfsContext, O>(spec)
}

/** Faults that will meet whatever is tried next: going on would only wait again and again. */
const hopeless = new Set([
  'ABORTED',
  'TIMEOUT',
  'UNAVAILABLE',
  'NO_SERVERS',
  'SESSION_ENDED',
  'WRONG_CLUSTER',
  'INTERNAL',
])

export async function withinContext(
  globals: ValuesOf<typeof dfsGlobals>,
  command: string,
  work: (context: DfsContext) => Promise<number | undefined>,
): Promise<number> {
  const end = new AbortController()
  // Every call of the library listens to it, hundreds at once; that is no leak.
  setMaxListeners(0, end.signal)
  const stopListening = listen(end, globals.deadline)
  const out = new Output(globals.json, (error) => end.abort(error))
  const { nodeIo } = await import('../io/node/io.ts')
  const io = nodeIo()
  let connected: Promise<Client> | undefined
  const others: Promise<Client>[] = []
  let complaints = ExitCode.done as number
  const context: DfsContext = {
    io,
    out,
    timeoutMs: globals.timeout,
    signal: end.signal,
    client: () => {
      connected ??= withPatience(open(io, globals), () => {
        // Only for a person: what a script reads from stderr are warnings and errors of the verb.
        if (out.hasTerminal) out.warn(`${command}: waiting for a master at ${globals.master.join(', ')} …`)
      })
      return connected
    },
    anotherClient: () => {
      const another = open(io, globals)
      others.push(another)
      return another
    },
    complain: (error) => {
      if (end.signal.aborted || isHopeless(error)) throw error
      const failure = describeFailure(error, command)
      process.stderr.write(formatFailure(failure, command, globals.json))
      if (complaints === ExitCode.done) complaints = failure.exitCode
    },
  }
  try {
    const code = await Promise.race([work(context), ended(end.signal)])
    await out.flush()
    return code || complaints
  } catch (error) {
    const reason: unknown = end.signal.aborted ? end.signal.reason : error
    await out.flush()
    throw reason
  } finally {
    stopListening()
    await Promise.all([...(connected ? [connected] : []), ...others].map(closeClient))
  }
}

async function open(io: Io, globals: ValuesOf<typeof dfsGlobals>): Promise<Client> {
  const { parseAddress } = await import('../io/network.ts')
  for (const master of globals.master) {
    if (!parseAddress(master)) throw new UsageError(`--master ${master} is not HOST:PORT`)
  }
  const { connect } = await import('../client/index.ts')
  const directReads = !globals['no-direct-reads']
  return connect({ io, masters: globals.master, timeoutMs: globals.timeout, directReads })
}

/** Calls `tell` when the client takes its time. */
async function withPatience(opening: Promise<Client>, tell: () => void): Promise<Client> {
  const timer = setTimeout(tell, silentMsMax)
  try {
    return await opening
  } finally {
    clearTimeout(timer)
  }
}

function listen(end: AbortController, deadlineMs: number | undefined): () => void {
  const onSignal = () => {
    if (end.signal.aborted) process.exit(ExitCode.interrupted)
    end.abort(new DfsError('ABORTED', 'interrupted'))
  }
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  const timer =
    deadlineMs === undefined
      ? undefined
      : setTimeout(() => end.abort(new DfsError('TIMEOUT', `--deadline ${deadlineMs} ms passed`)), deadlineMs)
  return () => {
    clearTimeout(timer)
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
  }
}

/** Rejects with the reason some time after the end: a verb that waits for something that can't be ended is left. */
function ended(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => setTimeout(() => reject(signal.reason), abortMsMax).unref(), { once: true })
  })
}

async function closeClient(connected: Promise<Client>): Promise<void> {
  const closed = connected.then(
    (client) => client.close(),
    () => undefined, // whoever called client() has met this error
  )
  const late = new Promise<void>((resolve) => {
    setTimeout(resolve, closeMsMax).unref()
  })
  await Promise.race([closed, late])
}

function isHopeless(error: unknown): boolean {
  if (error instanceof UsageError || error instanceof OutputClosed) return true
  return error instanceof DfsError && (hopeless.has(error.code) || error.detail.timedOut === true)
}
