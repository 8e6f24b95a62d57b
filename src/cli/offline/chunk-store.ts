// dfsd chunk-store verify | dump: a chunkserver's data directory as it lies on the disk. Never changes a byte.

import { formatBytes } from '../../base/units.ts'
import { type ChunkRow, dumpStore, readDirectory, type StoreVerdict, verifyStore } from '../../chunkserver/inspect.ts'
import { defineDaemonVerb } from '../daemon/context.ts'
import { ExitCode } from '../failure.ts'
import type { Output } from '../output.ts'

export const chunkStoreVerify = defineDaemonVerb({
  usage: 'DIR',
  words: [1, 1],
  options: {},
  examples: [['dfsd chunk-store verify /disk1/dfs', 'reads every byte; exit code 1 when something is damaged']],
  async run({ context: { io, out }, words: [path = ''] }) {
    const rows = verifyStore(io.disk, path)
    let next = await rows.next()
    for (; !next.done; next = await rows.next()) if (next.value.damage !== undefined) tell(out, next.value)
    const verdict: StoreVerdict = next.value
    await out.document({ path, ...verdict }, () => {
      const { directory, isSound, chunks, bytes, damaged, strays, quarantined } = verdict
      return [
        `${isSound ? 'sound' : 'DAMAGED'}: ${directory.server || 'a server without a number'} of cluster ${directory.clusterId}`,
        `${chunks} chunks, ${formatBytes(bytes)}; ${damaged} damaged, ${strays} stray files, ${quarantined} in quarantine`,
      ].join('\n')
    })
    return verdict.isSound ? ExitCode.done : ExitCode.failed
  },
})

/** With --json the document comes alone: what is damaged goes to stderr, as it does for people. */
function tell(out: Output, { handle, damage, badBlocks }: ChunkRow): void {
  const blocks = badBlocks.length === 0 ? '' : `, bad blocks at ${badBlocks.slice(0, 10).join(', ')}`
  out.warn(`chunk ${handle}: ${damage}${blocks}`)
}

export const chunkStoreDump = defineDaemonVerb({
  usage: 'DIR',
  words: [1, 1],
  options: {},
  examples: [['dfsd chunk-store dump --json /disk1/dfs', 'one chunk a line']],
  async run({ context: { io, out }, words: [path = ''] }) {
    if (!out.json) {
      const { server, clusterId } = await readDirectory(io.disk, path)
      await out.line(`${path}: ${server || 'a server without a number'} of cluster ${clusterId}`)
    }
    for await (const row of dumpStore(io.disk, path)) {
      if (out.json) await out.row(row)
      else
        await out.line(
          `${row.handle}  ${row.state}  v${row.version}  ${formatBytes(row.length)}  ${row.damage ?? ''}`.trimEnd(),
        )
    }
    return undefined
  },
})
