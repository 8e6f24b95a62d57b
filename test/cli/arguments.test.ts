// How a command line is read before anything is run: verbs, spellings, options from flags, environment and file.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { spellOut, splitArguments } from '../../src/cli/arguments.ts'
import { UsageError } from '../../src/cli/failure.ts'
import { nearest } from '../../src/cli/nearest.ts'
import { environmentName, type Options, resolveOptions } from '../../src/cli/options.ts'
import { parseArguments } from '../../src/cli/parser.ts'

const names = ['ls', 'put', 'get', 'mkdir', 'checksum', 'trash ls', 'trash restore', 'find']
const globals = {
  master: { kind: 'list', describe: 'masters' },
  json: { kind: 'flag', describe: 'json' },
} as const satisfies Options

const split = (...args: string[]) => splitArguments(args, names, globals, 'dfs')

test('the verb is the first word, wherever options stand', () => {
  assert.equal(split('ls', '/a'), { verb: 'ls', rest: ['/a'] })
  assert.equal(split('--json', 'ls', '/a'), { verb: 'ls', rest: ['--json', '/a'] })
  assert.equal(split('--master', 'get:1', 'ls'), { verb: 'ls', rest: ['--master', 'get:1'] })
  assert.equal(split('--master=get:1', 'ls'), { verb: 'ls', rest: ['--master=get:1'] })
  assert.equal(split('--json'), { verb: undefined, rest: ['--json'] })
})

test('the spelling of HDFS means the same verb', () => {
  assert.equal(split('-ls', '-R', '/a'), { verb: 'ls', rest: ['-R', '/a'] })
  assert.equal(split('-mkdir', '-p', '/a'), { verb: 'mkdir', rest: ['-p', '/a'] })
})

test('a verb of a group is two words', () => {
  assert.equal(split('trash', 'restore', '/ls'), { verb: 'trash restore', rest: ['/ls'] })
  assert.equal(split('trash', '--json', 'ls'), { verb: 'trash ls', rest: ['--json'] })
  assert.throws(() => split('trash'), /wants one of: ls, restore/)
  assert.equal(split('trash', '--help'), { verb: undefined, group: 'trash', rest: ['trash', '--help'] })
  assert.equal(split('trash', 'ls', '--help'), { verb: 'trash ls', rest: ['--help'] })
  assert.throws(() => split('trash', 'restor'), /did you mean `dfs trash restore`/)
})

test('an unknown verb names the nearest one', () => {
  for (const [typed, meant] of [
    ['lss', 'ls'],
    ['mkdri', 'mkdir'],
    ['chekcsum', 'checksum'],
    ['trahs', 'trash'],
    ['-putt', 'put'],
  ] as const) {
    assert.throws(
      () => split(typed),
      (error: unknown) => error instanceof UsageError && error.message.includes(`dfs ${meant}\``),
    )
  }
  assert.throws(() => split('xyzzyplugh'), /--help/)
  assert.is(nearest('xyzzyplugh', names), undefined)
})

test('options of several letters may have one dash, and values that start with one', () => {
  const dashed = ['name', 'type', 'size']
  assert.equal(spellOut(['/a', '-name', '*.gz', '-size', '-10'], dashed), ['/a', '--name=*.gz', '--size=-10'])
  assert.equal(spellOut(['--size', '+5', '--', '-name', 'x'], dashed), ['--size=+5', '--', '-name', 'x'])
})

const options = {
  force: { kind: 'flag', alias: 'f', describe: 'force' },
  parallel: { kind: 'number', alias: 't', min: 1, max: 8, describe: 'at once' },
  size: { kind: 'size', default: '1KiB', describe: 'size' },
  'dead-after': { kind: 'duration', describe: 'time' },
  master: { kind: 'list', default: '127.0.0.1:7400', describe: 'masters' },
  type: { kind: 'text', choices: ['f', 'd'], describe: 'type' },
} as const satisfies Options

test('words keep a lone dash, numbers stay text, and -- ends the options', async () => {
  const { words, flags } = parseArguments(['-f', '-', '007', '/x', '-t3', '--', '-f'], options)
  assert.equal(words, ['-', '007', '/x', '-f'])
  assert.equal(flags, { force: true, parallel: '3' })
})

