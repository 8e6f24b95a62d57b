import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Random } from '../../../src/base/random.ts'
import { IdMap, IdSets } from '../../../src/master/metadata/id-map.ts'

/** Ids of every kind: neighbours, sessions of 48 random bits, handles of a high lineage, the ends. */
function someId(random: Random): number {
  const low = random.below(60)
  return [low, 2 ** 47 + low, 65_535 * 2 ** 37 + low, 2 ** 32 - 30 + low, 2 ** 53 - 1 - low][random.below(5)]!
}

test('a map of ids answers as a Map does, through growing, shrinking and every kind of id', () => {
  const random = new Random(7)
  const map = new IdMap<number, number>()
  const model = new Map<number, number>()
  for (let step = 0; step < 40_000; step++) {
    // By turns it fills and empties.
    const isFilling = Math.floor(step / 5000) % 2 === 0
    const id = step % 10_000 < 9000 ? someId(random) : 1000 + random.below(3000)
    if (random.below(10) < (isFilling ? 7 : 2)) {
      map.set(id, step)
      model.set(id, step)
    } else {
      assert.is(map.delete(id), model.delete(id))
    }
    const asked = someId(random)
    assert.is(map.get(asked), model.get(asked))
    assert.is(map.has(asked), model.has(asked))
    assert.is(map.size, model.size)
    if (step % 1000 === 0) compare(map, model)
  }
  compare(map, model)
  map.clear()
  assert.is(map.size, 0)
  assert.equal(map.keys(), [])
})

function compare(map: IdMap<number, number>, model: ReadonlyMap<number, number>): void {
  const byKey = (a: readonly [number, number], b: readonly [number, number]) => a[0] - b[0]
  assert.equal([...map].sort(byKey), [...model].sort(byKey))
  assert.equal(map.values().sort(), [...model.values()].sort())
}

test('many ids that come and go leave a map of few as it was', () => {
  const map = new IdMap<number, number>()
  for (let id = 1; id <= 50_000; id++) {
    map.set(id, id)
    if (id > 5000) map.delete(id - 5000)
  }
  for (let id = 45_001; id <= 49_990; id++) assert.ok(map.delete(id))
  assert.equal(
    map.keys().sort((a, b) => a - b),
    [49_991, 49_992, 49_993, 49_994, 49_995, 49_996, 49_997, 49_998, 49_999, 50_000],
  )
})

test('sets of ids answer as Sets do, and say which pair was the first and which the last', () => {
  const random = new Random(9)
  const sets = new IdSets<number, number>()
  const model = new Map<number, Set<number>>()
  for (let step = 0; step < 20_000; step++) {
    const key = random.below(20)
    const value = someId(random)
    const of = model.get(key) ?? new Set()
    if (random.below(8) < (Math.floor(step / 4000) % 2 === 0 ? 5 : 2)) {
      assert.is(sets.add(key, value), of.size === 0)
      model.set(key, of.add(value))
    } else {
      assert.is(sets.delete(key, value), of.delete(value) && of.size === 0)
      if (of.size === 0) model.delete(key)
    }
    assert.is(sets.size, model.size)
    assert.is(sets.has(key), model.has(key))
    assert.is(sets.hasPair(key, value), model.get(key)?.has(value) ?? false)
    assert.equal(
      sets.of(key),
      [...(model.get(key) ?? [])].sort((a, b) => a - b),
    )
  }
  assert.equal(sets.keys().sort(), [...model.keys()].sort())
})

test.run()
