// Goals of chunks that several files share: what the log changes, and what the scan finds.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ChunkHandle } from '../../src/base/ids.ts'
import { Random } from '../../src/base/random.ts'
import { GoalScan } from '../../src/master/goal-scan.ts'
import { checkInvariants } from '../../src/master/metadata/invariants.ts'
import type { GoalChange } from '../../src/master/operations.ts'
import { simSeeds } from '../sim/options.ts'
import { extent, Harness, INODE } from './metadata/harness.ts'

function setGoal(harness: Harness, path: string, goal: number): void {
  harness.clientOk({ kind: 'setAttributes', path, goal })
}

/** What a scan in steps of `rows` finds; `between` runs after each step. */
function scan(
  { state }: Harness,
  rows = 1000,
  between: () => void = () => {},
  asked: ReadonlySet<ChunkHandle> = new Set(),
): readonly GoalChange[] {
  const files = new GoalScan(state, asked)
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

test('a record changes only goals that are still what was seen, and lowers none of a chunk that a writer holds', () => {
  const { harness, handle } = shared()
  const open = harness.packing()
  const held = harness.open().handle
  const gone = (handle + 1000) as ChunkHandle
  const goals = [handle, open, held, gone].map((each) => ({ handle: each, from: 3, to: 2 }))
  setGoal(harness, '/a', 5)
  assert.equal(harness.ok({ kind: 'setChunkGoals', goals }), [1])
  assert.equal(
    [handle, open, held].map((each) => goalOf(harness, each)),
    [5, 2, 3],
  )
  assert.equal(harness.ok({ kind: 'setChunkGoals', goals: [{ handle: held, from: 3, to: 4 }] }), [1], 'more is safe')
  assert.is(goalOf(harness, held), 4)
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

test('an open chunk has the goal of its files too, and one that is held by its writer is left for later', () => {
  const harness = new Harness()
  const handle = harness.packing()
  harness.put('/a', [extent(handle, 0, 10)])
  harness.put('/b', [extent(handle, 10, 10)])
  setGoal(harness, '/a', 5)
  setGoal(harness, '/a', 2)
  assert.equal(scan(harness), [{ handle, from: 5, to: 3 }])
  const own = harness.open()
  const publish = { path: '/own', overwrite: false }
  const extents = [extent(own.handle, 0, 10)]
  const commit = { kind: 'commitFile', inode: own.inode, extents, seals: [], close: false, mtimeMs: 0 } as const
  harness.clientOk({ ...commit, publish })
  harness.clientOk({ kind: 'copy', from: '/own', to: '/twin', recursive: false, overwrite: false })
  setGoal(harness, '/own', 1)
  setGoal(harness, '/twin', 1)
  const files = new GoalScan(harness.state, new Set([own.handle]))
  while (files.step(1000));
  assert.equal(files.unsettled, [own.handle], 'bytes that are not named yet may want three')
  assert.equal(files.found, [{ handle, from: 5, to: 3 }])
})

test('files that come to an open chunk while the scan goes on are met, when somebody has asked about it', () => {
  const harness = new Harness()
  const handle = harness.packing()
  for (let at = 0; at < 10; at++) harness.put(`/f${at}`, [extent(handle, at, 1)])
  setGoal(harness, '/f0', 5)
  setGoal(harness, '/f0', 2)
  let files = 10
  const come = () => void harness.put(`/f${files}`, [extent(handle, files++, 1)])
  assert.equal(scan(harness, 5, come), [], 'one comes between the last file and the chunks, always')
  assert.equal(scan(harness, 5, come, new Set([handle])), [{ handle, from: 5, to: 3 }])
})

test('a file that wants more than its chunk has, or is about to get, is noted as it comes', () => {
  const harness = new Harness()
  const { state } = harness
  const handle = harness.packing()
  const put = (path: string, goal: number) => {
    state.changes.clear()
    const publish = { path, overwrite: false }
    const extents = [extent(handle, 0, 10)]
    harness.clientOk({ kind: 'putFile', publish, inode: { ...INODE, goal }, extents, mtimeMs: 0 })
    return [...state.changes.goalUnsure]
  }
  assert.equal(put('/a', 3), [])
  assert.equal(put('/b', 4), [handle], 'it has three')
  setGoal(harness, '/b', 5)
  setGoal(harness, '/b', 2)
  assert.equal(put('/c', 4), [], 'it has five still')
  harness.clientOk({ kind: 'remove', path: '/c', what: 'file', now: true })
  harness.collect()
  const files = new GoalScan(state, new Set([handle]))
  state.changes.comingGoals = files.goals
  while (files.step(1000));
  assert.equal(files.found, [{ handle, from: 5, to: 3 }])
  assert.equal(put('/d', 3), [], 'three is what it gets')
  assert.equal(put('/e', 4), [handle], 'it is about to be lowered to three')
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
