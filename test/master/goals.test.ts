// Goals of chunks that several files share: what the log changes, and what the scan finds.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ChunkHandle } from '../../src/base/ids.ts'
import { Random } from '../../src/base/random.ts'
import { GoalScan } from '../../src/master/goal-scan.ts'
import { checkInvariants } from '../../src/master/metadata/invariants.ts'
import type { GoalChange } from '../../src/master/operations.ts'
import { simSeeds } from '../sim/options.ts'
import { extent, Harness } from './metadata/harness.ts'

function setGoal(harness: Harness, path: string, goal: number): void {
  harness.clientOk({ kind: 'setAttributes', path, goal })
}

/** What a scan in steps of `rows` finds; `between` runs after each step. */
function scan({ state }: Harness, rows = 1000, between: () => void = () => {}): readonly GoalChange[] {
  const files = new GoalScan(state)
  while (files.step(rows)) between()
  return files.found
}

function goalOf({ state }: Harness, handle: ChunkHandle): number {
  return state.chunk(handle)!.goal
}

/** A sealed shared chunk that /a and /b name. */
function shared(): { harness: Harness; handle: ChunkHandle } {
  const harness = new Harness()
  const handle = harness.packing()
  harness.put('/a', [extent(handle, 0, 10)])
  harness.put('/b', [extent(handle, 10, 10)])
  harness.seal(handle, 20)
  return { harness, handle }
}

test('a file that wants less does not lower the goal of a chunk that others name, and says that it is unsure', () => {
  const { harness, handle } = shared()
  setGoal(harness, '/a', 5)
  assert.is(goalOf(harness, handle), 5)
  harness.state.changes.clear()
  setGoal(harness, '/a', 3)
  assert.is(goalOf(harness, handle), 5)
  assert.equal(harness.state.changes.goalChanged, [])
  assert.equal(harness.state.changes.goalUnsure, [handle])
})

test('the scan finds the highest goal of the files, the log takes it, and a second scan finds nothing', () => {
  const { harness, handle } = shared()
  setGoal(harness, '/a', 5)
  setGoal(harness, '/a', 2)
  const goals = scan(harness)
  assert.equal(goals, [{ handle, from: 5, to: 3 }], "/b has the cluster's default")
  harness.state.changes.clear()
  assert.equal(harness.ok({ kind: 'setChunkGoals', goals }), [1])
  assert.is(goalOf(harness, handle), 3)
  assert.equal(harness.state.changes.goalChanged, [handle])
  assert.equal(scan(harness), [])
  checkInvariants(harness.state)
})

test('a snapshot with a higher goal keeps the chunk where it is, also in the trash, until it is gone for good', () => {
  const { harness, handle } = shared()
  setGoal(harness, '/a', 5)
  harness.clientOk({ kind: 'copy', from: '/a', to: '/snapshot', recursive: false, overwrite: false })
  setGoal(harness, '/a', 3)
  assert.equal(scan(harness), [])
  harness.clientOk({ kind: 'remove', path: '/snapshot', what: 'file', now: false })
  assert.equal(scan(harness), [], 'it can be restored')
  harness.collect()
  assert.equal(scan(harness), [{ handle, from: 5, to: 3 }])
})

test('a chunk that came to a file with a higher goal by concat is raised', () => {
  const harness = new Harness()
  const [high, low] = [harness.packing(), harness.packing()]
  harness.put('/high', [extent(high, 0, 10)])
  harness.put('/low', [extent(low, 0, 10)])
  harness.seal(high, 10)
  harness.seal(low, 10)
  setGoal(harness, '/high', 4)
  harness.clientOk({ kind: 'concatFiles', path: '/high', sources: ['/low'] })
  assert.equal(scan(harness), [{ handle: low, from: 3, to: 4 }])
})

