// deadline: 120 s
//
// `dfs append --record` by several processes on one file while chunkservers are killed, and `dfs tail -f` beside them.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Cluster, killAll } from './harness.ts'

const WRITERS = 4
const LINES = 30_000

let cluster: Cluster

test.before(async () => {
  cluster = await Cluster.start({ chunkservers: 4, master: ['--dead-after-ms', '2000'] })
})

test.after(async () => {
  await cluster.stop()
  await killAll()
})

function lineOf(writer: number, number: number): string {
  return `${writer}:${number}:${'x'.repeat(number % 90)}\n`
}

/** Each line of each writer once, in the order of its writer. */
function check(text: string): void {
  const next = new Array<number>(WRITERS).fill(0)
  for (const line of text.split('\n').slice(0, -1)) {
    const writer = Number(line.slice(0, line.indexOf(':')))
    assert.is(`${line}\n`, lineOf(writer, next[writer]!), `the next line of writer ${writer}`)
    next[writer]!++
  }
  assert.equal(next, new Array(WRITERS).fill(LINES))
}

test('lines of several writers are there once and in order, whoever is killed, and tail -f shows them as they come', async () => {
  await cluster.dfs('touch', '/log')
  const end = new AbortController()
  const following = cluster.run(['tail', '-c', '1GiB', '-f', '/log'], { interrupt: end.signal })
  const writing = Promise.all(
    Array.from({ length: WRITERS }, (_, writer) => {
      const input = Array.from({ length: LINES }, (_, number) => lineOf(writer, number)).join('')
      return cluster.run(['append', '--record', '/log'], { input })
    }),
  )
  for (const index of [0, 1, 2]) {
    await new Promise((resolve) => setTimeout(resolve, 700))
    await cluster.chunkservers[index]!.kill()
    await cluster.startChunkserver(index)
  }
  for (const { code, err } of await writing) assert.is(code, 0, err)
  const text = await cluster.dfs('cat', '/log')
  check(text)
  // It asks every half a second; what it printed is complete a little later.
  await new Promise((resolve) => setTimeout(resolve, 3000))
  end.abort()
  const followed = await following
  assert.is(followed.out.length, text.length, followed.err)
  assert.ok(followed.out === text, 'what was followed is what is there')
})

test('--record-size cuts a stream into records, and a further append goes behind what is there', async () => {
  await cluster.run(['append', '--record', '--record-size', '3', '/cut'], { input: 'abcdefgh' })
  await cluster.run(['append', '/cut'], { input: '!' })
  await cluster.run(['append', '--record', '/cut'], { input: 'x\ny' })
  assert.is(await cluster.dfs('cat', '/cut'), 'abcdefgh!x\ny')
  assert.is((await cluster.json<{ size: number }>('stat', '/cut')).size, 12)
  await cluster.dfs('truncate', '9', '/cut')
  assert.is(await cluster.dfs('cat', '/cut'), 'abcdefgh!')
  assert.is((await cluster.run(['append', '--record-size', '0', '/cut'], { input: 'a' })).code, 2)
})

test.run()
