// A naive model of the namespace: plain trees of plain objects, bytes as lists of numbers. It says what each operation
// must answer and what the tree must look like after it.

export interface Node {
  readonly children?: Map<string, Node>
  /** One number a byte: chunk handle × 2^20 + offset in the chunk; 0 for a byte of a hole. */
  bytes: number[]
  version: number
}

interface Spot {
  readonly parent: Node
  readonly name: string
  readonly node: Node | undefined
}

export class Model {
  readonly root: Node = { children: new Map(), bytes: [], version: 0 }
  readonly trash = new Map<number, { node: Node; path: string }>()
  nextTrash = 1

  find(path: string): Node | undefined {
    const spot = this.spot(path)
    return typeof spot === 'string' ? undefined : spot.node
  }

  /** Where a path leads, or the code that says why it leads nowhere. */
  spot(path: string): Spot | string {
    let parent = this.root
    const names = path === '/' ? [] : path.slice(1).split('/')
    for (let i = 0; i < names.length - 1; i++) {
      const next = parent.children!.get(names[i]!)
      if (next === undefined) return 'NOT_FOUND'
      if (next.children === undefined) return 'NOT_A_DIRECTORY'
      parent = next
    }
    const name = names.at(-1)
    return name === undefined
      ? { parent, name: '', node: this.root }
      : { parent, name, node: parent.children!.get(name) }
  }

  makeDirectory(path: string, parents: boolean): string {
    if (!parents) {
      const spot = this.spot(path)
      if (typeof spot === 'string') return spot
      if (spot.node !== undefined) return 'ALREADY_EXISTS'
      spot.parent.children!.set(spot.name, newDirectory())
      return 'ok'
    }
    let at = this.root
    const names = path === '/' ? [] : path.slice(1).split('/')
    const missing: string[] = []
    for (const [i, name] of names.entries()) {
      const next = missing.length > 0 ? undefined : at.children!.get(name)
      if (next === undefined) missing.push(name)
      else if (next.children === undefined) return i + 1 < names.length ? 'NOT_A_DIRECTORY' : 'ALREADY_EXISTS'
      else at = next
    }
    for (const name of missing) {
      const made = newDirectory()
      at.children!.set(name, made)
      at = made
    }
    return 'ok'
  }

  publish(path: string, overwrite: boolean, node: Node, change: () => void = () => {}): string {
    const spot = this.spot(path)
    if (typeof spot === 'string') return spot
    if (spot.node?.children !== undefined) return 'IS_A_DIRECTORY'
    if (spot.node !== undefined && !overwrite) return 'ALREADY_EXISTS'
    if (spot.node !== undefined) this.toTrash(spot.node, path)
    change()
    spot.parent.children!.set(spot.name, node)
    return 'ok'
  }

  toTrash(node: Node, path: string): void {
    this.trash.set(this.nextTrash++, { node, path })
  }

  rename(from: string, to: string, overwrite: boolean): string {
    const source = this.spot(from)
    if (typeof source === 'string') return source
    if (source.node === undefined) return 'NOT_FOUND'
    if (from === '/') return 'INVALID_MOVE'
    const target = this.spot(to)
    if (typeof target === 'string') return target
    if (target.node === source.node) return 'ok'
    if (`${to}/`.startsWith(`${from}/`)) return 'INVALID_MOVE'
    const taken = this.replaceable(target.node, source.node, overwrite)
    if (taken !== 'ok') return taken
    if (target.node !== undefined) this.toTrash(target.node, to)
    source.parent.children!.delete(source.name)
    target.parent.children!.set(target.name, source.node)
    return 'ok'
  }

  replaceable(target: Node | undefined, by: Node, overwrite: boolean): string {
    if (target === undefined) return 'ok'
    if (target.children !== undefined) return 'ALREADY_EXISTS'
    if (by.children !== undefined) return 'NOT_A_DIRECTORY'
    return overwrite ? 'ok' : 'ALREADY_EXISTS'
  }

