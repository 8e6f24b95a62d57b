// What an operator does, against real processes: fsck with its exit codes, doctor, drains, safe mode, scrubs, setrep -w.
// deadline: 240 s

import path from 'node:path'
import fs from 'fs-extra'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { MiB } from '../../src/base/units.ts'
import { Cluster, killAll, patternBytes, scratchDirectory } from './harness.ts'

let cluster: Cluster

test.before(async () => {
  cluster = await Cluster.start({ master: ['--chunk-size', '1MiB', '--dead-after-ms', '3000'] })
  const file = path.join(scratchDirectory(), 'three')
  fs.writeFileSync(file, patternBytes(3 * MiB - 5, 1))
  await cluster.dfs('mkdir', '/d')
  await cluster.dfs('put', file, '/d/big')
  await cluster.run(['put', '-', '/d/small'], { input: 'small' })
})
test.after(killAll)

interface Fsck {
  readonly status: string
  readonly files: number
  readonly bytes: number
  readonly chunks: number
  readonly underReplicated: number
  readonly missing: number
  readonly corrupt: number
  readonly problems: readonly Record<string, unknown>[]
  readonly exposure: readonly { server: string; chunks: number }[]
  readonly warnings: readonly string[]
  readonly rows?: readonly { path: string; extents: readonly { replicas?: readonly object[] }[] }[]
}

async function fsck(...args: string[]): Promise<Fsck & { readonly code: number }> {
  const { code, out, err } = await cluster.run(['fsck', ...args, '--json'])
  assert.is(err, '')
  return { code, ...JSON.parse(out) }
}

