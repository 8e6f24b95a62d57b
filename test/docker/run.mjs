#!/usr/bin/env node
// npm run test:docker: the container image and compose.yaml, tried for real where a container engine answers.
//
// Builds the image, starts a cluster of a master and five chunkservers under a project name of its own, and then:
//   - everything is healthy, runs as an ordinary user, has its memory limit and its production packages only
//   - the `cli` service and the host's own client store and fetch a file, byte for byte
//   - a chunkserver killed in the middle of a read costs nothing but time
//   - SIGTERM ends every daemon by itself, with code 0
//   - after `down` and `up` new containers have the old data
// What it started and stored is removed at the end, whatever happens; the image stays.
//
// Ends with `N passed, N failed`, or with SKIPPED and code 0 where no engine answers.

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'

const root = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))))
const dfs = path.join(root, 'dist', 'dfs.js')
const project = `dfs-test-${process.pid}`
const chunkservers = 5
const healthyMsMax = 120_000
const fileBytes = 256 * 2 ** 20
/** What a reader has taken of the file when a chunkserver is killed. */
const bytesBeforeKill = 32 * 2 ** 20
const memoryLimits = { master: 2 * 2 ** 30, chunk: 2 ** 30 }

const steps = [
  [
    'the image is built',
    () => execa('docker', ['build', '--network', 'host', '--tag', 'dfs', '.'], { cwd: root, all: true }),
  ],
  [`a master and ${chunkservers} chunkservers start and are healthy`, start],
  ['they run as an ordinary user, within limits, with production packages only', inspectContainers],
  ['the cli service stores a file and fetches it', throughCli],
  ['the host stores a file and fetches it, byte for byte', throughHost],
  ['a chunkserver killed in the middle of a read costs nothing but time', killDuringRead],
  ['SIGTERM ends every daemon with code 0', stopByTerm],
  ['after down and up the data is there, and every server has its old name', downAndUp],
]

process.exitCode = await main()

async function main() {
  const compose = await findCompose()
  if (typeof compose === 'string') {
    console.log(`SKIPPED: ${compose}; nothing of the container was tested\n0 passed, 0 failed, 1 skipped`)
    return 0
  }
  const directory = await mkdtemp(path.join(os.tmpdir(), 'dfs-docker-'))
  const port = await freePort()
  const context = { compose, directory, master: `127.0.0.1:${port}`, local: path.join(directory, 'random') }
  process.env.DFS_MASTER_PORT = String(port)
  process.env.DFS_MASTER_HTTP_PORT = String(await freePort())
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => interrupted.abort())
  let passed = 0
  let failed = 0
  try {
    for (const [name, step] of steps) {
      interrupted.signal.throwIfAborted()
      const startMs = performance.now()
      await step(context)
      passed += 1
      console.log(`ok   ${((performance.now() - startMs) / 1000).toFixed(1).padStart(6)} s  ${name}`)
    }
  } catch (error) {
    // Each step stands on the one before.
    failed = 1
    console.log(`FAIL ${steps[passed][0]}\n${error.stack ?? error}`)
    const logs = await compose(['logs', '--tail=20']).catch((problem) => problem)
    console.log(logs.stdout ?? String(logs))
  } finally {
    await compose(['down', '--volumes', '--remove-orphans'])
    await rm(directory, { recursive: true, force: true })
  }
  const left = steps.length - passed - failed
  console.log(`\n${passed} passed, ${failed} failed${left > 0 ? `, ${left} not tried` : ''}`)
  return failed === 0 ? 0 : 1
}

async function start({ compose, master }) {
  await compose(['up', '-d', '--scale', `chunk=${chunkservers}`])
  const deadlineMs = performance.now() + healthyMsMax
  for (;;) {
    const states = await containers()
    const waiting = states.filter((state) => state.health !== 'healthy')
    if (states.length === 1 + chunkservers && waiting.length === 0) break
    if (performance.now() > deadlineMs) assert.fail(`not healthy after ${healthyMsMax} ms: ${JSON.stringify(waiting)}`)
    await sleep(250)
  }
  const { servers } = await report(master)
  assert.equal(servers.filter((server) => server.state === 'live').length, chunkservers)
}

async function inspectContainers() {
  for (const { id, service, memoryBytes } of await containers()) {
    assert.equal(memoryBytes, memoryLimits[service], `${service} has another memory limit`)
    const status = await execa('docker', ['exec', id, 'cat', '/proc/1/status'])
    const user = /^Uid:\s+(\d+)/m.exec(status.stdout)?.[1]
    assert.notEqual(user, '0', `${service} runs as root`)
    const { stdout } = await execa('docker', ['exec', id, 'ls', '/dfs/node_modules'])
    const tool = stdout.split('\n').find((name) => /^(typescript|esbuild|tsx|uvu|@biomejs)$/.test(name))
    assert.equal(tool, undefined, `${service} has the development package ${tool}`)
  }
}

