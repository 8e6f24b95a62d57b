// Compaction planned: which chunks and files, and how their bytes are laid out.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ChunkHandle, InodeId } from '../../../src/base/ids.ts'
import { GATHER_SOURCES_MAX, ROWS_PER_RECORD_MAX } from '../../../src/base/limits.ts'
import { Random } from '../../../src/base/random.ts'
import { KiB, MiB } from '../../../src/base/units.ts'
import {
  isFragmented,
  isMostlyDead,
  planGatherings,
  type Run,
  switchBatches,
} from '../../../src/master/plan/compaction.ts'

function run(inode: number, fileOffset: number, ...from: [handle: number, offset: number, length: number][]): Run {
  const extents = from.map(([handle, offset, length]) => ({ handle: handle as ChunkHandle, offset, length }))
  return { inode: inode as InodeId, fileOffset, from: extents }
}

test('a chunk is worth it below half, when what is dead is worth a record', () => {
  const chunk = 64 * MiB
  const cases: [length: number, liveBytes: number, chunkBytes: number, is: boolean][] = [
    [64 * MiB, 32 * MiB, chunk, false],
    [64 * MiB, 32 * MiB - 1, chunk, true],
    [64 * MiB, 0, chunk, false],
    [100 * KiB, 10 * KiB, chunk, true],
    [60 * KiB, 10 * KiB, chunk, false],
    [20 * KiB, 1 * KiB, 256 * KiB, true],
    [2 * MiB, 5 * MiB, chunk, false],
  ]
  for (const [length, liveBytes, chunkBytes, is] of cases)
    assert.is(isMostlyDead({ length, liveBytes }, chunkBytes), is, `${liveBytes} of ${length}`)
})

test('a file is in pieces when there are several, and they are small on average', () => {
  assert.is(isFragmented(100, 1), false)
  assert.is(isFragmented(100, 3), false)
  assert.is(isFragmented(100, 4), true)
  assert.is(isFragmented(10 * 64 * KiB, 10), false)
  assert.is(isFragmented(10 * 64 * KiB - 1, 10), true)
})

test('bytes that files share are copied once, side by side ones are one range, and each file finds its own', () => {
  const runs = [run(20, 7, [5, 100, 50]), run(21, 0, [5, 120, 60]), run(22, 0, [5, 180, 20]), run(23, 0, [5, 300, 1])]
  const [gathering, ...others] = planGatherings(runs, () => 3, MiB)
  assert.equal(others, [])
  assert.equal(gathering!.ranges, [
    { handle: 5, offset: 100, length: 100 },
    { handle: 5, offset: 300, length: 1 },
  ])
  assert.is(gathering!.length, 101)
  assert.equal(
    gathering!.switches.map(({ inode, fileOffset, offset }) => [inode, fileOffset, offset]),
    [
      [20, 7, 0],
      [21, 0, 20],
      [22, 0, 80],
      [23, 0, 100],
    ],
  )
})

test('a file whose pieces lie in more chunks than one gathering may read is gathered in parts, all of it', () => {
  const pieces = Array.from({ length: 2 * GATHER_SOURCES_MAX + 500 }, (_, at): [number, number, number] => [
    at + 1,
    0,
    10,
  ])
  const gatherings = planGatherings([run(20, 100, ...pieces)], () => 3, MiB)
  let fileOffset = 100
  for (const { ranges, switches } of gatherings) {
    assert.ok(new Set(ranges.map(({ handle }) => handle)).size <= GATHER_SOURCES_MAX)
    for (const one of switches) {
      assert.is(one.fileOffset, fileOffset)
      fileOffset += one.from.reduce((sum, { length }) => sum + length, 0)
    }
  }
  assert.is(fileOffset, 100 + 10 * pieces.length)
})

test('whatever the runs: no chunk is too long, each byte lies where its switch says, goals are kept apart', () => {
  const random = new Random(3)
  for (let round = 0; round < 100; round++) {
    const runs = Array.from({ length: 1 + random.below(40) }, (_, at) => {
      const count = random.chance(0.7) ? 1 : 2 + random.below(20)
      const from = Array.from({ length: count }, (): [number, number, number] => {
        return [1 + random.below(5), random.below(5000), 1 + random.below(400)]
      })
      return run(100 + at, random.below(10), ...from)
    })
    const goalOf = ({ inode }: Run) => 2 + (inode % 2)
    const gatherings = planGatherings(runs, goalOf, 12_000)
    const found = new Set<number>()
    for (const { goal, length, ranges, switches } of gatherings) {
      assert.ok(length <= 12_000)
      assert.is(
        ranges.reduce((sum, range) => sum + range.length, 0),
        length,
      )
      const bytes = ranges.flatMap(({ handle, offset, length }) =>
        Array.from({ length }, (_, at) => handle * 1e6 + offset + at),
      )
      for (const { inode, offset, from } of switches) {
        assert.is(goalOf({ inode } as Run), goal)
        assert.not.ok(found.has(inode), 'a run is switched once')
        found.add(inode)
        const wanted = from.flatMap((extent) =>
          Array.from({ length: extent.length }, (_, at) => extent.handle * 1e6 + extent.offset + at),
        )
        assert.equal(bytes.slice(offset, offset + wanted.length), wanted)
      }
      for (const batch of switchBatches(switches)) {
        const rows = batch.reduce((sum, { from }) => sum + from.length + 4, 0)
        assert.ok(rows <= ROWS_PER_RECORD_MAX)
      }
    }
    assert.is(found.size, runs.length, 'nothing that fits is left out')
  }
})

test.run()
