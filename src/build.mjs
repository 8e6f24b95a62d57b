#!/usr/bin/env node
// The build: bundles the entries into dist/, so that a command starts fast and nothing needs a loader.
//
//   node src/build.mjs               everything
//   node src/build.mjs --no-types    without the declarations of the main export (a second or two less)
//   node src/build.mjs --out DIR     into another directory than dist/ (tests of real processes)
//   node src/build.mjs --partial     although an entry is missing: without it that is an error
//   node src/build.mjs --prepare     as npm's `prepare`: does nothing where the tools are not installed
//
// What is shared, and what is imported late (`await import()`), becomes chunks of its own. Packages are bundled too,
// except what a bundle can't hold: native code (@node-rs/crc32, found at run time, optional).

import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
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
const commands = ['dfs', 'dfsd', 'demo']

process.exitCode = await main(new Set(process.argv.slice(2)))

async function main(options) {
  if (options.has('--prepare') && !isInstalled('esbuild')) {
    console.log('build: esbuild is not installed (production install?), dist/ is left as it is')
    return 0
  }
  const missing = Object.values(entries).filter((file) => !existsSync(path.join(root, file)))
  for (const file of missing) console.error(`build: the entry ${file} does not exist`)
  if (missing.length > 0 && !options.has('--partial')) return 1

  const startMs = performance.now()
  rmSync(dist, { recursive: true, force: true })
  await bundle(Object.entries(entries).filter(([, file]) => !missing.includes(file)))
  if (!options.has('--no-types') && !missing.includes(entries.index) && !declare()) return 1
  console.log(`build: ${path.relative(root, dist)}/ in ${((performance.now() - startMs) / 1000).toFixed(1)} s`)
  return 0
}

async function bundle(present) {
  if (present.length === 0) return
  const { build } = await import('esbuild')
  await build({
    absWorkingDir: root,
    entryPoints: Object.fromEntries(present),
    outdir: dist,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    sourcemap: 'linked',
    sourcesContent: false,
    chunkNames: 'chunks/[name]-[hash]',
    // Only names and white space of the code itself matter for start-up; stack traces stay readable.
    minifyWhitespace: true,
    minifySyntax: true,
    keepNames: true,
    external: ['@node-rs/crc32', 'msgpackr-extract'],
    // Bundled CommonJS packages expect these names of their surroundings.
    banner: {
      js: [
        "import { createRequire as __createRequire } from 'node:module'",
        "import { fileURLToPath as __fileURLToPath } from 'node:url'",
        'const require = __createRequire(import.meta.url)',
        'const __filename = __fileURLToPath(import.meta.url)',
        "const __dirname = __fileURLToPath(new URL('.', import.meta.url))",
      ].join(';'),
    },
    // The native decoder of msgpackr was measured to bring nothing; without it no binary is looked for at start.
    define: { 'process.env.MSGPACKR_NATIVE_ACCELERATION_DISABLED': '"true"' },
    logLevel: 'warning',
  })
  for (const [name] of present) {
    if (!commands.includes(name)) continue
    const file = path.join(dist, `${name}.js`)
    const code = readFileSync(file, 'utf8')
    if (!code.startsWith('#!')) writeFileSync(file, `#!/usr/bin/env node\n${code}`)
    chmodSync(file, 0o755)
  }
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

function isInstalled(name) {
  try {
    require.resolve(name)
    return true
  } catch {
    return false // not found is the answer
  }
}
