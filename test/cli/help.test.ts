// What every verb promises to whoever asks it for help.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { dfsGlobals } from '../../src/cli/context.ts'
import { daemonGlobals } from '../../src/cli/daemon/options.ts'
import { dfsVerbs } from '../../src/cli/dfs-verbs.ts'
import { dfsdVerbs } from '../../src/cli/dfsd-verbs.ts'
import { helpOfVerb } from '../../src/cli/help.ts'
import { type Options, resolveOptions } from '../../src/cli/options.ts'
import type { Verb } from '../../src/cli/verb.ts'

/** The verbs of the contract that exist now. */
const contract = {
  dfs: `put get cat head tail append write ls tree find stat mkdir rmdir rm mv cp touch truncate concat du df checksum
    setrep chmod chown setfattr getfattr snapshot trash-ls trash-restore trash-empty info report bench-throughput
    bench-meta bench-append admin-checkpoint admin-accept-rollback admin-servers admin-repair admin-scrub admin-safemode
    admin-balance admin-compact admin-top fsck doctor`,
  dfsd: `master chunk dev oplog-dump oplog-verify oplog-stats checkpoint-dump checkpoint-verify chunk-store-verify
    chunk-store-dump`,
}

interface Entry {
  readonly command: string
  readonly describe: string
  readonly globals: Options
  load(): Promise<Pick<Verb<never>, 'usage' | 'options' | 'examples'>>
}

const entries: Entry[] = [
  ...Object.entries(dfsVerbs).map(([name, entry]) => ({ ...entry, command: `dfs ${name}`, globals: dfsGlobals })),
  ...Object.entries(dfsdVerbs).map(([name, entry]) => ({ ...entry, command: `dfsd ${name}`, globals: daemonGlobals })),
]

test('the verbs of the contract are there, and no others', () => {
  for (const program of ['dfs', 'dfsd'] as const) {
    const found = entries
      .filter(({ command }) => command.startsWith(`${program} `))
      .map(({ command }) => command.split(' ').slice(1).join('-'))
    assert.equal(found.sort(), contract[program].split(/\s+/).sort())
  }
})

test('--help of every verb shows what it is, its options and an example of itself', async () => {
  for (const { command, describe, globals, load } of entries) {
    const spec = await load()
    const page = { ...spec, command, describe, prefix: command.startsWith('dfsd') ? 'DFSD' : 'DFS' }
    const help = await helpOfVerb(page, spec.options, globals)
    assert.ok(help.includes(describe), command)
    for (const name of Object.keys(spec.options)) assert.ok(help.includes(`--${name}`), `${command}: --${name}`)
    assert.ok(
      spec.examples.some(([example]) => example.includes(command)),
      `${command} has no example of itself`,
    )
  }
})

test('the defaults of every option are values that it accepts, and letters are used once', async () => {
  for (const { command, globals, load } of entries) {
    const { options } = await load()
    const all: Options = { ...globals, ...options }
    const optional: Options = Object.fromEntries(Object.entries(all).filter(([, option]) => !option.required))
    resolveOptions(optional, { flags: {}, environment: {}, file: {}, prefix: 'DFS' })
    const letters = Object.values(all).flatMap((option) => option.alias ?? [])
    assert.is(new Set(letters).size, letters.length, command)
  }
})

test.run()
