// The simulated world: machines, their disks and the network between them, all moved by one scheduler and one seed.
//
// `run` is the only way time passes. Whatever product code does on a machine's `io` happens at a virtual moment that
// the seed decides; between two events every microtask runs. A run ends with what `main`
// returns, or fails with the seed, the options and the command that repeats it.

import { relative } from 'node:path'
import { assert } from '../../src/base/assert.ts'
import { Random } from '../../src/base/random.ts'
import { SimMachine } from './machine.ts'
import { SimNetwork } from './network.ts'
import { type SimOptions, type SimOptionsInput, simOptions } from './options.ts'
import { Scheduler } from './scheduler.ts'

/** Events between two turns of the real event loop, where microtasks can be drained without one. */
const EVENTS_PER_TURN = 256

/**
 * Runs all microtasks, next ticks and reports of unhandled rejections at once, as happens at the end of each turn of
 * the event loop: a turn for each event costs three times as much. Undefined where Node has it no more; then every event
 * gets a turn of its own, to the same effect.
 */
const drainMicrotasks = (process as { _tickCallback?: () => void })._tickCallback

/** A failed run. `cause` is what was thrown inside. */
export class SimFailure extends Error {
  override readonly name = 'SimFailure'
}

export class SimWorld {
  readonly options: SimOptions
  readonly scheduler: Scheduler
  readonly network: SimNetwork
  /** The test's own chance, apart from the world's. */
  readonly random: Random
  readonly #machines = new Map<string, SimMachine>()
  readonly #chance: Random
  readonly #atEvent: { count: number; action: () => void }[] = []
  readonly #watches: { readonly everyMs: number; readonly look: () => void; nextMs: number }[] = []
  #failure: unknown
  #isRunning = false
  #lastDeathEvent = -1

