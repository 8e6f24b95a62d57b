// The sealing rule, sentence by sentence: each is a switch of the model.
//
// Source: Windows Azure Storage (SOSP 2011, §4.3), with fences that last.

export interface Sentence {
  readonly id: string
  readonly text: string
  /** What is done instead when the sentence is left out. */
  readonly without: string
}

/** The rule, sentence by sentence. */
export const sentences = [
  {
    id: 'everyMember',
    text: 'Bytes are acknowledged only when every member has them.',
    without: 'two of three are enough for an acknowledgement',
  },
  {
    id: 'sameMembers',
    text: 'Members and primary never change while the chunk is open.',
    without: 'a secondary can be dropped from the record of an open chunk',
  },
  {
    id: 'sameLife',
    text: 'A member in another life takes no more bytes for it.',
    without: 'a restarted member goes on where its disk ends',
  },
  { id: 'fence', text: 'Fence the members reached.', without: 'members are asked for their length only' },
  { id: 'fenceFinal', text: 'A fence is final.', without: 'a fence wears off' },
  {
    id: 'fenceUnborn',
    text: "It holds also where the chunk doesn't exist yet.",
    without: 'a member that has nothing of the chunk forgets the fence',
  },
  {
    id: 'fenceStays',
    text: '(It is final also) where the replica was deleted.',
    without: 'with its replica a member forgets the fence',
  },
  {
    id: 'fenceTurn',
    text: 'It takes its turn: writes accepted before are finished and counted in its answer, all later ones refused.',
    without: 'the answer counts what is finished, and a write under way finishes after it',
  },
  {
    id: 'oneFenced',
    text: 'One fenced member is enough: nothing more can be acknowledged.',
    without: 'every member must be fenced',
  },
  { id: 'shortest', text: 'Length: the shortest …', without: 'the longest answer counts' },
  {
    id: 'recordedLife',
    text: '… among members still in their recorded life.',
    without: 'the answer of a restarted member counts like any other',
  },
  {
    id: 'waitForAll',
    text: 'If none of them answers, wait until every member has answered …',
    without: 'the restarted members that have answered so far decide at once',
  },
  { id: 'patienceEnds', text: '… or 60 s are over;', without: 'it is waited for ever' },
  {
    id: 'longestProven',
    text: 'then the longest that a restarted one can prove,',
    without: 'then the shortest of what they prove',
  },
  { id: 'report', text: 'and report says what was given up.', without: 'nobody is told' },
  {
    id: 'badBlock',
    text: 'A bad block below the synced length is a bad block; it never shortens a replica.',
    without: 'a replica is as long as its blocks are good',
  },
  {
    id: 'syncedOnly',
    text: 'The log names only synced bytes.',
    without: 'a fenced member counts bytes that it has not synced',
  },
  {
    id: 'logged',
    text: 'Log sealChunk(handle, length, digest).',
    without: 'the master keeps the length in memory, and the next master asks again',
  },
  { id: 'firstWins', text: 'The first in the log wins …', without: 'the last in the log wins' },
  {
    id: 'cutAfterLog',
    text: '… and only then is anything cut.',
    without: 'a master has members cut to the length that it has worked out',
  },
  {
    id: 'claim',
    text: 'What a replica or a client calls sealed is a claim until the log says so.',
    without: 'a writer takes what one fenced replica holds for the sealed length',
  },
  { id: 'longerIsCut', text: 'A replica that comes back longer is cut.', without: 'it stays as it is' },
  {
    id: 'shorterNotCounted',
    text: 'A shorter one is a true prefix: not counted, …',
    without: 'a shorter one counts towards the goal',
  },
  {
    id: 'shorterIsRead',
    text: '… but read from when nothing better lives.',
    without: 'a shorter one is of no use',
  },
  {
    id: 'deletedLate',
    text: 'No replica is deleted for being short, stale, unknown or different before right ones meet the goal.',
    without: 'a replica that is not right is deleted at once',
  },
  {
    id: 'verified',
    text: '(Those right ones are) verified.',
    without: 'the length that a replica tells is believed, its blocks are not looked at',
  },
] as const satisfies readonly Sentence[]

export type SentenceId = (typeof sentences)[number]['id']
export type Rule = Readonly<Record<SentenceId, boolean>>

/** The rule with every sentence, or with all but one. */
export function ruleWithout(off?: SentenceId): Rule {
  return Object.fromEntries(sentences.map(({ id }) => [id, id !== off])) as Record<SentenceId, boolean>
}
