// What `find` matches with.

import { parseSize } from '../../base/units.ts'
import { UsageError } from '../failure.ts'

/** `*`, `?` and `[a-c]` as a shell means them, on one whole name. */
export function globExpression(glob: string): RegExp {
  let source = ''
  for (let index = 0; index < glob.length; index++) {
    const letter = glob[index]!
    const end = letter === '[' ? glob.indexOf(']', index + 2) : -1
    if (letter === '*') source += '.*'
    else if (letter === '?') source += '.'
    else if (end > 0) {
      const set = glob
        .slice(index + 1, end)
        .replace(/[\\\]^]/g, (special, at) => (at === 0 && special === '^' ? '^' : `\\${special}`))
      source += `[${set.replace(/^!/, '^')}]`
      index = end
    } else if (letter === '\\' && index + 1 < glob.length) source += escaped(glob[++index]!)
    else source += escaped(letter)
  }
  try {
    return new RegExp(`^${source}$`, 'su')
  } catch {
    throw new UsageError(`-name ${glob} is no pattern of * ? [abc]`)
  }
}

/** `+10MiB` more than, `-10MiB` less than, `10MiB` exactly. */
export function sizeFilter(text: string): (bytes: number) => boolean {
  const sign = /^[+-]/.exec(text)?.[0]
  const bytes = parseSize(text.replace(/^[+-]/, '').replace(/c$/, ''))
  if (bytes === undefined) throw new UsageError(`-size ${text}: a size like +64MiB, -10GB or 4096 is wanted`)
  if (sign === '+') return (size) => size > bytes
  if (sign === '-') return (size) => size < bytes
  return (size) => size === bytes
}

function escaped(letter: string): string {
  return letter.replace(/[.*+?^${}()|[\]\\/]/u, '\\$&')
}
