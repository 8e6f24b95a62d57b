// Bytes of a copy on their way from the socket to the file: checked once, while they arrive, and written from where they
// were received.
//
//   socket ──▶ PieceSums (CRC32) ──▶ write of the received slices
//
// Bytes are written before they are proven, into a file that has no name that counts (clone-files.ts): what turns out
// wrong is written over. One checksum pass gives the sums of the blocks, and these combine to that of the frame.

import type { DfsError } from '../base/errors.ts'
import { MiB } from '../base/units.ts'
import type { ReceivedBytes } from '../io/network.ts'
import type { DataSink } from '../rpc/incoming-data.ts'
import { PieceSums } from './block-sums.ts'

/** A write goes to the disk when so much has gathered, or the data ends. */
const WRITE_BYTES = MiB

/** Writes slices at a position; they don't change until it resolves. */
export type WriteSlices = (slices: readonly Buffer[], position: number) => Promise<void>

export class CloneSink implements DataSink {
  readonly #write: WriteSlices
  readonly #sums = new PieceSums(0, 0)
  readonly #writes: Promise<void>[] = []
  #slices: Buffer[] = []
  #received: ReceivedBytes[] = []
  #gathered = 0
  #position: number

  /** @param offset  chunk offset of the first byte: a block's */
  constructor(offset: number, write: WriteSlices) {
    this.#position = offset
    this.#write = write
  }

  onData(bytes: Buffer, received: ReceivedBytes): void {
    this.#sums.push(bytes)
    received.retain()
    this.#slices.push(bytes)
    this.#received.push(received)
    this.#gathered += bytes.length
    if (this.#gathered >= WRITE_BYTES) this.#flush()
  }

  onEnd(error?: DfsError): void {
    if (error === undefined) this.#flush()
    else for (const received of this.#received.splice(0)) received.release()
  }

  crc(): number {
    return this.#sums.crc
  }

  /** Of the blocks received, the last of which may be a part. */
  get sums(): readonly number[] {
    return this.#sums.sums
  }

  /** Resolves when no write is under way any more. Rejects with the first one's error. */
  async settled(): Promise<void> {
    for (const result of await Promise.allSettled(this.#writes)) if (result.status === 'rejected') throw result.reason
  }

  #flush(): void {
    if (this.#gathered === 0) return
    const received = this.#received
    const write = this.#write(this.#slices, this.#position).finally(() => {
      for (const each of received) each.release()
    })
    write.catch(() => {}) // told by `settled`
    this.#writes.push(write)
    this.#position += this.#gathered
    this.#slices = []
    this.#received = []
    this.#gathered = 0
  }
}
