import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Random } from '../../../src/base/random.ts'
import { ByteTree } from '../../../src/master/metadata/byte-tree.ts'
import { DueHeap } from '../../../src/master/metadata/due-heap.ts'
import { IdIndex } from '../../../src/master/metadata/id-index.ts'

/** Names that share long prefixes, have the greatest length, aren't ASCII, or look random. */
function randomName(random: Random): string {
  switch (random.below(4)) {
    case 0:
      return `f${random.below(1000)}`
    case 1:
      return 'common-prefix-'.repeat(random.below(17)) + random.below(50)
    case 2:
      return 'é'.repeat(1 + random.below(120))
    default:
      return String(random.below(1e6)).padStart(7, '0')
  }
}

for (const [directories, removals] of [
  [5, 0],
  [70_000, 0],
  [5, 1],
  [70_000, 1],
  [5, 2],
  [70_000, 2],
] as const) {
  test(`the tree is a sorted map: ${directories} directories, ${removals} removals for each ${3 - removals} insertions`, () => {
    for (let seed = 0; seed < 3; seed++) {
      const random = new Random(seed)
      const tree = new ByteTree()
      const model = new Map<string, number>()
      for (let i = 1; i <= 4000; i++) {
        const key = `${16 + random.below(directories)}/${randomName(random)}`
        if (random.below(3) < removals && model.size > 0) {
          const victim = random.chance(0.9) ? [...model.keys()][random.below(Math.min(model.size, 50))]! : key
          assert.is(tree.delete(...partsOf(victim)), model.get(victim) ?? 0, `seed ${seed}`)
          model.delete(victim)
        } else {
          // A name that was asked for just now has a shorter way in, unless something came between.
          const before = random.below(4)
          if (before > 0) assert.is(tree.get(...partsOf(key)), model.get(key) ?? 0, `seed ${seed}`)
          if (before > 1) {
            const other = `${16 + random.below(directories)}/${randomName(random)}`
            if (before === 2) {
              tree.set(...partsOf(other), i)
              model.set(other, i)
            } else {
              assert.is(tree.delete(...partsOf(other)), model.get(other) ?? 0, `seed ${seed}`)
              model.delete(other)
            }
          }
          tree.set(...partsOf(key), i)
          model.set(key, i)
        }
        if (i % 400 === 0) tree.check()
      }
      assert.is(tree.size, model.size)
      const keys = [...model.keys()]
        .map(partsOf)
        .sort(([a, x], [b, y]) => a - b || Buffer.compare(Buffer.from(x), Buffer.from(y)))
      let at = 0
      for (let more = tree.seekFirst(); more; more = tree.advance()) {
        const [directory, name] = keys[at++]!
        assert.is(tree.cursorDirectory(), directory)
        assert.is(tree.cursorName(), name)
        assert.is(tree.cursorInode(), model.get(`${directory}/${name}`))
      }
      assert.is(at, keys.length)
      for (const [directory, name] of keys) assert.is(tree.get(directory, name), model.get(`${directory}/${name}`))
      for (const [directory, name] of keys) assert.ok(tree.delete(directory, name) > 0)
      tree.check()
      assert.is(tree.size, 0)
    }
  })
}

function partsOf(key: string): [directory: number, name: string] {
  const slash = key.indexOf('/')
  return [Number(key.slice(0, slash)), key.slice(slash + 1)]
}

test('seeking finds the first name after one that need not be there', () => {
  const tree = new ByteTree()
  for (const name of ['b', 'd', 'dd', 'é']) tree.set(20, name, 1)
  tree.set(21, 'a', 1)
  const after = (name: string): string | undefined => (tree.seek(20, name) ? tree.cursorName() : undefined)
  assert.equal(['', 'a', 'b', 'c', 'd', 'dz', 'é'].map(after), ['b', 'b', 'd', 'd', 'dd', 'é', undefined])
  assert.not(tree.seek(19, ''))
  assert.not(tree.seek(22, ''))
})

