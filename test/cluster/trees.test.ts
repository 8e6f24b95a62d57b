// Trees and large files through real processes: every size at which something changes, a chunkserver killed during a
// read and during a write, everything stopped hard and started again.
// deadline: 240 s

import path from 'node:path'
import fs from 'fs-extra'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { KiB, MiB } from '../../src/base/units.ts'
import { compareTrees } from '../../src/cli/demo/compare.ts'
import { Cluster, killAll, patternBytes, scratchDirectory } from './harness.ts'

const local = scratchDirectory()
const source = path.join(local, 'source')
const never = new AbortController().signal
let cluster: Cluster

/** Empty, small, the border of packed files, the border of a chunk; names that people really have. */
const files: readonly (readonly [name: string, bytes: number])[] = [
  ['empty', 0],
  ['one', 1],
  ['block', 4096],
  ['block+1', 4097],
  ['small/packed', 256 * KiB - 1],
  ['small/packed=', 256 * KiB],
  ['small/packed+', 256 * KiB + 1],
  ['chunk/under', 64 * MiB - 1],
  ['chunk/over', 64 * MiB + 1],
  ['names/a b\'c"d', 10],
  ['names/ünïcödé 😀', 11],
  ['names/-', 12],
  ['names/-rf', 13],
  ['names/new\nline', 14],
]

test.before(async () => {
  files.forEach(([name, bytes], index) => {
    fs.outputFileSync(path.join(source, name), patternBytes(bytes, index + 1))
  })
  for (let index = 0; index < 200; index++) {
    fs.outputFileSync(path.join(source, 'many', String(index % 10), `f${index}`), patternBytes(index * 37, index))
  }
  fs.mkdirSync(path.join(source, 'hollow/deep'), { recursive: true })
  fs.symlinkSync('one', path.join(source, 'link'))
  fs.chmodSync(path.join(source, 'one'), 0o600)
  fs.utimesSync(path.join(source, 'one'), 1_000_000, 1_000_000)
  cluster = await Cluster.start({ chunkservers: 4 })
})
test.after(killAll)

test('a tree comes back byte for byte, links skipped with a warning', async () => {
  const { code, out, err } = await cluster.run(['put', '-r', '-p', source, '/tree', '--json'])
  assert.is(code, 0, err)
  assert.match(err, /link: symbolic link, skipped/)
  const summary = JSON.parse(out)
  assert.is(summary.files, files.length + 200)
  assert.is(summary.skipped, 1)
  const back = path.join(local, 'back')
  await cluster.dfs('get', '-r', '-p', '/tree', back)
  const { files: compared } = await compareTrees(source, back, never)
  assert.is(compared, files.length + 200)
  assert.ok(fs.statSync(path.join(back, 'hollow/deep')).isDirectory())
  const stats = fs.statSync(path.join(back, 'one'))
  assert.is(stats.mode & 0o777, 0o600)
  assert.is(stats.mtimeMs, 1_000_000_000)
  fs.removeSync(back)
})

test('put and get place things as cp -r does, and overwrite only with -f', async () => {
  await cluster.dfs('mkdir', '/place')
  const many = path.join(source, 'many', '1')
  await cluster.dfs('put', '-r', many, '/place')
  await cluster.dfs('put', '-r', many, '/place/new')
  await cluster.dfs('put', path.join(source, 'one'), path.join(source, 'block'), '/place/')
  const names = (await cluster.rows<{ path: string }>('ls', '/place')).map((row) => row.path)
  assert.equal(names, ['/place/1', '/place/block', '/place/new', '/place/one'])
  assert.is((await cluster.run(['put', many, '/place/x'])).code, 1, 'a directory wants -r')
  assert.is((await cluster.run(['put', path.join(source, 'one'), path.join(source, 'block'), '/place/one'])).code, 1)
  assert.is((await cluster.run(['put', path.join(source, 'block'), '/place/one'])).code, 1)
  await cluster.dfs('put', '-f', path.join(source, 'block'), '/place/one')
  assert.is((await cluster.json<{ size: number }>('stat', '/place/one')).size, 4096)

  const onto = await cluster.run(['put', '-r', '-f', many, '/place/one'])
  assert.is(onto.code, 1)
  assert.match(onto.err, /\/place\/one is a file, where a directory would go/)
  const file = path.join(local, 'file')
  fs.outputFileSync(file, 'kept')
  const under = await cluster.run(['get', '-r', '-f', '/place/new', file])
  assert.is(under.code, 1)
  assert.match(under.err, `local ${file} is a file, where a directory would go`)
  assert.is(fs.readFileSync(file, 'utf8'), 'kept')

  const into = path.join(local, 'into')
  fs.mkdirSync(into)
  await cluster.dfs('get', '/place/block', '/place/one', into)
  assert.is((await cluster.run(['get', '/place/block', into])).code, 1, 'it is there already')
  assert.is((await cluster.run(['get', '/place/new', into])).code, 1, 'a directory wants -r')
  await cluster.dfs('get', '-f', '/place/block', into)
  await cluster.dfs('get', '-r', '/place/new', into)
  assert.equal(fs.readdirSync(into).sort(), ['block', 'new', 'one'])
})

