import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { globExpression, sizeFilter } from '../../src/cli/verbs/filters.ts'
import { baseName, formatMode, formatRow, join, trimSlashes } from '../../src/cli/verbs/rows.ts'

test('a pattern matches whole names as a shell does', () => {
  for (const [glob, name, expected] of [
    ['*.gz', 'a.gz', true],
    ['*.gz', 'a.gz.part', false],
    ['part-?', 'part-1', true],
    ['part-?', 'part-10', false],
    ['[a-c]x', 'bx', true],
    ['[!a-c]x', 'bx', false],
    ['[^a-c]x', 'dx', true],
    ['a.b', 'axb', false],
    ['a+(b)$', 'a+(b)$', true],
    ['\\*', '*', true],
    ['\\*', 'x', false],
    ['[', '[', true],
    ['ä?', 'äö', true],
    ['?', '😀', true],
    ['*', 'line\nbreak', true],
    ['a-b', 'a-b', true],
  ] as const) {
    assert.is(globExpression(glob).test(name), expected, `${glob} on ${name}`)
  }
})

test('a size is more than, less than, or exactly', () => {
  assert.ok(sizeFilter('+1KiB')(1025))
  assert.not(sizeFilter('+1KiB')(1024))
  assert.ok(sizeFilter('-10')(9))
  assert.not(sizeFilter('-10')(10))
  assert.ok(sizeFilter('10c')(10))
  assert.throws(() => sizeFilter('big'), /-size big/)
})

test('paths are joined, cut and named', () => {
  assert.is(join('/', 'a'), '/a')
  assert.is(join('/a', 'b'), '/a/b')
  assert.is(baseName('/a/b/'), 'b')
  assert.is(baseName('/'), '')
  assert.is(trimSlashes('/a//'), '/a')
  assert.is(trimSlashes('/'), '/')
})

test('a row for people reads like ls -l', () => {
  assert.is(formatMode(0o754), 'rwxr-xr--')
  const row = {
    path: '/a',
    type: 'file',
    size: 1536,
    replication: 3,
    mtimeMs: 0,
    mode: 0o640,
    owner: 'ada',
    group: 'lab',
  } as const
  assert.match(formatRow(row, true), /^-rw-r----- {2}3 ada {6}lab +1\.5 KiB \d{4}-\d\d-\d\d \d\d:\d\d \/a$/)
})

test.run()
