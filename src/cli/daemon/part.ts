// One process of `dfsd dev`: started with execa, told apart by its log lines, stopped gently and then for good.

import { execa } from 'execa'
import { DfsError, isErrorCode } from '../../base/errors.ts'
import { parseLogLine, readLines } from '../log-lines.ts'
import type { DaemonTools } from './lifecycle.ts'

const startMsMax = 60_000
const stopMsMax = 25_000

export interface PartSpec {
  readonly role: 'master' | 'chunk'
  readonly id: string
  readonly data: string
  listen: string
  /** Besides --data and --listen. */
  readonly args: readonly string[]
}

/** A row of `processes` in the ready line of `dfsd dev`. */
export interface PartFacts {
  readonly role: string
  readonly id: string
  readonly pid: number
  readonly listen: string
  readonly http: string
  readonly data: string
}

export class Part {
  readonly spec: PartSpec
  /** Resolves with the first `ready` line; rejects with the reason of a refusal. */
  readonly ready: Promise<PartFacts>
  /** Resolves with how it ended. Never rejects. */
  readonly ended: Promise<string>
  isRunning = true
  readonly pid: number
  readonly #process: ReturnType<typeof spawn>

  constructor(spec: PartSpec, tools: DaemonTools) {
    this.spec = spec
    this.#process = spawn(spec)
    this.pid = this.#process.pid ?? 0
    let refusal: DfsError | undefined
    this.ended = this.#process.then((result) => {
      this.isRunning = false
      return result.signal ? `by ${result.signal}` : `with code ${result.exitCode}`
    })
    this.ready = new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(this.#fault(`not ready after ${startMsMax} ms`)), startMsMax)
      const take = (line: string) => {
        const fields = parseLogLine(line)
        // Not passed on: `ready` and `refused` in our log are ours.
        if (fields?.event === 'refused') {
          refusal = this.#refusal(fields)
          return
        }
        if (fields?.event !== 'ready') return tools.forward(line)
        clearTimeout(late)
        const { role, id, data } = spec
        resolve({ role, id, pid: this.pid, listen: String(fields.listen), http: String(fields.http), data })
      }
      readLines(this.#process.stdout, take)
      readLines(this.#process.stderr, tools.forward)
      void this.ended.then((how) => {
        clearTimeout(late)
        reject(refusal ?? this.#fault(`it ended ${how} before it was ready`))
      })
    })
    this.ready.catch(() => undefined) // whoever starts a part awaits it; nobody else must
  }

  /** Asks it to stop, kills it when it takes too long. */
  async stop(): Promise<void> {
    if (!this.isRunning) return
    this.#process.kill('SIGTERM')
    const late = setTimeout(() => this.#process.kill('SIGKILL'), stopMsMax)
    await this.ended
    clearTimeout(late)
  }

  #fault(reason: string): DfsError {
    const next = `see the lines of ${this.spec.id} before this one`
    return new DfsError('UNAVAILABLE', `${this.spec.id} did not start: ${reason}`, { part: this.spec.id, next })
  }

  /** What the part said when it was refused, with its own next step. */
  #refusal({ code, reason, next }: Readonly<Record<string, unknown>>): DfsError {
    const known = typeof code === 'string' && isErrorCode(code) ? code : 'UNAVAILABLE'
    const detail = { part: this.spec.id, ...(typeof next === 'string' && { next }) }
    return new DfsError(known, `${this.spec.id} did not start: ${String(reason)}`, detail)
  }
}

/** This program again, as another part. */
function spawn({ role, data, listen, args }: PartSpec) {
  const program = [...process.execArgv, process.argv[1] ?? '']
  const own = [role, '--data', data, '--listen', listen, '--http', '127.0.0.1:0', ...args]
  return execa(process.execPath, [...program, ...own], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
    buffer: false,
    reject: false,
    // A terminal's Ctrl-C goes to its whole foreground group: the parts are stopped by us, in order.
    detached: true,
    cleanup: false,
  })
}
