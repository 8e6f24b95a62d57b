// The daemons as an operator meets them: dfsd dev and its parts, HTTP, options, refusals, offline tools.
// deadline: 180 s

import path from 'node:path'
import fs from 'fs-extra'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Cluster, Daemon, dfsd, killAll, scratchDirectory } from './harness.ts'

interface PartFacts {
  readonly role: string
  readonly id: string
  readonly pid: number
  readonly listen: string
  readonly http: string
  readonly data: string
}

test.after(killAll)

const anywhere = ['--listen', '127.0.0.1:0', '--http', '127.0.0.1:0']

test('dfsd dev says ready once, names its processes, and takes all of them along', async () => {
  const data = scratchDirectory()
  const dev = new Daemon(['dev', '--data', data, ...anywhere])
  const ready = await dev.event('ready')
  assert.is(ready.role, 'dev')
  assert.is(ready.master, ready.listen)
  const processes = ready.processes as PartFacts[]
  assert.equal(
    processes.map(({ role }) => role),
    ['master', 'chunk', 'chunk', 'chunk'],
  )
  assert.is(dev.lines.filter((fields) => fields.event === 'ready').length, 1)
  for (const { pid, http, data: own } of processes) {
    assert.ok(isAlive(pid))
    assert.ok(fs.existsSync(own))
    assert.is((await fetch(`http://${http}/readyz`)).status, 200)
  }
  const report = await Cluster.at(String(ready.master)).json<{ servers: { state: string }[] }>('report')
  assert.equal(
    report.servers.map(({ state }) => state),
    ['live', 'live', 'live'],
  )

  const victim = processes[3]!
  process.kill(victim.pid, 'SIGKILL')
  const ended = await dev.event('part-ended')
  assert.is(ended.part, victim.id)
  assert.is((await fetch(`http://${ready.http}/readyz`)).status, 503)

  assert.is(await dev.kill('SIGTERM'), 0)
  for (const { pid } of processes) assert.not(isAlive(pid))
})

