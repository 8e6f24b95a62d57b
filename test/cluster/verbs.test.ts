// The contract of the verbs, against real processes: what they print, what --json says, with which code they end.
// deadline: 240 s

import path from 'node:path'
import { execa } from 'execa'
import fs from 'fs-extra'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { buildPrograms, Cluster, killAll, patternBytes, scratchDirectory } from './harness.ts'

const local = scratchDirectory()
let cluster: Cluster

test.before(async () => {
  cluster = await Cluster.start()
})
test.after(killAll)

interface Row {
  readonly path: string
  readonly type: string
  readonly size: number
}

function localFile(name: string, bytes: Uint8Array | string): string {
  const file = path.join(local, name)
  fs.outputFileSync(file, bytes)
  return file
}

test('put, stat, ls, cat and get of one file agree, and checksum is the CRC32 of its bytes', async () => {
  const bytes = patternBytes(3 * MiB + 17, 1)
  const file = localFile('one', bytes)
  const put = await cluster.json<{ files: number; bytes: number; failed: number }>('put', file, '/one')
  assert.is(put.files, 1)
  assert.is(put.bytes, bytes.length)
  assert.is(put.failed, 0)
  const stat = await cluster.json<Record<string, unknown>>('stat', '/one')
  assert.is(stat.size, bytes.length)
  assert.is(stat.type, 'file')
  assert.is(stat.replication, 3)
  assert.is(stat.chunks, 1)
  for (const field of ['path', 'mtimeMs', 'mode', 'owner', 'group', 'inode', 'ctimeMs', 'attributes'])
    assert.ok(field in stat, field)
  const [row] = await cluster.rows<Record<string, unknown>>('ls', '/one')
  assert.equal(Object.keys(row!), ['path', 'type', 'size', 'replication', 'mtimeMs', 'mode', 'owner', 'group'])
  assert.is(await cluster.dfs('checksum', '/one'), `${crc32(bytes).toString(16).padStart(8, '0')}  /one\n`)
  await cluster.dfs('get', '/one', path.join(local, 'one.back'))
  assert.is(Buffer.compare(fs.readFileSync(path.join(local, 'one.back')), bytes), 0)
  const info = await cluster.json<{ extents: object[]; chunks: { replicas: object[]; state: string }[] }>(
    'info',
    '/one',
  )
  assert.is(info.extents.length, 1)
  assert.is(info.chunks[0]?.replicas.length, 3)
})

test('- is standard input and output; head, tail and ranges of cat cut where they are told', async () => {
  const text = Array.from({ length: 1000 }, (_, index) => `line ${index}\n`).join('')
  assert.is((await cluster.run(['put', '-', '/text'], { input: text })).code, 0)
  assert.is(await cluster.dfs('cat', '/text'), text)
  assert.is(await cluster.dfs('get', '/text', '-'), text)
  assert.is(await cluster.dfs('head', '/text'), text.slice(0, 1024))
  assert.is(await cluster.dfs('head', '-c', '10', '/text'), text.slice(0, 10))
  assert.is(await cluster.dfs('tail', '/text'), text.slice(-1024))
  assert.is(await cluster.dfs('tail', '-c', '5', '/text'), text.slice(-5))
  assert.is(await cluster.dfs('cat', '--offset', '100', '--length', '20', '/text'), text.slice(100, 120))
  assert.is(await cluster.dfs('cat', '--offset', '1MiB', '/text'), '')
})

test('append, write, truncate and concat change the bytes that they name', async () => {
  const expect = async (name: string, bytes: Buffer) => {
    assert.is(
      Buffer.compare(
        Buffer.from(await cluster.dfs('cat', name), 'latin1'),
        Buffer.from(bytes.toString('latin1'), 'latin1'),
      ),
      0,
      name,
    )
  }
  await cluster.run(['append', '/log', '-'], { input: 'one ' })
  await cluster.run(['append', '/log'], { input: 'two ' })
  await cluster.dfs('append', '/log', localFile('a', 'three '), localFile('b', 'four'))
  await expect('/log', Buffer.from('one two three four'))
  await cluster.run(['write', '/log', '--offset', '4', '-'], { input: 'TWO' })
  await expect('/log', Buffer.from('one TWO three four'))
  await cluster.dfs('truncate', '7', '/log')
  await expect('/log', Buffer.from('one TWO'))
  await cluster.dfs('truncate', '9', '/log')
  await expect('/log', Buffer.from('one TWO\0\0'))
  await cluster.run(['put', '-', '/tail'], { input: '!' })
  await cluster.dfs('concat', '/log', '/tail')
  await expect('/log', Buffer.from('one TWO\0\0!'))
  assert.is((await cluster.run(['stat', '/tail'])).code, 1)
})

