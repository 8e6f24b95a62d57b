// Shapes of bodies: named fields there and back, bodies of earlier and later versions, and where a misfit lies.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../src/base/errors.ts'
import { added, boolean, integer, list, optional, struct, text, word } from '../../src/wire/schema.ts'

const point = struct({ x: integer(), y: integer(0, 10) })
const shape = struct({
  name: text(5),
  points: list(point, 3),
  kind: word('flat', 'round'),
  isOpen: added(boolean, true),
  goal: added(word('few', 'many'), 'many'),
  note: optional(text(10)),
})
const value = {
  name: 'a',
  points: [
    { x: 1, y: 2 },
    { x: 3, y: 4 },
  ],
  kind: 'round',
  isOpen: false,
  goal: 'few',
  note: undefined,
} as const
const encoded = ['a', [[1, 2], [3, 4]], 1, false, 0, null] // biome-ignore format: one row as it is on the wire

function faultOf(list: unknown): string {
  try {
    shape.decode(list, 'thing')
  } catch (error) {
    assert.ok(isDfsError(error, 'BAD_REQUEST'))
    return (error as Error).message
  }
  return 'none'
}

function withField(index: number, field: unknown): unknown[] {
  return encoded.map((own, at) => (at === index ? field : own))
}

test('named fields become positions, and positions named fields', () => {
  assert.equal(shape.encode(value), encoded)
  assert.equal(shape.decode(encoded, 'thing'), value)
})

test('a body of an earlier version ends early: added fields have their old meaning', () => {
  const decoded = shape.decode(encoded.slice(0, 3), 'thing')
  assert.equal(decoded, { ...value, isOpen: true, goal: 'many', note: undefined })
  assert.equal(Object.keys(decoded), shape.names)
})

test('fields of a later version are passed over', () => {
  assert.equal(shape.decode([...encoded, 'new', [1]], 'thing'), value)
})

test('a misfit is named by its place', () => {
  for (const [body, place, want] of [
    [7, 'thing', 'a list of fields, got 7'],
    [[], 'thing.name', 'a value, got undefined'],
    [['a', [[1, 'y']]], 'thing.points[0].y', 'a whole number in 0 .. 10, got a text of 1'],
    [withField(0, 'abcdef'), 'thing.name', 'a text of at most 5, got a text of 6'],
    [withField(1, [[1, 2], [1, 11]]), 'thing.points[1].y', 'a whole number in 0 .. 10, got 11'], // biome-ignore format: one case a line
    [withField(1, [[1, 2], 5]), 'thing.points[1]', 'a list of fields, got 5'],
    [withField(1, [[], [], [], []]), 'thing.points', 'a list of at most 3, got an array of 4'],
    [withField(2, 2), 'thing.kind', 'one of flat, round, got 2'],
    [withField(5, false), 'thing.note', 'a text of at most 10, got false'],
  ] as const) {
    assert.is(faultOf(body), `${place}: expected ${want}`)
  }
})

test('a field whose name is no identifier is refused when its struct is first used', () => {
  const odd = struct({ 'a: 1, b': integer() })
  assert.throws(() => odd.encode({ 'a: 1, b': 1 }), /no identifier/)
})

test.run()
