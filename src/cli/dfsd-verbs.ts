// The verbs of `dfsd`: daemons, and offline tools for what is on disk.

import type { DaemonContext } from './daemon/context.ts'
import type { VerbTable } from './verb.ts'

export const dfsdVerbs: VerbTable<DaemonContext> = {
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
  'chunk-store verify': {
    describe: "check every byte of a chunkserver's disk",
    load: async () => (await import('./offline/chunk-store.ts')).chunkStoreVerify,
  },
  'chunk-store dump': {
    describe: "list the chunks of a chunkserver's disk",
    load: async () => (await import('./offline/chunk-store.ts')).chunkStoreDump,
  },
}