async function throughCli({ compose }) {
  const cli = (...args) => compose(['run', '--rm', '-T', 'cli', ...args])
  await cli('put', 'package.json', '/package.json')
  const { stdout } = await cli('cat', '/package.json')
  assert.equal(stdout.trim(), (await readFile(path.join(root, 'package.json'), 'utf8')).trim())
}

async function throughHost({ master, local, directory }) {
  const file = await open(local, 'w')
  for (let bytes = 0; bytes < fileBytes; bytes += 2 ** 20) await file.write(randomBytes(2 ** 20))
  await file.close()
  await runDfs(master, ['put', local, '/random'])
  const back = path.join(directory, 'back')
  await runDfs(master, ['get', '/random', back])
  assert.equal(await digestOf(back), await digestOf(local))
  await rm(back)
}

/** Reads through a pipe, so that the reader goes no further than this end has taken, and kills at a known place. */
async function killDuringRead({ compose, master, local }) {
  const info = JSON.parse((await runDfs(master, ['info', '/random', '--json'])).stdout)
  const held = info.chunks.at(-1).replicas[0].address.split(':')[0]
  const victim = (await containers()).find(({ address }) => address === held)
  assert.ok(victim, `no container has the address ${held}`)
  const reader = execa(process.execPath, [dfs, '--master', master, 'cat', '/random'], { buffer: false })
  const hash = createHash('sha256')
  let taken = 0
  let isKilled = false
  for await (const bytes of reader.stdout.iterator({ destroyOnReturn: false })) {
    hash.update(bytes)
    taken += bytes.length
    if (isKilled || taken < bytesBeforeKill) continue
    isKilled = true
    await execa('docker', ['kill', victim.id])
  }
  await reader
  assert.equal(taken, fileBytes)
  assert.equal(hash.digest('hex'), await digestOf(local))
  assert.equal((await containers()).length, chunkservers, 'one container is gone, the master and the others run')
  await compose(['up', '-d', '--scale', `chunk=${chunkservers}`])
}

async function stopByTerm({ compose, master }) {
  await start({ compose, master })
  const ids = (await containers()).map(({ id }) => id)
  await compose(['stop'])
  for (const id of ids) {
    const [{ State: state }] = await inspect([id])
    assert.equal(state.ExitCode, 0, `${id} ended with code ${state.ExitCode}`)
  }
  await compose(['start'])
}

async function downAndUp(context) {
  const { compose, master, local, directory } = context
  await start(context)
  const before = await report(master)
  await compose(['down'])
  assert.equal((await containers()).length, 0)
  await start(context)
  const after = await report(master)
  assert.equal(after.clusterId, before.clusterId)
  const names = ({ servers }) => servers.map(({ id }) => id).sort()
  assert.deepEqual(names(after), names(before))
  const back = path.join(directory, 'again')
  await runDfs(master, ['get', '/random', back])
  assert.equal(await digestOf(back), await digestOf(local))
}

/** @returns a function that runs docker-compose in this project, or why there is none */
async function findCompose() {
  const { failed, shortMessage } = await execa('docker', ['info'], { reject: false, timeout: 20_000 })
  if (failed) return `no container engine answers (${shortMessage.split('\n')[0]})`
  if (process.platform !== 'linux') return 'only a Linux host routes the addresses of containers'
  for (const [command, ...first] of [['docker', 'compose'], ['docker-compose']]) {
    const tried = await execa(command, [...first, 'version'], { reject: false })
    if (tried.failed) continue
    return (args) => execa(command, [...first, '-p', project, ...args], { cwd: root, stdin: 'ignore' })
  }
  return 'an engine answers, but neither `docker compose` nor `docker-compose` is installed'
}

/** The running containers of the project's services. */
async function containers() {
  const label = `label=com.docker.compose.project=${project}`
  const { stdout } = await execa('docker', ['ps', '-q', '--filter', label])
  if (stdout === '') return []
  return (await inspect(stdout.split('\n'))).map((facts) => ({
    id: facts.Id.slice(0, 12),
    service: facts.Config.Labels['com.docker.compose.service'],
    health: facts.State.Health?.Status,
    address: Object.values(facts.NetworkSettings.Networks)[0].IPAddress,
    memoryBytes: facts.HostConfig.Memory,
  }))
}

async function inspect(ids) {
  return JSON.parse((await execa('docker', ['inspect', ...ids])).stdout)
}

function runDfs(master, args) {
  return execa(process.execPath, [dfs, '--master', master, ...args])
}

async function report(master) {
  return JSON.parse((await runDfs(master, ['report', '--json'])).stdout)
}

async function digestOf(name) {
  const hash = createHash('sha256')
  const file = await open(name)
  for await (const bytes of file.createReadStream()) hash.update(bytes)
  return hash.digest('hex')
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}
