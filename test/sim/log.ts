// A machine's log: a Logger that keeps its last lines, printed when a run fails.

import type { LogFields, Logger } from '../../src/base/log.ts'
import type { SimWorld } from './world.ts'

export class SimLog implements Logger {
  readonly #world: SimWorld
  readonly #name: string
  readonly #linesMax: number
  #lines: string[] = []

  constructor(world: SimWorld, name: string, linesMax: number) {
    this.#world = world
    this.#name = name
    this.#linesMax = linesMax
  }

  /** Oldest first. */
  get lines(): readonly string[] {
    return this.#lines
  }

  debug(fields: LogFields, message: string): void {
    this.#add('debug', fields, message)
  }

  info(fields: LogFields, message: string): void {
    this.#add('info', fields, message)
  }

  warn(fields: LogFields, message: string): void {
    this.#add('warn', fields, message)
  }

  error(fields: LogFields, message: string): void {
    this.#add('error', fields, message)
  }

  #add(level: string, fields: LogFields, message: string): void {
    const facts = Object.entries(fields).map(([key, value]) => `${key}=${plain(value)}`)
    const line = [this.#world.nowMs.toFixed(3), this.#name, level, message, ...facts].join(' ')
    this.#lines.push(line)
    this.#world.scheduler.onLine?.(`log: ${line}`)
    if (this.#lines.length > 2 * this.#linesMax) this.#lines = this.#lines.slice(-this.#linesMax)
  }
}

function plain(value: unknown): string {
  if (value instanceof Error) return `${value.name}: ${value.message}`
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
