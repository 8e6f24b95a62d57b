// What a verb of `dfsd` works with. Daemons log; offline verbs print.

import type { Io } from '../../io/io.ts'
import { ExitCode } from '../failure.ts'
import type { Options, ValuesOf } from '../options.ts'
import { Output, OutputClosed } from '../output.ts'
import { defineVerb, type Verb, type VerbSpec } from '../verb.ts'
import type { daemonGlobals } from './options.ts'

export interface DaemonContext {
  readonly io: Io
  readonly out: Output
  readonly globals: ValuesOf<typeof daemonGlobals>
}

export function defineDaemonVerb<const O extends Options>(spec: VerbSpec<DaemonContext, O>): Verb<DaemonContext> {
  return defineVerb<DaemonContext, O>(spec)
}

export async function withinDaemonContext(
  globals: ValuesOf<typeof daemonGlobals>,
  _command: string,
  work: (context: DaemonContext) => Promise<number | undefined>,
): Promise<number> {
  const { nodeIo } = await import('../../io/node/io.ts')
  let closed: OutputClosed | undefined
  const out = new Output(globals.json, () => {
    closed = new OutputClosed('nobody reads the output')
  })
  const code = await work({ io: nodeIo(), out, globals })
  if (!closed) await out.flush()
  return code ?? ExitCode.done
}
