// How long a server that the network cut off is away: from the cut until it is known to be dead, and until every chunk
// has its replicas again.
//
//   node --import tsx test/torture/cuts.ts [both] [out] [in] [--mib 64] [--dir DIR] [--keep DIR]
//
//   both   nobody reaches it and it reaches nobody
//   out    what it sends is lost: it hears the others, they don't hear it
//   in     what is sent to it is lost: it speaks and hears nothing
//
// Five chunkservers on hosts of their own, `--mib` MiB at three replicas. Prints one line of JSON. Needs network
// namespaces (root, or user namespaces); without them it says so and measures nothing.

import { parseArgs } from 'node:util'
import { patternBytes } from '../cluster/harness.ts'
import { type Report, reportOf, TortureCluster, until, whole } from './cluster.ts'
import { enterNetwork } from './hosts.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { mib: { type: 'string', default: '64' }, dir: { type: 'string' }, keep: { type: 'string' } },
})
const FILES = 16
const fileBytes = Math.ceil((Number(values.mib) * 2 ** 20) / FILES)
const ways = positionals.length > 0 ? positionals : ['both', 'out', 'in']
const POLL_MS = 20

const canCut = await enterNetwork()
if (!canCut) {
  console.log(JSON.stringify({ torture: 'cuts', skipped: 'no network namespaces' }))
  process.exit()
}
const cluster = await TortureCluster.start({ chunkservers: 5, canCut, parent: values.dir })
const results: Record<string, unknown>[] = []
try {
  const client = await cluster.client({ timeoutMs: 60_000 })
  const files = new Map<string, Buffer>()
  for (let i = 0; i < FILES; i++) files.set(`/f${i}`, patternBytes(fileBytes, i + 1))
  for (const [path, bytes] of files) await client.writeFile(path, bytes)
  await whole(client)
  for (const [index, way] of ways.entries()) results.push(await cut(way, cluster.chunkservers[index % 5]!))
  for (const [path, bytes] of files)
    if (Buffer.compare(await client.readFile(path), bytes) !== 0) throw new Error(`${path} has other bytes`)

  async function cut(way: string, name: string): Promise<Record<string, unknown>> {
    const address = cluster.listenOf(name)
    const before = (await reportOf(client)).repair.copied
    const others = ['master', 'clients', ...cluster.chunkservers].filter((other) => other !== name)
    const beginMs = performance.now()
    if (way === 'both') await cluster.hosts.isolate(name)
    else {
      await Promise.all(
        others.map((other) => (way === 'out' ? cluster.hosts.cut(name, other) : cluster.hosts.cut(other, name))),
      )
    }
    // Counted from when the last of its links is cut; commands that cut links take their time on a busy machine.
    const startMs = performance.now()
    const isDead = ({ servers }: Report) => servers.find((server) => server.address === address)?.state === 'dead'
    await until('known to be dead', () => reportOf(client), isDead, { everyMs: POLL_MS })
    const deadMs = performance.now() - startMs
    const isBack = ({ repair }: Report) =>
      repair.copied.copies > before.copies && repair.underReplicated + repair.missing + repair.inFlight === 0
    await until('at its goal again', () => reportOf(client), isBack, { everyMs: POLL_MS })
    const backMs = performance.now() - startMs
    const { copies, bytes } = (await reportOf(client)).repair.copied
    await cluster.hosts.heal(name)
    await whole(client)
    // With what its return made too many, the next server's death would lack nothing, and nothing would be copied.
    await until(
      'trimmed',
      () => reportOf(client),
      ({ repair }) => repair.overReplicated === 0,
    )
    return {
      way,
      cuttingMs: Math.round(startMs - beginMs),
      deadMs: Math.round(deadMs),
      backMs: Math.round(backMs),
      copies: copies - before.copies,
      copiedBytes: bytes - before.bytes,
    }
  }
  console.log(JSON.stringify({ torture: 'cuts', bytes: FILES * fileBytes, results }))
} catch (error) {
  console.error(error)
  process.exitCode = 1
} finally {
  if (values.keep !== undefined) cluster.saveLogs(values.keep)
  await cluster.close()
}
process.exit()