test('a record changes only goals that are still what was seen, of sealed chunks that no writer holds', () => {
  const { harness, handle } = shared()
  const open = harness.packing()
  const held = harness.open().handle
  const gone = (handle + 1000) as ChunkHandle
  const goals = [handle, open, held, gone].map((each) => ({ handle: each, from: 3, to: 2 }))
  setGoal(harness, '/a', 5)
  assert.equal(harness.ok({ kind: 'setChunkGoals', goals }), [0])
  assert.is(goalOf(harness, handle), 5)
  assert.is(goalOf(harness, open), 3)
  const bad = harness.apply({ kind: 'setChunkGoals', goals: [{ handle, from: 5, to: 0 }] })
  assert.ok(!bad.ok && bad.code === 'INVALID_ARGUMENT')
  const many = Array.from({ length: 10_001 }, () => ({ handle, from: 5, to: 3 }))
  const long = harness.apply({ kind: 'setChunkGoals', goals: many })
  assert.ok(!long.ok && long.code === 'LIMIT_EXCEEDED')
})

test('what changes while the scan goes on is left alone: a reference that was not met may want more', () => {
  const { harness, handle } = shared()
  setGoal(harness, '/a', 5)
  setGoal(harness, '/a', 3)
  let steps = 0
  const found = scan(harness, 1, () => {
    // /c takes part of the chunk when its place in the order of inodes has been passed: it is /a's successor by name only.
    if (++steps === 4) harness.clientOk({ kind: 'copy', from: '/a', to: '/c', recursive: false, overwrite: false })
    if (steps === 5) harness.clientOk({ kind: 'remove', path: '/b', what: 'file', now: true })
  })
  for (const { to } of found) assert.ok(to >= 3)
  assert.equal(scan(harness), [{ handle, from: 5, to: 3 }], 'a later scan sees it settled')
})

const SEEDS = simSeeds(30)
test(`after any history, one scan gives every sealed chunk the highest goal of its files (${SEEDS.length} seeds)`, () => {
  for (const seed of SEEDS) {
    const random = new Random(seed)
    const harness = new Harness()
    const chunks = Array.from({ length: 6 }, () => harness.packing())
    const paths = Array.from({ length: 30 }, (_, at) => `/f${at}`)
    for (const path of paths) {
      const extents = Array.from({ length: 1 + random.below(4) }, () =>
        extent(chunks[random.below(chunks.length)]!, random.below(100), 1 + random.below(50)),
      )
      harness.put(path, extents)
    }
    for (const handle of chunks) harness.seal(handle, 200)
    for (let step = 0; step < 60; step++) {
      const path = paths[random.below(paths.length)]!
      const other = paths[random.below(paths.length)]!
      const kind = random.below(4)
      if (kind === 0) harness.client({ kind: 'remove', path, what: 'file', now: random.chance(0.5) })
      else if (kind === 1) harness.client({ kind: 'copy', from: path, to: other, recursive: false, overwrite: true })
      else if (kind === 2) harness.client({ kind: 'concatFiles', path, sources: [other] })
      else harness.client({ kind: 'setAttributes', path, goal: random.below(9) })
    }
    const goals = scan(harness, 1 + random.below(7))
    harness.ok({ kind: 'setChunkGoals', goals })
    checkInvariants(harness.state)
    const { inodes, profiles, goal } = harness.state
    const wanted = new Map<number, number>()
    for (let inode = inodes.index.next(-1); inode >= 0; inode = inodes.index.next(inode)) {
      const row = inodes.row(inode as never)
      if (inodes.isDirectory(row)) continue
      const own = profiles.get(inodes.profile(row)).goal || goal
      for (let at = 0; at < inodes.extentCount(row); at++) {
        const { handle } = inodes.extent(row, at)
        wanted.set(handle, Math.max(wanted.get(handle) ?? 0, own))
      }
    }
    for (const [handle, most] of wanted) assert.is(goalOf(harness, handle as ChunkHandle), most, `seed ${seed}`)
  }
})

test.run()
