// The package as npm makes it: what is in it, and that it works where nothing else is installed.
//
// The checkout's sources are packed in a directory of their own, so that dist/ here stays as it is, and the package is
// unpacked into an empty project without its dependencies: what the bundles can't do alone shows.

import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import fs from 'fs-extra'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseLogLine, readLines } from '../src/cli/log-lines.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const packedBytesMax = 1_000_000
const unpackedBytesMax = 4_000_000

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'dfs-package-'))
const project = path.join(scratch, 'project')
const installed = path.join(project, 'node_modules', 'dfs')
const running = new AbortController()

test.after(async () => {
  running.abort()
  await fs.remove(scratch)
})

test('npm pack builds, and takes what is needed to run and to compile against, no more', async () => {
  const checkout = path.join(scratch, 'checkout')
  const { files } = await fs.readJson(path.join(root, 'package.json'))
  for (const name of ['package.json', 'tsconfig.json', 'src', ...files]) {
    if (name !== 'dist' && !name.startsWith('!')) await fs.copy(path.join(root, name), path.join(checkout, name))
  }
  await fs.ensureSymlink(path.join(root, 'node_modules'), path.join(checkout, 'node_modules'))
  await execa('npm', ['pack', '--pack-destination', scratch], { cwd: checkout })
  const archive = (await fs.readdir(scratch)).find((name) => name.endsWith('.tgz'))
  assert.ok(archive, 'no package was made')
  const packedBytes = (await fs.stat(path.join(scratch, archive))).size
  assert.ok(packedBytes < packedBytesMax, `${packedBytes} bytes`)

  await fs.ensureDir(installed)
  await execa('tar', ['-xzf', path.join(scratch, archive), '--strip-components=1', '-C', installed])
  const names = (await fs.readdir(installed, { recursive: true })).map(String)
  for (const wanted of ['package.json', 'README.md', 'LICENSE', 'dist/dfs.js', 'dist/dfsd.js', 'dist/index.js']) {
    assert.ok(names.includes(wanted), `${wanted} is missing`)
  }
  assert.ok(names.includes('dist/checkpoint-worker.js') && names.includes('dist/types/client/index.d.ts'))
  const stray = names.find((name) => /^(src|test|bench|node_modules)\b|\.map$|(?<!\.d)\.ts$/.test(name))
  assert.is(stray, undefined, `${stray} has no place in the package`)
  let unpackedBytes = 0
  for (const name of names) {
    const stat = await fs.stat(path.join(installed, name))
    if (stat.isFile()) unpackedBytes += stat.size
  }
  assert.ok(unpackedBytes < unpackedBytesMax, `${unpackedBytes} bytes`)
})

test('a strict program compiles against its types', async () => {
  await fs.writeJson(path.join(project, 'package.json'), { type: 'module' })
  await fs.writeJson(path.join(project, 'tsconfig.json'), {
    compilerOptions: {
      target: 'es2023',
      lib: ['es2023', 'ESNext.Disposable'],
      module: 'nodenext',
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
      noEmit: true,
      types: ['node'],
      typeRoots: [path.join(root, 'node_modules', '@types')],
    },
    files: ['program.ts'],
  })
  await fs.writeFile(
    path.join(project, 'program.ts'),
    `import { connect, isDfsError, type Client, type FileStat } from 'dfs'
const client: Client = await connect({ masters: ['127.0.0.1:7400'], deadlineMs: 1000 })
await client.writeFile('/a', Buffer.from('a'), { overwrite: true })
const stat: FileStat = await client.stat('/a')
const size: number = stat.size
for await (const bytes of client.readStream('/a', { offset: 0, length: size })) console.log(bytes.length)
// @ts-expect-error a size is no text
const wrong: string = stat.size
try {
  await client.remove('/a')
} catch (error) {
  if (isDfsError(error, 'NOT_FOUND')) console.log(error.code, error.retriable, wrong)
}
`,
  )
  const compiler = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const { stdout, exitCode } = await execa(process.execPath, [compiler, '-p', project], { reject: false })
  assert.is(exitCode, 0, stdout)
})

test('its commands and its library run with no other package there', async () => {
  const bin = (name: string) => path.join(installed, 'dist', `${name}.js`)
  const { version } = await fs.readJson(path.join(installed, 'package.json'))
  assert.is((await execa(bin('dfs'), ['--version'])).stdout, `dfs ${version}`)
  assert.is((await execa(bin('dfsd'), ['--version'])).stdout, `dfsd ${version}`)

  const dev = execa(bin('dfsd'), ['dev', '--chunkservers', '2', '--listen', '127.0.0.1:0', '--http', '127.0.0.1:0'], {
    cwd: scratch,
    buffer: false,
    reject: false,
    cancelSignal: running.signal,
  })
  const master = await new Promise<string>((resolve, reject) => {
    readLines(dev.stdout, (line) => {
      const fields = parseLogLine(line)
      if (fields?.event === 'ready' && fields.role === 'dev') resolve(String(fields.master))
    })
    dev.then(() => reject(new Error('dfsd dev ended before it was ready')), reject)
  })
  const program = path.join(project, 'program.mjs')
  await fs.writeFile(
    program,
    `import { connect } from 'dfs'
const client = await connect(process.argv[2])
await client.writeFile('/hello', Buffer.from('good morning'))
console.log(String(await client.readFile('/hello')))
client.close()
`,
  )
  assert.is((await execa(process.execPath, [program, master])).stdout, 'good morning')
  assert.is((await execa(bin('dfs'), ['--master', master, 'cat', '/hello'])).stdout, 'good morning')
  dev.kill('SIGTERM')
  const { exitCode } = await dev
  assert.is(exitCode, 0)
})

test.run()
