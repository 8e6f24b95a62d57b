#!/usr/bin/env node
// The build: bundles the entries into dist/, so that a command starts fast and nothing needs a loader.
//
//   node src/build.mjs               everything
//   node src/build.mjs --no-types    without the declarations of the main export (a second or two less)
//   node src/build.mjs --out DIR     into another directory than dist/ (tests of real processes)
//   node src/build.mjs --partial     although an entry is missing: without it that is an error
//   node src/build.mjs --prepare     as npm's `prepare`: does nothing where the tools are not installed
//
// What is shared, and what is imported late (`await import()`), becomes chunks of its own; but `dfs`, whose start is felt,
// is one file: to find thirty takes longer than to pass over what is not called. Packages are bundled too, except what a
// bundle can't hold: native code (@node-rs/crc32, found at run time, optional).

import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const outIndex = process.argv.indexOf('--out')
const dist = path.resolve(root, outIndex > 0 ? process.argv[outIndex + 1] : 'dist')
const require = createRequire(import.meta.url)

const entries = {
  dfs: 'src/cli/dfs.ts',
  dfsd: 'src/cli/dfsd.ts',
  demo: 'src/cli/demo.ts',
  index: 'src/client/index.ts',
  'checkpoint-worker': 'src/master/checkpoint-worker.ts',
}
const tools = ['esbuild', 'typescript', '@types/node']
const commands = ['dfs', 'dfsd', 'demo']
/** Entries that are one file each. */
const whole = ['dfs']

process.exitCode = await main(new Set(process.argv.slice(2)))

async function main(options) {
  const absent = tools.filter((name) => !existsSync(path.join(root, 'node_modules', name)))
  if (options.has('--prepare') && absent.length > 0) {
    console.log(`build: ${absent.join(' and ')} not installed (production install?), dist/ is left as it is`)
    return 0
  }
  const missing = Object.values(entries).filter((file) => !existsSync(path.join(root, file)))
  for (const file of missing) console.error(`build: the entry ${file} does not exist`)
  if (missing.length > 0 && !options.has('--partial')) return 1

  const startMs = performance.now()
  const present = Object.entries(entries).filter(([, file]) => !missing.includes(file))
  if (!(await bundle(present))) return 1
  if (!options.has('--no-types') && !missing.includes(entries.index) && !declare()) return 1
  console.log(`build: ${path.relative(root, dist)}/ in ${((performance.now() - startMs) / 1000).toFixed(1)} s`)
  return 0
}

/** Replaces dist/ by fresh bundles; leaves it as it is when the code is at fault. @returns whether all was well */
async function bundle(present) {
  const inOne = present.filter(([name]) => whole.includes(name))
  const inChunks = present.filter(([name]) => !whole.includes(name))
  const results = await Promise.all([makeBundles(inChunks, true), makeBundles(inOne, false)])
  const errors = results.flatMap((result) => result.errors)
  if (errors.length > 0) {
    console.error(`build: ${errors.length} errors, dist/ is left as it is`)
    return false
  }
  rmSync(dist, { recursive: true, force: true })
  for (const file of results.flatMap((result) => result.outputFiles)) {
    mkdirSync(path.dirname(file.path), { recursive: true })
    writeFileSync(file.path, file.contents)
  }
  for (const [name] of present) {
    if (!commands.includes(name)) continue
    const file = path.join(dist, `${name}.js`)
    const code = readFileSync(file, 'utf8')
    if (!code.startsWith('#!')) writeFileSync(file, `#!/usr/bin/env node\n${code}`)
    chmodSync(file, 0o755)
  }
  return true
}

/** @returns what to write, and what was wrong with the code (esbuild has printed it) */
async function makeBundles(entryPoints, splitting) {
  const { build } = await import('esbuild')
  return build({
    absWorkingDir: root,
    entryPoints: Object.fromEntries(entryPoints),
    outdir: dist,
    bundle: true,
    splitting,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    sourcemap: 'linked',
    sourcesContent: false,
    chunkNames: 'chunks/[name]-[hash]',
    // Less to parse at start; names stay, so that a stack trace can be read.
    minifyWhitespace: true,
    minifySyntax: true,
    external: ['@node-rs/crc32', 'msgpackr-extract'],
    // Bundled CommonJS packages expect `require`, `__filename` and `__dirname` of their surroundings; the last two under
    // names of our own, because a bundled module of the other kind may declare them itself (yargs does).
    banner: {
      js: [
        "import { createRequire as __createRequire } from 'node:module'",
        "import { fileURLToPath as __fileURLToPath } from 'node:url'",
        'const require = __createRequire(import.meta.url)',
        'const __bundleFilename = __fileURLToPath(import.meta.url)',
        "const __bundleDirname = __fileURLToPath(new URL('.', import.meta.url))",
      ].join(';'),
    },
    // The native decoder of msgpackr was measured to bring nothing; without it no binary is looked for at start.
    define: {
      'process.env.MSGPACKR_NATIVE_ACCELERATION_DISABLED': '"true"',
      __filename: '__bundleFilename',
      __dirname: '__bundleDirname',
    },
    logLevel: 'warning',
    write: false,
  }).catch((error) => {
    if (!Array.isArray(error.errors)) throw error
    return { outputFiles: [], errors: error.errors }
  })
}

/** Writes the declarations of the main export to dist/types. @returns whether the compiler was content */
function declare() {
  const config = path.join(dist, 'tsconfig.json')
  writeFileSync(
    config,
    JSON.stringify({
      extends: '../tsconfig.json',
      compilerOptions: {
        noEmit: false,
        declaration: true,
        emitDeclarationOnly: true,
        rootDir: '../src',
        outDir: 'types',
        typeRoots: ['../node_modules/@types'],
      },
      files: [path.join('..', entries.index)],
      include: [],
    }),
  )
  const compiler = path.join(path.dirname(require.resolve('typescript/package.json')), 'bin', 'tsc')
  const { status } = spawnSync(process.execPath, [compiler, '-p', config], { stdio: 'inherit', cwd: root })
  rmSync(config)
  if (status !== 0) {
    console.error(`build: tsc ended with code ${status}, the declarations of ${entries.index} are not complete`)
    return false
  }
  // The compiler leaves `.ts` in the imports of declarations; a user's compiler looks for `.js`.
  const types = path.join(dist, 'types')
  for (const name of readdirSync(types, { recursive: true })) {
    if (!name.endsWith('.d.ts')) continue
    const file = path.join(types, name)
    const text = readFileSync(file, 'utf8')
    writeFileSync(file, text.replace(/((?:from|import)\s*\(?\s*['"]\.{1,2}\/[^'"]*)\.ts(['"])/g, '$1.js$2'))
  }
  return true
}