test('mkdir, rmdir, mv, cp, touch and rm do what their namesakes do', async () => {
  await cluster.dfs('mkdir', '-p', '/n/a/b')
  assert.is((await cluster.run(['mkdir', '/n/a'])).code, 1)
  await cluster.dfs('touch', '/n/a/file')
  await cluster.dfs('mv', '/n/a/file', '/n/a/b')
  await cluster.dfs('cp', '/n/a/b/file', '/n/copy')
  assert.is((await cluster.run(['cp', '/n/a', '/n/tree'])).code, 1, 'a directory wants -r')
  await cluster.dfs('cp', '-r', '/n/a', '/n/tree')
  await cluster.dfs('snapshot', '/n/a', '/n/snap')
  const all = (await cluster.rows<Row>('ls', '-R', '/n')).map((row) => row.path)
  assert.equal(all, [
    '/n/a',
    '/n/a/b',
    '/n/a/b/file',
    '/n/copy',
    '/n/snap',
    '/n/snap/b',
    '/n/snap/b/file',
    '/n/tree',
    '/n/tree/b',
    '/n/tree/b/file',
  ])
  assert.is((await cluster.run(['rmdir', '/n/a'])).code, 1)
  assert.is((await cluster.run(['rm', '/n/a'])).code, 1)
  await cluster.dfs('rm', '-r', '/n/a', '/n/snap')
  await cluster.dfs('rm', '-f', '/n/never')
  assert.is((await cluster.run(['rm', '/n/never'])).code, 1)
  const left = (await cluster.rows<Row>('find', '/n', '-type', 'f')).map((row) => row.path)
  assert.equal(left, ['/n/copy', '/n/tree/b/file'])
})