test('dfsd dev keeps the files of --data, starts parts again with --restart, and leaves nothing when it is killed', async () => {
  const data = scratchDirectory()
  const args = ['dev', '--data', data, '--chunkservers', '1', ...anywhere]
  const first = new Daemon(args)
  const one = await first.event('ready')
  await Cluster.at(String(one.master)).run(['put', '-', '/kept'], { input: 'kept' })
  await first.kill('SIGTERM')

  const second = new Daemon([...args, '--restart'])
  const two = await second.event('ready')
  const cluster = Cluster.at(String(two.master))
  assert.is(await cluster.dfs('cat', '/kept'), 'kept')
  assert.is((await cluster.json<{ replication: number }>('stat', '/kept')).replication, 1)
  const processes = two.processes as PartFacts[]
  for (const { pid } of processes) process.kill(pid, 'SIGKILL')
  await second.event('part-restarted')
  while (second.lines.filter(({ event }) => event === 'part-restarted').length < 2) await second.next()
  assert.is(await cluster.dfs('cat', '/kept'), 'kept')
  const again = second.lines.filter(({ event }) => event === 'part-restarted').map(({ pid }) => Number(pid))
  await second.kill('SIGKILL')
  for (let tries = 0; again.some(isAlive); tries++) {
    assert.ok(tries < 500, 'parts outlive the dfsd dev that was killed')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
})

test('a daemon says that it serves whatever --log-level leaves out', async () => {
  const dev = new Daemon(['dev', '--data', scratchDirectory(), '--log-level', 'error', ...anywhere])
  assert.is((await dev.event('ready')).role, 'dev')
  assert.is(dev.lines.filter((fields) => fields.level === 'info' && fields.event !== 'ready').length, 0)
  assert.is(await dev.kill('SIGTERM'), 0)
})

test('every daemon answers /healthz, /readyz, /metrics and /version', async () => {
  const cluster = await Cluster.start({ chunkservers: 1 })
  await cluster.run(['put', '-', '/x'], { input: 'x' })
  for (const [daemon, role, metric] of [
    [cluster.master, 'master', 'dfs_master_files 1'],
    [cluster.chunkservers[0]!, 'chunk', 'dfs_chunk_appends_total 1'],
  ] as const) {
    const { http } = await daemon.event('ready')
    const get = async (name: string) => fetch(`http://${http}${name}`)
    assert.is((await get('/healthz')).status, 200)
    assert.is((await get('/readyz')).status, 200)
    const version = (await (await get('/version')).json()) as Record<string, unknown>
    assert.is(version.role, role)
    assert.is(version.pid, daemon.pid)
    const metrics = await (await get('/metrics')).text()
    assert.ok(metrics.split('\n').includes(metric), metrics)
    assert.match(metrics, /^process_cpu_seconds_total /m)
    assert.match(metrics, new RegExp(`^dfs_${role}_ready 1$`, 'm'))
    assert.is((await get('/nope')).status, 404)
    assert.is((await fetch(`http://${http}/metrics`, { method: 'POST' })).status, 405)
  }
  await cluster.stop()
})

test('a chunkserver without a master is alive but not ready, stops gracefully, and is ready when the master comes', async () => {
  const data = scratchDirectory()
  const master = new Daemon(['master', '--data', path.join(data, 'm'), ...anywhere])
  const { listen } = await master.event('ready')
  await master.kill('SIGTERM')
  const lonely = new Daemon(['chunk', '--data', path.join(data, 'a'), '--master', String(listen), ...anywhere])
  while (lonely.text.length === 0) await lonely.next()
  assert.is(await lonely.kill('SIGTERM'), 0, lonely.text.join('\n'))
  assert.not(lonely.lines.some(({ event }) => event === 'ready'))

  const waiting = new Daemon(['chunk', '--data', path.join(data, 'b'), '--master', String(listen), ...anywhere])
  const again = new Daemon([
    'master',
    '--data',
    path.join(data, 'm'),
    '--listen',
    String(listen),
    '--http',
    '127.0.0.1:0',
  ])
  await again.event('ready')
  const ready = await waiting.event('ready')
  assert.is(ready.server, 'cs-1')
  await waiting.kill('SIGTERM')
  await again.kill('SIGTERM')
})

test('options come from flags, environment and file; a missing one is wrong usage; an address in use is refused', async () => {
  const data = scratchDirectory()
  const config = path.join(data, 'dfsd.json')
  fs.writeJsonSync(config, { data: path.join(data, 'm'), listen: '127.0.0.1:0', http: '127.0.0.1:0', replication: 2 })
  const master = new Daemon(['master', '--config', config])
  const { listen, http } = await master.event('ready')
  const formatted = master.lines.find(({ event }) => event === 'formatted')
  assert.is(formatted?.goal, 2)

  assert.is((await dfsd('master')).code, 2)
  assert.match((await dfsd('master')).err, /--data is missing \(or set DFSD_DATA\)/)
  const other = ['master', '--data', path.join(data, 'n')]
  for (const at of [
    ['--listen', String(listen), '--http', '127.0.0.1:0'],
    ['--listen', '127.0.0.1:0', '--http', String(http)],
  ]) {
    const refused = new Daemon([...other, ...at])
    const { reason, next } = await refused.event('refused')
    assert.match(String(reason), /127\.0\.0\.1:\d+.*another process listens there/)
    assert.match(String(next), /port 0: a free one/)
    assert.is(await refused.ended, 1)
    assert.is(refused.text.length, 1, refused.text.join('\n'))
  }
  await master.kill('SIGTERM')
})

test('a refused start is one line, also of dfsd dev, with the next step of the part that was refused', async () => {
  const data = scratchDirectory()
  const at = ['--listen', '127.0.0.1:0', '--http', '127.0.0.1:0']
  const master = new Daemon(['master', '--data', path.join(data, 'master-1'), ...at])
  await master.event('ready')
  const refused = [
    new Daemon(['master', '--data', path.join(data, 'master-1'), ...at]),
    new Daemon(['dev', '--data', data, ...at]),
  ]
  for (const daemon of refused) {
    const { code, reason, next } = await daemon.event('refused')
    assert.is(code, 'LOCKED')
    assert.match(String(reason), /master-1\/lock is locked by another process/)
    assert.is(next, 'stop the other process')
    assert.is(await daemon.ended, 1)
    assert.is(daemon.text.length, 1, daemon.text.join('\n'))
  }
  await master.kill('SIGTERM')
  for (const role of ['dev', 'master']) {
    const usage = await dfsd(role, '--data', path.join(data, 'new'), '--chunk-size', '3')
    assert.is(usage.code, 2)
    assert.match(usage.err, /--chunk-size is 3: a multiple of 4096/)
  }
  assert.not(fs.existsSync(path.join(data, 'new')))
})

test('the offline tools read what the daemons left, and find the byte that was changed', async () => {
  const cluster = await Cluster.start({ chunkservers: 1 })
  await cluster.run(['put', '-', '/x'], { input: 'some bytes that are stored' })
  await cluster.dfs('admin', 'checkpoint')
  await cluster.dfs('mkdir', '/after')
  await cluster.stop()

  const dump = await dfsd('oplog', 'dump', cluster.masterData, '--json')
  const records = dump.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.ok(records.some(({ decoded }) => decoded.kind === 'putFile' && decoded.publish.path === '/x'))
  assert.equal(
    records.map(({ index }) => index),
    records.map((_, position) => position + 1),
  )
  const nothing = await dfsd('oplog', 'verify', path.join(cluster.directory, 'nowhere'))
  assert.is(nothing.code, 1)
  assert.match(nothing.err, /next: check the local path/)
  const wrong = await dfsd('oplog', 'dump', cluster.directory)
  assert.match(wrong.err, /there is no operation log.*\n +next: name a master's data directory/)
  const part = await dfsd('oplog', 'dump', cluster.masterData, '--json', '--from', '2', '--to', '3')
  assert.equal(
    part.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).index),
    [2, 3],
  )
  assert.is(JSON.parse((await dfsd('oplog', 'stats', cluster.masterData, '--json')).out).recordCount, records.length)

  const checkpoints = path.join(cluster.masterData, 'checkpoints')
  const checkpoint = path.join(checkpoints, fs.readdirSync(checkpoints).sort().at(-1)!)
  assert.is((await dfsd('checkpoint', 'verify', checkpoint)).code, 0)
  const rows = (await dfsd('checkpoint', 'dump', checkpoint, '--json')).out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const stored = rows.find(({ path: name }) => name === '/x')
  assert.is(stored.size, 26)
  assert.ok(rows.some(({ kind, handle }) => kind === 'chunk' && handle === stored.extents[0].handle))
  assert.is((await dfsd('chunk-store', 'verify', cluster.chunkData(0))).code, 0)
  assert.match((await dfsd('chunk-store', 'dump', cluster.chunkData(0), '--json')).out, /"handle":"[0-9a-f]{14}"/)

  flipByte(checkpoint)
  assert.is((await dfsd('checkpoint', 'verify', checkpoint)).code, 1)
  const chunks = fs.readdirSync(cluster.chunkData(0), { recursive: true }).map(String)
  flipByte(path.join(cluster.chunkData(0), chunks.find((name) => name.endsWith('.data'))!))
  assert.is((await dfsd('chunk-store', 'verify', cluster.chunkData(0))).code, 1)
  const log = path.join(cluster.masterData, 'log')
  flipByte(path.join(log, fs.readdirSync(log).sort()[0]!))
  const { code, out, err } = await dfsd('oplog', 'verify', cluster.masterData)
  assert.is(code, 1)
  assert.match(out, /DAMAGED/)
  assert.match(err, /LOG_DAMAGED/)
  const refused = await new Daemon(['master', '--data', cluster.masterData, ...anywhere]).event('refused')
  assert.is(refused.code, 'LOG_DAMAGED')
})

test('dfsd oplog says what room a log has made ahead, and does not take it for a torn tail', async () => {
  const log = new URL('../golden/oplog-v1-preallocated', import.meta.url).pathname
  for (const verb of ['verify', 'stats']) {
    const { code, out } = await dfsd('oplog', verb, log)
    assert.is(code, 0)
    assert.match(out, /^sound: .* 12 records, .*\npreallocated: \d+ bytes of zeros behind the last record$/m)
    assert.not.match(out, /torn/)
  }
  assert.ok(JSON.parse((await dfsd('oplog', 'verify', log, '--json')).out).preallocatedBytes > 0)
})

function flipByte(file: string): void {
  const bytes = fs.readFileSync(file)
  // Past the header, inside what was stored first.
  const at = Math.min(bytes.length - 1, bytes.length > 5000 ? 4096 + 70 : 3)
  bytes[at] = bytes[at]! ^ 1
  fs.writeFileSync(file, bytes)
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false // no such process is the answer
  }
}

test.run()
