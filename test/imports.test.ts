// The rings of src/README.md: imports point inward only, and the pure files know no clock, no chance and no `node:*`.
//
// The simulator is only as good as this: what reads a real clock or a real disk can't be replayed from a seed.
// Read by pattern, not by a compiler: imports here are always written as `from '…'`, `import '…'` or `import('…')`.

import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const source = fileURLToPath(new URL('../src', import.meta.url))

/** For each part (the longest matching prefix of a file's path): what it may import besides itself. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  base: [],
  wire: ['base'],
  raft: ['base'],
  'master/operations.ts': ['base'],
  'master/metadata': ['base', 'master/operations.ts'],
  'master/cluster': ['base', 'wire', 'master/operations.ts', 'master/metadata'],
  'master/plan': ['base', 'master/operations.ts', 'master/metadata', 'master/cluster'],
  io: ['base'],
  'io/node': ['base', 'io'],
  rpc: ['base', 'wire', 'io'],
  oplog: ['base', 'io', 'master/operations.ts', 'master/metadata'],
  master: [
    ...['base', 'wire', 'raft', 'io', 'rpc', 'oplog'],
    ...['master/operations.ts', 'master/metadata', 'master/cluster', 'master/plan'],
  ],
  // The thread that writes checkpoints is a process edge like the commands: it opens the real disk itself.
  'master/checkpoint-worker.ts': [
    'base',
    'io',
    'io/node',
    'oplog',
    'master',
    'master/operations.ts',
    'master/metadata',
  ],
  chunkserver: ['base', 'wire', 'io', 'rpc'],
  client: ['base', 'wire', 'io', 'rpc'],
  // The front door of the package gives the library the real ports.
  'client/index.ts': ['base', 'wire', 'io', 'io/node', 'client'],
  gateway: ['base', 'wire', 'io', 'rpc', 'client', 'metrics'],
  web: ['base', 'wire', 'io', 'rpc', 'client', 'metrics'],
  metrics: ['base', 'io'],
  cli: [
    ...[
      'base',
      'wire',
      'raft',
      'io',
      'io/node',
      'rpc',
      'oplog',
      'chunkserver',
      'client',
      'client/index.ts',
      'gateway',
      'web',
      'metrics',
    ],
    ...['master', 'master/operations.ts', 'master/metadata', 'master/cluster', 'master/plan'],
    'master/checkpoint-worker.ts',
  ],
}

/** The parts that only compute: no `node:*` module at all. */
const pure = ['base', 'wire', 'raft', 'master/operations.ts', 'master/metadata', 'master/cluster', 'master/plan']

/** Files that only compute although their part does more: they import `base`, `wire` and each other. */
const pureFiles = ['format', 'block-sums', 'bytes', 'record-index', 'mutation-order', 'fences'].map(
  (name) => `chunkserver/${name}.ts`,
)

/** What may import `node:*` besides io/node and cli, and which. */
const nodeModules: Readonly<Record<string, readonly string[]>> = {
  'base/crc32.ts': ['node:module', 'node:zlib'],
}

/** Parts that touch the real world, by profession. */
const worldly = ['io/node', 'cli', 'master/checkpoint-worker.ts']

const clockOrChance =
  /\b(?:setTimeout|setInterval|setImmediate|Date\.now|new Date\(\)|performance\.now|process\.hrtime|process\.nextTick|Math\.random|randomUUID|randomBytes|getRandomValues|AbortSignal\.timeout)\b/

/** Modules of Node that compute and wait for nothing; the others are reached through the ports of io/. */
const harmlessNodeModules = [
  'node:assert',
  'node:buffer',
  'node:events',
  'node:events',
  'node:path',
  'node:stream',
  'node:stream/web',
  'node:util',
  'node:zlib',
]

test('every file of src belongs to a part', () => {
  const strays = files.filter((file) => partOf(file.name) === undefined).map((file) => file.name)
  assert.equal(strays, [], 'name the part and what it may import in mayImport')
})

test('imports point inward only', () => {
  const faults: string[] = []
  for (const file of files) {
    const part = partOf(file.name)
    if (part === undefined) continue
    for (const target of file.imports) {
      if (!target.startsWith('.')) continue
      const name = path.posix.join(path.posix.dirname(file.name), target)
      const other = partOf(name)
      if (other === undefined) faults.push(`src/${file.name} imports ${target}, which lies outside src`)
      else if (other !== part && !mayImport[part]!.includes(other)) {
        faults.push(
          `src/${file.name} (${part}) imports src/${name} (${other}); ${part} may import: ${mayImport[part]!.join(', ')}`,
        )
      }
    }
  }
  assert.equal(faults, [], 'an import points outward')
})