/** Asks until the answer is so, at most half a minute. */
async function until<T>(ask: () => Promise<T>, isSo: (answer: T) => boolean): Promise<T> {
  const late = Date.now() + 30_000
  for (;;) {
    const answer = await ask()
    if (isSo(answer)) return answer
    if (Date.now() > late) throw new Error(`still ${JSON.stringify(answer)}`)
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

test('fsck of a healthy cluster: HEALTHY, exit code 0; one host is a warning only', async () => {
  const result = await fsck()
  assert.is(result.code, 0)
  assert.is(result.status, 'HEALTHY')
  assert.is(result.files, 2)
  assert.is(result.bytes, 3 * MiB)
  assert.is(result.chunks, 4)
  assert.equal(result.problems, [])
  assert.match(result.warnings.join(), /on one host/)
  const text = await cluster.dfs('fsck', '/d', '--locations')
  assert.match(text, /^\/d\/big: 3145723 bytes, ok$/m)
  assert.match(text, /chunk [0-9a-f]{14} sealed, 3 of 3 replicas/)
  assert.match(text, /cs-1 127\.0\.0\.1:\d+ \S+ good, server live/)
  assert.match(text, /HEALTHY\n$/)
  const rows = (await fsck('/d/big', '--locations')).rows!
  assert.is(rows.length, 1)
  assert.is(rows[0]!.extents.length, 3)
  assert.is(rows[0]!.extents[0]!.replicas!.length, 3)
  const missing = await cluster.run(['fsck', '/nowhere'])
  assert.is(missing.code, 1)
  assert.match(missing.err, /NOT_FOUND/)
})

test('admin compact: what small files left behind is brought together, and the rest stays as it is', async () => {
  const tree = path.join(scratchDirectory(), 'many')
  for (let at = 0; at < 60; at++) fs.outputFileSync(path.join(tree, `f${at}`), patternBytes(8000, at))
  await cluster.dfs('put', '-r', tree, '/many')
  const dead = Array.from({ length: 60 }, (_, at) => `/many/f${at}`).filter((_, at) => at % 6 !== 0)
  await cluster.dfs('rm', '--now', ...dead)
  const compact = (...args: string[]) =>
    cluster.json<{ madeChunks: number; movedBytes: number; failures: number }>('admin', 'compact', ...args)
  let facts = await compact('--now')
  for (let waited = 0; facts.madeChunks === 0 && waited < 60; waited++) {
    await new Promise((resolve) => setTimeout(resolve, 250))
    facts = await compact()
  }
  assert.is(facts.failures, 0)
  assert.ok(facts.madeChunks >= 1 && facts.movedBytes >= 80_000, JSON.stringify(facts))
  assert.match(await cluster.dfs('admin', 'compact'), /KiB of 1\d places were brought together in 1 chunks/)
  const found = path.join(scratchDirectory(), 'found')
  await cluster.dfs('get', '-r', '/many', found)
  for (let at = 0; at < 60; at += 6) {
    assert.is(Buffer.compare(fs.readFileSync(path.join(found, `f${at}`)), patternBytes(8000, at)), 0)
  }
  await cluster.dfs('rm', '-r', '--now', '/many')
})

test('doctor finds nothing to mend, and names what is only a warning', async () => {
  const { healthy, faults, findings } = await cluster.json<{
    healthy: boolean
    faults: number
    findings: { level: string; what: string; message: string }[]
  }>('doctor')
  assert.ok(healthy, JSON.stringify(findings))
  assert.is(faults, 0)
  assert.is(findings.filter(({ what, message }) => what.startsWith('cs-') && /answers after/.test(message)).length, 3)
  assert.ok(findings.some(({ what, level }) => what === 'failure domains' && level === 'warning'))
  assert.match(await cluster.dfs('doctor'), /nothing has to be mended/)
  const nobody = await cluster.plain(['--master', '127.0.0.1:1', '--timeout', '1s', 'doctor'], {})
  assert.is(nobody.code, 1)
  assert.match(nobody.out, /fault +master/)
})

test('safe mode is told, entered, left, and waited for', async () => {
  assert.match(await cluster.dfs('admin', 'safemode', 'get'), /off/)
  assert.match(await cluster.dfs('admin', 'safemode', 'enter'), /on: the operator entered it/)
  const waiting = cluster.run(['admin', 'safemode', 'wait'])
  assert.match(await cluster.dfs('admin', 'safemode', 'leave'), /off/)
  assert.is((await waiting).code, 0)
  assert.is((await cluster.run(['admin', 'safemode', 'sleep'])).code, 2)
})

test('a rollback that did not happen is not accepted', async () => {
  const { code, out, err } = await cluster.run(['admin', 'accept-rollback'])
  assert.is(code, 1)
  assert.is(out, '')
  assert.match(err, /no chunkserver that has joined saw more history than the log has \(up to \d+\)/)
})

test('a drain is told, explained and taken back', async () => {
  assert.match(await cluster.dfs('admin', 'servers', 'drain', 'cs-2'), /cs-2: draining/)
  const servers = await cluster.json<{ id: string; state: string }[]>('admin', 'servers')
  assert.is(servers.find(({ id }) => id === 'cs-2')?.state, 'draining')
  const text = await cluster.dfs('admin', 'servers', 'drain', 'cs-2', '--explain')
  assert.match(text, /\/d\/big: bytes 0 \+1048576: 2 of 3 replicas are elsewhere; only 2 other servers can take/)
  assert.match(text, /cs-2 is still needed for 4 chunks/)
  assert.match(await cluster.dfs('admin', 'servers', '--explain'), /cs-2 is still needed/)
  await cluster.dfs('admin', 'servers', 'resume', 'cs-2')
  assert.match(await cluster.dfs('admin', 'servers'), /cs-2 .* live/)
  const unknown = await cluster.run(['admin', 'servers', 'drain', 'cs-99'])
  assert.is(unknown.code, 1)
  assert.match(unknown.err, /cs-99 is not registered.*\n +next: see `dfs report`/)
  assert.is((await cluster.run(['admin', 'servers', 'drain', 'nobody'])).code, 2)
  assert.is((await cluster.run(['admin', 'servers', 'blow-up', 'cs-1'])).code, 2)
})

test('balance shows every disk; a plan moves nothing; on, off and the rate are taken', async () => {
  interface Balance {
    on: boolean
    state: string
    rateLimit: number
    disks: { server: string; fullness: number }[]
  }
  const { on, disks } = await cluster.json<Balance>('admin', 'balance')
  assert.ok(on && disks.length === 3 && disks.every(({ fullness }) => fullness >= 0 && fullness <= 1))
  assert.match(await cluster.dfs('admin', 'balance', 'off', '--rate', '5MiB'), /^off: nothing is moved.*\n.*10\.0 %/)
  const off = await cluster.json<Balance>('admin', 'balance')
  assert.is(off.state, 'off')
  assert.is(off.rateLimit, 5 * MiB)
  assert.match(await cluster.dfs('admin', 'balance', '--plan'), /nothing would be moved|moves/)
  assert.ok((await cluster.json<Balance>('admin', 'balance', 'on')).on)
  assert.is((await cluster.run(['admin', 'balance', 'sideways'])).code, 2)
})

test('the limits of repair can be changed while it runs', async () => {
  const limits = async (...args: string[]) =>
    (await cluster.json<{ limits: { bytesPerSecond: number; perServer: number } }>('admin', 'repair', ...args)).limits
  const before = await limits()
  assert.equal(await limits('--rate', '1MiB', '--per-server', '2'), { bytesPerSecond: MiB, perServer: 2 })
  assert.match(await cluster.dfs('admin', 'repair'), /at most 1\.0 MiB\/s \(last copies apart\), 2 copies to a server/)
  assert.is((await cluster.run(['admin', 'repair', '--per-server', '0'])).code, 2)
  await limits('--rate', String(before.bytesPerSecond), '--per-server', String(before.perServer))
})

test('top names requests and servers, once for a script, and as often as it is told', async () => {
  interface Top {
    requests: { name: string; perSecond: number; total: number }[]
    servers: { id: string; readBytesPerSecond: number }[]
  }
  const looking = cluster.json<Top>('admin', 'top', '--interval', '2s')
  for (let i = 0; i < 3; i++) await cluster.dfs('cat', '/d/big')
  const { requests, servers } = await looking
  assert.is(servers.length, 3)
  assert.ok(requests.some(({ name, perSecond, total }) => name === 'openForRead' && total > 0 && perSecond >= 0))
  assert.ok(requests.some(({ name, perSecond }) => name === 'heartbeat' && perSecond > 0))
  const { out } = await cluster.run(['admin', 'top', '--json', '--count', '2', '--interval', '200ms'])
  assert.is(out.trim().split('\n').length, 2)
  assert.match(await cluster.dfs('admin', 'top', '--interval', '200ms'), /requests\/s.*\n.*repair: 0 chunks wait/)
})

test('setrep -w returns when there are so many, and gives up at its deadline', async () => {
  await cluster.dfs('setrep', '-w', '2', '/d/big')
  await cluster.dfs('setrep', '-w', '-R', '3', '/d')
  const late = await cluster.run(['--deadline', '1s', 'setrep', '-w', '5', '/d/small'])
  assert.is(late.code, 124)
  const { status, problems } = await fsck('/d/small')
  assert.is(status, 'DEGRADED')
  assert.match(String(problems[0]!.next), /3 can take replicas, 5 are wanted/)
  await cluster.dfs('setrep', '-w', '3', '/d/small')
})

test('a scrub finds bytes that were changed behind the back of a server', async () => {
  const shard = path.join(cluster.chunkData(0), 'chunks')
  const files = fs
    .readdirSync(shard)
    .flatMap((name) => fs.readdirSync(path.join(shard, name)).map((file) => path.join(shard, name, file)))
    .filter((file) => file.endsWith('.data') && fs.statSync(file).size > 900_000)
  const [file] = files
  const descriptor = fs.openSync(file!, 'r+')
  const byte = Buffer.alloc(1)
  fs.readSync(descriptor, byte, 0, 1, 400_000)
  byte[0]! ^= 4
  fs.writeSync(descriptor, byte, 0, 1, 400_000)
  fs.closeSync(descriptor)
  assert.match(await cluster.dfs('admin', 'scrub'), /begun: cs-1, cs-2, cs-3/)
  const seen = await until(
    () => fetchMetrics(0),
    (text) => /scrub_damaged_total 1/.test(text),
  )
  assert.match(seen, /dfs_chunk_scrub_passes_total/)
  const { disks } = (await cluster.json<{ disks: { scrubAgeMs: number | null }[] }[]>('admin', 'servers'))[0]!
  assert.ok(disks.length === 1)
  const status = await cluster.json<{ disks: { server: string; path: string; scrubAgeMs: number | null }[] }>(
    'admin',
    'scrub',
    '--status',
  )
  assert.equal(
    status.disks.map(({ server }) => server),
    ['cs-1', 'cs-2', 'cs-3'],
  )
  assert.match(await cluster.dfs('admin', 'scrub', 'cs-2', '--status'), /cs-2 .* ok .* %/)
})

test('a server that was stopped gracefully is in maintenance, and nothing that has to be mended', async () => {
  await cluster.chunkservers[2]!.kill('SIGTERM')
  const { code, out } = await cluster.run(['doctor'])
  assert.is(code, 0, out)
  assert.match(out, /warning +cs-\d: in maintenance, and stopped/)
  const { problems } = await fsck('/')
  assert.match(String(problems[0]!.why), /cs-\d is in maintenance/)
  await cluster.startChunkserver(2)
  await until(
    () => fsck('/'),
    ({ status }) => status === 'HEALTHY',
  )
})

test('a lost server is DEGRADED (1), all lost is DAMAGED (2) with the files that are', async () => {
  await cluster.chunkservers[2]!.kill()
  const one = await until(
    () => fsck('/'),
    ({ underReplicated }) => underReplicated >= 4,
  )
  assert.is(one.code, 1)
  assert.is(one.status, 'DEGRADED')
  assert.match(String(one.problems[0]!.why), /cs-\d is dead/)
  const doctor = await cluster.run(['doctor'])
  assert.is(doctor.code, 1)
  assert.match(doctor.out, /fault +cs-\d: dead/)
  await cluster.chunkservers[0]!.kill()
  await cluster.chunkservers[1]!.kill()
  const none = await until(
    () => fsck('/'),
    ({ status }) => status === 'DAMAGED',
  )
  assert.is(none.code, 2)
  assert.is(none.missing, 4)
  const list = await cluster.run(['fsck', '--list-corrupt'])
  assert.is(list.code, 2)
  assert.is(list.out, '/d/big\n/d/small\n2 damaged files: DAMAGED\n')
})

async function fetchMetrics(index: number): Promise<string> {
  const { http } = await cluster.chunkservers[index]!.event('ready')
  return (await fetch(`http://${http}/metrics`)).text()
}

test.run()
