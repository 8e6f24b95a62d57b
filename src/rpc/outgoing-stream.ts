// A frame whose data comes later: what its sender writes to, before, while and after it is at the head of the line.
//
// Invariants:
//   - it sends exactly the bytes it promised, or is marked as aborted
//   - until it reaches the head it keeps what is written, at most what it promised

import { assert } from '../base/assert.ts'
import type { DfsError } from '../base/errors.ts'

/** Called once: the bytes left this process, or never will. The slices are the caller's again. */
export type OnWritten = (error?: DfsError) => void

/** Sends the data of one frame as it comes. */
export interface DataWriter {
  /** Promised and not yet written here. */
  readonly bytesLeft: number
  /** True when the frame was aborted or the connection closed: writes are dropped, their `onWritten` gets the error. */
  readonly isOver: boolean
  /**
   * Sends the next bytes, at most `bytesLeft`. The slices must not change until `onWritten`.
   * @returns false when it would be better to wait for `onDrain` before the next write
   */
  write(slices: readonly Uint8Array[], onWritten?: OnWritten): boolean
  /** Gives the frame up: the other side learns that it is not complete. Harmless when it is over. */
  abort(error: DfsError): void
}

/** A writer for a frame that is never sent. */
export function closedWriter(error: DfsError): DataWriter {
  return {
    bytesLeft: 0,
    isOver: true,
    write: (_slices, onWritten) => {
      onWritten?.(error)
      return true
    },
    abort: () => {},
  }
}

/** What a stream needs of the outbox. */
export interface StreamHost {
  put(stream: OpenStream, slices: readonly Uint8Array[], bytes: number, onWritten: OnWritten | undefined): boolean
  end(stream: OpenStream, isComplete: boolean): void
  forget(stream: OpenStream): void
}

/** The outbox's side of a DataWriter. */
export class OpenStream implements DataWriter {
  readonly isCall: boolean
  readonly #host: StreamHost
  readonly #onDrain: () => void
  readonly #onAborted: (error: DfsError) => void
  #bytesLeft: number
  #state: 'waiting' | 'running' | 'over' = 'waiting'
  #isDrainWanted = false
  #early: { slices: readonly Uint8Array[]; onWritten: OnWritten | undefined }[] = []
  /** Why it is over, unless it is complete. */
  #error: DfsError | undefined

  constructor(
    dataBytes: number,
    isCall: boolean,
    onDrain: () => void,
    onAborted: (error: DfsError) => void,
    host: StreamHost,
  ) {
    this.#bytesLeft = dataBytes
    this.isCall = isCall
    this.#onDrain = onDrain
    this.#onAborted = onAborted
    this.#host = host
  }

  get bytesLeft(): number {
    return this.#bytesLeft
  }

  get isOver(): boolean {
    return this.#state === 'over'
  }

  write(slices: readonly Uint8Array[], onWritten?: OnWritten): boolean {
    if (this.#error !== undefined) {
      onWritten?.(this.#error)
      return true
    }
    if (this.#state === 'waiting') {
      this.#early.push({ slices, onWritten })
      this.#isDrainWanted = true
      return false
    }
    const bytes = slices.reduce((sum, slice) => sum + slice.length, 0)
    assert(this.#state === 'running' && bytes <= this.#bytesLeft, `${bytes} bytes written, ${this.#bytesLeft} left`)
    this.#bytesLeft -= bytes
    const hasRoom = this.#host.put(this, slices, bytes, onWritten)
    if (this.#bytesLeft === 0) {
      this.#state = 'over'
      this.#host.end(this, true)
      return true
    }
    if (!hasRoom) this.#isDrainWanted = true
    return hasRoom
  }

  abort(error: DfsError): void {
    if (this.#state === 'over') return
    const wasRunning = this.#state === 'running'
    this.close(error)
    if (wasRunning) this.#host.end(this, false)
    else this.#host.forget(this)
    this.#onAborted(error)
  }

  /** It has come to the head: what was written meanwhile goes out. */
  begin(): void {
    this.#state = 'running'
    const early = this.#early
    this.#early = []
    for (const { slices, onWritten } of early) this.write(slices, onWritten)
    this.drained()
  }

  drained(): void {
    if (!this.#isDrainWanted || this.#state === 'over') return
    this.#isDrainWanted = false
    this.#onDrain()
  }

  close(error: DfsError): void {
    if (this.#state === 'over') return
    this.#state = 'over'
    this.#error = error
    const early = this.#early
    this.#early = []
    for (const { onWritten } of early) onWritten?.(error)
  }
}
