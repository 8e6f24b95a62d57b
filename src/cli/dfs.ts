// dfs: the client's command line. Each group of verbs has a file in verbs/.

import { dfsGlobals, withinContext } from './context.ts'
import { dfsVerbs } from './dfs-verbs.ts'
import { runProgram } from './program.ts'

const code = await runProgram(
  {
    name: 'dfs',
    prefix: 'DFS',
    describe: 'Client of a dfs cluster. Paths are absolute (/a/b); `-` is stdin or stdout where a local file is meant.',
    table: dfsVerbs,
    globals: dfsGlobals,
    within: withinContext,
  },
  process.argv.slice(2),
)
// What still holds the process (an open stdin, a socket on its way down) has nothing to say any more.
process.exit(code)
