// The map in src/README.md names every file, each with the first sentence that it says of itself.
//
// To write the list anew:  UPDATE_MAP=1 npx tsx test/map.test.ts

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const source = fileURLToPath(new URL('../src', import.meta.url))
const map = path.join(source, 'README.md')
const begin = '<!-- files -->\n'
const end = '<!-- /files -->'

test('the list of files in src/README.md is that of the sources', () => {
  const text = readFileSync(map, 'utf8')
  const from = text.indexOf(begin) + begin.length
  const to = text.indexOf(end)
  assert.ok(from >= begin.length && to >= from, 'the markers are there')
  const wanted = listing()
  if (process.env.UPDATE_MAP) writeFileSync(map, text.slice(0, from) + wanted + text.slice(to))
  // What a file says of itself may have been put better since; that it is there is what the map must know.
  else assert.equal(names(text.slice(from, to)), names(wanted), 'UPDATE_MAP=1 npx tsx test/map.test.ts writes it anew')
})

/** Folders and files, in order. */
function names(list: string): string[] {
  return [...list.matchAll(/^(?:### (.+)|\| `([^`]+)`)/gm)].map((match) => match[1] ?? match[2] ?? '')
}

function listing(): string {
  const files = readdirSync(source, { recursive: true })
    .map((name) => String(name).split(path.sep).join('/'))
    .filter((name) => /\.(ts|mjs)$/.test(name))
    .sort((a, b) => compare(path.posix.dirname(a), path.posix.dirname(b)) || compare(a, b))
  let folder = ''
  let text = ''
  for (const name of files) {
    const own = path.posix.dirname(name)
    if (own !== folder) {
      folder = own
      text += `\n### ${own === '.' ? 'src' : own}\n\n| | |\n|---|---|\n`
    }
    const said = opening(readFileSync(path.join(source, name), 'utf8'))
    assert.ok(said !== '', `${name} says nothing of itself`)
    text += `| \`${path.posix.basename(name)}\` | ${said.replaceAll('|', '\\|')} |\n`
  }
  return `${text}\n`
}

/** The first sentence of the comment that opens a file, or of the first docstring. */
function opening(code: string): string {
  const lines = code.split('\n').filter((line) => !line.startsWith('#!'))
  const comment: string[] = []
  for (const line of lines) {
    if (!line.startsWith('//')) break
    const words = line.slice(2).trim()
    if (words === '') break
    comment.push(words)
  }
  const docstring = /\/\*\*([\s\S]*?)\*\//.exec(code)?.[1]?.replace(/^\s*\* ?/gm, ' ')
  const text = (comment.length > 0 ? comment.join(' ') : (docstring ?? '')).replace(/\s+/g, ' ').trim()
  return /^.*?\.(?=\s|$)/.exec(text)?.[0] ?? text
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

test.run()
