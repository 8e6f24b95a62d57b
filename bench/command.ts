// How long a command takes from its start to its end, beside a Node that does nothing.
//
//   node --import tsx bench/command.ts [--runs 11]
//
//   node -e 0   bare Node
//   dfs ls /    of an empty cluster; the ratio says little here, the difference is what a person waits for
//   over node   that difference, run by run

import path from 'node:path'
import { execa } from 'execa'
import { dist, startCluster } from './cluster.ts'
import { Bench, readOptions } from './measure.ts'
import { endWithUs } from './processes.ts'

const bench = new Bench('command', readOptions(1))
const { runs, directory } = bench.options
const cluster = await startCluster({ chunkservers: 1, masterDirectory: directory })
const ls = [path.join(dist, 'dfs.js'), 'ls', '/', '--master', cluster.master]
await timed(ls) // the files of both are in memory from here on
for (let run = 0; run < runs; run++) {
  const bareMs = await timed(['-e', '0'])
  const lsMs = await timed(ls)
  bench.add('node -e 0', 'ms', bareMs)
  bench.add('dfs ls /', 'ms', lsMs)
  bench.add('over node', 'ms', lsMs - bareMs)
}
await cluster.stop()
bench.print()

async function timed(args: readonly string[]): Promise<number> {
  const startMs = performance.now()
  await endWithUs(execa(process.execPath, args, { stdin: 'ignore', stdout: 'ignore', stderr: 'inherit' }))
  return performance.now() - startMs
}
