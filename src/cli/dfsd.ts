// dfsd: the servers' command line: daemons, a whole cluster in one command, and offline checks of what is on disk.

import { withinDaemonContext } from './daemon/context.ts'
import { daemonGlobals } from './daemon/options.ts'
import { dfsdVerbs } from './dfsd-verbs.ts'
import { runProgram } from './program.ts'

const code = await runProgram(
  {
    name: 'dfsd',
    prefix: 'DFSD',
    describe: 'Servers of a dfs cluster. `dfsd dev` runs a whole cluster on this machine.',
    table: dfsdVerbs,
    globals: daemonGlobals,
    within: withinDaemonContext,
  },
  process.argv.slice(2),
)
process.exit(code)
