// What becomes of a verb whose output can't be written: a full disk is a failure, a reader that left is not.

import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { formatFailure, withoutControls } from '../../src/cli/failure.ts'

const output = fileURLToPath(new URL('../../src/cli/output.ts', import.meta.url))

/** A process that writes a line and a mebibyte through Output, and says on stderr what it met. */
const script = `
import { Output, OutputClosed } from ${JSON.stringify(output)}
let told = 'nothing'
const out = new Output(false, (error) => { told = error.constructor.name + ' ' + (error.code ?? '') })
try {
  await out.line('first')
  await out.bytes(new Uint8Array(1 << 20))
  await out.flush()
  console.error('written')
} catch (error) {
  console.error(error instanceof OutputClosed ? 'closed' : error.code + ' ' + error.path, 'told', told)
}
`
const args = ['--import', 'tsx', '--input-type=module', '--eval', script]

test('output that a full disk refuses fails the verb', () => {
  if (!existsSync('/dev/full')) return
  const full = openSync('/dev/full', 'w')
  const { stderr } = spawnSync(process.execPath, args, { stdio: ['ignore', full, 'pipe'] })
  closeSync(full)
  assert.match(String(stderr), /ENOSPC output told Error ENOSPC/)
})

test('output whose reader went away ends the verb quietly', async () => {
  const child = execa(process.execPath, args, { buffer: { stdout: false, stderr: true } })
  child.stdout.destroy()
  const { stderr } = await child
  assert.match(String(stderr), /^closed told OutputClosed/)
})

test('names in messages do nothing to a terminal', () => {
  assert.is(withoutControls('/a\u001b[31m\n/ü'), '/a\\u{1b}[31m\\u{a}/ü')
  const failure = { code: 'NOT_FOUND', message: '/\u001b[2J', retriable: false, next: 'look', exitCode: 1 }
  assert.is(formatFailure(failure, 'dfs ls', false), 'dfs ls: /\\u{1b}[2J (NOT_FOUND)\n  next: look\n')
})

test.run()