  copy(from: string, to: string, recursive: boolean, overwrite: boolean): string {
    const source = this.spot(from)
    if (typeof source === 'string') return source
    if (source.node === undefined) return 'NOT_FOUND'
    if (source.node.children !== undefined && !recursive) return 'IS_A_DIRECTORY'
    const target = this.spot(to)
    if (typeof target === 'string') return target
    if (to === '/') return 'ALREADY_EXISTS'
    const taken = this.replaceable(target.node, source.node, overwrite)
    if (taken !== 'ok') return taken
    if (target.node === source.node) return 'INVALID_MOVE'
    if (source.node.children !== undefined && `${to}/`.startsWith(from === '/' ? '/' : `${from}/`))
      return 'INVALID_MOVE'
    if (target.node !== undefined) this.toTrash(target.node, to)
    target.parent.children!.set(target.name, cloneOf(source.node))
    return 'ok'
  }

  remove(path: string, what: 'file' | 'emptyDirectory' | 'tree'): string {
    const spot = this.spot(path)
    if (typeof spot === 'string') return spot
    if (spot.node === undefined) return 'NOT_FOUND'
    if (path === '/') return 'INVALID_ARGUMENT'
    const { children } = spot.node
    if (what === 'file' && children !== undefined) return 'IS_A_DIRECTORY'
    if (what === 'emptyDirectory' && children === undefined) return 'NOT_A_DIRECTORY'
    if (what === 'emptyDirectory' && children!.size > 0) return 'NOT_EMPTY'
    spot.parent.children!.delete(spot.name)
    if (what !== 'emptyDirectory') this.toTrash(spot.node, path)
    return 'ok'
  }

  restore(id: number, path: string): string {
    const entry = this.trash.get(id)
    if (entry === undefined) return 'NOT_FOUND'
    const spot = this.spot(path === '' ? entry.path : path)
    if (typeof spot === 'string') return spot
    if (spot.node !== undefined) return 'ALREADY_EXISTS'
    this.trash.delete(id)
    spot.parent.children!.set(spot.name, entry.node)
    return 'ok'
  }

  /** The file at `path`, or the code. */
  file(path: string): Node | string {
    const spot = this.spot(path)
    if (typeof spot === 'string') return spot
    if (spot.node === undefined) return 'NOT_FOUND'
    return spot.node.children === undefined ? spot.node : 'IS_A_DIRECTORY'
  }

  truncate(path: string, size: number): string {
    const file = this.file(path)
    if (typeof file === 'string') return file
    if (size === file.bytes.length) return 'ok'
    while (file.bytes.length < size) file.bytes.push(0)
    file.bytes.length = size
    file.version++
    return 'ok'
  }

  splice(file: Node, offset: number, bytes: readonly number[]): void {
    while (file.bytes.length < offset) file.bytes.push(0)
    for (const [i, byte] of bytes.entries()) file.bytes[offset + i] = byte
    file.version++
  }

  concat(path: string, sources: readonly string[]): string {
    const target = this.file(path)
    if (typeof target === 'string') return target
    const seen = new Set<Node>([target])
    for (const source of sources) {
      const node = this.file(source)
      if (typeof node === 'string') return node
      if (seen.has(node)) return 'INVALID_ARGUMENT'
      seen.add(node)
    }
    for (const source of sources) {
      const spot = this.spot(source) as Spot
      target.bytes.push(...spot.node!.bytes)
      spot.parent.children!.delete(spot.name)
    }
    if (sources.length > 0) target.version++
    return 'ok'
  }

  /** Every path with what it is, in order. */
  lines(): string[] {
    const found: string[] = []
    const visit = (node: Node, path: string): void => {
      if (node.children === undefined) {
        found.push(`${path} v${node.version} ${node.bytes.join()}`)
        return
      }
      found.push(`${path}/`)
      const names = [...node.children.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      for (const name of names) visit(node.children.get(name)!, `${path}/${name}`)
    }
    visit(this.root, '')
    return found
  }
}

export function newDirectory(): Node {
  return { children: new Map(), bytes: [], version: 0 }
}

function cloneOf(node: Node): Node {
  const { children, bytes, version } = node
  if (children === undefined) return { bytes: [...bytes], version }
  return { children: new Map([...children].map(([name, child]) => [name, cloneOf(child)])), bytes: [], version }
}