test('names that arrive in order fill their pages', () => {
  const tree = new ByteTree()
  for (let i = 0; i < 50_000; i++) tree.set(16 + (i % 4), `entry-${String(i).padStart(14, '0')}`, i + 1)
  assert.ok(tree.bytes / 50_000 < 22, `${tree.bytes / 50_000} bytes an entry`)
})

test('a tree of appended names is the tree of names that were set, wherever pages and directories end', () => {
  for (let seed = 0; seed < 6; seed++) {
    const random = new Random(seed)
    const directories = [1, 3, 40, 2000][seed % 4]!
    const keys = new Map<string, [number, string]>()
    for (let i = 0; i < 3000; i++) {
      const name =
        random.below(8) === 0 ? `${'n'.repeat(200 + random.below(50))}${random.below(9)}` : randomName(random)
      const directory = 2 ** 32 - 2 + random.below(directories)
      keys.set(`${directory}/${name}`, [directory, name])
    }
    const sorted = [...keys.values()].sort(([a, x], [b, y]) => a - b || Buffer.compare(Buffer.from(x), Buffer.from(y)))
    const tree = new ByteTree()
    for (const [at, [directory, name]] of sorted.entries()) {
      const bytes = Buffer.from(`...${name}...`)
      assert.ok(tree.append(directory, bytes, 3, bytes.length - 3, at + 1), `seed ${seed}: ${directory}/${name}`)
      // The same again, and any before, is refused; a look at another in between changes nothing.
      const [beforeDirectory, beforeName] = sorted[at - random.below(Math.min(at + 1, 3))]!
      const before = Buffer.from(beforeName)
      assert.not(tree.append(beforeDirectory, before, 0, before.length, 7))
      if (random.below(5) === 0) assert.is(tree.get(...sorted[random.below(at + 1)]!) > 0, true)
      if (random.below(5) === 0) assert.is(tree.get(directory, `${name}x`), 0)
    }
    tree.check()
    assert.is(tree.size, sorted.length)
    for (const [at, [directory, name]] of sorted.entries()) assert.is(tree.get(directory, name), at + 1)
  }
})

test('appending refuses a key that is not above the last', () => {
  const tree = new ByteTree()
  const append = (directory: number, name: string): boolean =>
    tree.append(directory, Buffer.from(name), 0, name.length, 1)
  assert.ok(append(16, 'b'))
  assert.not(append(16, 'b'))
  assert.not(append(16, 'a'))
  assert.not(append(15, 'z'))
  assert.ok(append(17, 'a'))
  assert.is(tree.size, 2)
})

test('the id index is a sorted map, and gives its nodes back', () => {
  const random = new Random(5)
  const index = new IdIndex()
  const model = new Map<number, number>()
  const lineage = 3 * 2 ** 37
  for (let i = 0; i < 20_000; i++) {
    const id = random.chance(0.5) ? 1 + random.below(5000) : lineage + random.below(300_000)
    if (model.has(id)) {
      index.delete(id)
      model.delete(id)
    } else {
      index.add(id, i)
      model.set(id, i)
    }
  }
  const ids = [...model.keys()].sort((a, b) => a - b)
  const seen: number[] = []
  index.forEach((id, row) => {
    assert.is(row, model.get(id))
    seen.push(id)
  })
  assert.equal(seen, ids)
  const walked: number[] = []
  for (let id = index.next(-1); id >= 0; id = index.next(id)) walked.push(id)
  assert.equal(walked, ids)
  assert.is(index.get(4_000_000), -1)
  for (const id of ids) index.delete(id)
  assert.is(index.next(-1), -1)
  assert.is(index.size, 0)
})

test('the heap gives pairs by time, then by id', () => {
  const random = new Random(9)
  const heap = new DueHeap()
  const pairs = Array.from({ length: 500 }, () => [random.below(40), random.below(1000)] as const)
  for (const [time, id] of pairs) heap.push(time, id)
  const found: (readonly [number, number])[] = []
  for (; heap.size > 0; heap.pop()) found.push([heap.firstTime, heap.firstId])
  assert.equal(
    found,
    [...pairs].sort((a, b) => a[0] - b[0] || a[1] - b[1]),
  )
  heap.pop()
  assert.is(heap.firstTime, Number.POSITIVE_INFINITY)
})

test.run()