test('the files of chunkserver/ that only compute import nothing that does more', () => {
  const faults: string[] = []
  for (const file of files) {
    if (!pureFiles.includes(file.name)) continue
    for (const target of file.imports) {
      if (!target.startsWith('.')) continue
      const name = path.posix.join(path.posix.dirname(file.name), target)
      if (!isPure(name)) faults.push(`src/${file.name} imports src/${name}`)
    }
  }
  assert.equal(faults, [])
})

test('relative imports end in .ts, and name a file that exists', () => {
  const names = new Set(files.map((file) => file.name))
  const faults: string[] = []
  for (const file of files) {
    for (const target of file.imports) {
      if (!target.startsWith('.')) continue
      const name = path.posix.join(path.posix.dirname(file.name), target)
      if (!names.has(name)) faults.push(`src/${file.name} imports ${target}`)
    }
  }
  assert.equal(faults, [])
})

test('no clock and no chance but the ports, outside io/node and cli', () => {
  const faults: string[] = []
  for (const file of files) {
    if (worldly.includes(partOf(file.name) ?? '')) continue
    file.code.split('\n').forEach((line, index) => {
      const found = clockOrChance.exec(line)
      if (found) faults.push(`src/${file.name}:${index + 1} uses ${found[0]}; take it from Io (src/io/io.ts)`)
    })
  }
  assert.equal(faults, [])
})

test('no node:* module in the pure parts, and none that touches the world outside io/node and cli', () => {
  const faults: string[] = []
  for (const file of files) {
    const part = partOf(file.name) ?? ''
    if (worldly.includes(part)) continue
    const allowed = nodeModules[file.name] ?? (isPure(file.name) ? [] : harmlessNodeModules)
    for (const target of file.imports) {
      if (isNodeModule(target) && !allowed.includes(target)) faults.push(`src/${file.name} (${part}) imports ${target}`)
    }
  }
  assert.equal(faults, [])
})

test('modules of Node are imported by their full name, node:…', () => {
  const faults = files.flatMap((file) =>
    file.imports
      .filter((target) => !target.startsWith('node:') && isNodeModule(target))
      .map((target) => `src/${file.name} imports ${target}`),
  )
  assert.equal(faults, [])
})

test('the check itself sees every way to import, and no comment', () => {
  const text = [
    "import { a } from './a.ts'",
    'import {\n  b,\n  c,\n} from "./b.ts"',
    "import './c.ts'",
    "export * from './d.ts'",
    "const e = await import('./e.ts')",
    "type F = import('./f.ts').F",
    "// import { x } from './comment.ts'",
    "/* import { x } from './block.ts' */",
    "const url = 'http://host/' // setTimeout",
  ].join('\n')
  assert.equal(importsOf(withoutComments(text)), ['./a.ts', './b.ts', './c.ts', './d.ts', './e.ts', './f.ts'])
  assert.not(clockOrChance.test(withoutComments(text)))
  assert.ok(clockOrChance.test('await setTimeout(1)'))
  assert.is(partOf('master/metadata/apply.ts'), 'master/metadata')
  assert.is(partOf('master/node.ts'), 'master')
  assert.is(partOf('io/node/disk.ts'), 'io/node')
})

interface SourceFile {
  /** From src/, with forward slashes. */
  readonly name: string
  readonly code: string
  readonly imports: readonly string[]
}

const files: readonly SourceFile[] = readdirSync(source, { recursive: true })
  .map((entry) => String(entry).split(path.sep).join('/'))
  .filter((name) => name.endsWith('.ts'))
  .sort()
  .map((name) => {
    const code = withoutComments(readFileSync(path.join(source, name), 'utf8'))
    return { name, code, imports: importsOf(code) }
  })

function partOf(name: string): string | undefined {
  return Object.keys(mayImport)
    .filter((part) => name === part || name.startsWith(`${part}/`))
    .sort((a, b) => b.length - a.length)[0]
}

function isPure(name: string): boolean {
  return pure.includes(partOf(name) ?? '') || pureFiles.includes(name)
}

function importsOf(code: string): string[] {
  const pattern = /(?:\bfrom\s*|\bimport\s*\(\s*|^\s*import\s+)(['"])([^'"\n]+)\1/gm
  return [...code.matchAll(pattern)].map((match) => match[2]!)
}

function isNodeModule(target: string): boolean {
  return target.startsWith('node:') || bareNodeModules.has(target)
}

/** Blanks comments and keeps lines and strings as they are. */
function withoutComments(text: string): string {
  const pattern = /'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\[\s\S])*`|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g
  return text.replace(pattern, (found) => (found.startsWith('/') ? found.replace(/[^\n]/g, ' ') : found))
}

const bareNodeModules = new Set(
  'assert buffer child_process cluster crypto dgram dns events fs fs/promises http http2 https module net os path perf_hooks process readline stream timers timers/promises tls url util v8 vm worker_threads zlib'.split(
    ' ',
  ),
)

test.run()