  /** @param input  a seed, or a seed with options (see `swarmOptions`) */
  constructor(input: number | SimOptionsInput) {
    this.options = simOptions(typeof input === 'number' ? { seed: input } : input)
    this.#chance = new Random(this.options.seed)
    this.random = this.#chance.fork()
    this.scheduler = new Scheduler(this.#chance.fork())
    this.network = new SimNetwork(this, this.#chance.fork())
  }

  /** Virtual milliseconds since the world began. */
  get nowMs(): number {
    return this.scheduler.nowMs
  }

  /** Events so far: for picking moments to crash at. */
  get eventCount(): number {
    return this.scheduler.eventCount
  }

  /** Equal for two runs of one seed, different as soon as anything happened in another order. */
  get traceChecksum(): number {
    return this.scheduler.checksum
  }

  /** The machine of that name, made and started when it is new. The name is its host name too. */
  machine(name: string): SimMachine {
    let machine = this.#machines.get(name)
    if (machine === undefined) {
      machine = new SimMachine(this, name, this.#chance.fork())
      this.#machines.set(name, machine)
    }
    return machine
  }

  /** The machine with that host name, if there is one. */
  machineAt(host: string): SimMachine | undefined {
    return this.#machines.get(host)
  }

  get machines(): readonly SimMachine[] {
    return [...this.#machines.values()]
  }

  /** Lets time pass until what `main` returns has settled. One run at a time; machines live on between runs. */
  async run<T>(main: () => Promise<T>): Promise<T> {
    assert(!this.#isRunning, 'a run is under way')
    this.#isRunning = true
    const onRejection = (reason: unknown) => {
      // What dies in the very turn of a crash may be the dead process's own last microtasks: not a fault of the living.
      if (this.#lastDeathEvent !== this.eventCount) this.fail(reason)
    }
    process.on('unhandledRejection', onRejection)
    try {
      let outcome: { value: T } | undefined
      main().then(
        (value) => {
          outcome = { value }
        },
        (error: unknown) => this.fail(error),
      )
      await this.#loop(() => outcome !== undefined)
      return outcome!.value
    } catch (error) {
      throw this.#report(error)
    } finally {
      process.off('unhandledRejection', onRejection)
      this.#isRunning = false
    }
  }

  /** Runs events until `isOver` or a failure; microtasks have all run before anything is looked at. */
  #loop(isOver: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const turn = (): void => {
        try {
          for (let count = 0; count < EVENTS_PER_TURN; count++) {
            if (this.#failure !== undefined) throw this.#failure
            if (isOver()) {
              resolve()
              return
            }
            // What an action resolved gets its turn before time goes on.
            if (!this.#runActions()) {
              if (this.eventCount >= this.options.eventsMax) throw new Error(`more than ${this.eventCount} events`)
              this.#lookAround()
              if (!this.scheduler.step()) throw new Error('nothing is left to happen, and the run has not ended')
            }
            if (drainMicrotasks === undefined) break
            drainMicrotasks()
          }
          setImmediate(turn)
        } catch (error) {
          reject(error)
        }
      }
      setImmediate(turn)
    })
  }

  /** Lets `durationMs` of virtual time pass. */
  runFor(durationMs: number): Promise<void> {
    return this.run(() => this.sleep(durationMs))
  }

  /** Resolves after `durationMs` of virtual time: for the test's own code inside `run`. */
  sleep(durationMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(durationMs, resolve)
    })
  }

  /** Calls `action` in `delayMs`: for the test's own faults. */
  after(delayMs: number, action: () => void): void {
    this.scheduler.schedule(delayMs, 'test', '', undefined, action)
  }

  /** Calls `action` once `count` more events have run: for crashes at any moment. */
  afterEvents(count: number, action: () => void): void {
    this.#atEvent.push({ count: this.eventCount + count, action })
  }

  /** Calls `look` between events, about every `everyMs`: no event itself, so it must change nothing. */
  watch(everyMs: number, look: () => void): void {
    this.#watches.push({ everyMs, look, nextMs: this.nowMs + everyMs })
  }

  /** Waits until `condition` holds, looking every `everyMs`; fails the run when it doesn't within `timeoutMs`. */
  async until(what: string, condition: () => boolean, timeoutMs = 60_000, everyMs = 10): Promise<void> {
    const deadlineMs = this.nowMs + timeoutMs
    while (!condition()) {
      if (this.nowMs >= deadlineMs) throw new Error(`not within ${timeoutMs} ms: ${what}`)
      await this.sleep(everyMs)
    }
  }

  /** Ends the run with an error: for violations found inside callbacks. The first one counts. */
  fail(reason: unknown): void {
    this.#failure ??= reason instanceof Error ? reason : new Error(String(reason))
  }

  /** Told by a machine whose process died. */
  processDied(): void {
    this.#lastDeathEvent = this.eventCount
  }

  #lookAround(): void {
    for (const watch of this.#watches) {
      if (this.nowMs < watch.nextMs) continue
      watch.nextMs = this.nowMs + watch.everyMs
      watch.look()
    }
  }

  /** @returns whether any ran */
  #runActions(): boolean {
    let hasRun = false
    for (let index = 0; index < this.#atEvent.length; index++) {
      const entry = this.#atEvent[index]!
      if (entry.count > this.eventCount) continue
      this.#atEvent.splice(index--, 1)
      entry.action()
      hasRun = true
    }
    return hasRun
  }

  #report(error: unknown): SimFailure {
    const cause = error instanceof Error ? error : new Error(String(error))
    const script = process.argv[1] === undefined ? '' : relative(process.cwd(), process.argv[1])
    const logs = this.machines.flatMap((machine) => machine.log.lines.slice(-10))
    const failure = new SimFailure(
      [
        cause.message,
        `  repeat: SIM_SEED=${this.options.seed} npx tsx ${script}`,
        `  at ${this.nowMs.toFixed(3)} ms, event ${this.eventCount}; options: ${JSON.stringify(this.options)}`,
        ...this.scheduler.lastLines.slice(-15).map((line) => `  event: ${line}`),
        ...logs.map((line) => `  log: ${line}`),
      ].join('\n'),
      { cause },
    )
    failure.stack = `${failure.name}: ${failure.message}\n${cause.stack ?? ''}`
    return failure
  }
}
