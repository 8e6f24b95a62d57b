// The state as the sections of a checkpoint, in a canonical order, so that equal states are equal bytes.
//
// The sections are described in README.md beside this file (the file around them in ../../../oplog-format.md). Row
// numbers, page layouts, the shape of the tree and caches are this process's own and stand in none of them: a state that
// was loaded and one that was replayed write the same bytes and answer the same to every later operation.

import { chunkSections } from './checkpoint-chunks.ts'
import { Decoding, Encoding, type SectionRow } from './checkpoint-context.ts'
import { inodeSections } from './checkpoint-inodes.ts'
import { recordSections, stateSections } from './checkpoint-records.ts'
import { badSection, type Section } from './sections.ts'
import type { MetadataState } from './state.ts'

/** Sections as a reader of checkpoint files gives them. */
export type LoadedSections = AsyncIterable<{
  readonly name: string
  readonly bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>
}>

/** The sections of the state. The state must not change until the last byte is taken. */
export function* encodeCheckpoint(state: MetadataState): Generator<Section, void, void> {
  const context = new Encoding(state)
  for (const { name, encode } of layout) yield { name, bytes: encode(context) }
}

/**
 * Builds a state from the sections of a checkpoint, in their order.
 *
 * Throws BAD_FORMAT when a section is missing, unknown or of another shape; what the source throws passes through.
 */
export async function loadCheckpointSections(sections: LoadedSections): Promise<MetadataState> {
  const context = new Decoding()
  let due = layout
  let at = 0
  for await (const { name, bytes } of sections) {
    const expected = due[at++]
    if (expected === undefined || expected.name !== name) {
      throw badSection(name, `not known at this place, where ${expected?.name ?? 'the end'} is due`)
    }
    const sink = expected.decode(context)
    for await (const piece of bytes) sink.push(piece)
    sink.end()
    // The first section says which others there are.
    if (at === 1) due = layout.filter(({ since = 1 }) => since <= context.version)
  }
  if (at !== due.length) throw badSection(due[at]!.name, 'missing')
  return context.finish()
}

/** All sections, in the order of the file. */
const layout: readonly SectionRow[] = [...stateSections, ...inodeSections, ...chunkSections, ...recordSections]

/** Names and shapes of all sections, in the order of the file. */
export const sectionTable: readonly { readonly name: string; readonly shape: string }[] = layout.map(
  ({ name, shape }) => ({ name, shape }),
)
