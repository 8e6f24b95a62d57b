// Profiles: mode, owner, group and goal, which most inodes share, stored once under a small number.
//
// Profile numbers are this process's own: a checkpoint numbers the profiles in the order of their content.

import { assert } from '../../base/assert.ts'
import type { NewInode } from '../operations.ts'

/** Different combinations at most: a change that needs one more is LIMIT_EXCEEDED. */
export const PROFILES_MAX = 65_535

export class Profiles {
  readonly #rows: (NewInode | undefined)[] = []
  readonly #uses: number[] = []
  readonly #numbers = new Map<string, number>()
  readonly #free: number[] = []
  /** The number that `use` gave last: neighbours in the log are often made by the same user. */
  #last = -1

  /** Whether `profile` is known or there is room for it. */
  hasRoomFor(profile: NewInode): boolean {
    return this.#numbers.size < PROFILES_MAX || this.#numbers.has(keyOf(profile))
  }

  /** The number of `profile`, with one use more. */
  use(profile: NewInode): number {
    const last = this.#rows[this.#last]
    if (last !== undefined && isSame(last, profile)) return this.useAgain(this.#last)
    const key = keyOf(profile)
    let number = this.#numbers.get(key)
    if (number === undefined) {
      assert(this.#numbers.size < PROFILES_MAX, 'too many profiles')
      number = this.#free.pop() ?? this.#rows.length
      const { mode, owner, group, goal } = profile
      this.#rows[number] = { mode, owner, group, goal }
      this.#uses[number] = 0
      this.#numbers.set(key, number)
    }
    this.#uses[number] = this.#uses[number]! + 1
    this.#last = number
    return number
  }

  useAgain(number: number): number {
    this.#uses[number] = this.#uses[number]! + 1
    return number
  }

  drop(number: number): void {
    const uses = this.#uses[number]! - 1
    this.#uses[number] = uses
    if (uses > 0) return
    this.#numbers.delete(keyOf(this.get(number)))
    this.#rows[number] = undefined
    this.#free.push(number)
  }

  get(number: number): NewInode {
    const row = this.#rows[number]
    assert(row !== undefined, 'no such profile')
    return row
  }

  uses(number: number): number {
    return this.#uses[number] ?? 0
  }

  /** Numbers of all profiles in the order of their content. */
  inOrder(): number[] {
    return [...this.#numbers].sort((a, b) => (a[0] < b[0] ? -1 : 1)).map(([, number]) => number)
  }
}

function isSame(a: NewInode, b: NewInode): boolean {
  return a.mode === b.mode && a.goal === b.goal && a.owner === b.owner && a.group === b.group
}

function keyOf(profile: NewInode): string {
  return `${profile.owner}\0${profile.group}\0${profile.mode}\0${profile.goal}`
}
