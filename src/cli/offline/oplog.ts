// dfsd oplog dump | verify | stats: an operation log as it lies on the disk. Never changes a byte.

import { DfsError } from '../../base/errors.ts'
import { formatBytes } from '../../base/units.ts'
import type { Disk } from '../../io/disk.ts'
import { decodeOperation } from '../../master/operation-codec.ts'
import { operationTable } from '../../master/operations.ts'
import { dumpLog, type LogVerdict, measureLog, type RecordDecoder, verifyLog } from '../../oplog/inspect.ts'
import { type DaemonContext, defineDaemonVerb } from '../daemon/context.ts'
import { ExitCode } from '../failure.ts'

export const oplogDump = defineDaemonVerb({
  usage: '[--from N] [--to N] DIR|FILE',
  words: [1, 1],
  options: {
    from: { kind: 'number', min: 1, describe: 'first log index' },
    to: { kind: 'number', min: 1, describe: 'last log index' },
  },
  examples: [['dfsd oplog dump --from 1000 --json /srv/dfs/master', 'one record a line']],
  async run({ context: { io, out }, values: { from, to }, words: [word = ''] }) {
    const path = await logPath(io.disk, word)
    const range = {
      ...(from === undefined ? {} : { fromIndex: from }),
      ...(to === undefined ? {} : { throughIndex: to }),
    }
    for await (const row of dumpLog(io.disk, path, range, decode)) {
      if (out.json) await out.row(row)
      else {
        const { index, term, kind, bytes, decoded } = row
        await out.line(`${index}  term ${term}  ${nameOfKind(kind)}  ${bytes} B  ${JSON.stringify(decoded)}`)
      }
    }
    return undefined
  },
})

export const oplogVerify = defineDaemonVerb({
  usage: 'DIR|FILE',
  words: [1, 1],
  options: {},
  examples: [['dfsd oplog verify /srv/dfs/master', 'exit code 1 when a start would be refused']],
  async run({ context, words: [word = ''] }) {
    const verdict = await verifyLog(context.io.disk, await logPath(context.io.disk, word))
    await context.out.document(verdict, () => wordsOf(verdict).join('\n'))
    return tellDamage(context, verdict)
  },
})

export const oplogStats = defineDaemonVerb({
  usage: 'DIR|FILE',
  words: [1, 1],
  options: {},
  examples: [['dfsd oplog stats /srv/dfs/master', 'records and bytes by kind']],
  async run({ context, words: [word = ''] }) {
    const numbers = await measureLog(context.io.disk, await logPath(context.io.disk, word))
    const kinds = numbers.kinds.map((row) => ({ ...row, name: nameOfKind(row.kind) }))
    await context.out.document({ ...numbers, kinds }, () =>
      [
        ...wordsOf(numbers),
        `${formatBytes(numbers.fileBytes)} in files, ${formatBytes(numbers.payloadBytes)} of operations, ${numbers.markerCount} markers`,
        ...kinds.map(
          ({ name, records, payloadBytes }) => `${String(records).padStart(10)} ${name} (${formatBytes(payloadBytes)})`,
        ),
      ].join('\n'),
    )
    return tellDamage(context, numbers)
  },
})

/** A log's directory or a segment; for the data directory of a master the log in it. */
async function logPath(disk: Disk, path: string): Promise<string> {
  const stats = await disk.stat(path)
  if (!stats)
    throw new DfsError('NOT_FOUND', `local ${path}: no such file or directory`, { next: 'check the local path' })
  const inside = `${path}/log`
  return stats.kind === 'directory' && (await disk.stat(inside))?.kind === 'directory' ? inside : path
}

const decode: RecordDecoder = ({ kind, version, payload }) => {
  const { time, op } = decodeOperation(kind, version, payload)
  return { ...op, clusterMs: time.clusterMs, wallMs: time.wallMs }
}

const namesByNumber = new Map<number, string>(
  Object.entries(operationTable).map(([name, { number }]) => [number, name]),
)

function nameOfKind(kind: number): string {
  return namesByNumber.get(kind) ?? `kind ${kind}`
}

function wordsOf(verdict: LogVerdict): string[] {
  const { isSound, clusterId, segmentCount, recordCount, firstIndex, lastIndex, tornTail, preallocatedBytes } = verdict
  return [
    `${isSound ? 'sound' : 'DAMAGED'}: cluster ${clusterId ?? 'unknown'}, ${segmentCount} segments, ${recordCount} records, index ${firstIndex} to ${lastIndex}`,
    ...(tornTail
      ? [`torn tail: ${tornTail.bytes} bytes at ${tornTail.path}:${tornTail.offset}; a start cuts them`]
      : []),
    ...(preallocatedBytes > 0 ? [`preallocated: ${preallocatedBytes} bytes of zeros behind the last record`] : []),
  ]
}

function tellDamage({ out }: DaemonContext, { damage }: LogVerdict): number {
  if (!damage) return ExitCode.done
  if (!out.json) out.warn(`${damage.code}: ${damage.message}\n  at ${damage.path}, offset ${damage.offset}`)
  return ExitCode.failed
}
