// The runner itself: each way in which a test file can go wrong without saying so must be counted as a failure.
//
// Method: the runner is copied to a directory of its own with one small test file, and its last line is compared.

import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const root = fileURLToPath(new URL('..', import.meta.url))
const head = "import { test } from 'uvu'\n"

runs('a file whose tests pass', "test('a', () => {})\ntest.run()", '1 passed, 0 failed')
runs('a test that fails', "test('a', () => { throw new Error('no') })\ntest.run()", '0 passed, 1 failed')
runs(
  'a test that is skipped',
  "test('a', () => {})\ntest.skip('b', () => {})\ntest.run()",
  '1 passed, 0 failed, 1 skipped',
)
runs('a file that forgets test.run()', "test('a', () => {})", '0 passed, 1 failed')
runs('a file that throws', "throw new Error('no')", '0 passed, 1 failed')
runs('a file that ends the process', "test('a', () => process.exit(0))\ntest.run()", '0 passed, 1 failed')
runs('a test that never ends', "test('a', () => new Promise(() => {}))\ntest.run()", '0 passed, 1 failed')
runs(
  'a rejection after the last test',
  "test('a', () => { setTimeout(() => Promise.reject(new Error('late')), 50) })\ntest.run()",
  '1 passed, 1 failed',
)
runs(
  'a file over its deadline',
  "test('a', () => { for (;;); })\ntest.run()",
  '0 passed, 1 failed',
  '// deadline: 1 s\n',
)

test('no file at all is a failure', () => {
  const { status, last } = run({})
  assert.is(last, '0 passed, 1 failed')
  assert.is(status, 1)
})

test('what a file leaves running is ended', () => {
  const name = `marker-${process.pid}`
  const code = `${head}import { spawn } from 'node:child_process'
test('a', () => { spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)', '${name}'], { stdio: 'inherit' }).unref() })
test.run()`
  assert.is(run({ 'a.test.ts': code }).last, '1 passed, 0 failed')
  const processes = execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' })
  assert.not.ok(processes.includes(name), processes)
})

function runs(what: string, code: string, wanted: string, first = ''): void {
  test(`${what}: ${wanted}`, () => {
    const { status, last } = run({ 'a.test.ts': first + head + code })
    assert.is(last, wanted)
    assert.is(status, wanted.includes(' 0 failed') ? 0 : 1)
  })
}

/** Runs the runner over test files given by name and code. */
function run(files: Readonly<Record<string, string>>): { status: number | null; last: string | undefined } {
  const directory = mkdtempSync(path.join(tmpdir(), 'dfs-runner-'))
  try {
    mkdirSync(path.join(directory, 'test'))
    symlinkSync(path.join(root, 'node_modules'), path.join(directory, 'node_modules'))
    writeFileSync(path.join(directory, 'package.json'), '{"type":"module"}')
    copyFileSync(path.join(root, 'test/run.mjs'), path.join(directory, 'test/run.mjs'))
    for (const [name, code] of Object.entries(files)) writeFileSync(path.join(directory, 'test', name), code)
    const { status, stdout } = spawnSync(process.execPath, ['test/run.mjs'], { cwd: directory, encoding: 'utf8' })
    return { status, last: stdout.trimEnd().split('\n').at(-1) }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

test.run()
