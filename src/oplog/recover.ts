// What recovery does with a segment: one table, decided from the facts of a scan. Pure.
//
// The same table, row for row, stands in ../../oplog-format.md; a test walks through every combination of facts.
// The rule behind it: a crash can tear only what was not synced, so damage is a torn tail exactly when nothing proves
// that it had been synced. Proof lies only in later batches, so the scan goes on behind the first bad byte.
//
// Source: Alagappan et al., FAST 2018 (telling corruption from a crash); the form follows TigerBeetle journal.zig.

import { assert } from '../base/assert.ts'

/** Facts about one segment. */
export interface SegmentFacts {
  /** `closed` when a later segment exists, whose header says where this one ends. */
  readonly part: 'closed' | 'last'
  /**
   * The header page.
   *   whole      checksum right, this cluster, the number of its name, continuing the segment before
   *   foreign    checksum right, another cluster
   *   misplaced  checksum right, another number than the name says, or not continuing the segment before
   *   newer      checksum right, an unknown version or flags
   *   damaged    anything else, also too short
   */
  readonly header: 'whole' | 'foreign' | 'misplaced' | 'newer' | 'damaged'
  /** Closed segments: whether the run of valid batches reaches exactly the end, index, term and checksum that the next header names. */
  readonly reachesNext: boolean
  /**
   * What stands behind the run of valid batches.
   *   nothing     the file ends there
   *   unwritten   only zeros up to the end of the file, which is no longer than it was preallocated
   *   zeros       only zeros up to the end of the file, which has grown
   *   bytes       anything else, without a valid batch at its start
   *   impossible  a batch with right checksums whose content can't be (a bug or a forger)
   *   newer       a batch with right checksums of an unknown kind or flags
   */
  readonly rest: 'nothing' | 'unwritten' | 'zeros' | 'bytes' | 'impossible' | 'newer'
  /**
   * Headers of this segment found at any byte behind the run of valid batches.
   *   beyond     one says that bytes behind the run were synced; or the segment header says it of the bytes it was born with
   *   misplaced  one stands where it was not written: right behind the run and not continuing it, or farther on with an
   *              own offset that the run has not reached (a copy of an earlier batch farther on is old garbage)
   *   none       neither
   */
  readonly proof: 'none' | 'beyond' | 'misplaced'
}

export type RecoveryAction =
  /** The run of valid batches is the segment. */
  | 'open'
  /** The same, and what stands behind it is a torn tail: said in the log, ignored, and left behind for good by the next segment's header. */
  | 'cut'
  /** Nothing is changed and nothing served. */
  | 'refuse'

export interface RecoveryRule {
  /** The row of the table in oplog-format.md. */
  readonly row: number
  readonly when: (facts: SegmentFacts) => boolean
  readonly action: RecoveryAction
  /** The code of a refusal. */
  readonly code?: 'LOG_DAMAGED' | 'BAD_FORMAT'
  /** What is said. */
  readonly says: string
}

/** The first row that holds decides. */
export const recoveryRules: readonly RecoveryRule[] = [
  {
    row: 1,
    when: (facts) => facts.header === 'newer',
    action: 'refuse',
    code: 'BAD_FORMAT',
    says: 'the segment is of a format version that is not known here',
  },
  {
    row: 2,
    when: (facts) => facts.header === 'foreign',
    action: 'refuse',
    code: 'LOG_DAMAGED',
    says: 'the segment belongs to another cluster',
  },
  {
    row: 3,
    when: (facts) => facts.header === 'misplaced',
    action: 'refuse',
    code: 'LOG_DAMAGED',
    says: 'the segment does not continue the one before it',
  },
  {
    row: 4,
    when: (facts) => facts.header === 'damaged',
    action: 'refuse',
    code: 'LOG_DAMAGED',
    says: 'the segment header does not match its checksum',
  },
  {
    row: 5,
    when: (facts) => facts.part === 'closed' && facts.reachesNext,
    action: 'open',
    says: 'nothing',
  },
  {
    row: 6,
    when: (facts) => facts.rest === 'newer',
    action: 'refuse',
    code: 'BAD_FORMAT',
    says: 'a batch of a kind that is not known here',
  },
  {
    row: 7,
    when: (facts) => facts.rest === 'impossible',
    action: 'refuse',
    code: 'LOG_DAMAGED',
    says: 'a batch with right checksums and impossible content',
  },
  {
    row: 8,
    when: (facts) => facts.part === 'closed',
    action: 'refuse',
    code: 'LOG_DAMAGED',
    says: 'a bad batch before synced records: the next segment proves that they were synced',
  },
  {
    row: 9,
    when: (facts) => facts.proof === 'beyond',
    action: 'refuse',
    code: 'LOG_DAMAGED',
    says: 'a bad batch before synced records: a later batch proves that they were synced',
  },
  {
    row: 10,
    when: (facts) => facts.proof === 'misplaced',
    action: 'refuse',
    code: 'LOG_DAMAGED',
    says: 'a batch of this segment stands where it was not written',
  },
  {
    row: 11,
    when: (facts) => facts.rest === 'nothing',
    action: 'open',
    says: 'nothing',
  },
  {
    row: 12,
    when: (facts) => facts.rest === 'unwritten',
    action: 'open',
    says: 'nothing',
  },
  {
    row: 13,
    when: (facts) => facts.rest === 'zeros',
    action: 'cut',
    says: 'a torn tail is cut: zeros, nothing synced after them',
  },
  {
    row: 14,
    when: (facts) => facts.rest === 'bytes',
    action: 'cut',
    says: 'a torn tail is cut: a bad batch, nothing synced after it',
  },
]

/** Decides by the first row that holds; every combination of facts has one. */
export function decideRecovery(facts: SegmentFacts): RecoveryRule {
  const rule = recoveryRules.find((row) => row.when(facts))
  assert(rule !== undefined, 'facts without a row in the recovery table')
  return rule
}
