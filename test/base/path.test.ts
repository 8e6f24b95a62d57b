import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { directoryPart, joinPath, nameFault, namePart, pathFault, splitPath } from '../../src/base/path.ts'

const longest = `/${'n'.repeat(255)}`

const valid = [
  '/',
  '/a',
  '/a/b/c',
  '/...',
  '/.a',
  '/a.',
  '/..a',
  '/é/ж/漢',
  '/😀',
  '/a b',
  '/\u{fffd}',
  longest,
  longest.repeat(16),
  '/a'.repeat(1000),
]
for (const path of valid) {
  test(`${JSON.stringify(path.slice(0, 20))} (${path.length} units) is a path`, () => {
    assert.is(pathFault(path), undefined)
  })
}

const invalid: [path: string, fault: RegExp][] = [
  ['', /is empty/],
  ['a', /begin with/],
  ['a/b', /begin with/],
  ['/a/', /ends with a slash/],
  ['//', /name is empty/],
  ['/a//b', /name is empty/],
  ['/.', /"\."/],
  ['/a/./b', /"\."/],
  ['/..', /"\.\."/],
  ['/a/..', /"\.\."/],
  ['/a/../b', /"\.\."/],
  ['/a\0b', /NUL/],
  ['/\ud800', /surrogate/],
  ['/\udc00', /surrogate/],
  ['/a\ud800b', /surrogate/],
  ['/\ud800/\udc00', /surrogate/],
  [`/${'n'.repeat(256)}`, /256 bytes/],
  [`/${'é'.repeat(128)}`, /256 bytes/],
  [`/${'😀'.repeat(64)}`, /256 bytes/],
  [`${longest.repeat(16)}/a`, /4098 bytes/],
  ['/a'.repeat(1001), /1001 names/],
]
for (const [path, fault] of invalid) {
  test(`${JSON.stringify(path.slice(0, 20))} (${path.length} units) is refused, naming the rule`, () => {
    assert.match(pathFault(path) ?? 'valid', fault)
    try {
      splitPath(path)
      assert.unreachable()
    } catch (error) {
      assert.ok(isDfsError(error, 'INVALID_PATH'))
    }
  })
}

test('a path comes apart and together again', () => {
  assert.equal(splitPath('/'), [])
  assert.equal(splitPath('/a/b'), ['a', 'b'])
  assert.is(directoryPart('/a'), '/')
  assert.is(directoryPart('/a/b'), '/a')
  assert.is(namePart('/a/b'), 'b')
  assert.is(joinPath('/', 'a'), '/a')
  assert.is(joinPath('/a', 'b'), '/a/b')
  assert.is(nameFault('a'), undefined)
  assert.match(nameFault('a/b') ?? '', /slash/)
  assert.match(nameFault('') ?? '', /empty|slash/)
})

test.run()
