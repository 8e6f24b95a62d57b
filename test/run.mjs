#!/usr/bin/env node
// Runs the tests: every test/**/*.test.ts in a process of its own, two at a time.
//
//   node test/run.mjs                     all of them
//   node test/run.mjs oplog base/crc      those whose path contains one of the words
//
// uvu has no deadlines, counts nothing across files, ends well when no file matches and hangs on an open socket. So:
//   - a file has a deadline (120 s; `// deadline: 300 s` in its first lines gives it another), after which its whole
//     process group is killed, and a short time to end once its tests are done
//   - a file fails when a test fails, when its process ends with another code than 0 (a late throw), when it ran no
//     test at all, and when it ran them in more than one go
//   - the last line is `N passed, N failed` (`, N skipped` may follow); a file that fails without a failed test counts
//     as one failure
//   - the exit code is 0 only if something ran and nothing failed

import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const testDirectory = path.dirname(fileURLToPath(import.meta.url))
const root = path.dirname(testDirectory)
const processesMax = 2
const deadlineMsDefault = 120_000
const endingMsMax = 10_000
const outputBytesMax = 2 << 20
const slowestShown = 5

const running = new Set()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    for (const pid of running) killGroup(pid)
    process.stdout.write('\nstopped\n0 passed, 1 failed\n')
    process.exit(1)
  })
}

process.exitCode = await main(process.argv.slice(2))

async function main(filters) {
  const files = findFiles(filters)
  if (files.length === 0) {
    console.log(`no test file matches ${filters.length === 0 ? 'test/**/*.test.ts' : filters.join(' ')}`)
    console.log('0 passed, 1 failed')
    return 1
  }
  const results = []
  const queue = [...files]
  const work = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const result = await runFile(file)
      results.push(result)
      tell(result)
    }
  }
  await Promise.all(Array.from({ length: processesMax }, work))
  return summarize(results)
}

/** Test files with their deadlines, those that may take longest first. */
function findFiles(filters) {
  return readdirSync(testDirectory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => path.relative(root, path.join(entry.parentPath ?? entry.path, entry.name)))
    .filter((name) => filters.length === 0 || filters.some((filter) => name.includes(filter)))
    .map((name) => ({ name, deadlineMs: readDeadlineMs(name) }))
    .sort((a, b) => b.deadlineMs - a.deadlineMs || (a.name < b.name ? -1 : 1))
}

function readDeadlineMs(name) {
  const head = readFileSync(path.join(root, name), 'utf8').slice(0, 4096)
  const seconds = /^\/\/ deadline: (\d+) s$/m.exec(head)?.[1]
  return seconds === undefined ? deadlineMsDefault : Number(seconds) * 1000
}

/** Runs one file to its end or its deadline. Never throws: what goes wrong is in `faults`. */
function runFile({ name, deadlineMs }) {
  return new Promise((resolve) => {
    const startMs = performance.now()
    const faults = []
    let output = ''
    let truncated = false
    let ending
    const child = spawn(process.execPath, ['--import', 'tsx', name], {
      cwd: root,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, FORCE_COLOR: undefined, NO_COLOR: '1' },
    })
    if (child.pid !== undefined) running.add(child.pid)

    const deadline = setTimeout(() => {
      faults.push(`still running after its deadline of ${deadlineMs / 1000} s: killed`)
      killGroup(child.pid)
    }, deadlineMs)

    const take = (text) => {
      output += text
      if (output.length > outputBytesMax) {
        truncated = true
        output = output.slice(-outputBytesMax / 2)
      }
      if (ending === undefined && totals(output).length > 0) {
        ending = setTimeout(() => {
          faults.push(`its tests are done, but something kept the process alive for ${endingMsMax / 1000} s: killed`)
          killGroup(child.pid)
        }, endingMsMax)
      }
    }
    child.stdout.setEncoding('utf8').on('data', take)
    child.stderr.setEncoding('utf8').on('data', take)
    child.on('error', (error) => faults.push(`could not be started: ${error.message}`))
    // A child that outlives its parent may hold the pipes: end the group first, and the pipes close.
    child.on('exit', () => killGroup(child.pid))
    child.on('close', (code, signal) => {
      clearTimeout(deadline)
      clearTimeout(ending)
      running.delete(child.pid)
      const counted = totals(output)
      const last = counted.at(-1) ?? { total: 0, passed: 0, skipped: 0 }
      if (faults.length === 0) {
        if (counted.length > 1) faults.push('ran its tests in more than one go: call test.run() once, at the end')
        else if (last.total + last.skipped === 0) faults.push('ran no test: does it end with test.run()?')
        if (signal !== null) faults.push(`was ended by ${signal}`)
        else if (code !== 0 && last.passed === last.total)
          faults.push(`ended with code ${code} although no test failed`)
      }
      const failed = last.total - last.passed + (faults.length > 0 ? 1 : 0)
      resolve({ name, ms: performance.now() - startMs, output, truncated, faults, ...last, failed })
    })
  })
}

/** What uvu's closing lines say, once for each time it ran. */
function totals(output) {
  return [...output.matchAll(/^ {2}Total: {5}(\d+)\n {2}Passed: {4}(\d+)\n {2}Skipped: {3}(\d+)$/gm)].map((match) => ({
    total: Number(match[1]),
    passed: Number(match[2]),
    skipped: Number(match[3]),
  }))
}

/** Ends every process of the group that `pid` leads. */
function killGroup(pid) {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if (error.code !== 'ESRCH') throw error // ESRCH: none is left, as it should be
  }
}

function tell({ name, ms, passed, skipped, failed, faults, output, truncated }) {
  const tests = `${String(passed).padStart(4)} passed`
  const rest = (failed > 0 ? `, ${failed} failed` : '') + (skipped > 0 ? `, ${skipped} SKIPPED` : '')
  console.log(`${failed > 0 ? 'FAIL' : 'ok  '} ${seconds(ms)} ${tests}${rest}  ${name}`)
  if (failed === 0) return
  console.log(`${truncated ? '[the beginning is left out]\n' : ''}${output.trimEnd()}`)
  for (const fault of faults) console.log(`  ${name}: ${fault}`)
  console.log(`  to repeat: npx tsx ${name}\n`)
}

/** Prints the sums. @returns the exit code */
function summarize(results) {
  const sum = (key) => results.reduce((total, result) => total + result[key], 0)
  const slowest = [...results].sort((a, b) => b.ms - a.ms).slice(0, slowestShown)
  console.log('\nlongest files')
  for (const { name, ms } of slowest) console.log(`     ${seconds(ms)}  ${name}`)
  for (const { name, skipped } of results) if (skipped > 0) console.log(`SKIPPED ${skipped} in ${name}`)
  for (const { name, failed } of results) if (failed > 0) console.log(`FAILED ${failed} in ${name}`)
  const passed = sum('passed')
  const failed = sum('failed')
  const skipped = sum('skipped')
  console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  return failed === 0 && passed > 0 ? 0 : 1
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`.padStart(8)
}
