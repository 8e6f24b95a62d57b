// What repair has done: rates for the report, and each incident with where its time went.
//
// An incident begins with a server that is lost (or with the first copy without one) and ends when nothing waits for
// copies any more: detectionMs from the last sign of life, planMs until the first order, cloneMs until the last copy.

import { formatServer, type ServerId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import type { Clock } from '../io/clock.ts'
import { RateMeter } from './rate-meter.ts'

export interface Incident {
  readonly servers: readonly string[]
  /** Replicas that counted as lost. */
  readonly replicas: number
  readonly detectionMs: number
  readonly planMs: number
  readonly cloneMs: number
  readonly copies: number
  readonly bytes: number
}

const INCIDENTS_MAX = 20

export class RepairLog {
  copies = 0
  bytes = 0
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #incidents: Incident[] = []
  readonly #rate: RateMeter
  #begunMs: number | undefined
  #firstOrderMs: number | undefined
  #lastCopyMs = 0
  /** Each once: where a goal can't be met an incident lasts for months. */
  readonly #servers = new Set<ServerId>()
  #replicas = 0
  #detectionMs = 0
  #incidentCopies = 0
  #incidentBytes = 0

  constructor(clock: Clock, logger: Logger) {
    this.#clock = clock
    this.#rate = new RateMeter(clock)
    this.#logger = logger
  }

  /** The last ones, the newest last. */
  get incidents(): readonly Incident[] {
    return this.#incidents
  }

  /** Bytes a second, of late. */
  get bytesPerSecond(): number {
    return this.#rate.perSecond
  }

  lost(server: ServerId, replicas: number, detectionMs: number): void {
    this.#begin()
    this.#servers.add(server)
    this.#replicas += replicas
    this.#detectionMs = Math.max(this.#detectionMs, detectionMs)
  }

  planned(): void {
    this.#begin()
    this.#firstOrderMs ??= this.#clock.nowMs()
  }

  copied(bytes: number): void {
    this.copies++
    this.bytes += bytes
    this.#incidentCopies++
    this.#incidentBytes += bytes
    this.#lastCopyMs = this.#clock.nowMs()
    this.#rate.add(bytes)
  }

  /** @param isBusy  something waits for copies, or is being copied */
  tick(isBusy: boolean): void {
    if (isBusy || this.#begunMs === undefined) return
    const firstMs = this.#firstOrderMs
    const incident: Incident = {
      servers: [...this.#servers].map(formatServer),
      replicas: this.#replicas,
      detectionMs: this.#detectionMs,
      planMs: Math.round((firstMs ?? this.#begunMs) - this.#begunMs),
      cloneMs: Math.round(firstMs === undefined ? 0 : Math.max(0, this.#lastCopyMs - firstMs)),
      copies: this.#incidentCopies,
      bytes: this.#incidentBytes,
    }
    this.#incidents.push(incident)
    if (this.#incidents.length > INCIDENTS_MAX) this.#incidents.shift()
    this.#logger.info({ event: 'repaired', ...incident }, `repaired: ${incident.copies} copies`)
    this.#begunMs = undefined
    this.#firstOrderMs = undefined
    this.#servers.clear()
    this.#replicas = 0
    this.#detectionMs = 0
    this.#incidentCopies = 0
    this.#incidentBytes = 0
  }

  #begin(): void {
    this.#begunMs ??= this.#clock.nowMs()
  }
}
