// The check of the tree of entries, for tests: every invariant that byte-tree.ts names, over the whole tree.

import { assert } from '../../base/assert.ts'
import { COUNT, LEVEL, NEXT, NONE, PAGE, PREVIOUS } from './byte-tree-layout.ts'
import type { BytePages } from './byte-tree-pages.ts'

/** @param size  entries that the tree says it has. Throws AssertionError. */
export function checkPages(pages: BytePages, root: number, rightmost: number, size: number): void {
  let entries = 0
  let before: Buffer | undefined
  const key = Buffer.alloc(PAGE)
  const leaves: number[] = []
  const visit = (page: number, level: number, low: Buffer | undefined, high: Buffer | undefined): void => {
    assert(pages.field(page, LEVEL) === level, 'a page on the wrong level')
    const count = pages.field(page, COUNT)
    assert(count > 0 || page === root, 'an empty page')
    if (level === 0) leaves.push(page)
    for (let i = 0; i < count; i++) {
      const own = Buffer.from(key.subarray(0, pages.copyKey(page, i, key)))
      if (level === 0) {
        assert(before === undefined || Buffer.compare(before, own) < 0, 'keys out of order')
        assert(low === undefined || Buffer.compare(low, own) <= 0, 'a key below its separator')
        assert(high === undefined || Buffer.compare(own, high) < 0, 'a key above its separator')
        before = own
        entries++
      } else {
        const end = i + 1 < count ? Buffer.from(key.subarray(0, pages.copyKey(page, i + 1, key))) : high
        visit(pages.value(page, i), level - 1, i === 0 ? low : own, end)
      }
    }
  }
  visit(root, pages.field(root, LEVEL), undefined, undefined)
  assert(entries === size, `the tree has ${entries} entries, counted ${size}`)
  for (let i = 0; i < leaves.length; i++) {
    assert(pages.link(leaves[i]!, NEXT) === (leaves[i + 1] ?? NONE), 'leaves out of order')
    assert(pages.link(leaves[i]!, PREVIOUS) === (leaves[i - 1] ?? NONE), 'leaves out of order')
  }
  assert(leaves[leaves.length - 1] === rightmost, 'the last leaf is not known')
}
