// The clock port: the only source of time and of waiting in product code.
//
// The real one is node/clock.ts; the simulator's advances only when nothing else can happen. Product code awaits
// nothing but ports and its own promises, so the same seed gives the same run.

export interface Timer {
  /** Forgets the timer; harmless when it has fired. */
  cancel(): void
}

export interface Clock {
  /** Monotonic milliseconds since some fixed moment of this process; fractions count. Never compared across processes. */
  nowMs(): number
  /** Milliseconds since 1970 by the wall clock: for people and file times only, may jump. */
  wallMs(): number
  /** Calls back once, `delayMs` (0 upward) from now. A timer does not keep a process alive by itself. */
  after(delayMs: number, callback: () => void): Timer
  /** Resolves `delayMs` from now; rejects with ABORTED when `signal` fires first. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>
  /** Calls back once after the I/O that is ready now has been handled (`setImmediate`): where batches are cut. */
  defer(callback: () => void): void
  /** A signal that fires with a TIMEOUT DfsError as reason after `delayMs`. Counts as a timer. */
  timeoutSignal(delayMs: number): AbortSignal
}