test('one file that fails does not stop the others, and the exit code tells', async () => {
  const { code, out, err } = await cluster.run([
    'put',
    path.join(source, 'one'),
    path.join(local, 'nowhere'),
    '/place/',
    '-f',
    '--json',
  ])
  assert.is(code, 1)
  assert.match(err, /nowhere/)
  assert.is(JSON.parse(out).files, 1)
  assert.is(JSON.parse(out).failed, 1)
})

test('a get that fails leaves no file under the final name, and none beside it', async () => {
  const into = path.join(local, 'partial')
  fs.mkdirSync(into)
  const controller = new AbortController()
  const seen = setInterval(() => {
    if (fs.readdirSync(into).some((name) => name.endsWith('.part'))) controller.abort()
  }, 1)
  const { code } = await cluster.run(['get', '/tree/chunk/over', path.join(into, 'over')], {
    interrupt: controller.signal,
  })
  clearInterval(seen)
  if (controller.signal.aborted && code !== 0) {
    assert.is(code, 130)
    assert.equal(fs.readdirSync(into), [])
  } else assert.equal(fs.readdirSync(into), ['over'], 'too quick to be interrupted')
})

test('a chunkserver killed during a read costs time, not bytes', async () => {
  const back = path.join(local, 'read')
  const reading = cluster.run(['get', '-r', '/tree', back])
  await waitFor(() => fs.existsSync(back))
  await cluster.chunkservers[0]!.kill()
  const { code, err } = await reading
  assert.is(code, 0, err)
  await compareTrees(source, back, never)
  fs.removeSync(back)
  await cluster.startChunkserver(0)
})

test('a chunkserver killed during a write is not noticed by the writer', async () => {
  const writing = cluster.run(['put', '-r', source, '/written'])
  await new Promise((resolve) => setTimeout(resolve, 600))
  await cluster.chunkservers[1]!.kill()
  const { code, err } = await writing
  assert.is(code, 0, err)
  const back = path.join(local, 'written')
  await cluster.dfs('get', '-r', '/written', back)
  await compareTrees(source, back, never)
  fs.removeSync(back)
  await cluster.startChunkserver(1)
})

test('everything killed at once and started again has every byte', async () => {
  await cluster.stop('SIGKILL')
  await cluster.restart()
  for (const name of ['/tree', '/written']) {
    const back = path.join(local, 'again')
    await cluster.dfs('get', '-r', name, back)
    await compareTrees(source, back, never)
    fs.removeSync(back)
  }
})

test('a graceful stop and a start have every byte too', async () => {
  await cluster.stop('SIGTERM')
  for (const daemon of [cluster.master, ...cluster.chunkservers]) {
    assert.is(await daemon.ended, 0)
    assert.ok(daemon.lines.some((fields) => fields.event === 'stopped'))
  }
  await cluster.restart()
  const back = path.join(local, 'graceful')
  await cluster.dfs('get', '-r', '/tree', back)
  await compareTrees(source, back, never)
})

async function waitFor(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 1000) throw new Error('it did not happen within 10 s')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

test.run()
