// The logger of a daemon: pino's JSON lines on stdout, or something pretty where a person watches.

import pino from 'pino'
import type { Logger } from '../../base/log.ts'

/** Lines that nobody takes in time are dropped beyond this: a log must not fill the memory. */
const bufferedCharactersMax = 8 << 20

export interface DaemonLog {
  readonly logger: Logger
  /** Says a line whatever the level: scripts wait for the one that a daemon serves. */
  announce(fields: Readonly<Record<string, unknown>>, message: string): void
  /** Takes a finished line of another daemon (JSON, without the newline). */
  forward(line: string): void
  /** Hands over what is buffered; nothing may be logged afterwards. */
  flush(): void
}

/** @param fields  on every line: role, id */
export async function openLog(level: string, fields: Readonly<Record<string, unknown>>): Promise<DaemonLog> {
  const destination = pino.destination({ dest: 1, sync: false, maxLength: bufferedCharactersMax })
  // A reader of the log that goes away must not end a daemon.
  destination.on('error', () => undefined)
  const stream = process.stdout.isTTY ? await prettyStream() : destination
  const logger = pino({ level, base: fields, formatters: { level: (label) => ({ level: label }) } }, stream)
  const announcer = logger.child({}, { level: 'info' })
  return {
    logger,
    announce: (fields, message) => announcer.info(fields, message),
    forward: (line) => void stream.write(`${line}\n`),
    flush: () => {
      if (stream === destination) flushQuietly(destination)
    },
  }
}

async function prettyStream() {
  const { default: pretty } = await import('pino-pretty')
  return pretty({ colorize: true, sync: true, singleLine: true, ignore: 'hostname', translateTime: 'SYS:HH:MM:ss.l' })
}

function flushQuietly(destination: { flushSync(): void }): void {
  try {
    destination.flushSync()
  } catch {
    // The descriptor was never opened or is gone: there is nowhere to say it.
  }
}