test('a flag may be called --no-something', () => {
  const declared = { 'no-direct-reads': { kind: 'flag', describe: 'by the network' } } as const satisfies Options
  assert.equal(parseArguments(['--no-direct-reads', '/x'], declared).flags, { 'no-direct-reads': true })
  try {
    parseArguments(['--no-force'], options)
    assert.unreachable('it is not declared')
  } catch (error) {
    assert.instance(error, UsageError)
  }
})

test('an option that is not declared, or without its value, is wrong usage', async () => {
  for (const args of [['--nope'], ['-q'], ['--parallel']]) {
    try {
      parseArguments(args, options)
      assert.unreachable(args.join(' '))
    } catch (error) {
      assert.instance(error, UsageError)
    }
  }
})

test('a flag beats the environment, which beats the file, which beats the default', () => {
  const prefix = 'DFS'
  const file = { size: '4KiB', deadAfter: '3s', master: ['a:1', 'b:2'] }
  const environment = { DFS_SIZE: '3KiB', DFS_DEAD_AFTER: '2s', DFS_PORT: 'tcp://10.0.0.1' }
  const all = resolveOptions(options, { flags: { size: '2KiB' }, environment, file, prefix })
  assert.is(all.size, 2048)
  assert.is(all['dead-after'], 2000)
  assert.equal(all.master, ['a:1', 'b:2'])
  assert.is(all.force, false)
  assert.is(all.parallel, undefined)
  const fromFile = resolveOptions(options, { flags: {}, environment: {}, file, prefix })
  assert.is(fromFile.size, 4096)
  assert.is(fromFile['dead-after'], 3000)
  assert.is(resolveOptions(options, { flags: {}, environment: {}, file: {}, prefix }).size, 1024)
  assert.is(environmentName('DFSD', 'dead-after-ms'), 'DFSD_DEAD_AFTER_MS')
})

test('whatever the source, a value out of its range is refused by name', () => {
  const from = (flags: object, environment: Record<string, string>) =>
    resolveOptions(options, { flags: { ...flags }, environment, file: {}, prefix: 'DFS' })
  assert.throws(() => from({ parallel: '9' }, {}), /--parallel is 9: a whole number of 1 to 8/)
  assert.throws(() => from({}, { DFS_PARALLEL: '1.5' }), /DFS_PARALLEL is 1.5/)
  assert.throws(() => from({ size: '12 parsecs' }, {}), /--size is 12 parsecs/)
  assert.throws(() => from({}, { DFS_DEAD_AFTER: 'soon' }), /DFS_DEAD_AFTER is soon/)
  assert.throws(() => from({ type: 'x' }, {}), /choose one of f, d/)
  assert.throws(() => from({}, { DFS_FORCE: 'maybe' }), /say true or false/)
  assert.is(from({ parallel: ['2', '3'] }, {}).parallel, 3)
  assert.equal(from({ master: ['a:1,b:2', 'c:3'] }, {}).master, ['a:1', 'b:2', 'c:3'])
})

test('an option that changes the cluster for good counts only where it is typed', () => {
  const options = { rate: { kind: 'size', flagOnly: true, describe: 'bytes a second' } } as const satisfies Options
  const sources = { environment: { DFS_RATE: '1MiB' }, file: { rate: '2MiB' }, prefix: 'DFS' }
  assert.is(resolveOptions(options, { ...sources, flags: {} }).rate, undefined)
  assert.is(resolveOptions(options, { ...sources, flags: { rate: '3MiB' } }).rate, 3 * 2 ** 20)
})

test('a required option that nobody gives is named with its environment twin', () => {
  const wanted = { data: { kind: 'text', required: true, describe: 'data directory' } } as const satisfies Options
  const sources = { flags: {}, environment: {}, file: {}, prefix: 'DFSD' }
  assert.throws(() => resolveOptions(wanted, sources), /--data is missing \(or set DFSD_DATA\)/)
})

test.run()
