// The names of a simulated disk: directories as they are seen, as they are durable, and the changes between.
//
// Invariant: only `makeDurable`, `losePower` and the test's own hands change durable names.
// A rename is one change: after power loss the object has its old name or its new one.

import type { Random } from '../../src/base/random.ts'
import type { FileNode } from './file-node.ts'

export type Node = FileNode | DirectoryNode

export class DirectoryNode {
  readonly kind = 'directory'
  readonly number: number
  mtimeMs = 0
  /** What is seen now. */
  readonly entries = new Map<string, Node>()
  readonly durable = new Map<string, Node>()

  constructor(number: number) {
    this.number = number
  }
}

interface NameChange {
  /** The name that is gone after the change. */
  readonly unlink?: { readonly directory: DirectoryNode; readonly name: string; readonly node: Node }
  /** The name that is there after it. */
  readonly link?: { readonly directory: DirectoryNode; readonly name: string; readonly node: Node }
}

export class NameTree {
  readonly root = new DirectoryNode(1)
  readonly #onNames: () => void
  #changes: NameChange[] = []

  /** @param onNames  told when what can be reached by a name has changed */
  constructor(onNames: () => void = () => {}) {
    this.#onNames = onNames
  }

  get changeCount(): number {
    return this.#changes.length
  }

  /** The object at a path of components, if there is one. */
  find(names: readonly string[]): Node | undefined {
    let node: Node | undefined = this.root
    for (const name of names) {
      if (node?.kind !== 'directory') return undefined
      node = node.entries.get(name)
    }
    return node
  }

  /** The object at a path of components, and the directory that it is or would be in. */
  place(names: readonly string[]): { parent: DirectoryNode | undefined; node: Node | undefined } {
    let parent: DirectoryNode | undefined
    let node: Node | undefined = this.root
    for (const name of names) {
      parent = node?.kind === 'directory' ? node : undefined
      node = parent?.entries.get(name)
    }
    return { parent, node }
  }

  link(directory: DirectoryNode, name: string, node: Node): void {
    directory.entries.set(name, node)
    this.#onNames()
    this.#changes.push({ link: { directory, name, node } })
  }

  unlink(directory: DirectoryNode, name: string): void {
    const node = directory.entries.get(name)
    if (node === undefined) return
    directory.entries.delete(name)
    this.#onNames()
    this.#changes.push({ unlink: { directory, name, node } })
  }

  rename(from: DirectoryNode, fromName: string, to: DirectoryNode, toName: string): void {
    const node = from.entries.get(fromName)
    if (node === undefined || to.entries.get(toName) === node) return
    from.entries.delete(fromName)
    to.entries.set(toName, node)
    this.#onNames()
    this.#changes.push({
      unlink: { directory: from, name: fromName, node },
      link: { directory: to, name: toName, node },
    })
  }

  /** A mark for `makeDurable`: the changes so far. */
  mark(): readonly unknown[] {
    return [...this.#changes]
  }

  /** A sync of `directory` that began at `mark` succeeds: the changes of its names until then are durable. */
  makeDurable(directory: DirectoryNode, mark: readonly unknown[]): void {
    const synced = new Set(mark)
    this.#changes = this.#changes.filter((change) => {
      const isOfDirectory = change.unlink?.directory === directory || change.link?.directory === directory
      if (!isOfDirectory || !synced.has(change)) return true
      applyTo(change)
      return false
    })
  }

  /** Each unsynced change of a name has happened or not, for itself; the rest is what is seen from now on. */
  losePower(random: Random, keepChance: number): void {
    for (const change of this.#changes) if (random.chance(keepChance)) applyTo(change)
    this.#changes = []
    this.#onNames()
    const see = (directory: DirectoryNode): void => {
      directory.entries.clear()
      for (const [name, node] of directory.durable) {
        directory.entries.set(name, node)
        if (node.kind === 'directory') see(node)
      }
    }
    see(this.root)
  }

  /** Every object that can be reached, with its path. */
  *walk(directory = this.root, prefix = ''): Generator<{ path: string; node: Node }> {
    for (const name of [...directory.entries.keys()].sort()) {
      const node = directory.entries.get(name)!
      yield { path: `${prefix}/${name}`, node }
      if (node.kind === 'directory') yield* this.walk(node, `${prefix}/${name}`)
    }
  }
}

function applyTo(change: NameChange): void {
  const { unlink, link } = change
  if (unlink !== undefined && unlink.directory.durable.get(unlink.name) === unlink.node) {
    unlink.directory.durable.delete(unlink.name)
  }
  if (link !== undefined) link.directory.durable.set(link.name, link.node)
}
