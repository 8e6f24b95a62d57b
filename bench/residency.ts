// How much memory streaming takes: the peaks of a client and of three chunkservers over 10 GiB each way.
//
//   node --import tsx bench/residency.ts [--dir .]
//
// The chunks lie on the disk of --dir (30 GiB of it), because they would not fit beside each other into the memory of a
// small machine. What is measured is memory, once; the rates are those of the disk.

import { startCluster } from './cluster.ts'
import { type LoadClient, startClient } from './load.ts'
import { Bench, readOptions } from './measure.ts'
import type { Usage } from './processes.ts'

const bytes = 10 * 2 ** 30
const bench = new Bench('residency', readOptions(1))
const { directory } = bench.options

const cluster = await startCluster({ chunkservers: 3, masterDirectory: directory, chunkDirectory: directory })
for (const [name, kind] of [
  ['write 10 GiB', 'write'],
  ['read 10 GiB', 'read'],
] as const) {
  // A client of its own for each way; the chunkservers' peak is that of their whole life.
  const client = await startClient(cluster.master)
  await client.run({ kind, path: '/file', bytes })
  const usage = usageOf(client, cluster.daemons)
  const peak = Math.max(...Object.values(usage).map((one) => one.residentBytesMax))
  bench.add(name, 'MiB', peak / 2 ** 20, { usage })
  await client.stop()
}
await cluster.stop()
bench.print()

function usageOf(
  client: LoadClient,
  daemons: readonly { readonly id: string; usage(): Usage | undefined }[],
): Record<string, Usage> {
  const named: [string, Usage | undefined][] = daemons.map((daemon) => [daemon.id, daemon.usage()])
  named.push(['client', client.usage()])
  return Object.fromEntries(named.flatMap(([name, usage]) => (usage === undefined ? [] : [[name, usage]])))
}
