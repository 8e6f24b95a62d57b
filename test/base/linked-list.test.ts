// A list that things join at the end and leave from anywhere.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Linked, LinkedList } from '../../src/base/linked-list.ts'
import { Random } from '../../src/base/random.ts'

class Item implements Linked<Item> {
  before: Item | undefined
  after: Item | undefined
  readonly name: number

  constructor(name: number) {
    this.name = name
  }
}

test('whatever joins and leaves, the list is what a Set would be', () => {
  const random = new Random(5)
  const list = new LinkedList<Item>()
  const set = new Set<Item>()
  const items = Array.from({ length: 12 }, (_, name) => new Item(name))
  for (let step = 0; step < 5000; step++) {
    const item = items[random.below(items.length)]!
    if (set.has(item)) {
      assert.ok(list.delete(item))
      set.delete(item)
    } else if (random.chance(0.5)) {
      list.add(item)
      set.add(item)
    } else assert.not(list.delete(item), 'it is in no list')
    assert.equal(
      [...list].map(({ name }) => name),
      [...set].map(({ name }) => name),
    )
    assert.is(list.first, [...set][0])
    assert.is(list.isEmpty, set.size === 0)
  }
})

test('what has left keeps nothing else alive, and may join again', () => {
  const list = new LinkedList<Item>()
  const [a, b, c] = [new Item(1), new Item(2), new Item(3)]
  for (const item of [a, b, c]) list.add(item)
  list.delete(b)
  assert.is(b.before, undefined)
  assert.is(b.after, undefined)
  list.add(b)
  assert.equal([...list], [a, c, b])
})

test('the one at hand may leave while the list is gone through; what is in a list can not be added', () => {
  const list = new LinkedList<Item>()
  const items = [1, 2, 3].map((name) => new Item(name))
  for (const item of items) list.add(item)
  const seen: number[] = []
  for (const item of list) {
    seen.push(item.name)
    list.delete(item)
  }
  assert.equal(seen, [1, 2, 3])
  assert.ok(list.isEmpty)
  list.add(items[0]!)
  assert.throws(() => list.add(items[0]!), /already/)
  list.add(items[1]!)
  assert.throws(() => list.add(items[0]!), /already/)
})

test.run()