test('a slash at the end of a target says that a directory is meant, and the error says how to make it', async () => {
  await cluster.dfs('touch', '/slash')
  const back = path.join(local, 'nowhere')
  for (const [args, next] of [
    [['mv', '/slash', '/nodir/'], 'dfs mkdir /nodir'],
    [['cp', '/slash', '/nodir/'], 'dfs mkdir /nodir'],
    [['cp', '/slash', '/text', '/nodir'], 'dfs mkdir /nodir'],
    [['put', localFile('slash', 'x'), '/nodir/'], 'dfs mkdir /nodir'],
    [['get', '/slash', `${back}/`], 'make it first'],
  ] as const) {
    const { code, err } = await cluster.run(args)
    assert.is(code, 1, args.join(' '))
    assert.match(err, `next: ${next.startsWith('dfs') ? `make it with \`${next}\`` : next}`)
  }
  const missing = await cluster.run(['get', '/slash', path.join(back, 'file')])
  assert.is(missing.code, 1)
  assert.match(missing.err, `local ${path.join(back, 'file')}: no such file or directory`)
  await cluster.dfs('rm', '/slash')
})

test('what rm took is in the trash and comes back', async () => {
  await cluster.run(['put', '-', '/gone'], { input: 'still here' })
  await cluster.dfs('rm', '/gone')
  const rows = await cluster.rows<{ id: number; path: string }>('trash', 'ls')
  assert.ok(rows.some((row) => row.path === '/gone'))
  await cluster.dfs('trash', 'restore', '/gone')
  assert.is(await cluster.dfs('cat', '/gone'), 'still here')
  await cluster.dfs('rm', '--now', '/gone')
  assert.not((await cluster.rows<{ path: string }>('trash', 'ls')).some((row) => row.path === '/gone'))
  await cluster.dfs('trash', 'empty')
  assert.is((await cluster.rows('trash', 'ls')).length, 0)
})

test('ls sorts, pages and descends; tree and find see the same', async () => {
  for (const [name, size] of [
    ['a', 300],
    ['b', 100],
    ['c', 200],
  ] as const) {
    await cluster.run(['put', '-', `/sorted-${name}`], { input: patternBytes(size, size) })
  }
  await cluster.dfs('mkdir', '/s')
  for (const name of ['a', 'b', 'c']) await cluster.dfs('mv', `/sorted-${name}`, `/s/${name}`)
  const names = async (...args: string[]) =>
    (await cluster.rows<Row>('ls', ...args, '/s')).map((row) => row.path.slice(3)).join('')
  assert.is(await names(), 'abc')
  assert.is(await names('-r'), 'cba')
  assert.is(await names('-S'), 'acb')
  assert.is(await names('-S', '-r'), 'bca')
  assert.is(await names('-t'), 'cba')
  assert.is(await names('--limit', '2'), 'ab')
  assert.is(await names('--limit', '2', '--cursor', 'b'), 'c')
  assert.is(await names('-t', '--limit', '1'), 'c', 'the newest, not the first by name')
  assert.is((await cluster.run(['ls', '-t', '--cursor', 'b', '/'])).code, 2, 'pages go by name')
  assert.equal(
    (await cluster.rows<Row>('ls', '-d', '/s')).map((row) => row.path),
    ['/s'],
  )
  assert.equal(
    (await cluster.rows<Row>('find', '/s', '-size', '+150', '-name', '[ab]')).map((row) => row.path),
    ['/s/a'],
  )
  assert.equal(
    (await cluster.rows<Row>('find', '/s', '-size', '-150')).map((row) => row.path),
    ['/s/b'],
  )
  assert.is(await cluster.dfs('tree', '/s'), '/s\n├── a\n├── b\n└── c\n\n0 directories, 3 files\n')
  assert.match(await cluster.dfs('du', '-s', '/s'), /^ +600 +1800 {2}\/s\n$/)
  assert.equal(await cluster.json('du', '-s', '/s'), { path: '/s', size: 600, sizeWithReplicas: 1800 })
})

test('attributes are kept', async () => {
  await cluster.dfs('touch', '/attr')
  await cluster.dfs('chmod', '640', '/attr')
  await cluster.dfs('chown', 'ada:lab', '/attr')
  await cluster.dfs('setrep', '2', '/attr')
  await cluster.dfs('setfattr', '-n', 'user.x', '-v', 'one', '/attr')
  const stat = await cluster.json<Record<string, unknown>>('stat', '/attr')
  assert.is(stat.mode, 0o640)
  assert.is(stat.owner, 'ada')
  assert.is(stat.group, 'lab')
  assert.is(stat.replication, 2)
  assert.equal(stat.attributes, { 'user.x': 'one' })
  assert.match(await cluster.dfs('getfattr', '-d', '/attr'), 'user.x="one"')
  await cluster.dfs('setfattr', '-x', 'user.x', '/attr')
  assert.is((await cluster.run(['getfattr', '-n', 'user.x', '/attr'])).code, 1)
})

test('report and df name the servers and the room', async () => {
  const report = await cluster.json<{
    clusterId: string
    safeMode: { on: boolean }
    servers: { id: string; state: string; capacityBytes: number }[]
    totals: Record<string, number>
    repair: Record<string, number>
  }>('report')
  assert.match(report.clusterId, /^[0-9a-f]{32}$/)
  assert.equal(
    report.servers.map((server) => server.state),
    ['live', 'live', 'live'],
  )
  assert.ok(report.servers.every((server) => /^cs-[0-9]+$/.test(server.id) && server.capacityBytes > 0))
  for (const field of ['files', 'directories', 'chunks', 'bytes']) assert.type(report.totals[field], 'number')
  for (const field of [
    'missing',
    'corrupt',
    'lastCopy',
    'underReplicated',
    'overReplicated',
    'inFlight',
    'bytesPerSecond',
    'givenUp',
    'retainedEarly',
  ]) {
    assert.type(report.repair[field], 'number', field)
  }
  assert.is(report.repair.missing, 0)
  const df = await cluster.json<Record<string, number>>('df')
  assert.ok(df.capacityBytes! > 0 && df.freeBytes! > 0)
  assert.match(await cluster.dfs('report'), /cs-1 +127\.0\.0\.1:/)
  assert.match(await cluster.dfs('df', '-h'), /capacity/)
})

test('bench measures, says it in the shape that scripts rely on, and leaves nothing', async () => {
  const before = await cluster.dfs('ls', '/')
  const throughput = await cluster.json<Record<string, number>>(
    ...['bench', 'throughput', '--size', '300KiB', '--files', '3', '--clients', '2'],
  )
  assert.equal(Object.keys(throughput), ['writeBytesPerSecond', 'readBytesPerSecond', 'bytes', 'replicas'])
  assert.is(throughput.bytes, 3 * 300 * KiB)
  assert.is(throughput.replicas, 3)
  assert.ok(throughput.writeBytesPerSecond! > 0 && throughput.readBytesPerSecond! > 0)
  const meta = await cluster.json<Record<string, number>>('bench', 'meta', '--files', '50', '--clients', '4')
  const rates = ['createsPerSecond', 'statsPerSecond', 'renamesPerSecond', 'removesPerSecond']
  assert.equal(Object.keys(meta), [...rates, 'p50Ms', 'p99Ms'])
  assert.ok(rates.every((name) => meta[name]! > 0))
  assert.ok(meta.p50Ms! > 0 && meta.p50Ms! <= meta.p99Ms!)
  const append = await cluster.json<Record<string, number>>('bench', 'append', '--records', '1001', '--clients', '3')
  assert.equal(Object.keys(append), ['recordsPerSecond', 'bytesPerSecond'])
  assert.ok(append.recordsPerSecond! > 0 && append.bytesPerSecond! > 0)
  assert.match(await cluster.dfs('bench', 'meta', '--files', '1'), /creates, durable +[0-9]+ /)
  assert.is(await cluster.dfs('ls', '/'), before)
})

test('wrong usage ends with 2, a failure with 1, and --json makes the error a document', async () => {
  for (const args of [
    ['lss'],
    ['ls', '--nope'],
    ['put', 'x'],
    ['truncate', 'x', '/a'],
    ['chmod', '999', '/a'],
    ['trash'],
  ]) {
    const { code, err } = await cluster.run(args)
    assert.is(code, 2, args.join(' '))
    assert.match(err, /next:/)
  }
  assert.match((await cluster.run(['chekcsum', '/a'])).err, /did you mean `dfs checksum`/)
  const { code, out, err } = await cluster.run(['cat', '/never', '--json'])
  assert.is(code, 1)
  assert.is(out, '')
  const { error } = JSON.parse(err)
  assert.equal(Object.keys(error), ['code', 'message', 'retriable', 'next'])
  assert.is(error.code, 'NOT_FOUND')
  assert.match(error.message, '/never')
  for (const bad of ['relative', '/a/../b', `/${'x'.repeat(256)}`, '/a//b']) {
    assert.is((await cluster.run(['mkdir', bad])).code, 1, bad)
  }
})

test('the spelling of HDFS, the environment and a file of options are understood', async () => {
  assert.is((await cluster.run(['-mkdir', '-p', '/hdfs/x'])).code, 0)
  const master = cluster.address
  const env = { DFS_MASTER: master, DFS_JSON: 'true' }
  const config = localFile('options.yaml', `master: ${master}\njson: true\n`)
  const runPlain = (args: string[], environment: Record<string, string>) => cluster.plain(args, { env: environment })
  assert.match((await runPlain(['ls', '/hdfs'], env)).out, /^\{"path":"\/hdfs\/x"/)
  assert.match((await runPlain(['ls', '/hdfs', '--config', config], {})).out, /^\{"path":"\/hdfs\/x"/)
  const slip = localFile('slip.json', JSON.stringify({ mastre: master }))
  const refused = await runPlain(['ls', '/', '--config', slip], {})
  assert.is(refused.code, 2)
  assert.match(refused.err, /did you mean "master"/)
  const directory = await runPlain(['ls', '/', '--config', local], {})
  assert.is(directory.code, 2)
  assert.match(directory.err, `--config ${local} is a directory`)
})

test('nothing hangs: --deadline ends a tail -f, --timeout a silent standard input and a master that is not there', async () => {
  const startMs = Date.now()
  assert.is((await cluster.run(['tail', '-f', '/text', '--deadline', '500ms'])).code, 124)
  const silent = cluster.run(['put', '-', '/silent', '--timeout', '500ms'], { holdInput: true })
  assert.is((await silent).code, 124)
  const nobody = await cluster.plain(['ls', '/', '--master', '127.0.0.1:1', '--timeout', '500ms'], {})
  assert.is(nobody.code, 124)
  assert.match(nobody.err, /127\.0\.0\.1:1/)
  assert.match(nobody.err, /next: is a master running there\?/)
  process.kill(cluster.master.pid, 'SIGSTOP')
  const asleep = await cluster.run(['report', '--timeout', '500ms'])
  process.kill(cluster.master.pid, 'SIGCONT')
  assert.is(asleep.code, 124)
  assert.match(asleep.err, `no connection to ${cluster.address} within`)
  assert.ok(Date.now() - startMs < 10_000)
})

test('a person who waits for a master is told what for, and a script is not', async () => {
  const args = ['ls', '/', '--master', '127.0.0.1:1', '--timeout', '3s']
  const dfs = path.join(buildPrograms(), 'dfs.js')
  const [script, shown] = await Promise.all([
    cluster.plain(args, {}),
    // script(1) runs a command in a terminal of its own; where there is none, only the other half is asked.
    execa('script', ['-qec', [process.execPath, dfs, ...args].join(' '), '/dev/null'], {
      reject: false,
      stdin: 'ignore',
    }),
  ])
  assert.is(script.err.split('\n').length, 3, script.err)
  if (process.platform !== 'linux' || shown.exitCode === undefined) return
  assert.match(shown.stdout, /waiting for a master at 127\.0\.0\.1:1/)
})

test('an interrupt ends with 130', async () => {
  const { code } = await cluster.run(['tail', '-f', '/text'], { interruptOnOutput: true })
  assert.is(code, 130)
})

test('a reader of the output that goes away is no error', async () => {
  await cluster.dfs('put', localFile('long', patternBytes(8 * MiB, 3)), '/long')
  const { code, err } = await cluster.run(['cat', '/long'], { readOnly: 64 * KiB })
  assert.is(code, 0, err)
})

test.run()
