// How a state of the sealing model is packed: a word for each member, and one for what they share.
//
// Small on purpose: the search holds millions of states. A field is a run of bits; those that come in pairs have one
// field for each slot (place in the chunk) or for each piece (1 and 2, at index 0 and 1).

export const memberCount = 3
export const primary = 0
export const pieceCount = 2
/** So many right replicas are wanted: one fewer than there are members, so that one can be too many. */
export const goal = 2
export const members = [0, 1, 2] as const
export const pieces = [1, 2] as const

/** A run of bits of a word. */
export interface Field {
  readonly shift: number
  readonly mask: number
}

export function field(shift: number, bits: number): Field {
  return { shift, mask: (1 << bits) - 1 }
}

export function get(word: number, { shift, mask }: Field): number {
  return (word >>> shift) & mask
}

export function set(word: number, { shift, mask }: Field, value: number): number {
  return (word & ~(mask << shift)) | (value << shift)
}

/** Which piece lies in a slot; 0: none. The replica's length is the number of slots in use. */
export const content = [field(0, 2), field(2, 2)] as const
/** So many slots survive a loss of power for certain. */
export const synced = field(4, 2)
/** The piece that was accepted and is being written to the next slot; 0: none. */
export const writing = field(6, 2)
export const fenced = field(8, 1)
/** In another life than the one in the allocation record. */
export const restarted = field(9, 1)
/** The slot was damaged on the disk. */
export const rotten = [field(10, 1), field(11, 1)] as const
/** For each piece: the member has once answered that it has it. The answer may be on its way for ever. */
export const answeredPiece = [field(12, 1), field(13, 1)] as const
/** For each piece: it was stored here, and since then no power was lost before it was synced. */
export const held = [field(14, 1), field(15, 1)] as const
/** Answers to fences that were sent, by length, from the recorded life and from a later one: any may arrive any time. */
export const answersOfLife = field(16, 3)
export const answersOfRestarted = field(19, 3)
/** For each slot: somebody was told that the chunk is sealed beyond this slot, on the word of this member. */
export const vouched = [field(22, 1), field(23, 1)] as const
/** A seal gave up on reaching this member, and `report` says so. */
export const givenUp = field(24, 1)
export const deleted = field(25, 1)
/** No longer in the record's list of members. */
export const dropped = field(26, 1)
/** Was deleted when enough right ones lived: takes no part in promises any more. What comes late may still meet it. */
export const released = field(27, 1)

/** For each piece, slot + 1 that the primary gave it; 0: none yet. From then on the order to store it may arrive any time. */
export const slotOf = [field(0, 2), field(2, 2)] as const
/** For each piece: its writer asked for `sync` rather than for `flush`. */
export const wantsSync = [field(4, 1), field(5, 1)] as const
/** For each piece: what its writer was told. */
export const acknowledged = [field(6, 2), field(8, 2)] as const
export const [nothing, flushed, durable] = [0, 1, 2]
/** Length + 1 of the seal in force; 0: none. */
export const sealed = field(10, 2)
/** One block goes bad at most. */
export const rotUsed = field(12, 1)

export function lengthOf(member: number): number {
  return get(member, content[0]) === 0 ? 0 : get(member, content[1]) === 0 ? 1 : 2
}

export function cutTo(member: number, length: number): number {
  let cut = member
  for (let slot = length; slot < pieceCount; slot++) cut = set(set(cut, content[slot]!, 0), rotten[slot]!, 0)
  return set(cut, synced, Math.min(get(cut, synced), length))
}

export function hasGoodSlots(member: number, length: number): boolean {
  for (let slot = 0; slot < length; slot++) if (get(member, rotten[slot]!) === 1) return false
  return true
}
