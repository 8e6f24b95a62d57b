// The logger of a daemon: pino's JSON lines on stdout, or something pretty where a person watches.

import pino from 'pino'
import type { Logger } from '../../base/log.ts'

/** Lines that nobody takes in time are dropped beyond this: a log must not fill the memory. */
const bufferedCharactersMax = 8 << 20
/** Lines held back at most while a daemon starts; with one more all of them go out. */
const heldLinesMax = 1_000
/** A stream with this field is told the level of each line, in `lastLevel`, before it gets the line. */
const wantsLevels: unique symbol = Symbol.for('pino.metadata')
/** pino's number of the level from which a line is no mere progress. */
const warnLevel = 40

export interface DaemonLog {
  readonly logger: Logger
  /** Says a line whatever the level: scripts wait for the one that a daemon serves. */
  announce(fields: Readonly<Record<string, unknown>>, message: string): void
  /** Takes a finished line of another daemon (JSON, without the newline). */
  forward(line: string): void
  /** Lets go of the lines held back: the start has come to an end that is no refusal. */
  release(): void
  /** Forgets them: the start is refused, and one line will say why. */
  forget(): void
  /** Hands over what is buffered; nothing may be logged afterwards. */
  flush(): void
}

/**
 * What a daemon logs while it starts (info, and lines of its parts) is held back until `release`, a warning or an
 * error, so that a refused start is one line and not a story of success with an unhappy end.
 *
 * @param fields  on every line: role, id
 */
export async function openLog(level: string, fields: Readonly<Record<string, unknown>>): Promise<DaemonLog> {
  const destination = pino.destination({ dest: 1, sync: false, maxLength: bufferedCharactersMax })
  // A reader of the log that goes away must not end a daemon.
  destination.on('error', () => undefined)
  const stream = process.stdout.isTTY ? await prettyStream() : destination
  // Who asks for more than the usual wants to see how far a start came.
  const isHolding = level !== 'debug'
  const held = new HeldLines(isHolding, (line) => void stream.write(line))
  const logger = pino({ level, base: fields, formatters: { level: (label) => ({ level: label }) } }, held)
  const announcer = logger.child({}, { level: 'info' })
  return {
    logger,
    announce: (fields, message) => announcer.info(fields, message),
    forward: (line) => held.hold(`${line}\n`),
    release: () => held.release(),
    forget: () => held.forget(),
    flush: () => {
      held.release()
      if (stream === destination) flushQuietly(destination)
    },
  }
}

/** A stream for pino that keeps what is only progress until it is released. */
class HeldLines {
  readonly [wantsLevels] = true
  lastLevel = 0
  readonly #out: (line: string) => void
  #lines: string[] = []
  #isHolding: boolean

  constructor(isHolding: boolean, out: (line: string) => void) {
    this.#isHolding = isHolding
    this.#out = out
  }

  write(line: string): void {
    if (this.lastLevel >= warnLevel) this.release()
    this.hold(line)
  }

  hold(line: string): void {
    if (this.#isHolding) this.#lines.push(line)
    else this.#out(line)
    if (this.#lines.length > heldLinesMax) this.release()
  }

  release(): void {
    this.#isHolding = false
    for (const line of this.#lines.splice(0)) this.#out(line)
  }

  forget(): void {
    this.#lines = []
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
