import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { DirectoryId } from '../../../src/base/ids.ts'
import { MINUTE_MS } from '../../../src/base/units.ts'
import { SlowDisks } from '../../../src/master/cluster/slow-disks.ts'

/** Servers of one disk each, numbered from 1; what each last said. */
function servers(...slowMs: readonly number[]) {
  return slowMs.map((ms, index) => ({ directories: [{ directory: (index + 1) as DirectoryId, slowMs: ms }] }))
}

function slowAt(disks: SlowDisks, nowMs: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1).filter((id) => disks.isSlow(id as DirectoryId, nowMs))
}

const cases: readonly { readonly said: readonly number[]; readonly slow: readonly number[]; readonly why: string }[] = [
  { said: [2000, 0, 0], slow: [1], why: 'one beside quick ones' },
  { said: [1000, 0, 0], slow: [], why: 'less than 1.5 s is nobody’s trouble' },
  { said: [2000, 2000, 2000], slow: [], why: 'all are slow: the cluster is busy' },
  { said: [2000, 1000, 1000], slow: [], why: 'twice the others is not much slower' },
  { said: [2000, 2000, 0, 0], slow: [1, 2], why: 'two beside two quick ones' },
  { said: [2000, 2000, 2000, 0], slow: [], why: 'most are slow' },
  { said: [2000], slow: [], why: 'alone there is nobody to be slower than' },
]

for (const { said, slow, why } of cases) {
  test(`${why}: ${said.join(', ')} ms names ${slow.length === 0 ? 'none' : slow.join(' and ')}`, () => {
    const disks = new SlowDisks()
    disks.judge(servers(...said), 0)
    assert.equal(slowAt(disks, 1, said.length), slow)
  })
}

test('a slow disk is shunned for a minute after its last slow operation, and for two when it is slow again', () => {
  const disks = new SlowDisks()
  disks.judge(servers(2000, 0), 0)
  disks.judge(servers(2000, 0), 5000)
  assert.equal(slowAt(disks, 5000 + MINUTE_MS - 1, 2), [1])
  assert.equal(slowAt(disks, 5000 + MINUTE_MS, 2), [])
  const againMs = 2 * MINUTE_MS
  disks.judge(servers(2000, 0), againMs)
  assert.equal(slowAt(disks, againMs + 2 * MINUTE_MS - 1, 2), [1])
  assert.equal(slowAt(disks, againMs + 2 * MINUTE_MS, 2), [])
})

test('what was long ago is forgotten: it is a minute again', () => {
  const disks = new SlowDisks()
  disks.judge(servers(2000, 0), 0)
  const againMs = 60 * MINUTE_MS
  disks.judge(servers(2000, 0), againMs)
  assert.equal(slowAt(disks, againMs + MINUTE_MS, 2), [])
})

test.run()
