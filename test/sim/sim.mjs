// `npm run sim`: the swarm's command (swarm/main.ts) from one bundle. A loader that gives every closure its name costs
// a tenth of a day's simulation.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))
const parent = path.join(root, '.cache')
mkdirSync(parent, { recursive: true })
// Below the checkout, so that the packages are found.
const directory = mkdtempSync(path.join(parent, 'sim-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(130))

const outfile = path.join(directory, 'sim.mjs')
await build({
  entryPoints: [path.join(root, 'test/sim/swarm/main.ts')],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'esm',
  packages: 'external',
  sourcemap: 'inline',
  logLevel: 'warning',
})
process.setSourceMapsEnabled(true)
await import(pathToFileURL(outfile).href)
