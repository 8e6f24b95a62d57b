// The life of a daemon: start or refuse, say that it is ready, serve, stop gracefully or end with the reason.
//
// Invariants:
//   - a refused start is one line with the reason and the next command, and exit code 1
//   - `ready` is said once, when the daemon serves
//   - whatever nobody caught is logged and ends the process: a daemon in an unknown state does not go on

import { DfsError, isDfsError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import { VERSION } from '../../base/version.ts'
import { describeFailure, ExitCode } from '../failure.ts'
import { type HttpFace, type MetricValues, openHttp } from './http.ts'
import { openLog } from './logging.ts'

/** A start that is given up has this long to put things away. */
const giveUpMsMax = 3_000
/** A stop that takes longer than this is ended hard: the disk says the same after a kill. */
const stopMsMax = 20_000

export interface DaemonTools {
  readonly logger: Logger
  readonly version: string
  /** `host:port` of the HTTP face. */
  readonly http: string
  /** Fires when the start is given up. */
  readonly signal: AbortSignal
  /** A line of another daemon, as it is. */
  forward(line: string): void
}

/** What a part is to the process around it. */
export interface Running {
  /** `host:port` */
  readonly listen: string
  /** Further fields of the ready line. */
  readonly facts?: Readonly<Record<string, unknown>>
  /** The same, known only when it is ready. */
  lateFacts?(): Readonly<Record<string, unknown>>
  /** Undefined when serving; else why not. */
  notReady(): string | undefined
  /** What a person should know although it serves; undefined: nothing. */
  remark?(): string | undefined
  /** Resolves when it serves for the first time. */
  readonly ready: Promise<void>
  /** Resolves with the reason when the part can't go on. */
  readonly failed: Promise<Error>
  metrics(): MetricValues
  close(): Promise<void>
}

export interface DaemonSettings {
  readonly role: string
  readonly http: string
  readonly logLevel: string
  /** Stops when standard input ends: a supervisor that dies takes its parts along. */
  readonly stopsWithStdin: boolean
}

/** Runs one daemon until it is stopped or fails. @returns the exit code */
export async function runDaemon(
  settings: DaemonSettings,
  start: (tools: DaemonTools) => Promise<Running>,
): Promise<number> {
  const { role } = settings
  const log = await openLog(settings.logLevel, { role, pid: process.pid })
  const { logger, announce, forward, flush } = log
  const stop = stopRequest(settings.stopsWithStdin)
  endOnBugs(logger, flush)
  const giveUp = new AbortController()
  let running: Running | undefined
  let http: HttpFace | undefined
  try {
    http = await openHttp(settings.http, {
      role,
      version: VERSION,
      notReady: () => (running ? running.notReady() : 'starting'),
      remark: () => running?.remark?.(),
      metrics: () => running?.metrics() ?? {},
    })
    const started = start({ logger, version: VERSION, http: http.address, forward, signal: giveUp.signal })
    const first = await Promise.race([started, stop])
    if (typeof first === 'string') {
      log.release()
      logger.info({ event: 'stopped', why: first }, `${role} stops before it was ready: ${first}`)
      giveUp.abort(new DfsError('ABORTED', 'the start was given up'))
      await Promise.race([started.then((late) => late.close()).catch(() => undefined), wait(giveUpMsMax)])
      flush()
      return ExitCode.done
    }
    running = first
  } catch (error) {
    log.forget()
    refuse(logger, error)
    await http?.close()
    flush()
    return ExitCode.failed
  }
  const { listen, facts } = running
  let isReady = false
  const part = running
  running.ready.then(
    () => {
      isReady = true
      log.release()
      const late = part.lateFacts?.()
      announce({ event: 'ready', listen, http: http?.address, ...facts, ...late }, `${role} serves on ${listen}`)
    },
    () => undefined, // it was stopped or failed before, which is told below
  )
  const end = await Promise.race([stop, running.failed])
  if (!isReady && end instanceof Error) log.forget()
  else log.release()
  const exitCode = end instanceof Error ? ExitCode.failed : ExitCode.done
  if (!(end instanceof Error)) logger.info({ event: 'stopping', why: end }, `${role} stops: ${end}`)
  else if (isReady) logFailure(logger, end)
  else refuse(logger, end)
  giveUp.abort(new DfsError('ABORTED', 'the daemon stops'))
  const stopped = await closeWithin(running, logger)
  await http.close()
  if (stopped && exitCode === ExitCode.done) logger.info({ event: 'stopped' }, `${role} has stopped`)
  flush()
  return stopped ? exitCode : ExitCode.failed
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}

/** Resolves with the reason of the first request to stop. A second signal ends the process at once. */
function stopRequest(stopsWithStdin: boolean): Promise<string> {
  return new Promise((resolve) => {
    let asked = false
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        if (asked && signal === 'SIGINT') process.exit(ExitCode.interrupted)
        asked = true
        resolve(signal)
      })
    }
    // The terminal was closed. Elsewhere SIGHUP is left as it is found: nohup has it ignored.
    if (process.stdout.isTTY) process.on('SIGHUP', () => resolve('SIGHUP'))
    if (!stopsWithStdin) return
    process.stdin.on('end', () => resolve('standard input ended')).on('error', () => resolve('standard input broke'))
    process.stdin.resume()
  })
}

function endOnBugs(logger: Logger, flush: () => void): void {
  const end = (error: unknown) => {
    logFailure(logger, error)
    flush()
    process.exit(ExitCode.failed)
  }
  process.on('uncaughtException', end)
  process.on('unhandledRejection', end)
}

function refuse(logger: Logger, error: unknown): void {
  const { code, message, next } = describeFailure(error, 'dfsd')
  logger.error(
    { event: 'refused', code, reason: message, next, ...detailOf(error) },
    `not started: ${message}; ${next}`,
  )
}

function logFailure(logger: Logger, error: unknown): void {
  const { code, message, next } = describeFailure(error, 'dfsd')
  const stack = error instanceof Error && !isDfsError(error) ? { stack: error.stack } : {}
  logger.error(
    { event: 'failed', code, reason: message, next, ...detailOf(error), ...stack },
    `ends: ${message}; ${next}`,
  )
}

function detailOf(error: unknown): object {
  if (!isDfsError(error)) return {}
  // Its next step has a field of its own.
  const { next: _, ...detail } = error.detail
  return Object.keys(detail).length > 0 ? { detail } : {}
}

/** @returns whether it was in time and without an error */
async function closeWithin(running: Running, logger: Logger): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), stopMsMax)
  })
  const closed = running.close().then(
    () => true as const,
    (error: unknown) => {
      logFailure(logger, error)
      return undefined
    },
  )
  const result = await Promise.race([closed, late])
  clearTimeout(timer)
  if (result === false) logger.error({ event: 'stop-timeout' }, `the stop took over ${stopMsMax} ms and was cut short`)
  return result === true
}
