// The verbs of `dfs`. A verb's module is loaded when it is called: a command starts with what it needs.

import type { DfsContext } from './context.ts'
import type { VerbTable } from './verb.ts'

export const dfsVerbs: VerbTable<DfsContext> = {
  put: { describe: 'store local files or trees', load: async () => (await import('./verbs/put.ts')).put },
  get: {
    describe: 'fetch files or trees, every byte verified',
    load: async () => (await import('./verbs/get.ts')).get,
  },
  cat: { describe: 'write files to standard output', load: async () => (await import('./verbs/read.ts')).cat },
  head: { describe: 'the first bytes of a file', load: async () => (await import('./verbs/read.ts')).head },
  tail: { describe: 'the last bytes of a file; -f follows', load: async () => (await import('./verbs/read.ts')).tail },
  append: { describe: 'add bytes at the end of a file', load: async () => (await import('./verbs/write.ts')).append },
  write: { describe: 'overwrite bytes in place', load: async () => (await import('./verbs/write.ts')).write },
  ls: { describe: 'list a directory', load: async () => (await import('./verbs/list.ts')).ls },
  tree: { describe: 'show a directory with all below it', load: async () => (await import('./verbs/list.ts')).tree },
  find: { describe: 'find by name, type or size', load: async () => (await import('./verbs/list.ts')).find },
  stat: { describe: 'all about one path', load: async () => (await import('./verbs/list.ts')).stat },
  mkdir: { describe: 'make directories', load: async () => (await import('./verbs/namespace.ts')).mkdir },
  rmdir: { describe: 'remove empty directories', load: async () => (await import('./verbs/namespace.ts')).rmdir },
  rm: { describe: 'remove into the trash', load: async () => (await import('./verbs/namespace.ts')).rm },
  mv: { describe: 'rename or move', load: async () => (await import('./verbs/copy.ts')).mv },
  cp: { describe: 'copy inside the cluster; moves no bytes', load: async () => (await import('./verbs/copy.ts')).cp },
  snapshot: {
    describe: 'instant copy of a file or tree that shares all chunks',
    load: async () => (await import('./verbs/copy.ts')).snapshot,
  },
  touch: {
    describe: 'make an empty file, or set its time',
    load: async () => (await import('./verbs/namespace.ts')).touch,
  },
  truncate: { describe: 'cut or extend a file', load: async () => (await import('./verbs/write.ts')).truncate },
  concat: {
    describe: 'append files to another and remove them',
    load: async () => (await import('./verbs/write.ts')).concat,
  },
  du: { describe: 'sizes of directories', load: async () => (await import('./verbs/space.ts')).du },
  df: { describe: 'capacity, and where the space is', load: async () => (await import('./verbs/space.ts')).df },
  checksum: { describe: "CRC32 of a file's bytes", load: async () => (await import('./verbs/read.ts')).checksum },
  setrep: {
    describe: 'change the wanted number of replicas',
    load: async () => (await import('./verbs/attributes.ts')).setrep,
  },
  chmod: { describe: 'change permission bits', load: async () => (await import('./verbs/attributes.ts')).chmod },
  chown: { describe: 'change owner and group', load: async () => (await import('./verbs/attributes.ts')).chown },
  setfattr: {
    describe: 'set or remove an attribute',
    load: async () => (await import('./verbs/attributes.ts')).setfattr,
  },
  getfattr: { describe: 'show attributes', load: async () => (await import('./verbs/attributes.ts')).getfattr },
  'trash ls': { describe: 'what was removed', load: async () => (await import('./verbs/trash.ts')).trashList },
  'trash restore': { describe: 'put it back', load: async () => (await import('./verbs/trash.ts')).trashRestore },
  'trash empty': { describe: 'give its space back', load: async () => (await import('./verbs/trash.ts')).trashEmpty },
  info: {
    describe: 'extents, chunks and replicas of a file',
    load: async () => (await import('./verbs/cluster.ts')).info,
  },
  report: { describe: 'servers, totals and repair', load: async () => (await import('./verbs/cluster.ts')).report },
  'bench throughput': {
    describe: 'how fast bytes go in and out',
    load: async () => (await import('./verbs/bench.ts')).benchThroughput,
  },
  'bench meta': {
    describe: 'creates, stats, renames and removes a second',
    load: async () => (await import('./verbs/bench.ts')).benchMeta,
  },
  fsck: {
    describe: 'is everything there as often as it should be? exit 0, 1 degraded, 2 damaged',
    load: async () => (await import('./verbs/fsck.ts')).fsck,
  },
  doctor: {
    describe: 'tries every part from here; says what has to be mended',
    load: async () => (await import('./verbs/doctor.ts')).doctor,
  },
  'admin servers': {
    describe: 'chunkservers; drain, maintain or resume one',
    load: async () => (await import('./verbs/admin.ts')).adminServers,
  },
  'admin repair': {
    describe: 'what waits for copies, how fast they come, and what it took lately',
    load: async () => (await import('./verbs/repair.ts')).adminRepair,
  },
  'admin balance': {
    describe: 'how evenly the disks are filled; what is, or would be, moved',
    load: async () => (await import('./verbs/balance.ts')).adminBalance,
  },
  'admin top': {
    describe: 'what the cluster does just now: requests, busiest servers, repair',
    load: async () => (await import('./verbs/top.ts')).adminTop,
  },
  'admin compact': {
    describe: 'dead space in chunks and files in many pieces: how much, and begin to mend it now',
    load: async () => (await import('./verbs/compact.ts')).adminCompact,
  },
  'admin scrub': {
    describe: 'check every replica of a server (or all) now',
    load: async () => (await import('./verbs/admin.ts')).adminScrub,
  },
  'admin safemode': {
    describe: 'get, enter, leave or wait for the end of safe mode',
    load: async () => (await import('./verbs/admin.ts')).adminSafemode,
  },
  'bench append': {
    describe: 'records a second from many writers of one file',
    load: async () => (await import('./verbs/bench.ts')).benchAppend,
  },
  'admin checkpoint': {
    describe: 'write a checkpoint now',
    load: async () => (await import('./verbs/cluster.ts')).adminCheckpoint,
  },
  'admin accept-rollback': {
    describe: "go on although the master's history is shorter than what chunkservers saw",
    load: async () => (await import('./verbs/cluster.ts')).adminAcceptRollback,
  },
}
