import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type ChunkHandle, chunkHandle, type DirectoryId } from '../../../src/base/ids.ts'
import { Random } from '../../../src/base/random.ts'
import { Locations, type ReplicaState, replicaStates, type Said } from '../../../src/master/cluster/locations.ts'
import { addMark, replicaConditions, replicaMark } from '../../../src/wire/replica-sum.ts'

// Goal: the packed cells answer like a plain map of maps, whatever is set, changed and dropped.
test('locations answer like a plain table, over 20,000 random changes', () => {
  const random = new Random(5)
  const locations = new Locations()
  const plain = new Map<ChunkHandle, Map<DirectoryId, ReplicaState>>()
  const saidOf = new Map<string, { handle: ChunkHandle; directory: DirectoryId; said: Said }>()
  const words = ['promised', ...replicaConditions] as const
  const handles = Array.from({ length: 300 }, () => chunkHandle(random.below(3), 1 + random.below(5000)))
  const directories = Array.from({ length: 9 }, () => (1 + random.below(2 ** 48 - 1)) as DirectoryId)
  for (let i = 0; i < 20_000; i++) {
    const handle = random.pick(handles)
    const directory = random.pick(directories)
    const kind = random.below(10)
    if (kind < 6) {
      const state = random.pick(replicaStates)
      const said = random.pick(words)
      locations.set(handle, directory, state, said)
      saidOf.set(`${handle} ${directory}`, { handle, directory, said })
      const row = plain.get(handle) ?? new Map<DirectoryId, ReplicaState>()
      plain.set(handle, row.set(directory, state))
    } else if (kind < 9) {
      locations.delete(handle, directory)
      plain.get(handle)?.delete(directory)
      saidOf.delete(`${handle} ${directory}`)
    } else {
      locations.unlist(handle)
      plain.delete(handle)
      for (const at of directories)
        if (saidOf.get(`${handle} ${at}`)?.said === 'promised') saidOf.delete(`${handle} ${at}`)
    }
    if (i % 50 !== 0) continue
    for (const checked of handles) {
      const want = [...(plain.get(checked) ?? [])].sort(([a], [b]) => a - b)
      const got = locations.of(checked).map(({ directory: at, state }) => [at, state] as const)
      assert.equal(
        [...got].sort(([a], [b]) => a - b),
        want,
      )
    }
  }
  for (const directory of directories) {
    const rows = [...saidOf.values()].filter((row) => row.directory === directory)
    const want = rows.map(({ handle }) => handle)
    const sum = rows.reduce(
      (total, { handle, said }) => (said === 'promised' ? total : addMark(total, replicaMark(handle, directory, said))),
      0,
    )
    assert.is(locations.sumOf(directory), sum, 'the sum covers what was said, of whatever chunk')
    const odd = rows.filter(({ handle, said }) => said === 'promised' || !plain.get(handle)?.has(directory))
    assert.is(locations.oddIn(directory), odd.length)
    assert.equal(
      [...locations.handlesOf(directory)].sort((a, b) => a - b),
      want.sort((a, b) => a - b),
      'in the table or not',
    )
  }
})

test.run()
