// The journal of one meta file: records chained in the order they were given, written in groups.
//
// Invariants:
//   - at most one write is under way, so a process that dies leaves a prefix of the records
//   - after a failed write or sync nothing more is written: what the file holds is unknown (ATC 2020, Rebello)

import type { DiskFile } from '../io/disk.ts'
import { encodeRecord, type JournalRecord } from './format.ts'

export class Journal {
  readonly #file: Promise<DiskFile>
  #endBytes: number
  #crc: number
  #syncedBytes: number
  #pending: Buffer[] = []
  #pendingAt: number
  /** Settles when everything given so far is written. */
  #written: Promise<void>
  #isGathering = false
  #failure: unknown
  #good: { readonly endBytes: number; readonly crc: number }

  /**
   * @param file         the meta file, once it is open; a rejection fails every append
   * @param endBytes     where the first record goes
   * @param crc          checksum of the record before it, or of the header
   * @param syncedBytes  bytes of the file known to be on disk
   */
  constructor(file: Promise<DiskFile>, endBytes: number, crc: number, syncedBytes: number) {
    this.#file = file
    this.#endBytes = endBytes
    this.#pendingAt = endBytes
    this.#crc = crc
    this.#syncedBytes = syncedBytes
    this.#written = Promise.resolve()
    this.#good = { endBytes, crc }
  }

  /** The end of what was written for certain, and the checksum of the record there. */
  get good(): { readonly endBytes: number; readonly crc: number } {
    return this.#good
  }

  /** Where the next record goes. */
  get endBytes(): number {
    return this.#endBytes
  }

  /** The checksum of the last record. */
  get endCrc(): number {
    return this.#crc
  }

  /** Appends; resolves when it is written (a dead process leaves it to the next), which is not yet on disk. */
  append(record: JournalRecord): Promise<void> {
    const { bytes, crc } = encodeRecord(record, this.#endBytes, this.#crc, this.#syncedBytes)
    this.#crc = crc
    return this.appendRaw(bytes)
  }

  /** Appends bytes that are no record: the trailer behind the last one. */
  appendRaw(bytes: Buffer): Promise<void> {
    this.#pending.push(bytes)
    this.#endBytes += bytes.length
    if (!this.#isGathering) {
      this.#isGathering = true
      const before = this.#written
      this.#written = before.then(() => this.#flush())
      // Who appended is told; here it only must not count as unhandled.
      this.#written.catch(() => {})
    }
    return this.#written
  }

  /** Makes everything appended before durable. */
  async sync(): Promise<void> {
    const reach = this.#endBytes
    await this.#written
    if (this.#failure !== undefined) throw this.#failure
    const file = await this.#file
    try {
      await file.sync()
    } catch (error) {
      this.#failure = error
      throw error
    }
    this.#syncedBytes = Math.max(this.#syncedBytes, reach)
  }

  async #flush(): Promise<void> {
    const file = await this.#file
    this.#isGathering = false
    const slices = this.#pending
    const at = this.#pendingAt
    const good = { endBytes: this.#endBytes, crc: this.#crc }
    this.#pending = []
    this.#pendingAt = this.#endBytes
    if (this.#failure !== undefined) throw this.#failure
    try {
      await file.write(slices, at)
      this.#good = good
    } catch (error) {
      this.#failure = error
      throw error
    }
  }
}
