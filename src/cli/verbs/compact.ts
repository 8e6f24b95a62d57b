// admin compact: dead space in chunks, and what has been done about it.

import { formatBytes } from '../../base/units.ts'
import { defineDfsVerb } from '../context.ts'
import { asReport } from './documents.ts'

export const adminCompact = defineDfsVerb({
  usage: '[--now]',
  words: [0, 0],
  options: {
    now: { kind: 'flag', describe: 'look at once, without waiting until chunks and files are left alone' },
  },
  examples: [
    ['dfs admin compact', 'chunks that are mostly dead, and what was brought together so far'],
    ['dfs admin compact --now', 'begin now; the space comes back 10 minutes later, when no reader can need it'],
  ],
  async run({ context, values: { now } }) {
    const client = await context.client()
    const { signal } = context
    if (now) await client.compact({ signal })
    const { compaction } = asReport(await client.report({ signal }))
    await context.out.document(compaction, () => {
      const { doing, heldBackBy, waitingChunks, waitingBytes, madeChunks, movedBytes, switches, failures } = compaction
      return [
        heldBackBy === '' ? doing : `held back: ${heldBackBy}`,
        `${waitingChunks} chunks are mostly dead, ${formatBytes(waitingBytes)} of them in each replica`,
        `${formatBytes(movedBytes)} of ${switches} places were brought together in ${madeChunks} chunks since the master started`,
        ...(failures === 0 ? [] : [`${failures} tries failed: see the log of the master`]),
      ].join('\n')
    })
    return undefined
  },
})
