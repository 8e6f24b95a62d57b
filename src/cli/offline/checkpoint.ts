// dfsd checkpoint dump | verify: a checkpoint file as it lies on the disk. Never changes a byte.

import { formatBytes } from '../../base/units.ts'
import { loadCheckpointSections } from '../../master/metadata/checkpoint.ts'
import { loadCheckpoint } from '../../oplog/checkpoint-file.ts'
import { verifyCheckpoint } from '../../oplog/inspect.ts'
import { defineDaemonVerb } from '../daemon/context.ts'
import { ExitCode } from '../failure.ts'
import { checkpointRows } from './checkpoint-rows.ts'

export const checkpointDump = defineDaemonVerb({
  usage: 'FILE',
  words: [1, 1],
  options: {},
  examples: [['dfsd checkpoint dump --json checkpoints/FILE', 'one row a line: servers, directories, files, chunks …']],
  async run({ context: { io, out }, words: [path = ''] }) {
    const { value: state } = await loadCheckpoint(io.disk, path, undefined, (reader) =>
      loadCheckpointSections(reader.sections()),
    )
    for (const row of checkpointRows(state)) {
      const { kind, ...fields } = row
      if (out.json) await out.row(row)
      else await out.line(`${kind.padEnd(9)} ${JSON.stringify(fields)}`)
    }
    return undefined
  },
})

export const checkpointVerify = defineDaemonVerb({
  usage: 'FILE',
  words: [1, 1],
  options: {},
  examples: [['dfsd checkpoint verify checkpoints/FILE', 'reads every byte; exit code 1 when it is damaged']],
  async run({ context: { io, out }, words: [path = ''] }) {
    const verdict = await verifyCheckpoint(io.disk, path)
    const checksum = verdict.checksum.toString(16).padStart(8, '0')
    await out.document({ ...verdict, checksum }, () =>
      [
        `${verdict.isSound ? 'sound' : 'DAMAGED'}: cluster ${verdict.clusterId ?? 'unknown'}, log index ${verdict.index}, term ${verdict.term}`,
        `${formatBytes(verdict.bytes)}, checksum ${checksum}, ${verdict.sections.length} sections`,
      ].join('\n'),
    )
    const { damage } = verdict
    if (!damage) return ExitCode.done
    if (!out.json) out.warn(`${damage.code}: ${damage.message}\n  at ${damage.path}, offset ${damage.offset}`)
    return ExitCode.failed
  },
})
