// Paths: absolute, normal, UTF-8. `/` is the root; anything else is `/name/name`, without a slash at the end.
//
// A name is any text except the empty one, `.`, `..` and what holds `/`, NUL or a lone surrogate (which UTF-8 cannot
// say). Names are compared by their bytes: no folding of case, no Unicode normal form.

import { DfsError } from './errors.ts'
import { NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX } from './limits.ts'

/** Which rule a path breaks, as a clause for people; undefined when it is valid. */
export function pathFault(path: string): string | undefined {
  if (path.length === 0) return 'the path is empty'
  if (path.charCodeAt(0) !== SLASH) return 'the path does not begin with /'
  if (path.length === 1) return undefined
  let pathBytes = 0
  let nameBytes = 0
  let nameStart = 1
  let depth = 0
  for (let i = 0; i <= path.length; i++) {
    const unit = i < path.length ? path.charCodeAt(i) : SLASH
    if (unit === SLASH) {
      if (i > 0) {
        const fault = nameShapeFault(path, nameStart, i)
        if (fault !== undefined) return fault
        if (nameBytes > NAME_BYTES_MAX) return `a name has ${nameBytes} bytes, at most ${NAME_BYTES_MAX} are allowed`
        depth++
        nameStart = i + 1
        nameBytes = 0
      }
      if (i < path.length) pathBytes++
      continue
    }
    let bytes = 1
    if (unit === 0) return 'a name has a NUL byte'
    if (unit >= 0x80) {
      bytes = unit < 0x800 ? 2 : 3
      if (unit >= 0xd800 && unit <= 0xdfff) {
        const low = i + 1 < path.length ? path.charCodeAt(i + 1) : 0
        if (unit > 0xdbff || low < 0xdc00 || low > 0xdfff) return 'a name has a lone surrogate, which is not UTF-8'
        bytes = 4
        i++
      }
    }
    pathBytes += bytes
    nameBytes += bytes
  }
  if (pathBytes > PATH_BYTES_MAX) return `the path has ${pathBytes} bytes, at most ${PATH_BYTES_MAX} are allowed`
  if (depth > PATH_DEPTH_MAX) return `the path has ${depth} names, at most ${PATH_DEPTH_MAX} are allowed`
  return undefined
}

/** Which rule a single name breaks; undefined when it is valid. */
export function nameFault(name: string): string | undefined {
  if (name.includes('/')) return 'a name has a slash'
  return pathFault(`/${name}`) ?? (name.length === 0 ? 'a name is empty' : undefined)
}

/** Throws INVALID_PATH, naming the rule that `path` breaks. */
export function checkPath(path: string): void {
  const fault = pathFault(path)
  if (fault !== undefined) throw new DfsError('INVALID_PATH', invalidPathMessage(path, fault))
}

/** The names of a path, none for the root. Throws INVALID_PATH. */
export function splitPath(path: string): string[] {
  checkPath(path)
  return path.length === 1 ? [] : path.slice(1).split('/')
}

/** The directory part of a valid path other than the root: `/a` of `/a/b`, `/` of `/a`. */
export function directoryPart(path: string): string {
  const slash = path.lastIndexOf('/')
  return slash <= 0 ? '/' : path.slice(0, slash)
}

/** The last name of a valid path; '' for the root. */
export function namePart(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

/** `directory` and `name` joined; `directory` is a valid path. */
export function joinPath(directory: string, name: string): string {
  return directory === '/' ? `/${name}` : `${directory}/${name}`
}

/** A message that names the path without repeating megabytes of it. */
export function invalidPathMessage(path: string, fault: string): string {
  return `${JSON.stringify(path.length > 100 ? `${path.slice(0, 100)}…` : path)}: ${fault}`
}

const SLASH = 47
const DOT = 46

function nameShapeFault(path: string, start: number, end: number): string | undefined {
  const units = end - start
  if (units === 0) return end === path.length ? 'the path ends with a slash' : 'a name is empty'
  if (units <= 2 && path.charCodeAt(start) === DOT && path.charCodeAt(end - 1) === DOT) {
    return units === 1 ? 'a name is "."' : 'a name is ".."'
  }
  return undefined
}
