// dfsd: the servers' command line: daemons, a whole cluster in one command, and offline checks of what is on disk.

import { type DaemonContext, withinDaemonContext } from './daemon/context.ts'
import { daemonGlobals } from './daemon/options.ts'
import { runProgram } from './program.ts'
import type { VerbTable } from './verb.ts'

const table: VerbTable<DaemonContext> = {
  master: { describe: 'run a master', load: async () => (await import('./daemon/master.ts')).master },
  chunk: { describe: 'run a chunkserver', load: async () => (await import('./daemon/chunk.ts')).chunk },
  dev: { describe: 'run a whole cluster on this machine', load: async () => (await import('./daemon/dev.ts')).dev },
  'oplog dump': {
    describe: 'print the records of an operation log',
    load: async () => (await import('./offline/oplog.ts')).oplogDump,
  },
  'oplog verify': {
    describe: 'check an operation log',
    load: async () => (await import('./offline/oplog.ts')).oplogVerify,
  },
  'oplog stats': {
    describe: 'what an operation log holds, in numbers',
    load: async () => (await import('./offline/oplog.ts')).oplogStats,
  },
  'checkpoint dump': {
    describe: 'print what a checkpoint holds',
    load: async () => (await import('./offline/checkpoint.ts')).checkpointDump,
  },
  'checkpoint verify': {
    describe: 'check a checkpoint',
    load: async () => (await import('./offline/checkpoint.ts')).checkpointVerify,
  },
}

const code = await runProgram(
  {
    name: 'dfsd',
    prefix: 'DFSD',
    describe: 'Servers of a dfs cluster. `dfsd dev` runs a whole cluster on this machine.',
    table,
    globals: daemonGlobals,
    within: withinDaemonContext,
  },
  process.argv.slice(2),
)
process.exit(code)
