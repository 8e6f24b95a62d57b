/** Counters of a log since its start, for metrics. Plain numbers; only the log changes them. */
export class LogStats {
  batches = 0
  records = 0
  /** Bytes of records, without headers of batches and padding. */
  recordBytes = 0
  /** Bytes written, everything included. */
  writtenBytes = 0
  syncs = 0
  markers = 0
  segments = 0
  /** Batches refused for want of room. */
  refusals = 0
  lastBatchRecords = 0
  /** Milliseconds from the start of a batch's write to the end of its sync, summed over batches. */
  commitMs = 0
  commitMsMax = 0
  /** How many batches had 1, 2 to 3, 4 to 7 … records: bucket N counts 2^N .. 2^(N+1) - 1. */
  readonly batchSizes: number[] = Array.from({ length: 20 }, () => 0)

  onBatch(records: number, recordBytes: number, batchBytes: number, commitMs: number): void {
    this.batches++
    this.syncs++
    this.records += records
    this.recordBytes += recordBytes
    this.writtenBytes += batchBytes
    this.lastBatchRecords = records
    this.commitMs += commitMs
    this.commitMsMax = Math.max(this.commitMsMax, commitMs)
    const bucket = Math.min(this.batchSizes.length - 1, 31 - Math.clz32(records))
    this.batchSizes[bucket]!++
  }
}
