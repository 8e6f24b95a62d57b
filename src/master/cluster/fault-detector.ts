// FaultDetector guesses from heartbeats whether one chunkserver has died.
//
// The rule is a ratio of the server's own recent interval, not a fixed timeout: a busy server that beats late but
// steadily stays alive, and a quick one that falls silent is noticed soon. Floors keep a moment's stall (a busy core, a
// collection of garbage) from looking like death.
//
// Pure: time is an argument. Source: GFS §2.3 (HeartBeat); the ratio follows TigerBeetle src/vsr/fault_detector.zig.

export type Tardiness = 'green' | 'yellow' | 'red'

const YELLOW_RATIO = 2.5
const RED_RATIO = 5
const YELLOW_MS_MIN = 1200
const RED_MS_MIN = 2500
/** A longer interval is believed at once by half, a shorter one slowly: late news must not be forgotten at the first good one. */
const RISE = 1 / 2
const FALL = 1 / 16
/** What one heartbeat weighs in the usual delay. */
const LATE_WEIGHT = 1 / 8

export class FaultDetector {
  #usualMs: number
  #lastMs: number
  /** The interval that the last heartbeat was answered with. */
  #toldMs: number
  #lateMs = 0

  /** @param toldMs  the interval that the server was told to beat at */
  constructor(toldMs: number, nowMs: number) {
    this.#usualMs = toldMs
    this.#toldMs = toldMs
    this.#lastMs = nowMs
  }

  /** How much later than told a heartbeat usually comes: its way here and the answer's way back. */
  get lateMs(): number {
    return this.#lateMs
  }

  /** The interval that counts as usual. */
  get usualMs(): number {
    return this.#usualMs
  }

  /** Records one heartbeat. An interval below the one told (urgent news) says nothing of the usual one. */
  beat(toldMs: number, nowMs: number): void {
    const intervalMs = Math.max(toldMs, nowMs - this.#lastMs)
    this.#usualMs += (intervalMs - this.#usualMs) * (intervalMs > this.#usualMs ? RISE : FALL)
    this.#lateMs += (Math.max(0, nowMs - this.#lastMs - this.#toldMs) - this.#lateMs) * LATE_WEIGHT
    this.#toldMs = toldMs
    this.#lastMs = nowMs
  }

  /** For so long the master itself was not listening: that silence says nothing. */
  excuse(ms: number): void {
    this.#lastMs += ms
  }

  /**
   * How late the next heartbeat is.
   *
   *   green   up to 2.5 of the usual interval, and 1.2 s
   *   yellow  up to 5 of it, and 2.5 s: no new chunks are placed there
   *   red     beyond: its replicas count as lost, re-replication begins
   */
  tardiness(nowMs: number): Tardiness {
    const silentMs = nowMs - this.#lastMs
    if (silentMs <= Math.max(YELLOW_MS_MIN, YELLOW_RATIO * this.#usualMs)) return 'green'
    return silentMs <= Math.max(RED_MS_MIN, RED_RATIO * this.#usualMs) ? 'yellow' : 'red'
  }
}
